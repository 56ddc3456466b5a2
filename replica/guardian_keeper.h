/*
 * Calls guardian_tend() from a loop: when a child of this process ends, and when it asks for it.
 * Embedded by its owner; all members are private.
 */
#ifndef REPLICA_GUARDIAN_KEEPER_H
#define REPLICA_GUARDIAN_KEEPER_H

#include "replica/guardian.h"

#include <uv.h>

struct guardian_keeper {
	struct guardian *guardian; /* NULL: it does not keep one */
	uv_signal_t child_ended;
	uv_timer_t again;
};

/* `guardian` stays the caller's. If this fails nothing is left open. */
int guardian_keeper_begin(struct guardian_keeper *keeper, uv_loop_t *loop,
			  struct guardian *guardian, struct err *err);

/* Idempotent. The keeper's memory has to stay until the loop has run once more. */
void guardian_keeper_end(struct guardian_keeper *keeper);

#endif
