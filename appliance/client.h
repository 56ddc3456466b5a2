/*
 * What the verbs that ask a running process have in common: finding the HTTP address of a
 * running primary or standby, asking it, and making sense of an answer that is not what was hoped
 * for.
 */
#ifndef APPLIANCE_CLIENT_H
#define APPLIANCE_CLIENT_H

#include "appliance/base/buf.h"
#include "appliance/config.h"
#include "appliance/options.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

/* The two options; exactly one has to be given. */
struct client_target {
	const char *config; /* --config FILE: its http.listen */
	const char *http;   /* --http ADDRESS */
};
#define CLIENT_CONFIG_OPTION(target)                                          \
	{                                                                     \
		.name = "config", .value = "FILE", .text = &(target)->config, \
		.doc = "ask at the http.listen of this file"                  \
	}
#define CLIENT_HTTP_OPTION(target)                                            \
	{                                                                     \
		.name = "http", .value = "ADDRESS", .text = &(target)->http,  \
		.doc = "ask here (127.0.0.1:7480, unix:/run/understudy.sock)" \
	}

/* Whether not just one of them is given; then that has been said and *status is the exit status. */
bool client_target_wrong(const struct command *command, const struct client_target *target,
			 int *status);

/* Whether --instance is missing, or no instance has such a name; then as above. */
bool client_instance_wrong(const struct command *command, const char *instance, int *status);

/*
 * One request (`body` NULL: GET), answered within timeout_ms. EXIT_FINE with the answer's status
 * and text (buf_free() it in any case); else what was wrong has been said and the exit status is
 * returned.
 */
int client_ask(const struct command *command, const struct client_target *target, const char *path,
	       const char *body, uint32_t timeout_ms, int *status, struct buf *answer);

/*
 * A GET whose answer is shown: as it is (`json`), or by `show`, which returns the exit status. `what` there is not, if it is
 * refused, which is said.
 */
int client_show(const struct command *command, const struct client_target *target, const char *path,
		const char *what, bool json, int (*show)(const struct buf *answer));

/*
 * One look at how an order goes: `judge` gets what a status tells of that instance (NULL: nothing). False: it is not known yet; else
 * *status is the exit status. No answer, or one that is refused, is known, and has been said.
 */
bool client_look(const struct command *command, const struct client_target *target,
		 const char *instance,
		 bool (*judge)(const void *owner, const cJSON *instance, int *status),
		 const void *owner, int *status);

/*
 * For several questions: the address is found once, and target->http is it then. config_free(config)
 * in any case. EXIT_FINE, or what was wrong has been said.
 */
int client_find(const struct command *command, struct client_target *target, struct config *config);

/* Of an answer's object; "" and 0 where it has no such thing. */
const char *client_string(const cJSON *object, const char *key);
double client_number(const cJSON *object, const char *key);
/* What a /v1/status tells of that instance; NULL: nothing. */
const cJSON *client_instance(const cJSON *status, const char *name);

/* What a server says, for a terminal: cut to fit, and plain (utf8.h). */
void client_text(char *out, size_t size, const char *text);

/*
 * Says why an answer with `status` is no good: its "error", else the status. Returns EXIT_FAILED.
 */
int client_refused(const char *what, int status, const struct buf *answer);

#endif
