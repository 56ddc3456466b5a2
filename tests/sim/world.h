/*
 * The simulated world: two sites with the real decisions, a witness, a network, and the events to
 * come in the order of true time. What each file does to it is declared here.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "appliance/aftermath.h"
#include "appliance/base/clock.h"
#include "appliance/doubt.h"
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
#define BOOT_NS (1000 * MS)   /* of an instance, at the least: far more than a lease lasts */
#define SETTLE_NS (5000 * MS) /* after which somebody serves, or somebody is told */
#define DRIFT_PARTS 1000      /* clocks run apart by up to 4 % each, far beyond real ones */
#define DRIFT_MOST 40

enum who { PRIMARY, STANDBY };

enum kind {
	BEAT,	     /* a site's timer */
	TICK,	     /* the standby's, the primary's tenure */
	CAPTURE,     /* an epoch's end at the primary */
	MESSAGE,     /* arrives at a site */
	COMMIT_DONE, /* the standby has applied an epoch */
	RUNS,	     /* the replica, whatever became of the process that began it */
	ACTIVATED,   /* which is told what came of it */
	PAUSED,	     /* the instance, because it has yielded */
	ASKED,	     /* a request arrives at the witness */
	ANSWERED,    /* its answer arrives at a site */
	GAVE_UP,     /* a site has waited long enough for it */
	RENEW,	     /* the primary's lease at the witness */
	STARTED,     /* another instance, at the primary's site */
	BOOTED,	     /* it answers */
	FAULT,
	MEND,
};

enum content {
	HEARTBEAT,
	LAYOUT,
	COMMIT,
	ACK,
	NOT_TAKEN,
	UNCOMMITTED,
	FRAMES,
	INSTANCE,
	YIELD,
	YIELDED
};

struct message {
	enum content content;
	uint64_t clock_ns, echo_ns, lease_ns, term, epoch, session, connection;
	enum failover_event_type ended; /* INSTANCE; UNPROTECTED: it runs */
	uint64_t standby;		/* its identity, of what comes from one */
	bool serving;
};

enum request { CLAIM, LOOK, RENEWAL };
enum answer { WON, LOST, NOBODY, UNANSWERED };
enum outcome { SERVES, CAME_TO_NOTHING, SPOILED }; /* of an activation */

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
	enum who server;
	enum outcome outcome; /* ACTIVATED */
	unsigned incarnation; /* of the process that set a timer */
};

struct site {
	bool dead, left; /* the process; for good */
	uint64_t frozen_until_ns;
	int drift; /* its clock runs 1 + drift / DRIFT_PARTS */
	unsigned incarnation;
	uint64_t asked, requests; /* outstanding at the witness, 0: none; ever made */
	uint64_t renewing;	  /* the same, of a lease that is held */
	uint64_t last_arrival_ns; /* order on the link towards this site */
	bool deaf;		  /* what is sent to it is lost */
	uint64_t seen;		  /* term at the witness, by this process; 0: none */
	enum who seen_server;
	uint64_t peer_clock_ns, peer_clock_at_ns;
};

struct world { /* NOLINT(clang-analyzer-optin.performance.Padding): in the order of its story */
	uint64_t seed, random, now_ns, order;
	bool witness, hold, gateway, automatic, verbose, failed;
	bool cards;	/* the instance's answers pass by us, at one site or the other */
	bool forgetful; /* the witness may lose its data */
	bool apart;	/* the link is not mended in the end */
	struct event events[EVENTS_MAX];
	size_t nevents;
	struct site sites[2];
	struct tenure tenure;
	struct failover failover;
	/* primary */
	bool instance_dead;
	bool found;			 /* by this agent, which knows what became of it: */
	enum failover_event_type ended;	 /* TICK: nothing */
	bool protecting;		 /* epochs are to be captured */
	uint64_t session, sessions;	 /* in which they are, 0: none; ever begun */
	uint64_t captured, acknowledged; /* epochs */
	uint64_t answered;		 /* the first epoch that knows all that clients were told */
	uint64_t uncommitted;		 /* what UNCOMMITTED tells: the last epoch without them */
	bool tell;			 /* it has to go first */
	bool asked, known;		 /* guest_ports.c: the standby was, and it has said so */
	bool knows_standby;   /* it had a lease of that one, in this life and since it let one go */
	bool elsewhere;	      /* the link leads to another standby, which is new; */
	bool another_clear;   /* it takes connections */
	bool pausing, paused; /* the instance, by an agent: it may still answer; it stands */
	/* standby */
	struct term_record record, record_before; /* on its disk; before the takeover */
	struct doubt doubt;
	uint64_t identity;     /* grows when its disk is lost */
	bool held;	       /* a replica has the memory of which this life knows nothing */
	uint64_t laid, newest; /* the session that it has; the last epoch that came in */
	uint64_t applied_ns;   /* when what has come in is applied */
	enum failover_event_type said; /* of the instance, since that began; TICK: nothing */
	uint64_t said_epoch;
	bool replica_runs;
	bool by_operator;	 /* the claim that is under way, or was */
	bool yielded;		 /* to that claim, by the primary's word */
	uint64_t yield_until_ns; /* its own clock: for which it waits */
	bool blind; /* an order was followed without it, of one that goes on without its standby */
	uint64_t connection; /* counted by those that a claim has ended, or a process */
	bool turned;	     /* the gateway lets nothing of the primary through */
	uint64_t granted_ns;
	/* witness */
	uint64_t term;
	enum who server;
	bool unreachable[2];	 /* for a site */
	uint64_t alive_until_ns; /* the primary's lease there */
	bool forgot;
	uint64_t excused_until_ns; /* what it gave before counts as long */
	/* what came of it */
	bool took_over, gave_up; /* a takeover came to nothing: the operator's turn */
	uint64_t served_term;	 /* the highest */
	bool newest_there; /* clients were answered by a replica; no operator has let go of that */
	uint64_t settled_ns; /* when last somebody served, or had been told */
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
/* The same for what the primary sends behind a gateway, when it passes that. */
void check_passing(struct world *w);

/* network.c: the link */
/* The one that is new at its address: it grants leases, and hears of terms from the primary alone. */
#define ANOTHER UINT64_C(1000000)
void another_hears(struct world *w, const struct message *message);
void another_begins(struct world *w);
void to_standby(struct world *w, enum content content, uint64_t epoch);
void to_primary(struct world *w, enum content content, uint64_t epoch);

/* witness.c */
void witness_ask(struct world *w, enum who who, enum request request, bool by_operator);
void witness_asked(struct world *w, const struct event *asked);
/* It comes back empty, at most once, and only where the primary had its word last. */
void witness_forgets(struct world *w);

/* primary.c */
bool primary_serves(const struct world *w);
void primary_start(struct world *w);
void primary_step(struct world *w, enum tenure_event_type type, uint64_t until_ns, uint64_t term);
void primary_hears(struct world *w, const struct message *message);
void primary_capture(struct world *w);
/* A heartbeat, and what goes with time. */
void primary_beats(struct world *w);
void primary_instance(struct world *w, enum failover_event_type ended);
void primary_instance_again(struct world *w, bool answers);
/* The instance stands, which was asked for on that connection. */
void primary_paused(struct world *w, uint64_t connection);
void primary_answered(struct world *w, const struct event *event);

/* standby.c */
void standby_start(struct world *w);
void standby_step(struct world *w, enum failover_event_type type, uint64_t epoch, uint64_t term);
void standby_hears(struct world *w, const struct message *message);
void standby_forgets(struct world *w);
/* Its disk is lost while the process is dead. */
void standby_loses_disk(struct world *w);
/* It takes connections. */
bool standby_is_clear(struct world *w);
void standby_committed(struct world *w, const struct message *message);
void standby_runs(struct world *w, const struct event *event);
void standby_activated(struct world *w, enum outcome outcome);
void standby_answered(struct world *w, const struct event *event);

/* faults.c: something goes wrong, or an operator acts; all that can be is mended */
void fault(struct world *w);
void mend(struct world *w);

#endif
