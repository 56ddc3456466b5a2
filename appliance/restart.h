/*
 * When a process that has ended is started again: decisions only, so that they can be tested. At once, as a rule; but one that
 * ends over and over is in trouble, which its operator is to see, and is tried at growing intervals from then on.
 */
#ifndef APPLIANCE_RESTART_H
#define APPLIANCE_RESTART_H

#include <stdbool.h>
#include <stdint.h>

#define RESTART_MS 20		 /* what it held, a socket's address say, is let go of by then */
#define RESTART_TRIES 5		 /* ends within */
#define RESTART_WITHIN_MS 60000	 /* are trouble */
#define RESTART_TROUBLE_MS 10000 /* then it is tried so much later, doubled each time */
#define RESTART_TROUBLE_MAX_MS 300000

struct restart {
	uint64_t ends_ms[RESTART_TRIES]; /* of the last ones, in a ring */
	uint64_t count;
	uint64_t trouble_ms; /* 0: none */
};

/* It has ended: after how many ms it is to be started again. *trouble: the operator should hear of it. */
uint64_t restart_after(struct restart *restart, uint64_t now_ms, bool *trouble);

#endif
