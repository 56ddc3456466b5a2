/*
 * May the primary let its instance answer clients? A pure state machine, the other half of
 * failover.c: events carry their time, updates say what to do. No I/O, no clock, no allocation.
 *
 *   state        the instance may answer   because                             may become
 *   free         yes                       the standby never serves unasked    yielded, superseded
 *   waiting      no                        no lease yet                        leased, claiming,
 *                                                                              yielded, superseded
 *   leased       until the lease ends      the standby said so                 lapsed, yielded,
 *                                                                              superseded
 *   lapsed       no                        the lease has run out               leased, claiming,
 *                                                                              yielded, superseded
 *   claiming     no                        the witness is asked                leased, alone, lapsed,
 *                                                                              yielded, superseded
 *   alone        until the witness's       the witness said so: the standby    leased, lapsed,
 *                lease ends                cannot take over                    yielded, superseded
 *   yielded      no                        the standby is ordered to take      leased, free, claiming,
 *                                          over, and asked for it              superseded; waiting, free
 *                                                                              (by the operator)
 *   superseded   no                        another one serves                  waiting, free (by the
 *                                                                              operator), leased
 *
 * The term comes from who grants a lease, from the witness, or with "superseded", and from nothing
 * else the standby sends: that may be of a takeover that has begun, and whoever knew its term already
 * could get the next one from the witness.
 *
 * A standby that says that it serves ends the right at once, whatever the terms: the witness's word is
 * worth nothing if it gave it to two, as one that has lost its data does.
 *
 * Superseded by the witness's word alone it becomes leased when the standby grants a lease in that
 * term, or a later one: who grants does not serve, and waits for what it granted. That is how a takeover
 * that came to nothing ends. What the standby itself has said, only the operator takes back.
 *
 * What has yielded gets its right back by a lease that was asked for afterwards: the standby grants none
 * while it takes over, so that came to nothing. One that was asked for before may arrive later, and gives
 * nothing any more. If the standby is not heard again, the witness is asked after TENURE_YIELD_NS; where
 * there is none only the operator knows, whatever `hold` says: that standby may serve.
 *
 * Only one standby's leases count: that of the identity (term_record.h) which granted one first, or held
 * ready what it needs to take over (SEATED), in this life of the process. It may serve once they have run
 * out, by whatever decides there, and neither the witness nor any other standby knows whether it will: the
 * witness may let it claim a moment after it was read, and where this site has won there, the standby's
 * operator may still order a takeover. So only the operator's release lets another one take its place, who
 * by that says that the former one does not serve and will not. An older standby tells no identity (0):
 * any may follow it, but it follows none that told one.
 *
 * A lease counts from when the heartbeat that it answers was *sent*, on this machine's monotonic
 * clock. The standby grants less than it waits itself before it serves (TENURE_MARGIN), so clocks
 * may run apart by that much.
 *
 * A primary that starts gives the standby TENURE_CLAIM_RETRY_NS to be heard before it asks the
 * witness. After a release it does not ask: the site that served in its term may still do, in that
 * term, and only that one's word tells that it does not.
 *
 * Without a witness a primary whose lease has run out waits for the standby; `hold` false makes it
 * free: then the standby must not take over by itself (safety.h refuses the pair).
 */
#ifndef APPLIANCE_TENURE_H
#define APPLIANCE_TENURE_H

#include <stdbool.h>
#include <stdint.h>

/* A lease is shorter than the standby's patience by this part: far more than clocks drift. */
#define TENURE_MARGIN 8
/* The lease that a standby with that patience may grant. */
#define TENURE_LEASE_NS(detect_ns) ((detect_ns) - (detect_ns) / TENURE_MARGIN)
/* What a standby waits for a lease that it granted, by its own clock: detect_ms again. */
#define TENURE_WAIT_NS(lease_ns) ((lease_ns) + (lease_ns) / (TENURE_MARGIN - 1))
/* An answer of the witness that does not come is asked for again after this. */
#define TENURE_CLAIM_RETRY_NS UINT64_C(1000000000)
/* The standby, for which this site stands still, has asked the witness by then, or never will. */
#define TENURE_YIELD_NS UINT64_C(5000000000)

enum tenure_state {
	TENURE_FREE,
	TENURE_WAITING,
	TENURE_LEASED,
	TENURE_LAPSED,
	TENURE_CLAIMING,
	TENURE_ALONE,
	TENURE_YIELDED,
	TENURE_SUPERSEDED,
	TENURE_STATES
};

enum tenure_event_type {
	TENURE_TICK,	/* time passes; at least when tenure_until() comes */
	TENURE_GRANTED, /* the standby grants until until_ns, with its term; asked for at from_ns */
	TENURE_SEATED,	/* the standby could take over from now on */
	TENURE_WON,	/* the witness: this primary serves `term` until until_ns; renewals too */
	TENURE_TAKEN,	/* the witness has our lease no more: whatever it said, others may serve */
	TENURE_LOST,	/* the witness: another one serves `term` */
	TENURE_UNANSWERED, /* the witness cannot be reached */
	TENURE_YIELD, /* the standby is about to take over from `term`, by its operator's order */
	TENURE_SUPERSEDE, /* the standby serves `term` */
	/* The operator lets go of what yielded or is superseded, and of the standby; `term` is in force */
	TENURE_RELEASE,
	TENURE_GONE,  /* there is no instance that could answer; */
	TENURE_THERE, /* there is one (again), as at first */
};

struct tenure_event {
	enum tenure_event_type type;
	uint64_t now_ns, from_ns, until_ns, term;
	uint64_t standby; /* GRANTED, SEATED: its identity; 0: it tells none */
};

struct tenure {
	/* set by tenure_init() */
	bool hold, witness;
	/* readable by all */
	enum tenure_state state;
	uint64_t term;
	uint64_t until_ns; /* end of the lease in force */
	uint64_t standby;  /* whose leases count; 0: anybody's */
	/* private */
	uint64_t claim_ns;   /* next attempt at the witness; 0: to be set by the next TICK */
	uint64_t yielded_ns; /* last: leases that were asked for before are worth nothing */
	bool released;	     /* and the standby was not heard since */
	bool uncertain;	     /* a claim may have succeeded without its answer coming */
	bool hearsay;	     /* superseded, but the standby has not said so */
	bool gone;	     /* the witness is not asked for what is not there */
};

#define TENURE_REASON_MAX 160

struct tenure_update {
	bool changed; /* the state is another one now */
	bool claim;   /* ask the witness for term + 1 */
	bool look;    /* ask it who serves: WON, LOST or UNANSWERED follows */
	bool both;    /* superseded by the standby while alone: both have answered clients */
	char reason[TENURE_REASON_MAX];
};

/* `hold`: without the standby the instance is silent. `witness`: there is one to be asked. */
void tenure_init(struct tenure *tenure, bool hold, bool witness, uint64_t term);
void tenure_step(struct tenure *tenure, const struct tenure_event *event,
		 struct tenure_update *update);

/* Whether the instance may answer at now_ns: to be asked before every answer. */
bool tenure_may_serve(const struct tenure *tenure, uint64_t now_ns);
/* Whether that standby's leases count, and it may be given the instance. */
bool tenure_takes(const struct tenure *tenure, uint64_t standby);
/* Until when it may, if nothing more is heard: UINT64_MAX, for ever; 0: it may not. */
uint64_t tenure_until_ns(const struct tenure *tenure);
/* When the next TICK is due at the latest; UINT64_MAX: none. */
uint64_t tenure_due_ns(const struct tenure *tenure);

const char *tenure_state_name(enum tenure_state state);
bool tenure_may(enum tenure_state from, enum tenure_state to);

#endif
