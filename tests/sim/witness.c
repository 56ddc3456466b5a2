/* One register with compare-and-swap; requests and answers may be lost after they took effect. */
#include "appliance/witness_judge.h"
#include "tests/sim/world.h"

#include <inttypes.h>

static bool is_lost(struct world *w, enum who who)
{
	return w->unreachable[who] || (w->now_ns < QUIET_NS && likely(w, 5));
}

void witness_ask(struct world *w, enum who who, enum request request, bool by_operator)
{
	struct site *site = &w->sites[who];
	struct event event = {
		.kind = GAVE_UP,
		.who = who,
		.request = request,
		.by_operator = by_operator,
		.incarnation = site->incarnation,
		/* Of now, whenever it arrives. */
		.message = { .term = who == PRIMARY ? w->tenure.term : w->failover.term,
			     .clock_ns = clock_of(w, who) },
	};

	if (request != RENEWAL && site->asked != 0)
		return; /* that answer counts */
	event.number = ++site->requests;
	*(request == RENEWAL ? &site->renewing : &site->asked) = event.number;
	event.at_ns = w->now_ns + truly(w, who, WITNESS_TIMEOUT_NS);
	queue_put(w, event);
	if (is_lost(w, who))
		return;
	event.kind = ASKED;
	event.at_ns = w->now_ns + (1 + draw(w, 20)) * MS;
	queue_put(w, event);
}

/* As recall() in witness.c: it knows less than this process has seen there. */
static bool has_lost_data(const struct world *w, enum who who)
{
	const struct site *site = &w->sites[who];

	return w->term < site->seen ||
	       (w->term == site->seen && w->term > 0 && w->server != site->seen_server);
}

void witness_forgets(struct world *w)
{
	if (!w->forgetful || w->forgot || w->server != PRIMARY || w->term == 0)
		return;
	tell(w, "the witness loses its data");
	if (w->alive_until_ns > w->now_ns)
		w->excused_until_ns = w->now_ns + WITNESS_TTL_NS;
	w->forgot = true;
	w->term = w->alive_until_ns = 0;
}

static enum witness_server server_of(enum who who)
{
	return who == PRIMARY ? WITNESS_PRIMARY : WITNESS_STANDBY;
}

/* As claimant.c does, reading and claiming at once: nobody came in between. */
static enum answer answer_to(struct world *w, const struct event *asked)
{
	const struct witness_value value = { .term = w->term, .server = server_of(w->server) };
	const struct witness_value *there = w->term > 0 ? &value : NULL;
	const struct witness_question question = {
		.server = server_of(asked->who),
		.site = "",
		.own_term = asked->message.term,
		.claim = asked->request == CLAIM,
		.by_operator = asked->by_operator,
	};
	const bool held = w->alive_until_ns > w->now_ns;

	if (asked->request == RENEWAL)
		return there != NULL && w->server == asked->who && held &&
				       w->term == asked->message.term ?
			       WON :
			       NOBODY;
	if (has_lost_data(w, asked->who))
		return UNANSWERED;
	switch (witness_judge(&question, there, held)) {
	case WITNESS_OTHERS:
		return LOST;
	case WITNESS_OURS:
		return WON;
	case WITNESS_NOTHING:
		return NOBODY;
	case WITNESS_TO_WAIT:
		return UNANSWERED;
	case WITNESS_TO_CLAIM:
		break;
	}
	w->term = witness_next_term(&question, there);
	w->server = asked->who;
	return WON;
}

void witness_asked(struct world *w, const struct event *asked)
{
	static const char *const names[] = { "wins", "loses", "nobody", "no answer" };
	struct event answer = *asked;

	answer.answer = answer_to(w, asked);
	answer.message.term = w->term;
	answer.server = w->server;
	if (asked->who == PRIMARY && asked->request != LOOK && answer.answer == WON)
		w->alive_until_ns = w->now_ns + WITNESS_TTL_NS;
	tell(w, "witness: %s asks, %s with term %" PRIu64,
	     asked->who == PRIMARY ? "primary" : "standby", names[answer.answer], w->term);
	if (is_lost(w, asked->who))
		return;
	answer.kind = ANSWERED;
	answer.at_ns = w->now_ns + (1 + draw(w, 20)) * MS;
	queue_put(w, answer);
}
