/*
 * The simulated world: two sites with the real decisions, a witness, a network, and the events to
 * come in the order of true time. What each file does to it is declared here.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "appliance/base/clock.h"
#include "appliance/failover.h"
#include "appliance/tenure.h"

#include <stdbool.h>
#include <stdint.h>

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

enum content { HEARTBEAT, COMMIT, ACK, UNCOMMITTED, FRAMES };

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
	bool witness, hold, gateway, automatic, verbose, failed;
	struct event events[EVENTS_MAX];
	size_t nevents;
	struct site sites[2];
	struct tenure tenure;
	struct failover failover;
	/* primary */
	bool instance_dead;
	bool protecting;		 /* epochs are captured */
	uint64_t captured, acknowledged; /* epochs */
	uint64_t answered;    /* the last epoch with answers in it outside what is acknowledged */
	uint64_t uncommitted; /* what UNCOMMITTED tells: the last epoch without them */
	bool tell;	      /* it has to go first */
	/* standby */
	uint64_t stored_term, stored_epoch;
	bool replica_runs;
	bool by_operator; /* the claim that is under way, or was */
	bool turned;	  /* the gateway lets nothing of the primary through */
	uint64_t granted_ns;
	/* witness */
	uint64_t term;
	enum who server;
	bool unreachable;
	uint64_t alive_until_ns; /* the primary's lease there */
	/* what came of it */
	bool took_over, gave_up; /* a takeover came to nothing: the operator's turn */
	uint64_t served_term;	 /* the highest */
	uint64_t dead_since_ns;
	bool covered_when_it_died;
};

/* world.c: chance, time, and what is told of it */

void tell(const struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void violation(struct world *w, const char *what);
uint64_t draw(struct world *w, uint64_t below);
bool likely(struct world *w, unsigned percent);
uint64_t clock_of(const struct world *w, enum who who);
/* How long a wait by a site's clock takes in truth. */
uint64_t truly(const struct world *w, enum who who, uint64_t ns);
void queue_put(struct world *w, struct event event);
struct event queue_take(struct world *w);
void later(struct world *w, enum kind kind, enum who who, uint64_t ns);

/* takeover.c: looks whether more than one serves, and what leaves unknown to the standby */
void check_servers(struct world *w);

/* network.c: the link */
void to_standby(struct world *w, enum content content, uint64_t epoch);
void to_primary(struct world *w, enum content content, uint64_t epoch);

/* witness.c */
void witness_ask(struct world *w, enum who who, enum request request, bool by_operator);
void witness_asked(struct world *w, const struct event *asked);

/* primary.c */
bool primary_serves(const struct world *w);
void primary_start(struct world *w);
void primary_step(struct world *w, enum tenure_event_type type, uint64_t until_ns, uint64_t term);
void primary_hears(struct world *w, const struct message *message);
void primary_capture(struct world *w);
void primary_unprotected(struct world *w);
void primary_answered(struct world *w, const struct event *event);

/* standby.c */
void standby_start(struct world *w);
void standby_step(struct world *w, enum failover_event_type type, uint64_t epoch, uint64_t term);
void standby_hears(struct world *w, const struct message *message);
void standby_committed(struct world *w, uint64_t epoch);
void standby_activated(struct world *w);
void standby_answered(struct world *w, const struct event *event);

/* faults.c: something goes wrong, or an operator acts; all that can be is mended */
void fault(struct world *w);
void mend(struct world *w);

#endif
