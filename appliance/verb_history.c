#include "appliance/base/json_text.h"
#include "appliance/client.h"
#include "appliance/verb.h"

#include <stdio.h>
#include <string.h>

#define TIMEOUT_MS 5000
#define PATH_BYTES 128
#define TEXT_BYTES 256

static const char about[] =
	"Shows what of an instance's past its standby's journal holds: the spans of epochs that 'understudy rewind' can bring\n"
	"back, each with its first and last epoch and when they were committed, and the operator's marks. Between two spans\n"
	"the journal could not be written, or the replica was replaced.";

static const char *string_of(const cJSON *object, const char *key)
{
	const char *value = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));

	return value != NULL ? value : "-";
}

static void show_span(const cJSON *span)
{
	char first[TEXT_BYTES], last[TEXT_BYTES];

	client_text(first, sizeof(first), string_of(span, "first_time"));
	client_text(last, sizeof(last), string_of(span, "last_time"));
	(void)printf("epochs %.0f to %.0f   %s to %s\n", client_number(span, "first_epoch"),
		     client_number(span, "last_epoch"), first, last);
}

static void show_mark(const cJSON *mark)
{
	char time[TEXT_BYTES], text[TEXT_BYTES];

	client_text(time, sizeof(time), string_of(mark, "time"));
	client_text(text, sizeof(text), string_of(mark, "text"));
	(void)printf("mark   %.0f   %s   %s\n", client_number(mark, "epoch"), time, text);
}

static int show(const struct buf *answer)
{
	const cJSON *spans, *item;
	cJSON *root = NULL;
	struct err err;

	(void)json_text_parse(&root, (const char *)answer->data, answer->len, &err);
	spans = cJSON_GetObjectItemCaseSensitive(root, "spans");
	if (!cJSON_IsArray(spans)) {
		cJSON_Delete(root);
		return options_failed(
			"the answer is not what a history is: is this an understudy?");
	}
	if (cJSON_GetArraySize(spans) == 0)
		(void)printf("nothing yet\n");
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "older_left_out")))
		(void)printf("(older ones are left out)\n");
	cJSON_ArrayForEach(item, spans)
		show_span(item);
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(root, "marks"))
		show_mark(item);
	(void)printf("%.0f MiB on the disk\n", client_number(root, "bytes") / (1 << 20));
	cJSON_Delete(root);
	return EXIT_FINE;
}

int verb_history(int argc, char **argv)
{
	struct client_target target = { NULL, NULL };
	const char *instance = NULL;
	struct buf answer = { 0 };
	char path[PATH_BYTES];
	bool json = false;
	const struct option options[] = {
		CLIENT_CONFIG_OPTION(&target),
		CLIENT_HTTP_OPTION(&target),
		{ .name = "instance", .value = "NAME", .text = &instance, .doc = "whose past" },
		{ .name = "json", .flag = &json, .doc = "print the answer as it is" },
	};
	const struct command command = {
		.synopsis = "history (--config FILE | --http ADDRESS) --instance NAME [--json]",
		.about = about,
		.options = options,
		.count = sizeof(options) / sizeof(options[0]),
	};
	int status, http_status;

	if (!options_parse(&command, argc, argv, &status))
		return status;
	if (client_instance_wrong(&command, instance, &status) ||
	    client_target_wrong(&command, &target, &status))
		return status;
	(void)snprintf(path, sizeof(path), "/v1/history?instance=%s", instance);
	status = client_ask(&command, &target, path, NULL, TIMEOUT_MS, &http_status, &answer);
	if (status == EXIT_FINE && http_status != 200)
		status = client_refused("no history", http_status, &answer);
	else if (status == EXIT_FINE && json)
		(void)fwrite(answer.data, 1, answer.len, stdout);
	else if (status == EXIT_FINE)
		status = show(&answer);
	buf_free(&answer);
	return status;
}
