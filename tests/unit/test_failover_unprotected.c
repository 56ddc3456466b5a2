/* An instance that runs on without epochs, by its agent's word: from then on only its operator takes over from them. */
#include "tests/unit/failover_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct failover_update unprotected(struct failover *failover, uint64_t now_ms,
					  const char *why)
{
	const struct failover_event event = { .type = FAILOVER_UNPROTECTED,
					      .now_ns = now_ms * MS,
					      .epoch = failover->epoch,
					      .why = why };
	struct failover_update update;

	failover_step(failover, &event, &update);
	return update;
}

static void neither_its_silence_nor_its_crash_is_a_reason_to_take_over(void **unused)
{
	struct failover failover = protected_at(true, 1000);
	struct failover_update update;

	(void)unused;
	update = unprotected(&failover, 1010, "its disk was changed");
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	assert_true(failover.outdated);
	assert_non_null(strstr(update.reason, "its disk was changed"));
	assert_non_null(strstr(update.reason, "only `understudy takeover` brings up epoch 1"));
	assert_false(silence(&failover, 1020, 9000).activate);
	update = step(&failover, FAILOVER_CRASHED, 9010 * MS);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	assert_non_null(strstr(update.reason, "the instance's QEMU is gone"));
	assert_true(step(&failover, FAILOVER_OPERATOR, 9020 * MS).activate);
}

static void the_next_sessions_epoch_protects_it_again(void **unused)
{
	struct failover failover = protected_at(true, 1000);

	(void)unused;
	(void)epoch(&failover, FAILOVER_COMMITTED, 1001, 5);
	(void)epoch(&failover, FAILOVER_UNPROTECTED, 1002, 6);
	/* It was on its way, and does not know either. */
	(void)epoch(&failover, FAILOVER_COMMITTED, 1003, 6);
	assert_true(failover.outdated);
	(void)epoch(&failover, FAILOVER_COMMITTED, 1004, 7);
	assert_false(failover.outdated);
	assert_int_equal(failover.state, FAILOVER_PROTECTED);
	(void)step(&failover, FAILOVER_HEARD, 1005 * MS);
	assert_true(silence(&failover, 1010, 1500).activate);
}

static void the_last_reason_is_the_one_that_is_told(void **unused)
{
	struct failover failover = protected_at(false, 1000);
	struct failover_update update;

	(void)unused;
	(void)unprotected(&failover, 1010, "it was let go");
	update = unprotected(&failover, 1020, "a device was plugged in");
	assert_false(update.changed);
	assert_non_null(strstr(update.reason, "a device was plugged in"));
}

static void an_operator_is_not_told_to_decide_about_a_primary_that_is_heard_again(void **unused)
{
	struct failover failover = protected_at(false, 1000);
	struct failover_update update;

	(void)unused;
	(void)silence(&failover, 1000, 5000);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	update = step(&failover, FAILOVER_HEARD, 5010 * MS);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	assert_non_null(strstr(update.reason, "heard again"));
	assert_false(update.aside);
	assert_string_equal(step(&failover, FAILOVER_HEARD, 5020 * MS).reason, "");
}

/* Whatever became of it: what is here is no epoch. */
static void a_first_copy_that_has_ended_leaves_nothing(void **unused)
{
	static const struct {
		enum failover_event_type type;
		const char *why;
	} ends[] = {
		{ FAILOVER_UNPROTECTED, "it was let go" },
		{ FAILOVER_GOODBYE, "the primary's agent ended" },
		{ FAILOVER_CRASHED, "the instance's QEMU is gone" },
		{ FAILOVER_SHUT_DOWN, "shut down in an orderly way" },
	};
	struct failover failover;
	struct failover_update update;
	size_t i;

	(void)unused;
	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		failover_init(&failover, DETECT_MS, true, 1000 * MS);
		(void)step(&failover, FAILOVER_COPYING, 1001 * MS);
		update = step(&failover, ends[i].type, 1002 * MS);
		assert_int_equal(failover.state, FAILOVER_EMPTY);
		assert_non_null(strstr(update.reason, "the first copy has ended"));
		assert_non_null(strstr(update.reason, ends[i].why));
		(void)step(&failover, FAILOVER_COPYING, 1003 * MS);
		assert_int_equal(failover.state, FAILOVER_SYNCING);
	}
}

static void one_that_was_shut_down_and_runs_again_is_told_of(void **unused)
{
	struct failover failover = protected_at(true, 1000);

	(void)unused;
	(void)step(&failover, FAILOVER_SHUT_DOWN, 1010 * MS);
	(void)unprotected(&failover, 1020, "its agent has not begun to copy it");
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	assert_false(step(&failover, FAILOVER_CRASHED, 1030 * MS).activate);
}

/* Claims: what the primary says of its instance is later than the silence that they began with. ---------------------- */

static struct failover claimed(enum failover_event_type by)
{
	struct failover failover = protected_at(true, 1000);

	failover.witness = true;
	if (by == FAILOVER_TICK)
		(void)silence(&failover, 1000, 1400);
	else
		(void)step(&failover, by, 1010 * MS);
	assert_int_equal(failover.state, FAILOVER_CLAIMING);
	return failover;
}

static struct failover_update won(struct failover *failover)
{
	const struct failover_event event = { .type = FAILOVER_WON,
					      .now_ns = 1500 * MS,
					      .term = 2 };
	struct failover_update update;

	failover_step(failover, &event, &update);
	return update;
}

static void its_word_that_the_instance_runs_or_has_ended_ends_a_claim_by_silence(void **unused)
{
	static const struct {
		enum failover_event_type said;
		enum failover_state then;
	} words[] = {
		{ FAILOVER_UNPROTECTED, FAILOVER_UNATTENDED },
		{ FAILOVER_GOODBYE, FAILOVER_UNATTENDED },
		{ FAILOVER_SHUT_DOWN, FAILOVER_ENDED },
	};
	struct failover failover;
	size_t i;

	(void)unused;
	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		failover = claimed(FAILOVER_TICK);
		(void)step(&failover, words[i].said, 1410 * MS);
		assert_int_equal(failover.state, words[i].then);
		assert_false(won(&failover).activate);
		assert_false(silence(&failover, 1510, 9000).activate);
		assert_int_equal(failover.state, words[i].then);
	}
}

static void its_word_that_the_instance_is_no_more_leaves_no_lease_to_wait_for(void **unused)
{
	struct failover failover = claimed(FAILOVER_TICK);

	(void)unused;
	failover.gateway = false;
	failover.granted_ns = 9000 * MS;
	assert_false(step(&failover, FAILOVER_CRASHED, 1410 * MS).activate);
	assert_true(won(&failover).activate);

	failover = claimed(FAILOVER_OPERATOR);
	failover.gateway = false;
	failover.granted_ns = 9000 * MS;
	assert_false(step(&failover, FAILOVER_SHUT_DOWN, 1410 * MS).activate);
	assert_true(won(&failover).activate);
}

static void an_order_stands_whatever_is_said(void **unused)
{
	struct failover failover = claimed(FAILOVER_OPERATOR);

	(void)unused;
	(void)unprotected(&failover, 1020, "it was let go");
	assert_int_equal(failover.state, FAILOVER_CLAIMING);
	assert_true(won(&failover).activate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neither_its_silence_nor_its_crash_is_a_reason_to_take_over),
		cmocka_unit_test(the_next_sessions_epoch_protects_it_again),
		cmocka_unit_test(the_last_reason_is_the_one_that_is_told),
		cmocka_unit_test(
			an_operator_is_not_told_to_decide_about_a_primary_that_is_heard_again),
		cmocka_unit_test(a_first_copy_that_has_ended_leaves_nothing),
		cmocka_unit_test(one_that_was_shut_down_and_runs_again_is_told_of),
		cmocka_unit_test(
			its_word_that_the_instance_runs_or_has_ended_ends_a_claim_by_silence),
		cmocka_unit_test(its_word_that_the_instance_is_no_more_leaves_no_lease_to_wait_for),
		cmocka_unit_test(an_order_stands_whatever_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
