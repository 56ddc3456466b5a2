/*
 * Who serves: the standby's decision about one instance, as a pure state machine. Events carry
 * their time; updates say what to do. No I/O, no clock, no allocation, so that a simulator and a
 * model checker can run it.
 *
 *   state        meaning                                            may become
 *   empty        no committed epoch: nothing to take over           syncing, unattended
 *   syncing      the first copy is coming in                        empty, protected
 *   protected    a committed epoch, the primary is heard            suspect, unattended, ended,
 *                                                                   claiming, empty
 *   suspect      silent for half the limit or more                  as protected, and protected
 *   unattended   a committed epoch, and we do not act by ourselves: protected, ended, claiming,
 *                the instance runs on unprotected, the agent said   empty
 *                goodbye, nobody is heard and takeover is manual,
 *                the witness is against it or silent, we could not
 *                serve, the takeover
 *                came to nothing before the replica could be seen,
 *                or this process has just come back with its epoch
 *   ended        the instance was shut down in an orderly way       protected, unattended,
 *                                                                   claiming (only by the
 *                                                                   operator), empty
 *   claiming     decided; the primary's lease runs out, or it       unattended, ended, empty,
 *                yields; the witness is asked                       taking-over
 *   taking-over  nobody else may serve, activation is under way     serving, failed, unattended
 *   serving      the replica runs here                              lost
 *   failed       activation failed after the replica may have run   empty (only by the operator)
 *                and clients may have been answered: nothing whole
 *                is left here
 *   returning    an earlier life of this process took over; its     serving, lost, empty
 *                replica is being looked for
 *   lost         the replica served here and has ended: the newest  empty (only by the operator)
 *                state of the instance was here
 *
 * Reasons to take over: the primary silent for detect_ms with takeover "automatic"; its agent
 * reported the instance's QEMU gone without a goodbye (automatic as well); the operator's command
 * at any time while there is a committed epoch. A goodbye of the agent or of the instance is none; nor
 * is the silence, or the crash, of an instance that ran unprotected.
 *
 * Term: grows by one with each takeover; every frame carries it. Once `serving`, a primary that
 * comes back with a lower term is told that it is superseded; in `lost` as well, as what it has is
 * older than what clients were told. The term outlives this process (term_store.h): it is on the
 * disk before the replica is brought to life, and if it cannot be put there, the activation fails.
 * A standby that forgot that it served would let an older state go on, or give out its term twice;
 * one that does not take over because its disk is broken says so, and an operator can act.
 *
 * Leases: the standby grants only what it waits for anyway (TENURE_LEASE_NS of detect_ms), in answer to
 * heartbeats it has heard, and the primary counts from when it sent those. So after detect_ms of
 * silence every lease has run out.
 *
 * Never two servers: the replica is activated only when (1) every lease that was granted to the
 * primary has run out (granted_ns), or the primary has said that its instance is no more, and (2)
 * the witness, if there is one, has given us the next term. While we claim or serve no lease is
 * granted. In gateway mode no lease is needed: the gateway drops the primary's frames from the
 * decision on.
 *
 * The operator may order a takeover while the primary is heard: it is asked to yield first (`yield`),
 * and its answer (YIELDED) says that its instance stands, so no lease has to run out. That is not waited
 * for once the primary is silent for detect_ms, or FAILOVER_YIELD_NS are over: the order stands, and of a
 * site that cannot answer it is the operator who knows that it is lost.
 *
 * A takeover that came to nothing before any client can have seen the replica gives the instance
 * back: leases are granted again (with the new term), so that a primary that holds goes on. After
 * one that may have been seen they are not: what clients were told is not in the primary's memory.
 *
 * While we claim, a term that the primary tells us of may be the one that this claim has won: it has
 * asked the witness, and lost. The answer counts all the same, however late. `claiming` lasts only while
 * an answer is outstanding or a lease runs out: one that belongs to an earlier claim is asked for anew.
 *
 * An operator's command while we claim by ourselves makes that an order: it need not be asked for again.
 *
 * The operator may order an earlier epoch than the last one (`back_to`). That is decided as any order is, and nothing is given up for it
 * before the replica is about to become that epoch (REWOUND): what fails until then leaves the last one. From then on it is the committed one,
 * and outdated, as clients know more.
 *
 * A standby that knows that it could not bring the replica to life claims nothing by itself: the primary would lose its right
 * for nothing. It looks again every second, and claims when it can, if the primary is silent then.
 *
 * A claim that the witness does not answer is made again by itself only where silence by itself is a
 * reason to take over. An operator's command is not kept: it fails, and may be given again.
 *
 * An epoch is outdated when the instance's answers reached clients without one that knows them: it
 * ran unprotected, or alone with the witness's word. Taking over from it would take back what
 * clients were told, so only the operator may, until the next epoch is committed. While we claim the
 * gateway is still open: what passes it then ends the claim.
 *
 * Where answers pass by us they tell. Where they do not, the instance counts as answering from when its
 * agent says that nothing captures it any more (UNPROTECTED), in every mode. An agent that dies before it
 * can say so is silent, and the last epoch counts.
 *
 * If our own process was stopped or starved, silence says nothing about the primary: a tick that
 * comes much too late restarts the count.
 */
#ifndef APPLIANCE_FAILOVER_H
#define APPLIANCE_FAILOVER_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A primary that is heard has stopped its instance by then: the rest of a checkpoint, which lasts for
 * checkpoint.pause_limit_ms (2 s) at most by default, and QEMU's way out of COLO. `understudy takeover`
 * waits for more than three times as long.
 */
#define FAILOVER_YIELD_NS UINT64_C(3000000000)

enum failover_state {
	FAILOVER_EMPTY,
	FAILOVER_SYNCING,
	FAILOVER_PROTECTED,
	FAILOVER_SUSPECT,
	FAILOVER_UNATTENDED,
	FAILOVER_ENDED,
	FAILOVER_CLAIMING,
	FAILOVER_TAKING_OVER,
	FAILOVER_SERVING,
	FAILOVER_FAILED,
	FAILOVER_RETURNING,
	FAILOVER_LOST,
	FAILOVER_STATES
};

enum failover_event_type {
	FAILOVER_TICK,	    /* time passes; at least every detect/8 */
	FAILOVER_HEARD,	    /* bytes of the primary arrived at now_ns */
	FAILOVER_COPYING,   /* a session without a committed epoch has begun */
	FAILOVER_COMMITTED, /* `epoch` is committed */
	/*
	 * Answers left that no epoch up to `epoch` knows, be it committed, coming in or still to
	 * come; later ones do. `term`, if the primary's has grown.
	 */
	FAILOVER_OUTDATED,
	FAILOVER_WON,	     /* the witness: `term` is ours */
	FAILOVER_BEATEN,     /* the witness: another site serves `term` */
	FAILOVER_UNANSWERED, /* the witness cannot be reached */
	FAILOVER_FORGOTTEN,  /* the image was replaced or is no longer whole */
	FAILOVER_GOODBYE, /* the agent ends in an orderly way; the instance goes on unprotected */
	/* No epoch after `epoch` comes before another session's: the instance runs on without one; `why` */
	FAILOVER_UNPROTECTED,
	FAILOVER_CRASHED,   /* the agent reports its instance gone */
	FAILOVER_SHUT_DOWN, /* the agent reports an orderly end of its instance */
	FAILOVER_RECOVERED, /* `epoch` is back from an earlier life; `behind`: clients may know more */
	FAILOVER_OPERATOR,  /* take over now */
	FAILOVER_YIELDED,   /* the primary's instance stands, as it was asked for by this claim */
	FAILOVER_REWOUND,   /* the last epoch is given up for the one that was ordered */
	FAILOVER_ACTIVATED, /* the replica runs */
	FAILOVER_ACTIVATION_FAILED, /* it may have answered clients before */
	FAILOVER_NOT_ACTIVATED,	    /* it cannot have */
	FAILOVER_FOUND,		    /* the replica of an earlier life runs */
	FAILOVER_UNUSED,	    /* it was never brought to life */
	FAILOVER_GONE,		    /* the replica that served has ended */
	FAILOVER_RELEASE	    /* the operator lets go of what was served or failed here */
};

struct failover_event {
	enum failover_event_type type;
	uint64_t now_ns;
	uint64_t
		epoch; /* COMMITTED, OUTDATED, UNPROTECTED, RECOVERED; OPERATOR: an earlier one, 0: the last */
	const char *why;     /* UNPROTECTED */
	bool behind;	     /* RECOVERED */
	uint64_t term;	     /* OUTDATED, WON, BEATEN */
	uint64_t granted_ns; /* any: when the last lease granted has run out; 0: none ever was */
	bool linked;	     /* OPERATOR: there is a connection by which the primary can be asked */
	const char *unable;  /* any: why the replica could not be brought to life; NULL: it could */
};

struct failover {
	/* set by failover_init() */
	uint64_t detect_ns;
	bool automatic;
	/* set after it, before the first event */
	bool witness; /* there is one to be asked */
	bool gateway; /* no lease is needed */
	/* readable by all */
	enum failover_state state;
	bool outdated;
	uint64_t term;
	uint64_t epoch; /* committed, or served from; 0: none */
	uint64_t
		back_to; /* an earlier one, which was ordered and is to be served from; 0: that one */
	uint64_t decided_ns; /* when nothing kept it from taking over any more */
	uint64_t silent_ns;  /* silence at the decision, or as of the last tick */
	/* private */
	uint64_t heard_ns, tick_ns, granted_ns, claim_ns;
	uint64_t
		yield_ns; /* the primary was asked to yield, and may answer until then; 0: it was not */
	uint64_t outdated_epoch, beaten_by;
	uint64_t claimed_from; /* the term that was known when the witness was asked */
	bool won, stopped, ordered;
	bool rewound; /* what is committed late does not count */
	bool again;   /* the claim that is under way, if it is not answered */
	char why[96];
};

#define FAILOVER_REASON_MAX 320

struct failover_update {
	bool changed;			  /* the state is another one now */
	bool claim;			  /* ask the witness for term + 1, */
	bool by_operator;		  /* also against a term that was not heard of */
	bool yield;			  /* ask the primary to yield */
	bool activate;			  /* bring the replica to life */
	bool refused;			  /* OPERATOR, RELEASE: no; `reason` says why */
	bool aside;			  /* `reason` is for the log only */
	char reason[FAILOVER_REASON_MAX]; /* for the log and the status; empty: nothing to say */
};

void failover_init(struct failover *failover, uint32_t detect_ms, bool automatic, uint64_t now_ns);
/*
 * After failover_init(), what an earlier life of this process left: its term and, if it took over,
 * the epoch it did so from (0: it did not).
 */
void failover_restore(struct failover *failover, uint64_t term, uint64_t epoch);

void failover_step(struct failover *failover, const struct failover_event *event,
		   struct failover_update *update);

/* Why OPERATOR would be refused now; NULL: it would not. */
const char *failover_refusal(const struct failover *failover);

/* The lease that the primary may be granted now; 0: none. */
uint64_t failover_lease_ns(const struct failover *failover);

/* When a TICK could change something; UINT64_MAX: none by itself. */
uint64_t failover_due_ns(const struct failover *failover);

/* 0 (just heard) to 1 (silent for detect_ms or more). */
double failover_suspicion(const struct failover *failover, uint64_t now_ns);

const char *failover_state_name(enum failover_state state);

/* Whether that move is in the table above; asserted at each move. */
bool failover_may(enum failover_state from, enum failover_state to);

/* This standby took over, by all it knows: a primary with a lower term is superseded. */
bool failover_has_served(const struct failover *failover);
/* The primary's epochs do not count any more. */
bool failover_is_over(const struct failover *failover);

#endif
