/* The question about a past, as it travels in a URL. */
#include "appliance/past_query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void what_is_printed_is_read(void **state)
{
	struct past_query query = { .instance = "vm1", .epochs = true, .limit = 7 }, read;
	char text[PAST_QUERY_PRINTED_MAX];
	struct err err;
	size_t i;

	(void)state;
	(void)snprintf(query.from, sizeof(query.from), "before upgrade & 50%% of \"\xc3\xbc\"");
	(void)snprintf(query.to, sizeof(query.to), "2026-11-29T04:30:00.123+01:00");
	past_query_print(text, &query);
	assert_string_equal(
		text, "instance=vm1&epochs&from=before%20upgrade%20%26%2050%25%20of%20%22%C3%BC"
		      "%22&to=2026-11-29T04:30:00.123%2B01:00&limit=7");
	assert_int_equal(past_query_read(&read, text, &err), RC_OK);
	assert_string_equal(read.from, query.from);
	assert_string_equal(read.to, query.to);
	assert_true(read.epochs && read.limit == 7);
	for (i = 0; i < PAST_QUERY_TEXT_MAX; i++) /* the longest */
		query.from[i] = query.to[i] = query.instance[i] = '\x01';
	past_query_print(text, &query);
	assert_int_equal(past_query_read(&read, text, &err), RC_OK);
	assert_string_equal(read.to, query.to);
}

static void anything_else_is_refused(void **state)
{
	static const char *const wrong[] = {
		"",
		"epochs",
		"instance=",
		"instance=a&instance=b",
		"instance",
		"instance=a&from=1",
		"instance=a&epochs&limit=0",
		"instance=a&epochs&limit=10001",
		"instance=a&epochs&limit=1x",
		"instance=a&epochs&limit=99999999999999999999",
		"instance=a&epochs&from=%",
		"instance=a&epochs&from=%4",
		"instance=a&epochs&from=%4g",
		"instance=a&epochs&from=%00",
		"instance=a&epochs=1",
		"instance=a&epochs&until=4",
		"instance=a&&epochs",
		"=a",
	};
	char text[2 * PAST_QUERY_TEXT_MAX];
	struct past_query query;
	struct err err;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (past_query_read(&query, wrong[i], &err) != RC_INVALID)
			fail_msg("taken: %s", wrong[i]);
	}
	(void)snprintf(text, sizeof(text), "instance=%0*d", PAST_QUERY_TEXT_MAX + 1, 0);
	assert_int_equal(past_query_read(&query, text, &err), RC_INVALID);
	assert_int_equal(past_query_read(&query, "instance=a&epochs", &err), RC_OK);
	assert_int_equal(query.limit, PAST_QUERY_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_printed_is_read),
		cmocka_unit_test(anything_else_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
