/*
 * Capture: what changed in an instance, epoch by epoch. The instance is a virtual machine; other
 * kinds of instance can offer the same.
 *
 * Life: capture_open() -> on_layout -> chunks of the first epoch (the full copy and, at its end,
 * the first checkpoint) -> on_epoch -> the guest runs -> on_ready (the instance is ready for the
 * next checkpoint, for as long as we like) -> capture_checkpoint() -> chunks -> on_epoch -> ...
 * Callbacks run on the loop's thread, in this order. A chunk belongs to the callee, who returns it
 * to the pool.
 */
#ifndef REPLICA_CAPTURE_H
#define REPLICA_CAPTURE_H

#include "appliance/base/err.h"
#include "replica/chunk.h"
#include "replica/layout.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct capture;
struct guardian;
struct qmp;

struct capture_epoch {
	uint64_t epoch;
	uint64_t pages;		   /* captured for it, device state included */
	uint32_t device_state_len; /* bytes; its pages were in the chunks */
	uint64_t pause_ns;	   /* we held the instance: reply sent until it was let go */
};

struct capture_ops {
	void (*on_layout)(void *owner, const struct layout *layout);
	/* First copy under way: done and (estimated) total bytes. */
	void (*on_progress)(void *owner, uint64_t done_bytes, uint64_t total_bytes);
	void (*on_chunk)(void *owner, struct chunk *chunk);
	void (*on_epoch)(void *owner, const struct capture_epoch *epoch);
	/* Not called if capture_checkpoint() was called before. */
	void (*on_ready)(void *owner);
	/*
	 * False: the instance may not run when it is let go (let_go.h), nor is told of as stopped by hand.
	 * And: the owner itself has stopped it, who sets it running again.
	 */
	bool (*may_run)(void *owner);
	bool (*has_stopped)(void *owner);
	/*
	 * The end of this capture for any reason but capture_close(). The instance has been let
	 * go (let_go.h); whether it runs is part of the text, where QEMU has said so. Call
	 * capture_close().
	 */
	void (*on_lost)(void *owner, const struct err *err);
};

/*
 * For what else belongs to an epoch than memory. All are called by the capture's thread while the
 * instance stands or is about to, and must not block. NULL: nobody wants them.
 */
struct capture_hooks {
	/* Whether it may run on after the checkpoint; if not, the capture ends inside of it. */
	bool (*may_thaw)(void *owner);
	void (*freeze)(void *owner); /* before the instance is stopped for a checkpoint */
	/* Before it runs on: what it does from now on belongs to next_epoch. */
	void (*thaw)(void *owner, uint64_t next_epoch);
	void *owner;
};

struct capture_options {
	const char *name;     /* of the instance, for the log */
	uint64_t first_epoch; /* number of the epoch of the full copy */
	/* A checkpoint that holds the instance longer is given up: the instance comes first. */
	uint32_t pause_limit_ms;
	uint64_t first_copy_bytes_s; /* bandwidth limit of the first copy, 0: none */
	bool wait;		     /* after on_layout, for capture_go() */
	struct capture_hooks hooks;
};

/*
 * Starts protecting the instance behind `qmp` (connected, checked by precheck.h). `pool`, `qmp` and
 * `guardian` stay the caller's and outlive the capture; guardian may be NULL. Nothing of the
 * instance was touched if this fails.
 */
int capture_open(struct capture **capture, uv_loop_t *loop, struct qmp *qmp,
		 struct guardian *guardian, struct chunk_pool *pool,
		 const struct capture_options *options, const struct capture_ops *ops, void *owner,
		 struct err *err);

/*
 * Every event of `qmp`, as its on_event had it. Without these the capture does not get beyond the
 * first copy. An operator's stop and cont are seen here: while the instance is stopped by hand no
 * checkpoint is taken (QEMU would set it running afterwards), a first copy is given up, and at the
 * capture's end it is stopped again.
 */
void capture_event(struct capture *capture, const char *name, const cJSON *data);

/*
 * Why no checkpoints are taken ("stopped by hand: ..."), or the instance is not let go; NULL while
 * they are, or it is.
 */
const char *capture_standing(const struct capture *capture);

/* What else belongs to the first copy has come, or will before its checkpoint: memory may be copied. */
void capture_go(struct capture *capture);

/* Takes the checkpoint now if the instance is ready, else as soon as it is. */
void capture_checkpoint(struct capture *capture);

/*
 * Lets the instance go (it runs on, unprotected, unless it is to stand; the log says what QEMU says of
 * that) and frees the capture after `on_closed`; idempotent. Chunks still out stay valid.
 */
void capture_close(struct capture *capture, void (*on_closed)(void *owner));

#endif
