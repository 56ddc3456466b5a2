/* When the guardian stops an instance that its agent has not stopped: a pure function of times. */
#include "replica/leash.h"

#include "appliance/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS CLOCK_NS_PER_MS
#define NOW (UINT64_C(1000) * MS)

static void an_agent_that_lives_is_given_a_moment(void **state)
{
	(void)state;
	assert_int_equal(leash_end_ns(NOW, true), NOW + LEASH_GRACE_NS);
	assert_int_equal(leash_end_ns(NOW, false), NOW);
	assert_true(leash_end_ns(LEASH_FREE, true) == UINT64_MAX);
	assert_true(leash_end_ns(LEASH_FREE, false) == UINT64_MAX);
	/* That it stands is worth nothing any more without who has seen it. */
	assert_true(leash_end_ns(LEASH_STANDS, true) == UINT64_MAX);
	assert_int_equal(leash_end_ns(LEASH_STANDS, false), 0);
}

static void it_is_stopped_when_its_lease_is_over_and_not_before(void **state)
{
	struct leash leash = { 0 };

	(void)state;
	assert_false(leash_step(&leash, NOW, NOW - 1));
	assert_int_equal(leash.next_ns, NOW + LEASH_GRACE_NS);
	assert_false(leash_step(&leash, NOW, NOW));
	assert_false(leash_step(&leash, NOW, NOW + LEASH_GRACE_NS - 1));
	assert_true(leash_step(&leash, NOW, NOW + LEASH_GRACE_NS));
}

static void a_lease_that_comes_in_time_counts(void **state)
{
	struct leash leash = { 0 };

	(void)state;
	assert_false(leash_step(&leash, NOW, NOW));
	assert_false(leash_step(&leash, NOW + 50 * MS, NOW + 10 * MS));
	assert_int_equal(leash.next_ns, NOW + 50 * MS + LEASH_GRACE_NS);
	assert_false(leash_step(&leash, LEASH_FREE, NOW + 60 * MS));
	assert_false(leash_step(&leash, LEASH_STANDS, NOW + 1000 * MS));
}

static void it_is_told_again_and_less_and_less_often(void **state)
{
	struct leash leash = { 0 };
	uint64_t at_ns = NOW + LEASH_GRACE_NS, wait_ns = LEASH_AGAIN_MS * MS;
	int i;

	(void)state;
	for (i = 0; i < 20; i++) {
		assert_true(leash_step(&leash, NOW, at_ns));
		assert_int_equal(leash.next_ns, at_ns + wait_ns);
		assert_false(leash_step(&leash, NOW, leash.next_ns - 1));
		at_ns = leash.next_ns;
		wait_ns = wait_ns * 2 < LEASH_AGAIN_MS_MAX * MS ? wait_ns * 2 :
								  LEASH_AGAIN_MS_MAX * MS;
	}
	/* Another lease, and the next time it is told at once again. */
	assert_false(leash_step(&leash, at_ns + MS, at_ns));
	assert_true(leash_step(&leash, at_ns + MS, at_ns + MS + LEASH_GRACE_NS));
	assert_int_equal(leash.next_ns, at_ns + MS + LEASH_GRACE_NS + LEASH_AGAIN_MS * MS);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_agent_that_lives_is_given_a_moment),
		cmocka_unit_test(it_is_stopped_when_its_lease_is_over_and_not_before),
		cmocka_unit_test(a_lease_that_comes_in_time_counts),
		cmocka_unit_test(it_is_told_again_and_less_and_less_often),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
