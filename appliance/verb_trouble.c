#include "appliance/base/log.h"
#include "appliance/machine_problems.h"
#include "appliance/options.h"
#include "appliance/preflight.h"
#include "appliance/verb.h"
#include "net/http.h"
#include "replica/confine.h"

#include <cjson/cJSON.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ADDRESSES_MAX 2

struct trouble {
	const char *reason, *config, *problems;
	struct buf lines;  /* of problems */
	struct buf errors; /* of config: a line each */
};

/* The reason first, once; then what is wrong with the machine, and with the configuration. */
static void add_problems(cJSON *list, const struct trouble *trouble)
{
	char text[LOG_LINE_MAX];
	const char *line;
	size_t at = 0;
	int len;

	(void)cJSON_AddItemToArray(list, cJSON_CreateString(trouble->reason));
	while (machine_problems_next(&trouble->lines, &at, text)) {
		if (strcmp(text, trouble->reason) != 0)
			(void)cJSON_AddItemToArray(list, cJSON_CreateString(text));
	}
	at = 0;
	while ((line = preflight_line(&trouble->errors, &at, &len)) != NULL) {
		(void)snprintf(text, sizeof(text), "%.*s", len, line);
		(void)cJSON_AddItemToArray(list, cJSON_CreateString(text));
	}
}

static void answer(void *owner, const struct http_request *request, struct http_response *response)
{
	const struct trouble *trouble = owner;
	const char *reason = trouble->reason;
	const bool known =
		strcmp(request->path, "/healthz") == 0 || strcmp(request->path, "/v1/status") == 0;
	cJSON *object = known ? cJSON_CreateObject() : NULL, *list;
	char *text;

	if (object == NULL) {
		http_error(response, known ? 503 : 404, reason);
		return;
	}
	(void)cJSON_AddStringToObject(object, "status", "attention");
	list = cJSON_AddArrayToObject(object, "problems");
	add_problems(list, trouble);
	text = cJSON_Print(object);
	cJSON_Delete(object);
	response->status = 503;
	if (text != NULL)
		(void)buf_append(&response->body, text, strlen(text));
	cJSON_free(text);
}

/* At the first of the addresses that can be listened at. */
static int listen_at_one(uv_loop_t *loop, const char *const *addresses, size_t count,
			 struct trouble *trouble, struct err *err)
{
	struct http_server *server;
	int rc = RC_STATE;

	for (size_t i = 0; rc != RC_OK && i < count; i++) {
		rc = http_listen(&server, loop, addresses[i], answer, trouble, err);
		if (rc != RC_OK)
			log_error("trouble", "%s", err->text);
		else
			log_info("trouble", "what is wrong is told at %s", addresses[i]);
	}
	return rc;
}

/* Into a pipe, whole, as far as it is read. */
static void write_errors(int fd, const char *config)
{
	const enum config_role role = CONFIG_STANDBY;
	struct preflight preflight;
	struct err err;
	ssize_t n = 1;

	(void)preflight_run(&preflight, &role, config, &err);
	for (size_t at = 0; n > 0 && at < preflight.errors.len; at += (size_t)n)
		n = write(fd, preflight.errors.data + at, preflight.errors.len - at);
}

/* By another process: it reads the site's key, which is to be nowhere in the memory of one that listens. */
static void look_at_config(struct trouble *trouble)
{
	char text[4096];
	int ends[2];
	ssize_t n;
	pid_t pid;

	if (pipe(ends) != 0)
		return;
	pid = fork();
	if (pid == 0) {
		(void)close(ends[0]);
		write_errors(ends[1], trouble->config);
		_exit(0);
	}
	(void)close(ends[1]);
	while (pid > 0 && (n = read(ends[0], text, sizeof(text))) > 0)
		(void)buf_append(&trouble->errors, text, (size_t)n);
	(void)close(ends[0]);
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
}

/* What there is to tell is read before nothing can be any more. */
static int serve(struct trouble *trouble, const char *const *addresses, size_t count)
{
	struct err err;
	uv_loop_t loop;

	if (trouble->config != NULL)
		look_at_config(trouble);
	if (trouble->problems != NULL &&
	    machine_problems_read(&trouble->lines, trouble->problems, &err) != RC_OK)
		log_error("trouble", "%s", err.text);
	if (confine_listener(UINT64_C(1) << CAP_NET_BIND_SERVICE, &err) != RC_OK)
		return options_failed(err.text);
	if (uv_loop_init(&loop) != 0)
		return options_failed("there is no memory");
	if (listen_at_one(&loop, addresses, count, trouble, &err) != RC_OK)
		return options_failed(err.text);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	return EXIT_FAILED;
}

int verb_trouble(int argc, char **argv)
{
	static struct trouble trouble;
	const char *addresses[ADDRESSES_MAX];
	size_t count = 0;
	const struct option options[] = {
		{ .name = "http",
		  .value = "ADDRESS",
		  .text = addresses,
		  .most = ADDRESSES_MAX,
		  .count = &count,
		  .doc = "where to serve it; given again: where, if that cannot be" },
		{ .name = "reason",
		  .value = "TEXT",
		  .text = &trouble.reason,
		  .doc = "what is wrong" },
		{ .name = "config",
		  .value = "FILE",
		  .text = &trouble.config,
		  .doc = "what is wrong with a standby's configuration is told, too" },
		{ .name = "problems",
		  .value = "FILE",
		  .text = &trouble.problems,
		  .doc = "what is wrong with the machine, a line each: is told, too" },
	};
	const struct command command = {
		.synopsis =
			"trouble --http ADDRESS [--http ADDRESS] --reason TEXT [--config FILE] [--problems FILE]",
		.about =
			"Serves a health endpoint that is never healthy: what process 1 of the appliance's image runs\n"
			"while the standby cannot.",
		.options = options,
		.count = 4,
	};
	int status;

	if (!options_parse(&command, argc, argv, &status))
		return status;
	if (count == 0 || trouble.reason == NULL)
		return options_wrong(&command, "--http and --reason are both needed");
	return serve(&trouble, addresses, count);
}
