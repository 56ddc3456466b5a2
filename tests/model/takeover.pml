/*
 * The takeover protocol: two sites, a witness and a bad network; what must never happen, and what
 * must. tests/model/run.sh has spin search it exhaustively. Agent and Standby are in agent.pml and
 * standby.pml.
 *
 *   process    stands for
 *   Agent      appliance/tenure.c, as lease_keeper.c drives it; of protection.c and guest_ports.c which
 *              epochs there are, and what leaves without one (UNCOMMITTED)
 *   Standby    appliance/failover.c, as clone_takeover.c and clone_epochs.c drive it; of gateway.c
 *              whether frames pass; of term_store.c what is on the disk
 *   Witness    judge() and claim() of appliance/claimant.c, on one register of etcd
 *   Clock      time: leases, silence, the age of what is under way
 *   World      the network, what goes wrong, and the operators
 *
 * What must hold:
 *   never two servers       no replica runs while the primary may answer (World), unless it is free and did
 *                           not answer the standby that was ordered to take over (blind: the operator's
 *                           word that the site is lost); or, behind the gateway,
 *                           while the primary's frames pass it (on_commit(), on_frame_to_standby())
 *   never an answer lost    a replica that runs without an order knows every answer that reached a
 *                           client (run_replica())
 *   terms are used once     (run_replica())
 *   manual means manual     (run_replica())
 *   takeover in the end     ltl live: once the instance is gone for good, the standby comes to serve,
 *                           unless it is EXCUSED; from then on nothing else goes wrong, and what can
 *                           happen all the time happens (weak fairness), or no time would pass
 *
 * Variants, as the README's "Who may serve": HOLD, WITNESS, GATEWAY, MANUAL. OPERATOR: operators order
 * and release at any time (of a primary that is free while it is heard, or gone; else: with MANUAL, an order
 * once the instance is gone). FAILING: takeovers
 * come to nothing. LOOKS: the agent renews its lease at the witness, and looks up what became of a
 * claim. FORGETS: the witness loses its data once, after it was away for longer than the lease that the
 * primary had from it. What that answered by its word is then known to nobody, so it is not held against a
 * takeover; who has seen more there than there is gets no answer (recall() in appliance/witness.c).
 * BROKEN_...: leaves a rule out; run.sh shows that it is missed. Bounds: EPOCHS, TERMS, and CRASHES of the
 * two processes, which come back.
 *
 * Time. A tick is half of detect_ms by the standby's clock, which the witness's equals. The primary's
 * may miss every second one: it runs slow by the margin, here a half, in tenure.h an eighth (that it
 * runs fast does no harm). A lease is LEASE ticks of the primary from when its heartbeat was sent; the
 * standby waits WAIT ticks from when it heard that. Nothing has to happen within a tick: processes may
 * stand, and messages be under way, for any time.
 *
 * Messages. A heartbeat, or the lease that answers it, is lost or late (datagrams are numbered, so
 * none comes twice); one at a time is under way, as of several only the best counts. A connection
 * delivers in order, but for commits, which others overtake; or it breaks with what is in it. Requests
 * to the witness and its answers may be lost, and take effect after who asked has given up.
 *
 * Answers. Of those outside epochs (of an instance alone or unprotected), the model keeps which epochs
 * know all that reached a client (knows) and which lack the one on its way through the gateway (lacks).
 * Those inside epochs leave when their epoch is committed: then the standby's epoch knows them.
 *
 * Left out: that a process notices that it slept (fewer takeovers, not safer ones); how long claims
 * wait to be repeated; goodbyes and orderly ends (no reasons to act); an activation that failed after
 * clients may have seen it (nothing follows but the operator); an instance with a network of its own
 * (as one in announce mode that is unprotected, if pausing it took no time); what an epoch holds.
 */

#define WAIT 2
#ifdef BROKEN_MARGIN
#define LEASE WAIT
#else
#define LEASE 1
#endif
#define NONE 7 /* as an age: there is none */

#ifndef EPOCHS
#define EPOCHS 2
#endif
#ifndef TERMS
#define TERMS 3
#endif
#ifndef CRASHES
#define CRASHES 1
#endif

#ifdef WITNESS
#define WITNESSED 1
#else
#define WITNESSED 0
#endif
#if defined(HOLD) || defined(WITNESS)
#define FIRST waiting
#define STAND(x) skip
#define PAUSED 0
#else
#define FIRST free
#define STAND(x) i_stands = x
#define PAUSED i_stands
#endif
#ifdef GATEWAY
#define DOOR(x) (x)
#define GATED 1
#else
#define DOOR(x) closed
#define GATED 0
#endif
#ifdef MANUAL
#define AUTOMATIC 0
#else
#define AUTOMATIC 1
#endif

#define MAX(a, b) ((a) > (b) -> (a) : (b))

mtype = { free, waiting, leased, lapsed, asking, alone, yielded, superseded };	      /* tenure */
mtype = { vacant, protected, unattended, claiming, taking, serving, returning, lost };
mtype = { ack, uncommitted, crashed, frames, fenced, fault, yield, stands };	      /* frames */
mtype = { claim, look, renewal, won, beaten, nobody, idle, asked, answered };	      /* witness */
mtype = { closed, forwarding, turning, through };				      /* gateway */

/* The instance, and its agent. */
bit i_up = 1, a_up = 1;
bit i_stands;		    /* paused by an agent, and so by the next one's as well */
mtype t_state;
byte t_left, t_term;
bit t_released;
#ifdef LOOKS
bit t_uncertain;
#define UNCERTAIN(x) t_uncertain = x
#else
#define UNCERTAIN(x) skip
#endif
bit a_session;		    /* it captures */
bit a_spent;		    /* this connection has carried a session */
bit a_capturing;	    /* a checkpoint is under way, */
bit a_knows;		    /* which knows every answer */
byte captured, sent;	    /* epochs */
bit knows[3];	    /* every answer that reached clients */
bit lacks[3], a_lacks, s_lacks; /* the one that is on its way */
bit a_tell;		    /* served alone: UNCOMMITTED first on each connection, */
byte a_unknown;		    /* of epochs up to that */
bit a_asked, a_known;	    /* guest_ports: the standby was asked, and knows */
bit a_said;		    /* that the instance is gone, on this connection */
bit a_owes;		    /* that the instance stands, which was asked for on it */

/* The standby. */
bit s_up = 1;
mtype s_state = vacant;
byte s_silent, s_granted = WAIT;
byte s_term = 1, s_epoch, s_outdated_epoch, s_beaten_by;
byte s_from;		    /* the term from which it claims */
bit s_knows, s_outdated, s_won, s_stopped, s_again, s_waits, s_ordered;
bit s_asks;		    /* the primary to yield */
bit s_session;		    /* its epoch is of the agent's session */
bit s_kept;		    /* the term of this takeover is on the disk */
bit s_fenced;		    /* SUPERSEDED was said on this connection */
mtype door = closed;	    /* of the gateway */
byte d_term = 1;	    /* on the disk */
bit d_took;
bit r_runs;		    /* the replica; it outlives the standby's process */

/* The network. */
bit link;
chan commits = [1] of { byte, byte }; /* epoch, term */
bit behind;		    /* the commit that is under way was sent after what to_standby has */
chan to_standby = [1] of { mtype, byte, byte }; /* what, epoch, term */
chan to_agent = [1] of { mtype, byte, byte };
byte beat, beat_age;	    /* a heartbeat, or the lease that answers it: where it is, */
byte beat_term;
bit beat_old;		    /* it was sent before a yield */
#define TO_STANDBY 1
#define HEARD 2
#define TO_AGENT 3

/* The witness; the agent's request or its answer; the standby's. */
byte w_term;
bit w_primary;
byte w_left;
mtype q_state = idle, q_what, q_answer, v_state = idle, v_answer;
byte q_term, q_age = NONE, v_term;
bit q_asked, v_asked, v_ordered; /* the answer is waited for */

#ifdef FORGETS
bit w_forgot;
byte a_seen, s_seen;	    /* the term there, by this life of the process, */
bit a_seen_own, s_seen_own; /* and whether it was its own */
#define FORGOT w_forgot
#ifdef BROKEN_DOUBT
#define DOUBTS(seen, own) 0
#else
#define DOUBTS(seen, own) (w_term < seen || (w_term == seen && seen > 0 && !(own)))
#endif
#define A_DOUBTS DOUBTS(a_seen, w_primary == a_seen_own)
#define S_DOUBTS DOUBTS(s_seen, w_primary != s_seen_own)
#define SEES(seen, seen_own, term, own) seen = term; seen_own = own
#else
#define FORGOT 0
#define A_DOUBTS 0
#define S_DOUBTS 0
#define SEES(seen, seen_own, term, own) skip
#endif

/* What has come of it. */
#ifdef LIVE
byte named;		    /* highest epoch in an UNCOMMITTED */
#define NAME(epoch) named = MAX(named, epoch)
#else
#define NAME(epoch) skip
#endif
byte served_term = 1;	    /* highest in which a replica ran */
bit blind;		    /* an order was followed without the answer of a primary that is free */
byte crashes = CRASHES;
byte missed = WAIT - 1;	    /* ticks since the primary's clock missed one */

mtype f_what;		    /* the frame that is being read */
byte f_epoch, f_term;

#define GONE (!i_up)
#define AGENT_RUNS (a_up && i_up)
#define MAY_SERVE \
	(AGENT_RUNS && !PAUSED && (t_state == free || ((t_state == leased || t_state == alone) && t_left > 0)))
#define STANDS (t_state == superseded || t_state == yielded)
#define FREE_TO_SERVE (t_state == free || t_state == alone)
#define HAS_SERVED (s_state == serving || s_state == lost)
#define IS_OVER \
	(HAS_SERVED || s_state == claiming || s_state == taking || s_state == returning)
#define COUNTS (s_up && !(HAS_SERVED || s_state == taking || s_state == returning)) /* silence */
#define CAN_CLAIM (s_term < TERMS && w_term < TERMS)
#ifdef BROKEN_LEASE_WAIT
#define LEASE_OVER 1
#else
#define LEASE_OVER (s_stopped || GATED || s_granted == 0)
#endif
#define CAN_PROCEED (LEASE_OVER && !s_asks && (!WITNESSED || s_won))

/* The instance sends an answer outside any epoch; it reaches a client, or will not any more. */
inline send_answer()
{
	lacks[1] = 1; lacks[2] = 1; a_lacks = 1; s_lacks = 1
}

inline no_answer()
{
	lacks[1] = 0; lacks[2] = 0; a_lacks = 0; s_lacks = 0
}

inline answer()
{
	knows[1] = knows[1] && !lacks[1]; knows[2] = knows[2] && !lacks[2];
	a_knows = a_knows && !a_lacks; s_knows = s_knows && !s_lacks;
	no_answer()
}

inline answer_at_once()
{
	send_answer(); answer()
}

inline end_beat()
{
	beat = 0; beat_age = 0; beat_term = 0; beat_old = 0
}

inline disconnect()
{
	link = 0;
	do
	:: len(commits) > 0 -> commits ? _, _
	:: len(to_standby) > 0 -> to_standby ? _, _, _
	:: len(to_agent) > 0 -> to_agent ? _, _, _
	:: else -> break
	od;
	behind = 0; end_beat(); no_answer();
	a_said = 0; a_owes = 0; a_asked = 0; a_known = 0; a_spent = 0; s_fenced = 0; sent = 0
}

#include "agent.pml"
#include "standby.pml"

/* claimant.c --------------------------------------------------------------------------------- */

/* Reads and claims at once: a claim from a value that is not there any more is made again. */
#ifdef BROKEN_HELD
#define ALIVE 0
#else
#define ALIVE (w_left > 0)
#endif
#define NEWS(primary, term, ordered) (w_term > term && w_primary != primary && (!ordered || ALIVE))
#define HELD(primary, what) (what == claim && w_term > 0 && w_primary != primary && ALIVE)

inline judge(primary, what, term, ordered, says)
{
	if
	:: what == renewal && w_term == term && w_primary && w_left > 0 -> says = won; w_left = WAIT
#ifndef BROKEN_COMPARE
	:: what != renewal && NEWS(primary, term, ordered) -> says = beaten; term = w_term
#endif
	:: what != renewal && !NEWS(primary, term, ordered) && HELD(primary, what) -> says = nobody
	:: else ->
		if
		:: what == claim ->
			w_term = MAX(w_term, term) + 1; w_primary = primary;
			w_left = (primary -> WAIT : 0);
			says = won; term = w_term
		:: what == look && w_term > 0 && w_primary == primary && w_term >= term -> says = won; term = w_term
		:: else -> says = nobody
		fi
	fi
}

active proctype Witness()
{
end:	do
	:: atomic {
		q_state == asked ->
			if
			:: A_DOUBTS -> q_answer = nobody
			:: else -> judge(1, q_what, q_term, 0, q_answer)
			fi;
			q_state = answered
	   }
	:: atomic {
		v_state == asked ->
			if
			:: S_DOUBTS -> v_answer = nobody
			:: else -> judge(0, claim, v_term, v_ordered, v_answer)
			fi;
			v_state = answered
	   }
	od
}

/* Time --------------------------------------------------------------------------------------- */

#define AGES(x) ((x) < LEASE)
#define PRIMARY_TICKS ((beat && AGES(beat_age)) || AGES(q_age) || t_left > 0)

inline tick_primary()
{
	beat_age = (beat && AGES(beat_age) -> beat_age + 1 : beat_age);
	q_age = (AGES(q_age) -> q_age + 1 : q_age);
	if
	:: t_left == 1 -> t_left = 0; t_state = lapsed
	:: else -> t_left = (t_left > 0 -> t_left - 1 : 0)
	fi
}

active proctype Clock()
{
end:	do
	:: atomic {
		PRIMARY_TICKS || (COUNTS && s_silent < WAIT) || s_granted > 0 || w_left > 0 ->
			if
			:: PRIMARY_TICKS && missed == WAIT - 1 -> missed = 0
			:: true -> tick_primary(); missed = (PRIMARY_TICKS && missed < WAIT - 1 -> missed + 1 : WAIT - 1)
			fi;
			s_silent = (COUNTS && s_silent < WAIT -> s_silent + 1 : s_silent);
			s_granted = (s_granted > 0 -> s_granted - 1 : 0);
			w_left = (w_left > 0 -> w_left - 1 : 0)
	   }
	od
}

/* What goes wrong, and the operators --------------------------------------------------------- */

inline agent_dies()
{
	a_up = 0; end_session(); SEES(a_seen, a_seen_own, 0, 0);
	tenure_init(); forget(); disconnect();
	knows[1] = 0; knows[2] = 0
}

inline connect()
{
	link = 1;
	if
	:: a_session && s_session && s_epoch > 0 && s_epoch <= captured -> sent = s_epoch; a_spent = 1
	:: else -> end_session()
	fi;
#ifndef BROKEN_EARLIER_AGENT
	if
	:: !a_session -> captured = MAX(captured, s_epoch)
	:: else -> skip
	fi;
#endif
	if
#ifdef BROKEN_TELL
	:: 0 ->
#else
	:: a_tell ->
#endif
		a_unknown = (a_unknown == 0 -> captured : a_unknown);
		NAME(a_unknown);
		to_standby ! uncommitted, a_unknown, t_term
	:: else -> skip
	fi
}

active proctype World()
{
end:	do
	:: atomic { !GATED && r_runs && MAY_SERVE -> assert(blind) /* two servers */ }

	:: atomic { link && i_up -> disconnect() }
	:: atomic { !link && a_up && s_up && (!IS_OVER || HAS_SERVED) -> connect() }
	:: atomic { beat && i_up -> end_beat() }
	:: atomic { q_state != idle && i_up -> end_request() }
	:: atomic { v_state != idle && i_up -> end_claim() }

	:: atomic { AGENT_RUNS && crashes > 0 -> crashes--; agent_dies() }
	:: atomic { !a_up && i_up -> a_up = 1 }
	:: atomic { s_up && i_up && crashes > 0 -> crashes--; s_up = 0; disconnect(); failover_init() }
	:: atomic { !s_up -> s_up = 1 }
	/* The site is gone for good, or only the instance's QEMU. */
	:: atomic {
		i_up ->
			i_up = 0;
			if
			:: a_up -> agent_dies()
			:: a_up -> t_state = lapsed; t_left = 0; q_asked = 0; end_beat()
			:: else -> skip
			fi
	   }

#ifdef FORGETS
	:: atomic { !w_forgot && w_primary && w_left == 0 && i_up -> w_forgot = 1; w_term = 0; w_primary = 0 }
#endif
#ifdef OPERATOR
	:: atomic {
		s_up && CAN_CLAIM && (s_state == protected || s_state == unattended) && len(to_agent) == 0 &&
		(FIRST != free || GATED || (link && s_silent < WAIT) || GONE) -> claims(0, 1)
	   }
	:: atomic { s_up && s_state == serving -> r_runs = 0; s_state = lost }
	:: atomic { s_up && s_state == lost -> s_state = vacant; s_epoch = 0; d_took = 0; disconnect() }
	:: atomic { AGENT_RUNS && t_state == superseded -> t_state = FIRST; t_released = 1; disconnect() }
	:: atomic { AGENT_RUNS && t_state == yielded && !link && !IS_OVER -> t_state = FIRST; STAND(0) }
	:: atomic { AGENT_RUNS && PAUSED && t_state == free && !IS_OVER -> STAND(0) /* resumed */ }
#elif defined(MANUAL)
	:: atomic {
		GONE && s_up && CAN_CLAIM && (s_state == protected || s_state == unattended) && len(to_agent) == 0 -> claims(0, 1)
	   }
#endif
	od
}

/*
 * Why the standby need not serve, though the instance is gone: it has no epoch that knows every answer,
 * or was told so (UNCOMMITTED); the witness has given a term to the primary that it has not heard of, or
 * only just; it has served; the terms of the model are used up.
 */
#define EXCUSED \
	(!s_up || s_state == lost || s_state == returning || s_epoch == 0 || s_epoch <= named || !s_knows || \
	 (w_primary && (w_term > s_term || (w_term == s_term && s_epoch <= s_outdated_epoch))) || \
	 (!CAN_CLAIM && (s_state == protected || s_state == unattended)))

#ifdef LIVE
ltl live { [] (GONE -> <> (s_state == serving || EXCUSED)) }
#endif
