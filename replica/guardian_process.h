/*
 * The guardian's process: what guardian_start() forks, and what the two say to each other. Only for
 * guardian.c.
 */
#ifndef REPLICA_GUARDIAN_PROCESS_H
#define REPLICA_GUARDIAN_PROCESS_H

#include "replica/guardian.h"

#include <stdatomic.h>
#include <stdint.h>

/*
 * In a page that both share: when (monotonic ns) the agent began to hold the instance of a slot, 0:
 * it does not.
 */
struct guardian_shared {
	_Atomic uint64_t held_since_ns[GUARDIAN_INSTANCES_MAX];
};

/*
 * One packet each; WATCH carries the QMP and the COLO descriptor. No packet but the end: the agent
 * is gone.
 */
enum guardian_packet_kind { GUARDIAN_WATCH = 1, GUARDIAN_UNWATCH, GUARDIAN_STOP };

struct guardian_packet {
	uint32_t kind;
	uint32_t slot;
	uint32_t freeze_limit_ms; /* 0: none */
	char name[GUARDIAN_NAME_MAX + 1];
};

/* Never returns. `control`: its end of a SOCK_SEQPACKET pair. Entered with all signals blocked. */
_Noreturn void guardian_process_run(int control, struct guardian_shared *shared);

#endif
