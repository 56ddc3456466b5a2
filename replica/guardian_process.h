/*
 * The guardian's process: what an agent starts, and what the two say to each other. For guardian.c
 * and guardian_spawn.c, and for main(), which has to ask whether it is one.
 *
 * It is this program, executed under GUARDIAN_PROCESS_NAME with no argument and with its end of a
 * SOCK_SEQPACKET pair as descriptor GUARDIAN_CONTROL. The first packet is GUARDIAN_BEGIN. The agent
 * writes that and one WATCH per instance before it starts the process, so that a guardian knows
 * everything from its first moment on, even if the agent is gone by then.
 */
#ifndef REPLICA_GUARDIAN_PROCESS_H
#define REPLICA_GUARDIAN_PROCESS_H

#include "replica/guardian.h"

#include <stdatomic.h>
#include <stdint.h>

#define GUARDIAN_PROCESS_NAME "us-guardian"
#define GUARDIAN_CONTROL 3 /* after the standard three */
#define GUARDIAN_FDS 2	   /* at most, with a packet */
/* A slot for all that is watched; behind these, one for each leash. */
#define GUARDIAN_LEASHES GUARDIAN_INSTANCES_MAX
#define GUARDIAN_SLOTS (GUARDIAN_INSTANCES_MAX + GUARDIAN_LEASHES_MAX)

/* In a page of the agent's that every guardian it starts shares. It outlives them. */
struct guardian_shared {
	/*
	 * When (monotonic ns) the agent began to hold the instance of a slot, 0: it does not.
	 */
	_Atomic uint64_t held_since_ns[GUARDIAN_INSTANCES_MAX];
	/* By leash: as of leash.h; and whether it would run but for the agent, which has stopped it. */
	_Atomic uint64_t until_ns[GUARDIAN_LEASHES_MAX];
	atomic_bool stopped[GUARDIAN_LEASHES_MAX];
	int32_t log_level, log_json; /* as log_setup() had them */
	_Atomic uint32_t turns;	     /* the guardian's alone: counts while it watches */
};

/*
 * One packet each. BEGIN carries the page's descriptor, WATCH the QMP and the COLO descriptor, SOCKET
 * one, LEASH the QMP descriptor; LEAVE: of that leash the agent is gone. No packet but the end: the agent is gone.
 */
enum guardian_packet_kind {
	GUARDIAN_BEGIN = 1,
	GUARDIAN_WATCH,
	GUARDIAN_SOCKET,
	GUARDIAN_LEASH,
	GUARDIAN_UNWATCH,
	GUARDIAN_LEAVE,
	GUARDIAN_STOP
};

struct guardian_packet {
	uint32_t kind;
	uint32_t slot;
	uint32_t freeze_limit_ms; /* 0: none */
	char name[GUARDIAN_NAME_MAX + 1];
};

/*
 * For the first line of every main() of a program that starts guardians: whether this process was
 * started to be one. Then guardian_process_run() is all that is to be done.
 */
bool guardian_process_is_one(int argc, char **argv);
/* Never returns. */
_Noreturn void guardian_process_run(void);

/* That main() did ask: a program that does not would run itself in place of a guardian. */
bool guardian_process_can_start(void);

#endif
