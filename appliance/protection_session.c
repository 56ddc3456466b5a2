#include "appliance/protection_internal.h"

#include "appliance/base/mem.h"

#define RETRY_DOUBLINGS 6 /* of the wait below: up to 32 s */

void protection_release_outlet(struct protection *p)
{
	if (!p->unreleased || outlet_has_yielded(p->outlet))
		return;
	p->unreleased = false;
	outlet_released(p->outlet);
}

void protection_look_again(struct protection *p)
{
	mem_free(p->reservation);
	p->reservation = NULL;
	p->reserved = false;
	subject_reexamine(p->subject);
}

static void on_session_closed(void *owner)
{
	struct protection *p = owner;

	p->session = NULL;
	p->session_closing = false;
	p->unreleased = true;
	if (!p->adrift)
		protection_release_outlet(p);
	subject_release(p->subject);
	protection_tell_instance(p);
	protection_answer_yield(p);
	protection_advance(p);
}

uint64_t protection_newest(const struct protection *p)
{
	struct sender_state state = { 0 };

	if (p->session != NULL)
		session_query(p->session, &state);
	return state.newest > p->newest ? state.newest : p->newest;
}

void protection_end_session(struct protection *p)
{
	/* A crash is told no later than a dead link would have been noticed. */
	const bool drain = !p->stopping && p->state != PROTECTION_SUPERSEDED;

	if (p->session == NULL)
		return;
	p->newest = protection_newest(p);
	p->session_closing = true;
	session_close(p->session, drain ? p->site.config->detect_ms : 0, on_session_closed);
}

bool protection_is_alone(const struct protection *p)
{
	return outlet_is_alone(p->outlet) && outlet_waits_in_vain(p->outlet);
}

void protection_let_out(struct protection *p)
{
	protection_enter(p, PROTECTION_UNPROTECTED,
			 "this site serves alone: the instance is let go until a resync");
	session_down(
		p->session); /* clients wait, and the standby was told what it is not to know */
	protection_end_session(p);
}

uint64_t protection_backoff_ms(struct protection *p)
{
	return (uint64_t)PROTECTION_RETRY_MS
	       << (p->losses < RETRY_DOUBLINGS ? p->losses++ : p->losses);
}

bool protection_is_ending(struct protection *p)
{
	if (p->state == PROTECTION_ENDED || p->state == PROTECTION_CRASHED ||
	    p->state == PROTECTION_SUPERSEDED)
		return true;
	if (!subject_shuts_down(p->subject))
		return false;
	if (p->state != PROTECTION_CONNECTING)
		protection_enter(p, PROTECTION_CONNECTING, "the instance shuts down");
	return true;
}

static void on_session_lost(void *owner, const struct err *err)
{
	struct protection *p = owner;

	if (protection_is_ending(p)) {
		p->cooling = true;
		protection_retry_in(p, protection_backoff_ms(p));
	} else {
		protection_failed(p, PROTECTION_UNPROTECTED, protection_backoff_ms(p), "%s",
				  err->text);
	}
	protection_end_session(p);
}

static void on_session_committed(void *owner, uint64_t epoch)
{
	struct protection *p = owner;

	p->losses = 0;
	*p->trouble = '\0';
	outlet_committed(p->outlet, epoch);
	if (epoch > p->uncommitted)
		p->tell_uncommitted = false;
	if (p->state != PROTECTION_PROTECTED && p->up && !p->session_closing)
		protection_enter(p, PROTECTION_PROTECTED, "from epoch %llu on",
				 (unsigned long long)epoch);
}

static void on_session_captured(void *owner, uint64_t epoch)
{
	struct protection *p = owner;

	outlet_captured(p->outlet, epoch);
}

static bool may_run(void *owner)
{
	return outlet_may_run(((struct protection *)owner)->outlet);
}

static const struct session_ops session_callbacks = {
	.may_run = may_run,
	.has_stopped = protection_has_stopped,
	.on_captured = on_session_captured,
	.on_committed = on_session_committed,
	.on_lost = on_session_lost,
};

static bool may_capture(void *owner)
{
	return outlet_may_capture(((struct protection *)owner)->outlet);
}

static void begin_session(struct protection *p, bool resync)
{
	const uint64_t newest = p->peer.epoch > p->newest ? p->peer.epoch : p->newest;
	const struct session_options options = {
		.instance = p->config,
		.loop = p->site.loop,
		.qmp = subject_qmp(p->subject),
		.guardian = p->site.guardian,
		.pool = p->pool,
		.disk_pool = p->disk_pool,
		.disks = subject_disks(p->subject),
		.first_epoch = newest + 1,
		.resync = resync,
		.hooks = outlet_hooks(p->outlet),
		.may_capture = may_capture,
	};
	struct err err = { 0 };

	if (session_open(&p->session, &options, p->link, p->term, &session_callbacks, p, &err) !=
	    RC_OK) {
		protection_failed(p, PROTECTION_UNPROTECTED, PROTECTION_RETRY_REFUSED_MS, "%s",
				  err.text);
		return;
	}
	subject_hold(p->subject);
	protection_enter(p, PROTECTION_COPYING, "%s, as epoch %llu",
			 resync ? "what differs from the standby's image" : "the whole memory",
			 (unsigned long long)options.first_epoch);
}

/*
 * The session is of no use any more. The connection is: it carries the standby's lease, so it stays
 * until the next session is due.
 */
int protection_fault(struct protection *p, uint64_t epoch, const uint8_t *payload, size_t len,
		     struct err *err)
{
	char text[WIRE_TEXT_MAX + 1];
	uint16_t code;
	int rc = wire_get_reason(&code, text, payload, len, err);

	if (rc != RC_OK || p->session == NULL || p->session_closing)
		return rc;
	protection_failed(p, PROTECTION_UNPROTECTED, protection_backoff_ms(p),
			  "the standby could not take epoch %llu: %s", (unsigned long long)epoch,
			  text);
	session_down(p->session); /* it takes nothing more of this one */
	protection_end_session(p);
	return RC_OK;
}

int protection_received(struct protection *p, uint64_t epoch, const uint8_t *payload, size_t len,
			struct err *err)
{
	int rc = wire_get_received(&p->received, epoch, payload, len, err);

	if (rc != RC_OK || p->session == NULL || p->session_closing)
		return rc;
	return session_received(p->session, &p->received, err);
}

/* The standby is ready and says what it has. */
void protection_plan(struct protection *p, bool has_image, bool committed)
{
	uint64_t peer_session = has_image ? (committed ? p->peer.session : UINT64_MAX) : 0;
	struct sender_state state = { 0 };
	enum epoch_plan plan;

	if (p->session_closing || p->stopping)
		return; /* protection_advance() comes back when it is closed */
	if (p->session == NULL && (!outlet_may_run(p->outlet) || outlet_has_stopped(p->outlet))) {
		/* Paused for that, it could not be captured; protection_advance() comes back with the right. */
		protection_enter(p, PROTECTION_WAITING,
				 "for the standby's leave to run the instance");
		return;
	}
	if (p->session == NULL && protection_is_alone(p)) {
		/* Nothing is captured meanwhile, and what waits for the first commit would wait for ever. */
		protection_enter(p, PROTECTION_WAITING,
				 "for the standby's word: until then this site serves alone");
		return;
	}
	p->spent = true;
	if (p->session != NULL && session_resume(p->session, &p->received)) {
		protection_enter(p, PROTECTION_COPYING, "the link is back, epoch %llu goes on",
				 (unsigned long long)p->received.epoch);
		return;
	}
	if (p->session != NULL)
		session_query(p->session, &state);
	plan = epoch_plan(p->session != NULL ? session_id(p->session) : 0, state.oldest_kept,
			  state.newest, peer_session, committed ? p->peer.epoch : 0);
	if (plan == EPOCH_PLAN_CONTINUE && session_up(p->session, p->peer.epoch)) {
		protection_enter(p, PROTECTION_CATCHING_UP, "from epoch %llu on",
				 (unsigned long long)p->peer.epoch);
		return;
	}
	if (p->session != NULL) {
		protection_end_session(
			p); /* then protection_advance() reserves again and plans anew */
		return;
	}
	begin_session(p, plan != EPOCH_PLAN_COPY);
}
