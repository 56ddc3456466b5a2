#include "replica/colo_settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct colo_settings_change change;
static struct err err;

static int teardown(void **state)
{
	(void)state;
	cJSON_Delete(change.ours);
	cJSON_Delete(change.theirs);
	change = (struct colo_settings_change){ NULL, NULL };
	return 0;
}

static int capabilities(const char *text, bool *leftover)
{
	cJSON *reply = cJSON_Parse(text);
	int rc;

	assert_non_null(reply);
	rc = colo_settings_capabilities(reply, &change, leftover, &err);
	cJSON_Delete(reply);
	return rc;
}

static void parameters(const char *text, uint64_t copy_bytes_s, bool leftover)
{
	struct colo_settings settings = { .copy_bytes_s = copy_bytes_s, .downtime_ms = 31 };
	cJSON *reply = cJSON_Parse(text);

	assert_non_null(reply);
	assert_int_equal(colo_settings_parameters(reply, &settings, leftover, &change, &err),
			 RC_OK);
	cJSON_Delete(reply);
}

/* 1 or 0 as the arguments set the capability, -1 if they leave it. */
static int set_to(const cJSON *arguments, const char *name)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, cJSON_GetObjectItem(arguments, "capabilities")) {
		if (strcmp(cJSON_GetObjectItem(item, "capability")->valuestring, name) == 0)
			return cJSON_IsTrue(cJSON_GetObjectItem(item, "state"));
	}
	return -1;
}

static double number(const cJSON *arguments, const char *name)
{
	return cJSON_GetNumberValue(cJSON_GetObjectItem(arguments, name));
}

#define CAPABILITY(name, state) "{\"capability\": \"" name "\", \"state\": " state "}"

static void what_shapes_the_stream_is_switched_off_and_back_on(void **state)
{
	bool leftover;

	(void)state;
	assert_int_equal(
		capabilities(
			"[" CAPABILITY("xbzrle", "true") "," CAPABILITY("multifd", "false") "," CAPABILITY(
				"events",
				"true") "," CAPABILITY("x-colo",
						       "false") "," CAPABILITY("return-path",
									       "true") "]",
			&leftover),
		RC_OK);
	assert_false(leftover);
	assert_int_equal(set_to(change.ours, "x-colo"), 1);
	assert_int_equal(set_to(change.theirs, "x-colo"), 0);
	assert_int_equal(set_to(change.ours, "xbzrle"), 0);
	assert_int_equal(set_to(change.theirs, "xbzrle"), 1);
	assert_int_equal(set_to(change.ours, "return-path"), 0);
	assert_int_equal(set_to(change.theirs, "return-path"), 1);
	assert_int_equal(set_to(change.ours, "multifd"), -1);
	assert_int_equal(set_to(change.ours, "events"), -1);
	assert_int_equal(set_to(change.theirs, "events"), -1);
}

static void what_a_killed_agent_left_on_is_not_put_back(void **state)
{
	bool leftover;

	(void)state;
	assert_int_equal(
		capabilities("[" CAPABILITY("events", "true") "," CAPABILITY(
				     "x-colo", "true") "," CAPABILITY("auto-converge", "true") "]",
			     &leftover),
		RC_OK);
	assert_true(leftover);
	assert_int_equal(set_to(change.theirs, "events"), 0);
	assert_int_equal(set_to(change.theirs, "x-colo"), 0);
	assert_int_equal(set_to(change.theirs, "auto-converge"), 0);
	teardown(state);
	parameters("{\"max-bandwidth\": 1099511627776, \"downtime-limit\": 31}", 0, true);
	assert_true(number(change.theirs, "max-bandwidth") == 134217728);
	assert_true(number(change.theirs, "downtime-limit") == 300);
}

static void a_qemu_without_colo_is_refused(void **state)
{
	bool leftover;

	(void)state;
	assert_int_equal(capabilities("[" CAPABILITY("events", "true") "]", &leftover),
			 RC_UNSUPPORTED);
	assert_null(change.ours);
	assert_int_equal(capabilities("{\"x-colo\": true}", &leftover), RC_UNSUPPORTED);
	assert_int_equal(capabilities("[1, null, {}, [\"x-colo\"], {\"capability\": 7}]",
				      &leftover),
			 RC_UNSUPPORTED);
}

static void parameters_are_put_back_as_found(void **state)
{
	(void)state;
	parameters(
		"{\"max-bandwidth\": 33554432, \"downtime-limit\": 500, \"x-checkpoint-delay\": 20000, \"tls-creds\": \"t\","
		" \"mode\": \"normal\", \"avail-switchover-bandwidth\": 0, \"cpu-throttle-initial\": 20}",
		0, false);
	assert_true(number(change.ours, "max-bandwidth") == 1099511627776.0);
	assert_true(number(change.theirs, "max-bandwidth") == 33554432);
	assert_true(number(change.ours, "downtime-limit") == 31);
	assert_true(number(change.theirs, "downtime-limit") == 500);
	assert_true(number(change.theirs, "x-checkpoint-delay") == 20000);
	assert_true(number(change.ours, "avail-switchover-bandwidth") > 0);
	assert_true(number(change.theirs, "avail-switchover-bandwidth") == 0);
	assert_string_equal(cJSON_GetObjectItem(change.ours, "tls-creds")->valuestring, "");
	assert_string_equal(cJSON_GetObjectItem(change.theirs, "tls-creds")->valuestring, "t");
	assert_null(cJSON_GetObjectItem(change.ours, "mode"));
	assert_null(cJSON_GetObjectItem(change.ours, "cpu-throttle-initial"));
}

static void what_this_qemu_does_not_know_is_not_set(void **state)
{
	(void)state;
	parameters("{\"max-bandwidth\": 33554432}", 1000000, false);
	assert_true(number(change.ours, "max-bandwidth") == 1000000);
	assert_int_equal(cJSON_GetArraySize(change.ours), 1);
	assert_int_equal(cJSON_GetArraySize(change.theirs), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_shapes_the_stream_is_switched_off_and_back_on),
		TEST(what_a_killed_agent_left_on_is_not_put_back),
		TEST(a_qemu_without_colo_is_refused),
		TEST(parameters_are_put_back_as_found),
		TEST(what_this_qemu_does_not_know_is_not_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
