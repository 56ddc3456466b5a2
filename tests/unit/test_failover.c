/* Who serves: the decision table of failover.h, its timing and its refusals. */
#include "tests/unit/failover_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void silence_for_the_limit_takes_over_with_a_new_term(void **unused)
{
	struct failover failover = protected_at(true, 1000);
	struct failover_update update = silence(&failover, 1000, 2000);

	(void)unused;
	assert_true(update.activate);
	assert_int_equal(failover.state, FAILOVER_TAKING_OVER);
	assert_int_equal(failover.term, 2);
	assert_true(failover.decided_ns >= 1300 * MS && failover.decided_ns < 1340 * MS);
	assert_true(failover.silent_ns >= DETECT_MS * MS);
	update = step(&failover, FAILOVER_ACTIVATED, 1350 * MS);
	assert_int_equal(failover.state, FAILOVER_SERVING);
	assert_false(update.activate);
}

static void no_takeover_before_the_limit(void **unused)
{
	struct failover failover = protected_at(true, 1000);
	struct failover_update update = silence(&failover, 1000, 1299);

	(void)unused;
	assert_false(update.activate);
	assert_int_equal(failover.state, FAILOVER_SUSPECT);
	(void)step(&failover, FAILOVER_HEARD, 1299 * MS);
	assert_int_equal(failover.state, FAILOVER_PROTECTED);
}

static void old_news_does_not_lift_a_suspicion(void **unused)
{
	struct failover failover = protected_at(true, 1000);
	struct failover_update update;

	(void)unused;
	(void)silence(&failover, 1000, 1299);
	update = step(&failover, FAILOVER_HEARD, 1000 * MS);
	assert_false(update.changed);
	assert_int_equal(failover.state, FAILOVER_SUSPECT);
}

static void manual_takeover_waits_for_the_operator(void **unused)
{
	struct failover failover = protected_at(false, 1000);
	struct failover_update update = silence(&failover, 1000, 5000);

	(void)unused;
	assert_false(update.activate);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	update = step(&failover, FAILOVER_OPERATOR, 5001 * MS);
	assert_true(update.activate);
	assert_int_equal(failover.term, 2);
}

static void our_own_sleep_is_not_the_primarys_silence(void **unused)
{
	struct failover failover = protected_at(true, 1000);
	struct failover_update update;

	(void)unused;
	(void)step(&failover, FAILOVER_TICK, 1010 * MS);
	update = step(&failover, FAILOVER_TICK, 9000 * MS);
	assert_false(update.activate);
	assert_int_equal(failover.state, FAILOVER_PROTECTED);
	assert_true(update.aside && *update.reason != '\0');
	/* But if it stays silent after that, it counts. */
	update = silence(&failover, 9030, 9400);
	assert_true(update.activate);
}

static void our_own_sleep_is_not_told_where_silence_does_not_matter(void **unused)
{
	struct failover_update update;
	struct failover failover;

	(void)unused;
	failover_init(&failover, 300, true, 1000 * MS);
	(void)step(&failover, FAILOVER_TICK, 1010 * MS);
	update = step(&failover, FAILOVER_TICK, 9000 * MS);
	assert_string_equal(update.reason, "");
}

static void a_goodbye_is_no_reason_to_take_over(void **unused)
{
	static const enum failover_event_type goodbyes[] = { FAILOVER_GOODBYE, FAILOVER_SHUT_DOWN };
	struct failover failover;
	size_t i;

	(void)unused;
	for (i = 0; i < 2; i++) {
		failover = protected_at(true, 1000);
		assert_false(step(&failover, goodbyes[i], 1010 * MS).activate);
		assert_false(silence(&failover, 1020, 9000).activate);
		/* Protected again, it is watched again. */
		(void)step(&failover, FAILOVER_HEARD, 9001 * MS);
		(void)step(&failover, FAILOVER_COMMITTED, 9001 * MS);
		assert_int_equal(failover.state, FAILOVER_PROTECTED);
		assert_true(silence(&failover, 9010, 9500).activate);
	}
}

static void a_crash_takes_over_at_once_only_when_automatic(void **unused)
{
	struct failover failover = protected_at(true, 1000);

	(void)unused;
	assert_true(step(&failover, FAILOVER_CRASHED, 1010 * MS).activate);
	failover = protected_at(false, 1000);
	assert_false(step(&failover, FAILOVER_CRASHED, 1010 * MS).activate);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
}

static void nothing_is_taken_over_without_a_committed_epoch(void **unused)
{
	struct failover failover;
	struct failover_update update;

	(void)unused;
	failover_init(&failover, DETECT_MS, true, 1000 * MS);
	assert_false(silence(&failover, 1000, 5000).activate);
	(void)step(&failover, FAILOVER_COPYING, 5000 * MS);
	assert_false(silence(&failover, 5000, 9000).activate);
	assert_false(step(&failover, FAILOVER_CRASHED, 9000 * MS).activate);
	update = step(&failover, FAILOVER_OPERATOR, 9001 * MS);
	assert_true(update.refused);
	assert_true(update.aside); /* the status says what it said before */
	assert_false(update.activate);
	assert_non_null(strstr(update.reason, "no committed epoch"));
}

static void a_lost_replica_is_not_taken_over(void **unused)
{
	struct failover failover = protected_at(true, 1000);

	(void)unused;
	(void)step(&failover, FAILOVER_FORGOTTEN, 1001 * MS);
	assert_int_equal(failover.state, FAILOVER_EMPTY);
	assert_false(silence(&failover, 1010, 5000).activate);
	assert_true(step(&failover, FAILOVER_OPERATOR, 5001 * MS).refused);
}

/* It had waited for the journal: nobody was heard meanwhile. */
static void an_epoch_that_counts_late_does_not_try_an_activation_again(void **unused)
{
	struct failover failover = protected_at(true, 1000);

	(void)unused;
	assert_true(silence(&failover, 1000, 2000).activate);
	(void)step(&failover, FAILOVER_NOT_ACTIVATED, 2000 * MS);
	(void)epoch(&failover, FAILOVER_COMMITTED, 2010, failover.epoch + 1);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	assert_false(silence(&failover, 2020, 4000).activate);
	(void)step(&failover, FAILOVER_HEARD, 4010 * MS);
	(void)step(&failover, FAILOVER_COMMITTED, 4020 * MS);
	assert_int_equal(failover.state, FAILOVER_PROTECTED);
}

static void an_activation_that_failed_late_is_not_tried_again(void **unused)
{
	struct failover failover = protected_at(true, 1000);

	(void)unused;
	assert_true(silence(&failover, 1000, 2000).activate);
	(void)step(&failover, FAILOVER_ACTIVATION_FAILED, 2001 * MS);
	assert_int_equal(failover.state, FAILOVER_FAILED);
	assert_false(silence(&failover, 2010, 4000).activate);
	assert_true(step(&failover, FAILOVER_OPERATOR, 4001 * MS).refused);
	assert_int_equal(failover.state, FAILOVER_FAILED);
}

/* Otherwise a primary that holds would stay silent although nobody serves. */
static void a_takeover_that_nobody_saw_gives_the_instance_back(void **unused)
{
	struct failover failover = protected_at(true, 1000);

	(void)unused;
	assert_true(silence(&failover, 1000, 2000).activate);
	assert_int_equal(failover_lease_ns(&failover), 0);
	(void)step(&failover, FAILOVER_NOT_ACTIVATED, 2001 * MS);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	assert_false(failover_is_over(&failover));
	assert_true(failover_lease_ns(&failover) > 0);
	assert_false(silence(&failover, 2010, 4000).activate); /* by itself it would fail again */
	assert_true(step(&failover, FAILOVER_OPERATOR, 4001 * MS).activate);
	assert_int_equal(failover.term, 3);
	(void)step(&failover, FAILOVER_NOT_ACTIVATED, 4002 * MS);
	(void)step(&failover, FAILOVER_HEARD, 4003 * MS);
	(void)step(&failover, FAILOVER_COMMITTED, 4003 * MS);
	assert_int_equal(failover.state, FAILOVER_PROTECTED);
}

static void a_takeover_that_may_have_been_seen_gives_nothing_back(void **unused)
{
	struct failover failover = protected_at(true, 1000);

	(void)unused;
	assert_true(silence(&failover, 1000, 2000).activate);
	(void)step(&failover, FAILOVER_ACTIVATION_FAILED, 2001 * MS);
	assert_int_equal(failover_lease_ns(&failover), 0);
	(void)step(&failover, FAILOVER_COMMITTED, 2002 * MS);
	assert_int_equal(failover.state, FAILOVER_FAILED);
}

static void the_operator_cannot_take_over_twice(void **unused)
{
	struct failover failover = protected_at(false, 1000);

	(void)unused;
	assert_true(step(&failover, FAILOVER_OPERATOR, 1001 * MS).activate);
	assert_true(step(&failover, FAILOVER_OPERATOR, 1002 * MS).refused);
	(void)step(&failover, FAILOVER_ACTIVATED, 1010 * MS);
	assert_true(step(&failover, FAILOVER_OPERATOR, 1011 * MS).refused);
	assert_int_equal(failover.term, 2);
}

static void a_replica_that_served_and_ended_stays_lost_until_it_is_released(void **unused)
{
	static const enum failover_event_type others[] = { FAILOVER_TICK,
							   FAILOVER_HEARD,
							   FAILOVER_COPYING,
							   FAILOVER_COMMITTED,
							   FAILOVER_FORGOTTEN,
							   FAILOVER_GOODBYE,
							   FAILOVER_CRASHED,
							   FAILOVER_SHUT_DOWN,
							   FAILOVER_OPERATOR,
							   FAILOVER_ACTIVATED,
							   FAILOVER_FOUND,
							   FAILOVER_UNUSED,
							   FAILOVER_ACTIVATION_FAILED };
	struct failover failover = protected_at(false, 1000);
	struct failover_update update;
	size_t i;

	(void)unused;
	(void)step(&failover, FAILOVER_OPERATOR, 1001 * MS);
	(void)step(&failover, FAILOVER_ACTIVATED, 1010 * MS);
	assert_true(step(&failover, FAILOVER_RELEASE, 1011 * MS).refused);
	assert_int_equal(failover.state, FAILOVER_SERVING);
	update = step(&failover, FAILOVER_GONE, 1012 * MS);
	assert_int_equal(failover.state, FAILOVER_LOST);
	assert_non_null(strstr(update.reason, "understudy release"));
	assert_true(failover_has_served(&failover));
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		assert_false(step(&failover, others[i], (1013 + i) * MS).activate);
		assert_int_equal(failover.state, FAILOVER_LOST);
	}
	assert_false(step(&failover, FAILOVER_RELEASE, 1030 * MS).refused);
	assert_int_equal(failover.state, FAILOVER_EMPTY);
	assert_int_equal(failover.epoch, 0);
	/* What is protected after that is taken over with a higher term. */
	(void)step(&failover, FAILOVER_COPYING, 1031 * MS);
	(void)step(&failover, FAILOVER_COMMITTED, 1032 * MS);
	assert_true(step(&failover, FAILOVER_OPERATOR, 1033 * MS).activate);
	assert_int_equal(failover.term, 3);
}

static struct failover restored(uint64_t epoch)
{
	struct failover failover;

	failover_init(&failover, DETECT_MS, true, 1000 * MS);
	failover_restore(&failover, 7, epoch);
	return failover;
}

static void an_earlier_life_that_took_over_is_gone_on_with(void **unused)
{
	struct failover failover = restored(40);

	(void)unused;
	assert_int_equal(failover.state, FAILOVER_RETURNING);
	assert_true(failover_is_over(&failover));
	assert_false(silence(&failover, 1000, 3000).activate);
	assert_true(step(&failover, FAILOVER_OPERATOR, 3001 * MS).refused);
	assert_true(step(&failover, FAILOVER_RELEASE, 3002 * MS).refused);
	(void)step(&failover, FAILOVER_FOUND, 3003 * MS);
	assert_int_equal(failover.state, FAILOVER_SERVING);
	assert_int_equal(failover.term, 7);
	assert_int_equal(failover.epoch, 40);

	failover = restored(40);
	(void)step(&failover, FAILOVER_GONE, 1001 * MS);
	assert_int_equal(failover.state, FAILOVER_LOST);
	assert_int_equal(failover.term, 7);
}

static void a_takeover_that_was_not_completed_holds_nothing_back(void **unused)
{
	struct failover failover = restored(40);

	(void)unused;
	(void)step(&failover, FAILOVER_UNUSED, 1001 * MS);
	assert_int_equal(failover.state, FAILOVER_EMPTY);
	assert_int_equal(failover.epoch, 0);
	assert_int_equal(failover.term, 7);
	assert_false(failover_is_over(&failover));
}

static void an_earlier_life_that_stood_by_leaves_only_its_term(void **unused)
{
	struct failover failover = restored(0);

	(void)unused;
	assert_int_equal(failover.state, FAILOVER_EMPTY);
	(void)step(&failover, FAILOVER_COPYING, 1001 * MS);
	(void)step(&failover, FAILOVER_COMMITTED, 1002 * MS);
	assert_true(silence(&failover, 1003, 2000).activate);
	assert_int_equal(failover.term, 8);
}

static void the_operator_may_let_go_of_a_failed_activation(void **unused)
{
	struct failover failover = protected_at(false, 1000);

	(void)unused;
	(void)step(&failover, FAILOVER_OPERATOR, 1001 * MS);
	assert_true(step(&failover, FAILOVER_RELEASE, 1002 * MS).refused);
	(void)step(&failover, FAILOVER_ACTIVATION_FAILED, 1003 * MS);
	assert_false(step(&failover, FAILOVER_RELEASE, 1004 * MS).refused);
	assert_int_equal(failover.state, FAILOVER_EMPTY);
	assert_int_equal(failover.term, 2);
}

static void an_outdated_epoch_is_not_taken_over_from_by_itself(void **unused)
{
	struct failover failover = protected_at(true, 1000);

	(void)unused;
	(void)epoch(&failover, FAILOVER_COMMITTED, 1001, 5);
	(void)epoch(&failover, FAILOVER_OUTDATED, 1002, 7);
	assert_true(failover.outdated);
	(void)epoch(&failover, FAILOVER_COMMITTED, 1003, 7); /* it was on its way */
	assert_false(silence(&failover, 1010, 9000).activate);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	(void)step(&failover, FAILOVER_HEARD, 9000 * MS);
	(void)epoch(&failover, FAILOVER_COMMITTED, 9000, 8);
	assert_true(silence(&failover, 9010, 9500).activate);
}

/* The primary says it again on each connection, until it knows that a later epoch is committed. */
static void a_late_word_about_earlier_epochs_does_not_outdate_a_later_one(void **unused)
{
	struct failover failover = protected_at(true, 1000);

	(void)unused;
	(void)epoch(&failover, FAILOVER_COMMITTED, 1001, 8);
	assert_string_equal(epoch(&failover, FAILOVER_OUTDATED, 1002, 7).reason, "");
	assert_false(failover.outdated);
	assert_true(silence(&failover, 1010, 9000).activate);
}

/* Claims ------------------------------------------------------------------------------------- */

/* 20,000 seeded histories of random events: the invariants that must hold in each state. */
static void random_histories_keep_the_invariants(void **unused)
{
	uint64_t now_ms, term, seed;
	struct failover failover;
	struct failover_update update;
	enum failover_state before;
	unsigned random, i;
	bool activated;

	(void)unused;
	for (seed = 1; seed <= 20000; seed++) {
		random = (unsigned)seed;
		now_ms = 1000;
		activated = false;
		failover_init(&failover, DETECT_MS, seed % 2 == 0, now_ms * MS);
		failover.gateway = true;
		if (seed % 3 == 0)
			failover_restore(&failover, 1 + seed % 7, seed % 5);
		for (i = 0; i < 40; i++) {
			enum failover_event_type type = (enum failover_event_type)(
				rand_r(&random) % (FAILOVER_RELEASE + 1));

			now_ms += (uint64_t)rand_r(&random) % 100;
			term = failover.term;
			before = failover.state;
			update = step(&failover, type, now_ms * MS);
			assert_true(failover.term == term + (update.activate ? 1 : 0));
			if (update.activate) {
				assert_true(failover.epoch > 0);
				assert_true(failover.automatic || type == FAILOVER_OPERATOR);
				assert_int_equal(failover.state, FAILOVER_TAKING_OVER);
				assert_false(type == FAILOVER_GOODBYE ||
					     type == FAILOVER_SHUT_DOWN || type == FAILOVER_HEARD);
				activated = true;
			}
			/* Only an activation, or an earlier life's, makes it serve; and what has
			 * served is only let go by the operator. */
			if (failover.state == FAILOVER_SERVING)
				assert_true(activated || type == FAILOVER_FOUND ||
					    before == FAILOVER_SERVING);
			if (before == FAILOVER_SERVING || before == FAILOVER_LOST)
				assert_true(failover_has_served(&failover) ||
					    (before == FAILOVER_LOST && type == FAILOVER_RELEASE));
			if (failover.state != FAILOVER_EMPTY && failover.state != FAILOVER_SYNCING)
				assert_true(failover.epoch > 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silence_for_the_limit_takes_over_with_a_new_term),
		cmocka_unit_test(no_takeover_before_the_limit),
		cmocka_unit_test(old_news_does_not_lift_a_suspicion),
		cmocka_unit_test(manual_takeover_waits_for_the_operator),
		cmocka_unit_test(our_own_sleep_is_not_the_primarys_silence),
		cmocka_unit_test(our_own_sleep_is_not_told_where_silence_does_not_matter),
		cmocka_unit_test(a_goodbye_is_no_reason_to_take_over),
		cmocka_unit_test(a_crash_takes_over_at_once_only_when_automatic),
		cmocka_unit_test(nothing_is_taken_over_without_a_committed_epoch),
		cmocka_unit_test(a_lost_replica_is_not_taken_over),
		cmocka_unit_test(an_epoch_that_counts_late_does_not_try_an_activation_again),
		cmocka_unit_test(an_activation_that_failed_late_is_not_tried_again),
		cmocka_unit_test(a_takeover_that_nobody_saw_gives_the_instance_back),
		cmocka_unit_test(a_takeover_that_may_have_been_seen_gives_nothing_back),
		cmocka_unit_test(the_operator_cannot_take_over_twice),
		cmocka_unit_test(a_replica_that_served_and_ended_stays_lost_until_it_is_released),
		cmocka_unit_test(an_earlier_life_that_took_over_is_gone_on_with),
		cmocka_unit_test(a_takeover_that_was_not_completed_holds_nothing_back),
		cmocka_unit_test(an_earlier_life_that_stood_by_leaves_only_its_term),
		cmocka_unit_test(the_operator_may_let_go_of_a_failed_activation),
		cmocka_unit_test(an_outdated_epoch_is_not_taken_over_from_by_itself),
		cmocka_unit_test(a_late_word_about_earlier_epochs_does_not_outdate_a_later_one),
		cmocka_unit_test(random_histories_keep_the_invariants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
