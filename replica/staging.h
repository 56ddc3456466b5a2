/*
 * The pages of an epoch in flight: what image.c keeps until the epoch is whole and verified.
 *
 * Memory up to a budget, and an unlinked file beyond it. A page that comes again replaces what
 * came before, so that never more is kept than the instance has pages.
 */
#ifndef REPLICA_STAGING_H
#define REPLICA_STAGING_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct staging;

/*
 * `memory_bytes`: the budget, with what finding the pages again costs; of a spilled page 48 bytes
 * stay in memory.
 */
int staging_create(struct staging **staging, size_t memory_bytes, const char *spill_dir,
		   struct err *err);
void staging_destroy(struct staging *staging);

/*
 * Keeps a page's content (LAYOUT_PAGE bytes; NULL: all zeroes). Several threads may at once, for
 * different pages. After an error (RC_NOMEM, RC_IO: no room in the file) only staging_reset()
 * makes sense.
 */
int staging_put(struct staging *staging, uint64_t index, const uint8_t *data, struct err *err);

/*
 * What is kept of a page: false, nothing. *content: LAYOUT_PAGE bytes, some of them in `room` (as many);
 * NULL: it could not be read. As staging_put(), for different pages.
 */
bool staging_get(struct staging *staging, uint64_t index, uint8_t *room, const uint8_t **content);

/* What is kept: bytes of memory and of file taken by pages. Any thread. */
uint64_t staging_bytes(struct staging *staging);

/*
 * Reads what went to the file and compares it with the hash taken before; RC_IO when it is not
 * what it was.
 */
int staging_verify(struct staging *staging, struct err *err);

/*
 * Calls back for each page in the order in which they first came; stops at an error. `data` as in
 * staging_put(), valid during the call.
 */
int staging_each(struct staging *staging,
		 int (*page)(void *owner, uint64_t index, const uint8_t *data, struct err *err),
		 void *owner, struct err *err);
/* The same without reading contents: `data` NULL for zeroes, else not to be looked at. */
int staging_each_index(struct staging *staging,
		       int (*page)(void *owner, uint64_t index, const uint8_t *data,
				   struct err *err),
		       void *owner, struct err *err);

/* Forgets all pages; the file goes, and memory beyond what recent epochs needed is given back. */
void staging_reset(struct staging *staging);

#endif
