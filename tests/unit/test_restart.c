#include "appliance/restart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* It ends each time `every_ms` after it was started: how often until that is trouble; 0: not in an hour. */
static unsigned ends_until_trouble(uint64_t every_ms)
{
	struct restart restart = { 0 };
	uint64_t now_ms = 1000;
	bool trouble = false;
	unsigned ends = 0;

	while (!trouble && now_ms < 3600000) {
		now_ms += every_ms;
		now_ms += restart_after(&restart, now_ms, &trouble);
		ends++;
	}
	return trouble ? ends : 0;
}

static void one_that_ends_is_started_again_at_once(void **state)
{
	struct restart restart = { 0 };
	bool trouble;

	(void)state;
	assert_true(restart_after(&restart, 5000, &trouble) < 100);
	assert_false(trouble);
}

static void one_that_ends_over_and_over_is_in_trouble_and_one_that_does_now_and_then_is_not(
	void **state)
{
	(void)state;
	assert_int_equal(ends_until_trouble(10), RESTART_TRIES + 1);
	assert_int_equal(ends_until_trouble(RESTART_WITHIN_MS / RESTART_TRIES - 1000),
			 RESTART_TRIES + 1);
	assert_int_equal(ends_until_trouble(RESTART_WITHIN_MS), 0);
}

static void in_trouble_it_is_tried_at_growing_intervals_up_to_a_limit(void **state)
{
	struct restart restart = { 0 };
	uint64_t now_ms = 1000, wait_ms, last_ms = 0;
	bool trouble;
	unsigned i;

	(void)state;
	for (i = 0; i < 40; i++) {
		wait_ms = restart_after(&restart, now_ms, &trouble);
		assert_true(wait_ms >= last_ms && wait_ms <= RESTART_TROUBLE_MAX_MS);
		assert_true(trouble == (i >= RESTART_TRIES));
		last_ms = wait_ms;
		now_ms += wait_ms + 10;
	}
	assert_true(last_ms == RESTART_TROUBLE_MAX_MS);
}

static void one_that_has_run_for_long_is_out_of_trouble(void **state)
{
	struct restart restart = { 0 };
	uint64_t now_ms = 1000;
	bool trouble = false;

	(void)state;
	while (!trouble)
		now_ms += restart_after(&restart, now_ms, &trouble);
	now_ms += RESTART_WITHIN_MS + RESTART_TRIES * RESTART_TROUBLE_MAX_MS;
	assert_true(restart_after(&restart, now_ms, &trouble) == RESTART_MS);
	assert_false(trouble);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_ends_is_started_again_at_once),
		cmocka_unit_test(
			one_that_ends_over_and_over_is_in_trouble_and_one_that_does_now_and_then_is_not),
		cmocka_unit_test(in_trouble_it_is_tried_at_growing_intervals_up_to_a_limit),
		cmocka_unit_test(one_that_has_run_for_long_is_out_of_trouble),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
