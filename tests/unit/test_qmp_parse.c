/* QMP's objects: found however their bytes are cut, understood, and refused when they are none. */
#include "replica/qmp_parse.h"

#include "appliance/base/mem.h"
#include "replica/qmp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/*
 * Feeds `text` in pieces of `piece` bytes; returns the first error, or RC_OK with the number of
 * objects and the last one in *message.
 */
static int feed(const char *text, size_t piece, unsigned *count, struct qmp_parse_message *message)
{
	const uint8_t *at = (const uint8_t *)text;
	size_t total = strlen(text), left;
	struct qmp_parse parse;
	struct err err = { 0 };
	bool complete;
	int rc = RC_OK;

	*count = 0;
	memset(message, 0, sizeof(*message));
	qmp_parse_init(&parse);
	while (total > 0 && rc == RC_OK) {
		left = piece < total ? piece : total;
		total -= left;
		while (left > 0 && rc == RC_OK) {
			struct qmp_parse_message next;

			rc = qmp_parse_feed(&parse, &at, &left, &next, &complete, &err);
			if (rc == RC_OK && complete) {
				qmp_parse_release(message);
				*message = next;
				++*count;
			}
		}
	}
	assert_int_equal(rc, err.code);
	qmp_parse_free(&parse);
	return rc;
}

static void objects_are_found_however_the_bytes_are_cut(void **state)
{
	static const char text[] =
		"{\"return\": {}, \"id\": 1}\r\n"
		"{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 5, \"microseconds\": 7}}"
		" \n\t{\n  \"return\": [\n \"}]\\\"{\\\\\"\n ],\n \"id\": 42 }\n";
	struct qmp_parse_message message;
	unsigned count;
	size_t piece;

	(void)state;
	for (piece = 1; piece <= sizeof(text); piece++) {
		assert_int_equal(feed(text, piece, &count, &message), RC_OK);
		assert_int_equal(count, 3);
		assert_int_equal(message.kind, QMP_PARSE_RETURN);
		assert_true(message.has_id);
		assert_int_equal(message.id, 42);
		assert_string_equal(cJSON_GetArrayItem(message.data, 0)->valuestring, "}]\"{\\");
		qmp_parse_release(&message);
	}
}

static void an_event_has_its_name_data_and_time(void **state)
{
	struct qmp_parse_message message;
	unsigned count;

	(void)state;
	assert_int_equal(feed("{\"timestamp\": {\"seconds\": 1700000000, \"microseconds\": 123456},"
			      " \"event\": \"MIGRATION\", \"data\": {\"status\": \"colo\"}}",
			      1000, &count, &message),
			 RC_OK);
	assert_int_equal(message.kind, QMP_PARSE_EVENT);
	assert_string_equal(message.text, "MIGRATION");
	assert_int_equal(message.time_us, UINT64_C(1700000000123456));
	assert_string_equal(cJSON_GetObjectItem(message.data, "status")->valuestring, "colo");
	qmp_parse_release(&message);
}

static void a_time_that_cannot_be_is_no_time(void **state)
{
	static const char *const stamps[] = {
		"{\"seconds\": -1, \"microseconds\": -1}",
		"{\"seconds\": 1e300, \"microseconds\": 0}",
		"{\"seconds\": \"5\"}",
		"{\"seconds\": 5, \"microseconds\": 1e9}",
		"17",
		"null",
	};
	struct qmp_parse_message message;
	char text[200];
	unsigned count;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(stamps) / sizeof(stamps[0]); i++) {
		(void)snprintf(text, sizeof(text), "{\"event\": \"X\", \"timestamp\": %s}",
			       stamps[i]);
		assert_int_equal(feed(text, 1000, &count, &message), RC_OK);
		assert_int_equal(message.time_us, 0);
		qmp_parse_release(&message);
	}
}

static void an_id_that_is_not_ours_counts_as_none(void **state)
{
	static const char *const ids[] = { "-1",   "1.5", "\"1\"",	     "1e300",
					   "null", "{}",  "9007199254740994" };
	struct qmp_parse_message message;
	char text[100];
	unsigned count;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		(void)snprintf(text, sizeof(text), "{\"return\": {}, \"id\": %s}", ids[i]);
		assert_int_equal(feed(text, 1000, &count, &message), RC_OK);
		assert_false(message.has_id);
		qmp_parse_release(&message);
	}
}

static void what_is_not_qmp_is_refused(void **state)
{
	static const char *const texts[] = {
		"HTTP/1.1 400 Bad Request\r\n",
		"[1]",
		"\"text\"",
		"{]",
		"{}",
		"{\"return\": }",
		"{\"id\": 1}",
		"{\"error\": \"text\"}",
		"{\"event\": 7}",
		"{\"QMP\": 1}",
		"{\"return\": {]}}",
		"} {\"return\": {}}",
	};
	struct qmp_parse_message message;
	unsigned count;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(feed(texts[i], 1, &count, &message), RC_INVALID);
		assert_int_equal(feed(texts[i], 1000, &count, &message), RC_INVALID);
		assert_int_equal(count, 0);
	}
}

static void nesting_has_a_limit(void **state)
{
	char text[2 * QMP_PARSE_DEPTH_MAX + 100];
	struct qmp_parse_message message;
	size_t deep, len;
	unsigned count;

	(void)state;
	for (deep = QMP_PARSE_DEPTH_MAX - 1; deep <= QMP_PARSE_DEPTH_MAX; deep++) {
		len = (size_t)snprintf(text, sizeof(text), "{\"return\": ");
		memset(text + len, '[', deep);
		memset(text + len + deep, ']', deep);
		memcpy(text + len + 2 * deep, "}", 2);
		assert_int_equal(feed(text, 100, &count, &message),
				 deep < QMP_PARSE_DEPTH_MAX ? RC_OK : RC_LIMIT);
		qmp_parse_release(&message);
	}
}

static void size_has_a_limit(void **state)
{
	static const char before[] = "{\"return\": \"", after[] = "\"}";
	size_t over, fill, len;
	struct qmp_parse_message message;
	unsigned count;
	char *text;

	(void)state;
	for (over = 0; over <= 1; over++) {
		fill = QMP_LINE_MAX - strlen(before) - strlen(after) + over;
		len = strlen(before) + fill + sizeof(after);
		text = malloc(len);
		assert_non_null(text);
		memcpy(text, before, strlen(before));
		memset(text + strlen(before), 'x', fill);
		memcpy(text + strlen(before) + fill, after, sizeof(after));
		assert_int_equal(feed(text, 65536, &count, &message), over ? RC_LIMIT : RC_OK);
		qmp_parse_release(&message);
		free(text);
	}
}

int main(void)
{
	cJSON_Hooks hooks = { .malloc_fn = mem_alloc, .free_fn = mem_free };
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_are_found_however_the_bytes_are_cut),
		cmocka_unit_test(an_event_has_its_name_data_and_time),
		cmocka_unit_test(a_time_that_cannot_be_is_no_time),
		cmocka_unit_test(an_id_that_is_not_ours_counts_as_none),
		cmocka_unit_test(what_is_not_qmp_is_refused),
		cmocka_unit_test(nesting_has_a_limit),
		cmocka_unit_test(size_has_a_limit),
	};

	cJSON_InitHooks(&hooks);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
