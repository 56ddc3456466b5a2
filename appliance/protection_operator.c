#include "appliance/protection_internal.h"

int protection_release(struct protection *p, struct err *err)
{
	const char *why;

	if (outlet_silence(p->outlet, &why) == SILENCE_ANOTHER)
		return err_set(err, RC_STATE, "%s", why);
	if (p->state != PROTECTION_SUPERSEDED || p->session != NULL)
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
