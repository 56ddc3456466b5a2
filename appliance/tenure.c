#include "appliance/tenure.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#define BIT(state) (1U << TENURE_##state)

static const struct {
	const char *name;
	unsigned next;
} states[] = {
	[TENURE_FREE] = { "free", BIT(YIELDED) | BIT(SUPERSEDED) },
	[TENURE_WAITING] = { "waiting",
			     BIT(LEASED) | BIT(CLAIMING) | BIT(YIELDED) | BIT(SUPERSEDED) },
	[TENURE_LEASED] = { "leased", BIT(LAPSED) | BIT(YIELDED) | BIT(SUPERSEDED) },
	[TENURE_LAPSED] = { "lapsed",
			    BIT(LEASED) | BIT(CLAIMING) | BIT(YIELDED) | BIT(SUPERSEDED) },
	[TENURE_CLAIMING] = { "claiming", BIT(LEASED) | BIT(ALONE) | BIT(LAPSED) | BIT(YIELDED) |
						  BIT(SUPERSEDED) },
	[TENURE_ALONE] = { "alone", BIT(LEASED) | BIT(LAPSED) | BIT(YIELDED) | BIT(SUPERSEDED) },
	[TENURE_YIELDED] = { "yielded", BIT(LEASED) | BIT(FREE) | BIT(WAITING) | BIT(CLAIMING) |
						BIT(SUPERSEDED) },
	[TENURE_SUPERSEDED] = { "superseded", BIT(WAITING) | BIT(FREE) | BIT(LEASED) },
};
static_assert(sizeof(states) / sizeof(states[0]) == TENURE_STATES, "a row for every state");

const char *tenure_state_name(enum tenure_state state)
{
	return states[state].name;
}

bool tenure_may(enum tenure_state from, enum tenure_state to)
{
	return (states[from].next & (1U << to)) != 0;
}

void tenure_init(struct tenure *tenure, bool hold, bool witness, uint64_t term)
{
	*tenure = (struct tenure){
		.hold = hold || witness,
		.witness = witness,
		.state = hold || witness ? TENURE_WAITING : TENURE_FREE,
		.term = term,
		.uncertain = witness, /* what an earlier life of this process claimed */
	};
}

__attribute__((format(printf, 4, 5))) static void move(struct tenure *tenure, enum tenure_state to,
						       struct tenure_update *update,
						       const char *format, ...)
{
	va_list args;

	assert(tenure_may(tenure->state, to));
	tenure->state = to;
	update->changed = true;
	va_start(args, format);
	(void)vsnprintf(update->reason, sizeof(update->reason), format, args);
	va_end(args);
}

static bool has_lease(const struct tenure *tenure)
{
	return tenure->state == TENURE_LEASED || tenure->state == TENURE_ALONE;
}

bool tenure_may_serve(const struct tenure *tenure, uint64_t now_ns)
{
	return tenure->state == TENURE_FREE || (has_lease(tenure) && now_ns < tenure->until_ns);
}

uint64_t tenure_until_ns(const struct tenure *tenure)
{
	if (tenure->state == TENURE_FREE)
		return UINT64_MAX;
	return has_lease(tenure) ? tenure->until_ns : 0;
}

static bool may_claim(const struct tenure *tenure)
{
	return tenure->witness && !tenure->released && !tenure->gone &&
	       (tenure->state == TENURE_LAPSED || tenure->state == TENURE_WAITING ||
		tenure->state == TENURE_YIELDED);
}

uint64_t tenure_due_ns(const struct tenure *tenure)
{
	if (has_lease(tenure))
		return tenure->until_ns;
	return may_claim(tenure) && tenure->claim_ns != 0 ? tenure->claim_ns : UINT64_MAX;
}

static void lapse(struct tenure *tenure, uint64_t now_ns, struct tenure_update *update,
		  const char *why)
{
	move(tenure, TENURE_LAPSED, update, "%s", why);
	tenure->until_ns = now_ns; /* if it was to last longer */
	tenure->claim_ns = now_ns;
}

static void on_tick(struct tenure *tenure, uint64_t now_ns, struct tenure_update *update)
{
	const char *why = "";

	if (has_lease(tenure) && now_ns >= tenure->until_ns) {
		why = tenure->state == TENURE_ALONE ?
			      "the witness has not renewed this site's lease" :
			      "the standby is silent and its lease has run out";
		lapse(tenure, now_ns, update, why);
	}
	/* A standby that is there is given the time to say so first. */
	if (tenure->state == TENURE_WAITING && tenure->claim_ns == 0)
		tenure->claim_ns = now_ns + TENURE_CLAIM_RETRY_NS;
	if (may_claim(tenure) && now_ns >= tenure->claim_ns) {
		move(tenure, TENURE_CLAIMING, update,
		     "%s%sasking the witness whether this site may serve alone, with term %llu",
		     why, *why != '\0' ? "; " : "", (unsigned long long)tenure->term + 1);
		update->claim = true;
	}
	/*
	 * The standby has to hear of a term that we were given unknowingly, or it could not get the
	 * next one.
	 */
	if (tenure->uncertain && tenure->state == TENURE_LEASED && now_ns >= tenure->claim_ns) {
		tenure->claim_ns = now_ns + TENURE_CLAIM_RETRY_NS;
		update->look = true;
	}
}

bool tenure_takes(const struct tenure *tenure, uint64_t standby)
{
	return tenure->standby == 0 || tenure->standby == standby;
}

static void on_granted(struct tenure *tenure, const struct tenure_event *event,
		       struct tenure_update *update)
{
	const bool is_over = event->until_ns <= event->now_ns;

	if ((tenure->state == TENURE_SUPERSEDED && (!tenure->hearsay || is_over)) ||
	    (tenure->yielded_ns > 0 && event->from_ns <= tenure->yielded_ns))
		return;
	if (!tenure_takes(tenure, event->standby))
		return;
	/* Of a standby that does not know yet that this site served alone: it learns from us. */
	if (event->term < tenure->term)
		return;
	tenure->term = event->term;
	tenure->standby = event->standby;
	if (!tenure->hold) {
		if (tenure->state == TENURE_YIELDED)
			move(tenure, TENURE_FREE, update,
			     "the standby does not take over: it stands by, term %llu",
			     (unsigned long long)tenure->term);
		return;
	}
	if (is_over)
		return; /* it has told the term, and that the standby stands by */
	if (tenure->state == TENURE_LEASED) {
		if (event->until_ns > tenure->until_ns)
			tenure->until_ns = event->until_ns;
		return;
	}
	tenure->until_ns = event->until_ns;
	tenure->released = false;
	move(tenure, TENURE_LEASED, update, "the standby grants this site to serve, term %llu",
	     (unsigned long long)tenure->term);
}

static void on_won(struct tenure *tenure, const struct tenure_event *event,
		   struct tenure_update *update)
{
	if (tenure->state == TENURE_ALONE && event->term == tenure->term) {
		if (event->until_ns > tenure->until_ns)
			tenure->until_ns = event->until_ns;
		return;
	}
	tenure->uncertain = false;
	if (event->term > tenure->term)
		tenure->term = event->term; /* also when the standby was heard again meanwhile */
	if (tenure->state != TENURE_CLAIMING)
		return;
	tenure->until_ns = event->until_ns;
	move(tenure, TENURE_ALONE, update, "the witness lets this site serve alone, with term %llu",
	     (unsigned long long)tenure->term);
}

static void supersede(struct tenure *tenure, uint64_t term, bool hearsay,
		      struct tenure_update *update)
{
	const bool already = tenure->state == TENURE_SUPERSEDED;
	const bool alone = tenure->state == TENURE_ALONE;

	tenure->hearsay = hearsay && (!already || tenure->hearsay);
	if (already)
		return;
	if (term > tenure->term)
		tenure->term = term;
	update->both = alone && !hearsay;
	move(tenure, TENURE_SUPERSEDED, update, "%s: another site serves, with term %llu%s",
	     hearsay ? "the witness says" : "the standby says", (unsigned long long)term,
	     update->both ? "; this one served alone until now: both have answered clients" : "");
}

/* Of a standby that is behind, too: whoever stands still does no harm. */
static void on_yield(struct tenure *tenure, uint64_t now_ns, struct tenure_update *update)
{
	if (tenure->state == TENURE_SUPERSEDED)
		return;
	tenure->yielded_ns = now_ns;
	tenure->until_ns = now_ns;
	tenure->claim_ns = now_ns + TENURE_YIELD_NS;
	if (tenure->state != TENURE_YIELDED)
		move(tenure, TENURE_YIELDED, update,
		     "the standby takes over by its operator's order, and has not said yet what became of that");
}

static void on_unanswered(struct tenure *tenure, uint64_t now_ns, struct tenure_update *update)
{
	tenure->uncertain = true;
	if (tenure->state == TENURE_YIELDED)
		return; /* it was asked before that */
	tenure->claim_ns = now_ns + TENURE_CLAIM_RETRY_NS;
	if (tenure->state != TENURE_CLAIMING)
		return;
	move(tenure, TENURE_LAPSED, update,
	     "neither the standby nor the witness answers: the instance stays silent");
}

static void on_release(struct tenure *tenure, uint64_t term, struct tenure_update *update)
{
	tenure->standby = 0;
	if (tenure->state != TENURE_SUPERSEDED && tenure->state != TENURE_YIELDED)
		return;
	if (term > tenure->term)
		tenure->term = term;
	/* What has yielded was not told of another one: the witness knows. */
	tenure->released = tenure->state == TENURE_SUPERSEDED;
	move(tenure, tenure->hold ? TENURE_WAITING : TENURE_FREE, update,
	     "let go of by the operator");
}

void tenure_step(struct tenure *tenure, const struct tenure_event *event,
		 struct tenure_update *update)
{
	*update = (struct tenure_update){ 0 };
	switch (event->type) {
	case TENURE_TICK:
		on_tick(tenure, event->now_ns, update);
		break;
	case TENURE_GRANTED:
		on_granted(tenure, event, update);
		break;
	case TENURE_SEATED:
		if (tenure_takes(tenure, event->standby))
			tenure->standby = event->standby;
		break;
	case TENURE_WON:
		on_won(tenure, event, update);
		break;
	case TENURE_TAKEN:
		if (tenure->state == TENURE_ALONE)
			lapse(tenure, event->now_ns, update,
			      "the witness's lease was taken away from this site");
		break;
	case TENURE_LOST:
		if (event->term > tenure->term)
			supersede(tenure, event->term, true, update);
		break;
	case TENURE_UNANSWERED:
		on_unanswered(tenure, event->now_ns, update);
		break;
	case TENURE_YIELD:
		on_yield(tenure, event->now_ns, update);
		break;
	case TENURE_SUPERSEDE:
		supersede(tenure, event->term, false, update);
		break;
	case TENURE_GONE:
		tenure->gone = true;
		if (tenure->state == TENURE_ALONE || tenure->state == TENURE_CLAIMING)
			lapse(tenure, event->now_ns, update, "there is no instance any more");
		break;
	case TENURE_THERE:
		tenure->gone = false;
		break;
	case TENURE_RELEASE:
		on_release(tenure, event->term, update);
		break;
	}
}
