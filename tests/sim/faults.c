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

	site->dead = true;
	site->left |= for_good;
	tell(w, "%s dies%s", who == PRIMARY ? "primary" : "standby", for_good ? " for good" : "");
	if (who == PRIMARY && for_good) {
		w->instance_dead = true;
		w->dead_since_ns = w->now_ns;
		/* The witness may have let it serve alone: then nobody knows what it answered. */
		w->covered_when_it_died = !w->sites[STANDBY].left && !w->failover.outdated &&
					  (w->failover.state == FAILOVER_PROTECTED ||
					   w->failover.state == FAILOVER_SUSPECT) &&
					  w->failover.epoch >= w->answered &&
					  w->sites[PRIMARY].asked == 0 &&
					  (w->server == STANDBY || w->term <= w->failover.term);
	}
}

void mend(struct world *w)
{
	w->unreachable = false;
	w->protecting = true;
	w->sites[PRIMARY].deaf = w->sites[STANDBY].deaf = false;
	if (w->sites[STANDBY].dead)
		restart(w, STANDBY);
}

/* Of what was served here and has ended, and of what was superseded there; also in the wrong order. */
static void release(struct world *w)
{
	const struct site *primary = &w->sites[PRIMARY], *standby = &w->sites[STANDBY];

	if (!primary->dead && primary->frozen_until_ns <= w->now_ns && likely(w, 50))
		primary_step(w, TENURE_RELEASE, 0, w->tenure.term);
	if (standby->dead || standby->frozen_until_ns > w->now_ns || likely(w, 50))
		return;
	if (w->replica_runs && w->failover.state == FAILOVER_SERVING) {
		tell(w, "the replica ends");
		w->replica_runs = false;
		standby_step(w, FAILOVER_GONE, 0, 0);
	} else if (w->failover.state == FAILOVER_LOST) {
		tell(w, "the operator: let go");
		w->stored_epoch = 0;
		w->turned = false;
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
	switch (draw(w, 15)) {
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
		site->frozen_until_ns = w->now_ns + draw(w, 1500) * MS;
		tell(w, "%s freezes", who == PRIMARY ? "agent" : "standby");
		break;
	case 7:
		w->unreachable = !w->unreachable;
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
		if (likely(w, 20) && !w->sites[STANDBY].dead &&
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
	default:
		if (site->dead)
			restart(w, who);
		break;
	}
	tell(w, "network: to primary %s, to standby %s, witness %s",
	     w->sites[PRIMARY].deaf ? "lost" : "open", w->sites[STANDBY].deaf ? "lost" : "open",
	     w->unreachable ? "lost" : "open");
}
