#include "appliance/session_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/hashes.h"

#include <assert.h>
#include <string.h>

static void lost(void *owner, const struct err *err)
{
	struct session *session = owner;

	if (session->lost || session->closing)
		return;
	session->lost = true;
	session->ops->on_lost(session->owner, err);
}

/* Pace --------------------------------------------------------------------------------------- */

static void on_due(uv_timer_t *timer);

/* QEMU waits for a checkpoint, and its epoch has somewhere to go. */
static bool is_free(const struct session *session)
{
	return session->ready && session->up && !session->closing && !session->lost;
}

static void begin_checkpoint(struct session *session)
{
	session->ready = false;
	capture_checkpoint(session->capture);
}

static void arm(struct session *session)
{
	uint64_t now_ns = clock_now_ns(), due_ns;
	struct sender_state state;

	if (!is_free(session) || !session->options.may_capture(session->owner))
		return;
	sender_query(session->sender, now_ns, &state);
	due_ns = epoch_due_ns(&session->pacer, state.unacknowledged, state.full);
	if (due_ns == UINT64_MAX) {
		(void)uv_timer_stop(&session->due); /* an acknowledgement comes back here */
		return;
	}
	/* Rounded up to libuv's milliseconds. */
	due_ns = due_ns > now_ns ? (due_ns - now_ns + CLOCK_NS_PER_MS - 1) / CLOCK_NS_PER_MS : 0;
	uv_update_time(session->options.loop);
	(void)uv_timer_start(&session->due, on_due, due_ns, 0);
}

/* The first copy is only whole with its first checkpoint: that one is due as soon as QEMU and the connection are there. */
static void go_on(struct session *session)
{
	if (session->pacer.captured_ns == 0 && is_free(session))
		begin_checkpoint(session);
	else
		arm(session);
}

static void on_due(uv_timer_t *timer)
{
	struct session *session = timer->data;

	if (is_free(session) && session->options.may_capture(session->owner))
		begin_checkpoint(session);
}

void session_wake(struct session *session)
{
	arm(session);
}

void session_demand(struct session *session)
{
	if (session->pacer.wanted_ns != 0 || session->pacer.captured_ns == 0)
		return;
	epoch_demand(&session->pacer, clock_now_ns());
	arm(session);
}

/* Transport: what the sender gives out ------------------------------------------------------- */

static bool control(struct session *session, uint16_t type, uint64_t epoch, const void *payload,
		    size_t len)
{
	struct err err = { 0 };

	return session->up &&
	       link_send(session->link, type, session->term, epoch, payload, len, &err) == RC_OK;
}

static bool send_begin(void *owner, uint64_t epoch, enum wire_epoch kind)
{
	const uint8_t payload = (uint8_t)kind;

	return control(owner, WIRE_EPOCH, epoch, &payload, sizeof(payload));
}

static void drained(struct session *session);

static bool send_commit(void *owner, uint64_t epoch, const struct wire_commit *commit)
{
	struct session *session = owner;
	struct buf payload = { 0 };
	bool sent = wire_put_commit(&payload, commit) &&
		    control(session, WIRE_COMMIT, epoch, payload.data, payload.len);

	buf_free(&payload);
	if (sent) {
		session->handed = epoch;
		drained(session);
	}
	return sent;
}

static bool send_batch(void *owner, uint64_t epoch, const uint8_t *data, size_t len,
		       void (*release)(void *context), void *context)
{
	struct session *session = owner;

	return session->up &&
	       link_send_bulk(session->link, session->term, epoch, data, len, release, context);
}

static const struct sender_ops sender_callbacks = {
	.begin = send_begin,
	.commit = send_commit,
	.batch = send_batch,
	.failed = lost,
};

/* Capture: in the order in which it happens -------------------------------------------------- */

static int announce_layout(struct session *session, const struct layout *layout, struct err *err)
{
	struct buf payload = { 0 };
	int rc;

	(void)buf_append_le64(&payload, session->id);
	layout_encode(layout, &payload);
	if (payload.failed)
		rc = err_nomem(err, "the layout");
	else
		rc = link_send(session->link, WIRE_LAYOUT, session->term, 0, payload.data,
			       payload.len, err);
	buf_free(&payload);
	if (rc == RC_OK && session->options.resync)
		rc = link_send(session->link, WIRE_WANT_HASHES, session->term, 0, NULL, 0, err);
	return rc;
}

static void on_settled(void *owner, const struct capture_epoch *epoch)
{
	struct session *session = owner;

	if (session->closing)
		return;
	sender_epoch(session->sender, epoch);
	arm(session);
}

static const struct session_disks_ops disk_callbacks = { lost, on_settled };

static void on_layout(void *owner, const struct layout *layout)
{
	struct session *session = owner;
	const struct session_options *options = &session->options;
	struct err err = { 0 };
	struct layout whole;
	int rc;

	rc = session_disks_layout(&whole, layout, options, &err);
	session->pages = whole.pages;
	session->copy_total = layout->ram_pages * LAYOUT_PAGE;
	if (rc == RC_OK)
		rc = sender_create(&session->sender, options->loop, whole.pages,
				   (size_t)options->instance->cache_mib << 20,
				   (size_t)options->instance->inflight_mib << 20,
				   options->first_epoch, options->resync, &sender_callbacks,
				   session, &err);
	if (rc == RC_OK && (link_features(session->link) & WIRE_FEATURE_RECEIPTS) != 0)
		sender_expect_receipts(session->sender);
	if (rc == RC_OK)
		rc = announce_layout(session, &whole, &err);
	if (rc == RC_OK && !sender_up(session->sender, options->first_epoch - 1))
		rc = err_set(&err, RC_STATE, "the first epoch does not follow the standby's");
	if (rc == RC_OK && whole.disks > 0)
		rc = session_disks_open(&session->disks, &whole, session->capture, session->sender,
					&disk_callbacks, session, &err);
	if (rc != RC_OK)
		lost(session, &err);
}

static void on_progress(void *owner, uint64_t done_bytes, uint64_t total_bytes)
{
	struct session *session = owner;

	session->copy_done = done_bytes;
	session->copy_total = total_bytes;
}

static void on_chunk(void *owner, struct chunk *chunk)
{
	struct session *session = owner;

	if (session->sender == NULL || session->closing)
		chunk_put(chunk);
	else
		sender_chunk(session->sender, chunk);
}

static void on_epoch(void *owner, const struct capture_epoch *epoch)
{
	struct session *session = owner;

	if (session->sender == NULL || session->closing)
		return;
	epoch_captured(&session->pacer, clock_now_ns(), epoch->pause_ns);
	if (session->ops->on_captured != NULL)
		session->ops->on_captured(session->owner, epoch->epoch);
	if (!session_disks_end_epoch(&session->disks, epoch))
		on_settled(session, epoch);
}

static void on_ready(void *owner)
{
	struct session *session = owner;

	session->ready = true;
	go_on(session);
}

static bool may_run(void *owner)
{
	const struct session *session = owner;

	return session->ops->may_run(session->owner);
}

static bool has_stopped(void *owner)
{
	const struct session *session = owner;

	return session->ops->has_stopped(session->owner);
}

static const struct capture_ops capture_callbacks = {
	.may_run = may_run,
	.has_stopped = has_stopped,
	.on_layout = on_layout,
	.on_progress = on_progress,
	.on_chunk = on_chunk,
	.on_epoch = on_epoch,
	.on_ready = on_ready,
	.on_lost = lost,
};

/*
 * QEMU's own timestamps tell how long the guest stood still: what we measure ourselves lacks the
 * time it takes to stop and to start. Only pauses of checkpoints count: those while no capture runs
 * are the operator's.
 */
static void note_pause(struct session *session, const char *name, uint64_t time_us)
{
	if (strcmp(name, "STOP") == 0) {
		session->stopped_us = time_us;
	} else if (strcmp(name, "RESUME") == 0 && session->stopped_us != 0) {
		if (session->pacer.captured_ns != 0 && time_us > session->stopped_us) {
			session->last_pause_ns = (time_us - session->stopped_us) * 1000;
			status_pause(&session->pauses, session->last_pause_ns);
		}
		session->stopped_us = 0;
	}
}

void session_event(struct session *session, const char *name, const cJSON *data, uint64_t time_us)
{
	note_pause(session, name, time_us);
	session_disks_event(&session->disks, name, data);
	if (session->capture != NULL)
		capture_event(session->capture, name, data);
}

/* Connection --------------------------------------------------------------------------------- */

bool session_up(struct session *session, uint64_t peer_epoch)
{
	if (session->sender == NULL)
		return false;
	session->up = true;
	session->handed = 0;
	if (!sender_up(session->sender, peer_epoch)) {
		session->up = false;
		return false;
	}
	go_on(session);
	return true;
}

bool session_resume(struct session *session, const struct wire_received *received)
{
	if (session->sender == NULL || session->up || received->session != session->id)
		return false;
	session->up = true;
	session->handed = 0;
	session->up = sender_resume(session->sender, received->epoch, received->batches);
	if (session->up)
		go_on(session);
	return session->up;
}

/* That of another session, or of this one before it goes on, is for session_resume(). */
int session_received(struct session *session, const struct wire_received *received, struct err *err)
{
	if (session->sender == NULL || !session->up || received->session != session->id ||
	    sender_received(session->sender, received->epoch, received->batches))
		return RC_OK;
	return err_set(err, RC_INVALID, "%llu batches of epoch %llu, which were not sent",
		       (unsigned long long)received->batches, (unsigned long long)received->epoch);
}

static void end_draining(struct session *session);

void session_down(struct session *session)
{
	if (session->draining)
		end_draining(session);
	session->up = false;
	if (session->closing)
		return;
	(void)uv_timer_stop(&session->due);
	if (session->sender != NULL)
		sender_down(session->sender);
}

void session_room(struct session *session)
{
	if (session->sender != NULL && session->up)
		sender_room(session->sender);
}

static int take_ack(struct session *session, uint64_t epoch, struct err *err)
{
	uint64_t took_ns;

	if (!sender_ack(session->sender, epoch, &took_ns))
		return err_set(err, RC_INVALID,
			       "acknowledgement of epoch %llu, which is not on its way",
			       (unsigned long long)epoch);
	if (epoch == session->options.first_epoch)
		session->copied_ns = clock_now_ns();
	else
		epoch_committed(&session->pacer, took_ns);
	session->ops->on_committed(session->owner, epoch);
	arm(session);
	return RC_OK;
}

int session_frame(struct session *session, const struct wire_header *header, const uint8_t *payload,
		  struct err *err)
{
	if (session->sender == NULL)
		return err_set(err, RC_INVALID, "%s before the layout was sent",
			       wire_type_name(header->type));
	if (header->type == WIRE_ACK)
		return take_ack(session, header->epoch, err);
	assert(header->type == WIRE_HASHES);
	return hashes_take(session->sender, session->pages, payload, header->length, err);
}

/* Questions ---------------------------------------------------------------------------------- */

uint64_t session_id(const struct session *session)
{
	return session->id;
}

void session_set_term(struct session *session, uint64_t term)
{
	session->term = term;
}

void session_query(const struct session *session, struct sender_state *state)
{
	*state = (struct sender_state){ 0 };
	if (session->sender != NULL)
		sender_query(session->sender, clock_now_ns(), state);
}

bool session_is_capturing(const struct session *session)
{
	return !session->ready;
}

/* Life --------------------------------------------------------------------------------------- */

static void handle_closed(struct session *session)
{
	void (*on_closed)(void *) = session->on_closed;
	void *owner = session->owner;

	if (--session->open_handles > 0)
		return;
	mem_free(session);
	if (on_closed != NULL)
		on_closed(owner);
}

static void on_timer_closed(uv_handle_t *handle)
{
	handle_closed(handle->data);
}

int session_open(struct session **out, const struct session_options *options, struct link *link,
		 uint64_t term, const struct session_ops *ops, void *owner, struct err *err)
{
	const struct config_instance *instance = options->instance;
	struct session *session = mem_zalloc(1, sizeof(*session));
	const struct capture_options capture_options = {
		.name = instance->name,
		.first_epoch = options->first_epoch,
		.pause_limit_ms = instance->pause_limit_ms,
		.first_copy_bytes_s = instance->first_copy_mib_s << 20,
		.wait = instance->ndisks > 0,
		.hooks = session_disks_hooks(&session->disks),
	};
	int rc;

	if (session == NULL)
		return err_nomem(err, "a capture session");
	session->options = *options;
	session->ops = ops;
	session->owner = owner;
	session->link = link;
	session->term = term;
	session_disks_init(&session->disks, &session->options);
	session->up = true;
	session->opened_ns = clock_now_ns();
	session->pacer.target_ns = instance->target_ms * CLOCK_NS_PER_MS;
	session->pacer.min_ns = instance->min_ms * CLOCK_NS_PER_MS;
	session->pacer.max_ns = instance->max_ms * CLOCK_NS_PER_MS;
	if (uv_random(NULL, NULL, &session->id, sizeof(session->id), 0, NULL) != 0 ||
	    session->id == 0) {
		mem_free(session);
		return err_set(err, RC_IO, "no random number for a session");
	}
	rc = capture_open(&session->capture, options->loop, options->qmp, options->guardian,
			  options->pool, &capture_options, &capture_callbacks, session, err);
	if (rc != RC_OK) {
		mem_free(session);
		return rc;
	}
	(void)uv_timer_init(options->loop, &session->due);
	session->due.data = session;
	*out = session;
	return RC_OK;
}

static void on_sender_closed(void *owner)
{
	struct session *session = owner;

	session->sender = NULL;
	handle_closed(session);
}

/* Not before the capture is closed, because chunks come until then, nor while it is of use. */
static void close_sender(struct session *session)
{
	if (session->draining || session->capture != NULL ||
	    session_disks_are_open(&session->disks) || session->sender == NULL)
		return;
	session->open_handles++;
	sender_close(session->sender, on_sender_closed);
}

static void on_capture_closed(void *owner)
{
	struct session *session = owner;

	session->capture = NULL; /* events may still come */
	close_sender(session);
	handle_closed(session);
}

static void on_disks_closed(void *owner)
{
	struct session *session = owner;

	close_sender(session);
	handle_closed(session);
}

/* Nothing more is given out. */
static void end_draining(struct session *session)
{
	session->draining = session->up = false;
	if (session->sender != NULL)
		sender_down(session->sender);
	uv_close((uv_handle_t *)&session->due, on_timer_closed);
	close_sender(session);
}

static void on_drained(uv_timer_t *timer)
{
	struct session *session = timer->data;

	if (session->draining)
		end_draining(session);
}

/* The link has every epoch whose capture has ended. */
static bool all_handed(const struct session *session)
{
	struct sender_state state;

	session_query(session, &state);
	return state.newest == state.acknowledged || state.newest <= session->handed;
}

/* Ends the draining when it is done; from the timer, because the sender is at work. */
static void drained(struct session *session)
{
	if (session->draining && all_handed(session))
		(void)uv_timer_start(&session->due, on_drained, 0, 0);
}

void session_close(struct session *session, uint32_t drain_ms, void (*on_closed)(void *owner))
{
	if (session->closing) {
		if (session->draining && drain_ms == 0)
			end_draining(session);
		return;
	}
	session->closing = session->draining = true;
	session->on_closed = on_closed;
	session->open_handles = 2;
	if (drain_ms > 0 && session->up && link_is_up(session->link) && !all_handed(session))
		(void)uv_timer_start(&session->due, on_drained, drain_ms, 0);
	else
		end_draining(session);
	capture_close(session->capture, on_capture_closed);
	if (session_disks_close(&session->disks, on_disks_closed))
		session->open_handles++;
}
