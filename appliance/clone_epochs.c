/*
 * What the primary sends: its reservation, layout and epochs go to the seat; what became of its
 * instance goes to the decision.
 */
#include "appliance/clone_internal.h"

#include "appliance/base/bytes.h"
#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Epochs ------------------------------------------------------------------------------------- */

void clone_on_forgotten(void *owner)
{
	struct clone *c = owner;

	c->session = 0;
	if (seat_receiver(c->seat) != NULL)
		receiver_forget(seat_receiver(c->seat));
	epoch_figures_forget(&c->figures);
	hashes_end(&c->hashes);
	c->newest = 0;
	if (c->gateway != NULL)
		gateway_committed(c->gateway, 0);
	clone_decide(c, FAILOVER_FORGOTTEN, 0);
}

/* An operator may have been asked to decide about it, and should find out what became of it. */
static void say_replaced(const struct clone *c, uint64_t epoch)
{
	if (c->failover.state == FAILOVER_UNATTENDED && c->session != 0 &&
	    c->session != c->pending_session)
		log_warn(
			c->part,
			"epoch %llu, which `understudy takeover` would have brought up, is replaced by "
			"epoch %llu: the agent began anew",
			(unsigned long long)c->failover.epoch, (unsigned long long)epoch);
}

static void decide_said(struct clone *c)
{
	const bool copying = c->failover.state == FAILOVER_SYNCING;
	const uint64_t epoch =
		c->said_epoch > c->failover.epoch ? c->said_epoch : c->failover.epoch;
	struct failover_update update;

	clone_decide_event(
		c, (struct failover_event){ .type = c->said, .epoch = epoch, .why = c->said_why },
		&update);
	if (copying && c->said != FAILOVER_SHUT_DOWN)
		clone_copy_ended(c);
}

void clone_on_committed(void *owner, uint64_t epoch, uint64_t took_ns)
{
	struct clone *c = owner;
	uint8_t payload[8];

	say_replaced(c, epoch);
	c->session = c->pending_session;
	memcpy(c->origin, c->peer_site, sizeof(c->origin));
	epoch_figures_committed(&c->figures, epoch);
	*c->trouble = *c->unread = '\0';
	c->more = false;
	c->faults = (struct repeat){ 0 };
	if (c->gateway != NULL)
		gateway_committed(c->gateway, epoch);
	bytes_put_le64(payload, took_ns);
	/* Not after the decision: the primary would count on an epoch that is committed, but
	 * belongs to a term that is over. */
	if (!failover_is_over(&c->failover))
		clone_tell(c, WIRE_ACK, epoch, payload, sizeof(payload));
	clone_decide(c, FAILOVER_COMMITTED, epoch);
	/* It was said after this epoch, but heard before that was committed. */
	if (c->said != FAILOVER_TICK)
		decide_said(c);
}

void clone_on_fault(void *owner, uint64_t epoch, const struct err *err)
{
	struct clone *c = owner;
	struct buf payload = { 0 };

	if (seat_epoch(c->seat) == 0)
		clone_on_forgotten(c);
	if (seat_epoch(c->seat) != c->failover.epoch)
		c->session =
			0; /* a primary that went on from there would count it as acknowledged */
	(void)snprintf(c->trouble, sizeof(c->trouble), "epoch %llu cannot be committed: %.440s",
		       (unsigned long long)epoch, err->text);
	repeat_log(&c->faults, LOG_LEVEL_WARN, c->part, c->trouble);
	clone_past_yield(c, err);
	if (wire_put_reason(&payload, (uint16_t)err->code, err->text))
		clone_tell(c, WIRE_FAULT, epoch, payload.data, payload.len);
	buf_free(&payload);
}

void clone_on_consumed(void *owner, size_t bytes)
{
	struct clone *c = owner;

	if (c->link_up)
		link_grant(c->link, bytes);
}

/* Frames in ---------------------------------------------------------------------------------- */

/* Such memory is not what was reserved: no breach, but a reservation that is of no use. */
static int set_layout(struct clone *c, struct image *image, const struct layout *layout,
		      struct err *err)
{
	int rc = image_set_layout(image, layout, err);

	if (rc == RC_STATE) {
		/* The same reservation, other memory: the instance that was committed is not the
		 * one that runs now. */
		log_warn(c->part, "%s", err->text);
		image_forget(image);
		clone_on_forgotten(c);
		rc = image_set_layout(image, layout, err);
	}
	c->layout_refused = rc != RC_OK;
	if (c->layout_refused)
		clone_on_reserved(c, err->text, "empty");
	else
		seat_check_layout(c->seat, layout);
	return rc;
}

static int on_layout(struct clone *c, const uint8_t *payload, size_t len, struct err *err)
{
	struct image *image = seat_image(c->seat);
	struct layout *layout;
	int rc;

	if (len < 8)
		return err_set(err, RC_INVALID, "a layout without a session");
	if (receiver_has_kept(seat_receiver(c->seat))) /* another session's, or it would go on */
		receiver_drop(seat_receiver(c->seat), false, NULL);
	if (c->laid_out || !receiver_is_idle(seat_receiver(c->seat)))
		return err_set(err, RC_STATE, "a second layout on one connection");
	c->laid_out = true;
	if (c->gateway != NULL)
		gateway_session(c->gateway);
	c->said = FAILOVER_TICK; /* it was about an earlier session's instance */
	layout = mem_zalloc(1, sizeof(*layout));
	if (layout == NULL)
		return err_nomem(err, "a layout");
	rc = layout_decode(layout, payload + 8, len - 8, err);
	if (rc == RC_OK && set_layout(c, image, layout, err) == RC_OK) {
		c->pending_session = bytes_get_le64(payload);
		epoch_figures_session(&c->figures);
		c->newest = image_epoch(image); /* what was cut short of an earlier session */
		if (image_epoch(image) == 0)
			clone_decide(c, FAILOVER_COPYING, 0);
	}
	mem_free(layout);
	return rc;
}

void clone_tell_hashes(void *owner)
{
	struct clone *c = owner;
	const struct image *image = seat_image(c->seat);

	if (c->hashes.wanted && c->link_up && image != NULL && image_layout(image) != NULL)
		hashes_tell(&c->hashes, seat_receiver(c->seat), image, c->link, c->failover.term,
			    clone_tell_hashes, c);
}

static int on_want_hashes(struct clone *c, struct err *err)
{
	if (!c->laid_out || c->hashes.wanted || !receiver_is_idle(seat_receiver(c->seat)))
		return err_set(err, RC_STATE, "hashes are wanted once, right after the layout");
	hashes_want(&c->hashes);
	clone_tell_hashes(c);
	return RC_OK;
}

void clone_tell_received(struct clone *c)
{
	struct wire_received received = { .session = c->pending_session };
	struct buf payload = { 0 };

	c->untold = 0;
	received.epoch = receiver_first_copy(seat_receiver(c->seat), &received.batches);
	if (received.epoch == 0 || !c->receipts ||
	    (receiver_has_kept(seat_receiver(c->seat)) && c->copy_term != c->failover.term))
		return;
	if (wire_put_received(&payload, &received))
		clone_tell(c, WIRE_RECEIVED, received.epoch, payload.data, payload.len);
	buf_free(&payload);
}

static int on_rest(struct clone *c, uint64_t epoch, struct err *err)
{
	if (c->copy_term != c->failover.term)
		return err_set(err, RC_STATE, "the rest of an epoch of a former term");
	if (receiver_resume(seat_receiver(c->seat), epoch, err) != RC_OK)
		return (int)err->code;
	log_info(c->part, "the first copy, epoch %llu, goes on", (unsigned long long)epoch);
	if (image_epoch(seat_image(c->seat)) == 0)
		clone_decide(c, FAILOVER_COPYING, 0);
	return RC_OK;
}

static int on_epoch(struct clone *c, const struct wire_header *header, const uint8_t *payload,
		    struct err *err)
{
	const struct journal_origin origin = { c->pending_session, c->failover.term };
	int rc;

	if (header->length != 1 || payload[0] < WIRE_EPOCH_COPY || payload[0] > WIRE_EPOCH_REST)
		return err_set(err, RC_INVALID, "an epoch of unknown kind");
	if (image_layout(seat_image(c->seat)) == NULL)
		return err_set(err, RC_STATE, "an epoch before a layout was given");
	if (c->hashes.wanted) /* of an image that it would change meanwhile, from other threads */
		return err_set(err, RC_STATE, "an epoch before the hashes that were wanted");
	if (payload[0] == WIRE_EPOCH_REST)
		return on_rest(c, header->epoch, err);
	c->copy_term = c->failover.term;
	rc = receiver_begin(seat_receiver(c->seat), header->epoch, &origin,
			    payload[0] == WIRE_EPOCH_COPY, err);
	if (rc == RC_OK)
		c->newest = header->epoch;
	return rc;
}

static int on_batch(struct clone *c, const uint8_t *payload, size_t len, struct err *err)
{
	int rc;

	epoch_figures_batch(&c->figures, len);
	rc = receiver_batch(seat_receiver(c->seat), payload, len, err);
	c->untold += len;
	if (rc == RC_OK && c->untold >= WIRE_RECEIPT_BYTES)
		clone_tell_received(c);
	return rc;
}

static int on_commit(struct clone *c, const struct wire_header *header, const uint8_t *payload,
		     struct err *err)
{
	struct wire_commit commit;
	int rc;

	rc = wire_get_commit(&commit, payload, header->length, err);
	if (rc != RC_OK)
		return rc;
	epoch_figures_end(&c->figures, header->epoch, &commit, clock_now_ns(),
			  link_round_trip_ns(c->link));
	return receiver_end(seat_receiver(c->seat), header->epoch, &commit, err);
}

static int on_instance(struct clone *c, const struct wire_header *header, const uint8_t *payload,
		       struct err *err)
{
	static const enum failover_event_type events[] = {
		[WIRE_INSTANCE_RUNNING] = FAILOVER_UNPROTECTED,
		[WIRE_INSTANCE_CRASHED] = FAILOVER_CRASHED,
		[WIRE_INSTANCE_ENDED] = FAILOVER_SHUT_DOWN,
	};
	static_assert(sizeof(events) / sizeof(events[0]) == WIRE_INSTANCE_END,
		      "an event for every state");
	char text[WIRE_TEXT_MAX + 1];
	uint16_t code;
	int rc;

	rc = wire_get_reason(&code, text, payload, header->length, err);
	if (rc != RC_OK)
		return rc;
	if (code < WIRE_INSTANCE_RUNNING || code >= WIRE_INSTANCE_END)
		return err_set(err, RC_INVALID, "instance state %u", code);
	/* On each connection; where it matters the decision says so. */
	log_write(code == WIRE_INSTANCE_RUNNING ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, c->part,
		  "the primary says: %s", text);
	c->said = events[code];
	c->said_epoch = header->epoch;
	(void)snprintf(c->said_why, sizeof(c->said_why), "%.*s", ERR_TEXT_MAX - 1, text);
	decide_said(c);
	return RC_OK;
}

/* The instance answers without us: the primary goes on once it has our word that we know. */
static int on_uncommitted(struct clone *c, const struct wire_header *header)
{
	struct failover_update update;

	clone_decide_event(c,
			   (struct failover_event){ .type = FAILOVER_OUTDATED,
						    .term = header->term,
						    .epoch = header->epoch },
			   &update);
	if (!failover_is_over(&c->failover))
		(void)clone_tell(c, WIRE_UNCOMMITTED, header->epoch, NULL, 0);
	return RC_OK;
}

/* It served alone, or its standby counted further than this one: what we have may be old. */
static void take_term(struct clone *c, uint64_t term)
{
	struct failover_update update;

	clone_decide_event(c,
			   (struct failover_event){
				   .type = FAILOVER_OUTDATED, .term = term, .epoch = c->newest },
			   &update);
}

/*
 * The primary knows the term in force by our lease before it begins or goes on with a session
 * (protection.c). Ours has grown since by what it said itself, ahead of what was queued, or by a
 * witness's late answer. On its next connection it hears of it first; that is no loop.
 *
 * RESERVE, INSTANCE and what goes to and from clients are taken: an agent says them before it has heard of
 * any lease, and what they do is decided by the state here, not by their term.
 */
static bool is_of_former_term(const struct clone *c, const struct wire_header *header)
{
	return c->terms && wire_is_ordered(header->type) && header->term < c->failover.term;
}

static void refuse_term(struct clone *c, const struct wire_header *header)
{
	char text[128];

	(void)snprintf(text, sizeof(text), "%s of term %llu, and term %llu is in force here",
		       wire_type_name(header->type), (unsigned long long)header->term,
		       (unsigned long long)c->failover.term);
	link_drop(c->link, WIRE_REASON_TERM, text);
}

/* Of a term that ends, for a seat that is being replaced or memory that it cannot take: the primary plans anew when it is told. */
static bool is_of_no_use(const struct clone *c, const struct wire_header *header)
{
	return failover_is_over(&c->failover) ||
	       (header->type != WIRE_RESERVE &&
		(seat_image(c->seat) == NULL || (c->laid_out && c->layout_refused)));
}

static int on_copy(struct clone *c, const struct wire_header *header, const uint8_t *payload,
		   struct err *err)
{
	switch (header->type) {
	case WIRE_RESERVE:
		return seat_reserve(c->seat, payload, header->length, err);
	case WIRE_LAYOUT:
		return on_layout(c, payload, header->length, err);
	case WIRE_WANT_HASHES:
		return on_want_hashes(c, err);
	case WIRE_EPOCH:
		return on_epoch(c, header, payload, err);
	case WIRE_BATCH:
		return on_batch(c, payload, header->length, err);
	case WIRE_COMMIT:
		return on_commit(c, header, payload, err);
	case WIRE_INPUT:
		return c->gateway == NULL ? RC_OK :
					    gateway_input(c->gateway, header->epoch, payload,
							  header->length, err);
	case WIRE_ADDRESSES:
		return c->gateway == NULL ?
			       RC_OK :
			       gateway_addresses(c->gateway, payload, header->length, err);
	case WIRE_FRAMES:
		return RC_OK; /* of a primary that has network cards and was refused for it */
	default:
		return err_set(err, RC_INVALID, "a %s frame is not for a standby",
			       wire_type_name(header->type));
	}
}

int clone_on_frame(void *owner, const struct wire_header *header, const uint8_t *payload,
		   struct err *err)
{
	struct clone *c = owner;

	if (header->term > TERM_TOLD_MAX)
		return err_set(err, RC_INVALID, "a term beyond all terms");
	if (header->type == WIRE_UNCOMMITTED)
		return on_uncommitted(c, header);
	if (header->term > c->failover.term)
		take_term(c, header->term);
	if (header->type == WIRE_YIELDED) {
		clone_decide(c, FAILOVER_YIELDED, 0);
		return RC_OK;
	}
	if (c->gateway != NULL && header->type == WIRE_FRAMES)
		return gateway_frames(c->gateway, header->epoch, payload, header->length, err);
	if (!failover_is_over(&c->failover) && is_of_former_term(c, header)) {
		refuse_term(c, header);
		return RC_OK;
	}
	/* What became of the instance counts while it is claimed, too. */
	if (header->type == WIRE_INSTANCE &&
	    (!failover_is_over(&c->failover) || c->failover.state == FAILOVER_CLAIMING))
		return on_instance(c, header, payload, err);
	if (!is_of_no_use(c, header))
		return on_copy(c, header, payload, err);
	if (header->type == WIRE_BATCH)
		link_grant(c->link, header->length);
	return RC_OK;
}
