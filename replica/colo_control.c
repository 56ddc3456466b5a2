/*
 * Theory of operation
 *
 * A chain is a table of steps; a step sends one command, its reply runs the step's reader and then
 * the next step. Only one chain runs at a time. Halting waits for the reply that is open and drops
 * the rest of the chain.
 */
#include "replica/colo_control.h"

#include "appliance/base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* In QEMU's list for this monitor; a second one of the name replaces the first. */
#define FD_NAME "understudy-colo"

enum chain { CHAIN_NONE, CHAIN_BEGIN, CHAIN_RESTORE, CHAINS };

struct colo_control {
	struct qmp *qmp;
	void *owner;
	uv_timer_t timer;
	unsigned open; /* commands without a reply */
	enum chain chain;
	unsigned step;
	void (*halted)(void *owner); /* waits for the reply that is open */
	struct err err;		     /* for a deferred answer */
	colo_control_cb done;

	int fd;
	struct colo_settings settings;
	struct colo_settings_change capabilities, parameters;
	bool leftover, takes_speed, capabilities_set, parameters_set, migrating;

	void (*progress_done)(void *owner, const struct colo_control_progress *progress);
	void (*ask_done)(void *owner, const char *status);

	void (*on_closed)(void *owner);
	bool closing, timer_closed;
};

static void next_step(struct colo_control *control);

int colo_control_create(struct colo_control **out, uv_loop_t *loop, struct qmp *qmp, void *owner,
			struct err *err)
{
	struct colo_control *control = mem_zalloc(1, sizeof(*control));

	if (control == NULL)
		return err_nomem(err, "COLO control");
	(void)uv_timer_init(loop, &control->timer); /* cannot fail */
	control->timer.data = control;
	control->qmp = qmp;
	control->owner = owner;
	*out = control;
	return RC_OK;
}

/* ---- one command --------------------------------------------------------------------------- */

static void free_if_idle(struct colo_control *control)
{
	void (*on_closed)(void *owner) = control->on_closed;
	void *owner = control->owner;

	if (!control->closing || !control->timer_closed || control->open > 0)
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

static int execute(struct colo_control *control, const char *command, cJSON *arguments,
		   qmp_reply_cb cb, struct err *err)
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

	return cJSON_IsNumber(item) && item->valuedouble > 0 && item->valuedouble < 1e18 ?
		       (uint64_t)item->valuedouble :
		       0;
}

/* ---- chains -------------------------------------------------------------------------------- */

struct step {
	const char *what; /* for errors */
	int (*send)(struct colo_control *control, qmp_reply_cb cb, struct err *err);
	int (*read)(struct colo_control *control, const cJSON *reply,
		    struct err *err); /* may be NULL */
};

static void end_chain(struct colo_control *control, const struct err *err)
{
	colo_control_cb done = control->done;

	control->chain = CHAIN_NONE;
	control->done = NULL;
	done(control->owner, err);
}

static void end_halt(struct colo_control *control)
{
	void (*halted)(void *owner) = control->halted;

	control->chain = CHAIN_NONE;
	control->halted = NULL;
	halted(control->owner);
}

static void on_deferred(uv_timer_t *timer)
{
	struct colo_control *control = timer->data;

	if (control->halted != NULL)
		end_halt(control);
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
	return err_set(err, RC_STATE,
		       "the instance is \"%s\"; it has to run when protection begins",
		       text_of(reply, "status"));
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
	return colo_settings_parameters(reply, &control->settings, control->leftover,
					&control->parameters, err);
}

/* `arguments` is used up. */
static int send_settings(struct colo_control *control, const char *command, cJSON **arguments,
			 qmp_reply_cb cb, struct err *err)
{
	cJSON *taken = *arguments;

	*arguments = NULL;
	return execute(control, command, taken, cb, err);
}

static int send_capabilities(struct colo_control *control, qmp_reply_cb cb, struct err *err)
{
	control->capabilities_set = true;
	return send_settings(control, "migrate-set-capabilities", &control->capabilities.ours, cb,
			     err);
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
	return send_settings(control, "migrate-set-capabilities", &control->capabilities.theirs, cb,
			     err);
}

static int send_old_parameters(struct colo_control *control, qmp_reply_cb cb, struct err *err)
{
	return send_settings(control, "migrate-set-parameters", &control->parameters.theirs, cb,
			     err);
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

#define STEPS(steps) steps, sizeof(steps) / sizeof((steps)[0])
static const struct {
	const struct step *steps;
	size_t count;
} chains[] = {
	[CHAIN_NONE] = { NULL, 0 },
	[CHAIN_BEGIN] = { STEPS(begin_steps) },
	[CHAIN_RESTORE] = { STEPS(restore_steps) },
};
static_assert(sizeof(chains) / sizeof(chains[0]) == CHAINS, "steps for every chain");

static const struct step *step_of(const struct colo_control *control)
{
	return control->step < chains[control->chain].count ?
		       &chains[control->chain].steps[control->step] :
		       NULL;
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
	if (control->halted != NULL) {
		end_halt(control);
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

void colo_control_begin(struct colo_control *control, int fd, const struct colo_settings *settings,
			colo_control_cb done)
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

void colo_control_halt(struct colo_control *control, void (*halted)(void *owner))
{
	control->halted = halted;
	if (control->chain == CHAIN_NONE)
		end_chain_later(control);
}

bool colo_control_migrating(const struct colo_control *control)
{
	return control->migrating;
}

/* ---- progress ------------------------------------------------------------------------------ */

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

static void on_ask_reply(void *owner, const cJSON *reply, const struct err *err)
{
	struct colo_control *control = owner;

	if (reply_wanted(control))
		control->ask_done(control->owner, err == NULL ? text_of(reply, "status") : NULL);
}

bool colo_control_ask(struct colo_control *control, void (*done)(void *owner, const char *status))
{
	struct err err;

	control->ask_done = done;
	return execute(control, "query-status", NULL, on_ask_reply, &err) == RC_OK;
}

/* ---- end ----------------------------------------------------------------------------------- */

static void on_timer_closed(uv_handle_t *handle)
{
	struct colo_control *control = handle->data;

	control->timer_closed = true;
	free_if_idle(control);
}

void colo_control_close(struct colo_control *control, void (*on_closed)(void *owner))
{
	control->closing = true;
	control->on_closed = on_closed;
	uv_close((uv_handle_t *)&control->timer, on_timer_closed);
}
