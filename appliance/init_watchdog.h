/*
 * A hardware watchdog, where there is one: it restarts a machine whose process 1 does not come round any more. Where there is none
 * every function does nothing.
 */
#ifndef APPLIANCE_INIT_WATCHDOG_H
#define APPLIANCE_INIT_WATCHDOG_H

#include <stdint.h>

#define INIT_WATCHDOG_S \
	60 /* process 1 waits for nothing that takes longer than a moment; a busy host may */

struct init_watchdog {
	int fd; /* -1: none */
	uint64_t every_ms, due_ms;
};

/* Starts it: from now on it wants to be told. path: NULL: none. */
void init_watchdog_open(struct init_watchdog *watchdog, const char *path, uint64_t now_ms);
/* Tells it, if that is due; until due_ms (UINT64_MAX: never) it need not be called. */
void init_watchdog_tell(struct init_watchdog *watchdog, uint64_t now_ms);
/* Stops it. */
void init_watchdog_close(struct init_watchdog *watchdog);

#endif
