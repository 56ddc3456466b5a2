/* One register with compare-and-swap; requests and answers may be lost after they took effect. */
#include "tests/sim/world.h"

#include <inttypes.h>

static bool is_lost(struct world *w)
{
	return w->unreachable || (w->now_ns < QUIET_NS && likely(w, 5));
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
		.message = { .term = who == PRIMARY ? w->tenure.term : w->failover.term },
	};

	if (site->asked != 0)
		return; /* that answer counts */
	site->asked = event.number = ++site->requests;
	site->sent_ns = clock_of(w, who);
	event.at_ns = w->now_ns + truly(w, who, WITNESS_TIMEOUT_NS);
	queue_put(w, event);
	if (is_lost(w))
		return;
	event.kind = ASKED;
	event.at_ns = w->now_ns + (1 + draw(w, 20)) * MS;
	queue_put(w, event);
}

/* As judge() and claim() in claimant.c, reading and claiming at once: nobody came in between. */
static enum answer judge_claim(struct world *w, const struct event *asked)
{
	bool ours = w->term > 0 && w->server == asked->who, held = w->alive_until_ns > w->now_ns;
	bool news = w->term > 0 && !ours && w->term > asked->message.term;

	if (asked->request == RENEWAL)
		return ours && held && w->term == asked->message.term ? WON : NOBODY;
	if (news && (!asked->by_operator || held))
		return LOST;
	if (asked->request == CLAIM && w->term > 0 && !ours && held)
		return UNANSWERED;
	if (asked->request == CLAIM) {
		w->term = (w->term > asked->message.term ? w->term : asked->message.term) + 1;
		w->server = asked->who;
		return WON;
	}
	return ours && w->term >= asked->message.term ? WON : NOBODY;
}

void witness_asked(struct world *w, const struct event *asked)
{
	static const char *const names[] = { "wins", "loses", "nobody", "no answer" };
	struct event answer = *asked;

	answer.answer = judge_claim(w, asked);
	answer.message.term = w->term;
	if (asked->who == PRIMARY && asked->request != LOOK && answer.answer == WON)
		w->alive_until_ns = w->now_ns + WITNESS_TTL_NS;
	tell(w, "witness: %s asks, %s with term %" PRIu64,
	     asked->who == PRIMARY ? "primary" : "standby", names[answer.answer], w->term);
	if (is_lost(w))
		return;
	answer.kind = ANSWERED;
	answer.at_ns = w->now_ns + (1 + draw(w, 20)) * MS;
	queue_put(w, answer);
}
