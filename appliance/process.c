/*
 * An end goes: signal (or a failed start) -> role->end -> process_stop_parts() -> the parts, all at
 * once -> health endpoint -> the loop runs out.
 *
 * Whether an impatient second signal may cut the end short is the role's to say. So the signals are
 * blocked before there is any other thread, for good and for all of them, and are read from a
 * descriptor: a handler would have to be taken away some time before the end, and a thread of
 * libuv's pool would then take the signal's standard action.
 *
 * That of SIGHUP and the others below would be an end, too, and at a primary that is a reason to take
 * over; but a terminal that is closed and a log that is rotated send them to whoever is there.
 */
#include "appliance/process.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

static const struct {
	int number;
	const char *ignored; /* why; NULL: it ends the process */
} signals[] = {
	{ SIGTERM, NULL },
	{ SIGINT, NULL },
	{ SIGQUIT, NULL },
	{ SIGHUP, "there is nothing to reload" },
	{ SIGUSR1, "it has no meaning here" },
	{ SIGUSR2, "it has no meaning here" },
};
#define EXPIRY_LOOK_MS 43200000 /* twice a day */
#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

/* ---- the end ---- */

static void begin_end(struct process *process)
{
	process->ending = process->source.ending = true;
	if (process->role->end != NULL)
		process->role->end(process->owner);
	else
		process_stop_parts(process);
}

static const char *ignored_because(uint32_t number)
{
	for (size_t i = 0; i < SIGNALS; i++) {
		if ((uint32_t)signals[i].number == number)
			return signals[i].ignored;
	}
	return NULL;
}

static void on_signal(uv_poll_t *handle, int status, int events)
{
	struct process *process = handle->data;
	struct signalfd_siginfo info;
	const char *ignored;

	(void)status;
	(void)events;
	if (read(process->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	ignored = ignored_because(info.ssi_signo);
	if (ignored != NULL) {
		log_info("process", "signal %u: %s; ignored", info.ssi_signo, ignored);
		return;
	}
	if (process->ending) {
		log_warn("process", "signal %u again: ending is under way", info.ssi_signo);
		if (process->running > 0 && process->role->hurry != NULL)
			process->role->hurry(process->owner);
		return;
	}
	log_info("process", "signal %u: ending", info.ssi_signo);
	begin_end(process);
}

/* From here on the loop does not run on for the signals alone. */
static void finish(struct process *process)
{
	uv_unref((uv_handle_t *)&process->signals);
	if (process->role->ended != NULL)
		process->role->ended(process->owner);
	witness_client_close(process->witness);
	process->witness = NULL;
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
	uv_close((uv_handle_t *)&process->signals, NULL);
	uv_close((uv_handle_t *)&process->expiry, NULL);
	(void)uv_run(&process->loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&process->loop) != 0)
		log_error("process", "a handle was left open");
	(void)close(process->signal_fd);
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

static const char *witness(void *owner)
{
	return witness_client_problem(((struct process *)owner)->witness);
}

static const char *certificate(void *owner)
{
	struct process *process = owner;

	expiry_problem(process->expiry_text, process->source.config->tls_cert,
		       tls_identity_from(process->identity), tls_identity_until(process->identity),
		       (int64_t)time(NULL));
	return process->expiry_text;
}

static void on_expiry(uv_timer_t *timer)
{
	struct process *process = timer->data;
	const char *text = certificate(process);

	if (*text != '\0')
		repeat_log(&process->expiry_told, LOG_LEVEL_WARN, "tls", text);
}

static int refuse_ending(struct err *err)
{
	return err_set(err, RC_STATE, "this process is ending: ask the one that follows it");
}

static int takeover(void *owner, const char *instance, struct err *err)
{
	struct process *process = owner;

	if (process->ending)
		return refuse_ending(err);
	return process->role->takeover(process->owner, instance, err);
}

static int release(void *owner, const char *instance, struct err *err)
{
	struct process *process = owner;

	if (process->ending)
		return refuse_ending(err);
	return process->role->release(process->owner, instance, err);
}

static int history(void *owner, const struct past_query *query, cJSON *object, struct err *err)
{
	struct process *process = owner;

	if (process->ending)
		return refuse_ending(err);
	return process->role->history(process->owner, query, object, err);
}

static int mark(void *owner, const char *instance, const char *text, uint64_t *epoch,
		struct err *err)
{
	struct process *process = owner;

	if (process->ending)
		return refuse_ending(err);
	return process->role->mark(process->owner, instance, text, epoch, err);
}

static int rewind_to(void *owner, const char *instance, const char *target, bool serve,
		     struct err *err)
{
	struct process *process = owner;

	if (process->ending)
		return refuse_ending(err);
	return process->role->rewind(process->owner, instance, target, serve, err);
}

static int rewind_end(void *owner, const char *instance, struct err *err)
{
	struct process *process = owner;

	if (process->ending)
		return refuse_ending(err);
	return process->role->rewind_end(process->owner, instance, err);
}

/* ---- the start ---- */

static int open_loop(struct process *process, struct err *err)
{
	sigset_t ours;
	int r;

	(void)sigemptyset(&ours);
	for (size_t i = 0; i < SIGNALS; i++)
		(void)sigaddset(&ours, signals[i].number);
	(void)pthread_sigmask(SIG_BLOCK, &ours, NULL);
	process->signal_fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
	if (process->signal_fd < 0)
		return err_system(err, errno, "signals");
	r = uv_loop_init(&process->loop);
	if (r == 0) {
		r = uv_poll_init(&process->loop, &process->signals, process->signal_fd);
		if (r != 0)
			(void)uv_loop_close(&process->loop);
	}
	if (r != 0) {
		(void)close(process->signal_fd);
		return err_set(err, RC_IO, "event loop: %s", uv_strerror(r));
	}
	(void)uv_timer_init(&process->loop, &process->expiry);
	uv_unref((uv_handle_t *)&process->expiry);
	process->expiry.data = process;
	process->signals.data = process;
	(void)uv_poll_start(&process->signals, UV_READABLE, on_signal);
	return RC_OK;
}

static int start(struct process *process, const struct config *config, struct err *err)
{
	int rc = RC_OK;

	process->source = (struct status_source){
		.config = config,
		.started_ns = clock_now_ns(),
		.count = count,
		.fill = fill,
		.witness = witness,
		.certificate = certificate,
		.takeover = process->role->takeover != NULL ? takeover : NULL,
		.release = process->role->release != NULL ? release : NULL,
		.history = process->role->history != NULL ? history : NULL,
		.mark = process->role->mark != NULL ? mark : NULL,
		.rewind = process->role->rewind != NULL ? rewind_to : NULL,
		.rewind_end = process->role->rewind_end != NULL ? rewind_end : NULL,
		.owner = process,
	};
	if (config->http != NULL)
		rc = http_listen(&process->http, &process->loop, config->http, status_handle,
				 &process->source, err);
	if (rc != RC_OK)
		return err_prefix(err, "http.listen: ");
	rc = witness_client_open(&process->witness, &process->loop, config, err);
	return rc == RC_OK ? process->role->start(process->owner, err) : rc;
}

int process_run(struct process *process, const struct config *config,
		const struct process_role *role, void *owner)
{
	struct err err;
	int rc;

	process->role = role;
	process->owner = owner;
	rc = tls_identity_load(&process->identity, config->tls_ca, config->tls_cert,
			       config->tls_key, &err);
	if (rc == RC_OK)
		rc = open_loop(process, &err);
	if (rc != RC_OK) {
		log_error("process", "%s", err.text);
		tls_identity_free(process->identity);
		return 1;
	}
	rc = start(process, config, &err);
	(void)uv_timer_start(&process->expiry, on_expiry, 0, EXPIRY_LOOK_MS);
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
