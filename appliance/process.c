/*
 * An end goes: signal (or a failed start) -> role->end -> process_stop_parts() -> the parts, all at
 * once -> health endpoint -> the loop runs out. The signals are watched until there is nothing left
 * to do, and then blocked: whether an impatient second one may cut the end short is the role's to
 * say.
 */
#include "appliance/process.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"

#include <assert.h>
#include <signal.h>

static const int signals[] = { SIGTERM, SIGINT };
#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

/* ---- the end ---- */

static void begin_end(struct process *process)
{
	process->ending = true;
	if (process->role->end != NULL)
		process->role->end(process->owner);
	else
		process_stop_parts(process);
}

static void on_signal(uv_signal_t *handle, int signum)
{
	struct process *process = handle->data;

	if (process->ending) {
		log_warn("process", "signal %d again: ending is under way", signum);
		if (process->running > 0 && process->role->hurry != NULL)
			process->role->hurry(process->owner);
		return;
	}
	log_info("process", "signal %d: ending", signum);
	begin_end(process);
}

/* From here on the loop does not run on for the signals alone. */
static void finish(struct process *process)
{
	for (size_t i = 0; i < SIGNALS; i++)
		uv_unref((uv_handle_t *)&process->signals[i]);
	if (process->role->ended != NULL)
		process->role->ended(process->owner);
	claimant_witness_close(&process->witness, NULL, NULL);
	http_close(process->http, NULL);
}

static void on_part_stopped(void *owner)
{
	struct process *process = owner;

	if (--process->running == 0)
		finish(process);
}

void process_stop_parts(struct process *process)
{
	size_t i, n = process->count;

	process->count = 0;
	process->running = n;
	if (n == 0)
		finish(process);
	for (i = 0; i < n; i++)
		process->role->stop(process->parts[i], on_part_stopped, process);
}

static void close_loop(struct process *process)
{
	sigset_t ours;
	size_t i;

	(void)sigemptyset(&ours);
	for (i = 0; i < SIGNALS; i++)
		(void)sigaddset(&ours, signals[i]);
	(void)pthread_sigmask(SIG_BLOCK, &ours, NULL);
	for (i = 0; i < SIGNALS; i++)
		uv_close((uv_handle_t *)&process->signals[i], NULL);
	(void)uv_run(&process->loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&process->loop) != 0)
		log_error("process", "a handle was left open");
}

/* ---- what the health endpoint asks ---- */

static size_t count(void *owner)
{
	return ((struct process *)owner)->count;
}

static void fill(void *owner, size_t index, struct status_instance *status)
{
	struct process *process = owner;

	process->role->status(process->parts[index], status);
}

static int takeover(void *owner, const char *instance, struct err *err)
{
	struct process *process = owner;

	return process->role->takeover(process->owner, instance, err);
}

static int release(void *owner, const char *instance, struct err *err)
{
	struct process *process = owner;

	return process->role->release(process->owner, instance, err);
}

/* ---- the start ---- */

static void watch_signals(struct process *process)
{
	for (size_t i = 0; i < SIGNALS; i++) {
		(void)uv_signal_init(&process->loop, &process->signals[i]);
		process->signals[i].data = process;
		(void)uv_signal_start(&process->signals[i], on_signal, signals[i]);
	}
}

static int start(struct process *process, const struct config *config, struct err *err)
{
	int rc = RC_OK;

	process->source = (struct status_source){
		.config = config,
		.started_ns = clock_now_ns(),
		.count = count,
		.fill = fill,
		.takeover = process->role->takeover != NULL ? takeover : NULL,
		.release = process->role->release != NULL ? release : NULL,
		.owner = process,
	};
	if (config->http != NULL)
		rc = http_listen(&process->http, &process->loop, config->http, status_handle,
				 &process->source, err);
	if (rc != RC_OK)
		return err_prefix(err, "http.listen: ");
	rc = claimant_witness_open(&process->witness, &process->loop, config, err);
	return rc == RC_OK ? process->role->start(process->owner, err) : rc;
}

int process_run(struct process *process, const struct config *config,
		const struct process_role *role, void *owner)
{
	struct err err;
	int r, rc;

	process->role = role;
	process->owner = owner;
	rc = tls_identity_load(&process->identity, config->tls_ca, config->tls_cert,
			       config->tls_key, &err);
	if (rc == RC_OK) {
		r = uv_loop_init(&process->loop);
		if (r != 0)
			rc = err_set(&err, RC_IO, "event loop: %s", uv_strerror(r));
	}
	if (rc != RC_OK) {
		log_error("process", "%s", err.text);
		tls_identity_free(process->identity);
		return 1;
	}
	watch_signals(process);
	rc = start(process, config, &err);
	if (rc == RC_OK) {
		log_info("process", "site %s: %zu instance(s), %s %s", config->site, process->count,
			 config->role == CONFIG_PRIMARY ? "standby at" : "listening at",
			 config->role == CONFIG_PRIMARY ? config->connect : config->listen);
	} else {
		log_error("process", "%s", err.text);
		begin_end(process);
	}
	(void)uv_run(&process->loop, UV_RUN_DEFAULT);
	close_loop(process);
	tls_identity_free(process->identity);
	return rc == RC_OK ? 0 : 1;
}

void process_add(struct process *process, void *part)
{
	assert(process->count < CONFIG_INSTANCES_MAX);
	process->parts[process->count++] = part;
}
