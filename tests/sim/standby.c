/* The standby's site: failover.c, its disk, and its gateway. */
#include "tests/sim/world.h"

void standby_step(struct world *w, enum failover_event_type type, uint64_t epoch, uint64_t term)
{
	const struct failover_event event = {
		.type = type,
		.now_ns = clock_of(w, STANDBY),
		.epoch = epoch,
		.term = term,
		.granted_ns = w->granted_ns,
	};
	const bool claimed = w->failover.state == FAILOVER_CLAIMING;
	struct failover_update update;

	failover_step(&w->failover, &event, &update);
	if (update.changed)
		tell(w, "standby %s: %s", failover_state_name(w->failover.state), update.reason);
	if (!claimed && (update.activate || w->failover.state == FAILOVER_CLAIMING))
		w->by_operator = type == FAILOVER_OPERATOR;
	if (update.claim)
		witness_ask(w, STANDBY, CLAIM, update.by_operator);
	if (update.activate) {
		w->turned = true;
		w->stored_term = w->failover.term;
		w->stored_epoch = w->failover.epoch;
		later(w, ACTIVATED, STANDBY, (1 + draw(w, 20)) * MS);
	}
	if (w->failover.state == FAILOVER_CLAIMING && w->witness && !w->failover.won &&
	    w->sites[STANDBY].asked == 0)
		violation(w, "the standby claims for ever: the witness is not asked");
	check_servers(w);
}

void standby_hears(struct world *w, const struct message *message)
{
	struct site *standby = &w->sites[STANDBY];

	standby->peer_clock_ns = message->clock_ns;
	standby->peer_clock_at_ns = clock_of(w, STANDBY);
	standby_step(w, FAILOVER_HEARD, 0, 0);
	if (message->content == UNCOMMITTED) {
		standby_step(w, FAILOVER_OUTDATED, message->epoch, message->term);
	} else if (message->content == FRAMES) {
		if (w->turned)
			return;
		if (w->replica_runs)
			violation(w, "the gateway lets two servers through");
		if (message->epoch > w->answered)
			w->answered = message->epoch;
		standby_step(w, FAILOVER_OUTDATED, w->failover.epoch, message->term);
	} else if (message->content == COMMIT && !failover_is_over(&w->failover)) {
		queue_put(w, (struct event){ .at_ns = w->now_ns + draw(w, 10) * MS,
					     .kind = COMMIT_DONE,
					     .who = STANDBY,
					     .incarnation = standby->incarnation,
					     .message = *message });
	}
}

void standby_committed(struct world *w, uint64_t epoch)
{
	if (failover_is_over(&w->failover) && w->failover.state != FAILOVER_CLAIMING)
		return;
	standby_step(w, FAILOVER_COMMITTED, epoch, 0);
	if (!failover_is_over(&w->failover))
		to_primary(w, ACK, epoch);
}

void standby_activated(struct world *w)
{
	if (w->failover.state != FAILOVER_TAKING_OVER)
		return;
	if (likely(w, 5)) { /* its QEMU ended before anybody saw it */
		w->stored_epoch = 0;
		w->turned = false;
		w->gave_up = true;
		standby_step(w, FAILOVER_NOT_ACTIVATED, 0, 0);
		return;
	}
	w->replica_runs = w->took_over = true;
	if (w->failover.term <= w->served_term)
		violation(w, "a term is used again");
	w->served_term = w->failover.term;
	if (w->failover.epoch < w->answered && !w->by_operator)
		violation(w, "a takeover by itself from an epoch that does not know every answer");
	standby_step(w, FAILOVER_ACTIVATED, 0, 0);
}

void standby_answered(struct world *w, const struct event *event)
{
	standby_step(w,
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
	if (w->stored_term > 0)
		failover_restore(&w->failover, w->stored_term, w->stored_epoch);
	/* Its image is in memory that others may write to: a new life trusts none of it. */
	w->granted_ns = 0;
	w->sites[STANDBY].peer_clock_ns = 0;
	w->sites[STANDBY].asked = 0;
	w->turned = w->stored_epoch > 0;
	if (w->stored_epoch > 0)
		standby_step(w,
			     w->replica_runs			? FAILOVER_FOUND :
			     w->served_term == w->failover.term ? FAILOVER_GONE :
								  FAILOVER_UNUSED,
			     0, 0);
	if (w->failover.state == FAILOVER_EMPTY) {
		w->stored_epoch = 0;
		w->turned = false;
	}
	later(w, BEAT, STANDBY, HEARTBEAT_NS);
	later(w, TICK, STANDBY, DETECT_MS * MS / 8);
}
