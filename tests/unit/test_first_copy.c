#include "replica/first_copy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)
#define MIB ((size_t)1 << 20)

static struct first_copy_state at(uint64_t seconds, uint64_t passes, uint64_t bytes_s)
{
	return (struct first_copy_state){ .now_ns = 100 * S + seconds * S,
					  .passes = passes,
					  .transferred = seconds * bytes_s,
					  .speed_known = true };
}

/* A pass per second at that speed, until it is given up or for `seconds`; the number of raises. */
static unsigned run(struct first_copy *copy, uint64_t seconds, uint64_t bytes_s, bool speed_known)
{
	struct first_copy_state now;
	unsigned raises = 0;
	uint64_t s;

	for (s = 1; s <= seconds; s++) {
		now = at(s, s, bytes_s);
		now.speed_known = speed_known;
		raises += first_copy_step(copy, &now) == FIRST_COPY_RAISED;
	}
	return raises;
}

static void it_begins_with_what_the_chunks_kept_ready_hold(void **state)
{
	struct first_copy copy;

	(void)state;
	first_copy_init(&copy, 32 * MIB, 2000);
	assert_int_equal(copy.downtime_ms, 31); /* 32 MiB at 1 GiB/s */
	first_copy_init(&copy, 0, 2000);
	assert_int_equal(copy.downtime_ms, 5);
	first_copy_init(&copy, 1000 * MIB, 100);
	assert_int_equal(copy.downtime_ms, 50); /* not more than half of what the guest may stand */
	first_copy_init(&copy, 32 * MIB, 0);
	assert_int_equal(copy.downtime_ms, 5);
}

static void a_copy_that_converges_is_left_alone(void **state)
{
	struct first_copy copy;

	(void)state;
	first_copy_init(&copy, 32 * MIB, 2000);
	assert_int_equal(run(&copy, 4, 1000 * MIB, true), 0);
	assert_int_equal(copy.downtime_ms, 31);
}

static void passes_of_milliseconds_are_given_time(void **state)
{
	struct first_copy_state now = at(0, 0, 0);
	struct first_copy copy;
	unsigned i;

	(void)state;
	first_copy_init(&copy, 32 * MIB, 2000);
	for (i = 0; i < 400; i++) {
		now.now_ns += 1000000;
		now.passes++;
		assert_int_equal(first_copy_step(&copy, &now), FIRST_COPY_ON);
	}
}

static void a_first_pass_of_any_length_counts_for_nothing(void **state)
{
	struct first_copy_state now = at(0, 1, 0);
	struct first_copy copy;

	(void)state;
	first_copy_init(&copy, 32 * MIB, 2000);
	assert_int_equal(first_copy_step(&copy, &now), FIRST_COPY_ON);
	now.now_ns += 100000 * S;
	assert_int_equal(first_copy_step(&copy, &now), FIRST_COPY_ON);
	now.passes = 2;
	assert_int_equal(first_copy_step(&copy, &now), FIRST_COPY_ON);
	now.passes = 3;
	assert_int_equal(first_copy_step(&copy, &now), FIRST_COPY_ON);
}

static void it_is_raised_to_what_the_guest_may_stand_at_the_speed_seen(void **state)
{
	struct first_copy copy;

	(void)state;
	first_copy_init(&copy, 32 * MIB, 1000);
	assert_true(run(&copy, 50, 100 * MIB, true) > 0);
	/*
	 * 32 MiB of chunks, and 100 MiB/s for half a second: 82 MiB at the speed that QEMU was
	 * told.
	 */
	assert_in_range(copy.downtime_ms, 78, 80);
}

static void it_is_raised_step_by_step(void **state)
{
	struct first_copy_state now;
	uint64_t before, s;
	struct first_copy copy;

	(void)state;
	first_copy_init(&copy, 32 * MIB, 4000);
	for (s = 1; s < 50; s++) {
		before = copy.downtime_ms;
		now = at(s, s, 10000 * MIB);
		(void)first_copy_step(&copy, &now);
		assert_in_range(copy.downtime_ms, before, 2 * before);
	}
	assert_int_equal(copy.downtime_ms, 2000);
}

static void a_qemu_that_counts_with_the_speed_of_its_passes_gets_the_time_itself(void **state)
{
	struct first_copy copy;

	(void)state;
	first_copy_init(&copy, 32 * MIB, 1000);
	assert_true(run(&copy, 50, 10 * MIB, false) > 0);
	assert_int_equal(copy.downtime_ms, 500);
}

static void it_is_given_up_after_many_passes_and_a_long_time(void **state)
{
	struct first_copy_state now;
	struct first_copy copy;

	(void)state;
	first_copy_init(&copy, 32 * MIB, 1000);
	(void)run(&copy, 59, 10 * MIB, true);
	now = at(500, 59, 10 * MIB); /* passes that take long are progress too */
	assert_int_not_equal(first_copy_step(&copy, &now), FIRST_COPY_HOPELESS);
	now = at(120, 1000, 10 * MIB); /* counted from the end of the first pass, 2 s in */
	assert_int_not_equal(first_copy_step(&copy, &now), FIRST_COPY_HOPELESS);
	now = at(122, 1000, 10 * MIB);
	assert_int_equal(first_copy_step(&copy, &now), FIRST_COPY_HOPELESS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_begins_with_what_the_chunks_kept_ready_hold),
		cmocka_unit_test(a_copy_that_converges_is_left_alone),
		cmocka_unit_test(passes_of_milliseconds_are_given_time),
		cmocka_unit_test(a_first_pass_of_any_length_counts_for_nothing),
		cmocka_unit_test(it_is_raised_to_what_the_guest_may_stand_at_the_speed_seen),
		cmocka_unit_test(it_is_raised_step_by_step),
		cmocka_unit_test(
			a_qemu_that_counts_with_the_speed_of_its_passes_gets_the_time_itself),
		cmocka_unit_test(it_is_given_up_after_many_passes_and_a_long_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
