/*
 * The encoder: chunks in, batches out, in order, on libuv's worker threads.
 *
 * Chunks of a first copy may hold the same page twice in different versions, so they are encoded
 * one after the other; the chunks of a checkpoint have no page in common and are encoded side by
 * side. An epoch's last batch is out before the next epoch's first chunk is encoded. All
 * functions and callbacks are the loop thread's; functions may be called from callbacks.
 */
#ifndef REPLICA_ENCODER_H
#define REPLICA_ENCODER_H

#include "replica/delta.h"

#include <uv.h>

struct encoder;

struct encoder_epoch {
	uint64_t epoch, batches, pages, hash,
		bytes; /* as the commit message states them; bytes: encoded */
	void *mark;    /* the caller's, from encoder_end_epoch() */
};

struct encoder_ops {
	/* One batch; `data` (mem_alloc'ed) becomes the callee's. */
	void (*on_batch)(void *owner, uint64_t epoch, uint8_t *data, size_t len);
	/* One chunk of encoder_add() is done with (after its on_batch, if it had one). */
	void (*on_chunk)(void *owner);
	void (*on_epoch)(void *owner, const struct encoder_epoch *epoch);
	/*
	 * Pages were lost: nothing more comes out, what is added is dropped (with its on_chunk).
	 * Close it.
	 */
	void (*on_error)(void *owner, const struct err *err);
};

int encoder_create(struct encoder **encoder, uv_loop_t *loop, struct delta_state *state,
		   const struct encoder_ops *ops, void *owner, struct err *err);
/*
 * Takes the chunk over and returns it to its pool when it is encoded. `first_copy` as
 * delta_encode's !may_xor.
 */
void encoder_add(struct encoder *encoder, struct chunk *chunk, bool first_copy);
/*
 * After the last chunk of an epoch, also of one without any. `mark` (mem_alloc'ed, or NULL) comes
 * back with on_epoch; if it does not come to that, it is freed with mem_free(). After an error
 * (RC_NOMEM) it is still the caller's.
 */
int encoder_end_epoch(struct encoder *encoder, uint64_t epoch, void *mark, struct err *err);
const struct delta_stats *encoder_stats(const struct encoder *encoder);
/*
 * Drops what is queued, waits for what is being encoded, calls on_closed (may be NULL) on the
 * loop, never from within, and frees. No other callback comes any more.
 */
void encoder_close(struct encoder *encoder, void (*on_closed)(void *owner), void *owner);

#endif
