/* An operator's order while the primary is heard: it is asked to let its instance stand first. */
#include "tests/unit/failover_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct failover_update order(struct failover *failover, uint64_t now_ms, bool linked)
{
	const struct failover_event event = { .type = FAILOVER_OPERATOR,
					      .now_ns = now_ms * MS,
					      .linked = linked };
	struct failover_update update;

	failover_step(failover, &event, &update);
	return update;
}

/* With a primary that goes on being heard; the last update. */
static struct failover_update heard(struct failover *failover, uint64_t from_ms, uint64_t to_ms)
{
	struct failover_update update = { 0 };
	uint64_t at;

	for (at = from_ms; at <= to_ms && !update.activate; at += 30) {
		(void)step(failover, FAILOVER_HEARD, at * MS);
		update = step(failover, FAILOVER_TICK, at * MS);
	}
	return update;
}

/* Asked, at 1010 ms. */
static struct failover asked(bool automatic)
{
	struct failover failover = protected_at(automatic, 1000);
	struct failover_update update = order(&failover, 1010, true);

	assert_true(update.yield && update.changed && !update.activate);
	assert_int_equal(failover.state, FAILOVER_CLAIMING);
	assert_int_equal(failover_lease_ns(&failover), 0);
	assert_int_equal(failover.term, 1);
	return failover;
}

static void its_answer_is_waited_for_and_then_no_lease(void **unused)
{
	struct failover failover = asked(false);
	struct failover_event yielded = { .type = FAILOVER_YIELDED, .now_ns = 1200 * MS };
	struct failover_update update;

	(void)unused;
	failover.gateway = false;
	yielded.granted_ns = 9000 * MS;
	assert_false(heard(&failover, 1030, 1180).activate);
	failover_step(&failover, &yielded, &update);
	assert_true(update.activate);
	assert_non_null(strstr(update.reason, "; the primary's instance stands;"));
	assert_int_equal(failover.term, 2);
	assert_true(failover.decided_ns == 1200 * MS);
}

static void a_primary_that_falls_silent_is_not_waited_for(void **unused)
{
	struct failover failover = asked(false);
	struct failover_update update;

	(void)unused;
	(void)heard(&failover, 1030, 1180);
	assert_true(failover_due_ns(&failover) == (1180 + DETECT_MS) * MS);
	assert_false(silence(&failover, 1210, 1450).activate);
	update = step(&failover, FAILOVER_TICK, 1480 * MS);
	assert_true(update.activate);
	assert_non_null(strstr(update.reason, "has not said that its instance stands"));
	/* After its leases, if there are any. */
	failover = asked(true);
	failover.gateway = false;
	failover.granted_ns = 2000 * MS;
	assert_false(silence(&failover, 1030, 1990).activate);
	assert_true(failover_due_ns(&failover) == 2000 * MS);
	assert_true(step(&failover, FAILOVER_TICK, 2000 * MS).activate);
}

static void one_that_is_heard_and_does_not_answer_is_waited_for_no_longer_than_that(void **unused)
{
	struct failover failover = asked(false);
	const uint64_t limit_ms = 1010 + FAILOVER_YIELD_NS / MS;

	(void)unused;
	assert_false(heard(&failover, 1030, limit_ms - 20).activate);
	assert_true(failover_due_ns(&failover) == limit_ms * MS);
	assert_true(step(&failover, FAILOVER_TICK, limit_ms * MS).activate);
}

static void nobody_is_asked_without_a_connection_or_in_silence(void **unused)
{
	struct failover failover = protected_at(false, 1000);
	struct failover_update update = order(&failover, 1010, false);

	(void)unused;
	assert_true(update.activate && !update.yield);
	assert_null(strstr(update.reason, "stands"));
	failover = protected_at(false, 1000);
	(void)silence(&failover, 1000, 1500);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	update = order(&failover, 1510, true);
	assert_true(update.activate && !update.yield);
	/* Nor by a takeover that nobody has ordered. */
	failover = protected_at(true, 1000);
	update = silence(&failover, 1000, 2000);
	assert_true(update.activate && !update.yield);
}

static void an_answer_that_nobody_waits_for_is_nothing(void **unused)
{
	static const enum failover_state states[] = { FAILOVER_PROTECTED, FAILOVER_UNATTENDED };
	struct failover failover = protected_at(true, 1000);
	struct failover_event event = { .now_ns = 1400 * MS, .granted_ns = 5000 * MS };
	struct failover_update update;
	size_t i;

	(void)unused;
	for (i = 0; i < 2; i++) {
		failover.state = states[i];
		update = step(&failover, FAILOVER_YIELDED, 1010 * MS);
		assert_false(update.changed || update.activate);
	}
	/* Of a claim by silence, whose lease runs out. */
	failover = protected_at(true, 1000);
	failover.gateway = false;
	failover.granted_ns = 5000 * MS;
	(void)silence(&failover, 1000, 1390);
	assert_int_equal(failover.state, FAILOVER_CLAIMING);
	event.type = FAILOVER_YIELDED;
	failover_step(&failover, &event, &update);
	assert_false(update.activate);
}

static void an_answer_counts_for_its_own_order_only(void **unused)
{
	struct failover failover = asked(false);

	(void)unused;
	assert_true(step(&failover, FAILOVER_YIELDED, 1020 * MS).activate);
	(void)step(&failover, FAILOVER_NOT_ACTIVATED, 1030 * MS);
	assert_true(failover_lease_ns(&failover) > 0);
	(void)step(&failover, FAILOVER_COMMITTED, 1040 * MS);
	(void)step(&failover, FAILOVER_HEARD, 1040 * MS);
	failover.gateway = false;
	failover.granted_ns = 1340 * MS;
	assert_false(order(&failover, 1050, true).activate);
	assert_false(heard(&failover, 1060, 1330).activate);
	assert_true(step(&failover, FAILOVER_YIELDED, 1335 * MS).activate);
	assert_int_equal(failover.term, 3);
}

/* Asked at the same time; the one that is later decides when. */
static void the_witness_is_waited_for_as_well(void **unused)
{
	struct failover_event won = { .type = FAILOVER_WON, .now_ns = 1020 * MS, .term = 2 };
	struct failover failover = protected_at(false, 1000);
	struct failover_update update;

	(void)unused;
	failover.witness = true;
	update = order(&failover, 1010, true);
	assert_true(update.yield && update.claim && update.by_operator);
	failover_step(&failover, &won, &update);
	assert_false(update.activate);
	assert_true(step(&failover, FAILOVER_YIELDED, 1030 * MS).activate);
	assert_int_equal(failover.term, 2);

	failover = protected_at(false, 1000);
	failover.witness = true;
	(void)order(&failover, 1010, true);
	assert_false(step(&failover, FAILOVER_YIELDED, 1015 * MS).activate);
	failover_step(&failover, &won, &update);
	assert_true(update.activate);
}

static void an_instance_that_is_gone_need_not_stand(void **unused)
{
	struct failover failover = asked(false);

	(void)unused;
	assert_true(step(&failover, FAILOVER_CRASHED, 1020 * MS).activate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_answer_is_waited_for_and_then_no_lease),
		cmocka_unit_test(a_primary_that_falls_silent_is_not_waited_for),
		cmocka_unit_test(
			one_that_is_heard_and_does_not_answer_is_waited_for_no_longer_than_that),
		cmocka_unit_test(nobody_is_asked_without_a_connection_or_in_silence),
		cmocka_unit_test(an_answer_that_nobody_waits_for_is_nothing),
		cmocka_unit_test(an_answer_counts_for_its_own_order_only),
		cmocka_unit_test(the_witness_is_waited_for_as_well),
		cmocka_unit_test(an_instance_that_is_gone_need_not_stand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
