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

	if (w->tell)
		post(w, STANDBY, message, false);
	message.content = content;
	message.epoch = epoch;
	post(w, STANDBY, message, false);
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
	};

	if (content == HEARTBEAT && standby->peer_clock_ns > 0) {
		message.lease_ns = failover_lease_ns(&w->failover);
		if (message.lease_ns > 0)
			w->granted_ns =
				standby->peer_clock_at_ns + TENURE_WAIT_NS(message.lease_ns);
	}
	post(w, PRIMARY, message, content == HEARTBEAT && likely(w, 5));
}
