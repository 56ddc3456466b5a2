/*
 * The link: delivers in order or not at all. What is told of answers outside any epoch goes ahead of
 * everything else.
 */
#include "tests/sim/world.h"

/* `late`: a datagram that others overtake. */
static void post(struct world *w, enum who to, struct message message, bool late)
{
	struct site *site = &w->sites[to];
	uint64_t at = w->now_ns + (1 + draw(w, 5)) * MS / 2;

	if (likely(w, 3))
		at += draw(w, 400) * MS; /* a retransmission, or a queue somewhere */
	if (late)
		at += draw(w, 200) * MS;
	else if (at < site->last_arrival_ns)
		at = site->last_arrival_ns;
	if (site->deaf)
		return;
	if (!late)
		site->last_arrival_ns = at;
	queue_put(w, (struct event){ .at_ns = at, .kind = MESSAGE, .who = to, .message = message });
}

void to_standby(struct world *w, enum content content, uint64_t epoch)
{
	struct message message = {
		.content = UNCOMMITTED,
		.clock_ns = clock_of(w, PRIMARY),
		.term = w->tenure.term,
		.epoch = w->uncommitted,
		.session = w->session,
		.ended = w->ended == FAILOVER_TICK ? FAILOVER_UNPROTECTED : w->ended,
		.connection = w->connection,
	};

	/* As protection.c: to one that may not take over nothing is given. */
	if (content != HEARTBEAT && !tenure_takes(&w->tenure, w->elsewhere ? ANOTHER : w->identity))
		return;
	message.standby = w->elsewhere ? ANOTHER : w->identity;
	if (w->tell)
		post(w, STANDBY, message, false);
	message.content = content;
	message.epoch = epoch;
	post(w, STANDBY, message, false);
}

/* Only where the agent knows of the first one, or the witness does: else the two are in the hands of operators. */
void another_begins(struct world *w)
{
	const struct term_record fresh = { .term = 1, .kind = TERM_STANDS_BY };
	const struct witness_value value = { .term = w->term, .server = WITNESS_STANDBY };
	const bool known = w->witness && w->server == STANDBY && w->term > 0;
	struct doubt doubt;

	doubt_init(&doubt, &fresh, w->witness);
	if (w->witness)
		doubt_seen(&doubt, known ? &value : NULL, false);
	w->another_clear = doubt.clear;
	w->elsewhere = w->knows_standby || (known && w->replica_runs);
}

void another_hears(struct world *w, const struct message *message)
{
	const struct message granted = {
		.content = HEARTBEAT,
		.echo_ns = message->clock_ns,
		.term = message->term,
		.lease_ns = TENURE_LEASE_NS(DETECT_MS * MS),
		.standby = ANOTHER,
	};

	if (message->content == HEARTBEAT && w->another_clear)
		post(w, PRIMARY, granted, false);
}

void to_primary(struct world *w, enum content content, uint64_t epoch)
{
	struct site *standby = &w->sites[STANDBY];
	struct message message = {
		.content = content,
		.echo_ns = standby->peer_clock_ns,
		.term = w->failover.term,
		.epoch = epoch,
		.serving = failover_has_served(&w->failover),
		.connection = w->connection,
		.standby = w->identity,
	};

	if (w->elsewhere || !standby_is_clear(w))
		return;
	if (content == HEARTBEAT && standby->peer_clock_ns > 0) {
		message.lease_ns = failover_lease_ns(&w->failover);
		if (message.lease_ns > 0)
			w->granted_ns =
				standby->peer_clock_at_ns + TENURE_WAIT_NS(message.lease_ns);
	}
	post(w, PRIMARY, message, content == HEARTBEAT && likely(w, 5));
}
