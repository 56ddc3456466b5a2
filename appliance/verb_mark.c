#include "appliance/base/json_text.h"
#include "appliance/base/mem.h"
#include "appliance/client.h"
#include "appliance/verb.h"

#include <stdio.h>

#define TIMEOUT_MS 5000

static const char about[] =
	"Marks the present epoch of an instance with a text, in its standby's journal: 'understudy rewind --to TEXT' leads\n"
	"back to it, and 'understudy history' lists it, as long as the journal goes back that far. Says which epoch that is,\n"
	"the last one that was committed.";

static char *request_for(const char *instance, const char *text)
{
	char *printed = NULL;
	cJSON *root;

	json_text_use_mem();
	root = cJSON_CreateObject();
	if (cJSON_AddStringToObject(root, "instance", instance) != NULL &&
	    cJSON_AddStringToObject(root, "text", text) != NULL)
		printed = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	return printed;
}

static int show(const struct buf *answer)
{
	cJSON *root = NULL;
	const cJSON *epoch;
	struct err err;

	(void)json_text_parse(&root, (const char *)answer->data, answer->len, &err);
	epoch = cJSON_GetObjectItemCaseSensitive(root, "epoch");
	if (!cJSON_IsNumber(epoch)) {
		cJSON_Delete(root);
		return options_failed("the answer tells of no epoch: is this an understudy?");
	}
	(void)printf("epoch %.0f\n", epoch->valuedouble);
	cJSON_Delete(root);
	return EXIT_FINE;
}

int verb_mark(int argc, char **argv)
{
	struct client_target target = { NULL, NULL };
	const char *instance = NULL, *text = NULL;
	struct buf answer = { 0 };
	bool json = false;
	const struct option options[] = {
		CLIENT_CONFIG_OPTION(&target),
		CLIENT_HTTP_OPTION(&target),
		{ .name = "instance", .value = "NAME", .text = &instance, .doc = "whose epoch" },
		{ .name = "json", .flag = &json, .doc = "print the answer as it is" },
	};
	const struct command command = {
		.synopsis = "mark TEXT (--config FILE | --http ADDRESS) --instance NAME [--json]",
		.about = about,
		.options = options,
		.count = sizeof(options) / sizeof(options[0]),
		.operand = &text,
		.operand_name = "TEXT",
	};
	int status, http_status;
	char *request;

	if (!options_parse(&command, argc, argv, &status))
		return status;
	if (instance == NULL)
		return options_wrong(&command, "--instance NAME is missing");
	if (client_target_wrong(&command, &target, &status))
		return status;
	request = request_for(instance, text);
	if (request == NULL)
		return options_failed("out of memory");
	status = client_ask(&command, &target, "/v1/mark", request, TIMEOUT_MS, &http_status,
			    &answer);
	if (status == EXIT_FINE && http_status != 202)
		status = client_refused("not marked", http_status, &answer);
	else if (status == EXIT_FINE && json)
		(void)fwrite(answer.data, 1, answer.len, stdout);
	else if (status == EXIT_FINE)
		status = show(&answer);
	buf_free(&answer);
	mem_free(request);
	return status;
}
