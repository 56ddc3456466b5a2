#include "appliance/clone.h"

#include "appliance/base/bytes.h"
#include "appliance/base/clock.h"
#include "appliance/base/files.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/failover.h"
#include "appliance/hashes.h"
#include "appliance/seat.h"
#include "replica/reservation.h"

#include <stdio.h>
#include <string.h>

#define TICKS_PER_DETECT 8 /* the silence is looked at this often per limit */
#define FAILED_TEXT "a takeover of this instance is under way or has failed here"
#define WINDOW_SHARE 2 /* of the staging budget may be encoded bytes on their way */

struct clone {
	const struct config *config;
	const struct config_instance *instance;
	char part[80]; /* for the log */
	char dir[400], memory_dir[400];
	struct failover failover;
	char reason[ERR_TEXT_MAX];
	uv_timer_t tick;

	struct seat *seat;

	/* Connection. */
	struct link *link;
	bool link_up, link_closing, draining;
	bool laid_out;	  /* this connection has told its layout: one session per connection */
	bool fenced;	  /* this connection was told that we serve */
	uint64_t session; /* the committed epoch's */
	uint64_t pending_session; /* the one that is coming in */
	struct hashes hashes;	  /* wanted by a primary that resynchronises */

	/* Takeover. */
	bool drained; /* the receiver is idle: the image will not change any more */
	uint64_t activate_ns, resumed_epoch;
	bool ended; /* the replica ran, and does no more */

	bool stopping;
	unsigned open_parts;
	void (*on_stopped)(void *owner);
	void *stop_owner;
};

static void activate(struct clone *c);
static void check_stopped(struct clone *c);
static void tell_hashes(void *owner);
static void tell_superseded(struct clone *c);

/* The decision ------------------------------------------------------------------------------- */

static void on_drained(void *owner)
{
	struct clone *c = owner;

	c->drained = true;
	c->draining = false; /* on_quiet() will not come: the receiver tells the last who asked */
	activate(c);
}

/* No more epochs: the one being committed is finished, then the replica is brought to life. */
static void begin_takeover(struct clone *c)
{
	c->drained = false;
	if (seat_receiver(c->seat) != NULL)
		receiver_drop(seat_receiver(c->seat), on_drained);
	else
		on_drained(c);
}

static void decide_at(struct clone *c, enum failover_event_type type, uint64_t epoch,
		      uint64_t now_ns, struct failover_update *update)
{
	const struct failover_event event = { .type = type, .now_ns = now_ns, .epoch = epoch };

	failover_step(&c->failover, &event, update);
	if (*update->reason != '\0') {
		(void)snprintf(c->reason, sizeof(c->reason), "%s", update->reason);
		log_write(update->changed && c->failover.state >= FAILOVER_SUSPECT ?
				  LOG_LEVEL_WARN :
				  LOG_LEVEL_INFO,
			  c->part, "%s: %s", failover_state_name(c->failover.state),
			  update->reason);
	}
	if (update->activate)
		begin_takeover(c);
}

static void decide(struct clone *c, enum failover_event_type type, uint64_t epoch)
{
	struct failover_update update;

	decide_at(c, type, epoch, clock_now_ns(), &update);
}

static void on_tick(uv_timer_t *timer)
{
	struct clone *c = timer->data;
	struct failover_update update;

	if (c->link != NULL && link_heard_ns(c->link) > 0)
		decide_at(c, FAILOVER_HEARD, 0, link_heard_ns(c->link), &update);
	decide(c, FAILOVER_TICK, 0);
	tell_hashes(c);
	tell_superseded(c);
}

int clone_takeover(struct clone *c, struct err *err)
{
	struct failover_update update;

	decide_at(c, FAILOVER_OPERATOR, 0, clock_now_ns(), &update);
	return update.refused ?
		       err_set(err, RC_REFUSED, "%s: %s", c->instance->name, update.reason) :
		       RC_OK;
}

/* The primary's epochs do not count any more. */
static bool is_over(const struct clone *c)
{
	return c->failover.state == FAILOVER_TAKING_OVER || c->failover.state == FAILOVER_SERVING ||
	       c->failover.state == FAILOVER_FAILED;
}

/* Frames out --------------------------------------------------------------------------------- */

static bool tell(struct clone *c, uint16_t type, uint64_t epoch, const void *payload, size_t len)
{
	struct err err = { 0 };

	if (!c->link_up)
		return false;
	if (link_send(c->link, type, c->failover.term, epoch, payload, len, &err) == RC_OK)
		return true;
	log_warn(c->part, "%s: %s", wire_type_name(type), err.text);
	return false;
}

/* Only once the replica runs: until then the takeover may fail, and the primary is all there is. */
static void tell_superseded(struct clone *c)
{
	static const char text[] = "this standby serves the instance";
	struct buf payload = { 0 };

	if (c->failover.state != FAILOVER_SERVING || !c->link_up || c->fenced)
		return;
	c->fenced = wire_put_reason(&payload, WIRE_REASON_TERM, text) &&
		    tell(c, WIRE_SUPERSEDED, 0, payload.data, payload.len);
	buf_free(&payload);
}

/* The seat ----------------------------------------------------------------------------------- */

static void on_reserved(void *owner, const char *error, const char *image)
{
	struct clone *c = owner;
	struct buf json = { 0 };
	struct err err = { 0 };

	if (error != NULL)
		(void)snprintf(c->reason, sizeof(c->reason), "reservation: %.480s", error);
	if (reservation_answer(&json, error, image, &err) == RC_OK)
		tell(c, WIRE_RESERVED, 0, json.data, json.len);
	buf_free(&json);
}

static void on_forgotten(void *owner)
{
	struct clone *c = owner;

	c->session = 0;
	c->hashes.wanted = false;
	decide(c, FAILOVER_FORGOTTEN, 0);
}

static void on_warm(void *owner)
{
	activate(owner);
}

static void on_running(void *owner, uint64_t took_ns)
{
	struct clone *c = owner;

	c->activate_ns = clock_now_ns() - c->failover.decided_ns;
	log_warn(c->part,
		 "the instance runs here: epoch %llu, %.1f ms after the decision (QEMU %.1f ms)",
		 (unsigned long long)c->resumed_epoch, clock_ms(c->activate_ns), clock_ms(took_ns));
	decide(c, FAILOVER_ACTIVATED, 0);
	tell_superseded(c);
}

/* Also when there is nothing that could be activated. */
static void on_activation_failed(void *owner, const struct err *err)
{
	struct clone *c = owner;

	if (c->failover.state != FAILOVER_TAKING_OVER)
		return;
	log_error(c->part, "activation: %s", err->text);
	decide(c, FAILOVER_ACTIVATION_FAILED, 0);
	/* The image may have been run on: the primary has to know that it is on its own. */
	if (c->link_up)
		link_drop(c->link, WIRE_REASON_BUSY, FAILED_TEXT);
}

static void on_ended(void *owner, const struct err *err)
{
	struct clone *c = owner;

	c->ended = true;
	(void)snprintf(c->reason, sizeof(c->reason), "the replica has ended: %.400s", err->text);
}

/* Goes ahead when everything it needs is there: a decision, an idle receiver, a warm QEMU. */
static void activate(struct clone *c)
{
	struct err err = { 0 };

	if (c->failover.state != FAILOVER_TAKING_OVER || !c->drained || !seat_is_warm(c->seat))
		return;
	c->resumed_epoch = seat_epoch(c->seat);
	if (seat_activate(c->seat, &err) != RC_OK)
		on_activation_failed(c, &err);
}

/* Epochs ------------------------------------------------------------------------------------- */

static void on_committed(void *owner, uint64_t epoch, uint64_t took_ns)
{
	struct clone *c = owner;
	uint8_t payload[8];

	c->session = c->pending_session;
	bytes_put_le64(payload, took_ns);
	/* Not after the decision: the primary would count on an epoch that is committed, but
	 * belongs to a term that is over. */
	if (!is_over(c))
		tell(c, WIRE_ACK, epoch, payload, sizeof(payload));
	decide(c, FAILOVER_COMMITTED, epoch);
}

static void on_fault(void *owner, uint64_t epoch, const struct err *err)
{
	struct clone *c = owner;
	struct buf payload = { 0 };

	if (seat_epoch(c->seat) == 0)
		on_forgotten(c);
	log_warn(c->part, "epoch %llu cannot be committed: %s", (unsigned long long)epoch,
		 err->text);
	if (wire_put_reason(&payload, (uint16_t)err->code, err->text))
		tell(c, WIRE_FAULT, epoch, payload.data, payload.len);
	buf_free(&payload);
}

static void on_consumed(void *owner, size_t bytes)
{
	struct clone *c = owner;

	if (c->link_up)
		link_grant(c->link, bytes);
}

static const struct seat_ops seat_callbacks = {
	.on_reserved = on_reserved,
	.on_forgotten = on_forgotten,
	.on_unseated = on_activation_failed,
	.on_warm = on_warm,
	.on_running = on_running,
	.on_activation_failed = on_activation_failed,
	.on_ended = on_ended,
	.receiver = { on_committed, on_fault, on_consumed },
};

/* Frames in ---------------------------------------------------------------------------------- */

static int on_layout(struct clone *c, const uint8_t *payload, size_t len, struct err *err)
{
	struct image *image = seat_image(c->seat);
	struct layout *layout;
	int rc;

	if (len < 8)
		return err_set(err, RC_INVALID, "a layout without a session");
	if (c->laid_out || !receiver_is_idle(seat_receiver(c->seat)))
		return err_set(err, RC_STATE, "a second layout on one connection");
	c->laid_out = true;
	layout = mem_zalloc(1, sizeof(*layout));
	if (layout == NULL)
		return err_nomem(err, "a layout");
	rc = layout_decode(layout, payload + 8, len - 8, err);
	if (rc == RC_OK)
		rc = image_set_layout(image, layout, err);
	if (rc == RC_STATE) {
		/* The same reservation, other memory: the instance that was committed is not the
		 * one that runs now. */
		log_warn(c->part, "%s", err->text);
		image_forget(image);
		on_forgotten(c);
		rc = image_set_layout(image, layout, err);
	}
	if (rc == RC_OK)
		seat_check_layout(c->seat, layout);
	mem_free(layout);
	if (rc == RC_OK) {
		c->pending_session = bytes_get_le64(payload);
		if (image_epoch(image) == 0)
			decide(c, FAILOVER_COPYING, 0);
	}
	return rc;
}

static void tell_hashes(void *owner)
{
	struct clone *c = owner;
	const struct image *image = seat_image(c->seat);

	if (c->hashes.wanted && c->link_up && image != NULL && image_layout(image) != NULL)
		hashes_tell(&c->hashes, image, c->link, c->failover.term);
}

static int on_want_hashes(struct clone *c, struct err *err)
{
	if (!c->laid_out || c->hashes.wanted || !receiver_is_idle(seat_receiver(c->seat)))
		return err_set(err, RC_STATE, "hashes are wanted once, right after the layout");
	c->hashes = (struct hashes){ .wanted = true };
	tell_hashes(c);
	return RC_OK;
}

static int on_epoch(struct clone *c, const struct wire_header *header, const uint8_t *payload,
		    struct err *err)
{
	if (header->length != 1 || payload[0] < WIRE_EPOCH_COPY ||
	    payload[0] > WIRE_EPOCH_CHECKPOINT)
		return err_set(err, RC_INVALID, "an epoch of unknown kind");
	if (image_layout(seat_image(c->seat)) == NULL)
		return err_set(err, RC_STATE, "an epoch before a layout was given");
	return receiver_begin(seat_receiver(c->seat), header->epoch, payload[0] == WIRE_EPOCH_COPY,
			      err);
}

static int on_commit(struct clone *c, const struct wire_header *header, const uint8_t *payload,
		     struct err *err)
{
	struct wire_commit commit;
	int rc;

	rc = wire_get_commit(&commit, payload, header->length, err);
	return rc == RC_OK ? receiver_end(seat_receiver(c->seat), header->epoch, &commit, err) : rc;
}

static int on_instance(struct clone *c, const uint8_t *payload, size_t len, struct err *err)
{
	static const enum failover_event_type events[] = {
		[WIRE_INSTANCE_RUNNING] = FAILOVER_GOODBYE,
		[WIRE_INSTANCE_CRASHED] = FAILOVER_CRASHED,
		[WIRE_INSTANCE_ENDED] = FAILOVER_SHUT_DOWN,
	};
	char text[WIRE_TEXT_MAX + 1];
	uint16_t code;
	int rc;

	rc = wire_get_reason(&code, text, payload, len, err);
	if (rc != RC_OK)
		return rc;
	if (code < WIRE_INSTANCE_RUNNING || code >= WIRE_INSTANCE_END)
		return err_set(err, RC_INVALID, "instance state %u", code);
	log_info(c->part, "the primary says: %s", text);
	decide(c, events[code], 0);
	return RC_OK;
}

static int on_frame(void *owner, const struct wire_header *header, const uint8_t *payload,
		    struct err *err)
{
	struct clone *c = owner;

	if (header->term > c->failover.term && !is_over(c))
		c->failover.term = header->term; /* an earlier life of ours counted further */
	if (is_over(c) || (header->type != WIRE_RESERVE && header->type != WIRE_INSTANCE &&
			   seat_image(c->seat) == NULL)) {
		/* Of a term that ends, or for a seat that is being replaced: the primary plans anew
		 * when it is told. */
		if (header->type == WIRE_BATCH)
			link_grant(c->link, header->length);
		return RC_OK;
	}
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
		return receiver_batch(seat_receiver(c->seat), payload, header->length, err);
	case WIRE_COMMIT:
		return on_commit(c, header, payload, err);
	case WIRE_INSTANCE:
		return on_instance(c, payload, header->length, err);
	default:
		return err_set(err, RC_INVALID, "a %s frame is not for a standby",
			       wire_type_name(header->type));
	}
}

/* Connection --------------------------------------------------------------------------------- */

static void on_up(void *owner, const struct wire_hello *peer)
{
	struct clone *c = owner;

	c->link_up = true;
	c->laid_out = c->fenced = c->hashes.wanted = false;
	log_info(c->part, "site %s connected from %s", peer->site, link_peer(c->link));
	link_grant(c->link, ((uint64_t)c->instance->standby_staging_mib << 20) / WINDOW_SHARE);
	tell_superseded(c);
}

static void on_link_closed(void *owner)
{
	struct clone *c = owner;

	c->link = NULL;
	c->link_closing = false;
	if (c->stopping)
		check_stopped(c);
}

static void on_quiet(void *owner)
{
	((struct clone *)owner)->draining = false;
}

static void on_down(void *owner, const struct err *err)
{
	struct clone *c = owner;

	c->link_up = false;
	log_warn(c->part, "link lost: %s", err->text);
	if (link_refusal(c->link) == WIRE_REASON_SHUTDOWN)
		decide(c, FAILOVER_GOODBYE, 0);
	if (!c->link_closing) {
		c->link_closing = true;
		link_close(c->link, on_link_closed);
	}
	if (seat_receiver(c->seat) != NULL && !is_over(c)) {
		c->draining = true;
		receiver_drop(seat_receiver(c->seat), on_quiet);
	}
}

static const struct link_ops link_callbacks = {
	.on_up = on_up, .on_frame = on_frame, .on_room = tell_hashes, .on_down = on_down
};

int clone_accept(struct clone *c, struct link *link, const struct wire_hello *peer,
		 struct wire_hello *own, const struct link_ops **link_ops, void **link_owner,
		 uint16_t *reason, struct err *err)
{
	bool failed =
		c->failover.state == FAILOVER_FAILED || c->failover.state == FAILOVER_TAKING_OVER;

	(void)peer;
	if (failed || c->link != NULL || c->draining || c->stopping) {
		*reason = WIRE_REASON_BUSY;
		return err_set(err, RC_REFUSED, "instance %s: %s", c->instance->name,
			       failed ? FAILED_TEXT : "there is a connection already");
	}
	c->link = link;
	own->session = c->session;
	own->epoch = seat_epoch(c->seat);
	*link_ops = &link_callbacks;
	*link_owner = c;
	return RC_OK;
}

/* Life --------------------------------------------------------------------------------------- */

int clone_start(struct clone **out, uv_loop_t *loop, const struct config *config,
		const struct config_instance *instance, struct err *err)
{
	struct clone *c = mem_zalloc(1, sizeof(*c));
	uint64_t tick_ms = config->detect_ms / TICKS_PER_DETECT;
	int rc;

	if (c == NULL)
		return err_nomem(err, "a clone");
	c->config = config;
	c->instance = instance;
	c->hashes.wanted = false;
	(void)snprintf(c->part, sizeof(c->part), "clone %s", instance->name);
	(void)snprintf(c->dir, sizeof(c->dir), "%s/%s", config->state_dir, instance->name);
	(void)snprintf(c->memory_dir, sizeof(c->memory_dir), "%s/understudy-%s-%s",
		       config->memory_dir, config->site, instance->name);
	rc = files_make_dir(c->dir, err);
	if (rc == RC_OK)
		rc = files_make_dir(c->memory_dir, err);
	if (rc == RC_OK)
		rc = seat_create(&c->seat, loop, config, instance, c->dir, c->memory_dir,
				 &seat_callbacks, c, err);
	if (rc != RC_OK) {
		mem_free(c);
		return rc;
	}
	failover_init(&c->failover, config->detect_ms,
		      instance->takeover == CONFIG_TAKEOVER_AUTOMATIC, clock_now_ns());
	(void)uv_timer_init(loop, &c->tick);
	c->tick.data = c;
	tick_ms = tick_ms > 0 ? tick_ms : 1;
	(void)uv_timer_start(&c->tick, on_tick, tick_ms, tick_ms);
	*out = c;
	return RC_OK;
}

const char *clone_name(const struct clone *c)
{
	return c->instance->name;
}

void clone_status(const struct clone *c, struct status_instance *status)
{
	const enum failover_state state = c->failover.state;

	status_clear(status, c->instance->name);
	status->state = failover_state_name(state);
	status->reason = c->reason;
	status->healthy = state != FAILOVER_UNATTENDED && state != FAILOVER_FAILED && !c->ended &&
			  (c->failover.epoch == 0 || state == FAILOVER_SERVING ||
			   seat_is_warm(c->seat) || state == FAILOVER_TAKING_OVER);
	status->protected_now =
		(state == FAILOVER_PROTECTED || state == FAILOVER_SUSPECT) && seat_is_warm(c->seat);
	status->term = (double)c->failover.term;
	status->epoch = (double)c->failover.epoch;
	status->suspicion = failover_suspicion(&c->failover, clock_now_ns());
	if (seat_receiver(c->seat) != NULL)
		status->lag_bytes = (double)receiver_queued(seat_receiver(c->seat));
	status->hypervisor = seat_hypervisor(c->seat);
	if (c->link != NULL) {
		status->link = c->link;
		status->peer = link_peer(c->link);
	}
	if (c->activate_ns > 0) {
		status->detect_ms = clock_ms(c->failover.silent_ns);
		status->activate_ms = clock_ms(c->activate_ns);
		status->resumed_epoch = (double)c->resumed_epoch;
	}
}

static void on_part_closed(void *owner)
{
	struct clone *c = owner;

	c->open_parts--;
	check_stopped(c);
}

static void on_timer_closed(uv_handle_t *handle)
{
	on_part_closed(handle->data);
}

static void check_stopped(struct clone *c)
{
	void (*on_stopped)(void *) = c->on_stopped;
	void *owner = c->stop_owner;

	if (c->link != NULL || c->open_parts > 0)
		return;
	mem_free(c);
	on_stopped(owner);
}

void clone_stop(struct clone *c, void (*on_stopped)(void *owner), void *owner)
{
	c->stopping = true;
	c->on_stopped = on_stopped;
	c->stop_owner = owner;
	c->open_parts = 2;
	if (c->link != NULL && !c->link_closing) {
		c->link_closing = true;
		link_drop(c->link, WIRE_REASON_SHUTDOWN, "the standby ends");
		link_close(c->link, on_link_closed);
	}
	seat_close(c->seat, on_part_closed);
	uv_close((uv_handle_t *)&c->tick, on_timer_closed);
}
