/*
 * Ends the migration that feeds a capture, whatever its state, so that the instance goes on without
 * us, and asks until it does: what it says at the end about the instance is query-status's word.
 * A QEMU that is stopped, or stuck in slow storage, is waited for as long as its connection lasts.
 */
#ifndef REPLICA_COLO_RELEASE_H
#define REPLICA_COLO_RELEASE_H

#include "appliance/base/err.h"
#include "replica/qmp.h"

#include <stdbool.h>

/*
 * Of a QEMU that answers; a guest with slow storage can take seconds to stop and start. After that
 * an instance that stands is told to go on (cont), and told and asked again less often.
 */
#define COLO_RELEASE_MS 10000

struct colo_release;

/*
 * `qmp` and `part` (for the log) stay the caller's and outlive the release. Made ahead of need, so
 * that releasing cannot fail for want of memory.
 */
int colo_release_create(struct colo_release **release, uv_loop_t *loop, struct qmp *qmp,
			const char *part, void *owner, struct err *err);

/*
 * QEMU has asked for a checkpoint, or sent the event COLO_EXIT: it can take x-colo-lost-heartbeat
 * now.
 */
void colo_release_ready(struct colo_release *release);

struct colo_release_end {
	/*
	 * NULL: the migration is over, and the instance in no state of a migration. RC_TIMEOUT: the
	 * instance is in none, but the migration does not end. RC_REFUSED: QEMU is stuck in a
	 * migration that somebody else cancelled. Else the connection is gone.
	 */
	const struct err *err;
	const char *why;    /* QEMU's reason for a failed migration; NULL: none */
	const char *status; /* the instance's run state ("running"); "" if QEMU did not tell */
	bool continued;	    /* QEMU had left it standing, and it was told once to go on (cont) */
};

/* Once, after the stream was shut down; `done` follows on the loop. `end` is valid in the call. */
void colo_release_begin(struct colo_release *release,
			void (*done)(void *owner, const struct colo_release_end *end));

/* Between begin and `done`: what it waits for, if that is worth telling; else NULL. */
const char *colo_release_waits(const struct colo_release *release);

/*
 * Frees when nothing is open any more, then calls on_closed (may be NULL). No other callback comes.
 */
void colo_release_close(struct colo_release *release, void (*on_closed)(void *owner));

#endif
