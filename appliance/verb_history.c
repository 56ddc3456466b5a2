#include "appliance/base/json_text.h"
#include "appliance/past_client.h"
#include "appliance/verb.h"
#include "replica/journal_epochs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 128
#define TEXT_BYTES 256
#define DIGITS_MAX 8

static const char about[] =
	"Shows what of an instance's past its standby's journal holds: the spans of epochs that 'understudy rewind' can bring\n"
	"back, each with its first and last epoch and when they were committed, and the operator's marks. Between two spans\n"
	"the journal could not be written, or the replica was replaced.\n\n"
	"With --epochs each epoch: when it was committed, how many pages it brought, and its bytes in the journal. Of more than\n"
	"--limit (1000 by default, 10000 at most) the first ones from --from on, or without it the last ones, up to --to; each is\n"
	"an epoch, a time or a mark as 'understudy rewind' takes it.";

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

/* ---- each epoch ---- */

static void show_epoch(const cJSON *epoch)
{
	char time[TEXT_BYTES];

	client_text(time, sizeof(time), string_of(epoch, "time"));
	(void)printf("epoch %.0f   %s   %.0f pages   %.0f bytes\n", client_number(epoch, "epoch"),
		     time, client_number(epoch, "pages"), client_number(epoch, "bytes"));
}

static void show_epochs(const cJSON *root)
{
	const cJSON *epochs = cJSON_GetObjectItemCaseSensitive(root, "epochs"), *epoch;
	const int count = cJSON_GetArraySize(epochs);

	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "earlier")))
		(void)printf("(earlier ones are left out: --to %.0f, or --from)\n",
			     client_number(cJSON_GetArrayItem(epochs, 0), "epoch"));
	cJSON_ArrayForEach(epoch, epochs)
		show_epoch(epoch);
	if (count == 0)
		(void)printf("none\n");
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "later")))
		(void)printf("(later ones are left out: --from %.0f)\n",
			     client_number(cJSON_GetArrayItem(epochs, count - 1), "epoch"));
}

static int list_epochs(const struct command *command, const struct client_target *target,
		       const struct past_query *query, bool json)
{
	struct buf answer = { 0 };
	cJSON *root;
	int status =
		past_client_epochs(command, target, query, "no list of epochs", &answer, &root);

	if (status == EXIT_FINE && json)
		(void)fwrite(answer.data, 1, answer.len, stdout);
	else if (status == EXIT_FINE)
		show_epochs(root);
	cJSON_Delete(root);
	buf_free(&answer);
	return status;
}

/* ---- what there is ---- */

static int list_spans(const struct command *command, const struct client_target *target,
		      const char *instance, bool json)
{
	char path[PATH_BYTES];

	(void)snprintf(path, sizeof(path), "/v1/history?instance=%s", instance);
	return client_show(command, target, path, "no history", json, show);
}

/* False: that is none, which has been said. */
static bool read_limit(const struct command *command, const char *text, uint32_t *limit,
		       int *status)
{
	const size_t digits = strspn(text, "0123456789");
	const unsigned long value = digits <= DIGITS_MAX ? strtoul(text, NULL, 10) : 0;

	*limit = (uint32_t)value;
	if (text[digits] == '\0' && value > 0 && value <= JOURNAL_EPOCHS_MAX)
		return true;
	*status = options_wrong(command, "--limit %s: 1 to %d", text, JOURNAL_EPOCHS_MAX);
	return false;
}

int verb_history(int argc, char **argv)
{
	struct past_query query = { .limit = PAST_QUERY_LIMIT };
	struct client_target target = { NULL, NULL };
	const char *instance = NULL, *from = NULL, *to = NULL, *limit = NULL;
	bool json = false;
	const struct option options[] = {
		CLIENT_CONFIG_OPTION(&target),
		CLIENT_HTTP_OPTION(&target),
		{ .name = "instance", .value = "NAME", .text = &instance, .doc = "whose past" },
		{ .name = "epochs", .flag = &query.epochs, .doc = "list its epochs" },
		{ .name = "from", .value = "WHEN", .text = &from, .doc = "the first of them" },
		{ .name = "to", .value = "WHEN", .text = &to, .doc = "the last of them" },
		{ .name = "limit", .value = "N", .text = &limit, .doc = "at most so many" },
		{ .name = "json", .flag = &json, .doc = "print the answer as it is" },
	};
	const struct command command = {
		.synopsis =
			"history (--config FILE | --http ADDRESS) --instance NAME [--epochs [--from WHEN] [--to WHEN] [--limit N]] [--json]",
		.about = about,
		.options = options,
		.count = sizeof(options) / sizeof(options[0]),
	};
	struct config config;
	int status;

	if (!options_parse(&command, argc, argv, &status))
		return status;
	if (client_instance_wrong(&command, instance, &status) ||
	    client_target_wrong(&command, &target, &status))
		return status;
	if (!query.epochs && (from != NULL || to != NULL || limit != NULL))
		return options_wrong(&command, "--from, --to and --limit are for --epochs");
	if (limit != NULL && !read_limit(&command, limit, &query.limit, &status))
		return status;
	if (!past_client_take(query.instance, instance) ||
	    !past_client_take(query.from, from != NULL ? from : "") ||
	    !past_client_take(query.to, to != NULL ? to : ""))
		return options_wrong(&command, "--from, --to: too long");
	status = client_find(&command, &target, &config);
	if (status == EXIT_FINE)
		status = query.epochs ? list_epochs(&command, &target, &query, json) :
					list_spans(&command, &target, instance, json);
	config_free(&config);
	return status;
}
