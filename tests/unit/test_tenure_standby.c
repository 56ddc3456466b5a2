/* Which standby's leases count: tenure.h. */
#include "appliance/base/clock.h"
#include "appliance/tenure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS CLOCK_NS_PER_MS

static struct tenure_update step(struct tenure *tenure, enum tenure_event_type type,
				 uint64_t now_ms, uint64_t until_ms, uint64_t term)
{
	const struct tenure_event event = {
		.type = type, .now_ns = now_ms * MS, .until_ns = until_ms * MS, .term = term
	};
	struct tenure_update update;

	tenure_step(tenure, &event, &update);
	return update;
}

static struct tenure_update tick(struct tenure *tenure, uint64_t now_ms)
{
	return step(tenure, TENURE_TICK, now_ms, 0, 0);
}

static struct tenure_update granted_by(struct tenure *tenure, uint64_t standby, uint64_t until_ms)
{
	const struct tenure_event event = { .type = TENURE_GRANTED,
					    .now_ns = 1000 * MS,
					    .from_ns = 1000 * MS,
					    .until_ns = until_ms * MS,
					    .term = 9,
					    .standby = standby };
	struct tenure_update update;

	tenure_step(tenure, &event, &update);
	return update;
}

static void only_one_standbys_leases_count_whatever_its_mode(void **unused)
{
	struct tenure tenure;

	(void)unused;
	for (int hold = 0; hold <= 1; hold++) {
		for (int witness = 0; witness <= 1; witness++) {
			tenure_init(&tenure, hold == 1, witness == 1, 1);
			assert_true(tenure_takes(&tenure, 7) && tenure_takes(&tenure, 8));
			(void)granted_by(&tenure, 7, 1300);
			assert_true(tenure_takes(&tenure, 7));
			assert_false(tenure_takes(&tenure, 8) || tenure_takes(&tenure, 0));
		}
	}
	assert_true(tenure.until_ns == 1300 * MS);
	(void)granted_by(&tenure, 8, 1700);
	assert_true(tenure.until_ns == 1300 * MS);
	(void)tick(&tenure, 1300);
	assert_false(granted_by(&tenure, 8, 1700).changed);
	(void)granted_by(&tenure, 7, 1700);
	assert_int_equal(tenure.state, TENURE_LEASED);
}

/* It may take over from what it has, though it granted nothing yet. */
static void who_holds_the_instance_ready_is_the_one(void **unused)
{
	const struct tenure_event seated = { .type = TENURE_SEATED, .standby = 7 };
	const struct tenure_event other = { .type = TENURE_SEATED, .standby = 8 };
	struct tenure_update update;
	struct tenure tenure;

	(void)unused;
	tenure_init(&tenure, false, false, 1);
	tenure_step(&tenure, &seated, &update);
	tenure_step(&tenure, &other, &update);
	assert_true(tenure_takes(&tenure, 7));
	assert_false(tenure_takes(&tenure, 8));
}

/* The witness lets this site serve alone: the standby's operator may still order a takeover. */
static void neither_the_witness_nor_time_lets_another_in_its_place(void **unused)
{
	struct tenure tenure;

	(void)unused;
	tenure_init(&tenure, true, true, 9);
	(void)granted_by(&tenure, 7, 1300);
	(void)tick(&tenure, 1300);
	(void)step(&tenure, TENURE_WON, 1350, 3000, 10);
	assert_int_equal(tenure.state, TENURE_ALONE);
	assert_false(tenure_takes(&tenure, 8));
	(void)step(&tenure, TENURE_LOST, 1400, 0, 11);
	assert_int_equal(tenure.state, TENURE_SUPERSEDED);
	tenure.term = 9;
	assert_false(granted_by(&tenure, 8, 9000).changed);
	assert_int_equal(tenure.state, TENURE_SUPERSEDED);
}

static void the_operator_lets_another_in_its_place(void **unused)
{
	struct tenure tenure;

	(void)unused;
	tenure_init(&tenure, true, false, 9);
	(void)granted_by(&tenure, 7, 1300);
	assert_false(step(&tenure, TENURE_RELEASE, 1200, 0, 9).changed);
	(void)tick(&tenure, 1300);
	(void)granted_by(&tenure, 8, 1700);
	assert_int_equal(tenure.state, TENURE_LEASED);
	assert_false(tenure_takes(&tenure, 7));
}

/* A standby's program is newer than before; one that has become older has to be let in. */
static void a_standby_that_tells_no_identity_may_be_followed_by_any(void **unused)
{
	struct tenure tenure;

	(void)unused;
	tenure_init(&tenure, true, false, 9);
	(void)granted_by(&tenure, 0, 1300);
	(void)granted_by(&tenure, 7, 1400);
	assert_true(tenure.until_ns == 1400 * MS);
	(void)granted_by(&tenure, 0, 1500);
	assert_true(tenure.until_ns == 1400 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_one_standbys_leases_count_whatever_its_mode),
		cmocka_unit_test(who_holds_the_instance_ready_is_the_one),
		cmocka_unit_test(neither_the_witness_nor_time_lets_another_in_its_place),
		cmocka_unit_test(the_operator_lets_another_in_its_place),
		cmocka_unit_test(a_standby_that_tells_no_identity_may_be_followed_by_any),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
