/* The standby's site: failover.c and aftermath.c, its disk, its image, and its gateway. */
#include "tests/sim/world.h"

/* As keep_up() in clone_takeover.c. The disk answers at once. */
static void keep(struct world *w, bool released)
{
	const struct term_record record = aftermath_record(&w->record, &w->failover, "a", released);

	if (!aftermath_differs(&w->record, &record))
		return;
	w->record_before = w->record;
	w->record = record;
}

/* An end that was said in the session that is there is no less true than silence. */
static void check_said(struct world *w, enum failover_event_type type, bool claims)
{
	if (w->said == FAILOVER_TICK)
		return;
	if (w->failover.state == FAILOVER_PROTECTED || w->failover.state == FAILOVER_SUSPECT)
		violation(w, "an instance that is gone counts as protected");
	if (claims && type != FAILOVER_OPERATOR && w->said != FAILOVER_CRASHED)
		violation(w, "an orderly end is a reason to take over");
	if (w->said == FAILOVER_CRASHED && type == FAILOVER_CRASHED && w->automatic &&
	    !w->failover.outdated && w->failover.state == FAILOVER_UNATTENDED)
		violation(w, "a crash is no reason to take over");
}

/* The primary was not heard, or not in time; or its instance was said to be gone. */
static bool was_in_vain(const struct world *w)
{
	const uint64_t now = clock_of(w, STANDBY);

	return w->failover.stopped || now >= w->failover.heard_ns + w->failover.detect_ns ||
	       now >= w->yield_until_ns;
}

static void step(struct world *w, enum failover_event_type type, uint64_t epoch, uint64_t term)
{
	const struct failover_event event = {
		.type = type,
		.now_ns = clock_of(w, STANDBY),
		.epoch = epoch,
		.term = term,
		.why = "nothing captures it",
		.granted_ns = w->granted_ns,
		.linked = w->sites[STANDBY].peer_clock_ns > 0,
	};
	const bool claimed = w->failover.state == FAILOVER_CLAIMING;
	struct failover_update update;
	bool claims;

	failover_step(&w->failover, &event, &update);
	keep(w, type == FAILOVER_RELEASE && !update.refused);
	if (update.changed)
		tell(w, "standby %s: %s", failover_state_name(w->failover.state), update.reason);
	claims = !claimed && (update.activate || w->failover.state == FAILOVER_CLAIMING);
	if (claims) {
		w->by_operator = type == FAILOVER_OPERATOR;
		w->yielded = false;
	}
	w->by_operator |= claimed && type == FAILOVER_OPERATOR && !update.refused;
	if (update.yield) {
		w->yield_until_ns = event.now_ns + FAILOVER_YIELD_NS;
		to_primary(w, YIELD, 0);
	} else if (claimed && update.changed && !update.activate) {
		w->connection++; /* it is dropped */
	}
	if (update.claim)
		witness_ask(w, STANDBY, CLAIM, update.by_operator);
	if (update.activate) {
		w->turned = true;
		w->blind |= !w->yielded && was_in_vain(w);
		later(w, RUNS, STANDBY, (1 + draw(w, 20)) * MS);
	}
	if (w->failover.state == FAILOVER_CLAIMING && w->witness && !w->failover.won &&
	    w->sites[STANDBY].asked == 0)
		violation(w, "the standby claims for ever: the witness is not asked");
	if (type != FAILOVER_COMMITTED) /* after which it is said again */
		check_said(w, type, claims);
	check_servers(w);
}

void standby_step(struct world *w, enum failover_event_type type, uint64_t epoch, uint64_t term)
{
	step(w, type, epoch, term);
}

void standby_forgets(struct world *w)
{
	w->laid = w->newest = 0;
	step(w, FAILOVER_FORGOTTEN, 0, 0);
}

static void on_layout(struct world *w, const struct message *message)
{
	w->laid = message->session;
	w->said = FAILOVER_TICK;
	w->newest = w->failover.epoch;
	if (w->failover.epoch == 0)
		step(w, FAILOVER_COPYING, 0, 0);
}

static void on_commit(struct world *w, const struct message *message)
{
	if (message->session != w->laid) {
		to_primary(w, NOT_TAKEN, message->session);
		return;
	}
	w->newest = message->epoch;
	w->applied_ns += draw(w, 10) * MS; /* one after the other */
	if (w->applied_ns < w->now_ns)
		w->applied_ns = w->now_ns + draw(w, 10) * MS;
	queue_put(w, (struct event){ .at_ns = w->applied_ns,
				     .kind = COMMIT_DONE,
				     .who = STANDBY,
				     .incarnation = w->sites[STANDBY].incarnation,
				     .message = *message });
}

static void on_instance(struct world *w, const struct message *message)
{
	w->said = message->ended;
	w->said_epoch = message->epoch > w->failover.epoch ? message->epoch : w->failover.epoch;
	if (message->ended == FAILOVER_UNPROTECTED && w->answered <= w->said_epoch)
		w->answered = w->said_epoch + 1; /* whatever its network is */
	step(w, w->said, w->said_epoch, 0);
}

/* As clone_doubt.c: the lock is looked at until nothing is in the way, then no more. */
bool standby_is_clear(struct world *w)
{
	w->held &= w->replica_runs;
	return w->doubt.clear && !w->held;
}

/* As clone_on_frame(). */
void standby_hears(struct world *w, const struct message *message)
{
	struct site *standby = &w->sites[STANDBY];

	if (message->standby == ANOTHER) {
		another_hears(w, message);
		return;
	}
	if (!standby_is_clear(w))
		return;
	standby->peer_clock_ns = message->clock_ns;
	standby->peer_clock_at_ns = clock_of(w, STANDBY);
	step(w, FAILOVER_HEARD, 0, 0);
	if (message->content == HEARTBEAT)
		return;
	if (message->content == UNCOMMITTED) {
		step(w, FAILOVER_OUTDATED, message->epoch, message->term);
		if (!failover_is_over(&w->failover))
			to_primary(w, UNCOMMITTED, message->epoch);
		return;
	}
	if (message->term > w->failover.term)
		step(w, FAILOVER_OUTDATED, w->newest, message->term);
	if (message->content == FRAMES) {
		if (w->turned)
			return;
		check_passing(w);
		if (message->epoch > w->answered)
			w->answered = message->epoch;
		step(w, FAILOVER_OUTDATED, w->newest, message->term);
		return;
	}
	if (message->content == YIELDED && message->connection == w->connection) {
		w->yielded = w->failover.state == FAILOVER_CLAIMING;
		step(w, FAILOVER_YIELDED, 0, 0);
		return;
	}
	if (message->content == INSTANCE &&
	    (!failover_is_over(&w->failover) || w->failover.state == FAILOVER_CLAIMING)) {
		on_instance(w, message);
		return;
	}
	if (failover_is_over(&w->failover))
		return;
	if (message->content == LAYOUT) {
		on_layout(w, message);
	} else if (message->content == COMMIT) {
		on_commit(w, message);
	}
}

void standby_committed(struct world *w, const struct message *message)
{
	const bool over = failover_is_over(&w->failover);

	if (message->session != w->laid || (over && w->failover.state != FAILOVER_CLAIMING))
		return;
	if (w->gateway && !w->turned && message->epoch > w->answered)
		w->answered = message->epoch; /* its answers pass */
	step(w, FAILOVER_COMMITTED, message->epoch, 0);
	if (!over)
		to_primary(w, ACK, message->epoch);
	if (w->said != FAILOVER_TICK)
		step(w, w->said, w->said_epoch, 0);
	else if (!over && w->failover.state != FAILOVER_PROTECTED &&
		 w->failover.state != FAILOVER_SUSPECT)
		violation(w, "a committed epoch does not protect");
}

/* QEMU runs the replica, or not; clients may reach it. */
void standby_runs(struct world *w, const struct event *event)
{
	const unsigned percent = (unsigned)draw(w, 100);
	struct event told = { .kind = ACTIVATED,
			      .who = STANDBY,
			      .at_ns = w->now_ns + draw(w, 3) * MS,
			      .incarnation = event->incarnation,
			      .outcome = percent < 4 ? CAME_TO_NOTHING :
					 percent < 8 ? SPOILED :
						       SERVES };

	if (event->incarnation != w->sites[STANDBY].incarnation)
		return; /* another life has found it, and ended it */
	queue_put(w, told);
	/* Behind the gateway, and with cards, nobody hears one that has ended at once. */
	if (told.outcome == CAME_TO_NOTHING || (told.outcome == SPOILED && w->cards))
		return;
	tell(w, "the replica runs");
	w->replica_runs = w->newest_there = true;
	w->took_over |= told.outcome == SERVES;
	if (w->failover.term <= w->served_term)
		violation(w, "a term is used again");
	w->served_term = w->failover.term;
	if (w->failover.epoch < w->answered && !w->by_operator && !w->forgot)
		violation(w, "a takeover by itself from an epoch that does not know every answer");
	if (!w->automatic && !w->by_operator)
		violation(w, "a takeover by itself, although takeovers are manual");
	check_servers(w);
	w->replica_runs = told.outcome == SERVES;
}

/* As clone_on_activation_failed(). */
void standby_activated(struct world *w, enum outcome outcome)
{
	if (w->failover.state != FAILOVER_TAKING_OVER)
		return;
	if (outcome == SERVES) {
		step(w, FAILOVER_ACTIVATED, 0, 0);
		return;
	}
	w->turned = false;
	w->gave_up = true;
	w->connection++;
	step(w,
	     outcome == SPOILED && !w->cards ? FAILOVER_ACTIVATION_FAILED : FAILOVER_NOT_ACTIVATED,
	     0, 0);
	if (outcome == SPOILED)
		standby_forgets(w);
}

/* The operator who lost it answers for what clients were told, and for terms that come again. */
void standby_loses_disk(struct world *w)
{
	tell(w, "the standby's disk is lost");
	w->record = (struct term_record){ .term = 1, .kind = TERM_STANDS_BY };
	w->record_before = w->record;
	w->identity++;
	w->served_term = 0;
	w->newest_there = w->newest_there && w->replica_runs;
}

static void on_look(struct world *w, const struct event *event)
{
	const struct witness_value value = {
		.term = event->message.term,
		.server = event->server == PRIMARY ? WITNESS_PRIMARY : WITNESS_STANDBY,
	};

	if (event->answer == UNANSWERED)
		doubt_unanswered(&w->doubt);
	else
		doubt_seen(&w->doubt, value.term > 0 ? &value : NULL, true);
}

void standby_answered(struct world *w, const struct event *event)
{
	if (event->request == LOOK) {
		on_look(w, event);
		return;
	}
	step(w,
	     event->answer == WON  ? FAILOVER_WON :
	     event->answer == LOST ? FAILOVER_BEATEN :
				     FAILOVER_UNANSWERED,
	     0, event->message.term);
}

void standby_start(struct world *w)
{
	uint64_t now = clock_of(w, STANDBY);

	failover_init(&w->failover, DETECT_MS, w->automatic, now);
	w->failover.witness = w->witness;
	w->failover.gateway = w->gateway;
	failover_restore(&w->failover, w->record.term,
			 w->record.kind == TERM_TOOK_OVER ? w->record.epoch : 0);
	/* Its image is in memory that others may write to: a new life trusts none of it. */
	w->granted_ns = w->laid = w->newest = 0;
	w->connection++;
	w->said = FAILOVER_TICK;
	w->sites[STANDBY].peer_clock_ns = 0;
	w->sites[STANDBY].asked = w->sites[STANDBY].seen = 0;
	doubt_init(&w->doubt, &w->record, w->witness);
	w->held = w->replica_runs && w->record.kind != TERM_TOOK_OVER;
	w->turned = w->failover.state == FAILOVER_RETURNING;
	if (w->turned)
		step(w,
		     w->replica_runs					 ? FAILOVER_FOUND :
		     w->served_term == w->failover.term || likely(w, 30) ? FAILOVER_GONE :
									   FAILOVER_UNUSED,
		     0, 0);
	if (w->failover.state == FAILOVER_EMPTY)
		w->turned = false;
	later(w, BEAT, STANDBY, HEARTBEAT_NS);
	later(w, TICK, STANDBY, DETECT_MS * MS / 8);
}
