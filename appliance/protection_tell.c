/*
 * What the standby is told of the instance itself:
 *
 *   UNCOMMITTED   by the witness's word this site answers without it: before anything else
 *   INSTANCE      it has ended, or runs and nothing captures it: what clients are told from then on is in no
 *                 epoch. Behind the epochs that are whole, and again on each connection that has no session
 *
 * An agent that is killed tells nothing, and neither does one whose link is down: the standby takes that for
 * the silence of a dead site. A crash has to be told apart from the end of a session, which may come first:
 * what QEMU's end looks like to the capture is an end like any other.
 */
#include "appliance/protection_internal.h"

#include <stdio.h>

void protection_tell(struct protection *p, enum wire_instance what, const char *text)
{
	struct buf payload = { 0 };
	struct err err = { 0 };

	if (p->link != NULL && p->up && wire_put_reason(&payload, (uint16_t)what, text))
		(void)link_send(p->link, WIRE_INSTANCE, p->term, protection_newest(p), payload.data,
				payload.len, &err);
	buf_free(&payload);
}

/* For the standby's operator. */
static const char *why_unprotected(const struct protection *p)
{
	if (*p->trouble != '\0')
		return p->trouble;
	return p->state == PROTECTION_REFUSED || p->state == PROTECTION_UNPROTECTED ?
		       p->reason :
		       "its agent has not begun to copy it";
}

/*
 * A session gives out the epochs that are whole, which go before this. An instance that may not run answers
 * nobody: of that a standby that claims it should not hear. One that is being shut down leaves COLO first.
 */
void protection_tell_instance(struct protection *p)
{
	char text[ERR_TEXT_MAX];

	if (p->session != NULL || p->stopping)
		return;
	if (p->state == PROTECTION_ENDED) {
		protection_tell(p, WIRE_INSTANCE_ENDED, p->reason);
	} else if (p->state == PROTECTION_CRASHED) {
		protection_tell(p, WIRE_INSTANCE_CRASHED, p->reason);
	} else if (!p->gone && !subject_shuts_down(p->subject) && !p->unreleased &&
		   outlet_may_run(p->outlet)) {
		(void)snprintf(text, sizeof(text), "the instance is not protected: %.400s",
			       why_unprotected(p));
		protection_tell(p, WIRE_INSTANCE_RUNNING, text);
	}
}

void protection_tell_uncommitted(struct protection *p)
{
	struct err err = { 0 };

	if (p->tell_uncommitted && p->up && !p->gone &&
	    link_send(p->link, WIRE_UNCOMMITTED, p->term, p->uncommitted, NULL, 0, &err) != RC_OK)
		link_drop(p->link, WIRE_REASON_SESSION, err.text); /* then first on the next */
}
