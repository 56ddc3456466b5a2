#include "appliance/base/json_text.h"
#include "appliance/base/json_value.h"
#include "appliance/base/mem.h"
#include "appliance/client.h"
#include "appliance/verb.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TIMEOUT_MS \
	30000 /* the standby answers once it has decided, and may be busy with an epoch */

static const char about[] =
	"Tells a standby to run its clone of an instance now, from the last committed epoch. What the instance did\n"
	"after that epoch is lost. Where the primary site may still be alive, stop the instance there first: two of\n"
	"it would serve at once.";

static bool confirmed(const char *instance)
{
	char answer[16];

	(void)fprintf(
		stderr,
		"The standby will run its clone of '%s'. If the instance still runs at the primary site, there will "
		"be two.\nGo on? [y/N] ",
		instance);
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

static int take_over(const struct command *command, const struct client_target *target,
		     const char *instance)
{
	char *request = request_for(instance);
	struct buf answer = { 0 };
	int status, http_status;

	if (request == NULL)
		return options_failed("takeover: out of memory");
	status = client_ask(command, target, "/v1/takeover", request, TIMEOUT_MS, &http_status,
			    &answer);
	if (status == EXIT_FINE && (http_status < 200 || http_status > 299))
		status = client_refused("the standby did not take over", http_status, &answer);
	else if (status == EXIT_FINE)
		(void)printf(
			"%s: the takeover is under way; 'understudy status' shows how it goes\n",
			instance);
	buf_free(&answer);
	mem_free(request);
	return status;
}

int verb_takeover(int argc, char **argv)
{
	struct client_target target = { NULL, NULL };
	const char *instance = NULL;
	bool yes = false;
	const struct option options[] = {
		{ .name = "config",
		  .value = "FILE",
		  .text = &target.config,
		  .doc = "ask at the http.listen of this file" },
		{ .name = "http",
		  .value = "ADDRESS",
		  .text = &target.http,
		  .doc = "ask here (127.0.0.1:7080, unix:/run/understudy.sock)" },
		{ .name = "instance",
		  .value = "NAME",
		  .text = &instance,
		  .doc = "the instance to take over" },
		{ .name = "yes", .flag = &yes, .doc = "do not ask for confirmation" },
	};
	const struct command command = {
		.synopsis = "takeover (--config FILE | --http ADDRESS) --instance NAME [--yes]",
		.about = about,
		.options = options,
		.count = sizeof(options) / sizeof(options[0])
	};
	int status;

	if (!options_parse(&command, argc, argv, &status))
		return status;
	if (instance == NULL)
		return options_wrong(&command, "--instance NAME is missing");
	if (!json_value_is_name(instance))
		return options_wrong(&command, "--instance %s: no instance has such a name",
				     instance);
	if ((target.config != NULL) == (target.http != NULL))
		return options_wrong(&command, "one of --config and --http is needed");
	if (!yes && !isatty(STDIN_FILENO))
		return options_wrong(
			&command,
			"nobody is there to confirm it (standard input is no terminal); say --yes");
	if (!yes && !confirmed(instance))
		return options_failed("takeover: not confirmed, nothing was done");
	return take_over(&command, &target, instance);
}
