#include "appliance/past_client.h"

#include "appliance/base/clock.h"
#include "appliance/base/json_text.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

#define TIMEOUT_MS 10000
#define WAIT_S 600 /* a head for each record of a history on a slow disk */
#define LOOK_MS 20
#define PATH "/v1/history?"

/* One question; *reading: the list is not there yet. */
static int ask(const struct command *command, const struct client_target *target, const char *path,
	       const char *refused, struct buf *answer, cJSON **root, bool *reading)
{
	int status, http_status;
	struct err err;

	status = client_ask(command, target, path, NULL, TIMEOUT_MS, &http_status, answer);
	if (status != EXIT_FINE)
		return status;
	if (http_status != 200)
		return client_refused(refused, http_status, answer);
	(void)json_text_parse(root, (const char *)answer->data, answer->len, &err);
	*reading = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(*root, "reading"));
	if (!*reading && !cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(*root, "epochs")))
		return options_failed(
			"the answer is not what a history is: is this an understudy?");
	return EXIT_FINE;
}

int past_client_epochs(const struct command *command, const struct client_target *target,
		       const struct past_query *query, const char *refused, struct buf *answer,
		       cJSON **root)
{
	const uint64_t end_ns = clock_now_ns() + WAIT_S * CLOCK_NS_PER_S;
	char path[sizeof(PATH) + PAST_QUERY_PRINTED_MAX] = PATH;
	bool reading = false;
	int status;

	past_query_print(path + strlen(PATH), query);
	*root = NULL;
	while ((status = ask(command, target, path, refused, answer, root, &reading)) ==
		       EXIT_FINE &&
	       reading && clock_now_ns() < end_ns) {
		cJSON_Delete(*root);
		*root = NULL;
		buf_free(answer);
		uv_sleep(LOOK_MS);
	}
	if (status == EXIT_FINE && reading)
		status = options_failed("the journal is still being read: ask again later");
	return status;
}

bool past_client_take(char out[PAST_QUERY_TEXT_MAX + 1], const char *value)
{
	const size_t len = strlen(value);

	if (len > PAST_QUERY_TEXT_MAX)
		return false;
	memcpy(out, value, len + 1);
	return true;
}
