/*
 * How a capture begins with QEMU and what it leaves behind, by QMP: chains of commands, each with
 * one answer. Begin, halt, restore, in this order; let_go.h comes after halt.
 */
#ifndef REPLICA_COLO_CONTROL_H
#define REPLICA_COLO_CONTROL_H

#include "replica/colo_settings.h"
#include "replica/qmp.h"

struct colo_control;

/*
 * `err` is NULL when all went well; valid during the call. Never called from inside the function
 * that it answers.
 */
typedef void (*colo_control_cb)(void *owner, const struct err *err);

/* `qmp` stays the caller's and outlives the control; `owner` is for all callbacks. */
int colo_control_create(struct colo_control **control, uv_loop_t *loop, struct qmp *qmp,
			void *owner, struct err *err);

/*
 * Checks that the instance runs, remembers and makes settings, passes `fd` (stays the caller's) and
 * starts the migration into it. RC_STATE: the instance stands. After an error the instance has to
 * be released all the same.
 */
void colo_control_begin(struct colo_control *control, int fd, const struct colo_settings *settings,
			colo_control_cb done);

/*
 * After begin: QEMU takes a speed for the end of the first copy (avail-switchover-bandwidth, since
 * 8.2).
 */
bool colo_control_takes_speed(const struct colo_control *control);

struct colo_control_progress {
	char status[32];			/* of the migration; "" if there is none */
	uint64_t transferred, remaining, total; /* bytes; 0 where QEMU does not tell */
	uint64_t passes;
};
/* One question; `progress` is NULL if there is no answer. False: not sent. */
bool colo_control_query(struct colo_control *control,
			void (*done)(void *owner, const struct colo_control_progress *progress));
void colo_control_set_downtime(struct colo_control *control, uint64_t downtime_ms);

/* Ends a chain under way, whose `done` is not called; then no command of it is open. */
void colo_control_halt(struct colo_control *control, void (*halted)(void *owner));

/* Whether QEMU has been told to migrate. */
bool colo_control_migrating(const struct colo_control *control);

/*
 * query-status; `status` is NULL if there is no answer. False: not sent. Questions are answered in
 * their order.
 */
bool colo_control_ask(struct colo_control *control, void (*done)(void *owner, const char *status));

/* Puts the settings back. */
void colo_control_restore(struct colo_control *control, colo_control_cb done);

/* Frees when nothing is open any more, then calls on_closed. No other callback comes. */
void colo_control_close(struct colo_control *control, void (*on_closed)(void *owner));

#endif
