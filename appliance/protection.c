#include "appliance/protection.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/protection_internal.h"
#include "appliance/term_record.h"
#include "replica/reservation.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static void on_retry(uv_timer_t *timer)
{
	struct protection *p = timer->data;

	p->cooling = false;
	protection_advance(p);
}

void protection_retry_in(struct protection *p, uint64_t ms)
{
	if (!p->stopping)
		(void)uv_timer_start(&p->retry, on_retry, ms, 0);
}

/* Link --------------------------------------------------------------------------------------- */

static void reserve(struct protection *p)
{
	struct err err = { 0 };

	p->reserved = false;
	p->reserving = true;
	if (link_send(p->link, WIRE_RESERVE, p->term, 0, p->reservation, strlen(p->reservation),
		      &err) != RC_OK) {
		log_warn(p->part, "%s", err.text);
		p->reserving = false;
		protection_retry_in(p, PROTECTION_RETRY_MS);
		return;
	}
	if (p->session == NULL)
		protection_enter(p, PROTECTION_RESERVING, "a replica at %s", link_peer(p->link));
}

/* The next connection may be to the one that is waited for: the name may have several addresses. */
static void turn_away(struct protection *p, const struct wire_hello *peer)
{
	char text[ERR_TEXT_MAX];

	(void)snprintf(
		text, sizeof(text),
		"another standby than the one that may take the instance over answers (site %s): if "
		"that one does not serve and never will, `understudy release` at the primary lets "
		"the other in its place",
		peer->site);
	if (strcmp(p->stranger, text) != 0)
		log_warn(p->part, "%s", text);
	memcpy(p->stranger, text, sizeof(p->stranger));
	link_drop(p->link, WIRE_REASON_STANDBY, text);
}

static void on_up(void *owner, const struct wire_hello *peer)
{
	struct protection *p = owner;

	if (!outlet_takes(p->outlet, peer->identity)) {
		turn_away(p, peer);
		return;
	}
	*p->stranger = '\0';
	p->up = true;
	/* Of an agent that is no more: what is answered from now on is not in that either. */
	if (p->session == NULL && peer->epoch > p->newest)
		p->newest = peer->epoch;
	if (p->uncommitted == 0)
		p->uncommitted = p->newest;
	protection_tell_uncommitted(p);
	outlet_up(p->outlet, p->term, protection_newest(p));
	p->spent = p->outdated = false;
	p->peer = *peer;
	p->received = (struct wire_received){ 0 };
	p->down_ns = 0;
	protection_tell_instance(p); /* it may not have got through before */
	protection_advance(p);
}

/* Nobody protects the instance, unless it was us who left, to come back. */
static void say_down(struct protection *p, enum protection_state state, const char *prefix,
		     const struct err *err)
{
	if (err->code == RC_CANCELLED)
		protection_enter(p, state, "%s%s", prefix, err->text);
	else
		protection_warn(p, state, "%s%s", prefix, err->text);
}

/* How long a session outlives the link: not for long where clients wait for its next commit. */
static uint64_t link_patience_ms(const struct protection *p)
{
	const uint32_t resync_after_ms = p->config->resync_after_ms;
	const uint32_t detect_ms = p->site.config->detect_ms;

	return outlet_waits_in_vain(p->outlet) && detect_ms < resync_after_ms ? detect_ms :
										resync_after_ms;
}

static void on_down(void *owner, const struct err *err)
{
	struct protection *p = owner;
	bool was_up = p->up, refused = err->code == RC_REFUSED;
	struct sender_state state;

	p->up = p->reserving = p->reserved = p->asked = p->told = false;
	outlet_down(p->outlet);
	if (was_up)
		p->down_ns = clock_now_ns();
	if (p->session != NULL)
		session_down(p->session);
	if (p->stopping || p->state == PROTECTION_SUPERSEDED)
		return;
	if (p->session == NULL || p->session_closing) {
		if (p->session == NULL && p->reservation != NULL &&
		    (was_up || refused || p->state == PROTECTION_WAITING) &&
		    strcmp(p->reason, err->text) != 0)
			say_down(p, PROTECTION_WAITING, "", err);
		return;
	}
	if (!was_up && refused && strcmp(p->reason, err->text) != 0)
		protection_warn(p, p->state, "%s", err->text);
	if (!was_up)
		return;
	session_query(p->session, &state);
	if (state.first_copy && !state.resumable) {
		protection_enter(p, PROTECTION_UNPROTECTED, "link lost during the first copy: %s",
				 err->text);
		protection_end_session(p);
		return;
	}
	say_down(p, state.first_copy ? PROTECTION_COPYING : PROTECTION_CATCHING_UP,
		 "link lost: ", err);
	protection_retry_in(p, link_patience_ms(p));
}

static void on_room(void *owner)
{
	struct protection *p = owner;

	if (p->session != NULL)
		session_room(p->session);
}

static int on_reserved(struct protection *p, uint64_t term, const uint8_t *payload, size_t len,
		       struct err *err)
{
	struct reservation_answer answer;
	int rc = reservation_read_answer(&answer, payload, len, err);

	p->reserving = false;
	if (rc != RC_OK)
		return rc;
	if (p->reservation == NULL || p->outdated || p->state == PROTECTION_SUPERSEDED) {
		p->outdated = false;
		protection_advance(p);
		return RC_OK;
	}
	/* A session in ours would be refused. Its next lease tells us that one: on_term() asks again. */
	if (answer.ok)
		outlet_seated(p->outlet);
	if (answer.ok && term > p->term)
		return RC_OK;
	if (answer.ok) {
		p->reserved = true;
		protection_plan(p, answer.has_image, answer.committed);
		return RC_OK;
	}
	protection_failed(p, PROTECTION_REFUSED, PROTECTION_RETRY_REFUSED_MS,
			  "the standby cannot run this instance: %.450s", answer.error);
	protection_end_session(p);
	return RC_OK;
}

/* Another one serves, or has. Nothing of this instance is thrown away. */
static void superseded(struct protection *p, uint64_t term, const char *why)
{
	p->told = true;
	(void)snprintf(p->told_why, sizeof(p->told_why), "%.*s", ERR_TEXT_MAX - 1, why);
	if (p->state == PROTECTION_SUPERSEDED)
		return;
	if (term > p->term)
		p->term = term;
	outlet_supersede(p->outlet, term);
	protection_enter(p, PROTECTION_SUPERSEDED, "%.300s (term %llu)", why,
			 (unsigned long long)term);
	if (p->session != NULL)
		protection_end_session(p);
}

static int on_frame(void *owner, const struct wire_header *header, const uint8_t *payload,
		    struct err *err)
{
	char text[WIRE_TEXT_MAX + 1];
	struct protection *p = owner;
	uint16_t code;
	int rc = RC_OK;

	if (header->term > TERM_MAX)
		return err_set(err, RC_INVALID, "a term beyond all terms");
	switch (header->type) {
	case WIRE_RESERVED:
		return on_reserved(p, header->term, payload, header->length, err);
	case WIRE_SUPERSEDED:
		rc = wire_get_reason(&code, text, payload, header->length, err);
		if (rc == RC_OK)
			superseded(p, header->term, text);
		return rc;
	case WIRE_YIELD:
		protection_yield(p, header->term);
		return RC_OK;
	case WIRE_ACK:
	case WIRE_HASHES:
		if (p->session == NULL || p->session_closing)
			return RC_OK; /* of a session that has just ended */
		return session_frame(p->session, header, payload, err);
	case WIRE_RECEIVED:
		return protection_received(p, header->epoch, payload, header->length, err);
	case WIRE_UNCOMMITTED:
	case WIRE_FRAMES:
		return outlet_frame(p->outlet, header, payload, err);
	case WIRE_FAULT:
		return protection_fault(p, header->epoch, payload, header->length, err);
	default:
		return err_set(err, RC_INVALID, "a %s frame is not for a primary",
			       wire_type_name(header->type));
	}
}

static const struct link_ops link_callbacks = {
	.on_up = on_up, .on_frame = on_frame, .on_room = on_room, .on_down = on_down
};

static void fill_hello(void *owner, struct wire_hello *own)
{
	struct protection *p = owner;

	own->session = p->session != NULL ? session_id(p->session) : 0;
}

static int dial(struct protection *p, struct err *err)
{
	const struct config *config = p->site.config;
	const struct link_options options = {
		.identity = p->site.identity,
		.site = config->site,
		.heartbeat_ms = config->heartbeat_ms,
		.dead_ms = config->detect_ms * LINK_DEAD_FACTOR,
	};

	int rc = link_dial(&p->link, p->site.loop, config->connect, &options, p->config->name,
			   fill_hello, &link_callbacks, p, err);

	if (rc == RC_OK)
		outlet_dialled(p->outlet, p->link);
	return rc;
}

/* The instance ------------------------------------------------------------------------------- */

/*
 * From now on, whether it can be protected or not: only the standby's word tells whether it may run,
 * and only to a standby that does not hear us it is dead.
 */
static void on_found(void *owner, struct qmp *qmp)
{
	struct protection *p = owner;
	struct err err = { 0 };

	p->gone = p->adrift = false;
	outlet_attach(p->outlet, qmp);
	protection_tell_uncommitted(p);
	protection_release_outlet(p);
	protection_tell_instance(p);
	if (p->link == NULL && dial(p, &err) != RC_OK)
		protection_enter(p, PROTECTION_REFUSED, "%s", err.text);
}

static void on_left(void *owner)
{
	struct protection *p = owner;

	p->adrift = true;
	outlet_detach(p->outlet);
}

bool protection_has_stopped(void *owner)
{
	return outlet_has_stopped(((struct protection *)owner)->outlet);
}

static void advance(struct protection *p, bool examined);

static void on_fit(void *owner, const char *reservation)
{
	struct protection *p = owner;

	p->outdated = p->reserving;
	mem_free(p->reservation);
	p->reservation = mem_strdup(reservation);
	if (p->link == NULL)
		return; /* on_found() has said why */
	if (p->reservation == NULL) {
		protection_enter(p, PROTECTION_REFUSED, "no memory for the reservation");
		return;
	}
	if (p->state != PROTECTION_SUPERSEDED && p->state != PROTECTION_WAITING)
		protection_enter(p, PROTECTION_WAITING, "for the standby at %s",
				 p->site.config->connect);
	advance(p, true);
}

void protection_unreserve(struct protection *p)
{
	mem_free(p->reservation);
	p->reservation = NULL;
	p->reserved = false;
	p->outdated = p->reserving;
	*p->trouble = '\0';
	protection_end_session(p);
}

static void on_unfit(void *owner, const struct err *err)
{
	struct protection *p = owner;
	const char *needs = outlet_needs(p->outlet);
	char text[ERR_TEXT_MAX];

	protection_release_outlet(p); /* it lives, and another client has its monitor */
	(void)snprintf(text, sizeof(text), "%.*s%s%s",
		       (int)(sizeof(text) - sizeof("; ") - strlen(needs)), err->text,
		       *needs != '\0' ? "; " : "", needs);
	if (p->state != PROTECTION_SUPERSEDED &&
	    (p->state != PROTECTION_REFUSED || strcmp(p->reason, text) != 0)) {
		protection_warn(p, PROTECTION_REFUSED, "%s", text);
		*p->trouble = '\0';
		protection_tell_instance(p);
	}
	protection_unreserve(p);
}

static void on_event(void *owner, const char *name, const cJSON *data, uint64_t time_us)
{
	struct protection *p = owner;

	outlet_event(p->outlet, name, data);
	if (strcmp(name, "RESET") == 0) /* it may have been shutting down, and goes on */
		protection_tell_instance(p);
	if (p->session != NULL)
		session_event(p->session, name, data, time_us);
}

static void on_gone(void *owner, bool orderly)
{
	const char *text = orderly ? "its QEMU was shut down" : "its QEMU is gone";
	struct protection *p = owner;

	p->gone = true;
	p->adrift = false;
	outlet_gone(p->outlet); /* first: an instance that is no more answers nobody */
	protection_release_outlet(p);
	if (p->state != PROTECTION_SUPERSEDED)
		protection_enter(p, orderly ? PROTECTION_ENDED : PROTECTION_CRASHED, "%s", text);
	protection_unreserve(p);
	protection_tell_instance(p);
	protection_answer_yield(p);
}

static void on_subject_lost(void *owner, const struct err *err)
{
	struct protection *p = owner;

	protection_release_outlet(p); /* its end would have been told before a second attempt */
	if (!protection_is_ending(p))
		protection_warn(p, PROTECTION_CONNECTING, "%s", err->text);
	protection_tell_instance(p);
	protection_unreserve(p);
}

static const struct subject_ops subject_callbacks = {
	.on_found = on_found,
	.on_left = on_left,
	.has_stopped = protection_has_stopped,
	.on_fit = on_fit,
	.on_unfit = on_unfit,
	.on_event = on_event,
	.on_gone = on_gone,
	.on_lost = on_subject_lost,
};

/* What to do next, from whatever state we are in; called after everything that changes one. --- */

static void check_stopped(struct protection *p);

/* `examined`: right now. */
static void advance(struct protection *p, bool examined)
{
	const uint64_t outage_ns = !p->up && p->down_ns != 0 ? clock_now_ns() - p->down_ns : 0;
	const uint64_t patience_ms = link_patience_ms(p);

	if (p->stopping) {
		check_stopped(p);
		return;
	}
	if (p->reservation == NULL || p->session_closing || p->cooling ||
	    p->state == PROTECTION_SUPERSEDED || outlet_has_yielded(p->outlet))
		return;
	if (p->session != NULL && outage_ns >= patience_ms * CLOCK_NS_PER_MS) {
		protection_enter(p, PROTECTION_UNPROTECTED,
				 "no link for %.1f s: the instance is let go until a resync",
				 (double)patience_ms / 1000);
		protection_end_session(p);
	} else if (p->session != NULL && !p->up) {
		protection_retry_in(p, patience_ms - outage_ns / CLOCK_NS_PER_MS + 1);
	} else if (p->up && p->session == NULL && p->spent) {
		/* What is on the wire belongs to a session that has ended; a connection of its own draws the line. */
		link_drop(p->link, WIRE_REASON_SESSION, "it connects again at once");
	} else if (p->up && !p->reserving && p->session == NULL && !examined) {
		protection_look_again(p);
	} else if (p->up && !p->reserving && (!p->reserved || p->session == NULL)) {
		reserve(p);
	}
}

void protection_advance(struct protection *p)
{
	advance(p, false);
}

/* Outlet ------------------------------------------------------------------------------------- */

static void on_output(void *owner)
{
	struct protection *p = owner;

	if (p->session != NULL && !p->session_closing)
		session_demand(p->session);
}

static void on_term(void *owner, uint64_t term, bool untold)
{
	struct protection *p = owner;

	/* Of a lease, of the witness, or superseded: a frame may tell of a takeover that has just begun. */
	if (term > p->term)
		p->term = term;
	if (p->session != NULL)
		session_set_term(p->session, p->term);
	if (untold) {
		p->tell_uncommitted = true;
		p->uncommitted = protection_newest(p) +
				 (p->session != NULL && session_is_capturing(p->session));
		protection_tell_uncommitted(p);
	}
	protection_advance(p);
}

static void on_right(void *owner)
{
	struct protection *p = owner;

	if (p->session == NULL && !p->adrift) {
		protection_release_outlet(p); /* what has yielded kept it until now */
		protection_tell_instance(p);
	}
	if (p->session == NULL || p->session_closing)
		protection_advance(p);
	else if (protection_is_alone(p))
		protection_let_out(p);
	else
		session_wake(p->session);
}

static void on_stands(void *owner)
{
	protection_answer_yield(owner);
}

static const struct outlet_ops outlet_callbacks = { on_output, on_term, on_right, on_stands };

/* Life --------------------------------------------------------------------------------------- */

int protection_start(struct protection **out, const struct protection_site *site,
		     const struct config_instance *config, struct err *err)
{
	struct protection *p = mem_zalloc(1, sizeof(*p));
	int rc;

	if (p == NULL)
		return err_nomem(err, "a protection");
	p->site = *site;
	p->config = config;
	p->term = 1;
	(void)snprintf(p->part, sizeof(p->part), "protect %s", config->name);
	rc = chunk_pool_create(&p->pool, (size_t)config->staging_mib << 20, err);
	if (rc == RC_OK && config->ndisks > 0)
		rc = chunk_pool_create(&p->disk_pool, (size_t)config->disk_mib << 20, err);
	if (rc == RC_OK)
		rc = outlet_open(&p->outlet, site->loop, site->config, config, site->etcd,
				 site->guardian, p->part, &outlet_callbacks, p, err);
	if (rc == RC_OK)
		rc = subject_open(&p->subject, site->loop, config, site->config, site->etcd,
				  &subject_callbacks, p, err);
	if (rc != RC_OK) {
		if (p->outlet != NULL)
			outlet_close(p->outlet, NULL, NULL);
		chunk_pool_destroy(p->pool);
		chunk_pool_destroy(p->disk_pool);
		mem_free(p);
		return rc;
	}
	(void)uv_timer_init(site->loop, &p->retry);
	p->retry.data = p;
	protection_enter(p, PROTECTION_CONNECTING, "QMP at %s", config->qmp);
	*out = p;
	return RC_OK;
}

static void on_part_stopped(void *owner)
{
	struct protection *p = owner;

	p->open_parts--;
	check_stopped(p);
}

static void on_timer_closed(uv_handle_t *handle)
{
	on_part_stopped(handle->data);
}

/* First the session (it needs QMP and the link), then the others. */
static void check_stopped(struct protection *p)
{
	void (*on_stopped)(void *) = p->on_stopped;
	void *owner = p->stop_owner;

	if (p->session != NULL || p->open_parts > 0)
		return;
	if (p->subject != NULL) {
		p->open_parts = 3 + (p->link != NULL);
		subject_close(p->subject, on_part_stopped); /* which tells the outlet */
		p->subject = NULL;
		outlet_close(p->outlet, on_part_stopped, p);
		uv_close((uv_handle_t *)&p->retry, on_timer_closed);
		if (p->link != NULL) {
			link_drop(p->link, WIRE_REASON_SHUTDOWN,
				  "the agent ends and lets the instance go");
			link_close(p->link, on_part_stopped);
		}
		return;
	}
	chunk_pool_destroy(p->pool);
	chunk_pool_destroy(p->disk_pool);
	mem_free(p->reservation);
	mem_free(p);
	on_stopped(owner);
}

void protection_stop(struct protection *p, void (*on_stopped)(void *owner), void *owner)
{
	p->stopping = true;
	p->on_stopped = on_stopped;
	p->stop_owner = owner;
	(void)uv_timer_stop(&p->retry);
	if (p->up)
		protection_tell(p, WIRE_INSTANCE_RUNNING,
				"the agent ends and lets the instance go");
	else
		outlet_leave(p->outlet); /* a standby that did not hear of it takes over in time */
	protection_end_session(p);
	check_stopped(p);
}
