/*
 *   OPENING -> COPYING -> PROTECTED     colo_control's begin; the end of the first epoch
 *   any of these -> RELEASING -> RELEASED -> RESTORING -> gone
 *
 * This is the loop's side: QEMU's events, time limits, and the order in which things end. The
 * stream is colo_secondary's thread, QMP is colo_control's and let_go's.
 *
 * One end of a socket pair goes to QEMU; nothing listens anywhere. Migration status "colo" (an event) is passed on to the
 * thread, which tells QEMU that its secondary is ready. From then on QEMU asks for a checkpoint 10 ms (colo_settings.c)
 * after the last one, and runs the guest until we grant it: when that is, is the owner's to say.
 *
 * Whatever goes wrong ends in RELEASING: the stream is shut down and its thread joined, the instance is set free, and only
 * then the owner is told (or closing goes on). It runs then, unless an operator had stopped it, by query-status's word, or
 * the owner does not want it to run.
 *
 * How long an instance stands for us is bounded by one timer, armed when a checkpoint is granted and when the guest stops
 * at the end of the first copy: it looks at how long the thread has held it (after another grant: not yet), and ends the
 * capture beyond the limit.
 */
#include "replica/capture.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "replica/colo_control.h"
#include "replica/colo_secondary.h"
#include "replica/colo_socket.h"
#include "replica/first_copy.h"
#include "replica/guardian.h"
#include "replica/let_go.h"
#include "replica/qmp.h"
#include "replica/standstill.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_MS 250
#define FREEZE_MARGIN_MS 500 /* beyond the pause limit, for us to notice before the guardian does */

enum state { OPENING, COPYING, PROTECTED, RELEASING, RELEASED, RESTORING, STATE_COUNT };

static const char *const state_names[] = {
	[OPENING] = "opening",	   [COPYING] = "copying",   [PROTECTED] = "protected",
	[RELEASING] = "releasing", [RELEASED] = "released", [RESTORING] = "restoring",
};
static_assert(sizeof(state_names) / sizeof(state_names[0]) == STATE_COUNT, "one for each");

struct capture {
	uv_loop_t *loop;
	struct guardian *guardian;
	struct chunk_pool *pool;
	struct capture_options options;
	const struct capture_ops *ops;
	void *owner;
	char part[96]; /* "capture NAME", for the log */

	enum state state;
	struct colo_control *control;
	struct let_go *let_go;
	struct colo_secondary *secondary;
	unsigned slot; /* the guardian's */
	bool guarded;
	int qemu_fd; /* QEMU's end, until it has it; -1 */
	uv_timer_t progress, pause;
	unsigned handles; /* open timers */

	struct first_copy first_copy;
	bool querying, entered; /* entered: migration status "colo" */
	bool stopped_early;	/* an event STOP while copying */
	struct standstill standstill;
	/* QEMU has asked for a checkpoint; the owner has; one is under way. */
	bool ready, wanted, granted;
	uint64_t opened_ns;

	struct err err; /* why it was lost; RC_OK: capture_close() */
	bool closing;
	void (*on_closed)(void *owner);
};

static void release(struct capture *capture);

static void set_state(struct capture *capture, enum state state)
{
	assert(state > capture->state);
	log_debug(capture->part, "%s -> %s", state_names[capture->state], state_names[state]);
	capture->state = state;
}

static bool alive(const struct capture *capture)
{
	return capture->state < RELEASING;
}

/* Ends the capture for the reason in capture->err. */
static void lose(struct capture *capture)
{
	if (alive(capture))
		release(capture);
}

/* ---- time limits --------------------------------------------------------------------------- */

static void on_pause_timer(uv_timer_t *timer)
{
	struct capture *capture = timer->data;
	uint64_t limit_ns = capture->options.pause_limit_ms * CLOCK_NS_PER_MS;
	uint64_t held_ns = colo_secondary_held_ns(capture->secondary);

	if (held_ns >= limit_ns) {
		(void)err_set(
			&capture->err, RC_TIMEOUT,
			"the instance stood for %.0f ms, longer than %u: staging is full, or QEMU is held up",
			clock_ms(held_ns), capture->options.pause_limit_ms);
		lose(capture);
		return;
	}
	if (held_ns > 0 || capture->granted || capture->state == COPYING)
		(void)uv_timer_start(timer, on_pause_timer,
				     (limit_ns - held_ns) / CLOCK_NS_PER_MS + 1, 0);
}

static void watch_pause(struct capture *capture)
{
	if (!uv_is_active((const uv_handle_t *)&capture->pause))
		(void)uv_timer_start(&capture->pause, on_pause_timer,
				     capture->options.pause_limit_ms + 1, 0);
}

static void judge_first_copy(struct capture *capture, const struct colo_control_progress *progress)
{
	struct first_copy_state now = {
		.now_ns = clock_now_ns(),
		.passes = progress->passes,
		.transferred = progress->transferred,
		.speed_known = colo_control_takes_speed(capture->control),
	};

	switch (first_copy_step(&capture->first_copy, &now)) {
	case FIRST_COPY_ON:
		break;
	case FIRST_COPY_RAISED:
		log_info(capture->part,
			 "first copy: pass %u, %u MiB left; the downtime limit is %u ms now",
			 (unsigned)progress->passes, (unsigned)(progress->remaining >> 20),
			 (unsigned)capture->first_copy.downtime_ms);
		colo_control_set_downtime(capture->control, capture->first_copy.downtime_ms);
		break;
	case FIRST_COPY_HOPELESS:
		(void)err_set(
			&capture->err, RC_LIMIT,
			"memory changes faster than it is copied: %u MiB left after %u passes",
			(unsigned)(progress->remaining >> 20), (unsigned)progress->passes);
		lose(capture);
	}
}

static void on_progress(void *owner, const struct colo_control_progress *progress)
{
	struct capture *capture = owner;
	uint64_t done;

	capture->querying = false;
	if (capture->state != COPYING || capture->entered || progress == NULL)
		return;
	if (capture->stopped_early && strcmp(progress->status, "active") == 0) {
		(void)err_set(&capture->err, RC_STATE,
			      "the instance was stopped during the first copy");
		lose(capture);
		return;
	}
	if (progress->total == 0)
		return;
	done = progress->remaining < progress->total ? progress->total - progress->remaining : 0;
	capture->ops->on_progress(capture->owner, done, progress->total);
	if (capture->state == COPYING)
		judge_first_copy(capture, progress);
}

static void on_progress_timer(uv_timer_t *timer)
{
	struct capture *capture = timer->data;

	if (!capture->querying)
		capture->querying = colo_control_query(capture->control, on_progress);
}

/* ---- what the stream brings ---------------------------------------------------------------- */

static void on_layout(void *owner, const struct layout *layout)
{
	struct capture *capture = owner;

	capture->ops->on_layout(capture->owner, layout);
}

static void on_chunk(void *owner, struct chunk *chunk)
{
	struct capture *capture = owner;

	capture->ops->on_chunk(capture->owner, chunk);
}

static void on_epoch(void *owner, const struct capture_epoch *epoch)
{
	struct capture *capture = owner;

	capture->granted = false;
	if (capture->state == COPYING) {
		set_state(capture, PROTECTED);
		log_info(capture->part, "first copy: %u pages in %.1f s", (unsigned)epoch->pages,
			 clock_ms(clock_now_ns() - capture->opened_ns) / 1000);
	}
	capture->ops->on_epoch(capture->owner, epoch);
}

static void grant(struct capture *capture)
{
	capture->ready = capture->wanted = false;
	capture->granted = true;
	watch_pause(capture);
	colo_secondary_checkpoint(capture->secondary);
}

static void on_request(void *owner)
{
	struct capture *capture = owner;

	capture->ready = true;
	if (!capture->wanted)
		capture->ops->on_ready(capture->owner);
	else if (!capture->standstill.stands)
		grant(capture);
}

static void on_ended(void *owner, const struct err *err)
{
	struct capture *capture = owner;

	capture->err = *err;
	lose(capture);
}

static const struct colo_secondary_ops secondary_ops = {
	.on_layout = on_layout,
	.on_chunk = on_chunk,
	.on_epoch = on_epoch,
	.on_request = on_request,
	.on_ended = on_ended,
};

/* The capture thread's. */
static void on_hold(void *owner, bool held)
{
	struct capture *capture = owner;

	if (capture->guarded)
		guardian_hold(capture->guardian, capture->slot, held);
}

/* ---- what QEMU says ------------------------------------------------------------------------ */

static void on_migration_status(struct capture *capture, const char *status)
{
	log_debug(capture->part, "migration: %s", status);
	if (strcmp(status, "colo") == 0 && !capture->entered) {
		capture->entered = true;
		(void)uv_timer_stop(&capture->progress);
		colo_secondary_entered(capture->secondary);
	} else if (strcmp(status, "cancelling") == 0 || strcmp(status, "cancelled") == 0) {
		(void)err_set(
			&capture->err, RC_CLOSED,
			"somebody else has cancelled the migration that protects the instance");
		lose(capture);
	}
	/* "failed" shows in the stream's end. */
}

static void goes_on(struct capture *capture, bool known)
{
	if (known)
		log_info(capture->part, "the instance goes on: checkpoints again");
	if (capture->ready && capture->wanted)
		grant(capture);
}

static void on_state(void *owner, const char *status)
{
	struct capture *capture = owner;
	enum standstill_news news = standstill_answer(&capture->standstill, status);

	/* While the instance is released the answer still tells how it was before. */
	if (!alive(capture))
		return;
	if (news == STANDSTILL_ASK)
		(void)colo_control_ask(capture->control, on_state);
	else if (news == STANDSTILL_FOUND && capture->ops->may_run(capture->owner))
		log_info(capture->part, "%s", standstill_reason(&capture->standstill));
	else if (news == STANDSTILL_GOES_ON)
		goes_on(capture, false);
}

static void on_stop(struct capture *capture)
{
	if (!capture->entered) {
		capture->stopped_early = true;
		if (capture->state == COPYING) {
			colo_secondary_standing(capture->secondary);
			watch_pause(capture);
		}
		return;
	}
	if (standstill_stop(&capture->standstill, colo_secondary_granted(capture->secondary)))
		(void)colo_control_ask(capture->control, on_state);
}

static void on_resume(struct capture *capture)
{
	bool known = standstill_reason(&capture->standstill) != NULL;

	capture->stopped_early = false;
	if (standstill_resume(&capture->standstill))
		goes_on(capture, known);
}

void capture_event(struct capture *capture, const char *name, const cJSON *data)
{
	const char *status = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(data, "status"));

	if (let_go_event(capture->let_go, name) && capture->state == RELEASING)
		(void)standstill_resume(&capture->standstill);
	if (!alive(capture))
		return;
	if (strcmp(name, "MIGRATION") == 0 && status != NULL)
		on_migration_status(capture, status);
	else if (strcmp(name, "STOP") == 0)
		on_stop(capture);
	else if (strcmp(name, "RESUME") == 0)
		on_resume(capture);
}

void capture_checkpoint(struct capture *capture)
{
	if (!alive(capture))
		return;
	capture->wanted = true;
	if (capture->ready && !capture->standstill.stands)
		grant(capture);
}

const char *capture_standing(const struct capture *capture)
{
	if (capture->state == RELEASING)
		return let_go_waits(capture->let_go);
	return alive(capture) && capture->ops->may_run(capture->owner) ?
		       standstill_reason(&capture->standstill) :
		       NULL;
}

/* ---- the end ------------------------------------------------------------------------------- */

static void on_timer_closed(uv_handle_t *handle)
{
	struct capture *capture = handle->data;
	void (*on_closed)(void *owner) = capture->on_closed;
	void *owner = capture->owner;

	if (--capture->handles > 0)
		return;
	mem_free(capture);
	if (on_closed != NULL)
		on_closed(owner);
}

static void on_control_closed(void *owner)
{
	struct capture *capture = owner;

	uv_close((uv_handle_t *)&capture->progress, on_timer_closed);
	uv_close((uv_handle_t *)&capture->pause, on_timer_closed);
}

static void on_let_go_closed(void *owner)
{
	struct capture *capture = owner;

	colo_control_close(capture->control, on_control_closed);
}

static void on_secondary_closed(void *owner)
{
	struct capture *capture = owner;

	let_go_close(capture->let_go, on_let_go_closed);
}

static void on_restored(void *owner, const struct err *err)
{
	struct capture *capture = owner;

	if (err != NULL && err->code != RC_CLOSED && err->code != RC_STATE)
		log_warn(capture->part, "%s", err->text);
	colo_secondary_close(capture->secondary, on_secondary_closed);
}

static void restore(struct capture *capture)
{
	set_state(capture, RESTORING);
	colo_control_restore(capture->control, on_restored);
}

/* Nothing of the instance is ours any more. `status`: query-status's; "": QEMU does not say. */
static void gone(struct capture *capture, const char *status)
{
	if (*status != '\0' && capture->closing)
		log_info(capture->part, "let go: the instance is \"%s\"", status);
	else if (*status != '\0')
		(void)err_append(&capture->err, "; the instance is \"%s\"", status);
	if (capture->guarded)
		guardian_unwatch(capture->guardian, capture->slot);
	capture->guarded = false;
	if (capture->qemu_fd >= 0)
		(void)close(capture->qemu_fd);
	capture->qemu_fd = -1;
	set_state(capture, RELEASED);
	if (capture->closing)
		restore(capture);
	else
		capture->ops->on_lost(capture->owner, &capture->err);
}

static bool is_to_stand(void *owner)
{
	struct capture *capture = owner;

	if (capture->ops->has_stopped(capture->owner))
		capture->standstill.by_hand = false;
	return capture->standstill.by_hand || !capture->ops->may_run(capture->owner);
}

/* The instance goes on without us, or its QEMU is gone. */
static void on_let_go(void *owner, const struct colo_release_end *end)
{
	struct capture *capture = owner;

	if (end->err != NULL && (end->err->code == RC_TIMEOUT || end->err->code == RC_REFUSED)) {
		log_error(capture->part, "%s", end->err->text);
		capture->err = *end->err;
	}
	if (end->why != NULL && capture->err.code == RC_CLOSED)
		(void)err_append(&capture->err, ": %s", end->why);
	if (end->continued)
		log_warn(capture->part, "QEMU had left the instance standing: told it to go on");
	gone(capture, end->status);
}

static const struct let_go_ops let_go_callbacks = { is_to_stand, on_let_go };

static void on_halted(void *owner)
{
	struct capture *capture = owner;

	if (colo_secondary_granted(capture->secondary) > 0)
		let_go_ready(capture->let_go);
	if (colo_control_migrating(capture->control))
		let_go_begin(capture->let_go);
	else
		gone(capture, ""); /* it was not touched */
}

static void release(struct capture *capture)
{
	set_state(capture, RELEASING);
	(void)uv_timer_stop(&capture->progress);
	(void)uv_timer_stop(&capture->pause);
	colo_secondary_stop(capture->secondary);
	colo_control_halt(capture->control, on_halted);
}

void capture_close(struct capture *capture, void (*on_closed)(void *owner))
{
	if (capture->closing)
		return;
	capture->closing = true;
	capture->on_closed = on_closed;
	if (alive(capture))
		release(capture);
	else if (capture->state == RELEASED)
		restore(capture);
}

void capture_go(struct capture *capture)
{
	colo_secondary_go(capture->secondary);
}

/* ---- the beginning ------------------------------------------------------------------------- */

static void on_begun(void *owner, const struct err *err)
{
	struct capture *capture = owner;

	(void)close(capture->qemu_fd);
	capture->qemu_fd = -1;
	if (err != NULL) {
		capture->err = *err;
		lose(capture);
		return;
	}
	set_state(capture, COPYING);
	(void)uv_timer_start(&capture->progress, on_progress_timer, PROGRESS_MS, PROGRESS_MS);
}

static int start_secondary(struct capture *capture, struct qmp *qmp, int fd, struct err *err)
{
	struct colo_secondary_options options = {
		.fd = fd,
		.first_epoch = capture->options.first_epoch,
		.hold = on_hold,
		.wait = capture->options.wait,
		.hooks = capture->options.hooks,
	};
	int rc = RC_OK;

	if (capture->guardian != NULL)
		rc = guardian_watch(capture->guardian, capture->options.name, qmp_fd(qmp), fd,
				    capture->options.pause_limit_ms + FREEZE_MARGIN_MS,
				    &capture->slot, err);
	capture->guarded = rc == RC_OK && capture->guardian != NULL;
	if (rc == RC_OK)
		rc = colo_secondary_start(&capture->secondary, capture->loop, capture->pool,
					  &options, &secondary_ops, capture, err);
	if (rc != RC_OK && capture->guarded)
		guardian_unwatch(capture->guardian, capture->slot);
	return rc;
}

static int start(struct capture *capture, struct qmp *qmp, struct err *err)
{
	int fds[2], rc = colo_socket_pair(fds, err);

	if (rc != RC_OK)
		return rc;
	rc = colo_control_create(&capture->control, capture->loop, qmp, capture, err);
	if (rc == RC_OK)
		rc = let_go_create(&capture->let_go, capture->loop, qmp, capture->part,
				   &let_go_callbacks, capture, err);
	if (rc == RC_OK)
		rc = start_secondary(capture, qmp, fds[0], err);
	if (rc == RC_OK) {
		capture->qemu_fd = fds[1];
		return RC_OK;
	}
	if (capture->let_go != NULL)
		let_go_close(capture->let_go, NULL);
	if (capture->control != NULL)
		colo_control_close(capture->control, NULL);
	(void)close(fds[0]);
	(void)close(fds[1]);
	return rc;
}

int capture_open(struct capture **out, uv_loop_t *loop, struct qmp *qmp, struct guardian *guardian,
		 struct chunk_pool *pool, const struct capture_options *options,
		 const struct capture_ops *ops, void *owner, struct err *err)
{
	struct capture *capture = mem_zalloc(1, sizeof(*capture));
	struct colo_settings settings = { .copy_bytes_s = options->first_copy_bytes_s };
	size_t ready;
	int rc;

	if (capture == NULL)
		return err_nomem(err, "capture");
	capture->loop = loop;
	capture->guardian = guardian;
	capture->pool = pool;
	capture->options = *options;
	capture->ops = ops;
	capture->owner = owner;
	capture->opened_ns = clock_now_ns();
	(void)snprintf(capture->part, sizeof(capture->part), "capture %s", options->name);
	rc = start(capture, qmp, err);
	if (rc != RC_OK) {
		mem_free(capture);
		return rc;
	}
	(void)uv_timer_init(loop, &capture->progress); /* cannot fail */
	(void)uv_timer_init(loop, &capture->pause);
	capture->progress.data = capture->pause.data = capture;
	capture->handles = 2;
	ready = colo_secondary_reserve(pool) * CHUNK_BYTES;
	/* What QEMU has already sent comes before the rest. */
	ready -= ready > COLO_SOCKET_BYTES ? COLO_SOCKET_BYTES : ready;
	first_copy_init(&capture->first_copy, ready, options->pause_limit_ms);
	settings.downtime_ms = capture->first_copy.downtime_ms;
	colo_control_begin(capture->control, capture->qemu_fd, &settings, on_begun);
	*out = capture;
	return RC_OK;
}
