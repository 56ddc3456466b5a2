/*
 * The states of a protection (protection.h), with what each means to an operator.
 */
#ifndef APPLIANCE_PROTECTION_STATE_H
#define APPLIANCE_PROTECTION_STATE_H

#include "appliance/base/log.h"

#include <stdbool.h>

enum protection_state {
	PROTECTION_CONNECTING, /* to the instance's QMP socket */
	PROTECTION_REFUSED,    /* the instance or the standby cannot do it; tried again */
	PROTECTION_WAITING,    /* for the standby */
	PROTECTION_RESERVING,  /* the standby makes a replica ready */
	PROTECTION_COPYING,    /* the first copy, or what differs */
	PROTECTION_PROTECTED,
	PROTECTION_CATCHING_UP, /* the link is lost or was just made again */
	PROTECTION_UNPROTECTED, /* the instance runs on without us, for now */
	PROTECTION_ENDED,	/* the instance was shut down */
	PROTECTION_CRASHED,	/* its QEMU is gone */
	PROTECTION_SUPERSEDED,	/* the standby serves; the instance is paused */
	PROTECTION_STATES
};

struct protection_state_row {
	const char *name;
	bool healthy; /* nothing for an operator to do, or not yet */
	enum log_level level;
};

extern const struct protection_state_row protection_states[PROTECTION_STATES];

#endif
