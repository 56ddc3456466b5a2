/*
 * Work with devices, any of which may never answer, in a process of its own: process 1 waits only so long for it. Who waits for a disk in
 * the kernel cannot be ended; that process is left behind then, and the device left out from then on.
 */
#ifndef APPLIANCE_INIT_APART_H
#define APPLIANCE_INIT_APART_H

#include "appliance/base/err.h"
#include "appliance/init_watchdog.h"

#include <stdbool.h>
#include <stdint.h>

/* A look at a disk: one that has to be spun up takes some seconds. */
#define INIT_APART_LOOK_MS 15000
/* What is written to one, or the journal of its file system that is replayed. */
#define INIT_APART_USE_MS 120000
/* What is nobody's any more at the end. */
#define INIT_APART_OTHERS_MS 5000
/* All that is in memory and not on a disk yet. */
#define INIT_APART_END_MS 600000

/*
 * Does the work in a child process and returns what it returned; of memory, what it changes is lost. Where something does not
 * answer, that is a machine_problem(), and the work is done again without it. The watchdog (NULL: none) is told meanwhile. RC_IO: the process ended
 * by a fault.
 */
int init_apart(int (*work)(void *owner, struct err *err), void *owner,
	       struct init_watchdog *watchdog, struct err *err);

/* For the work; without init_apart() these do nothing. */
/* From now on it waits for that device or the like, which is to take no longer; NULL: for none, as long as it likes. */
void init_apart_at(const char *device, uint32_t within_ms);
/* Whether that has not answered before, nor has by now: it is to be left out. */
bool init_apart_hangs(const char *device);

#endif
