/*
 * Where the capture thread puts what it reads: the current chunk, chunks kept ready, and chunks
 * kept back. Of one thread.
 *
 * Bytes are read into the current chunk and stay there; pages are pointed at. Only the piece of an
 * item that a chunk's end cuts off moves, to the beginning of the next chunk. While the guest
 * stands, full chunks are kept back (nobody is woken, nothing is encoded) and new ones come from
 * those kept ready, so that no memory is waited for; only when these are used up is handed over
 * what there is and waited for the pool.
 */
#ifndef REPLICA_COLO_STAGING_H
#define REPLICA_COLO_STAGING_H

#include "replica/chunk_list.h"
#include "replica/colo_outbox.h"

struct colo_staging {
	/* Set by the owner. */
	struct chunk_pool *pool;
	struct colo_outbox *outbox;
	uint64_t epoch; /* that chunks begin with from now on */

	/*
	 * Bytes [0, parsed) of the chunk are done with, [parsed, used) are still to be understood.
	 * NULL before colo_staging_begin().
	 */
	struct chunk *chunk;
	size_t parsed;
	struct chunk_list ready, kept;
	size_t filled; /* chunks since the owner set it to 0 */
};

/* All that wait for a chunk fail with RC_NOMEM when the pool is closed meanwhile. */

/* Gets the first chunk. */
int colo_staging_begin(struct colo_staging *staging, struct err *err);

/*
 * How many chunks may be kept ready: half of the pool, as long as what is left suffices to pass
 * chunks on one by one.
 */
size_t colo_staging_ready_max(const struct chunk_pool *pool);

/* Gets chunks ahead of need, or gives some back, until `count` are ready. */
int colo_staging_prepare(struct colo_staging *staging, size_t count, struct err *err);

/* The current chunk is full: the next one takes its place. `held`: the guest stands. */
int colo_staging_next(struct colo_staging *staging, bool held, struct err *err);

/* The current chunk has room in its index. */
static inline void colo_staging_add(struct colo_staging *staging, uint64_t index,
				    const uint8_t *data)
{
	staging->chunk->pages[staging->chunk->npages++] =
		(struct chunk_page){ .index = index, .data = data };
}

/*
 * The last page of an epoch: `len` bytes that end at `parsed`, which is all there is, get zeroes
 * behind them. Moves to the next chunk where this one has no room.
 */
int colo_staging_add_tail(struct colo_staging *staging, uint64_t index, size_t len,
			  struct err *err);

/* The epoch is complete; all of its chunks go, and the next epoch begins. */
int colo_staging_end_epoch(struct colo_staging *staging, const struct capture_epoch *epoch,
			   struct err *err);

/* Everything goes back to the pool. */
void colo_staging_end(struct colo_staging *staging);

#endif
