/*
 * Two sites, a witness and a bad network, simulated: the real decision code of both ends
 * (appliance/failover.c, appliance/tenure.c) under seeded schedules of loss, delay, partitions (also
 * one-way), freezes, crashes, restarts and clocks that run apart.
 *
 *     takeover [-n SCHEDULES] [-s FIRST_SEED] [-v]
 *
 * What must hold at every moment of every schedule:
 *   1. never two servers: the primary may answer, or the replica runs, never both
 *   2. never an answer lost: a takeover by itself starts from an epoch that knows every answer
 *   3. a primary site that is dead for good is taken over in the end, if the standby had a
 *      committed epoch that was not outdated, and where there is a witness, once it answers
 *
 * What is simulated besides: the link delivers in order or not at all; a heartbeat's answer echoes
 * the clock it answers; the primary captures epochs only while it has a lease, and tells of answers
 * outside any epoch (UNCOMMITTED) before anything else; the witness is one register with
 * compare-and-swap, whose requests and answers may be lost after they took effect.
 *
 * A schedule is its seed: `takeover -n 1 -s SEED -v` tells it again, event by event.
 */
#include "appliance/base/clock.h"
#include "appliance/failover.h"
#include "appliance/tenure.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS CLOCK_NS_PER_MS
#define END_NS (20000 * MS) /* of a schedule */
#define QUIET_NS \
	(12000 * MS) /* from then on nothing new goes wrong, and what was wrong is mended */
#define HEARTBEAT_NS (50 * MS)
#define DETECT_MS 300
#define EPOCH_NS (100 * MS)
#define WITNESS_TIMEOUT_NS (1000 * MS)
#define WITNESS_TTL_NS (2000 * MS)
#define EVENTS_MAX 4096
#define DRIFT_PARTS 1000 /* clocks run apart by up to 4 % each, far beyond real ones */
#define DRIFT_MOST 40

enum who { PRIMARY, STANDBY };

enum kind {
	BEAT,	     /* a site's timer */
	TICK,	     /* the standby's, the primary's tenure */
	CAPTURE,     /* an epoch's end at the primary */
	MESSAGE,     /* arrives at a site */
	COMMIT_DONE, /* the standby has applied an epoch */
	ACTIVATED,   /* the replica runs */
	ASKED,	     /* a request arrives at the witness */
	ANSWERED,    /* its answer arrives at a site */
	GAVE_UP,     /* a site has waited long enough for it */
	RENEW,	     /* the primary's lease at the witness */
	FAULT,
	MEND,
};

enum content { HEARTBEAT, COMMIT, ACK, UNCOMMITTED };

struct message {
	enum content content;
	uint64_t clock_ns, echo_ns, lease_ns, term, epoch;
	bool serving;
};

enum request { CLAIM, LOOK, RENEWAL };
enum answer { WON, LOST, NOBODY, UNANSWERED };

struct event {
	uint64_t at_ns, order; /* true time; first come first served */
	enum kind kind;
	enum who who;
	struct message message;
	/* ASKED, ANSWERED, GAVE_UP */
	uint64_t number;
	enum request request;
	bool by_operator;
	enum answer answer;
	unsigned incarnation; /* of the process that set a timer */
};

struct site {
	bool dead, left; /* the process; for good */
	uint64_t frozen_until_ns;
	int drift; /* its clock runs 1 + drift / DRIFT_PARTS */
	unsigned incarnation;
	uint64_t asked, requests; /* outstanding at the witness, 0: none; ever made */
	uint64_t sent_ns;	  /* own clock: when it was sent */
	uint64_t last_arrival_ns; /* order on the link towards this site */
	bool deaf;		  /* what is sent to it is lost */
	uint64_t peer_clock_ns, peer_clock_at_ns;
};

struct world { /* NOLINT(clang-analyzer-optin.performance.Padding): in the order of its story */
	uint64_t seed, random, now_ns, order;
	bool witness, hold, automatic, verbose, failed;
	struct event events[EVENTS_MAX];
	size_t nevents;
	struct site sites[2];
	struct tenure tenure;
	struct failover failover;
	/* primary */
	bool instance_dead;
	uint64_t captured, acknowledged; /* epochs */
	uint64_t answered; /* the last epoch with answers in it outside what is acknowledged */
	bool tell;	   /* UNCOMMITTED has to go first */
	/* standby */
	uint64_t stored_term, stored_epoch;
	bool replica_runs;
	bool by_operator;
	uint64_t granted_ns;
	/* witness */
	uint64_t term;
	enum who server;
	bool unreachable;
	uint64_t alive_until_ns; /* the primary's lease there */
	/* what came of it */
	bool took_over;
	uint64_t dead_since_ns;
	bool covered_when_it_died;
};

static void trace(const struct world *w, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void trace(const struct world *w, const char *format, ...)
{
	va_list args;

	if (!w->verbose)
		return;
	printf("%9.3f  ", clock_ms(w->now_ns));
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

static void violation(struct world *w, const char *what)
{
	if (w->failed)
		return;
	w->failed = true;
	printf("seed %" PRIu64 ", at %.3f ms: %s (primary %s, standby %s)\n", w->seed,
	       clock_ms(w->now_ns), what, tenure_state_name(w->tenure.state),
	       failover_state_name(w->failover.state));
}

/* Chance and time ---------------------------------------------------------------------------- */

/* xorshift64* */
static uint64_t draw(struct world *w, uint64_t below)
{
	w->random ^= w->random >> 12;
	w->random ^= w->random << 25;
	w->random ^= w->random >> 27;
	return (w->random * UINT64_C(2685821657736338717) >> 16) % below;
}

static bool chance(struct world *w, unsigned percent)
{
	return draw(w, 100) < percent;
}

static uint64_t clock_of(const struct world *w, enum who who)
{
	const struct site *site = &w->sites[who];

	return w->now_ns / DRIFT_PARTS * (uint64_t)(DRIFT_PARTS + site->drift) +
	       (who == PRIMARY ? 7777 * MS : 999 * MS);
}

/* How long a wait by a site's clock takes in truth. */
static uint64_t truly(const struct world *w, enum who who, uint64_t ns)
{
	return ns / (uint64_t)(DRIFT_PARTS + w->sites[who].drift) * DRIFT_PARTS + 1;
}

static bool earlier(const struct event *a, const struct event *b)
{
	return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->order < b->order);
}

static void put(struct world *w, struct event event)
{
	size_t i = w->nevents++, up;

	if (w->nevents > EVENTS_MAX) {
		violation(w, "the simulator has too many events");
		w->nevents--;
		return;
	}
	event.order = w->order++;
	for (; i > 0 && earlier(&event, &w->events[up = (i - 1) / 2]); i = up)
		w->events[i] = w->events[up];
	w->events[i] = event;
}

static struct event take(struct world *w)
{
	struct event first = w->events[0], last = w->events[--w->nevents];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < w->nevents) {
		if (child + 1 < w->nevents && earlier(&w->events[child + 1], &w->events[child]))
			child++;
		if (!earlier(&w->events[child], &last))
			break;
		w->events[i] = w->events[child];
		i = child;
	}
	w->events[i] = last;
	return first;
}

static void later(struct world *w, enum kind kind, enum who who, uint64_t ns)
{
	put(w, (struct event){ .at_ns = w->now_ns + ns,
			       .kind = kind,
			       .who = who,
			       .incarnation = w->sites[who].incarnation });
}

/* What must hold ----------------------------------------------------------------------------- */

static bool primary_serves(const struct world *w)
{
	return !w->sites[PRIMARY].dead && !w->instance_dead &&
	       w->sites[PRIMARY].frozen_until_ns <= w->now_ns &&
	       tenure_may_serve(&w->tenure, clock_of(w, PRIMARY));
}

static void look(struct world *w)
{
	if (w->replica_runs && primary_serves(w))
		violation(w, "two servers");
	/* An answer outside any epoch, of which the standby has to learn before it may take over. */
	if (primary_serves(w) && w->tenure.state == TENURE_ALONE) {
		w->answered = w->captured + 1;
		w->tell = true;
	}
}

/* Sending ------------------------------------------------------------------------------------ */

static void send(struct world *w, enum who to, struct message message)
{
	struct site *site = &w->sites[to];
	uint64_t at = w->now_ns + (1 + draw(w, 5)) * MS / 2;

	if (chance(w, 3))
		at += draw(w, 400) * MS; /* a retransmission, or a queue somewhere */
	if (at < site->last_arrival_ns)
		at = site->last_arrival_ns;
	if (site->deaf)
		return;
	site->last_arrival_ns = at;
	put(w, (struct event){ .at_ns = at, .kind = MESSAGE, .who = to, .message = message });
}

static void to_standby(struct world *w, enum content content, uint64_t epoch)
{
	const struct message message = {
		.content = content,
		.clock_ns = clock_of(w, PRIMARY),
		.term = w->tenure.term,
		.epoch = epoch,
	};

	if (w->tell) {
		send(w, STANDBY,
		     (struct message){ .content = UNCOMMITTED,
				       .clock_ns = message.clock_ns,
				       .term = message.term,
				       .epoch = w->answered - 1 });
		if (w->tenure.state != TENURE_ALONE && w->acknowledged > w->answered)
			w->tell = false;
	}
	send(w, STANDBY, message);
}

static void to_primary(struct world *w, enum content content, uint64_t epoch)
{
	struct site *standby = &w->sites[STANDBY];
	struct message message = {
		.content = content,
		.echo_ns = standby->peer_clock_ns,
		.term = w->failover.term,
		.epoch = epoch,
		.serving = failover_has_served(&w->failover),
	};

	if (content == HEARTBEAT && standby->peer_clock_ns > 0) {
		message.lease_ns = failover_lease_ns(&w->failover);
		if (message.lease_ns > 0)
			w->granted_ns =
				standby->peer_clock_at_ns + TENURE_WAIT_NS(message.lease_ns);
	}
	send(w, PRIMARY, message);
}

/* The witness -------------------------------------------------------------------------------- */

static void ask(struct world *w, enum who who, enum request request, bool by_operator)
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
	put(w, event);
	if (w->unreachable || chance(w, 5))
		return;
	event.kind = ASKED;
	event.at_ns = w->now_ns + (1 + draw(w, 20)) * MS;
	put(w, event);
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

static void on_asked(struct world *w, const struct event *asked)
{
	static const char *const names[] = { "wins", "loses", "nobody", "no answer" };
	struct event answer = *asked;

	answer.answer = judge_claim(w, asked);
	answer.message.term = w->term;
	if (asked->who == PRIMARY && asked->request != LOOK && answer.answer == WON)
		w->alive_until_ns = w->now_ns + WITNESS_TTL_NS;
	trace(w, "witness: %s asks, %s with term %" PRIu64,
	      asked->who == PRIMARY ? "primary" : "standby", names[answer.answer], w->term);
	if (w->unreachable || chance(w, 5))
		return;
	answer.kind = ANSWERED;
	answer.at_ns = w->now_ns + (1 + draw(w, 20)) * MS;
	put(w, answer);
}

/* The primary -------------------------------------------------------------------------------- */

static void step_primary(struct world *w, enum tenure_event_type type, uint64_t until_ns,
			 uint64_t term)
{
	const struct tenure_event event = {
		.type = type, .now_ns = clock_of(w, PRIMARY), .until_ns = until_ns, .term = term
	};
	struct tenure_update update;

	tenure_step(&w->tenure, &event, &update);
	if (update.changed)
		trace(w, "primary %s: %s", tenure_state_name(w->tenure.state), update.reason);
	if (update.claim || update.look)
		ask(w, PRIMARY, update.claim ? CLAIM : LOOK, false);
	if (update.changed && w->tenure.state == TENURE_ALONE)
		later(w, RENEW, PRIMARY, truly(w, PRIMARY, WITNESS_TTL_NS / 4));
	look(w);
}

static void primary_hears(struct world *w, const struct message *message)
{
	if (message->serving) {
		step_primary(w, TENURE_SUPERSEDE, 0, message->term);
		return;
	}
	if (message->content == ACK && message->epoch > w->acknowledged)
		w->acknowledged = message->epoch;
	if (message->lease_ns > 0)
		step_primary(w, TENURE_GRANTED, message->echo_ns + message->lease_ns,
			     message->term);
}

static void capture(struct world *w)
{
	later(w, CAPTURE, PRIMARY, EPOCH_NS);
	if (w->instance_dead || w->tenure.state != TENURE_LEASED)
		return;
	w->captured++;
	to_standby(w, COMMIT, w->captured);
}

static void primary_answered(struct world *w, const struct event *event)
{
	uint64_t until = w->sites[PRIMARY].sent_ns + WITNESS_TTL_NS - WITNESS_TTL_NS / 8;
	uint64_t term = event->message.term;

	if (event->request == RENEWAL) {
		if (event->answer == WON)
			step_primary(w, TENURE_WON, until, term);
	} else if (event->answer == WON) {
		step_primary(w, TENURE_WON, event->request == CLAIM ? until : 0, term);
	} else if (event->answer == LOST && term > w->tenure.term) {
		step_primary(w, TENURE_LOST, 0, term);
	} else if (event->answer == NOBODY) {
		step_primary(w, TENURE_WON, 0, w->tenure.term);
	} else {
		step_primary(w, TENURE_UNANSWERED, 0, 0);
	}
}

/* The standby -------------------------------------------------------------------------------- */

static void step_standby(struct world *w, enum failover_event_type type, uint64_t epoch,
			 uint64_t term)
{
	const struct failover_event event = {
		.type = type,
		.now_ns = clock_of(w, STANDBY),
		.epoch = epoch,
		.term = term,
		.granted_ns = w->granted_ns,
	};
	struct failover_update update;

	failover_step(&w->failover, &event, &update);
	if (update.changed)
		trace(w, "standby %s: %s", failover_state_name(w->failover.state), update.reason);
	if (update.claim)
		ask(w, STANDBY, CLAIM, update.by_operator);
	if (update.activate) {
		w->stored_term = w->failover.term;
		w->stored_epoch = w->failover.epoch;
		later(w, ACTIVATED, STANDBY, (1 + draw(w, 20)) * MS);
	}
	look(w);
}

static void standby_hears(struct world *w, const struct message *message)
{
	struct site *standby = &w->sites[STANDBY];

	standby->peer_clock_ns = message->clock_ns;
	standby->peer_clock_at_ns = clock_of(w, STANDBY);
	step_standby(w, FAILOVER_HEARD, 0, 0);
	if (message->content == UNCOMMITTED) {
		step_standby(w, FAILOVER_OUTDATED, message->epoch, message->term);
	} else if (message->content == COMMIT && !failover_is_over(&w->failover)) {
		put(w, (struct event){ .at_ns = w->now_ns + draw(w, 10) * MS,
				       .kind = COMMIT_DONE,
				       .who = STANDBY,
				       .incarnation = standby->incarnation,
				       .message = *message });
	}
}

static void commit_done(struct world *w, uint64_t epoch)
{
	if (failover_is_over(&w->failover) && w->failover.state != FAILOVER_CLAIMING)
		return;
	step_standby(w, FAILOVER_COMMITTED, epoch, 0);
	if (!failover_is_over(&w->failover))
		to_primary(w, ACK, epoch);
}

static void activated(struct world *w)
{
	if (w->failover.state != FAILOVER_TAKING_OVER)
		return;
	w->replica_runs = w->took_over = true;
	if (w->failover.epoch < w->answered && !w->by_operator)
		violation(w, "a takeover by itself from an epoch that does not know every answer");
	step_standby(w, FAILOVER_ACTIVATED, 0, 0);
}

static void standby_answered(struct world *w, const struct event *event)
{
	step_standby(w,
		     event->answer == WON  ? FAILOVER_WON :
		     event->answer == LOST ? FAILOVER_BEATEN :
					     FAILOVER_UNANSWERED,
		     0, event->message.term);
}

static void start_standby(struct world *w)
{
	uint64_t now = clock_of(w, STANDBY);

	failover_init(&w->failover, DETECT_MS, w->automatic, now);
	w->failover.witness = w->witness;
	if (w->stored_term > 0)
		failover_restore(&w->failover, w->stored_term, w->stored_epoch);
	/* Its image is in memory that others may write to: a new life trusts none of it. */
	w->granted_ns = 0;
	w->sites[STANDBY].peer_clock_ns = 0;
	w->sites[STANDBY].asked = 0;
	if (w->stored_epoch > 0)
		step_standby(w, w->replica_runs ? FAILOVER_FOUND : FAILOVER_UNUSED, 0, 0);
	later(w, BEAT, STANDBY, HEARTBEAT_NS);
	later(w, TICK, STANDBY, DETECT_MS * MS / 8);
}

static void start_primary(struct world *w)
{
	tenure_init(&w->tenure, w->hold, w->witness, 1);
	w->sites[PRIMARY].asked = 0;
	later(w, BEAT, PRIMARY, HEARTBEAT_NS);
	later(w, TICK, PRIMARY, HEARTBEAT_NS);
	later(w, CAPTURE, PRIMARY, EPOCH_NS);
}

/* What goes wrong ---------------------------------------------------------------------------- */

static void restart(struct world *w, enum who who)
{
	struct site *site = &w->sites[who];

	if (site->left)
		return;
	site->incarnation++;
	site->dead = false;
	trace(w, "%s restarts", who == PRIMARY ? "agent" : "standby");
	if (who == PRIMARY)
		start_primary(w);
	else
		start_standby(w);
}

static void die(struct world *w, enum who who, bool for_good)
{
	struct site *site = &w->sites[who];

	site->dead = true;
	site->left |= for_good;
	trace(w, "%s dies%s", who == PRIMARY ? "primary" : "standby", for_good ? " for good" : "");
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

static void mend(struct world *w)
{
	w->unreachable = false;
	w->sites[PRIMARY].deaf = w->sites[STANDBY].deaf = false;
	if (w->sites[STANDBY].dead)
		restart(w, STANDBY);
}

static void fault(struct world *w)
{
	enum who who = chance(w, 50) ? PRIMARY : STANDBY;
	struct site *site = &w->sites[who];
	uint64_t next = (20 + draw(w, 900)) * MS;

	if (w->now_ns + next < QUIET_NS)
		later(w, FAULT, who, next);
	switch (draw(w, 12)) {
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
		trace(w, "%s freezes", who == PRIMARY ? "agent" : "standby");
		break;
	case 7:
		w->unreachable = !w->unreachable;
		break;
	case 8:
		if (site->dead)
			restart(w, who);
		else if (chance(w, 40))
			die(w, who, false);
		break;
	case 9:
		if (chance(w, 25) && !site->left)
			die(w, PRIMARY, true);
		break;
	case 10:
		if (chance(w, 20) && !w->sites[STANDBY].dead &&
		    w->sites[STANDBY].frozen_until_ns <= w->now_ns) {
			trace(w, "the operator: take over");
			w->by_operator = true;
			step_standby(w, FAILOVER_OPERATOR, 0, 0);
		}
		break;
	default:
		if (site->dead)
			restart(w, who);
		break;
	}
	trace(w, "network: to primary %s, to standby %s, witness %s",
	      w->sites[PRIMARY].deaf ? "lost" : "open", w->sites[STANDBY].deaf ? "lost" : "open",
	      w->unreachable ? "lost" : "open");
}

/* A schedule --------------------------------------------------------------------------------- */

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
		break;
	case TICK:
		if (event->who == PRIMARY) {
			step_primary(w, TENURE_TICK, 0, 0);
			later(w, TICK, PRIMARY, truly(w, PRIMARY, HEARTBEAT_NS));
		} else {
			step_standby(w, FAILOVER_TICK, 0, 0);
			later(w, TICK, STANDBY, truly(w, STANDBY, DETECT_MS * MS / 8));
		}
		break;
	case CAPTURE:
		capture(w);
		break;
	case RENEW:
		if (w->tenure.state == TENURE_ALONE) {
			ask(w, PRIMARY, RENEWAL, false);
			later(w, RENEW, PRIMARY, truly(w, PRIMARY, WITNESS_TTL_NS / 4));
		}
		break;
	case COMMIT_DONE:
		commit_done(w, event->message.epoch);
		break;
	case ACTIVATED:
		activated(w);
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
			step_primary(w, TENURE_UNANSWERED, 0, 0);
		else if (event->who == STANDBY)
			step_standby(w, FAILOVER_UNANSWERED, 0, 0);
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
	put(w, *event);
	return true;
}

static void handle(struct world *w, struct event event)
{
	w->now_ns = event.at_ns;
	look(w);
	if (put_off(w, &event))
		return;
	if (is_timer(event.kind))
		on_timer(w, &event);
	else if (event.kind == MESSAGE && event.who == PRIMARY)
		primary_hears(w, &event.message);
	else if (event.kind == MESSAGE)
		standby_hears(w, &event.message);
	else if (event.kind == ASKED)
		on_asked(w, &event);
	else if (event.kind == MEND)
		mend(w);
	else
		fault(w);
	look(w);
}

static void judge(struct world *w)
{
	bool quiet = w->dead_since_ns > 0 && w->covered_when_it_died && w->automatic;

	if (quiet && !w->took_over && w->failover.epoch > 0 && w->sites[STANDBY].incarnation == 0)
		violation(w, "the primary is dead for good, and nobody has taken over");
}

static bool run(struct world *w, uint64_t seed, bool verbose)
{
	memset(w, 0, offsetof(struct world, events));
	memset(&w->nevents, 0, sizeof(*w) - offsetof(struct world, nevents));
	w->seed = seed;
	w->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	w->verbose = verbose;
	w->witness = chance(w, 50);
	w->hold = true;
	w->automatic = true;
	w->sites[PRIMARY].drift = (int)draw(w, 2 * DRIFT_MOST + 1) - DRIFT_MOST;
	w->sites[STANDBY].drift = (int)draw(w, 2 * DRIFT_MOST + 1) - DRIFT_MOST;
	start_standby(w);
	start_primary(w);
	later(w, FAULT, PRIMARY, (500 + draw(w, 2000)) * MS);
	put(w, (struct event){ .at_ns = QUIET_NS, .kind = MEND });
	while (w->nevents > 0 && w->events[0].at_ns < END_NS && !w->failed)
		handle(w, take(w));
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
