/* The primary's site: tenure.c, and which epochs there are. */
#include "tests/sim/world.h"

bool primary_serves(const struct world *w)
{
	return !w->sites[PRIMARY].dead && !w->instance_dead &&
	       w->sites[PRIMARY].frozen_until_ns <= w->now_ns &&
	       tenure_may_serve(&w->tenure, clock_of(w, PRIMARY));
}

void primary_step(struct world *w, enum tenure_event_type type, uint64_t until_ns, uint64_t term)
{
	const struct tenure_event event = {
		.type = type, .now_ns = clock_of(w, PRIMARY), .until_ns = until_ns, .term = term
	};
	const uint64_t old_term = w->tenure.term;
	struct tenure_update update;

	tenure_step(&w->tenure, &event, &update);
	/* As on_term() in protection.c: of the witness's word the standby hears first. */
	if (w->tenure.term != old_term && (type == TENURE_WON || type == TENURE_LOST)) {
		w->uncommitted = w->captured;
		w->tell = true;
		to_standby(w, HEARTBEAT, 0);
	}
	if (update.changed)
		tell(w, "primary %s: %s", tenure_state_name(w->tenure.state), update.reason);
	if (update.claim || update.look)
		witness_ask(w, PRIMARY, update.claim ? CLAIM : LOOK, false);
	if (update.changed && w->tenure.state == TENURE_LEASED && w->server == PRIMARY &&
	    likely(w, 70))
		w->alive_until_ns = 0; /* given back, if that gets through */
	if (update.changed && w->tenure.state == TENURE_ALONE)
		later(w, RENEW, PRIMARY, truly(w, PRIMARY, WITNESS_TTL_NS / 4));
	check_servers(w);
}

void primary_hears(struct world *w, const struct message *message)
{
	if (message->serving) {
		primary_step(w, TENURE_SUPERSEDE, 0, message->term);
		return;
	}
	if (message->content == ACK && message->epoch > w->acknowledged)
		w->acknowledged = message->epoch;
	if (message->lease_ns > 0)
		primary_step(w, TENURE_GRANTED, message->echo_ns + message->lease_ns,
			     message->term);
}

void primary_capture(struct world *w)
{
	later(w, CAPTURE, PRIMARY, EPOCH_NS);
	if (w->instance_dead || !w->protecting ||
	    (w->tenure.state != TENURE_LEASED && w->tenure.state != TENURE_FREE))
		return;
	w->captured++;
	to_standby(w, COMMIT, w->captured);
}

/* Its session has ended, it runs on: behind a gateway what it sends passes without an epoch. */
void primary_unprotected(struct world *w)
{
	if (!w->gateway || w->protecting || w->instance_dead ||
	    w->tenure.state == TENURE_SUPERSEDED)
		return;
	to_standby(w, UNCOMMITTED, w->captured);
	to_standby(w, FRAMES, w->captured + 1);
}

void primary_answered(struct world *w, const struct event *event)
{
	uint64_t until = w->sites[PRIMARY].sent_ns + WITNESS_TTL_NS - WITNESS_TTL_NS / 8;
	uint64_t term = event->message.term;

	if (event->request == RENEWAL) {
		if (event->answer == WON)
			primary_step(w, TENURE_WON, until, term);
	} else if (event->answer == WON) {
		primary_step(w, TENURE_WON, event->request == CLAIM ? until : 0, term);
	} else if (event->answer == LOST && term > w->tenure.term) {
		primary_step(w, TENURE_LOST, 0, term);
	} else if (event->answer == NOBODY) {
		primary_step(w, TENURE_WON, 0, w->tenure.term);
	} else {
		primary_step(w, TENURE_UNANSWERED, 0, 0);
	}
}

void primary_start(struct world *w)
{
	tenure_init(&w->tenure, w->hold, w->witness, 1);
	w->sites[PRIMARY].asked = 0;
	later(w, BEAT, PRIMARY, HEARTBEAT_NS);
	later(w, TICK, PRIMARY, HEARTBEAT_NS);
	later(w, CAPTURE, PRIMARY, EPOCH_NS);
}
