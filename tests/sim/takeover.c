/*
 * Two sites, a witness and a bad network, simulated: the real decision code of both ends
 * (appliance/failover.c, appliance/tenure.c, appliance/aftermath.c) under seeded schedules of loss,
 * delay, partitions (also one-way), freezes, crashes, restarts and clocks that run apart; of instances
 * that crash, are shut down and started again; of agents that end in an orderly way; of images that
 * are forgotten, activations that fail, and a witness that loses its data; of another standby that answers at
 * the first one's address, and of one whose disk is lost.
 *
 *     takeover [-n SCHEDULES] [-s FIRST_SEED] [-v]
 *
 * What must hold at every moment of every schedule:
 *   1. never two servers: the primary may answer, or the replica runs, never both; behind a gateway,
 *      what the primary sends does not pass while the replica runs. Of one that goes on without its
 *      standby, where takeovers are manual: if it answered when it was asked to yield
 *   2. never an answer lost: a takeover by itself starts from an epoch that knows every answer, be it
 *      one that its commit let out or one outside any epoch; and once clients were answered by a
 *      replica, the primary does not answer them before an operator has let go of that
 *   3. a primary site that is dead for good is taken over in the end, if the standby had a
 *      committed epoch that was not outdated, and where there is a witness, once it answers
 *   4. no term is served in twice
 *   5. while the standby claims and has not won, the witness is being asked
 *   6. of an instance that is known to have ended, or to run without epochs, none counts as protected;
 *      an orderly end is no reason to take over, a crash is one
 *   7. a takeover is by itself only where takeovers are automatic
 *   8. with everything mended, or all but the link, in the end one serves, or an operator has been told
 *   9. the witness's lease is held by nobody whose instance is gone, or who has heard that it is lost;
 *      what a standby said itself, that it serves, only the operator takes back
 *
 * A primary that holds or asks a witness, with its clients at its own site (by cards that are held, or
 * a network of the instance's own: then 2 is for what it answers alone, or once its agent has said that
 * nothing captures it) or behind the gateway; or
 * one that continues behind the gateway, or where takeovers are manual.
 *
 * A witness that loses its data is none: what it said before does not bind what it says then. So 1 does
 * not count until the lease that it has forgotten has ended (its holder hears of that at the next
 * renewal), nor 2 what the primary answered by it. It forgets only the primary's claims: of a standby's,
 * no lease tells a primary that has not heard of it.
 *
 * Another standby answers only where the agent has had a lease of the first one, and its operator has not let
 * go of that, or where the witness knows that that one serves: else only they know. It never takes over itself.
 *
 * Left out: what an epoch holds, and epochs of an earlier agent (the model has them: tests/model). An
 * instance that is started takes a second until it answers: longer than leases.
 *
 * A schedule is its seed: `takeover -n 1 -s SEED -v` tells it again, event by event.
 */
#include "tests/sim/world.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void check_servers(struct world *w)
{
	/* Manual, and going on without its standby: if that was not heard, the operator answers for it. */
	const bool leased = !w->gateway && w->hold && w->now_ns >= w->excused_until_ns;
	const bool yields = !w->gateway && !w->hold && !w->witness && !w->blind;

	if (w->gateway || !primary_serves(w))
		return;
	if ((leased || yields) && w->replica_runs)
		violation(w, "two servers");
	else if (leased && w->newest_there)
		violation(w, "the primary answers, and clients know more from a replica");
	if (w->cards && w->answered < w->acknowledged)
		w->answered = w->acknowledged;
	/* An answer outside any epoch, of which the standby has to learn before it may take over. */
	if (w->tenure.state == TENURE_ALONE) {
		w->answered = w->captured + 1;
		w->uncommitted = w->captured;
		w->tell = true;
	}
}

void check_passing(struct world *w)
{
	if (w->replica_runs)
		violation(w, "the gateway lets two servers through");
	else if (w->newest_there)
		violation(
			w,
			"the gateway lets the primary through, and clients know more from a replica");
}

/* With everything mended: exactly one serves, or an operator is told what is to be decided. */
static bool is_settled(const struct world *w)
{
	const enum failover_state state = w->failover.state;

	if (w->replica_runs)
		return state == FAILOVER_SERVING || w->held;
	if (state == FAILOVER_LOST || state == FAILOVER_FAILED)
		return true;
	if (!w->doubt.clear || !tenure_takes(&w->tenure, w->identity))
		return true; /* as the standby's status says, or the primary's */
	if (w->paused || (w->apart && w->tenure.state == TENURE_YIELDED))
		return true; /* as the primary's status says */
	if (w->apart && (w->gateway || !w->witness || w->forgot || w->tenure.released ||
			 w->tenure.state == TENURE_SUPERSEDED))
		return true; /* nobody can let the primary go on: its status says so */
	if (!w->instance_dead && !w->sites[PRIMARY].dead)
		return primary_serves(w) ||
		       (w->tenure.state == TENURE_SUPERSEDED && !w->tenure.hearsay);
	return state == FAILOVER_UNATTENDED || state == FAILOVER_ENDED || state == FAILOVER_EMPTY ||
	       state == FAILOVER_SYNCING;
}

static bool is_timer(enum kind kind)
{
	return kind == BEAT || kind == TICK || kind == CAPTURE || kind == RENEW ||
	       kind == COMMIT_DONE || kind == ACTIVATED || kind == PAUSED || kind == GAVE_UP ||
	       kind == ANSWERED;
}

static void on_timer(struct world *w, const struct event *event)
{
	struct site *site = &w->sites[event->who];
	uint64_t *asked;

	switch (event->kind) {
	case BEAT:
		later(w, BEAT, event->who, truly(w, event->who, HEARTBEAT_NS));
		if (event->who == STANDBY)
			to_primary(w, HEARTBEAT, 0);
		else if (w->found)
			primary_beats(w);
		break;
	case TICK:
		if (event->who == PRIMARY) {
			primary_step(w, TENURE_TICK, 0, 0);
			later(w, TICK, PRIMARY, truly(w, PRIMARY, HEARTBEAT_NS));
		} else {
			standby_step(w, FAILOVER_TICK, 0, 0);
			if (doubt_is_due(&w->doubt, clock_of(w, STANDBY)))
				witness_ask(w, STANDBY, LOOK, false);
			if (is_settled(w))
				w->settled_ns = w->now_ns;
			later(w, TICK, STANDBY, truly(w, STANDBY, DETECT_MS * MS / 8));
		}
		break;
	case CAPTURE:
		primary_capture(w);
		break;
	case RENEW:
		if (w->tenure.state == TENURE_ALONE) {
			witness_ask(w, PRIMARY, RENEWAL, false);
			later(w, RENEW, PRIMARY, truly(w, PRIMARY, WITNESS_TTL_NS / 4));
		}
		break;
	case COMMIT_DONE:
		standby_committed(w, &event->message);
		break;
	case ACTIVATED:
		standby_activated(w, event->outcome);
		break;
	case PAUSED:
		primary_paused(w, event->message.connection);
		break;
	default:
		asked = event->request == RENEWAL ? &site->renewing : &site->asked;
		if (event->number != *asked)
			break;
		*asked = 0;
		if (event->kind == ANSWERED && event->answer != UNANSWERED &&
		    (event->request != RENEWAL || event->answer == WON)) {
			site->seen = event->message.term;
			site->seen_server = event->server;
		}
		if (event->kind == ANSWERED && event->who == PRIMARY)
			primary_answered(w, event);
		else if (event->kind == ANSWERED)
			standby_answered(w, event);
		else if (event->who == PRIMARY && event->request != RENEWAL)
			primary_step(w, TENURE_UNANSWERED, 0, 0);
		else if (event->who == STANDBY && event->request == LOOK)
			doubt_unanswered(&w->doubt);
		else if (event->who == STANDBY)
			standby_step(w, FAILOVER_UNANSWERED, 0, 0);
		break;
	}
}

/* For a process that stands or is dead. */
static bool put_off(struct world *w, struct event *event)
{
	struct site *site = &w->sites[event->who];

	if (!is_timer(event->kind) && event->kind != MESSAGE)
		return false;
	if (is_timer(event->kind) && event->incarnation != site->incarnation)
		return true;
	if (site->dead)
		return true;
	if (site->frozen_until_ns <= w->now_ns)
		return false;
	event->at_ns = site->frozen_until_ns; /* keeps its place among the others */
	queue_put(w, *event);
	return true;
}

static void handle(struct world *w, struct event event)
{
	w->now_ns = event.at_ns;
	check_servers(w);
	if (put_off(w, &event))
		return;
	if (is_timer(event.kind))
		on_timer(w, &event);
	else if (event.kind == MESSAGE && event.who == PRIMARY)
		primary_hears(w, &event.message);
	else if (event.kind == MESSAGE)
		standby_hears(w, &event.message);
	else if (event.kind == ASKED)
		witness_asked(w, &event);
	else if (event.kind == RUNS)
		standby_runs(w, &event);
	else if (event.kind == STARTED || event.kind == BOOTED)
		primary_instance_again(w, event.kind == BOOTED);
	else if (event.kind == MEND)
		mend(w);
	else
		fault(w);
	check_servers(w);
}

static void judge(struct world *w)
{
	const bool quiet =
		w->dead_since_ns > 0 && w->covered_when_it_died && w->automatic && !w->forgot;

	if (quiet && !w->took_over && !w->gave_up && w->failover.epoch > 0 &&
	    w->failover.epoch >= w->answered && w->sites[STANDBY].incarnation == 0)
		violation(w, "the primary is dead for good, and nobody has taken over");
	if (w->now_ns > w->settled_ns + SETTLE_NS)
		violation(w, "nobody serves, and nobody is told");
}

static bool run(struct world *w, uint64_t seed, bool verbose)
{
	memset(w, 0, offsetof(struct world, events));
	memset(&w->nevents, 0, sizeof(*w) - offsetof(struct world, nevents));
	w->seed = seed;
	w->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	w->verbose = verbose;
	w->witness = likely(w, 50);
	w->gateway = likely(w, 40);
	w->cards = w->gateway || likely(w, 70);
	w->automatic = likely(w, 85);
	/* As safety.h has it. */
	w->hold = (!w->gateway && (w->automatic || w->witness)) || likely(w, 50);
	w->apart = likely(w, 15);
	w->forgetful = w->witness && likely(w, 25);
	w->protecting = true;
	w->identity = 1;
	w->record = (struct term_record){ .term = 1, .kind = TERM_STANDS_BY };
	w->sites[PRIMARY].drift = (int)draw(w, 2 * DRIFT_MOST + 1) - DRIFT_MOST;
	w->sites[STANDBY].drift = (int)draw(w, 2 * DRIFT_MOST + 1) - DRIFT_MOST;
	standby_start(w);
	primary_start(w);
	later(w, FAULT, PRIMARY, (500 + draw(w, 2000)) * MS);
	queue_put(w, (struct event){ .at_ns = QUIET_NS, .kind = MEND });
	while (w->nevents > 0 && w->events[0].at_ns < END_NS && !w->failed)
		handle(w, queue_take(w));
	if (!w->failed)
		judge(w);
	return !w->failed;
}

int main(int argc, char **argv)
{
	uint64_t schedules = 20000, seed = 1, i, taken = 0, bad = 0;
	static struct world world;
	bool verbose = false;
	int option;

	while ((option = getopt(argc, argv, "n:s:v")) != -1) {
		if (option == 'n')
			schedules = strtoull(optarg, NULL, 10);
		else if (option == 's')
			seed = strtoull(optarg, NULL, 10);
		else if (option == 'v')
			verbose = true;
		else
			return 2;
	}
	for (i = 0; i < schedules && bad < 10; i++) {
		bad += !run(&world, seed + i, verbose);
		taken += world.took_over;
	}
	printf("%" PRIu64 " schedules from seed %" PRIu64 ": %" PRIu64 " takeovers, %" PRIu64
	       " violations\n",
	       i, seed, taken, bad);
	return bad == 0 ? 0 : 1;
}
