/* Stops of an instance: which are checkpoints', which a release's, and which somebody's own. */
#include "replica/standstill.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void the_stops_of_granted_checkpoints_ask_nothing(void **state)
{
	struct standstill s = { 0 };

	(void)state;
	assert_false(standstill_stop(&s, 1));
	assert_false(standstill_resume(&s));
	assert_false(standstill_stop(&s, 2));
	assert_false(s.stands);
	assert_null(standstill_reason(&s));
}

static void one_stop_more_is_an_operators_once_query_status_says_paused(void **state)
{
	struct standstill s = { 0 };

	(void)state;
	assert_false(standstill_stop(&s, 1));
	assert_true(standstill_stop(&s, 1));
	assert_true(s.stands); /* no checkpoint may be granted from now on */
	assert_false(s.by_hand);
	assert_null(standstill_reason(&s));
	assert_int_equal(standstill_answer(&s, "paused"), STANDSTILL_FOUND);
	assert_true(s.by_hand);
	assert_string_equal(standstill_reason(&s),
			    "stopped by hand: no checkpoints until it goes on");
	assert_true(standstill_resume(&s));
	assert_false(s.stands || s.by_hand);
	assert_null(standstill_reason(&s));
	/* And the next checkpoint's stop counts as its own. */
	assert_false(standstill_stop(&s, 2));
}

static void a_release_by_somebody_else_is_no_operators_stop(void **state)
{
	static const char *const answers[] = { "colo", "running", "finish-migrate", "" };

	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct standstill s = { 0 };

		assert_true(standstill_stop(&s, 0));
		(void)standstill_answer(&s, answers[i]);
		assert_false(s.by_hand);
		assert_null(standstill_reason(&s));
	}
}

static void an_instance_that_runs_after_all_goes_on(void **state)
{
	struct standstill s = { 0 };

	(void)state;
	assert_true(standstill_stop(&s, 0));
	assert_int_equal(standstill_answer(&s, "running"), STANDSTILL_GOES_ON);
	assert_false(s.stands);
	assert_false(standstill_resume(&s)); /* the event comes late: nothing new */
}

static void a_stop_for_another_reason_is_told_and_is_nobodys_hand(void **state)
{
	struct standstill s = { 0 };

	(void)state;
	assert_true(standstill_stop(&s, 0));
	assert_int_equal(standstill_answer(&s, "io-error"), STANDSTILL_FOUND);
	assert_false(s.by_hand);
	assert_string_equal(standstill_reason(&s), "io-error: no checkpoints until it goes on");
}

static void an_answer_from_before_the_last_stop_is_not_believed(void **state)
{
	struct standstill s = { 0 };

	(void)state;
	assert_true(standstill_stop(&s, 0));
	assert_true(standstill_resume(&s));
	assert_false(standstill_stop(&s, 0)); /* the first question is still open */
	assert_int_equal(standstill_answer(&s, "paused"), STANDSTILL_ASK);
	assert_false(s.by_hand);
	assert_int_equal(standstill_answer(&s, "colo"), STANDSTILL_NOTHING);
	assert_false(s.by_hand);
}

static void an_answer_after_it_went_on_changes_nothing(void **state)
{
	struct standstill s = { 0 };

	(void)state;
	assert_true(standstill_stop(&s, 0));
	assert_true(standstill_resume(&s));
	assert_int_equal(standstill_answer(&s, "paused"), STANDSTILL_NOTHING);
	assert_false(s.stands || s.by_hand);
	assert_true(standstill_stop(&s, 0)); /* no question is open any more */
}

static void without_an_answer_it_is_asked_again(void **state)
{
	struct standstill s = { 0 };

	(void)state;
	assert_true(standstill_stop(&s, 0));
	assert_int_equal(standstill_answer(&s, NULL), STANDSTILL_ASK);
	assert_int_equal(standstill_answer(&s, "paused"), STANDSTILL_FOUND);
	assert_true(s.by_hand);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_stops_of_granted_checkpoints_ask_nothing),
		cmocka_unit_test(one_stop_more_is_an_operators_once_query_status_says_paused),
		cmocka_unit_test(a_release_by_somebody_else_is_no_operators_stop),
		cmocka_unit_test(an_instance_that_runs_after_all_goes_on),
		cmocka_unit_test(a_stop_for_another_reason_is_told_and_is_nobodys_hand),
		cmocka_unit_test(an_answer_from_before_the_last_stop_is_not_believed),
		cmocka_unit_test(an_answer_after_it_went_on_changes_nothing),
		cmocka_unit_test(without_an_answer_it_is_asked_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
