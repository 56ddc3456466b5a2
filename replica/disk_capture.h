/*
 * Captures what is written to an instance's disks, beside its memory (capture.h).
 *
 * Life: disk_capture_open() -> chunks of the first copy (all that is on the disks, and what is written
 * meanwhile) -> on_ready: each disk is mirrored, nothing is missing any more -> disk_capture_cut() while
 * the instance stands, disk_capture_take(), and again. Whatever fails is told once by on_lost, and leaves
 * the instance running: QEMU's own write has gone to its disk before that.
 */
#ifndef REPLICA_DISK_CAPTURE_H
#define REPLICA_DISK_CAPTURE_H

#include "replica/chunk_list.h"
#include "replica/disk_store.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <uv.h>

struct disk_capture;
struct guardian;
struct qmp;

struct disk_capture_disk {
	const char *name;
	char socket[108]; /* where the agent listens for QEMU */
	const char *node; /* of QEMU's, to be mirrored */
	struct disk_extent extent;
};

struct disk_capture_ops {
	/* Of the first copy; it becomes the callee's. */
	void (*on_chunk)(void *owner, struct chunk *chunk);
	void (*on_ready)(void *owner);
	void (*on_lost)(void *owner, const struct err *err);
};

struct disk_capture_options {
	const char *part; /* for the log */
	const struct disk_capture_disk *disks;
	size_t ndisks;		 /* 1 to LAYOUT_DISKS_MAX */
	struct chunk_pool *pool; /* of its own: what is written is bounded by it */
	uint64_t copy_bytes_s;	 /* bandwidth limit of each disk's first copy, 0: none */
	/* Whoever frees the guest's writes if this process does not answer for so long; NULL: nobody. */
	struct guardian *guardian;
	uint32_t freeze_limit_ms;
};

/*
 * What `options` points to is copied, but texts, `qmp` and the pool, which outlive it. RC_IO: a socket
 * cannot be made. on_ready or on_lost follows.
 */
int disk_capture_open(struct disk_capture **capture, uv_loop_t *loop, struct qmp *qmp,
		      const struct disk_capture_options *options,
		      const struct disk_capture_ops *ops, void *owner, struct err *err);
/* Every event of `qmp`. */
void disk_capture_event(struct disk_capture *capture, const char *name, const cJSON *data);

/*
 * The epoch ends here; by any thread, while the instance stands. Then its chunks, by the loop's; false: there
 * are none, because the capture is lost, which on_lost has told by then.
 */
void disk_capture_cut(struct disk_capture *capture);
bool disk_capture_take(struct disk_capture *capture, struct chunk_list *chunks);

struct disk_capture_state {
	const char *name;
	uint64_t bytes, done; /* done: of the first copy */
	bool mirrored;
};
void disk_capture_query(const struct disk_capture *capture, size_t disk,
			struct disk_capture_state *state);

/*
 * Ends the mirrors and what was made for them in QEMU, as far as it answers; frees, then calls on_closed.
 * Chunks still out stay valid.
 */
void disk_capture_close(struct disk_capture *capture, void (*on_closed)(void *owner));

#endif
