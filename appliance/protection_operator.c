/*
 * What the operators see and do: of this site, and of the standby's, who may order a takeover while the
 * two hear each other. Then the standby first asks this site to yield:
 *
 *   YIELD -> the right ends (tenure.h), the instance is paused, the session ends -> YIELDED
 *
 * The session ends first because QEMU sets running what leaves COLO, for some milliseconds (let_go.h):
 * they are to be over. Nothing leaves meanwhile that was held for an epoch: what clients were told is in
 * what the standby has. If its takeover comes to nothing, a lease says so, and the instance runs again.
 */
#include "appliance/protection_internal.h"

/* Once the instance stands, and no end of a session is to set it running; or it is no more. */
void protection_answer_yield(struct protection *p)
{
	struct err err = { 0 };

	if (!p->asked || p->session != NULL || !(p->gone || outlet_stands(p->outlet)))
		return;
	p->asked = false;
	if (link_send(p->link, WIRE_YIELDED, p->term, 0, NULL, 0, &err) != RC_OK)
		log_warn(p->part, "%s", err.text); /* the standby goes on without it */
}

void protection_yield(struct protection *p, uint64_t term)
{
	if (term < p->term) {
		link_drop(p->link, WIRE_REASON_TERM,
			  "the order to yield is of a term that is over");
		return;
	}
	p->asked = true;
	outlet_yield(p->outlet, term);
	if (p->state != PROTECTION_ENDED && p->state != PROTECTION_CRASHED &&
	    p->state != PROTECTION_SUPERSEDED)
		protection_enter(
			p, PROTECTION_UNPROTECTED,
			"the standby's operator has ordered a takeover: the instance stands until "
			"the standby says what became of that");
	if (p->session != NULL) {
		session_down(p->session); /* the standby takes nothing more of it */
		protection_end_session(p);
	}
	protection_answer_yield(p);
}

/* Of what stands for a standby that may serve, or not: only while nobody can be asked. */
static int release_yielded(struct protection *p, struct err *err)
{
	const char *needs;

	if (p->up)
		return err_set(
			err, RC_STATE,
			"%s stands because the standby was ordered to take over, and the standby is "
			"connected: it says what becomes of that",
			p->config->name);
	outlet_let_go(p->outlet, p->term);
	needs = outlet_needs(p->outlet);
	protection_enter(p, PROTECTION_WAITING, "for the standby; released by the operator%s%s",
			 *needs != '\0' ? "; " : "", needs);
	protection_advance(p);
	return RC_OK;
}

/* The standby that protected it does not serve and will not: any may protect it that comes first. */
static int release_standby(struct protection *p)
{
	*p->stranger = '\0';
	outlet_let_go(p->outlet, p->term);
	log_warn(p->part, "the standby that could take over is let go by the operator");
	return RC_OK;
}

int protection_release(struct protection *p, struct err *err)
{
	const char *why;

	if (outlet_silence(p->outlet, &why) == SILENCE_ANOTHER)
		return err_set(err, RC_STATE, "%s", why);
	if (outlet_has_yielded(p->outlet))
		return release_yielded(p, err);
	if (p->state != PROTECTION_SUPERSEDED && *p->stranger != '\0')
		return release_standby(p);
	if (p->told) /* it would say so again */
		return err_set(
			err, RC_STATE,
			"%s: the standby is connected, and says: %.300s. End what serves there, "
			"then `understudy release` there first",
			p->config->name, p->told_why);
	/* One that its operator resumes before it was paused would stand for good. */
	if (p->state != PROTECTION_SUPERSEDED || p->session != NULL ||
	    subject_is_leaving_colo(p->subject) || outlet_is_stopping(p->outlet))
		return err_set(err, RC_STATE, "%s is not superseded%s", p->config->name,
			       p->state == PROTECTION_SUPERSEDED ? " yet: ask again" :
								   ", nothing is held");
	outlet_let_go(p->outlet, p->term);
	why = outlet_needs(p->outlet);
	protection_enter(p, PROTECTION_CONNECTING,
			 "released by the operator; resume the instance to have it protected%s%s",
			 *why != '\0' ? "; " : "", why);
	protection_unreserve(p);
	subject_reexamine(p->subject);
	if (p->link != NULL) /* a standby that still serves says so again */
		link_drop(p->link, WIRE_REASON_SESSION, "released by the operator");
	return RC_OK;
}

/* An instance that is there, and that clients wait for: that it does not pass by itself comes first. */
static void add_silence(const struct protection *p, struct status_instance *status)
{
	const char *why;
	const enum silence_kind kind = outlet_silence(p->outlet, &why);
	const bool unfit = p->state == PROTECTION_CONNECTING || p->state == PROTECTION_REFUSED ||
			   p->state == PROTECTION_ENDED || p->state == PROTECTION_CRASHED ||
			   p->state == PROTECTION_SUPERSEDED;

	if (unfit || kind == SILENCE_NONE || (kind == SILENCE_LASTING && !status->healthy))
		return;
	status->healthy = false;
	status->reason = why;
}

void protection_status(const struct protection *p, struct status_instance *status)
{
	status_clear(status, p->config->name);
	status->state = protection_states[p->state].name;
	status->reason = p->reason;
	status->healthy = protection_states[p->state].healthy;
	status->protected_now = p->state == PROTECTION_PROTECTED;
	if (*p->trouble != '\0' && status->healthy) {
		status->healthy = false;
		status->reason = p->trouble;
	}
	if (*p->stranger != '\0' && p->state != PROTECTION_SUPERSEDED &&
	    p->state != PROTECTION_ENDED && p->state != PROTECTION_CRASHED) {
		status->healthy = false;
		status->reason = p->stranger;
	}
	if (!guardian_alive(p->site.guardian)) {
		status->healthy = false;
		status->reason = "the guardian process is gone; starting another";
	}
	status->term = (double)p->term;
	add_silence(p, status);
	outlet_status(p->outlet, status);
	status->nics = p->config->nics;
	status->nnics = p->config->nnics;
	status->link = p->link;
	status->peer = p->link != NULL ? link_peer(p->link) : "";
	if (p->session != NULL)
		session_status(p->session, status);
}
