/*
 * Ends the migration that feeds a capture, whatever its state, so that the instance goes on without
 * us, and asks until it does: what it says at the end about the instance is query-status's word.
 */
#ifndef REPLICA_COLO_RELEASE_H
#define REPLICA_COLO_RELEASE_H

#include "appliance/base/err.h"
#include "replica/qmp.h"

#include <stdbool.h>

/* In all; a guest with slow storage can take seconds to stop and start. */
#define COLO_RELEASE_MS 10000

struct colo_release;

/*
 * `qmp` stays the caller's and outlives the release. Made ahead of need, so that releasing cannot
 * fail for want of memory.
 */
int colo_release_create(struct colo_release **release, uv_loop_t *loop, struct qmp *qmp,
			void *owner, struct err *err);

/*
 * QEMU has asked for a checkpoint, or sent the event COLO_EXIT: it can take x-colo-lost-heartbeat
 * now.
 */
void colo_release_ready(struct colo_release *release);

struct colo_release_end {
	/*
	 * NULL: the migration is over, and the instance in no state of a migration. RC_TIMEOUT:
	 * that is not so. RC_REFUSED: QEMU is stuck in a migration that somebody else cancelled.
	 * Else QMP's own.
	 */
	const struct err *err;
	const char *why;    /* QEMU's reason for a failed migration; NULL: none */
	const char *status; /* the instance's run state ("running"); "" if QEMU did not tell */
	bool continued;	    /* QEMU had left it standing, and it was told once to go on (cont) */
};

/* Once, after the stream was shut down; `done` follows on the loop. `end` is valid in the call. */
void colo_release_begin(struct colo_release *release,
			void (*done)(void *owner, const struct colo_release_end *end));

/*
 * Frees when nothing is open any more, then calls on_closed (may be NULL). No other callback comes.
 */
void colo_release_close(struct colo_release *release, void (*on_closed)(void *owner));

#endif
