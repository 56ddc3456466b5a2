/*
 * What a process of ours may not ask of the kernel: a table, and a seccomp filter compiled from it. Pure.
 */
#ifndef REPLICA_CONFINE_FILTER_H
#define REPLICA_CONFINE_FILTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum confine_whom {
	/* A replica's QEMU: parses what a guest and a primary have written. */
	CONFINE_HYPERVISOR = 1,
	/* The standby's process, and with it all that it starts. */
	CONFINE_STANDBY = 2,
	/* One that hears a network, and starts nothing. */
	CONFINE_LISTENER = 4,
};

/* What only some hypervisors may do, an or of these. */
enum confine_may {
	CONFINE_MAY_IO_URING = 1, /* use that for a disk */
	CONFINE_MAY_IP = 2,	  /* speak to other machines, and ask for this one's addresses */
	CONFINE_MAY_UEVENTS = 4,  /* hear of devices that come and go */
};

struct confine_subject {
	enum confine_whom whom;
	uint32_t pid; /* its own; of a standby: 0 */
	/* Of a hypervisor. */
	/*
	 * With this in the register of a sixth argument, which execve() does not have, one program can be executed: a secret
	 * of who executes it, and gone from memory then.
	 */
	uint64_t key;
	unsigned may;
};

#define CONFINE_FILTER_MAX 512 /* instructions */

/* Returns how many instructions were written. */
size_t confine_filter(struct sock_filter out[CONFINE_FILTER_MAX],
		      const struct confine_subject *subject);

/* A call that is never allowed, whatever its arguments, by its place in the table; for tests. False: behind the last one. */
bool confine_denied(size_t i, enum confine_whom whom, int *call, int *reason, const char **why);

#endif
