#include "appliance/process.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"

#include <signal.h>

static void on_signal(uv_signal_t *handle, int signum)
{
	struct process *process = handle->data;

	if (process->ending) {
		log_warn("process", "signal %d again: ending is under way", signum);
		return;
	}
	log_info("process", "signal %d: ending", signum);
	process_stop(process);
}

void process_stop(struct process *process)
{
	process->ending = true;
	process->on_end(process->owner);
}

int process_begin(struct process *process, const struct config *config,
		  size_t (*count)(void *owner),
		  void (*fill)(void *owner, size_t index, struct status_instance *instance),
		  int (*takeover)(void *owner, const char *instance, struct err *err),
		  int (*release)(void *owner, const char *instance, struct err *err),
		  void (*on_end)(void *owner), void *owner, struct err *err)
{
	static const int signals[] = { SIGTERM, SIGINT };
	size_t i;
	int r, rc = RC_OK;

	(void)signal(SIGPIPE, SIG_IGN);
	r = uv_loop_init(&process->loop);
	if (r != 0)
		return err_set(err, RC_IO, "event loop: %s", uv_strerror(r));
	process->on_end = on_end;
	process->owner = owner;
	process->source = (struct status_source){ config,   clock_now_ns(), count, fill,
						  takeover, release,	    owner };
	for (i = 0; i < 2; i++) {
		(void)uv_signal_init(&process->loop, &process->signals[i]);
		process->signals[i].data = process;
		(void)uv_signal_start(&process->signals[i], on_signal, signals[i]);
	}
	if (config->http != NULL)
		rc = http_listen(&process->http, &process->loop, config->http, status_handle,
				 &process->source, err);
	if (rc != RC_OK) {
		process_end(process);
		process_run(process);
		return err_prefix(err, "http.listen: ");
	}
	return RC_OK;
}

void process_end(struct process *process)
{
	size_t i;

	process->ending = true;
	for (i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&process->signals[i], NULL);
	if (process->http != NULL)
		http_close(process->http, NULL);
}

void process_run(struct process *process)
{
	(void)uv_run(&process->loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&process->loop) != 0)
		log_error("process", "a handle was left open");
}
