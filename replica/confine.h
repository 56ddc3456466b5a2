/*
 * A process of ours gives up what it does not need: capabilities, new privileges, system calls. Those that hear a network do it
 * to themselves; a replica's QEMU is started through a process that does it first (confine_process.h).
 */
#ifndef REPLICA_CONFINE_H
#define REPLICA_CONFINE_H

#include "appliance/base/err.h"
#include "replica/confine_filter.h"

#include <stdint.h>

/* What of that a QEMU with these arguments (NULL-terminated) cannot do without. Pure. */
struct confine_needs {
	uint64_t capabilities; /* a bit each */
	unsigned may;	       /* an or of confine_may */
};
/* RC_UNSUPPORTED: it needs what cannot be given. */
int confine_needs(struct confine_needs *needs, char *const *args, struct err *err);

/* The capabilities that the standby keeps, if it has them: its own, and what a QEMU may need. */
uint64_t confine_standby_capabilities(void);

/*
 * What a process does to itself that hears a network and starts nothing: confine(). One that cannot be confined is to end: who is heard
 * there is anybody, and who has started it says so and tries again.
 */
int confine_listener(uint64_t capabilities, struct err *err);

/*
 * For the calling thread, and what it starts from then on: of its capabilities those in `capabilities` stay, execve() gives
 * nothing any more, and the filter holds. Who is no standby, which has to do with its QEMUs, cannot look into processes that were there
 * before, where the kernel has Landlock. RC_IO: the kernel refuses; what was given up by then is.
 */
int confine(const struct confine_subject *subject, uint64_t capabilities, struct err *err);

#endif
