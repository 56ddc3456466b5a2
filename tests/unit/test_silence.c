/* What an operator is told of an instance that may not answer, and from when on. */
#include "appliance/silence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MS CLOCK_NS_PER_MS
#define NOW (1000 * CLOCK_NS_PER_S)

static const struct silence_facts healthy = { .instance = "vm1",
					      .why = "",
					      .round_trip_ns = 5 * MS,
					      .lease_ns = 262 * MS,
					      .heartbeat_ns = 50 * MS };
static char text[ERR_TEXT_MAX];

static void a_moment_is_nothing_to_report_and_more_is(void **state)
{
	struct silence silence = { 0 };
	struct silence_facts facts = healthy;

	(void)state;
	assert_int_equal(silence_explain(&silence, &facts, text), SILENCE_NONE);
	silence_note(&silence, false, NOW);
	silence_note(&silence, false, NOW + SILENCE_MOMENT_NS - 1);
	assert_int_equal(silence_explain(&silence, &facts, text), SILENCE_NONE);
	assert_string_equal(text, "");
	silence_note(&silence, false, NOW + SILENCE_MOMENT_NS);
	assert_int_equal(silence_explain(&silence, &facts, text), SILENCE_LASTING);
	assert_string_equal(text, "the instance may not answer: the standby has not let it yet");
	facts.why = "its lease has run out";
	assert_int_equal(silence_explain(&silence, &facts, text), SILENCE_LASTING);
	assert_string_equal(text, "the instance may not answer: its lease has run out");
	silence_note(&silence, true, NOW + SILENCE_MOMENT_NS + 1);
	assert_int_equal(silence_explain(&silence, &facts, text), SILENCE_NONE);
}

static void what_has_yielded_is_told_of_with_what_to_do(void **state)
{
	struct silence silence = { 0 };
	struct silence_facts facts = healthy;

	(void)state;
	facts.yielded = true;
	facts.round_trip_ns = 447 * MS;
	silence_note(&silence, false, NOW);
	assert_int_equal(silence_explain(&silence, &facts, text), SILENCE_NONE);
	silence_note(&silence, false, NOW + SILENCE_MOMENT_NS);
	assert_int_equal(silence_explain(&silence, &facts, text), SILENCE_YIELDED);
	assert_non_null(strstr(text, "vm1 stands because the standby's operator"));
	assert_non_null(strstr(text, "`understudy release` here"));
}

static void a_round_trip_longer_than_the_lease_is_told_with_what_helps(void **state)
{
	static const char advice[] =
		"the link's round trip (447 ms), and a heartbeat (50 ms), is longer than the lease (262 ms), so "
		"that the instance may not answer: raise link.detect_ms on both sites to at least 1000";
	struct silence silence = { 0 };
	struct silence_facts facts = healthy;

	(void)state;
	facts.round_trip_ns = 447 * MS;
	silence_note(&silence, false, NOW);
	assert_int_equal(silence_explain(&silence, &facts, text), SILENCE_NONE);
	silence_note(&silence, false, NOW + SILENCE_MOMENT_NS);
	assert_int_equal(silence_explain(&silence, &facts, text), SILENCE_LATE);
	assert_string_equal(text, advice);
	facts.lease_ns = 0; /* nothing is known of it */
	assert_int_equal(silence_explain(&silence, &facts, text), SILENCE_LASTING);
}

static void leases_that_lapse_again_and_again_are_told_of_only_if_the_round_trip_is_why(
	void **state)
{
	struct silence silence = { 0 };
	struct silence_facts facts = healthy;
	uint64_t now_ns = NOW;

	(void)state;
	for (unsigned i = 0; i < SILENCE_LAPSES; i++) {
		facts.round_trip_ns = 230 * MS;
		assert_int_equal(silence_explain(&silence, &facts, text), SILENCE_NONE);
		silence_note(&silence, false, now_ns += 100 * MS);
		silence_note(&silence, true, now_ns += 100 * MS);
	}
	assert_int_equal(silence_explain(&silence, &facts, text), SILENCE_LATE);
	assert_int_equal(silence_explain(&silence, &healthy, text), SILENCE_NONE);
	silence_note(&silence, true, now_ns + SILENCE_MOMENT_NS);
	assert_int_equal(silence_explain(&silence, &facts, text), SILENCE_NONE);
}

static void by_the_witness_s_word_another_site_serves(void **state)
{
	const struct silence silence = { 0 };
	struct silence_facts facts = healthy;

	(void)state;
	facts.another = true;
	facts.term = 4;
	assert_int_equal(silence_explain(&silence, &facts, text), SILENCE_ANOTHER);
	assert_non_null(strstr(text, "the witness says that another site serves vm1, with term 4"));
	assert_non_null(strstr(text, "delete the key /understudy/vm1 from etcd"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_moment_is_nothing_to_report_and_more_is),
		cmocka_unit_test(what_has_yielded_is_told_of_with_what_to_do),
		cmocka_unit_test(a_round_trip_longer_than_the_lease_is_told_with_what_helps),
		cmocka_unit_test(
			leases_that_lapse_again_and_again_are_told_of_only_if_the_round_trip_is_why),
		cmocka_unit_test(by_the_witness_s_word_another_site_serves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
