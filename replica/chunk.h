/*
 * Staging ("shadow") buffers: what the paused guest's pages are copied into, once.
 *
 * A chunk holds raw bytes as QEMU sent them and an index that points into them: nothing is moved
 * again until the encoder reads it. A pool hands out at most its budget; the capture thread waits
 * for a free chunk, which is how a slow link slows QEMU's background copy down.
 */
#ifndef REPLICA_CHUNK_H
#define REPLICA_CHUNK_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHUNK_BYTES ((size_t)1 << 20)
/* Zero pages cost 9 bytes in the stream: of them, the index is full before the bytes. */
#define CHUNK_PAGES 1024

#define CHUNK_SECTOR ((size_t)512) /* the smallest piece of a disk's page that is known by itself */

struct chunk_page {
	uint64_t index;
	const uint8_t *data; /* LAYOUT_PAGE bytes inside `bytes`, unaligned; NULL: all zeroes */
	/* Of a disk's page of which only a part is known: a bit for each such sector; else 0. */
	uint8_t sectors;
};

struct chunk_pool;

struct chunk {
	struct chunk *next; /* for whoever holds it */
	struct chunk_pool *pool;
	bool first_copy; /* the encoder's, while it holds it */
	bool disk;	 /* pages of disks: disk_store.h's */
	uint64_t epoch;
	uint32_t npages;
	size_t used;
	struct chunk_page pages[CHUNK_PAGES];
	uint8_t *bytes; /* CHUNK_BYTES; at most CHUNK_BYTES / LAYOUT_PAGE pages point into them */
};

/*
 * At most budget_bytes / CHUNK_BYTES chunks (at least 2) will exist; memory is taken as needed,
 * and given back when idle.
 */
int chunk_pool_create(struct chunk_pool **pool, size_t budget_bytes, struct err *err);
/*
 * Waits for a free chunk; NULL once chunk_pool_close() was called or memory is short. Any thread.
 */
struct chunk *chunk_get(struct chunk_pool *pool);
/* The same without waiting: NULL also when there is none now. */
struct chunk *chunk_try(struct chunk_pool *pool);
/* Gives a chunk back to its pool. Any thread. */
void chunk_put(struct chunk *chunk);
/* Wakes every waiter and lets none wait any more; chunk_pool_open() undoes that. */
void chunk_pool_close(struct chunk_pool *pool);
void chunk_pool_open(struct chunk_pool *pool);
/* How many chunks will ever exist. */
size_t chunk_pool_limit(const struct chunk_pool *pool);
/* Chunks in use now, for status. */
size_t chunk_pool_in_use(struct chunk_pool *pool);
/* All chunks must be back. */
void chunk_pool_destroy(struct chunk_pool *pool);

#endif
