/* Part of takeover.pml: the standby, as appliance/failover.c and its callers. */

inline failover_init()
{
	s_silent = 0; s_epoch = 0; s_outdated_epoch = 0; s_beaten_by = 0; s_knows = 0; s_outdated = 0;
	s_won = 0; s_stopped = 0; s_asks = 0; s_again = 0; s_waits = 0; s_ordered = 0; s_session = 0; s_kept = 0; s_from = 0;
	v_asked = 0; SEES(s_seen, s_seen_own, 0, 0);
#ifdef BROKEN_EARLIER_LIFE
	s_granted = 0;
#else
	s_granted = WAIT;
#endif
	s_term = d_term; door = closed;
	s_state = (d_took -> returning : vacant)
}

/* Goes ahead when nobody else may serve any more. */
inline proceed()
{
	if
	:: CAN_PROCEED ->
		s_term = (s_won -> s_term : s_term + 1);
		s_state = taking; s_silent = 0; s_granted = 0; s_waits = 0; s_stopped = 0; s_again = 0; s_from = 0;
#ifndef BROKEN_DOOR
		door = DOOR(turning)
#endif
	:: else -> skip
	fi
}

inline claims(stopped, ordered)
{
#ifdef BROKEN_MANUAL
	s_again = 1;
#else
	s_again = AUTOMATIC && (stopped || s_state == protected || s_waits);
#endif
	s_waits = 0; s_stopped = stopped; s_won = 0; s_ordered = ordered; s_from = s_term;
	s_state = claiming;
#ifndef BROKEN_YIELD
	s_asks = ordered && link && s_silent < WAIT;
	if
	:: s_asks -> to_agent ! yield, 0, s_term
	:: else -> skip
	fi;
#endif
	proceed()
}

inline withdraw()
{
	s_state = unattended; s_stopped = 0; s_asks = 0; s_won = 0; s_from = 0;
	/* What the primary sent meanwhile was not taken: a new connection begins anew. */
	disconnect()
}

inline unanswered()
{
	s_waits = s_again;
	s_silent = (s_silent == WAIT -> WAIT - 1 : s_silent); /* not again at once */
	withdraw()
}

inline end_claim()
{
	v_state = idle; v_answer = 0; v_term = 0; v_ordered = 0
}

inline on_standby_answer()
{
	if
	:: v_asked && v_answer != nobody -> SEES(s_seen, s_seen_own, v_term, v_answer == won)
	:: else -> skip
	fi;
	if
	:: v_asked && s_state == claiming && v_answer == won && v_term > s_from && v_term >= s_term ->
		s_won = 1; s_term = v_term; proceed()
	:: v_asked && s_state == claiming && v_answer == beaten ->
		s_beaten_by = v_term;
		s_outdated = 1;
		withdraw()
	:: v_asked && s_state == claiming && v_answer == nobody -> unanswered()
	:: v_asked && !IS_OVER && v_answer == won -> s_term = MAX(s_term, v_term)
	:: else -> skip
	fi;
	v_asked = 0; end_claim()
}

inline on_outdated(epoch, term)
{
	if
	:: !IS_OVER || s_state == claiming ->
		s_term = MAX(s_term, term);
		s_outdated_epoch = MAX(s_outdated_epoch, epoch);
#ifdef BROKEN_LATE
		s_outdated = s_outdated || s_epoch > 0;
#elif !defined(BROKEN_OUTDATED)
		s_outdated = s_outdated || (s_epoch > 0 && s_epoch <= epoch);
#endif
#ifndef BROKEN_OPEN_CLAIM
		if
		:: s_state == claiming && s_outdated && !s_ordered -> withdraw()
		:: else -> skip
		fi
#endif
	:: else -> skip
	fi
}

inline on_commit()
{
	commits ? f_epoch, f_term;
	if
	:: f_term > s_term -> on_outdated(s_epoch, f_term)
	:: else -> skip
	fi;
	if
	/* One that is under way when the decision falls still counts. */
	:: !IS_OVER || s_state == claiming || s_state == taking ->
		s_epoch = f_epoch; s_knows = knows[f_epoch]; s_lacks = lacks[f_epoch];
		s_outdated = s_epoch <= s_outdated_epoch || s_term < s_beaten_by;
		s_waits = 0;
		if
		:: !IS_OVER ->
			assert(!GATED || !r_runs); /* two servers: its frames are let through */
			s_session = 1; s_state = protected;
#ifdef WITNESS
			if
			:: link -> to_agent ! ack, f_epoch, s_term
			:: else -> skip
			fi
#endif
		:: else -> skip
		fi
	:: else -> skip
	fi;
	f_epoch = 0; f_term = 0
}

inline on_frame_to_standby()
{
	to_standby ? f_what, f_epoch, f_term;
	behind = 0;
	if
	:: f_what == uncommitted ->
		on_outdated(f_epoch, f_term);
		if
		:: !GATED && !IS_OVER && link && len(to_agent) == 0 -> to_agent ! uncommitted, f_epoch, s_term
		:: else -> skip
		fi
	:: f_what == frames && door == forwarding ->
		assert(!r_runs); /* two servers */
		answer();
		on_outdated(s_epoch, f_term)
	:: f_what == crashed && s_state == claiming -> s_stopped = 1; s_asks = 0; proceed()
	:: f_what == stands && s_state == claiming && s_asks -> s_stopped = 1; s_asks = 0; proceed()
	:: f_what == crashed && (s_state == protected || s_state == unattended) ->
		s_waits = 0;
		if
		:: AUTOMATIC && !s_outdated && CAN_CLAIM -> claims(1, 0)
		:: else -> s_state = unattended
		fi
	:: else -> skip
	fi;
	f_what = 0; f_epoch = 0; f_term = 0
}

/* QEMU runs the replica; clients reach it. */
inline run_replica()
{
	r_runs = 1;
	assert(s_ordered || AUTOMATIC);
	assert(s_ordered || s_knows || FORGOT);
	assert(s_term > served_term);
	served_term = s_term
}

active proctype Standby()
{
end:	do
	/* Heartbeats, and the leases that answer them. */
	:: atomic {
		s_up && beat == TO_STANDBY ->
			beat = HEARD; s_silent = (COUNTS -> 0 : s_silent);
			if
			:: !i_up -> end_beat()
			:: else -> skip
			fi
	   }
	:: atomic {
#ifdef BROKEN_GRANTS
		s_up && beat == HEARD && !HAS_SERVED ->
#else
		s_up && beat == HEARD && !IS_OVER ->
#endif
			beat = TO_AGENT; beat_term = s_term; s_granted = MAX(s_granted, WAIT - s_silent)
	   }

	:: atomic { len(commits) > 0 && !behind && s_up && len(to_agent) == 0 -> on_commit() }
	:: atomic { len(to_standby) > 0 && s_up -> on_frame_to_standby() }
	:: atomic {
		s_up && link && HAS_SERVED && !s_fenced && len(to_agent) == 0 -> s_fenced = 1; to_agent ! fenced, 0, s_term
	   }
#ifdef BROKEN_ANY_TERM
	/* Of an epoch that was coming in when the decision fell. */
	:: atomic { s_up && link && i_up && s_state == taking && len(to_agent) == 0 -> to_agent ! fault, 0, s_term }
#endif

	/* Silence. */
	:: atomic {
		s_up && s_state == protected && s_silent >= WAIT && CAN_CLAIM ->
			if
			:: AUTOMATIC && !s_outdated -> claims(0, 0)
			:: else -> s_state = unattended
			fi
	   }
	:: atomic {
		s_up && s_state == unattended && s_waits && !s_outdated && s_silent >= WAIT && CAN_CLAIM -> claims(0, 0)
	   }

	/* Claiming and taking over. It may have been silent, or waited for long enough, at any moment. */
	:: atomic { s_up && s_state == claiming && s_asks -> s_asks = 0; blind = blind || (FIRST == free && i_up) }
	:: atomic { s_up && s_state == claiming && CAN_PROCEED -> proceed() }
	:: atomic {
		WITNESSED && s_up && s_state == claiming && !s_won && !v_asked && v_state == idle ->
			v_asked = 1; v_state = asked; v_term = s_term; v_ordered = s_ordered
	   }
	:: atomic { v_state == answered && s_up -> on_standby_answer() }
	:: atomic {
		s_up && v_asked && (i_up || v_state == idle) ->
			v_asked = 0;
			if
			:: v_state == answered -> end_claim()
			:: else -> skip
			fi;
			if
			:: s_state == claiming -> unanswered()
			:: else -> skip
			fi
	   }
	:: atomic {
		s_up && s_state == taking && !s_kept ->
#ifndef BROKEN_DISK
			d_term = s_term; d_took = 1;
#endif
			s_kept = 1
	   }
	:: atomic { s_up && s_state == taking && s_kept && !r_runs -> run_replica() }
	:: atomic {
		s_up && s_state == taking && r_runs ->
			s_state = serving; door = DOOR(through);
			s_kept = 0; s_knows = 0; s_outdated = 0; s_outdated_epoch = 0; s_beaten_by = 0; s_won = 0; s_ordered = 0
	   }
#ifdef FAILING
	/* It came to nothing, before anybody saw it. */
	:: atomic {
		s_up && s_state == taking && !r_runs ->
			d_term = s_term; d_took = 0; s_kept = 0; s_session = 0;
			door = DOOR(forwarding); withdraw()
	   }
#endif
	/* The replica of an earlier life. */
	:: atomic {
		s_up && s_state == returning ->
			if
			:: r_runs -> s_state = serving; door = DOOR(through)
			:: !r_runs && served_term == s_term -> s_state = lost
			:: else -> s_state = vacant; d_took = 0
			fi
	   }
	od
}
