#include "appliance/restart.h"

uint64_t restart_after(struct restart *restart, uint64_t now_ms, bool *trouble)
{
	const uint64_t slot = restart->count++ % RESTART_TRIES;
	const uint64_t before_ms = restart->ends_ms[slot]; /* RESTART_TRIES ends ago */
	uint64_t wait_ms;

	restart->ends_ms[slot] = now_ms;
	/* In trouble the waiting itself puts ends apart: out of it is who has run for long enough. */
	*trouble = restart->count > RESTART_TRIES &&
		   now_ms - before_ms < RESTART_WITHIN_MS + RESTART_TRIES * restart->trouble_ms;
	if (!*trouble) {
		restart->trouble_ms = 0;
		return RESTART_MS;
	}
	wait_ms = restart->trouble_ms == 0 ? RESTART_TROUBLE_MS : 2 * restart->trouble_ms;
	restart->trouble_ms = wait_ms < RESTART_TROUBLE_MAX_MS ? wait_ms : RESTART_TROUBLE_MAX_MS;
	return restart->trouble_ms;
}
