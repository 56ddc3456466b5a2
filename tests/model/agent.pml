/* Part of takeover.pml: the primary's agent, as appliance/tenure.c and its callers. */

inline tenure_init()
{
	t_state = FIRST;
	t_left = 0; t_term = 1; t_released = 0; UNCERTAIN(1)
}

inline end_session()
{
	a_session = 0; a_capturing = 0; a_knows = 0; s_session = 0
}

/* protection.c: on_term() */
inline tell_unknown()
{
	a_tell = 1;
#ifdef BROKEN_UNDER_WAY
	a_unknown = captured;
#else
	a_unknown = captured + a_capturing;
#endif
	NAME(a_unknown);
	if
	:: link && len(to_standby) == 0 -> to_standby ! uncommitted, a_unknown, t_term
	:: link && len(to_standby) > 0 -> disconnect() /* it is said first on the next connection */
	:: else -> skip
	fi
}

inline forget()
{
	captured = 0; a_tell = 0; a_unknown = 0; q_asked = 0; t_released = 0
}

inline supersede(term)
{
	if
	:: t_state != superseded ->
		t_state = superseded; t_term = MAX(t_term, term); t_left = 0; end_session(); STAND(1);
#ifndef OPERATOR
		forget() /* it stays so */
#endif
	:: else -> skip
	fi
}

/* The primary's clock from sending to now; who counts from the answer's arrival has more. */
#ifdef BROKEN_FROM_ANSWER
#define LEFT(age) LEASE
#else
#define LEFT(age) ((age) < LEASE -> LEASE - (age) : 0)
#endif

/* Its heartbeat was sent before the yield. */
#ifdef BROKEN_OLD_LEASE
#define IS_OLD 0
#else
#define IS_OLD beat_old
#endif

inline on_granted()
{
	if
	:: t_state == superseded || IS_OLD || beat_term < t_term -> skip /* it is behind */
	:: else ->
		t_term = beat_term;
		if
		:: FIRST == free -> t_state = free; STAND(0)
		:: FIRST != free && LEFT(beat_age) == 0 -> skip
		:: FIRST != free && LEFT(beat_age) > 0 && t_state == leased -> t_left = MAX(t_left, LEFT(beat_age))
		:: else -> t_state = leased; t_left = LEFT(beat_age); t_released = 0
		fi
	fi
}

/* protection_yield(); what it owes is the answer, once the instance stands */
inline yield_right()
{
	if
	:: t_state != superseded -> t_state = yielded; t_left = 0; end_session()
	:: else -> skip
	fi;
	beat_old = beat > 0; a_owes = 1
}

/* lease_keeper.c: on_answer() */
inline on_agent_answer()
{
	if
	:: q_what == renewal ->
		if
		:: q_answer == won && t_state == alone && q_term == t_term -> t_left = MAX(t_left, LEFT(q_age))
		:: else -> skip
		fi
	:: q_what != renewal && q_asked ->
		q_asked = 0;
		if
		:: q_answer == won || (q_what == look && q_answer == nobody) ->
			UNCERTAIN(0);
			if
			:: q_answer == won -> SEES(a_seen, a_seen_own, q_term, 1); t_term = MAX(t_term, q_term)
			:: else -> skip
			fi;
			if
			:: t_state == asking && LEFT(q_age) > 0 ->
				t_state = alone; t_left = LEFT(q_age); tell_unknown()
			:: t_state == asking && LEFT(q_age) == 0 -> t_state = lapsed
			:: else -> skip
			fi
		:: q_answer == beaten && q_term > t_term ->
			SEES(a_seen, a_seen_own, q_term, 0); t_term = q_term; tell_unknown(); supersede(q_term)
		:: else -> agent_unanswered()
		fi
	:: else -> skip /* it has given up */
	fi;
	end_request()
}

inline end_request()
{
	q_state = idle; q_what = 0; q_answer = 0; q_term = 0; q_age = NONE
}

inline agent_unanswered()
{
	q_asked = 0; UNCERTAIN(1);
	if
	:: q_state == answered && q_what != renewal -> end_request()
	:: else -> skip
	fi;
	if
	:: t_state == asking -> t_state = lapsed
	:: else -> skip
	fi
}

inline agent_asks(what)
{
	q_state = asked; q_what = what; q_term = t_term; q_age = 0;
	q_asked = q_asked || what != renewal
}

inline on_frame_to_agent()
{
	to_agent ? f_what, f_epoch, f_term;
#ifdef BROKEN_ANY_TERM
	if
	:: f_what != fenced -> t_term = MAX(t_term, f_term)
	:: else -> skip
	fi;
#endif
	if
	:: f_what == ack ->
		if
		:: f_epoch > a_unknown -> a_tell = 0
		:: else -> skip
		fi;
		a_asked = 0; a_known = 0
	:: f_what == uncommitted ->
		if
#ifdef BROKEN_ANSWER
		:: a_asked -> a_known = 1
#else
		:: a_asked && f_epoch == captured -> a_known = 1
#endif
		:: else -> skip
		fi
	:: f_what == fenced -> supersede(f_term)
	:: f_what == yield && f_term >= t_term -> yield_right()
	:: else -> skip
	fi;
	f_what = 0; f_epoch = 0; f_term = 0
}

active proctype Agent()
{
	tenure_init();
end:	do
	/* Heartbeats, and the leases that answer them. */
	:: atomic { AGENT_RUNS && link && beat == 0 -> beat = TO_STANDBY }
	:: atomic { a_up && beat == TO_AGENT -> on_granted(); end_beat() }

	/* The witness. */
	:: atomic {
		WITNESSED && AGENT_RUNS && q_state == idle && !q_asked && w_term < TERMS && t_term < TERMS &&
		#ifdef BROKEN_RELEASED
		(t_state == lapsed || t_state == yielded || t_state == waiting) ->
#else
		(t_state == lapsed || t_state == yielded || (t_state == waiting && !t_released)) ->
#endif
			t_state = asking; agent_asks(claim)
	   }
#ifdef LOOKS
	:: atomic { AGENT_RUNS && q_state == idle && !q_asked && t_state == leased && t_uncertain -> agent_asks(look) }
	:: atomic { AGENT_RUNS && q_state == idle && t_state == alone -> agent_asks(renewal) }
#endif
	:: atomic { q_state == answered && a_up -> on_agent_answer() }
	:: atomic { q_asked && AGENT_RUNS -> agent_unanswered() }

	/* Epochs. */
	:: atomic {
		AGENT_RUNS && link && !a_session && !a_spent && !IS_OVER &&
		t_state != superseded && t_state != yielded && t_state != alone ->
			/* Also the reservation, at which the standby's term is kept. */
			a_session = 1; a_spent = 1;
			captured = MAX(captured, s_epoch); sent = captured;
			d_term = s_term; d_took = 0;
			door = DOOR(forwarding)
	   }
	:: atomic {
		AGENT_RUNS && link && a_session && !a_capturing && captured < EPOCHS && t_state != alone ->
			a_capturing = 1; a_knows = 1; a_lacks = 0
	   }
	:: atomic {
		AGENT_RUNS && a_capturing ->
			captured++; knows[captured] = a_knows; lacks[captured] = a_lacks;
			a_capturing = 0; a_knows = 0; a_lacks = 0; a_asked = 0; a_known = 0
	   }
	:: atomic {
		a_up && link && a_session && sent < captured && len(commits) == 0 ->
			sent++; commits ! sent, t_term;
			behind = len(to_standby) > 0
	   }
	:: atomic { AGENT_RUNS && a_session -> end_session() }

	/* What leaves without one. */
#if !defined(WITNESS) || defined(GATEWAY)
	:: atomic {
		AGENT_RUNS && !a_session && link && !a_asked && len(to_standby) == 0 && !STANDS &&
		(GATED || !FREE_TO_SERVE) ->
			a_asked = 1; NAME(captured);
			to_standby ! uncommitted, captured, t_term
	   }
	:: atomic {
		GATED && AGENT_RUNS && !a_session && link && a_asked && len(to_standby) == 0 && !STANDS ->
			send_answer(); to_standby ! frames, 0, t_term
	   }
#endif
#ifdef BROKEN_OUTPUT
	:: atomic { !GATED && MAY_SERVE -> answer_at_once() }
#else
	:: atomic { !GATED && MAY_SERVE && ((!a_session && a_known) || FREE_TO_SERVE) -> answer_at_once() }
#endif

	/* What the standby says; and what has become of the instance. */
	:: atomic { len(to_agent) > 0 && a_up -> on_frame_to_agent() }
	:: atomic { a_up && link && a_owes && len(to_standby) == 0 -> a_owes = 0; STAND(1); to_standby ! stands, 0, t_term }
	:: atomic {
		a_up && !i_up && link && !a_said && len(to_standby) == 0 -> a_said = 1; to_standby ! crashed, 0, t_term
	   }
	od
}
