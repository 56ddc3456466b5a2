/* The pace of checkpoints and the plan after a reconnection. */
#include "appliance/base/clock.h"
#include "appliance/epoch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS CLOCK_NS_PER_MS

static struct epoch_pacer pacer(void)
{
	return (struct epoch_pacer){ .target_ns = 100 * MS,
				     .min_ns = 20 * MS,
				     .max_ns = 2000 * MS };
}

static void the_first_checkpoint_is_due_at_once(void **unused)
{
	struct epoch_pacer p = pacer();

	(void)unused;
	assert_int_equal(epoch_due_ns(&p, 0, false), 0);
}

static void short_pauses_keep_the_target(void **unused)
{
	struct epoch_pacer p = pacer();
	int i;

	(void)unused;
	for (i = 1; i < 50; i++)
		epoch_captured(&p, (uint64_t)i * 100 * MS, 3 * MS);
	assert_int_equal(epoch_interval_ns(&p), 100 * MS);
	assert_int_equal(epoch_due_ns(&p, 0, false), (4900 + 100) * MS);
}

static void long_pauses_stretch_the_interval_and_short_ones_bring_it_back(void **unused)
{
	struct epoch_pacer p = pacer();
	int i;

	(void)unused;
	for (i = 0; i < 50; i++)
		epoch_captured(&p, 1, 40 * MS);
	assert_true(epoch_interval_ns(&p) > 390 * MS && epoch_interval_ns(&p) <= 400 * MS);
	for (i = 0; i < 50; i++)
		epoch_captured(&p, 1, 900 * MS);
	assert_int_equal(epoch_interval_ns(&p), 2000 * MS);
	for (i = 0; i < 100; i++)
		epoch_captured(&p, 1, 2 * MS);
	assert_int_equal(epoch_interval_ns(&p), 100 * MS);
}

static void slow_commits_stretch_the_interval(void **unused)
{
	struct epoch_pacer p = pacer();
	int i;

	(void)unused;
	for (i = 0; i < 100; i++)
		epoch_committed(&p, 16 * 300 * MS);
	assert_true(epoch_interval_ns(&p) > 290 * MS && epoch_interval_ns(&p) <= 300 * MS);
}

static void a_full_pipeline_or_budget_takes_no_checkpoint(void **unused)
{
	struct epoch_pacer p = pacer();

	(void)unused;
	epoch_captured(&p, 1000 * MS, 1 * MS);
	assert_true(epoch_due_ns(&p, EPOCH_PIPELINE, false) == UINT64_MAX);
	assert_true(epoch_due_ns(&p, 0, true) == UINT64_MAX);
	assert_int_equal(epoch_due_ns(&p, EPOCH_PIPELINE - 1, false), 1100 * MS);
}

static void demand_shortens_one_interval_down_to_the_minimum(void **unused)
{
	struct epoch_pacer p = pacer();

	(void)unused;
	epoch_captured(&p, 1000 * MS, 1 * MS);
	epoch_demand(&p, 1001 * MS);
	assert_int_equal(epoch_due_ns(&p, 0, false), 1020 * MS);
	epoch_captured(&p, 1020 * MS, 1 * MS);
	assert_int_equal(epoch_due_ns(&p, 0, false), 1120 * MS);
}

static void a_reconnection_continues_only_where_nothing_is_missing(void **unused)
{
	(void)unused;
	/* own session, oldest kept, newest, peer's session and epoch */
	assert_int_equal(epoch_plan(7, 11, 14, 7, 10), EPOCH_PLAN_CONTINUE);
	assert_int_equal(epoch_plan(7, 11, 14, 7, 12),
			 EPOCH_PLAN_CONTINUE); /* acknowledgements were lost */
	assert_int_equal(epoch_plan(7, 0, 14, 7, 14), EPOCH_PLAN_CONTINUE); /* it has all */
	assert_int_equal(epoch_plan(7, 11, 14, 7, 9), EPOCH_PLAN_RESYNC);   /* 10 is gone */
	assert_int_equal(epoch_plan(7, 11, 14, 7, 15), EPOCH_PLAN_RESYNC);  /* more than there is */
	assert_int_equal(epoch_plan(7, 0, 14, 7, 13), EPOCH_PLAN_RESYNC);   /* nothing is kept */
	assert_int_equal(epoch_plan(7, 11, 14, 8, 10),
			 EPOCH_PLAN_RESYNC); /* another session's image */
	assert_int_equal(epoch_plan(0, 0, 0, 8, 10), EPOCH_PLAN_RESYNC); /* the agent is new */
	assert_int_equal(epoch_plan(7, 11, 14, 0, 0), EPOCH_PLAN_COPY);	 /* the standby is new */
	assert_int_equal(epoch_plan(0, 0, 0, 0, 0), EPOCH_PLAN_COPY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_checkpoint_is_due_at_once),
		cmocka_unit_test(short_pauses_keep_the_target),
		cmocka_unit_test(long_pauses_stretch_the_interval_and_short_ones_bring_it_back),
		cmocka_unit_test(slow_commits_stretch_the_interval),
		cmocka_unit_test(a_full_pipeline_or_budget_takes_no_checkpoint),
		cmocka_unit_test(demand_shortens_one_interval_down_to_the_minimum),
		cmocka_unit_test(a_reconnection_continues_only_where_nothing_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
