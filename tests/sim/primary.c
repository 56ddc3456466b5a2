/* The primary's site: tenure.c; of protection.c and guest_ports.c, which epochs there are and what leaves. */
#include "tests/sim/world.h"

/*
 * Whether an agent that is dead or frozen is heard no more: its cards pass nothing. A network of the
 * instance's own goes on to the lease's end, and no longer: that the guardian sees to (leash.h).
 */
static bool needs_its_agent(const struct world *w)
{
	return w->cards || !(w->hold || w->witness);
}

/* One that goes on without its standby answers until it is paused; what an agent has paused stays so. */
bool primary_serves(const struct world *w)
{
	const struct site *site = &w->sites[PRIMARY];

	if (w->instance_dead || w->paused ||
	    (needs_its_agent(w) && (site->dead || site->frozen_until_ns > w->now_ns)))
		return false;
	return w->pausing || tenure_may_serve(&w->tenure, clock_of(w, PRIMARY));
}

/* As lease_keeper.c: a lease that is of no use any more is given back, if that gets through. */
static void give_back(struct world *w)
{
	if (w->server == PRIMARY && likely(w, 70))
		w->alive_until_ns = 0;
}

static void check_tenure(struct world *w, const struct tenure *old, enum tenure_event_type type)
{
	const enum tenure_state state = w->tenure.state;

	if (state == TENURE_ALONE && (w->tenure.gone || type == TENURE_TAKEN))
		violation(w, "the primary goes on by a lease of the witness that it cannot have");
	if (old->state == TENURE_SUPERSEDED && !old->hearsay && state != TENURE_SUPERSEDED &&
	    type != TENURE_RELEASE)
		violation(w, "who was superseded goes on, and no operator has said so");
}

/* Where no lease ends it: restraint.c. */
static void pause_or_resume(struct world *w, const struct tenure *old, enum tenure_event_type type)
{
	const bool held = old->state == TENURE_YIELDED || old->state == TENURE_SUPERSEDED;

	if (w->hold || w->gateway)
		return;
	if (type == TENURE_SUPERSEDE) {
		w->paused = true;
		w->pausing = false;
	} else if (w->tenure.state == TENURE_FREE && held) {
		/* Of what was superseded the operator says when it runs: once nobody else does. */
		w->paused &= old->state == TENURE_SUPERSEDED && w->replica_runs;
		w->pausing = false;
	}
}

static void take(struct world *w, const struct tenure_event *event)
{
	const struct tenure old = w->tenure;
	const enum tenure_event_type type = event->type;
	struct tenure_update update;

	tenure_step(&w->tenure, event, &update);
	check_tenure(w, &old, type);
	pause_or_resume(w, &old, type);
	/* As on_term() in protection.c: of the witness's word the standby hears first. */
	if (w->tenure.term != old.term && (type == TENURE_WON || type == TENURE_LOST)) {
		w->uncommitted = w->captured;
		w->tell = true;
		to_standby(w, HEARTBEAT, 0);
	}
	if (update.changed)
		tell(w, "primary %s: %s", tenure_state_name(w->tenure.state), update.reason);
	if (update.claim || update.look)
		witness_ask(w, PRIMARY, update.claim ? CLAIM : LOOK, false);
	if ((update.changed &&
	     (w->tenure.state == TENURE_LEASED || w->tenure.state == TENURE_YIELDED ||
	      w->tenure.state == TENURE_SUPERSEDED || w->tenure.gone)) ||
	    (type == TENURE_WON && w->tenure.state != TENURE_ALONE))
		give_back(w);
	if (w->tenure.state != TENURE_ALONE)
		w->sites[PRIMARY].renewing = 0;
	if (update.changed && w->tenure.state == TENURE_ALONE) {
		w->session = 0; /* clients do not wait for the standby */
		later(w, RENEW, PRIMARY, truly(w, PRIMARY, WITNESS_TTL_NS / 4));
	}
	check_servers(w);
}

void primary_step(struct world *w, enum tenure_event_type type, uint64_t until_ns, uint64_t term)
{
	const struct tenure_event event = {
		.type = type, .now_ns = clock_of(w, PRIMARY), .until_ns = until_ns, .term = term
	};

	take(w, &event);
}

static void on_lease(struct world *w, const struct message *message)
{
	const struct tenure_event event = {
		.type = TENURE_GRANTED,
		.now_ns = clock_of(w, PRIMARY),
		.from_ns = message->echo_ns,
		.until_ns = message->echo_ns + message->lease_ns,
		.term = message->term,
		.standby = message->standby,
	};

	take(w, &event);
	w->knows_standby |= message->standby == w->identity &&
			    w->tenure.state != TENURE_SUPERSEDED &&
			    w->tenure.state != TENURE_YIELDED && message->term >= w->tenure.term;
}

/* As protection_yield(): the session ends, and to pause it takes a moment. */
static void on_yield(struct world *w, const struct message *message)
{
	if (message->connection != w->connection || message->term < w->tenure.term)
		return;
	w->session = 0;
	w->pausing = !w->hold && !w->gateway && primary_serves(w);
	primary_step(w, TENURE_YIELD, 0, message->term);
	queue_put(w, (struct event){ .at_ns = w->now_ns + draw(w, 50) * MS,
				     .kind = PAUSED,
				     .who = PRIMARY,
				     .incarnation = w->sites[PRIMARY].incarnation,
				     .message = *message });
}

void primary_paused(struct world *w, uint64_t connection)
{
	if (w->tenure.state == TENURE_YIELDED && !w->hold && !w->gateway)
		w->paused = true;
	w->pausing = false;
	if (connection == w->connection &&
	    (w->tenure.state == TENURE_YIELDED || w->tenure.state == TENURE_SUPERSEDED))
		to_standby(w, YIELDED, 0);
}

static void on_ack(struct world *w, uint64_t epoch)
{
	if (epoch > w->acknowledged)
		w->acknowledged = epoch;
	if (epoch > w->uncommitted)
		w->tell = false;
	w->asked = w->known = false;
}

void primary_hears(struct world *w, const struct message *message)
{
	if (message->standby == ANOTHER && !w->elsewhere)
		return; /* its connection is gone */
	if (message->serving) {
		w->session = 0;
		primary_step(w, TENURE_SUPERSEDE, 0, message->term);
		return;
	}
	if (message->content == ACK)
		on_ack(w, message->epoch);
	else if (message->content == NOT_TAKEN && message->epoch == w->session)
		w->session = 0;
	else if (message->content == UNCOMMITTED && w->asked && message->epoch == w->captured)
		w->known = true;
	else if (message->content == YIELD)
		on_yield(w, message);
	if (message->lease_ns > 0)
		on_lease(w, message);
	check_servers(w);
}

void primary_capture(struct world *w)
{
	later(w, CAPTURE, PRIMARY, EPOCH_NS);
	if (w->instance_dead || !w->protecting ||
	    (w->tenure.state != TENURE_LEASED && w->tenure.state != TENURE_FREE)) {
		if (!w->protecting)
			w->session = 0;
		return;
	}
	if (w->session == 0) {
		w->session = ++w->sessions;
		to_standby(w, LAYOUT, w->captured);
		return;
	}
	w->captured++;
	w->asked = w->known = false;
	to_standby(w, COMMIT, w->captured);
}

/*
 * Its session has ended, it runs on: behind a gateway what it sends passes without an epoch; at its own
 * site it does when the standby has said that it knows.
 */
static void unprotected(struct world *w)
{
	if (!w->cards || w->session != 0 || w->instance_dead || w->tenure.state == TENURE_YIELDED ||
	    w->tenure.state == TENURE_SUPERSEDED)
		return;
	if (w->gateway || !w->known) {
		w->asked = true;
		to_standby(w, UNCOMMITTED, w->captured);
	}
	if (w->gateway)
		to_standby(w, FRAMES, w->captured + 1);
	else if (w->known && primary_serves(w))
		w->answered = w->captured + 1;
}

/* As protection_tell_instance(). */
static bool runs_unprotected(const struct world *w)
{
	return w->session == 0 && !w->instance_dead && w->ended == FAILOVER_TICK &&
	       w->tenure.state != TENURE_YIELDED && w->tenure.state != TENURE_SUPERSEDED &&
	       (w->cards || tenure_may_serve(&w->tenure, clock_of(w, PRIMARY)));
}

void primary_beats(struct world *w)
{
	to_standby(w, HEARTBEAT, 0);
	if (w->instance_dead && w->ended != FAILOVER_TICK && likely(w, 20))
		to_standby(w, INSTANCE, 0); /* as on each connection */
	if (runs_unprotected(w))
		to_standby(w, INSTANCE, w->captured);
	unprotected(w);
}

/* What became of it: CRASHED or SHUT_DOWN; TICK: there is another one. */
void primary_instance(struct world *w, enum failover_event_type ended)
{
	const bool there = ended == FAILOVER_TICK;

	tell(w, "the instance %s",
	     there		       ? "is started again" :
	     ended == FAILOVER_CRASHED ? "crashes" :
					 "is shut down");
	w->instance_dead |= !there; /* a new one takes a while until it answers */
	w->session = 0;
	if (w->sites[PRIMARY].dead)
		return;
	w->found |= there;
	w->ended = ended;
	primary_step(w, there ? TENURE_THERE : TENURE_GONE, 0, 0);
	if (!there)
		to_standby(w, INSTANCE, 0);
}

/* Its QEMU is there; then, what runs in it answers. */
void primary_instance_again(struct world *w, bool answers)
{
	const struct site *site = &w->sites[PRIMARY];

	if (site->left || !w->instance_dead)
		return;
	if (site->frozen_until_ns > w->now_ns) {
		later(w, answers ? BOOTED : STARTED, PRIMARY, site->frozen_until_ns - w->now_ns);
		return;
	}
	if (!answers || !w->found)
		primary_instance(w, FAILOVER_TICK);
	/* In the place of one that an earlier agent has paused: whoever does that has been told. */
	w->blind |= answers && w->paused;
	w->paused &= !answers;
	if (answers)
		w->instance_dead = false;
	else
		later(w, BOOTED, PRIMARY, BOOT_NS);
}

void primary_answered(struct world *w, const struct event *event)
{
	uint64_t until = event->message.clock_ns + WITNESS_TTL_NS - WITNESS_TTL_NS / 8;
	uint64_t term = event->message.term;

	if (event->request == RENEWAL) {
		if (event->answer == WON)
			primary_step(w, TENURE_WON, until, term);
		else
			primary_step(w, TENURE_TAKEN, 0, 0);
		if (event->answer != WON && w->excused_until_ns > w->now_ns)
			w->excused_until_ns = w->now_ns; /* it knows */
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
	/* As outlet.c: behind a gateway it would only keep the standby from serving. */
	tenure_init(&w->tenure, w->hold, w->witness && !w->gateway, 1);
	w->sites[PRIMARY].asked = w->sites[PRIMARY].seen = 0;
	w->session = 0;
	w->asked = w->known = w->pausing = false;
	w->knows_standby = w->elsewhere = false;
	w->connection++;
	w->found = !w->instance_dead;
	w->ended = FAILOVER_TICK;
	if (!w->found)
		primary_step(w, TENURE_GONE, 0, 0);
	later(w, BEAT, PRIMARY, HEARTBEAT_NS);
	later(w, TICK, PRIMARY, HEARTBEAT_NS);
	later(w, CAPTURE, PRIMARY, EPOCH_NS);
}
