#include "appliance/protection_internal.h"

#include "appliance/witness_value.h"

static int refuse_hearsay(const struct protection *p, struct err *err)
{
	struct witness_keys keys;
	int rc = witness_value_keys(&keys, p->config->name, err);

	return rc != RC_OK ?
		       rc :
		       err_set(err, RC_STATE,
			       "the witness says that another site serves %s: release it there. If that "
			       "site is gone for good, delete the key %s from etcd, start this agent "
			       "again and resume the instance",
			       p->config->name, keys.key);
}

int protection_release(struct protection *p, struct err *err)
{
	if (outlet_heard_of_another(p->outlet))
		return refuse_hearsay(p, err);
	if (p->state != PROTECTION_SUPERSEDED || p->session != NULL)
		return err_set(err, RC_STATE, "%s is not superseded%s", p->config->name,
			       p->session != NULL ? " yet: ask again" : ", nothing is held");
	protection_enter(p, PROTECTION_CONNECTING,
			 "released by the operator; resume the instance to have it protected");
	outlet_let_go(p->outlet, p->term);
	protection_unreserve(p);
	subject_reexamine(p->subject);
	if (p->link != NULL) /* a standby that still serves says so again */
		link_drop(p->link, WIRE_REASON_SESSION, "released by the operator");
	return RC_OK;
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
	outlet_status(p->outlet, status);
	status->link = p->link;
	status->peer = p->link != NULL ? link_peer(p->link) : "";
	if (p->session != NULL)
		session_status(p->session, status);
}
