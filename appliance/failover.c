#include "appliance/failover.h"

#include "appliance/base/clock.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BIT(state) (1U << (state))

static const struct {
	const char *name;
	unsigned next;
} states[] = {
	[FAILOVER_EMPTY] = { "empty", BIT(FAILOVER_SYNCING) },
	[FAILOVER_SYNCING] = { "syncing", BIT(FAILOVER_EMPTY) | BIT(FAILOVER_PROTECTED) },
	[FAILOVER_PROTECTED] = { "protected", BIT(FAILOVER_SUSPECT) | BIT(FAILOVER_UNATTENDED) |
						      BIT(FAILOVER_ENDED) |
						      BIT(FAILOVER_TAKING_OVER) |
						      BIT(FAILOVER_EMPTY) },
	[FAILOVER_SUSPECT] = { "suspect", BIT(FAILOVER_PROTECTED) | BIT(FAILOVER_UNATTENDED) |
						  BIT(FAILOVER_ENDED) | BIT(FAILOVER_TAKING_OVER) |
						  BIT(FAILOVER_EMPTY) },
	[FAILOVER_UNATTENDED] = { "unattended", BIT(FAILOVER_PROTECTED) | BIT(FAILOVER_ENDED) |
							BIT(FAILOVER_TAKING_OVER) |
							BIT(FAILOVER_EMPTY) },
	[FAILOVER_ENDED] = { "ended", BIT(FAILOVER_PROTECTED) | BIT(FAILOVER_TAKING_OVER) |
					      BIT(FAILOVER_EMPTY) },
	[FAILOVER_TAKING_OVER] = { "taking-over", BIT(FAILOVER_SERVING) | BIT(FAILOVER_FAILED) },
	[FAILOVER_SERVING] = { "serving", BIT(FAILOVER_LOST) },
	[FAILOVER_FAILED] = { "failed", BIT(FAILOVER_TAKING_OVER) | BIT(FAILOVER_EMPTY) },
	[FAILOVER_RETURNING] = { "returning",
				 BIT(FAILOVER_SERVING) | BIT(FAILOVER_LOST) | BIT(FAILOVER_EMPTY) },
	[FAILOVER_LOST] = { "lost", BIT(FAILOVER_EMPTY) },
};
static_assert(sizeof(states) / sizeof(states[0]) == FAILOVER_STATES, "a row for every state");

bool failover_may(enum failover_state from, enum failover_state to)
{
	return (states[from].next & BIT(to)) != 0;
}

const char *failover_state_name(enum failover_state state)
{
	return states[state].name;
}

void failover_init(struct failover *failover, uint32_t detect_ms, bool automatic, uint64_t now_ns)
{
	*failover = (struct failover){
		.detect_ns = detect_ms * CLOCK_NS_PER_MS,
		.automatic = automatic,
		.state = FAILOVER_EMPTY,
		.term = 1,
		.heard_ns = now_ns,
		.tick_ns = now_ns,
	};
}

void failover_restore(struct failover *failover, uint64_t term, uint64_t epoch)
{
	assert(failover->state == FAILOVER_EMPTY && term > 0);
	failover->term = term;
	failover->epoch = epoch;
	if (epoch > 0)
		failover->state = FAILOVER_RETURNING;
}

bool failover_has_served(const struct failover *failover)
{
	return failover->state == FAILOVER_SERVING || failover->state == FAILOVER_LOST;
}

bool failover_is_over(const struct failover *failover)
{
	return failover_has_served(failover) || failover->state == FAILOVER_TAKING_OVER ||
	       failover->state == FAILOVER_FAILED || failover->state == FAILOVER_RETURNING;
}

double failover_suspicion(const struct failover *failover, uint64_t now_ns)
{
	uint64_t silent = now_ns > failover->heard_ns ? now_ns - failover->heard_ns : 0;

	return silent >= failover->detect_ns ? 1.0 : (double)silent / (double)failover->detect_ns;
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

static void take_over(struct failover *failover, uint64_t now_ns, struct failover_update *update,
		      const char *why)
{
	failover->silent_ns = now_ns > failover->heard_ns ? now_ns - failover->heard_ns : 0;
	failover->decided_ns = now_ns;
	failover->term++;
	move(failover, FAILOVER_TAKING_OVER, update,
	     "%s (silent for %.0f ms); taking over from epoch %llu with term %llu", why,
	     clock_ms(failover->silent_ns), (unsigned long long)failover->epoch,
	     (unsigned long long)failover->term);
	update->activate = true;
}

/* States in which a primary is expected to be heard and something could be lost by its silence. */
static bool watching(const struct failover *failover)
{
	return failover->state == FAILOVER_PROTECTED || failover->state == FAILOVER_SUSPECT;
}

static void on_tick(struct failover *failover, uint64_t now_ns, struct failover_update *update)
{
	uint64_t since = now_ns - failover->tick_ns;

	failover->tick_ns = now_ns;
	if (since > failover->detect_ns / 2) {
		/* We were the ones who slept: what the primary sent meanwhile is still in our
		 * socket. */
		failover->heard_ns = now_ns;
		(void)snprintf(update->reason, sizeof(update->reason),
			       "this process did not run for %.0f ms; counting silence anew",
			       clock_ms(since));
		return;
	}
	if (!watching(failover))
		return;
	failover->silent_ns = now_ns > failover->heard_ns ? now_ns - failover->heard_ns : 0;
	if (failover->silent_ns >= failover->detect_ns) {
		if (failover->automatic)
			take_over(failover, now_ns, update, "the primary is silent");
		else
			move(failover, FAILOVER_UNATTENDED, update,
			     "the primary is silent; takeover is manual: `understudy takeover` brings up epoch %llu",
			     (unsigned long long)failover->epoch);
	} else if (failover->silent_ns >= failover->detect_ns / 2 &&
		   failover->state == FAILOVER_PROTECTED) {
		move(failover, FAILOVER_SUSPECT, update,
		     "the primary is silent for %.0f ms of %.0f", clock_ms(failover->silent_ns),
		     clock_ms(failover->detect_ns));
	}
}

static void on_heard(struct failover *failover, uint64_t now_ns, struct failover_update *update)
{
	if (now_ns > failover->heard_ns)
		failover->heard_ns = now_ns;
	if (failover->state == FAILOVER_SUSPECT)
		move(failover, FAILOVER_PROTECTED, update, "the primary is heard again");
}

static void on_committed(struct failover *failover, uint64_t epoch, struct failover_update *update)
{
	/* A commit that was under way when the decision fell still counts: it is the state that
	 * will be activated. */
	failover->epoch = epoch;
	if (failover->state == FAILOVER_EMPTY)
		failover->state = FAILOVER_SYNCING;
	if (failover->state == FAILOVER_SYNCING || failover->state == FAILOVER_UNATTENDED ||
	    failover->state == FAILOVER_ENDED)
		move(failover, FAILOVER_PROTECTED, update, "protected from epoch %llu on",
		     (unsigned long long)epoch);
}

static void on_forgotten(struct failover *failover, struct failover_update *update)
{
	/* What failed has been decided: only the operator goes back. */
	if (failover_is_over(failover) || failover->state == FAILOVER_EMPTY)
		return;
	failover->epoch = 0;
	move(failover, FAILOVER_EMPTY, update, "there is no replica any more");
}

static void refuse(struct failover_update *update, const char *reason)
{
	update->refused = true;
	(void)snprintf(update->reason, sizeof(update->reason), "%s", reason);
}

static void on_operator(struct failover *failover, uint64_t now_ns, struct failover_update *update)
{
	if (failover->epoch > 0 && failover_may(failover->state, FAILOVER_TAKING_OVER)) {
		take_over(failover, now_ns, update, "the operator's command");
		return;
	}
	refuse(update, failover->state == FAILOVER_SERVING ?
			       "the replica is serving already" :
		       failover->state == FAILOVER_TAKING_OVER ?
			       "a takeover is under way" :
		       failover->state == FAILOVER_RETURNING ?
			       "it took over before and is looking for its replica" :
		       failover->state == FAILOVER_LOST ?
			       "it took over before, and its replica has ended" :
			       "there is no committed epoch to take over from");
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

static void on_instance(struct failover *failover, const struct failover_event *event,
			struct failover_update *update)
{
	bool present = watching(failover) || failover->state == FAILOVER_UNATTENDED;

	if (!present)
		return;
	if (event->type == FAILOVER_CRASHED && failover->automatic)
		take_over(failover, event->now_ns, update, "the instance's QEMU is gone");
	else if (event->type == FAILOVER_SHUT_DOWN)
		move(failover, FAILOVER_ENDED, update,
		     "the instance was shut down in an orderly way");
	else if (failover->state != FAILOVER_UNATTENDED)
		move(failover, FAILOVER_UNATTENDED, update, "%s",
		     event->type == FAILOVER_GOODBYE ?
			     "the primary's agent ended in an orderly way; the instance is unprotected" :
			     "the instance's QEMU is gone; takeover is manual");
}

void failover_step(struct failover *failover, const struct failover_event *event,
		   struct failover_update *update)
{
	*update = (struct failover_update){ 0 };
	switch (event->type) {
	case FAILOVER_TICK:
		on_tick(failover, event->now_ns, update);
		break;
	case FAILOVER_HEARD:
		on_heard(failover, event->now_ns, update);
		break;
	case FAILOVER_COPYING:
		if (failover->state == FAILOVER_EMPTY)
			move(failover, FAILOVER_SYNCING, update, "the first copy has begun");
		break;
	case FAILOVER_COMMITTED:
		on_committed(failover, event->epoch, update);
		break;
	case FAILOVER_FORGOTTEN:
		on_forgotten(failover, update);
		break;
	case FAILOVER_GOODBYE:
	case FAILOVER_CRASHED:
	case FAILOVER_SHUT_DOWN:
		on_instance(failover, event, update);
		break;
	case FAILOVER_OPERATOR:
		on_operator(failover, event->now_ns, update);
		break;
	case FAILOVER_ACTIVATED:
		if (failover->state == FAILOVER_TAKING_OVER)
			move(failover, FAILOVER_SERVING, update,
			     "the replica serves with term %llu",
			     (unsigned long long)failover->term);
		break;
	case FAILOVER_ACTIVATION_FAILED:
		if (failover->state == FAILOVER_TAKING_OVER)
			move(failover, FAILOVER_FAILED, update,
			     "the replica could not be brought to life");
		break;
	case FAILOVER_FOUND:
	case FAILOVER_UNUSED:
	case FAILOVER_GONE:
		on_replica(failover, event->type, update);
		break;
	case FAILOVER_RELEASE:
		on_release(failover, update);
		break;
	}
}
