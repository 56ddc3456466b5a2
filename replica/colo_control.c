/*
 * Theory of operation
 *
 * A chain is a table of steps; a step sends one command, its reply runs the step's reader and then the next step. Only one chain runs at a time; a
 * release takes over from a chain under way when that one's open reply arrives.
 *
 * Release:
 *
 *   migration status        what is done, again every POLL_MS until the instance is seen to go on
 *   setup ... device        migrate_cancel
 *   colo                    x-colo-lost-heartbeat
 *   cancelling              nothing
 *   any other               query-status: if the run state is not one of a migration, that was it
 *
 * The stream is left open meanwhile where that is possible: a cancelled migration is over when its status says so, one that failed (because the
 * stream was cut) has still to clean up when its status says so, and a new one that begins then would meet the rest of the old one: hence CLEANUP_MS.
 * It is cut when QEMU does not answer, for it may be writing to it with its big lock taken.
 *
 * x-colo-lost-heartbeat aborts a QEMU (10.0, assertion) whose status is "colo" but whose COLO thread has not made its events yet. It has made them when
 * it asks for a checkpoint, or sends the event COLO_EXIT, which it does soon after the stream is cut. Where neither was seen the command
 * waits for SETTLE_MS.
 */
#include "replica/colo_control.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define FD_NAME "understudy-colo" /* in QEMU's list for this monitor; a second one of the name replaces the first */
#define POLL_MS 2
#define CUT_MS 300
#define CLEANUP_MS 20
#define SETTLE_MS 200 /* many times what a thread needs to get from one lock to the next */

enum chain { CHAIN_NONE, CHAIN_BEGIN, CHAIN_RELEASE, CHAIN_RESTORE };

struct colo_control {
	struct qmp *qmp;
	void *owner;
	uv_timer_t timer;
	unsigned open; /* commands without a reply */
	enum chain chain;
	unsigned step;
	bool release_next; /* a release waits for the open reply of this chain */
	struct err err; /* for a deferred answer */
	colo_control_cb done;

	int fd;
	struct colo_settings settings;
	struct colo_settings_change capabilities, parameters;
	bool leftover, takes_speed, capabilities_set, parameters_set, migrating;

	void (*progress_done)(void *owner, const struct colo_control_progress *progress);

	void (*released)(void *owner, const struct err *err, const char *why);
	void (*cut)(void *owner); /* shuts the stream down; NULL: done */
	uint64_t release_ns, cut_ns;
	bool colo_ready; /* x-colo-lost-heartbeat is safe */
	bool failed;
	char why[256];

	void (*on_closed)(void *owner);
	uv_timer_t cut_timer;
	bool closing;
	unsigned timers;
};

static void next_step(struct colo_control *control);
static void start_release(struct colo_control *control);
static void release_query(struct colo_control *control);

int colo_control_create(struct colo_control **out, uv_loop_t *loop, struct qmp *qmp, void *owner, struct err *err)
{
	struct colo_control *control = mem_zalloc(1, sizeof(*control));

	if (control == NULL)
		return err_nomem(err, "COLO control");
	(void)uv_timer_init(loop, &control->timer); /* cannot fail */
	(void)uv_timer_init(loop, &control->cut_timer);
	control->timer.data = control->cut_timer.data = control;
	control->timers = 2;
	control->qmp = qmp;
	control->owner = owner;
	*out = control;
	return RC_OK;
}

/* ---- one command ----------------------------------------------------------------------------- */

static void free_if_idle(struct colo_control *control)
{
	void (*on_closed)(void *owner) = control->on_closed;
	void *owner = control->owner;

	if (!control->closing || control->timers > 0 || control->open > 0)
		return;
	cJSON_Delete(control->capabilities.ours);
	cJSON_Delete(control->capabilities.theirs);
	cJSON_Delete(control->parameters.ours);
	cJSON_Delete(control->parameters.theirs);
	mem_free(control);
	if (on_closed != NULL)
		on_closed(owner);
}

/* Every reply comes through here first; false: nobody wants it any more. */
static bool reply_wanted(struct colo_control *control)
{
	control->open--;
	if (!control->closing)
		return true;
	free_if_idle(control);
	return false;
}

static int execute(struct colo_control *control, const char *command, cJSON *arguments, qmp_reply_cb cb, struct err *err)
{
	int rc = qmp_execute(control->qmp, command, arguments, cb, control, err);

	if (rc == RC_OK)
		control->open++;
	return rc;
}

static void ignore_reply(void *owner, const cJSON *reply, const struct err *err)
{
	(void)reply;
	(void)err;
	(void)reply_wanted(owner);
}

static const char *text_of(const cJSON *object, const char *name)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));

	return text != NULL ? text : "";
}

static uint64_t number_of(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsNumber(item) && item->valuedouble > 0 && item->valuedouble < 1e18 ? (uint64_t)item->valuedouble : 0;
}

/* ---- chains ---------------------------------------------------------------------------------- */

struct step {
	const char *what; /* for errors */
	int (*send)(struct colo_control *control, qmp_reply_cb cb, struct err *err);
	int (*read)(struct colo_control *control, const cJSON *reply, struct err *err); /* may be NULL */
};

static void end_chain(struct colo_control *control, const struct err *err)
{
	colo_control_cb done = control->done;

	control->chain = CHAIN_NONE;
	control->done = NULL;
	done(control->owner, err);
}

static void on_deferred(uv_timer_t *timer)
{
	struct colo_control *control = timer->data;

	if (control->release_next)
		start_release(control);
	else
		end_chain(control, control->err.code != RC_OK ? &control->err : NULL);
}

/* The answer may not come from inside the caller's function. */
static void end_chain_later(struct colo_control *control)
{
	(void)uv_timer_start(&control->timer, on_deferred, 0, 0);
}

static int send_query_status(struct colo_control *control, qmp_reply_cb cb, struct err *err)
{
	return execute(control, "query-status", NULL, cb, err);
}

static int read_status(struct colo_control *control, const cJSON *reply, struct err *err)
{
	(void)control;
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(reply, "running")))
		return RC_OK;
	return err_set(err, RC_STATE, "the instance is \"%s\"; it has to run when protection begins", text_of(reply, "status"));
}

static int send_query_capabilities(struct colo_control *control, qmp_reply_cb cb, struct err *err)
{
	return execute(control, "query-migrate-capabilities", NULL, cb, err);
}

static int read_capabilities(struct colo_control *control, const cJSON *reply, struct err *err)
{
	return colo_settings_capabilities(reply, &control->capabilities, &control->leftover, err);
}

static int send_query_parameters(struct colo_control *control, qmp_reply_cb cb, struct err *err)
{
	return execute(control, "query-migrate-parameters", NULL, cb, err);
}

static int read_parameters(struct colo_control *control, const cJSON *reply, struct err *err)
{
	control->takes_speed = cJSON_HasObjectItem(reply, "avail-switchover-bandwidth");
	return colo_settings_parameters(reply, &control->settings, control->leftover, &control->parameters, err);
}

/* `arguments` is used up. */
static int send_settings(struct colo_control *control, const char *command, cJSON **arguments, qmp_reply_cb cb,
			 struct err *err)
{
	cJSON *taken = *arguments;

	*arguments = NULL;
	return execute(control, command, taken, cb, err);
}

static int send_capabilities(struct colo_control *control, qmp_reply_cb cb, struct err *err)
{
	control->capabilities_set = true;
	return send_settings(control, "migrate-set-capabilities", &control->capabilities.ours, cb, err);
}

static int send_parameters(struct colo_control *control, qmp_reply_cb cb, struct err *err)
{
	control->parameters_set = true;
	return send_settings(control, "migrate-set-parameters", &control->parameters.ours, cb, err);
}

static int send_fd(struct colo_control *control, qmp_reply_cb cb, struct err *err)
{
	int rc = qmp_send_fd(control->qmp, FD_NAME, control->fd, cb, control, err);

	if (rc == RC_OK)
		control->open++;
	return rc;
}

static int send_migrate(struct colo_control *control, qmp_reply_cb cb, struct err *err)
{
	cJSON *arguments = cJSON_CreateObject();

	if (cJSON_AddStringToObject(arguments, "uri", "fd:" FD_NAME) == NULL) {
		cJSON_Delete(arguments);
		return err_nomem(err, "migrate");
	}
	control->migrating = true;
	return execute(control, "migrate", arguments, cb, err);
}

static int send_old_capabilities(struct colo_control *control, qmp_reply_cb cb, struct err *err)
{
	return send_settings(control, "migrate-set-capabilities", &control->capabilities.theirs, cb, err);
}

static int send_old_parameters(struct colo_control *control, qmp_reply_cb cb, struct err *err)
{
	return send_settings(control, "migrate-set-parameters", &control->parameters.theirs, cb, err);
}

static const struct step begin_steps[] = {
	{ "state", send_query_status, read_status },
	{ "capabilities", send_query_capabilities, read_capabilities },
	{ "parameters", send_query_parameters, read_parameters },
	{ "setting capabilities", send_capabilities, NULL },
	{ "setting parameters", send_parameters, NULL },
	{ "passing the stream", send_fd, NULL },
	{ "migrate", send_migrate, NULL },
};

/* What could not be put back is no reason to leave the rest. */
static const struct step restore_steps[] = {
	{ "restoring capabilities", send_old_capabilities, NULL },
	{ "restoring parameters", send_old_parameters, NULL },
};

static const struct step *step_of(const struct colo_control *control)
{
	if (control->chain == CHAIN_BEGIN)
		return control->step < sizeof(begin_steps) / sizeof(begin_steps[0]) ? &begin_steps[control->step] : NULL;
	return control->step < sizeof(restore_steps) / sizeof(restore_steps[0]) ? &restore_steps[control->step] : NULL;
}

/* True: the chain goes on. */
static bool step_ok(struct colo_control *control, int rc, const char *what)
{
	if (rc == RC_OK)
		return true;
	(void)err_prefix(&control->err, "QEMU, %s: ", what);
	return control->chain == CHAIN_RESTORE;
}

static void on_step_reply(void *owner, const cJSON *reply, const struct err *err)
{
	struct colo_control *control = owner;
	const struct step *step = step_of(control);
	int rc = RC_OK;

	if (!reply_wanted(control))
		return;
	if (err != NULL) {
		control->err = *err;
		rc = (int)err->code;
	} else if (step->read != NULL) {
		rc = step->read(control, reply, &control->err);
	}
	if (control->release_next) {
		start_release(control);
	} else if (step_ok(control, rc, step->what)) {
		control->step++;
		next_step(control);
	} else {
		end_chain(control, &control->err);
	}
}

static void next_step(struct colo_control *control)
{
	const struct step *step;

	for (; (step = step_of(control)) != NULL; control->step++) {
		if (control->chain == CHAIN_RESTORE &&
		    !(control->step == 0 ? control->capabilities_set : control->parameters_set))
			continue;
		if (step->send(control, on_step_reply, &control->err) == RC_OK)
			return;
		if (!step_ok(control, (int)control->err.code, step->what))
			break;
	}
	end_chain_later(control);
}

static void start_chain(struct colo_control *control, enum chain chain, colo_control_cb done)
{
	assert(control->chain == CHAIN_NONE);
	control->chain = chain;
	control->done = done;
	control->step = 0;
	control->err.code = RC_OK;
	next_step(control);
}

void colo_control_begin(struct colo_control *control, int fd, const struct colo_settings *settings, colo_control_cb done)
{
	control->fd = fd;
	control->settings = *settings;
	start_chain(control, CHAIN_BEGIN, done);
}

void colo_control_restore(struct colo_control *control, colo_control_cb done)
{
	start_chain(control, CHAIN_RESTORE, done);
}

bool colo_control_takes_speed(const struct colo_control *control)
{
	return control->takes_speed;
}

/* ---- progress -------------------------------------------------------------------------------- */

static void on_progress_reply(void *owner, const cJSON *reply, const struct err *err)
{
	struct colo_control *control = owner;
	const cJSON *ram = cJSON_GetObjectItemCaseSensitive(reply, "ram");
	struct colo_control_progress progress = {
		.transferred = number_of(ram, "transferred"),
		.remaining = number_of(ram, "remaining"),
		.total = number_of(ram, "total"),
		.passes = number_of(ram, "dirty-sync-count"),
	};

	if (!reply_wanted(control))
		return;
	(void)snprintf(progress.status, sizeof(progress.status), "%s", text_of(reply, "status"));
	control->progress_done(control->owner, err == NULL ? &progress : NULL);
}

bool colo_control_query(struct colo_control *control,
			void (*done)(void *owner, const struct colo_control_progress *progress))
{
	struct err err;

	control->progress_done = done;
	return execute(control, "query-migrate", NULL, on_progress_reply, &err) == RC_OK;
}

void colo_control_set_downtime(struct colo_control *control, uint64_t downtime_ms)
{
	cJSON *arguments = cJSON_CreateObject();
	struct err err;

	if (cJSON_AddNumberToObject(arguments, "downtime-limit", (double)downtime_ms) == NULL) {
		cJSON_Delete(arguments);
		return;
	}
	(void)execute(control, "migrate-set-parameters", arguments, ignore_reply, &err);
}

/* ---- release --------------------------------------------------------------------------------- */

void colo_control_colo_exit(struct colo_control *control)
{
	control->colo_ready = true;
}

static void end_release(struct colo_control *control, const struct err *err)
{
	(void)uv_timer_stop(&control->cut_timer);
	control->chain = CHAIN_NONE;
	control->released(control->owner, err, control->why[0] != '\0' ? control->why : NULL);
}

static void on_release_timer(uv_timer_t *timer)
{
	release_query(timer->data);
}

static void release_later(struct colo_control *control)
{
	(void)uv_timer_start(&control->timer, on_release_timer, POLL_MS, 0);
}

static void release_command(struct colo_control *control, const char *command)
{
	struct err err;

	(void)execute(control, command, NULL, ignore_reply, &err);
}

/* Run states that a migration puts an instance into; it does not stay in them. */
static bool is_ours(const char *run_state)
{
	return strcmp(run_state, "colo") == 0 || strcmp(run_state, "finish-migrate") == 0 ||
	       strcmp(run_state, "postmigrate") == 0;
}

static void cut_stream(struct colo_control *control)
{
	void (*cut)(void *owner) = control->cut;

	control->cut = NULL;
	if (cut == NULL)
		return;
	control->cut_ns = clock_now_ns();
	cut(control->owner);
}

static void release_colo(struct colo_control *control)
{
	if (!control->colo_ready) {
		cut_stream(control);
		control->colo_ready = clock_now_ns() - control->cut_ns > SETTLE_MS * CLOCK_NS_PER_MS;
	}
	if (control->colo_ready)
		release_command(control, "x-colo-lost-heartbeat");
	release_later(control);
}

static void on_release_status(void *owner, const cJSON *reply, const struct err *err)
{
	struct colo_control *control = owner;

	if (!reply_wanted(control))
		return;
	if (err != NULL) {
		end_release(control, err);
		return;
	}
	if (!is_ours(text_of(reply, "status"))) {
		end_release(control, NULL);
		return;
	}
	if (strcmp(text_of(reply, "status"), "postmigrate") == 0)
		release_command(control, "cont");
	release_later(control);
}

static bool is_cancellable(const char *status)
{
	static const char *const names[] = { "setup", "active", "pre-switchover", "device", "wait-unplug" };
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(status, names[i]) == 0)
			return true;
	}
	return false;
}

static void on_release_query(void *owner, const cJSON *reply, const struct err *err)
{
	struct colo_control *control = owner;
	const char *status = text_of(reply, "status");
	struct err failed;

	if (!reply_wanted(control))
		return;
	if (err != NULL) {
		end_release(control, err);
		return;
	}
	if (strcmp(status, "failed") == 0 && !control->failed) {
		control->failed = true;
		(void)snprintf(control->why, sizeof(control->why), "%s", text_of(reply, "error-desc"));
		(void)uv_timer_start(&control->timer, on_release_timer, CLEANUP_MS, 0);
	} else if (is_cancellable(status)) {
		release_command(control, "migrate_cancel");
		release_later(control);
	} else if (strcmp(status, "colo") == 0) {
		release_colo(control);
	} else if (strcmp(status, "cancelling") == 0) {
		release_later(control);
	} else if (execute(control, "query-status", NULL, on_release_status, &failed) != RC_OK) {
		end_release(control, &failed);
	}
}

static void release_query(struct colo_control *control)
{
	struct err err;

	if (clock_now_ns() - control->release_ns > COLO_CONTROL_RELEASE_MS * CLOCK_NS_PER_MS) {
		(void)err_set(&err, RC_TIMEOUT, "QEMU has not let the instance go on within %d s",
			      COLO_CONTROL_RELEASE_MS / 1000);
		end_release(control, &err);
	} else if (execute(control, "query-migrate", NULL, on_release_query, &err) != RC_OK) {
		end_release(control, &err);
	}
}

static void on_nothing_to_release(uv_timer_t *timer)
{
	end_release(timer->data, NULL);
}

static void on_cut_timer(uv_timer_t *timer)
{
	cut_stream(timer->data);
}

static void start_release(struct colo_control *control)
{
	control->release_next = false;
	control->chain = CHAIN_RELEASE;
	control->release_ns = clock_now_ns();
	if (!control->migrating) {
		(void)uv_timer_start(&control->timer, on_nothing_to_release, 0, 0);
		return;
	}
	(void)uv_timer_start(&control->cut_timer, on_cut_timer, CUT_MS, 0);
	/* If the instance stands inside a checkpoint this is what counts. */
	if (control->colo_ready)
		release_command(control, "x-colo-lost-heartbeat");
	(void)uv_timer_start(&control->timer, on_release_timer, 0, 0);
}

void colo_control_release(struct colo_control *control, bool running_colo, void (*cut)(void *owner),
			  void (*done)(void *owner, const struct err *err, const char *why))
{
	control->cut = cut;
	control->released = done;
	control->colo_ready = control->colo_ready || running_colo;
	if (control->chain == CHAIN_NONE)
		start_release(control);
	else
		control->release_next = true;
}

/* ---- end ------------------------------------------------------------------------------------- */

static void on_timer_closed(uv_handle_t *handle)
{
	struct colo_control *control = handle->data;

	control->timers--;
	free_if_idle(control);
}

void colo_control_close(struct colo_control *control, void (*on_closed)(void *owner))
{
	control->closing = true;
	control->on_closed = on_closed;
	uv_close((uv_handle_t *)&control->timer, on_timer_closed);
	uv_close((uv_handle_t *)&control->cut_timer, on_timer_closed);
}
