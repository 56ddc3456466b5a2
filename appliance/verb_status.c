#include "appliance/base/json_text.h"
#include "appliance/client.h"
#include "appliance/status_table.h"
#include "appliance/verb.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char about[] =
	"Shows what a running primary or standby is doing: for each instance its state, the last committed epoch,\n"
	"how far the clone is behind, how long the instance is paused for a checkpoint, and what goes over the wire\n"
	"in proportion to what changed.";

/* Whatever else answers at that address is not taken for one of ours with nothing to tell. */
static bool is_status(const cJSON *root)
{
	return cJSON_IsString(cJSON_GetObjectItemCaseSensitive(root, "role")) &&
	       cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(root, "instances"));
}

static int show(const struct buf *answer)
{
	bool colour = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL;
	struct buf out = { 0 };
	cJSON *root;
	struct err err;

	if (json_text_parse(&root, (const char *)answer->data, answer->len, &err) != RC_OK) {
		(void)err_prefix(&err, "the answer is not what a status is: ");
		return options_failed(err.text);
	}
	if (!is_status(root)) {
		cJSON_Delete(root);
		return options_failed("the answer is not what a status is: is this an understudy?");
	}
	status_table_print(root, colour, &out);
	cJSON_Delete(root);
	if (!out.failed)
		(void)fwrite(out.data, 1, out.len, stdout);
	buf_free(&out);
	return out.failed ? options_failed("status: out of memory") : EXIT_FINE;
}

int verb_status(int argc, char **argv)
{
	struct client_target target = { NULL, NULL };
	bool json = false;
	const struct option options[] = {
		CLIENT_CONFIG_OPTION(&target),
		CLIENT_HTTP_OPTION(&target),
		{ .name = "json", .flag = &json, .doc = "print the answer as it is" },
	};
	const struct command command = { .synopsis =
						 "status (--config FILE | --http ADDRESS) [--json]",
					 .about = about,
					 .options = options,
					 .count = sizeof(options) / sizeof(options[0]) };
	int status;

	if (!options_parse(&command, argc, argv, &status))
		return status;
	return client_show(&command, &target, "/v1/status", "status", json, show);
}
