/* The states of a standby's decision, where it begins, and what follows from a state alone: failover.h. */
#include "appliance/failover.h"

#include "appliance/base/clock.h"
#include "appliance/tenure.h"

#include <assert.h>
#include <stddef.h>

#define BIT(state) (1U << FAILOVER_##state)

static const struct {
	const char *name;
	unsigned next;
} states[] = {
	[FAILOVER_EMPTY] = { "empty", BIT(SYNCING) | BIT(UNATTENDED) },
	[FAILOVER_SYNCING] = { "syncing", BIT(EMPTY) | BIT(PROTECTED) },
	[FAILOVER_PROTECTED] = { "protected", BIT(SUSPECT) | BIT(UNATTENDED) | BIT(ENDED) |
						      BIT(CLAIMING) | BIT(EMPTY) },
	[FAILOVER_SUSPECT] = { "suspect", BIT(PROTECTED) | BIT(UNATTENDED) | BIT(ENDED) |
						  BIT(CLAIMING) | BIT(EMPTY) },
	[FAILOVER_UNATTENDED] = { "unattended",
				  BIT(PROTECTED) | BIT(ENDED) | BIT(CLAIMING) | BIT(EMPTY) },
	[FAILOVER_ENDED] = { "ended",
			     BIT(PROTECTED) | BIT(UNATTENDED) | BIT(CLAIMING) | BIT(EMPTY) },
	[FAILOVER_CLAIMING] = { "claiming",
				BIT(UNATTENDED) | BIT(ENDED) | BIT(TAKING_OVER) | BIT(EMPTY) },
	[FAILOVER_TAKING_OVER] = { "taking-over", BIT(SERVING) | BIT(FAILED) | BIT(UNATTENDED) },
	[FAILOVER_SERVING] = { "serving", BIT(LOST) },
	[FAILOVER_FAILED] = { "failed", BIT(EMPTY) },
	[FAILOVER_RETURNING] = { "returning", BIT(SERVING) | BIT(LOST) | BIT(EMPTY) },
	[FAILOVER_LOST] = { "lost", BIT(EMPTY) },
};
static_assert(sizeof(states) / sizeof(states[0]) == FAILOVER_STATES, "a row for every state");

bool failover_may(enum failover_state from, enum failover_state to)
{
	return (states[from].next & (1U << to)) != 0;
}

const char *failover_state_name(enum failover_state state)
{
	return states[state].name;
}

void failover_init(struct failover *failover, uint32_t detect_ms, bool automatic, uint64_t now_ns)
{
	*failover = (struct failover){
		.detect_ns = detect_ms * CLOCK_NS_PER_MS,
		.automatic = automatic,
		.state = FAILOVER_EMPTY,
		.term = 1,
		.heard_ns = now_ns,
		.tick_ns = now_ns,
		/* What an earlier life of this process may have granted. */
		.granted_ns = now_ns + detect_ms * CLOCK_NS_PER_MS,
	};
}

void failover_restore(struct failover *failover, uint64_t term, uint64_t epoch)
{
	assert(failover->state == FAILOVER_EMPTY && term > 0);
	failover->term = term;
	failover->epoch = epoch;
	if (epoch > 0)
		failover->state = FAILOVER_RETURNING;
}

uint64_t failover_lease_ns(const struct failover *failover)
{
	return failover_is_over(failover) ? 0 : TENURE_LEASE_NS(failover->detect_ns);
}

bool failover_has_served(const struct failover *failover)
{
	return failover->state == FAILOVER_SERVING || failover->state == FAILOVER_LOST;
}

bool failover_is_over(const struct failover *failover)
{
	return failover_has_served(failover) || failover->state == FAILOVER_CLAIMING ||
	       failover->state == FAILOVER_TAKING_OVER || failover->state == FAILOVER_FAILED ||
	       failover->state == FAILOVER_RETURNING;
}

const char *failover_refusal(const struct failover *failover)
{
	switch (failover->state) {
	case FAILOVER_CLAIMING:
		return failover->ordered ? "a takeover is under way" : NULL;
	case FAILOVER_TAKING_OVER:
		return "a takeover is under way";
	case FAILOVER_SERVING:
		return "the replica is serving already";
	case FAILOVER_RETURNING:
		return "it took over before and is looking for its replica";
	case FAILOVER_LOST:
		return "it took over before, and its replica has ended";
	case FAILOVER_FAILED:
		return "the replica may have run, so its memory is that of no epoch any more";
	default:
		return failover->epoch > 0 && failover_may(failover->state, FAILOVER_CLAIMING) ?
			       NULL :
			       "there is no committed epoch to take over from";
	}
}

double failover_suspicion(const struct failover *failover, uint64_t now_ns)
{
	uint64_t silent = now_ns > failover->heard_ns ? now_ns - failover->heard_ns : 0;

	return silent >= failover->detect_ns ? 1.0 : (double)silent / (double)failover->detect_ns;
}
