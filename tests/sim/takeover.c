/*
 * Two sites, a witness and a bad network, simulated: the real decision code of both ends
 * (appliance/failover.c, appliance/tenure.c) under seeded schedules of loss, delay, partitions (also
 * one-way), freezes, crashes, restarts and clocks that run apart.
 *
 *     takeover [-n SCHEDULES] [-s FIRST_SEED] [-v]
 *
 * What must hold at every moment of every schedule:
 *   1. never two servers: the primary may answer, or the replica runs, never both; behind a gateway,
 *      what the primary sends does not pass while the replica runs
 *   2. never an answer lost: a takeover by itself starts from an epoch that knows every answer
 *   3. a primary site that is dead for good is taken over in the end, if the standby had a
 *      committed epoch that was not outdated, and where there is a witness, once it answers
 *
 *   4. no term is served in twice
 *   5. while the standby claims and has not won, the witness is being asked
 *
 * A primary that holds or asks a witness, with its clients at its own site or behind the gateway; or
 * one that continues behind the gateway.
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
	if (!w->gateway && w->replica_runs && primary_serves(w))
		violation(w, "two servers");
	/* An answer outside any epoch, of which the standby has to learn before it may take over. */
	if (!w->gateway && primary_serves(w) && w->tenure.state == TENURE_ALONE) {
		w->answered = w->captured + 1;
		w->uncommitted = w->captured;
		w->tell = true;
	}
}

static bool is_timer(enum kind kind)
{
	return kind == BEAT || kind == TICK || kind == CAPTURE || kind == RENEW ||
	       kind == COMMIT_DONE || kind == ACTIVATED || kind == GAVE_UP || kind == ANSWERED;
}

static void on_timer(struct world *w, const struct event *event)
{
	struct site *site = &w->sites[event->who];

	switch (event->kind) {
	case BEAT:
		later(w, BEAT, event->who, truly(w, event->who, HEARTBEAT_NS));
		if (event->who == PRIMARY)
			to_standby(w, HEARTBEAT, 0);
		else
			to_primary(w, HEARTBEAT, 0);
		if (event->who == PRIMARY)
			primary_unprotected(w);
		break;
	case TICK:
		if (event->who == PRIMARY) {
			primary_step(w, TENURE_TICK, 0, 0);
			later(w, TICK, PRIMARY, truly(w, PRIMARY, HEARTBEAT_NS));
		} else {
			standby_step(w, FAILOVER_TICK, 0, 0);
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
		standby_committed(w, event->message.epoch);
		break;
	case ACTIVATED:
		standby_activated(w);
		break;
	default:
		if (event->number != site->asked)
			break;
		site->asked = 0;
		if (event->kind == ANSWERED && event->who == PRIMARY)
			primary_answered(w, event);
		else if (event->kind == ANSWERED)
			standby_answered(w, event);
		else if (event->who == PRIMARY && event->request != RENEWAL)
			primary_step(w, TENURE_UNANSWERED, 0, 0);
		else if (event->who == STANDBY)
			standby_step(w, FAILOVER_UNANSWERED, 0, 0);
		break;
	}
}

/* For a process that stands or is dead. */
static bool put_off(struct world *w, struct event *event)
{
	struct site *site = &w->sites[event->who];

	if (event->kind == FAULT || event->kind == MEND || event->kind == ASKED)
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
	else if (event.kind == MEND)
		mend(w);
	else
		fault(w);
	check_servers(w);
}

static void judge(struct world *w)
{
	bool quiet = w->dead_since_ns > 0 && w->covered_when_it_died && w->automatic;

	if (quiet && !w->took_over && !w->gave_up && w->failover.epoch > 0 &&
	    w->failover.epoch >= w->answered && w->sites[STANDBY].incarnation == 0)
		violation(w, "the primary is dead for good, and nobody has taken over");
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
	w->hold = !w->gateway || likely(w, 50);
	w->automatic = w->protecting = true;
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
