/*
 * The secondary end of COLO on a connected socket: a thread that takes QEMU's stream into chunks
 * and answers its messages, so that a checkpoint holds the guest for no longer than copying its
 * dirty pages takes.
 *
 * Life: colo_secondary_start() -> on_layout, chunks of the first epoch -> QEMU's migration status
 * becomes "colo": colo_secondary_entered() -> the first checkpoint is taken at once and ends the
 * first epoch: on_epoch -> on_request -> colo_secondary_checkpoint() -> chunks -> on_epoch ->
 * on_request ... on_ended comes at any time. Callbacks run on the loop's thread.
 */
#ifndef REPLICA_COLO_SECONDARY_H
#define REPLICA_COLO_SECONDARY_H

#include "replica/capture.h"

struct colo_secondary;

struct colo_secondary_ops {
	void (*on_layout)(void *owner, const struct layout *layout);
	void (*on_chunk)(void *owner, struct chunk *chunk); /* becomes the callee's */
	void (*on_epoch)(void *owner, const struct capture_epoch *epoch);
	void (*on_request)(void *owner); /* QEMU waits for colo_secondary_checkpoint() */
	void (*on_ended)(void *owner,
			 const struct err *
				 err); /* for any reason but colo_secondary_stop(); call that now */
};

struct colo_secondary_options {
	int fd; /* becomes the callee's if this succeeds */
	uint64_t first_epoch;
	/*
	 * While true the instance may be standing for us. Any thread, must not block; may be NULL.
	 */
	void (*hold)(void *owner, bool held);
	bool wait; /* after the layout, for colo_secondary_go() */
	struct capture_hooks hooks;
};

int colo_secondary_start(struct colo_secondary **secondary, uv_loop_t *loop,
			 struct chunk_pool *pool, const struct colo_secondary_options *options,
			 const struct colo_secondary_ops *ops, void *owner, struct err *err);

/* QEMU has stopped the guest before the first copy's end. */
void colo_secondary_standing(struct colo_secondary *secondary);

/* QEMU has said that its migration status is "colo". */
void colo_secondary_entered(struct colo_secondary *secondary);

/* The RAM of a first copy that waits may come. */
void colo_secondary_go(struct colo_secondary *secondary);

/* Once after each on_request. */
void colo_secondary_checkpoint(struct colo_secondary *secondary);

/* For how long the instance has been standing for us, in nanoseconds; 0: it runs. */
uint64_t colo_secondary_held_ns(const struct colo_secondary *secondary);

/* How many checkpoints have been granted. One is counted before QEMU can know of it. */
unsigned colo_secondary_granted(const struct colo_secondary *secondary);

/*
 * Chunks kept ready for the end of the first copy, when the guest stands: so much goes at the speed
 * of memory.
 */
size_t colo_secondary_reserve(const struct chunk_pool *pool);

/*
 * Shuts the socket down and ends the thread (it never waits for anything that this does not wake).
 * No callback comes any more. Whoever waits for the pool's chunks meanwhile gets none. Idempotent.
 */
void colo_secondary_stop(struct colo_secondary *secondary);

/* After colo_secondary_stop(): frees, on_closed (may be NULL) follows on the loop. */
void colo_secondary_close(struct colo_secondary *secondary, void (*on_closed)(void *owner));

#endif
