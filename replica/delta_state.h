/*
 * What a sender knows of the standby's pages. Private to delta_*.c.
 */
#ifndef REPLICA_DELTA_STATE_H
#define REPLICA_DELTA_STATE_H

#include "replica/delta.h"
#include "replica/page_cache.h"

struct delta_state {
	uint64_t pages;
	uint64_t *hashes; /* of the content that the standby has, a page each; 0: not known */
	struct page_cache *cache;
	uint64_t zero_hash;
};

#endif
