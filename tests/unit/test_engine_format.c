/*
 * What Docker 20.10 and podman answer, and what nobody should.
 */
#include "fs-watch/engine_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ID "461e22842ea6be1901d3259ec1f0846d6483b216238d7f3deb1a12d8890ff640"

static void test_info(void **unused)
{
	static const char json[] =
		"{\"Driver\":\"overlay2\",\"DockerRootDir\":\"/var/lib/docker\",\"Containers\":3}\n";
	struct engine_info info;
	struct err err;

	(void)unused;
	assert_int_equal(engine_format_info(&info, json, strlen(json), &err), RC_OK);
	assert_string_equal(info.driver, "overlay2");
	assert_string_equal(info.root, "/var/lib/docker");
	assert_int_equal(engine_format_info(&info, "{}", 2, &err), RC_INVALID);
	assert_int_equal(engine_format_info(&info, "[1]", 3, &err), RC_INVALID);
	assert_int_equal(engine_format_info(&info, "page not found", 14, &err), RC_INVALID);
}

static int read_container(struct engine_container *container, const char *id, const char *name,
			  const char *running, const char *started, const char *rest)
{
	char json[1024];
	struct err err;

	(void)snprintf(
		json, sizeof(json),
		"{\"Id\":\"%s\",\"Name\":\"%s\",\"State\":{\"Running\":%s,\"StartedAt\":\"%s\"}%s}",
		id, name, running, started, rest);
	return engine_format_container(container, json, strlen(json), &err);
}

static void test_a_container(void **unused)
{
	static const char rest[] = ",\"GraphDriver\":{\"Name\":\"overlay2\",\"Data\":{"
				   "\"LowerDir\":\"/l\",\"UpperDir\":\"/r/overlay2/x/diff\"}}";
	static const char time[] = "2026-11-29T15:01:38.949566758Z";
	struct engine_container told;

	(void)unused;
	assert_int_equal(read_container(&told, ID, "/web.1", "true", time, rest), RC_OK);
	assert_string_equal(told.id, ID);
	assert_string_equal(told.name, "web.1");
	assert_string_equal(told.upper, "/r/overlay2/x/diff");
	assert_true(told.running);
	assert_int_equal(told.started_ns, UINT64_C(1795964498949566758));
	/* Made, and never started; of podman; of a driver without layers. */
	assert_int_equal(read_container(&told, ID, "c", "false", "0001-01-01T00:00:00Z", ""),
			 RC_OK);
	assert_false(told.running);
	assert_string_equal(told.upper, "");
	assert_int_equal(told.started_ns, 0);
	assert_int_equal(read_container(&told, "../images", "c", "true", time, rest), RC_INVALID);
	assert_int_equal(read_container(&told, "", "c", "true", time, rest), RC_INVALID);
	assert_int_equal(read_container(&told, ID ID, "c", "true", time, rest), RC_INVALID);
	assert_int_equal(read_container(&told, ID, "a\\nb", "true", time, rest), RC_INVALID);
	assert_int_equal(read_container(&told, ID, "c", "true", "yesterday", rest), RC_INVALID);
}

static void test_times(void **unused)
{
	uint64_t ns;

	(void)unused;
	assert_true(engine_format_time(&ns, "1970-01-01T00:00:01Z"));
	assert_int_equal(ns, 1000000000);
	assert_true(engine_format_time(&ns, "1970-01-01T01:00:01.5+01:00"));
	assert_int_equal(ns, 1500000000);
	assert_true(engine_format_time(&ns, "1969-12-31T23:00:02-01:00"));
	assert_int_equal(ns, 2000000000);
	assert_true(engine_format_time(&ns, "1970-01-01T00:00:01.1234567891234Z"));
	assert_int_equal(ns, 1123456789);
	assert_false(engine_format_time(&ns, "1970-01-01T00:00:01"));
	assert_false(engine_format_time(&ns, "1970-01-01T00:00:01+1"));
	assert_false(engine_format_time(&ns, "1970-01-01T00:00:01Z "));
	assert_false(engine_format_time(&ns, ""));
}

static void check_event(const char *type, const char *action, enum engine_event_kind kind)
{
	struct engine_event event;
	char json[512];
	struct err err;

	(void)snprintf(json, sizeof(json),
		       "{\"status\":\"x\",\"Type\":\"%s\",\"Action\":\"%s\",\"Actor\":{\"ID\":\"" ID
		       "\",\"Attributes\":{\"image\":\"bb\",\"name\":\"c1\"}},\"timeNano\":1}",
		       type, action);
	assert_int_equal(engine_format_event(&event, json, strlen(json), &err), RC_OK);
	assert_int_equal(event.kind, kind);
	if (kind == ENGINE_OTHER)
		return;
	assert_string_equal(event.id, ID);
	assert_string_equal(event.name, "c1");
}

static void test_events(void **unused)
{
	static const char odd[] = "{\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{}}";
	struct engine_event event;
	struct err err;

	(void)unused;
	check_event("container", "create", ENGINE_CREATE);
	check_event("container", "start", ENGINE_START);
	check_event("container", "die", ENGINE_DIE);
	check_event("container", "died", ENGINE_DIE);
	check_event("container", "destroy", ENGINE_DESTROY);
	check_event("container", "remove", ENGINE_DESTROY);
	check_event("container", "rename", ENGINE_RENAME);
	check_event("container", "exec_create: sh -c true", ENGINE_OTHER);
	check_event("network", "create", ENGINE_OTHER);
	assert_int_equal(engine_format_event(&event, odd, strlen(odd), &err), RC_INVALID);
	assert_int_equal(engine_format_event(&event, "{", 1, &err), RC_INVALID);
	assert_int_equal(engine_format_event(&event, "[]", 2, &err), RC_OK);
	assert_int_equal(event.kind, ENGINE_OTHER);
}

static void count(void *owner, const char *id)
{
	assert_string_equal(id, ID);
	++*(unsigned *)owner;
}

static void test_lists(void **unused)
{
	static const char json[] = "[{\"Id\":\"" ID "\",\"Names\":[\"/a\"]},{\"Id\":\"" ID "\"}]\n",
			  odd[] = "[{\"Id\":\"" ID "\"},{\"Id\":7}]";
	unsigned n = 0;
	struct err err;

	(void)unused;
	assert_int_equal(engine_format_list(json, strlen(json), count, &n, &err), RC_OK);
	assert_int_equal(n, 2);
	assert_int_equal(engine_format_list("[]\n", 3, count, &n, &err), RC_OK);
	assert_int_equal(n, 2);
	assert_int_equal(engine_format_list(odd, strlen(odd), count, &n, &err), RC_INVALID);
	assert_int_equal(engine_format_list("{}", 2, count, &n, &err), RC_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_info),  cmocka_unit_test(test_a_container),
		cmocka_unit_test(test_times), cmocka_unit_test(test_events),
		cmocka_unit_test(test_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
