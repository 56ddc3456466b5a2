#include "appliance/failover.h"

#include "appliance/base/clock.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CLAIM_RETRY_NS (1000 * CLOCK_NS_PER_MS) /* a witness that does not answer is asked again */

/* Until when the primary's answer is waited for; 0: it is not. */
static uint64_t yield_due_ns(const struct failover *failover)
{
	const uint64_t silent_ns = failover->heard_ns + failover->detect_ns;

	if (failover->stopped || failover->yield_ns == 0)
		return 0;
	return failover->yield_ns < silent_ns ? failover->yield_ns : silent_ns;
}

uint64_t failover_due_ns(const struct failover *failover)
{
	const uint64_t due_ns = yield_due_ns(failover);

	if (failover->state == FAILOVER_CLAIMING && due_ns > failover->tick_ns)
		return due_ns;
	if (failover->state == FAILOVER_CLAIMING)
		return failover->granted_ns;
	if (failover->state == FAILOVER_PROTECTED)
		return failover->heard_ns + failover->detect_ns / 2;
	if (failover->state == FAILOVER_SUSPECT)
		return failover->heard_ns + failover->detect_ns;
	return UINT64_MAX;
}

__attribute__((format(printf, 4, 5))) static void move(struct failover *failover,
						       enum failover_state to,
						       struct failover_update *update,
						       const char *format, ...)
{
	va_list args;

	assert(failover_may(failover->state, to));
	assert(to == FAILOVER_EMPTY || to == FAILOVER_SYNCING || failover->epoch > 0);
	failover->state = to;
	update->changed = true;
	va_start(args, format);
	(void)vsnprintf(update->reason, sizeof(update->reason), format, args);
	va_end(args);
}

/* Goes ahead when nobody else may serve any more. */
static void proceed(struct failover *failover, uint64_t now_ns, struct failover_update *update)
{
	bool leased = !failover->stopped && !failover->gateway && now_ns < failover->granted_ns;
	bool yielding = now_ns < yield_due_ns(failover);

	if (leased || yielding || (failover->witness && !failover->won))
		return;
	if (!failover->won)
		failover->term++;
	failover->decided_ns = now_ns;
	move(failover, FAILOVER_TAKING_OVER, update,
	     "%s%s; taking over from epoch %llu%s with term %llu", failover->why,
	     failover->yield_ns == 0 ? "" :
	     failover->stopped	     ? "; the primary's instance stands" :
				       "; the primary has not said that its instance stands",
	     (unsigned long long)(failover->back_to != 0 ? failover->back_to : failover->epoch),
	     failover->back_to != 0 ? ", not the last one," : "",
	     (unsigned long long)failover->term);
	update->activate = true;
}

/* States in which a primary is expected to be heard and something could be lost by its silence. */
static bool watching(const struct failover *failover)
{
	return failover->state == FAILOVER_PROTECTED || failover->state == FAILOVER_SUSPECT;
}

enum cause { SILENCE, CRASH, ORDER };

static const char *const causes[] = {
	[SILENCE] = "the primary is silent",
	[CRASH] = "the instance's QEMU is gone",
	[ORDER] = "the operator's command",
};

static void claim(struct failover *failover, const struct failover_event *event, enum cause cause,
		  struct failover_update *update)
{
	const uint64_t now_ns = event->now_ns;

	failover->silent_ns = now_ns > failover->heard_ns ? now_ns - failover->heard_ns : 0;
	failover->again = failover->automatic &&
			  (cause == CRASH || watching(failover) || failover->claim_ns != 0);
	failover->claim_ns = 0;
	failover->ordered = cause == ORDER;
	failover->back_to = cause == ORDER ? event->epoch : 0;
	failover->stopped = cause == CRASH;
	failover->won = false;
	failover->claimed_from = failover->term;
	update->yield =
		cause == ORDER && event->linked && failover->silent_ns < failover->detect_ns;
	failover->yield_ns = update->yield ? now_ns + FAILOVER_YIELD_NS : 0;
	(void)snprintf(failover->why, sizeof(failover->why), "%s (silent for %.0f ms)",
		       causes[cause], clock_ms(failover->silent_ns));
	move(failover, FAILOVER_CLAIMING, update, "%s; %s", failover->why,
	     update->yield     ? "asking the primary to let its instance stand" :
	     failover->witness ? "asking the witness for the next term" :
				 "waiting for the primary's lease to end");
	update->claim = failover->witness;
	update->by_operator = failover->ordered;
	proceed(failover, now_ns, update);
}

/*
 * The term may be known by now: who lost against this claim has told us of it. One that was known when
 * we began to claim, or is below what is known now, is the answer to an earlier claim, which stood in
 * for a question of this one: that is still to be asked.
 */
static void on_won(struct failover *failover, const struct failover_event *event,
		   struct failover_update *update)
{
	if (event->term <= failover->claimed_from || event->term < failover->term) {
		failover->claimed_from = failover->term;
		update->claim = true;
		update->by_operator = failover->ordered;
		return;
	}
	failover->won = true;
	failover->term = event->term;
	proceed(failover, event->now_ns, update);
}

static void on_witness(struct failover *failover, const struct failover_event *event,
		       struct failover_update *update)
{
	if (failover->state != FAILOVER_CLAIMING) {
		/* Too late, but won: the primary has to learn that term, or the witness keeps it out. */
		if (event->type == FAILOVER_WON && !failover_is_over(failover) &&
		    event->term > failover->term)
			failover->term = event->term;
		return;
	}
	switch (event->type) {
	case FAILOVER_WON:
		on_won(failover, event, update);
		break;
	case FAILOVER_BEATEN:
		/* Not our term: the primary has to tell us itself, and what it answered meanwhile. */
		failover->beaten_by = event->term;
		failover->outdated = true;
		move(failover, FAILOVER_UNATTENDED, update,
		     "the witness says that the primary serves alone, with term %llu: epoch %llu is outdated",
		     (unsigned long long)event->term, (unsigned long long)failover->epoch);
		break;
	default:
		failover->claim_ns = failover->again ? event->now_ns + CLAIM_RETRY_NS : 0;
		move(failover, FAILOVER_UNATTENDED, update,
		     "%s, and the witness does not answer: not taking over%s", failover->why,
		     failover->again ? "" : " before `understudy takeover` is given again");
		break;
	}
}

/* It is not taken over by itself, and why. */
static void unattended(struct failover *failover, struct failover_update *update, const char *why)
{
	const bool outdated = failover->outdated;

	if (failover->state != FAILOVER_UNATTENDED)
		move(failover, FAILOVER_UNATTENDED, update, "%s", why);
	(void)snprintf(update->reason, sizeof(update->reason),
		       "%.180s; %s`understudy takeover` brings up epoch %llu%s", why,
		       outdated ? "only " : "", (unsigned long long)failover->epoch,
		       outdated ? ", which does not know what clients were told since" : "");
}

static void claim_if_able(struct failover *failover, const struct failover_event *event,
			  enum cause cause, struct failover_update *update)
{
	const bool waits = failover->state == FAILOVER_UNATTENDED && failover->claim_ns != 0;

	if (event->unable == NULL) {
		claim(failover, event, cause, update);
		return;
	}
	failover->claim_ns = event->now_ns + CLAIM_RETRY_NS;
	if (waits)
		return;
	if (failover->state != FAILOVER_UNATTENDED)
		move(failover, FAILOVER_UNATTENDED, update, "%s", causes[cause]);
	(void)snprintf(update->reason, sizeof(update->reason),
		       "%s; not taking over before the replica could be brought to life: %.200s",
		       causes[cause], event->unable);
}

static void on_tick(struct failover *failover, const struct failover_event *event,
		    struct failover_update *update)
{
	const uint64_t now_ns = event->now_ns;
	uint64_t since = now_ns - failover->tick_ns;

	failover->tick_ns = now_ns;
	if (since > failover->detect_ns / 2) {
		/* We were the ones who slept: what the primary sent meanwhile is still in our
		 * socket. */
		failover->heard_ns = now_ns;
		update->aside = true;
		if (watching(failover))
			(void)snprintf(
				update->reason, sizeof(update->reason),
				"this process did not run for %.0f ms; counting silence anew",
				clock_ms(since));
		return;
	}
	if (failover->state == FAILOVER_CLAIMING)
		proceed(failover, now_ns, update);
	if (failover->state == FAILOVER_UNATTENDED && failover->claim_ns != 0 &&
	    now_ns >= failover->claim_ns && !failover->outdated &&
	    now_ns - failover->heard_ns >= failover->detect_ns)
		claim_if_able(failover, event, SILENCE, update);
	if (!watching(failover))
		return;
	failover->silent_ns = now_ns > failover->heard_ns ? now_ns - failover->heard_ns : 0;
	if (failover->silent_ns >= failover->detect_ns) {
		if (failover->automatic && !failover->outdated)
			claim_if_able(failover, event, SILENCE, update);
		else
			unattended(failover, update, "the primary is silent");
	} else if (failover->silent_ns >= failover->detect_ns / 2 &&
		   failover->state == FAILOVER_PROTECTED) {
		move(failover, FAILOVER_SUSPECT, update,
		     "the primary is silent for %.0f ms of %.0f", clock_ms(failover->silent_ns),
		     clock_ms(failover->detect_ns));
	}
}

static void on_heard(struct failover *failover, uint64_t now_ns, struct failover_update *update)
{
	const uint64_t before_ns = failover->heard_ns;

	if (now_ns <= before_ns)
		return; /* no news */
	failover->heard_ns = now_ns;
	if (failover->state == FAILOVER_SUSPECT)
		move(failover, FAILOVER_PROTECTED, update, "the primary is heard again");
	else if (failover->state == FAILOVER_UNATTENDED &&
		 now_ns - before_ns >= failover->detect_ns)
		/* Whatever the operator was told to decide, it was of a primary that is silent. */
		(void)snprintf(
			update->reason, sizeof(update->reason),
			"the primary is heard again; it has committed nothing since epoch %llu",
			(unsigned long long)failover->epoch);
}

/* One that had waited for the disk says nothing of a primary that is silent since. */
static void on_committed(struct failover *failover, const struct failover_event *event,
			 struct failover_update *update)
{
	const bool silent = event->now_ns >= failover->heard_ns + failover->detect_ns;
	const uint64_t epoch = event->epoch;

	/* A commit that was under way when the decision fell still counts: it is the state that
	 * will be activated; unless that is an earlier one. */
	if (failover->rewound && failover_is_over(failover))
		return;
	failover->rewound = false;
	failover->epoch = epoch;
	failover->outdated =
		epoch <= failover->outdated_epoch || failover->term < failover->beaten_by;
	if (!silent)
		failover->claim_ns = 0;
	if (failover->state == FAILOVER_EMPTY)
		failover->state = FAILOVER_SYNCING;
	if (failover->state == FAILOVER_SYNCING || failover->state == FAILOVER_ENDED ||
	    (failover->state == FAILOVER_UNATTENDED && !silent))
		move(failover, FAILOVER_PROTECTED, update, "protected from epoch %llu on",
		     (unsigned long long)epoch);
}

/* No epoch up to that one knows all that clients were told; true: ours, and that is news. */
static bool outdate(struct failover *failover, uint64_t epoch)
{
	if (epoch > failover->outdated_epoch)
		failover->outdated_epoch = epoch;
	if (failover->epoch == 0 || failover->outdated || failover->epoch > epoch)
		return false;
	failover->outdated = true;
	return true;
}

static void on_outdated(struct failover *failover, const struct failover_event *event,
			struct failover_update *update)
{
	if (failover_is_over(failover) && failover->state != FAILOVER_CLAIMING)
		return;
	if (event->term > failover->term)
		failover->term = event->term;
	if (!outdate(failover, event->epoch))
		return;
	if (failover->state == FAILOVER_CLAIMING && !failover->ordered) {
		move(failover, FAILOVER_UNATTENDED, update,
		     "the instance answered without us while we claimed it: clients know more than epoch %llu",
		     (unsigned long long)failover->epoch);
		return;
	}
	(void)snprintf(update->reason, sizeof(update->reason),
		       "the instance answered without us: clients know more than epoch %llu",
		       (unsigned long long)failover->epoch);
}

/* Nobody has been heard since: what became of the instance meanwhile is for the operator to say. */
static void on_recovered(struct failover *failover, const struct failover_event *event,
			 struct failover_update *update)
{
	if (failover->state != FAILOVER_EMPTY)
		return;
	failover->epoch = event->epoch;
	failover->outdated = event->behind;
	move(failover, FAILOVER_UNATTENDED, update,
	     "epoch %llu is back from the journal%s; if no primary returns, `understudy takeover` brings it up",
	     (unsigned long long)event->epoch,
	     event->behind ? ", and clients may have had answers that it does not know" : "");
}

static void on_forgotten(struct failover *failover, struct failover_update *update)
{
	/* What failed has been decided: only the operator goes back. */
	if ((failover_is_over(failover) && failover->state != FAILOVER_CLAIMING) ||
	    failover->state == FAILOVER_EMPTY)
		return;
	failover->epoch = failover->outdated_epoch = 0;
	failover->outdated = false;
	move(failover, FAILOVER_EMPTY, update, "there is no replica any more");
}

static void refuse(struct failover_update *update, const char *reason)
{
	update->refused = true;
	update->aside = true; /* nothing has changed: the status says what it said */
	(void)snprintf(update->reason, sizeof(update->reason), "%s", reason);
}

/* What was begun by itself goes on as ordered: also against a term that was not heard of. */
static void adopt(struct failover *failover, const struct failover_event *event,
		  struct failover_update *update)
{
	failover->ordered = true;
	failover->back_to = event->epoch;
	update->claim = failover->witness && !failover->won;
	update->by_operator = true;
	(void)snprintf(failover->why, sizeof(failover->why), "%s (silent for %.0f ms)",
		       causes[ORDER], clock_ms(failover->silent_ns));
	(void)snprintf(update->reason, sizeof(update->reason),
		       "%s: the takeover that is under way goes on as ordered", failover->why);
	proceed(failover, event->now_ns, update);
}

static void on_operator(struct failover *failover, const struct failover_event *event,
			struct failover_update *update)
{
	const char *refusal = failover_refusal(failover);

	if (refusal != NULL)
		refuse(update, refusal);
	else if (failover->state == FAILOVER_CLAIMING)
		adopt(failover, event, update);
	else
		claim(failover, event, ORDER, update);
}

static void on_rewound(struct failover *failover, struct failover_update *update)
{
	if (failover->state != FAILOVER_TAKING_OVER || failover->back_to == 0)
		return;
	(void)snprintf(update->reason, sizeof(update->reason),
		       "epoch %llu is given up, and what clients were told since epoch %llu",
		       (unsigned long long)failover->epoch, (unsigned long long)failover->back_to);
	failover->epoch = failover->back_to;
	failover->back_to = 0;
	failover->outdated = failover->rewound = true;
}

static void on_yielded(struct failover *failover, uint64_t now_ns, struct failover_update *update)
{
	if (failover->state != FAILOVER_CLAIMING || failover->yield_ns == 0)
		return;
	failover->stopped = true;
	proceed(failover, now_ns, update);
}

/* The replica that served, or the one an earlier life left. */
static void on_replica(struct failover *failover, enum failover_event_type type,
		       struct failover_update *update)
{
	bool returning = failover->state == FAILOVER_RETURNING;
	const unsigned long long term = failover->term, epoch = failover->epoch;

	if (!returning && failover->state != FAILOVER_SERVING)
		return;
	if (type == FAILOVER_FOUND && returning) {
		move(failover, FAILOVER_SERVING, update,
		     "the replica of an earlier run still serves, with term %llu", term);
	} else if (type == FAILOVER_UNUSED && returning) {
		failover->epoch = 0;
		move(failover, FAILOVER_EMPTY, update,
		     "the takeover with term %llu was not completed; nothing has run here", term);
	} else if (type == FAILOVER_GONE) {
		move(failover, FAILOVER_LOST, update,
		     "the replica took over from epoch %llu with term %llu and has ended: the newest state of the "
		     "instance was here. What the primary has is older; to go on with that, `understudy release` "
		     "here and there",
		     epoch, term);
	}
}

static void on_release(struct failover *failover, struct failover_update *update)
{
	if (failover->state != FAILOVER_LOST && failover->state != FAILOVER_FAILED) {
		refuse(update, failover->state == FAILOVER_SERVING ?
				       "the replica serves: end its QEMU first" :
				       "nothing is held here: no replica served or failed");
		return;
	}
	failover->epoch = 0;
	move(failover, FAILOVER_EMPTY, update,
	     "released by the operator; a primary may protect the instance again");
}

/* What became of the instance, as its agent says. */
static const char *fate(const struct failover_event *event)
{
	switch (event->type) {
	case FAILOVER_UNPROTECTED:
		return event->why;
	case FAILOVER_GOODBYE:
		return "the primary's agent ended in an orderly way; the instance is unprotected";
	case FAILOVER_CRASHED:
		return "the instance's QEMU is gone";
	default:
		return "the instance was shut down in an orderly way";
	}
}

/* Whoever says it is heard: that counts more than the silence by which it is claimed, but not than an order. */
static void on_instance_claimed(struct failover *failover, const struct failover_event *event,
				struct failover_update *update)
{
	const bool ended = event->type == FAILOVER_SHUT_DOWN;

	failover->again &= event->type == FAILOVER_CRASHED;
	if (event->type == FAILOVER_UNPROTECTED)
		(void)outdate(failover, event->epoch);
	if (event->type == FAILOVER_CRASHED || (ended && failover->ordered)) {
		failover->stopped = true;
		proceed(failover, event->now_ns, update);
	} else if (ended) {
		move(failover, FAILOVER_ENDED, update, "%s", fate(event));
	} else if (!failover->ordered) {
		unattended(failover, update, fate(event));
	}
}

static void on_instance(struct failover *failover, const struct failover_event *event,
			struct failover_update *update)
{
	const bool runs = event->type == FAILOVER_UNPROTECTED;

	if (failover->state == FAILOVER_CLAIMING) {
		on_instance_claimed(failover, event, update);
		return;
	}
	if (failover->state == FAILOVER_SYNCING) {
		move(failover, FAILOVER_EMPTY, update,
		     "the first copy has ended before it was whole: %.180s", fate(event));
		return;
	}
	if (!watching(failover) && failover->state != FAILOVER_UNATTENDED &&
	    !(runs && failover->state == FAILOVER_ENDED)) /* it was started again */
		return;
	failover->claim_ns = 0; /* what is known now comes before asking the witness again */
	if (runs)
		(void)outdate(failover, event->epoch);
	if (event->type == FAILOVER_CRASHED && failover->automatic && !failover->outdated)
		claim_if_able(failover, event, CRASH, update);
	else if (event->type == FAILOVER_SHUT_DOWN)
		move(failover, FAILOVER_ENDED, update, "%s", fate(event));
	else
		unattended(failover, update, fate(event));
}

/* The operator's, and what follows from it. */
static void on_order(struct failover *failover, const struct failover_event *event,
		     struct failover_update *update)
{
	if (event->type == FAILOVER_OPERATOR)
		on_operator(failover, event, update);
	else if (event->type == FAILOVER_YIELDED)
		on_yielded(failover, event->now_ns, update);
	else if (event->type == FAILOVER_REWOUND)
		on_rewound(failover, update);
	else
		on_release(failover, update);
}

/* What of its epochs is here. */
static void on_epochs(struct failover *failover, const struct failover_event *event,
		      struct failover_update *update)
{
	switch (event->type) {
	case FAILOVER_COPYING:
		if (failover->state == FAILOVER_EMPTY)
			move(failover, FAILOVER_SYNCING, update, "the first copy has begun");
		break;
	case FAILOVER_COMMITTED:
		on_committed(failover, event, update);
		break;
	case FAILOVER_OUTDATED:
		on_outdated(failover, event, update);
		break;
	case FAILOVER_RECOVERED:
		on_recovered(failover, event, update);
		break;
	default:
		on_forgotten(failover, update);
		break;
	}
}

/* What came of a takeover. */
static void on_activation(struct failover *failover, enum failover_event_type type,
			  struct failover_update *update)
{
	if (failover->state != FAILOVER_TAKING_OVER)
		return;
	if (type == FAILOVER_ACTIVATED)
		move(failover, FAILOVER_SERVING, update, "the replica serves with term %llu",
		     (unsigned long long)failover->term);
	else if (type == FAILOVER_ACTIVATION_FAILED)
		move(failover, FAILOVER_FAILED, update, "the replica could not be brought to life");
	else
		move(failover, FAILOVER_UNATTENDED, update,
		     "the replica could not be brought to life; nothing has run here, and `understudy "
		     "takeover` tries again, from epoch %llu",
		     (unsigned long long)failover->epoch);
}

void failover_step(struct failover *failover, const struct failover_event *event,
		   struct failover_update *update)
{
	*update = (struct failover_update){ 0 };
	if (event->granted_ns > failover->granted_ns)
		failover->granted_ns = event->granted_ns;
	switch (event->type) {
	case FAILOVER_TICK:
		on_tick(failover, event, update);
		break;
	case FAILOVER_HEARD:
		on_heard(failover, event->now_ns, update);
		break;
	case FAILOVER_COPYING:
	case FAILOVER_COMMITTED:
	case FAILOVER_OUTDATED:
	case FAILOVER_RECOVERED:
	case FAILOVER_FORGOTTEN:
		on_epochs(failover, event, update);
		break;
	case FAILOVER_WON:
	case FAILOVER_BEATEN:
	case FAILOVER_UNANSWERED:
		on_witness(failover, event, update);
		break;
	case FAILOVER_GOODBYE:
	case FAILOVER_UNPROTECTED:
	case FAILOVER_CRASHED:
	case FAILOVER_SHUT_DOWN:
		on_instance(failover, event, update);
		break;
	case FAILOVER_OPERATOR:
	case FAILOVER_YIELDED:
	case FAILOVER_REWOUND:
	case FAILOVER_RELEASE:
		on_order(failover, event, update);
		break;
	case FAILOVER_ACTIVATED:
	case FAILOVER_ACTIVATION_FAILED:
	case FAILOVER_NOT_ACTIVATED:
		on_activation(failover, event->type, update);
		break;
	case FAILOVER_FOUND:
	case FAILOVER_UNUSED:
	case FAILOVER_GONE:
		on_replica(failover, event->type, update);
		break;
	}
}
