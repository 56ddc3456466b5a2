/*
 * How long an instance may run that has to stand without a lease: one number, which its agent tells
 * the guardian at every lease, and by which the guardian stops it when the agent does not. Pure.
 */
#ifndef REPLICA_LEASH_H
#define REPLICA_LEASH_H

#include <stdbool.h>
#include <stdint.h>

/* Else: until that time (monotonic ns), whatever becomes of the agent. */
#define LEASH_FREE UINT64_MAX /* as long as it likes */
#define LEASH_STANDS 0	      /* not at all, and the agent has seen that it does not */

#define LEASH_GRACE_NS \
	UINT64_C(2000000)	/* an agent that lives is to do it itself: one round trip */
#define LEASH_AGAIN_MS 2	/* it is told again then: QEMU may just be setting it running */
#define LEASH_AGAIN_MS_MAX 1000 /* and then less and less often: nobody reads the replies */

/* When the guardian has to see to it that it stands; UINT64_MAX: never. */
uint64_t leash_end_ns(uint64_t until_ns, bool agent_lives);

/* For one that has an agent. All zero at first. */
struct leash {
	uint64_t until_ns, next_ns; /* as last told; when it is to be stopped (again) */
	uint32_t again_ms;
};

/* Whether to say `stop` now; leash->next_ns is when to ask again at the latest. */
bool leash_step(struct leash *leash, uint64_t until_ns, uint64_t now_ns);

#endif
