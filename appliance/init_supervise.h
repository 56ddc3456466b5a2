/*
 * The rest of process 1's life: the standby runs, and is started again when it ends (restart.h), and whoever has no parent
 * any more is reaped, until the machine is told to end, by its power button or by a signal.
 */
#ifndef APPLIANCE_INIT_SUPERVISE_H
#define APPLIANCE_INIT_SUPERVISE_H

#include "appliance/base/err.h"
#include "appliance/init_watchdog.h"

#include <poll.h>

#define INIT_BUTTONS_MAX 8 /* input devices that are looked at */

/* What tells the machine to end, and of children that have: signals, then buttons. */
struct init_ears {
	struct pollfd from[1 + INIT_BUTTONS_MAX];
	nfds_t count;
};

/* From now on none of it is lost: init_supervise() heeds it. The drivers of buttons are modules. */
void init_supervise_hear(struct init_ears *ears);

struct init_service {
	struct init_ears *ears;

	const char *program; /* understudy */
	const char *config;  /* the standby's */
	const char *
		problems; /* a file: what is told beside the standby's health, and beside the trouble; NULL: none */
	const char
		*helper;  /* a verb that is to run beside it, with that configuration; NULL: none */
	const char *http; /* where health is told while the standby cannot; NULL: nowhere */
	const char *http_else; /* where, if that is NULL or cannot be; NULL: nowhere else */
	const char *trouble;   /* what keeps it from being started at all; NULL: nothing */
	/*
	 * Tries with `owner` what keeps it from being started once more, now and then. RC_OK: nothing does any more; else `err` is what
	 * does now, RC_STATE if to try costs nothing. NULL: it stays as it is.
	 */
	int (*try_again)(void *owner, struct err *err);
	void *owner;
	struct init_watchdog *watchdog; /* opened; it is closed at the end */
	void (*on_ended)(void);		/* nobody else runs any more; may be NULL */
};

/* For process 1, of a machine or of a namespace: at the end it ends all others that it can see. */
void init_supervise(const struct init_service *service) __attribute__((noreturn));

#endif
