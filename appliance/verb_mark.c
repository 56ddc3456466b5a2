#include "appliance/base/clock.h"
#include "appliance/base/json_text.h"
#include "appliance/base/mem.h"
#include "appliance/client.h"
#include "appliance/verb.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

#define TIMEOUT_MS 5000
#define WAIT_S 10
#define LOOK_MS 20
#define PATH_BYTES 128

static const char about[] =
	"Marks the present epoch of an instance with a text, in its standby's journal: 'understudy rewind --to TEXT' leads\n"
	"back to it, and 'understudy history' lists it, as long as the journal goes back that far. Says which epoch that is,\n"
	"the last one that was committed, when the mark is on stable storage. Refused once the standby has taken over: what\n"
	"runs there has no epochs.";

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

/* The epoch that an answer tells of; 0: none. */
static double epoch_of(const struct buf *answer)
{
	cJSON *root = NULL;
	struct err err;
	double value;

	(void)json_text_parse(&root, (const char *)answer->data, answer->len, &err);
	value = client_number(root, "epoch");
	cJSON_Delete(root);
	return value;
}

/* The history tells of a mark when it is on stable storage. */
static bool is_listed(const struct buf *answer, const char *text, double epoch)
{
	const cJSON *mark;
	cJSON *root = NULL;
	bool listed = false;
	struct err err;

	(void)json_text_parse(&root, (const char *)answer->data, answer->len, &err);
	cJSON_ArrayForEach(mark, cJSON_GetObjectItemCaseSensitive(root, "marks"))
		listed = listed || (strcmp(client_string(mark, "text"), text) == 0 &&
				    client_number(mark, "epoch") >= epoch);
	cJSON_Delete(root);
	return listed;
}

static int wait_until_listed(const struct command *command, const struct client_target *target,
			     const char *instance, const char *text, double epoch)
{
	const uint64_t end_ns = clock_now_ns() + WAIT_S * CLOCK_NS_PER_S;
	char path[PATH_BYTES];
	struct buf answer = { 0 };
	int status, http_status;
	bool listed;

	(void)snprintf(path, sizeof(path), "/v1/history?instance=%s", instance);
	do {
		uv_sleep(LOOK_MS);
		status = client_ask(command, target, path, NULL, TIMEOUT_MS, &http_status, &answer);
		listed = status == EXIT_FINE && http_status == 200 &&
			 is_listed(&answer, text, epoch);
		buf_free(&answer);
	} while (status == EXIT_FINE && !listed && clock_now_ns() < end_ns);
	if (status == EXIT_FINE && !listed)
		status = options_failed("the mark is not in the journal yet, whose disk is slow or "
					"fails: 'understudy status' tells");
	return status;
}

static int give(const struct command *command, const struct client_target *target,
		const char *instance, const char *text, bool json)
{
	char *request = request_for(instance, text);
	struct buf answer = { 0 };
	int status, http_status;

	if (request == NULL)
		return options_failed("out of memory");
	status =
		client_ask(command, target, "/v1/mark", request, TIMEOUT_MS, &http_status, &answer);
	if (status == EXIT_FINE && http_status != 202)
		status = client_refused("not marked", http_status, &answer);
	else if (status == EXIT_FINE && epoch_of(&answer) == 0)
		status = options_failed("the answer tells of no epoch: is this an understudy?");
	else if (status == EXIT_FINE)
		status = wait_until_listed(command, target, instance, text, epoch_of(&answer));
	if (status == EXIT_FINE && json)
		(void)fwrite(answer.data, 1, answer.len, stdout);
	else if (status == EXIT_FINE)
		(void)printf("epoch %.0f\n", epoch_of(&answer));
	buf_free(&answer);
	mem_free(request);
	return status;
}

int verb_mark(int argc, char **argv)
{
	struct client_target target = { NULL, NULL };
	const char *instance = NULL, *text = NULL;
	struct config config;
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
	int status;

	if (!options_parse(&command, argc, argv, &status))
		return status;
	if (client_instance_wrong(&command, instance, &status) ||
	    client_target_wrong(&command, &target, &status))
		return status;
	status = client_find(&command, &target, &config);
	if (status == EXIT_FINE)
		status = give(&command, &target, instance, text, json);
	config_free(&config);
	return status;
}
