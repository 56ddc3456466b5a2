/*
 * Theory of operation
 *
 * The stream has been shut down, and that is what ends a migration: QEMU notices when it writes or
 * reads next.
 *
 *   migration status        what is done, again every POLL_MS until the instance is seen to go on
 *   setup ... device        nothing: it is about to fail, or to become "colo"
 *   colo                    x-colo-lost-heartbeat
 *   any other               query-status: if the run state is not one of a migration, that was it
 *
 * An instance that stays in such a run state for CONT_MS after the migration, or is in one when
 * COLO_RELEASE_MS are over, was left there by QEMU and not stopped by anybody: it is told to go on,
 * once. One that is "paused" was stopped by somebody and stays so.
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
#include "appliance/base/mem.h"

#include <stdio.h>
#include <string.h>

#define POLL_MS 2
#define CLEANUP_MS 20
#define STUCK_MS 1000 /* a cancelled migration cleans up in milliseconds */
#define CONT_MS 1000  /* QEMU sets an instance running within milliseconds of the migration's end */
#define LAST_MS 100   /* after the last "cont", before the last question */
#define SETTLE_MS 200 /* many times what a thread needs to get from one lock to the next */

struct colo_release {
	struct qmp *qmp;
	void *owner;
	uv_timer_t timer;
	unsigned open; /* commands without a reply */

	void (*done)(void *owner, const struct colo_release_end *end);
	uint64_t begin_ns, left_ns; /* left: first seen in a migration's run state after it */
	bool ready, failed, stuck, late, continued;
	char why[256], status[32], run_state[32]; /* status: of the migration; as last heard */

	bool closing, timer_closed;
	void (*on_closed)(void *owner);
};

int colo_release_create(struct colo_release **out, uv_loop_t *loop, struct qmp *qmp, void *owner,
			struct err *err)
{
	struct colo_release *release = mem_zalloc(1, sizeof(*release));

	if (release == NULL)
		return err_nomem(err, "COLO release");
	release->qmp = qmp;
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

static bool one_of(const char *text, const char *const *names, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (strcmp(text, names[i]) == 0)
			return true;
	}
	return false;
}

static void end(struct colo_release *release, const struct err *err)
{
	const struct colo_release_end end = {
		.err = err,
		.why = release->why[0] != '\0' ? release->why : NULL,
		.status = release->run_state,
		.continued = release->continued,
	};

	(void)uv_timer_stop(&release->timer);
	release->done(release->owner, &end);
}

static void end_late(struct colo_release *release)
{
	struct err err;

	(void)err_set(&err, RC_TIMEOUT,
		      "QEMU has not let the instance go within %d s (migration: %s)",
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

/* In a migration's run state, and the migration is over or does not end. */
static void left_standing(struct colo_release *release)
{
	const uint64_t now_ns = clock_now_ns();

	if (release->left_ns == 0)
		release->left_ns = now_ns;
	if (release->late && release->continued) {
		end_late(release);
		return;
	}
	if (release->late || strcmp(release->run_state, "postmigrate") == 0 ||
	    (!release->continued && now_ns - release->left_ns > CONT_MS * CLOCK_NS_PER_MS)) {
		release->continued = true;
		tell(release, "cont");
	}
	ask_in(release, release->late ? LAST_MS : POLL_MS);
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
	if (err != NULL)
		end(release, err);
	else if (one_of(release->run_state, passing, sizeof(passing) / sizeof(passing[0])))
		left_standing(release);
	else if (release->late)
		end_late(release);
	else if (release->stuck)
		end_stuck(release);
	else
		end(release, NULL);
}

static void leave_colo(struct colo_release *release)
{
	if (clock_now_ns() - release->begin_ns > SETTLE_MS * CLOCK_NS_PER_MS)
		release->ready = true;
	if (release->ready)
		tell(release, "x-colo-lost-heartbeat");
	ask_in(release, POLL_MS);
}

static void on_migration(void *owner, const cJSON *reply, const struct err *err)
{
	static const char *const under_way[] = { "setup",  "active",	  "pre-switchover",
						 "device", "wait-unplug", "cancelling" };
	struct colo_release *release = owner;
	const char *status = text_of(reply, "status");
	struct err failed;

	if (!reply_wanted(release))
		return;
	(void)snprintf(release->status, sizeof(release->status), "%s", status);
	release->stuck = release->stuck && strcmp(status, "cancelling") == 0;
	if (err != NULL) {
		end(release, err);
	} else if (strcmp(status, "failed") == 0 && !release->failed) {
		release->failed = true;
		(void)snprintf(release->why, sizeof(release->why), "%s",
			       text_of(reply, "error-desc"));
		ask_in(release, CLEANUP_MS);
	} else if (strcmp(status, "colo") == 0) {
		leave_colo(release);
	} else if (one_of(status, under_way, sizeof(under_way) / sizeof(under_way[0])) &&
		   !release->stuck) {
		release->stuck = strcmp(status, "cancelling") == 0 &&
				 clock_now_ns() - release->begin_ns > STUCK_MS * CLOCK_NS_PER_MS;
		ask_in(release, POLL_MS);
	} else if (execute(release, "query-status", on_status, &failed) != RC_OK) {
		end(release, &failed);
	}
}

static void ask(struct colo_release *release)
{
	struct err err;

	release->late = clock_now_ns() - release->begin_ns > COLO_RELEASE_MS * CLOCK_NS_PER_MS;
	if (execute(release, release->late ? "query-status" : "query-migrate",
		    release->late ? on_status : on_migration, &err) != RC_OK)
		end(release, &err);
}

void colo_release_begin(struct colo_release *release,
			void (*done)(void *owner, const struct colo_release_end *end))
{
	release->done = done;
	release->begin_ns = clock_now_ns();
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
