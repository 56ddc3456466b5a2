#include "appliance/client.h"

#include "appliance/base/json_text.h"
#include "appliance/base/json_value.h"
#include "appliance/base/utf8.h"
#include "appliance/config.h"
#include "net/http.h"

#include <stdio.h>
#include <string.h>

#define ERROR_MAX 400 /* bytes of a server's explanation that are shown */
#define SHOW_MS 5000  /* an operator at 3 a.m. wants to know soon that there is no answer */
#define LOOK_MS 30000 /* an order is under way, and the process may be busy with it */

static int ask(const char *address, const char *path, const char *body, uint32_t timeout_ms,
	       int *status, struct buf *answer)
{
	char text[ERR_TEXT_MAX];
	struct err err;

	if (http_fetch(address, path, body, timeout_ms, status, answer, &err) == RC_OK)
		return EXIT_FINE;
	(void)snprintf(text, sizeof(text), "%.160s: %.250s%s", address, err.text,
		       err.code == RC_INVALID ? "" : /* that is no address at all */
						" (is it running, and is this its http.listen?)");
	return options_failed(text);
}

bool client_instance_wrong(const struct command *command, const char *instance, int *status)
{
	if (instance == NULL)
		*status = options_wrong(command, "--instance NAME is missing");
	else if (!json_value_is_name(instance))
		*status = options_wrong(command, "--instance %s: no instance has such a name: %s",
					instance, json_value_name_problem(instance));
	else
		return false;
	return true;
}

bool client_target_wrong(const struct command *command, const struct client_target *target,
			 int *status)
{
	if ((target->config != NULL) != (target->http != NULL))
		return false;
	*status = options_wrong(command, "one of --config and --http is needed");
	return true;
}

int client_find(const struct command *command, struct client_target *target, struct config *config)
{
	struct err err;
	int result;

	*config = (struct config){ 0 };
	if (client_target_wrong(command, target, &result))
		return result;
	if (target->http != NULL)
		return EXIT_FINE;
	if (config_load(config, target->config, &err) != RC_OK)
		return options_failed(err.text);
	if (config->http == NULL)
		return options_failed(
			"this configuration has no http.listen: there is nobody to ask");
	*target = (struct client_target){ .http = config->http };
	return EXIT_FINE;
}

int client_ask(const struct command *command, const struct client_target *target, const char *path,
	       const char *body, uint32_t timeout_ms, int *status, struct buf *answer)
{
	struct client_target found = *target;
	struct config config;
	int result = client_find(command, &found, &config);

	if (result == EXIT_FINE)
		result = ask(found.http, path, body, timeout_ms, status, answer);
	config_free(&config);
	return result;
}

int client_show(const struct command *command, const struct client_target *target, const char *path,
		const char *what, bool json, int (*show)(const struct buf *answer))
{
	struct buf answer = { 0 };
	int http_status;
	int status = client_ask(command, target, path, NULL, SHOW_MS, &http_status, &answer);

	if (status == EXIT_FINE && http_status != 200)
		status = client_refused(what, http_status, &answer);
	else if (status == EXIT_FINE && json)
		(void)fwrite(answer.data, 1, answer.len, stdout);
	else if (status == EXIT_FINE)
		status = show(&answer);
	buf_free(&answer);
	return status;
}

const char *client_string(const cJSON *object, const char *key)
{
	const char *value = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));

	return value != NULL ? value : "";
}

double client_number(const cJSON *object, const char *key)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

	return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

const cJSON *client_instance(const cJSON *status, const char *name)
{
	const cJSON *instance;

	cJSON_ArrayForEach(instance, cJSON_GetObjectItemCaseSensitive(status, "instances")) {
		if (strcmp(client_string(instance, "name"), name) == 0)
			return instance;
	}
	return NULL;
}

bool client_look(const struct command *command, const struct client_target *target,
		 const char *instance,
		 bool (*judge)(const void *owner, const cJSON *instance, int *status),
		 const void *owner, int *status)
{
	struct buf answer = { 0 };
	cJSON *root = NULL;
	bool known = true;
	int http_status;
	struct err err;

	*status = client_ask(command, target, "/v1/status", NULL, LOOK_MS, &http_status, &answer);
	if (*status == EXIT_FINE && http_status != 200) {
		*status = client_refused("status", http_status, &answer);
	} else if (*status == EXIT_FINE) {
		(void)json_text_parse(&root, (const char *)answer.data, answer.len, &err);
		known = judge(owner, client_instance(root, instance), status);
	}
	cJSON_Delete(root);
	buf_free(&answer);
	return known;
}

void client_text(char *out, size_t size, const char *text)
{
	(void)snprintf(out, size, "%s", text);
	utf8_make_plain(out);
}

int client_refused(const char *what, int status, const struct buf *answer)
{
	const char *reason = NULL;
	char text[ERROR_MAX + 1];
	cJSON *root = NULL;
	struct err err;

	if (json_text_parse(&root, (const char *)answer->data, answer->len, &err) == RC_OK)
		reason = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "error"));
	if (reason != NULL) {
		client_text(text, sizeof(text), reason);
		(void)fprintf(stderr, "understudy: %s: %s\n", what, text);
	} else {
		(void)fprintf(stderr, "understudy: %s: HTTP status %d\n", what, status);
	}
	cJSON_Delete(root);
	return EXIT_FAILED;
}
