/*
 * What both roles' processes have in common: the loop, orderly end on SIGTERM and SIGINT, the
 * health endpoint.
 */
#ifndef APPLIANCE_PROCESS_H
#define APPLIANCE_PROCESS_H

#include "appliance/config.h"
#include "appliance/status.h"
#include "net/http.h"

#include <uv.h>

struct process {
	uv_loop_t loop;
	struct status_source source;
	/* private */
	uv_signal_t signals[2];
	struct http_server *http;
	void (*on_end)(void *owner);
	void *owner;
	bool ending;
};

/* `on_end` is called once, at the first signal: it closes what the role has, then calls
 * process_end(). `takeover` may be NULL. */
int process_begin(struct process *process, const struct config *config,
		  size_t (*count)(void *owner),
		  void (*fill)(void *owner, size_t index, struct status_instance *instance),
		  int (*takeover)(void *owner, const char *instance, struct err *err),
		  int (*release)(void *owner, const char *instance, struct err *err),
		  void (*on_end)(void *owner), void *owner, struct err *err);

/* Runs until process_end() was called and every handle is closed. */
void process_run(struct process *process);
void process_end(struct process *process);
/* Begins the end as a signal would; once. */
void process_stop(struct process *process);

#endif
