#include "appliance/operator.h"

#include "appliance/base/json_text.h"
#include "appliance/base/json_value.h"
#include "appliance/base/mem.h"
#include "appliance/client.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TIMEOUT_MS \
	30000 /* the process answers once it has decided, and may be busy with an epoch */

static bool confirmed(const struct operator_command *order, const char *instance)
{
	char answer[16];

	(void)fprintf(stderr, "%s: %s\nGo on? [y/N] ", instance, order->question);
	return fgets(answer, sizeof(answer), stdin) != NULL &&
	       (strcmp(answer, "y\n") == 0 || strcmp(answer, "Y\n") == 0 ||
		strcmp(answer, "yes\n") == 0);
}

static char *request_for(const char *instance)
{
	char *text = NULL;
	cJSON *root;

	json_text_use_mem();
	root = cJSON_CreateObject();
	if (cJSON_AddStringToObject(root, "instance", instance) != NULL)
		text = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	return text;
}

static int ask(const struct operator_command *order, const struct command *command,
	       const struct client_target *target, const char *instance)
{
	char *request = request_for(instance);
	struct buf answer = { 0 };
	int status, http_status;

	if (request == NULL)
		return options_failed("out of memory");
	status = client_ask(command, target, order->path, request, TIMEOUT_MS, &http_status,
			    &answer);
	if (status == EXIT_FINE && (http_status < 200 || http_status > 299))
		status = client_refused(order->refused, http_status, &answer);
	else if (status == EXIT_FINE)
		(void)printf("%s: %s; 'understudy status' shows how it goes\n", instance,
			     order->done);
	buf_free(&answer);
	mem_free(request);
	return status;
}

int operator_run(const struct operator_command *order, int argc, char **argv)
{
	struct client_target target = { NULL, NULL };
	const char *instance = NULL;
	bool yes = false;
	const struct option options[] = {
		CLIENT_CONFIG_OPTION(&target),
		CLIENT_HTTP_OPTION(&target),
		{ .name = "instance", .value = "NAME", .text = &instance, .doc = order->what },
		{ .name = "yes", .flag = &yes, .doc = "do not ask for confirmation" },
	};
	const struct command command = { .synopsis = order->synopsis,
					 .about = order->about,
					 .options = options,
					 .count = sizeof(options) / sizeof(options[0]) };
	int status;

	if (!options_parse(&command, argc, argv, &status))
		return status;
	if (instance == NULL)
		return options_wrong(&command, "--instance NAME is missing");
	if (!json_value_is_name(instance))
		return options_wrong(&command, "--instance %s: no instance has such a name",
				     instance);
	if (client_target_wrong(&command, &target, &status))
		return status;
	if (!yes && !isatty(STDIN_FILENO))
		return options_wrong(
			&command,
			"nobody is there to confirm it (standard input is no terminal); say --yes");
	if (!yes && !confirmed(order, instance))
		return options_failed("not confirmed, nothing was done");
	return ask(order, &command, &target, instance);
}
