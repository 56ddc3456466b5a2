#include "tests/sim/world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

void tell(const struct world *w, const char *format, ...)
{
	va_list args;

	if (!w->verbose)
		return;
	printf("%9.3f  ", clock_ms(w->now_ns));
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

void violation(struct world *w, const char *what)
{
	if (w->failed)
		return;
	w->failed = true;
	printf("seed %" PRIu64 ", at %.3f ms: %s (primary %s, standby %s)\n", w->seed,
	       clock_ms(w->now_ns), what, tenure_state_name(w->tenure.state),
	       failover_state_name(w->failover.state));
}

/* xorshift64* */
uint64_t draw(struct world *w, uint64_t below)
{
	w->random ^= w->random >> 12;
	w->random ^= w->random << 25;
	w->random ^= w->random >> 27;
	return (w->random * UINT64_C(2685821657736338717) >> 16) % below;
}

bool likely(struct world *w, unsigned percent)
{
	return draw(w, 100) < percent;
}

uint64_t clock_of(const struct world *w, enum who who)
{
	const struct site *site = &w->sites[who];

	return w->now_ns / DRIFT_PARTS * (uint64_t)(DRIFT_PARTS + site->drift) +
	       (who == PRIMARY ? 7777 * MS : 999 * MS);
}

/* How long a wait by a site's clock takes in truth. */
uint64_t truly(const struct world *w, enum who who, uint64_t ns)
{
	return ns / (uint64_t)(DRIFT_PARTS + w->sites[who].drift) * DRIFT_PARTS + 1;
}

static bool earlier(const struct event *a, const struct event *b)
{
	return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->order < b->order);
}

void queue_put(struct world *w, struct event event)
{
	size_t i = w->nevents++, up;

	if (w->nevents > EVENTS_MAX) {
		violation(w, "the simulator has too many events");
		w->nevents--;
		return;
	}
	event.order = w->order++;
	for (; i > 0 && earlier(&event, &w->events[up = (i - 1) / 2]); i = up)
		w->events[i] = w->events[up];
	w->events[i] = event;
}

struct event queue_take(struct world *w)
{
	struct event first = w->events[0], last = w->events[--w->nevents];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < w->nevents) {
		if (child + 1 < w->nevents && earlier(&w->events[child + 1], &w->events[child]))
			child++;
		if (!earlier(&w->events[child], &last))
			break;
		w->events[i] = w->events[child];
		i = child;
	}
	w->events[i] = last;
	return first;
}

void later(struct world *w, enum kind kind, enum who who, uint64_t ns)
{
	queue_put(w, (struct event){ .at_ns = w->now_ns + ns,
				     .kind = kind,
				     .who = who,
				     .incarnation = w->sites[who].incarnation });
}
