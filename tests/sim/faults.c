/* What goes wrong, and the operators. */
#include "tests/sim/world.h"

static void restart(struct world *w, enum who who)
{
	struct site *site = &w->sites[who];

	if (site->left)
		return;
	site->incarnation++;
	site->dead = false;
	tell(w, "%s restarts", who == PRIMARY ? "agent" : "standby");
	if (who == PRIMARY)
		primary_start(w);
	else
		standby_start(w);
}

static void die(struct world *w, enum who who, bool for_good)
{
	struct site *site = &w->sites[who];
	const bool was_dead = site->dead;

	site->dead = true;
	site->left |= for_good;
	tell(w, "%s dies%s", who == PRIMARY ? "primary" : "standby", for_good ? " for good" : "");
	/* Before the new term was on the disk: then nothing has run. */
	if (who == STANDBY && w->failover.state == FAILOVER_TAKING_OVER &&
	    w->served_term < w->failover.term && likely(w, 50)) {
		w->record = w->record_before;
		site->incarnation++;
	}
	if (who == PRIMARY && for_good) {
		/*
		 * The witness may have let it serve alone: then nobody knows what it answered. Or it may
		 * have asked whether it may answer, or said that it ends.
		 */
		w->covered_when_it_died =
			!w->sites[STANDBY].left && !w->failover.outdated && !was_dead &&
			!w->instance_dead && !w->asked && w->said == FAILOVER_TICK && !w->forgot &&
			(w->failover.state == FAILOVER_PROTECTED ||
			 w->failover.state == FAILOVER_SUSPECT) &&
			w->failover.epoch >= w->answered && w->sites[PRIMARY].asked == 0 &&
			(w->server == STANDBY || w->term <= w->failover.term);
		w->instance_dead = true;
		w->dead_since_ns = w->now_ns;
	}
}

void mend(struct world *w)
{
	w->unreachable[PRIMARY] = w->unreachable[STANDBY] = false;
	w->elsewhere = false;
	w->protecting = true;
	w->sites[PRIMARY].deaf = w->sites[STANDBY].deaf = w->apart;
	if (w->sites[STANDBY].dead)
		restart(w, STANDBY);
	if (w->sites[PRIMARY].dead)
		restart(w, PRIMARY);
}

/* Only the instance, or only its agent, in an orderly way or not; a dead instance may be started again. */
static void end(struct world *w)
{
	struct site *primary = &w->sites[PRIMARY];

	if (w->instance_dead || primary->left || primary->frozen_until_ns > w->now_ns ||
	    likely(w, 50))
		return;
	if (likely(w, 60)) {
		primary_instance(w, likely(w, 60) ? FAILOVER_CRASHED : FAILOVER_SHUT_DOWN);
		if (likely(w, 60))
			later(w, STARTED, PRIMARY, draw(w, 3000) * MS);
	} else if (!primary->dead) {
		w->ended = FAILOVER_GOODBYE;
		to_standby(w, INSTANCE, 0);
		die(w, PRIMARY, false);
	}
}

/* Whoever could take over then does not: that is his word. */
static void let_go(struct world *w)
{
	w->knows_standby = w->elsewhere = false;
	primary_step(w, TENURE_RELEASE, 0, w->tenure.term);
}

/* Of what was served here and has ended, and of what was superseded there; also in the wrong order. */
static void release(struct world *w)
{
	const struct site *primary = &w->sites[PRIMARY], *standby = &w->sites[STANDBY];

	/* Of what has yielded, when it is known that nobody serves or is about to. */
	if (!primary->dead && primary->frozen_until_ns <= w->now_ns && likely(w, 50) &&
	    (w->tenure.state != TENURE_YIELDED ||
	     (!w->replica_runs && !failover_is_over(&w->failover))))
		let_go(w);
	if (standby->dead || standby->frozen_until_ns > w->now_ns || likely(w, 50))
		return;
	if (w->replica_runs && w->failover.state == FAILOVER_SERVING) {
		tell(w, "the replica ends");
		w->replica_runs = false;
		standby_step(w, FAILOVER_GONE, 0, 0);
	} else if (doubt_release(&w->doubt)) {
		tell(w, "the operator: the other standby does not serve");
	} else if (w->failover.state == FAILOVER_LOST || w->failover.state == FAILOVER_FAILED) {
		tell(w, "the operator: let go");
		w->newest_there = w->turned = false;
		w->laid = 0;
		standby_step(w, FAILOVER_RELEASE, 0, 0);
	}
}

void fault(struct world *w)
{
	enum who who = likely(w, 50) ? PRIMARY : STANDBY;
	struct site *site = &w->sites[who];
	uint64_t next = (20 + draw(w, 900)) * MS;

	if (w->now_ns + next < QUIET_NS)
		later(w, FAULT, who, next);
	switch (draw(w, 22)) {
	case 0:
	case 1:
		w->sites[PRIMARY].deaf = w->sites[STANDBY].deaf = true;
		break;
	case 2:
		site->deaf = true; /* one-way loss */
		break;
	case 3:
	case 4:
	case 5:
		w->sites[PRIMARY].deaf = w->sites[STANDBY].deaf = false;
		break;
	case 6:
		if (site->frozen_until_ns <= w->now_ns) /* or what waits would change its order */
			site->frozen_until_ns = w->now_ns + draw(w, 1500) * MS;
		tell(w, "%s freezes", who == PRIMARY ? "agent" : "standby");
		break;
	case 7:
		w->unreachable[who] = !w->unreachable[who];
		if (likely(w, 50))
			w->unreachable[PRIMARY] = w->unreachable[STANDBY] = w->unreachable[who];
		break;
	case 8:
		if (site->dead)
			restart(w, who);
		else if (likely(w, 40))
			die(w, who, false);
		break;
	case 9:
		if (likely(w, 25) && !site->left)
			die(w, PRIMARY, true);
		break;
	case 10:
		if (likely(w, w->automatic ? 20 : 60) && !w->sites[STANDBY].dead &&
		    w->sites[STANDBY].frozen_until_ns <= w->now_ns) {
			tell(w, "the operator: take over");
			standby_step(w, FAILOVER_OPERATOR, 0, 0);
		}
		break;
	case 11:
		w->protecting = !w->protecting;
		break;
	case 12:
		release(w);
		break;
	case 13:
		if (w->alive_until_ns > w->now_ns)
			w->alive_until_ns =
				w->now_ns + WITNESS_TTL_NS; /* a new leader counts anew */
		break;
	case 14:
	case 15:
	case 16:
		end(w);
		break;
	case 17:
		if (!w->sites[STANDBY].dead && likely(w, 50))
			standby_forgets(w); /* its memory was replaced, or is spoiled */
		break;
	case 18:
		witness_forgets(w);
		break;
	case 19:
		if (w->elsewhere)
			w->elsewhere = false;
		else
			another_begins(w);
		break;
	case 20:
		if (w->sites[STANDBY].dead && !w->sites[STANDBY].left && likely(w, 50))
			standby_loses_disk(w);
		break;
	default:
		if (site->dead)
			restart(w, who);
		break;
	}
	tell(w, "network: to primary %s, to standby %s, witness %s for primary, %s for standby",
	     w->sites[PRIMARY].deaf ? "lost" : "open", w->sites[STANDBY].deaf ? "lost" : "open",
	     w->unreachable[PRIMARY] ? "lost" : "open", w->unreachable[STANDBY] ? "lost" : "open");
}
