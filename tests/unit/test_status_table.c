#include "appliance/base/json_text.h"
#include "appliance/base/mem.h"
#include "appliance/status_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The table for a status, NUL-terminated; the caller frees it. */
static char *table(const char *json, bool colour)
{
	struct buf out = { 0 };
	cJSON *root;
	struct err err;

	if (json_text_parse(&root, json, strlen(json), &err) != RC_OK)
		fail_msg("%s", err.text);
	status_table_print(root, colour, &out);
	cJSON_Delete(root);
	assert_true(buf_append_u8(&out, 0));
	return (char *)out.data;
}

static void prints(const char *json, const char *expected)
{
	char *text = table(json, false);

	assert_string_equal(text, expected);
	mem_free(text);
}

static void a_protected_instance_is_one_row_with_units(void **state)
{
	(void)state;
	prints("{\"role\":\"primary\",\"site\":\"seoul\",\"version\":\"0.1.0\",\"uptime_s\":93784.5,\"instances\":["
	       "{\"name\":\"vm1\",\"state\":\"protected\",\"term\":3,\"epoch\":48213,\"lag_ms\":102.4,"
	       "\"lag_bytes\":1258291,\"pause_ms\":{\"last\":2.2,\"median\":2.13,\"p99\":4.4},\"interval_ms\":100,"
	       "\"wire_ratio\":0.214,\"peer\":\"192.0.2.7:7400\",\"healthy\":true,"
	       "\"link\":{\"up\":true,\"silent_ms\":12,\"round_trip_ms\":0.431,\"connections\":1}}]}",
	       "primary at site seoul, understudy 0.1.0, up 1 d 02:03:04\n"
	       "\n"
	       "INSTANCE  STATE      TERM  EPOCH  LAG     BEHIND   PAUSE                INTERVAL  WIRE    PEER\n"
	       "vm1       protected  3     48213  102 ms  1.2 MiB  2.1 ms (p99 4.4 ms)  100 ms    21.4 %  192.0.2.7:7400\n"
	       "  link up, silent for 12.0 ms, round trip 0.43 ms, connections so far: 1\n");
}

static void a_first_copy_and_a_takeover_are_told_below_the_row(void **state)
{
	(void)state;
	prints("{\"role\":\"standby\",\"instances\":["
	       "{\"name\":\"a\",\"state\":\"copying\",\"reason\":\"first copy\","
	       "\"frames\":{\"dropped\":1,\"refused\":0},"
	       "\"disks\":[{\"name\":\"system\",\"bytes\":2147483648,\"done_bytes\":1073741824},"
	       "{\"name\":\"log\",\"bytes\":4096,\"done_bytes\":4096},{}],"
	       "\"initial_sync\":{\"done_bytes\":536870912,\"total_bytes\":2147483648,\"mib_s\":212.4}},"
	       "{\"name\":\"longer\",\"state\":\"serving\",\"resumed_epoch\":77,\"activate_ms\":8.31,\"detect_ms\":301,"
	       "\"rewound\":{\"state\":\"running\",\"epoch\":70,\"time\":\"2026-11-29T04:30:00.000Z\"},"
	       "\"vrrp\":[{\"device\":\"br0\",\"group\":51,\"state\":\"active\"},{\"device\":\"br1\",\"group\":52,"
	       "\"state\":\"backup\",\"active_router\":\"192.0.2.1\",\"active_priority\":200},7],"
	       "\"frames\":{\"dropped\":1,\"refused\":3},"
	       "\"nics\":[{\"name\":\"n0\",\"output_commit\":true},{\"name\":\"n1\",\"output_commit\":false},7]}]}",
	       "standby at site -, understudy -\n"
	       "\n"
	       "INSTANCE  STATE    TERM  EPOCH  LAG  BEHIND  PAUSE  INTERVAL  WIRE  PEER\n"
	       "a         copying  -     -      -    -       -      -         -     -\n"
	       "  first copy\n"
	       "  disk system: 1.0 GiB of 2.0 GiB copied\n"
	       "  first copy: 512 MiB of 2.0 GiB (25 %), 212 MiB/s\n"
	       "longer    serving  -     -      -    -       -      -         -     -\n"
	       "  vrrp br0, group 51: active\n"
	       "  vrrp br1, group 52: backup, 192.0.2.1 has the addresses (priority 200)\n"
	       "  vrrp -, group -: -\n"
	       "  n1 without output commit: a takeover may lose answers\n"
	       "  3 frames were refused: too long or too short to be one\n"
	       "  took over from epoch 77: detected in 301 ms, running 8.3 ms later\n"
	       "  rewound copy: running, epoch 70, 2026-11-29T04:30:00.000Z\n");
}

static void nothing_is_assumed_of_the_answer(void **state)
{
	static const char names[] =
		"INSTANCE  STATE  TERM  EPOCH  LAG  BEHIND  PAUSE  INTERVAL  WIRE  PEER\n";
	static const char *const odd[] = {
		"{\"instances\":[5]}",
		"{\"instances\":[{\"name\":[],\"state\":{},\"term\":\"x\",\"pause_ms\":7,\"link\":[],\"initial_sync\":1,"
		"\"resumed_epoch\":null,\"reason\":3,\"lag_ms\":true}]}",
	};
	char *text;

	(void)state;
	prints("[]", "- at site -, understudy -\nno instances\n");
	prints("{\"instances\":[]}", "- at site -, understudy -\nno instances\n");
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		text = table(odd[i], false);
		assert_non_null(strstr(text, names));
		assert_non_null(strstr(
			text,
			"-         -      -     -      -    -       -      -         -     -\n"));
		mem_free(text);
	}
	text = table(
		"{\"uptime_s\":1e300,\"instances\":[{\"lag_ms\":1e300,\"lag_bytes\":1e300,\"epoch\":1e300}]}",
		false);
	mem_free(text);
}

static void the_other_end_cannot_write_over_the_terminal(void **state)
{
	char *text = table(
		"{\"site\":\"a\\u001b[2Jb\\u009b\\u202ec\",\"instances\":[{\"name\":\"x\\ny\",\"reason\":\"\\u0007z\"}]}",
		true);

	(void)state;
	assert_non_null(strstr(text, "a?[2Jb??c"));
	assert_non_null(strstr(text, "x?y"));
	assert_non_null(strstr(text, "  ?z\n"));
	mem_free(text);
}

static void a_long_text_is_cut_between_characters(void **state)
{
	char json[512] = "{\"instances\":[{\"name\":\"x", *text, *row;
	size_t len = strlen(json);

	(void)state;
	for (int i = 0; i < 40; i++)
		len += (size_t)snprintf(json + len, sizeof(json) - len, "\xc3\xa9");
	(void)snprintf(json + len, sizeof(json) - len, "\"}]}");
	text = table(json, false);
	row = strstr(text, "\nx");
	assert_non_null(row);
	/* Whole characters only: 63 bytes would fit. */
	assert_int_equal(strspn(row + 2, "\xc3\xa9"), 62);
	mem_free(text);
}

static void colours_are_only_for_terminals_and_say_what_needs_attention(void **state)
{
	static const char json[] =
		"{\"instances\":[{\"name\":\"a\",\"state\":\"fine\",\"healthy\":true},"
		"{\"name\":\"b\",\"state\":\"lost\",\"healthy\":false}]}";
	char *plain = table(json, false), *coloured = table(json, true);

	(void)state;
	assert_null(strchr(plain, '\033'));
	assert_non_null(strstr(coloured, "\033[32mfine\033[0m"));
	assert_non_null(strstr(coloured, "\033[31mlost\033[0m"));
	mem_free(plain);
	mem_free(coloured);
}

static void a_witness_that_does_not_answer_is_said_above_the_table(void **state)
{
	(void)state;
	prints("{\"role\":\"standby\",\"site\":\"busan\",\"version\":\"0.1.0\",\"witness\":{\"answers\":true},"
	       "\"instances\":[]}",
	       "standby at site busan, understudy 0.1.0\nno instances\n");
	prints("{\"role\":\"standby\",\"site\":\"busan\",\"version\":\"0.1.0\","
	       "\"witness\":{\"answers\":false,\"reason\":\"etcd:2379: connection refused\"},\"instances\":[]}",
	       "standby at site busan, understudy 0.1.0\n"
	       "no witness: etcd:2379: connection refused\nno instances\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_protected_instance_is_one_row_with_units),
		cmocka_unit_test(a_first_copy_and_a_takeover_are_told_below_the_row),
		cmocka_unit_test(a_witness_that_does_not_answer_is_said_above_the_table),
		cmocka_unit_test(nothing_is_assumed_of_the_answer),
		cmocka_unit_test(the_other_end_cannot_write_over_the_terminal),
		cmocka_unit_test(a_long_text_is_cut_between_characters),
		cmocka_unit_test(colours_are_only_for_terminals_and_say_what_needs_attention),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
