/*
 * What was written to an instance's disks since the last checkpoint: a chunk list like memory's, in
 * which each page is once, with its latest content.
 *
 * Of a page of which only a part was written, what was written is kept (chunk_page.sectors); nothing is
 * ever read from the disk. Until the first cut the epoch is the first copy: chunks that are full can be
 * taken at once, and pages may come again. Bounded by the chunk pool; a write that finds no room is
 * refused, never waited for. All functions may be called by any thread.
 */
#ifndef REPLICA_DISK_STORE_H
#define REPLICA_DISK_STORE_H

#include "replica/chunk_list.h"

#include <stdbool.h>

struct disk_store;

/* `pool` stays the caller's and outlives the chunks. */
int disk_store_create(struct disk_store **store, struct chunk_pool *pool, struct err *err);
void disk_store_destroy(struct disk_store *store);

/* Where in the layout a disk is. */
struct disk_extent {
	uint64_t first; /* page index */
	uint64_t bytes; /* of the disk; behind them its last page is zero */
};

/*
 * Whole sectors within the disk; `data` NULL: zeroes. RC_LIMIT: there is no room, and what was to be
 * kept is not whole; RC_NOMEM; RC_INVALID: no sectors.
 */
int disk_store_write(struct disk_store *store, const struct disk_extent *disk, uint64_t offset,
		     const uint8_t *data, uint64_t len, struct err *err);

/* The epoch that was open ends here: disk_store_take() gives its chunks, then the next one's. */
void disk_store_cut(struct disk_store *store);
/* There is something to be taken. */
bool disk_store_has_full(struct disk_store *store);
/* The chunks of the epoch that was cut; before the first cut, those that are full. */
void disk_store_take(struct disk_store *store, struct chunk_list *chunks);

#endif
