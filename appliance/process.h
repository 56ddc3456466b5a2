/*
 * What both roles' processes have in common: the loop, our certificate, the health endpoint, a part
 * for each instance, and an orderly end on SIGTERM, SIGINT and SIGQUIT. SIGHUP, SIGUSR1 and SIGUSR2 are
 * logged and ignored.
 */
#ifndef APPLIANCE_PROCESS_H
#define APPLIANCE_PROCESS_H

#include "appliance/base/repeat.h"
#include "appliance/config.h"
#include "appliance/expiry.h"
#include "appliance/status.h"
#include "appliance/witness_client.h"
#include "net/http.h"
#include "net/tls.h"

#include <uv.h>

/* What differs. `owner` is process_run()'s; a part is what process_add() was given. */
struct process_role {
	/* Starts the parts. After an error, what there is of the role is ended. */
	int (*start)(void *owner, struct err *err);
	/* The end begins: closes what is not a part, then calls process_stop_parts(). NULL: that only. */
	void (*end)(void *owner);
	/* A signal while parts are being stopped. NULL: it is without effect. */
	void (*hurry)(void *owner);
	void (*status)(const void *part, struct status_instance *status);
	/* Frees the part, then calls on_stopped(owner), once. */
	void (*stop)(void *part, void (*on_stopped)(void *owner), void *owner);
	/* All parts are stopped: closes what they needed. NULL: nothing. */
	void (*ended)(void *owner);
	/* As in struct status_source. */
	int (*takeover)(void *owner, const char *instance, struct err *err);
	int (*release)(void *owner, const char *instance, struct err *err);
	int (*history)(void *owner, const struct past_query *query, cJSON *object, struct err *err);
	int (*mark)(void *owner, const char *instance, const char *text, uint64_t *epoch,
		    struct err *err);
	int (*rewind)(void *owner, const char *instance, const char *target, bool serve,
		      struct err *err);
	int (*rewind_end)(void *owner, const char *instance, struct err *err);
};

struct process {
	uv_loop_t loop;
	struct tls_identity *identity;
	struct witness_client *witness; /* NULL: none */
	void *parts[CONFIG_INSTANCES_MAX];
	size_t count;
	/* private */
	const struct process_role *role;
	void *owner;
	struct status_source source;
	uv_poll_t signals; /* of `signal_fd` */
	int signal_fd;
	struct http_server *http;
	uv_timer_t expiry; /* the certificate's end is looked at */
	char expiry_text[EXPIRY_TEXT_MAX];
	struct repeat expiry_told;
	size_t running; /* parts that are being stopped */
	bool ending;
};

/*
 * Starts the role and runs it until a signal has ended it. Returns the exit status: 0, or 1 when it
 * could not be started, which has been logged. Signals during the end are for role->hurry; after it
 * they are without effect.
 * `process` is zero-initialised.
 */
int process_run(struct process *process, const struct config *config,
		const struct process_role *role, void *owner);

/* For `start`: one more part, at most one for each instance of the configuration. */
void process_add(struct process *process, void *part);
/* For `end`. */
void process_stop_parts(struct process *process);

#endif
