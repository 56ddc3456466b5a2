#include "replica/first_copy.h"

#define DOWNTIME_MIN_MS 5 /* below that the cost of stopping outweighs */

void first_copy_init(struct first_copy *copy, size_t ready, uint32_t pause_limit_ms)
{
	uint64_t ms = (uint64_t)ready * 1000 / FIRST_COPY_SPEED;

	*copy = (struct first_copy){ .most_ms = pause_limit_ms / 2, .ready = ready };
	if (copy->most_ms < DOWNTIME_MIN_MS)
		copy->most_ms = DOWNTIME_MIN_MS;
	if (ms < DOWNTIME_MIN_MS)
		ms = DOWNTIME_MIN_MS;
	copy->downtime_ms = ms < copy->most_ms ? ms : copy->most_ms;
}

/* The largest downtime_ms for which the guest would stand for most_ms. */
static uint64_t limit_ms(const struct first_copy *copy, const struct first_copy_state *state)
{
	uint64_t took_ms = (state->now_ns - copy->begin_ns) / 1000000;
	uint64_t bytes =
		state->transferred > copy->begin_bytes ? state->transferred - copy->begin_bytes : 0;
	uint64_t ms;

	if (!state->speed_known)
		return copy->most_ms;
	ms = (copy->ready + bytes / (took_ms > 0 ? took_ms : 1) * copy->most_ms) * 1000 /
	     FIRST_COPY_SPEED;
	if (ms < copy->downtime_ms)
		return copy->downtime_ms;
	return ms < copy->most_ms ? ms : copy->most_ms;
}

enum first_copy_verdict first_copy_step(struct first_copy *copy,
					const struct first_copy_state *state)
{
	uint64_t limit;

	if (state->passes < 2) /* the first is counted when it begins */
		return FIRST_COPY_ON;
	if (copy->begin_ns == 0) {
		copy->begin_ns = copy->passed_ns = state->now_ns;
		copy->begin_bytes = state->transferred;
		copy->passes = state->passes;
		return FIRST_COPY_ON;
	}
	if (state->passes >= FIRST_COPY_PASSES && state->now_ns - copy->begin_ns >= FIRST_COPY_NS)
		return FIRST_COPY_HOPELESS;
	if (state->passes - copy->passes < FIRST_COPY_PATIENCE_PASSES ||
	    state->now_ns - copy->passed_ns < FIRST_COPY_PATIENCE_NS)
		return FIRST_COPY_ON;
	copy->passes = state->passes;
	copy->passed_ns = state->now_ns;
	limit = limit_ms(copy, state);
	if (copy->downtime_ms == limit)
		return FIRST_COPY_ON;
	copy->downtime_ms = copy->downtime_ms * 2 < limit ? copy->downtime_ms * 2 : limit;
	return FIRST_COPY_RAISED;
}
