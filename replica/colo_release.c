/*
 * Theory of operation
 *
 * The stream has been shut down, and that is what ends a migration: QEMU notices when it writes or
 * reads next.
 *
 *   migration status        what is done, again and again until the instance is seen to go on
 *   setup ... device        nothing: it is about to fail, or to become "colo"
 *   colo                    x-colo-lost-heartbeat
 *   any other               query-status: if the run state is not one of a migration, that was it
 *
 * An instance that stays in such a run state for CONT_MS after the migration, or is in one when
 * COLO_RELEASE_MS are over, was left there by QEMU and not stopped by anybody: it is told to go on,
 * once. One that is "paused" was stopped by somebody and stays so.
 *
 * Nobody else frees an instance that stands, so there is no giving up while it does: the wait
 * between two rounds grows with the time that they have taken. Only time in which QEMU answers
 * counts as such; one that was stopped (SIGSTOP, a debugger) or stood in slow storage for a minute
 * is met as if nothing had been. Meanwhile it always has one question of ours to answer when it
 * goes on, put again after QMP_COMMAND_MS, which is seldom enough for its socket to take them for
 * three quarters of an hour. Then the connection is given up (qmp.c), and whoever makes another one
 * finds the instance in COLO (subject.c).
 *
 * Never migrate_cancel: QEMU (10.0) takes it in status "colo" too, and in the moments before, and
 * then waits for ever for an x-colo-lost-heartbeat that it refuses because its status is no longer
 * "colo". The instance could not be saved.
 *
 * A failed migration has still to clean up when its status says "failed", and a new one that began
 * then would meet the rest of the old one: hence CLEANUP_MS.
 *
 * x-colo-lost-heartbeat aborts a QEMU (10.0, assertion) whose status is "colo" but whose COLO
 * thread has not made its events yet. It has made them when it asks for a checkpoint, or sends the
 * event COLO_EXIT, which it does soon after the stream is shut down. Where neither was seen the
 * command waits for SETTLE_MS.
 */
#include "replica/colo_release.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/base/words.h"

#include <stdio.h>
#include <string.h>

#define POLL_MS_MIN 2
#define POLL_MS_MAX 1000
#define POLL_SHARE 32  /* the wait between two rounds: this share of what they took so far */
#define SILENT_MS 1000 /* an answer that takes longer is silence, and said to be */
#define CLEANUP_MS 20
#define STUCK_MS 1000 /* a cancelled migration cleans up in milliseconds */
#define CONT_MS 1000  /* QEMU sets an instance running within milliseconds of the migration's end */
#define FREE_MS 1000  /* many times what QEMU needs to end a migration that it has left */
#define SETTLE_MS 200 /* many times what a thread needs to get from one lock to the next */

struct colo_release {
	struct qmp *qmp;
	const char *part;
	void *owner;
	uv_timer_t timer;
	unsigned open; /* commands without a reply */

	void (*done)(void *owner, const struct colo_release_end *end);
	bool going;			       /* begun, and not done */
	uint64_t begin_ns, asked_ns, heard_ns; /* the last question, the last answer */
	uint64_t silent_ns;		       /* of the time since it began */
	bool silent, slow;		       /* which is in the log */
	uint64_t left_ns; /* answering_ns() when first seen in a migration's run state after it */
	uint64_t free_ns; /* and when first seen in none, with COLO_RELEASE_MS over */
	bool ready, failed, stuck, over, continued;
	char why[256], status[32], run_state[32]; /* status: of the migration; as last heard */

	bool closing, timer_closed;
	void (*on_closed)(void *owner);
};

int colo_release_create(struct colo_release **out, uv_loop_t *loop, struct qmp *qmp,
			const char *part, void *owner, struct err *err)
{
	struct colo_release *release = mem_zalloc(1, sizeof(*release));

	if (release == NULL)
		return err_nomem(err, "COLO release");
	release->qmp = qmp;
	release->part = part;
	release->owner = owner;
	(void)uv_timer_init(loop, &release->timer); /* cannot fail */
	release->timer.data = release;
	*out = release;
	return RC_OK;
}

void colo_release_ready(struct colo_release *release)
{
	release->ready = true;
}

static void free_if_idle(struct colo_release *release)
{
	void (*on_closed)(void *owner) = release->on_closed;
	void *owner = release->owner;

	if (!release->timer_closed || release->open > 0)
		return;
	mem_free(release);
	if (on_closed != NULL)
		on_closed(owner);
}

/* Every reply comes through here first; false: nobody wants it any more. */
static bool reply_wanted(struct colo_release *release)
{
	release->open--;
	if (!release->closing)
		return true;
	free_if_idle(release);
	return false;
}

static void ignore_reply(void *owner, const cJSON *reply, const struct err *err)
{
	(void)reply;
	(void)err;
	(void)reply_wanted(owner);
}

static int execute(struct colo_release *release, const char *command, qmp_reply_cb cb,
		   struct err *err)
{
	int rc = qmp_execute(release->qmp, command, NULL, cb, release, err);

	if (rc == RC_OK)
		release->open++;
	return rc;
}

/* What comes of it shows when the state is asked for again. */
static void tell(struct colo_release *release, const char *command)
{
	struct err err;

	(void)execute(release, command, ignore_reply, &err);
}

static const char *text_of(const cJSON *object, const char *name)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));

	return text != NULL ? text : "";
}

static void end(struct colo_release *release, const struct err *err)
{
	const struct colo_release_end end = {
		.err = err,
		.why = release->why[0] != '\0' ? release->why : NULL,
		.status = release->run_state,
		.continued = release->continued,
	};

	release->going = false;
	(void)uv_timer_stop(&release->timer);
	release->done(release->owner, &end);
}

static void end_late(struct colo_release *release)
{
	struct err err;

	(void)err_set(&err, RC_TIMEOUT, "QEMU has not ended its migration within %d s (%s)",
		      COLO_RELEASE_MS / 1000, release->status);
	end(release, &err);
}

/* Over, but for QEMU, which cannot take another migration. */
static void end_stuck(struct colo_release *release)
{
	struct err err;

	(void)err_set(&err, RC_REFUSED,
		      "QEMU cannot end the migration that somebody has cancelled: it has to be "
		      "restarted before it can be protected again");
	end(release, &err);
}

/* ---- time ---------------------------------------------------------------------------------- */

static bool longer_than(uint64_t span_ns, uint64_t ms)
{
	return span_ns > ms * CLOCK_NS_PER_MS;
}

/* How long QEMU has been answering for. */
static uint64_t answering_ns(const struct colo_release *release)
{
	return clock_now_ns() - release->begin_ns - release->silent_ns;
}

static bool is_late(const struct colo_release *release)
{
	return longer_than(answering_ns(release), COLO_RELEASE_MS);
}

const char *colo_release_waits(const struct colo_release *release)
{
	if (!release->going)
		return NULL;
	if (release->asked_ns != 0 && longer_than(clock_now_ns() - release->heard_ns, SILENT_MS))
		return "QEMU does not answer: the instance is let go as soon as it does";
	return release->slow ? "QEMU does not let the instance go: it is told again and again" :
			       NULL;
}

/* ---- asking, over and over ----------------------------------------------------------------- */

static void ask(struct colo_release *release);

static void on_timer(uv_timer_t *timer)
{
	ask(timer->data);
}

static void ask_in(struct colo_release *release, uint64_t ms)
{
	(void)uv_timer_start(&release->timer, on_timer, ms, 0);
}

static void ask_again(struct colo_release *release)
{
	uint64_t ms = answering_ns(release) / CLOCK_NS_PER_MS / POLL_SHARE;

	ms = ms > POLL_MS_MIN ? ms : POLL_MS_MIN;
	ask_in(release, ms < POLL_MS_MAX ? ms : POLL_MS_MAX);
}

/* A question could not be put, or has no answer: there may be one next time, if QMP still is. */
static void unanswered(struct colo_release *release, const struct err *err)
{
	if (err->code == RC_CLOSED || err->code == RC_STATE || err->code == RC_CANCELLED)
		end(release, err);
	else
		ask_again(release);
}

static void put(struct colo_release *release, const char *question, qmp_reply_cb cb)
{
	struct err err;

	release->asked_ns = clock_now_ns();
	if (execute(release, question, cb, &err) != RC_OK)
		unanswered(release, &err);
}

/* Of a question's reply. False: it is no answer, and has been dealt with. */
static bool answered(struct colo_release *release, const struct err *err)
{
	const uint64_t now_ns = clock_now_ns(), took_ns = now_ns - release->asked_ns;

	if (longer_than(took_ns, SILENT_MS))
		release->silent_ns += took_ns;
	release->asked_ns = 0;
	if (err != NULL && err->code == RC_TIMEOUT) {
		if (!release->silent)
			log_error(release->part,
				  "%s: the instance is let go as soon as QEMU answers", err->text);
		release->silent = true;
		ask_in(release, 0);
		return false;
	}
	if (err != NULL) {
		unanswered(release, err);
		return false;
	}
	if (release->silent)
		log_warn(release->part, "QEMU answers again, after %.0f s",
			 clock_ms(now_ns - release->heard_ns) / 1000);
	release->silent = false;
	release->heard_ns = now_ns;
	return true;
}

/* In no run state of a migration, which may be over by now. */
static void free_of_it(struct colo_release *release)
{
	const uint64_t now_ns = answering_ns(release);

	if (release->free_ns == 0)
		release->free_ns = now_ns;
	if (longer_than(now_ns - release->free_ns, FREE_MS))
		end_late(release);
	else
		ask_again(release);
}

/* In a migration's run state, and the migration is over or does not end. */
static void left_standing(struct colo_release *release)
{
	const uint64_t now_ns = answering_ns(release);
	const bool late = is_late(release);

	if (release->left_ns == 0)
		release->left_ns = now_ns;
	if (late && !release->slow)
		log_error(release->part,
			  "QEMU has not let the instance go within %d s (%s, migration: %s): it is "
			  "told again and again",
			  COLO_RELEASE_MS / 1000, release->run_state, release->status);
	release->slow = late;
	release->free_ns = 0;
	if (strcmp(release->run_state, "postmigrate") == 0 ||
	    (!release->continued && (late || longer_than(now_ns - release->left_ns, CONT_MS)))) {
		release->continued = true;
		tell(release, "cont");
	}
	ask_again(release);
}

static void on_status(void *owner, const cJSON *reply, const struct err *err)
{
	/* A migration puts an instance into these; it does not stay in them. */
	static const char *const passing[] = { "colo", "finish-migrate", "postmigrate" };
	struct colo_release *release = owner;

	if (!reply_wanted(release))
		return;
	(void)snprintf(release->run_state, sizeof(release->run_state), "%s",
		       text_of(reply, "status"));
	if (!answered(release, err))
		return;
	if (WORDS_ONE_OF(release->run_state, passing))
		left_standing(release);
	else if (!release->over)
		free_of_it(release);
	else if (release->stuck)
		end_stuck(release);
	else
		end(release, NULL);
}

static void ask_status(struct colo_release *release)
{
	put(release, "query-status", on_status);
}

/* How the instance fares meanwhile is asked only when it takes too long. */
static void not_over(struct colo_release *release)
{
	if (is_late(release))
		ask_status(release);
	else
		ask_again(release);
}

static void leave_colo(struct colo_release *release)
{
	if (longer_than(answering_ns(release), SETTLE_MS))
		release->ready = true;
	if (release->ready)
		tell(release, "x-colo-lost-heartbeat");
	not_over(release);
}

static void on_migration(void *owner, const cJSON *reply, const struct err *err)
{
	static const char *const under_way[] = { "setup",  "active",	  "pre-switchover",
						 "device", "wait-unplug", "cancelling" };
	struct colo_release *release = owner;
	const char *status = text_of(reply, "status");

	if (!reply_wanted(release) || !answered(release, err))
		return;
	(void)snprintf(release->status, sizeof(release->status), "%s", status);
	release->stuck =
		strcmp(status, "cancelling") == 0 && longer_than(answering_ns(release), STUCK_MS);
	release->over =
		release->stuck || (strcmp(status, "colo") != 0 && !WORDS_ONE_OF(status, under_way));
	if (strcmp(status, "failed") == 0 && !release->failed) {
		release->failed = true;
		(void)snprintf(release->why, sizeof(release->why), "%s",
			       text_of(reply, "error-desc"));
		ask_in(release, CLEANUP_MS);
	} else if (release->over) {
		ask_status(release);
	} else if (strcmp(status, "colo") == 0) {
		leave_colo(release);
	} else {
		not_over(release);
	}
}

static void ask(struct colo_release *release)
{
	put(release, "query-migrate", on_migration);
}

void colo_release_begin(struct colo_release *release,
			void (*done)(void *owner, const struct colo_release_end *end))
{
	release->done = done;
	release->going = true;
	release->begin_ns = release->heard_ns = clock_now_ns();
	/* If the instance stands inside a checkpoint this is what counts. */
	if (release->ready)
		tell(release, "x-colo-lost-heartbeat");
	ask_in(release, 0);
}

/* ---- end ----------------------------------------------------------------------------------- */

static void on_timer_closed(uv_handle_t *handle)
{
	struct colo_release *release = handle->data;

	release->timer_closed = true;
	free_if_idle(release);
}

void colo_release_close(struct colo_release *release, void (*on_closed)(void *owner))
{
	release->closing = true;
	release->on_closed = on_closed;
	uv_close((uv_handle_t *)&release->timer, on_timer_closed);
}
