#include "replica/leash.h"

#include "appliance/base/clock.h"

uint64_t leash_end_ns(uint64_t until_ns, bool agent_lives)
{
	if (until_ns == LEASH_FREE)
		return UINT64_MAX;
	if (!agent_lives)
		return until_ns;
	return until_ns == LEASH_STANDS ? UINT64_MAX : until_ns + LEASH_GRACE_NS;
}

bool leash_step(struct leash *leash, uint64_t until_ns, uint64_t now_ns)
{
	if (until_ns != leash->until_ns || leash->again_ms == 0) {
		leash->until_ns = until_ns;
		leash->next_ns = leash_end_ns(until_ns, true);
		leash->again_ms = LEASH_AGAIN_MS;
	}
	if (now_ns < leash->next_ns)
		return false;
	leash->next_ns = now_ns + leash->again_ms * CLOCK_NS_PER_MS;
	leash->again_ms =
		leash->again_ms < LEASH_AGAIN_MS_MAX / 2 ? leash->again_ms * 2 : LEASH_AGAIN_MS_MAX;
	return true;
}
