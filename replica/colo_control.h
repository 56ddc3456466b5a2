/*
 * What a capture asks of QEMU by QMP, each as one chain of commands with one answer: begin, release, restore, in this order.
 */
#ifndef REPLICA_COLO_CONTROL_H
#define REPLICA_COLO_CONTROL_H

#include "replica/colo_settings.h"
#include "replica/qmp.h"

struct colo_control;

/* `err` is NULL when all went well; valid during the call. Never called from inside the function that it answers. */
typedef void (*colo_control_cb)(void *owner, const struct err *err);

/* `qmp` stays the caller's and outlives the control; `owner` is for all callbacks. */
int colo_control_create(struct colo_control **control, uv_loop_t *loop, struct qmp *qmp, void *owner, struct err *err);

/*
 * Checks that the instance runs, remembers and makes settings, passes `fd` (stays the caller's) and starts the migration into it. RC_STATE: the instance
 * stands. After an error call colo_control_release() all the same.
 */
void colo_control_begin(struct colo_control *control, int fd, const struct colo_settings *settings, colo_control_cb done);

/* After begin: QEMU takes a speed for the end of the first copy (avail-switchover-bandwidth, since 8.2). */
bool colo_control_takes_speed(const struct colo_control *control);

struct colo_control_progress {
	char status[32]; /* of the migration; "" if there is none */
	uint64_t transferred, remaining, total; /* bytes; 0 where QEMU does not tell */
	uint64_t passes;
};
/* One question; `progress` is NULL if there is no answer. False: not sent. */
bool colo_control_query(struct colo_control *control,
			void (*done)(void *owner, const struct colo_control_progress *progress));
void colo_control_set_downtime(struct colo_control *control, uint64_t downtime_ms);

/* QEMU's event of that name: its COLO thread is at its end and waits to be released. */
void colo_control_colo_exit(struct colo_control *control);

/*
 * Ends the migration, whatever its state, so that the instance goes on without us, and asks until it does: RC_TIMEOUT after COLO_CONTROL_RELEASE_MS.
 * running_colo: QEMU has been seen to ask for a checkpoint. cut: shuts the stream down; called at most once, if the rest does not help. Ends a chain
 * that has not ended; that one's `done` is not called. why (may be NULL): QEMU's own reason for a failed migration, if it has one.
 */
#define COLO_CONTROL_RELEASE_MS 10000 /* a guest with slow storage can take seconds to stop and start */
void colo_control_release(struct colo_control *control, bool running_colo, void (*cut)(void *owner),
			  void (*done)(void *owner, const struct err *err, const char *why));

/* Puts the settings back. */
void colo_control_restore(struct colo_control *control, colo_control_cb done);

/* Frees when nothing is open any more, then calls on_closed. No other callback comes. */
void colo_control_close(struct colo_control *control, void (*on_closed)(void *owner));

#endif
