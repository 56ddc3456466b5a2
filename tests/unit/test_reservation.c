#include "appliance/base/mem.h"
#include "replica/reservation.h"

#include <cjson/cJSON.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct err err;

static struct precheck_facts facts(void)
{
	return (struct precheck_facts){
		.major = 10,
		.minor = 0,
		.micro = 13,
		.package = "Debian 1:10.0.13",
		.kvm = false,
		.machine = "pc-i440fx-10.0",
		.default_ram_id = "pc.ram",
		.memory_bytes = UINT64_C(256) << 20,
		.cpus = 2,
	};
}

static void make(struct reservation *reservation, char *const *arguments)
{
	static const uint8_t bytes[] = "qemu\0-nodefaults\0-name\0\xc3\xa4 \"q\"\n\\u0000\\\0-S";
	struct precheck_facts known = facts();
	struct cmdline cmdline;

	assert_int_equal(cmdline_parse(&cmdline, bytes, sizeof(bytes), &err), RC_OK);
	assert_int_equal(reservation_derive(reservation, &cmdline, &known, arguments, &err), RC_OK);
	cmdline_free(&cmdline);
}

static int take(struct reservation *reservation, const char *json)
{
	return reservation_from_json(reservation, (const uint8_t *)json, strlen(json), &err);
}

static void what_is_written_is_read_back(void **state)
{
	struct buf json = { .limit = RESERVATION_JSON_MAX };
	struct reservation out = { 0 }, in;

	(void)state;
	make(&out, NULL);
	memcpy(out.witness, "https://etcd:2379", sizeof("https://etcd:2379"));
	assert_int_equal(reservation_add_nic(&out, "net0", "a0", "q0", false, &err), RC_OK);
	assert_int_equal(reservation_add_nic(&out, "net1", "a1", "q1", true, &err), RC_OK);
	out.nics[1].at_once = true;
	out.witness_identity = UINT64_C(0xfec48d4045584289);
	out.heartbeat_ms = 50;
	out.detect_ms = 300;
	assert_int_equal(reservation_to_json(&out, &json, &err), RC_OK);
	assert_int_equal(reservation_from_json(&in, json.data, json.len, &err), RC_OK);
	assert_int_equal(in.spec.args.count, out.spec.args.count);
	for (size_t i = 0; i < in.spec.args.count; i++)
		assert_string_equal(in.spec.args.args[i], out.spec.args.args[i]);
	assert_int_equal(in.spec.nbackends, 1);
	assert_string_equal(in.spec.backends[0].name, "pc.ram");
	assert_int_equal(in.spec.backends[0].bytes, UINT64_C(256) << 20);
	assert_string_equal(in.spec.backends[0].path, "");
	assert_string_equal(in.spec.accel, "tcg");
	assert_string_equal(in.version, "10.0.13");
	assert_string_equal(in.package, "Debian 1:10.0.13");
	assert_string_equal(in.machine, "pc-i440fx-10.0");
	assert_int_equal(in.cpus, 2);
	assert_int_equal(in.memory_bytes, UINT64_C(256) << 20);
	assert_string_equal(in.witness, "https://etcd:2379");
	assert_int_equal(in.nnics, 2);
	assert_false(in.nics[0].announce || in.nics[0].at_once);
	assert_true(in.nics[1].announce && in.nics[1].at_once);
	assert_true(in.witness_identity == UINT64_C(0xfec48d4045584289));
	assert_int_equal(in.heartbeat_ms, 50);
	assert_int_equal(in.detect_ms, 300);
	buf_free(&json);
	reservation_free(&in);
	reservation_free(&out);
}

static void the_operators_list_takes_the_place_of_the_derived_one(void **state)
{
	static char a[] = "-nodefaults", b[] = "-vnc", c[] = ":1";
	char *const arguments[] = { a, b, c, NULL };
	struct reservation reservation = { 0 };

	(void)state;
	make(&reservation, arguments);
	assert_string_equal(reservation.spec.args.args[2], "-nodefaults");
	assert_string_equal(reservation.spec.args.args[3], "-vnc");
	reservation_free(&reservation);
}

/* A valid one with room for a change. */
#define JSON(arguments, backends, rest)                         \
	"{\"arguments\":" arguments ",\"backends\":" backends   \
	",\"qemu\":{\"version\":\"10.0.13\",\"package\":\"\"}," \
	"\"accel\":\"tcg\",\"machine\":\"pc\",\"cpus\":1,\"memory_bytes\":4096" rest "}"
#define ARGS "[\"-nodefaults\"]"
#define RAM "[{\"name\":\"pc.ram\",\"bytes\":4096}]"

static void a_newer_primary_may_say_more(void **state)
{
	struct reservation reservation = { 0 };

	(void)state;
	assert_int_equal(take(&reservation, JSON(ARGS, RAM, "")), RC_OK);
	reservation_free(&reservation);
	assert_int_equal(take(&reservation, JSON(ARGS, RAM, ",\"more\":[{}],\"witness\":true")),
			 RC_OK);
	assert_string_equal(reservation.witness, "");
	assert_true(reservation.witness_identity == 0);
	reservation_free(&reservation);
}

static void anything_else_is_refused_saying_what(void **state)
{
	static const struct {
		const char *json, *names;
	} cases[] = {
		{ "", "not JSON" },
		{ "[]", "qemu" },
		{ "{}", "qemu" },
		{ "nonsense", "not JSON" },
		{ JSON(ARGS, RAM, "") "x", "not JSON" },
		{ JSON("\"-S\"", RAM, ""), "arguments" },
		{ JSON("[1]", RAM, ""), "arguments[0]" },
		{ JSON("[\"a\",null]", RAM, ""), "arguments[1]" },
		{ JSON("[\"-S\"]", RAM, ""), "-S" },
		{ JSON("[\"-incoming\",\"tcp:0:1\"]", RAM, ""), "-incoming" },
		{ JSON("[\"-object\",\"memory-backend-ram,id=x\"]", RAM, ""), "-object" },
		{ JSON("[\"-name\",\"a\\u0000b\"]", RAM, ""), "NUL" },
		{ JSON(ARGS, RAM, ",\"witness\":\"a\\nb\""), "witness: a control" },
		{ JSON(ARGS, RAM, ",\"witness_identity\":\"\""), "witness_identity: no number" },
		{ JSON(ARGS, RAM, ",\"witness_identity\":\"-1\""), "witness_identity: no number" },
		{ JSON(ARGS, RAM, ",\"witness_identity\":\"0123456789abcdef0\""),
		  "witness_identity: no number" },
		{ JSON(ARGS, "[]", ""), "backends" },
		{ JSON(ARGS, "{}", ""), "backends" },
		{ JSON(ARGS, "[1]", ""), "backends[0]: name" },
		{ JSON(ARGS, "[{\"name\":\"pc.ram\"}]", ""), "bytes" },
		{ JSON(ARGS, "[{\"name\":\"\",\"bytes\":4096}]", ""), "name" },
		{ JSON(ARGS, "[{\"name\":\"a,mem-path=/etc/passwd\",\"bytes\":4096}]", ""),
		  "name" },
		{ JSON(ARGS, "[{\"name\":\"../x\",\"bytes\":4096}]", ""), "name" },
		{ JSON(ARGS, "[{\"name\":\"/objects/\",\"bytes\":4096}]", ""), "name" },
		{ JSON(ARGS, "[{\"name\":\"/objects/a/b\",\"bytes\":4096}]", ""), "name" },
		{ JSON(ARGS, "[{\"name\":\"a\",\"bytes\":4097}]", ""), "pages" },
		{ JSON(ARGS, "[{\"name\":\"a\",\"bytes\":4096.5}]", ""), "whole number" },
		{ JSON(ARGS, "[{\"name\":\"a\",\"bytes\":0}]", ""), "whole number" },
		{ JSON(ARGS, "[{\"name\":\"a\",\"bytes\":-4096}]", ""), "whole number" },
		{ JSON(ARGS, "[{\"name\":\"a\",\"bytes\":1e300}]", ""), "whole number" },
		{ JSON(ARGS, "[{\"name\":\"a\",\"bytes\":\"4096\"}]", ""), "bytes" },
		{ JSON(ARGS, "[{\"name\":\"a\",\"bytes\":4096},{\"name\":\"a\",\"bytes\":4096}]",
		       ""),
		  "twice" },
		{ "{\"arguments\":[],\"backends\":" RAM
		  ",\"qemu\":{\"version\":1,\"package\":\"\"}}",
		  "version" },
		{ "{\"arguments\":[],\"backends\":" RAM
		  ",\"qemu\":{\"version\":\"a\\nb\",\"package\":\"\"}}",
		  "control" },
		{ "{\"qemu\":{\"version\":\"1\",\"package\":\"\"},\"machine\":\"pc\",\"cpus\":0}",
		  "cpus" },
		{ "{\"qemu\":{\"version\":\"1\",\"package\":\"\"},\"machine\":\"pc\",\"cpus\":9000}",
		  "cpus" },
		{ "{\"qemu\":{\"version\":\"1\",\"package\":\"\"},\"machine\":\"pc\",\"cpus\":1}",
		  "memory_bytes" },
		{ "{\"arguments\":[],\"backends\":" RAM
		  ",\"qemu\":{\"version\":\"1\",\"package\":\"\"},\"accel\":\"hax\","
		  "\"machine\":\"pc\",\"cpus\":1,\"memory_bytes\":0}",
		  "accel" },
	};
	struct reservation reservation = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (take(&reservation, cases[i].json) == RC_OK)
			fail_msg("taken: %s", cases[i].json);
		assert_int_not_equal(strncmp(err.text, "reservation: ", 13), 0); /* our callers' */
		if (strstr(err.text, cases[i].names) == NULL)
			fail_msg("%s: \"%s\" does not name \"%s\"", cases[i].json, err.text,
				 cases[i].names);
		reservation_free(&reservation);
	}
}

static void too_much_is_refused(void **state)
{
	struct reservation reservation = { 0 };
	size_t len = RESERVATION_JSON_MAX + 1;
	char *json = malloc(len);
	size_t used;

	(void)state;
	memset(json, ' ', len);
	assert_int_equal(reservation_from_json(&reservation, (uint8_t *)json, len, &err), RC_LIMIT);
	reservation_free(&reservation);

	used = (size_t)sprintf(
		json,
		"{\"qemu\":{\"version\":\"1\",\"package\":\"\"},\"machine\":\"pc\",\"cpus\":1,"
		"\"memory_bytes\":0,\"arguments\":[\"\"");
	for (int i = 0; i < CMDLINE_ARGS_MAX; i++)
		used += (size_t)sprintf(json + used, ",\"\"");
	used += (size_t)sprintf(json + used, "]}");
	assert_int_equal(reservation_from_json(&reservation, (uint8_t *)json, used, &err),
			 RC_LIMIT);
	reservation_free(&reservation);

	used = (size_t)sprintf(
		json,
		JSON(ARGS, "[{\"name\":\"a\",\"bytes\":%llu},{\"name\":\"b\",\"bytes\":4096}]", ""),
		(unsigned long long)LAYOUT_BYTES_MAX);
	assert_int_equal(reservation_from_json(&reservation, (uint8_t *)json, used, &err),
			 RC_INVALID);
	assert_non_null(strstr(err.text, "backends[1]: bytes"));
	reservation_free(&reservation);

	/* Nested deeper than any reservation: the parser's own limit. */
	memset(json, '[', 100000);
	assert_int_equal(reservation_from_json(&reservation, (uint8_t *)json, 100000, &err),
			 RC_INVALID);
	reservation_free(&reservation);
	free(json);
}

static void one_too_large_for_the_wire_is_not_written(void **state)
{
	struct buf json = { .limit = 4 * RESERVATION_JSON_MAX };
	struct reservation reservation = { 0 };
	char *text = malloc(100001);

	(void)state;
	memset(text, '\n', 100000); /* two bytes each in JSON */
	text[100000] = '\0';
	assert_int_equal(cmdline_add(&reservation.spec.args, text, &err), RC_OK);
	assert_int_equal(cmdline_add(&reservation.spec.args, text, &err), RC_OK);
	assert_int_equal(reservation_to_json(&reservation, &json, &err), RC_LIMIT);
	assert_int_equal(json.len, 0);
	free(text);
	reservation_free(&reservation);
	buf_free(&json);
}

static void answers_say_yes_or_why_not(void **state)
{
	struct buf json = { 0 };

	(void)state;
	assert_int_equal(reservation_answer(&json, NULL, "stale", &err), RC_OK);
	assert_int_equal(json.len, strlen("{\"ok\":true,\"image\":\"stale\"}"));
	assert_memory_equal(json.data, "{\"ok\":true,\"image\":\"stale\"}", json.len);
	buf_reset(&json);
	assert_int_equal(reservation_answer(&json, "no \"disk\"", "empty", &err), RC_OK);
	assert_memory_equal(json.data,
			    "{\"ok\":false,\"image\":\"empty\",\"error\":\"no \\\"disk\\\"\"}",
			    json.len);
	buf_free(&json);
}

#ifdef UNDERSTUDY_FAULTS
static void every_failing_allocation_is_an_error_and_leaks_nothing(void **state)
{
	cJSON_Hooks ours = { mem_alloc, mem_free };
	struct reservation out = { 0 }, in = { 0 };
	struct buf json;
	bool fired = true;
	int rc;

	(void)state;
	make(&out, NULL);
	cJSON_InitHooks(&ours);
	for (unsigned long n = 1; fired; n++) {
		json = (struct buf){ .limit = RESERVATION_JSON_MAX };
		fault_arm(FAULT_ALLOC, n);
		rc = reservation_to_json(&out, &json, &err);
		if (rc == RC_OK)
			rc = reservation_from_json(&in, json.data, json.len, &err);
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
		assert_int_equal(rc == RC_OK, !fired);
		reservation_free(&in);
		buf_free(&json);
	}
	cJSON_InitHooks(NULL);
	reservation_free(&out);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(the_operators_list_takes_the_place_of_the_derived_one),
		cmocka_unit_test(a_newer_primary_may_say_more),
		cmocka_unit_test(anything_else_is_refused_saying_what),
		cmocka_unit_test(too_much_is_refused),
		cmocka_unit_test(one_too_large_for_the_wire_is_not_written),
		cmocka_unit_test(answers_say_yes_or_why_not),
#ifdef UNDERSTUDY_FAULTS
		cmocka_unit_test(every_failing_allocation_is_an_error_and_leaks_nothing),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
