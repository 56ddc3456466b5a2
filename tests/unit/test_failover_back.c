/* An operator's order to serve from an earlier epoch is decided as any order, and gives nothing up before the replica becomes that epoch. */
#include "appliance/aftermath.h"
#include "tests/unit/failover_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define LAST 40
#define EARLIER 17

static struct failover_update order(struct failover *failover, uint64_t now_ms, bool linked)
{
	const struct failover_event event = {
		.type = FAILOVER_OPERATOR, .now_ns = now_ms * MS, .epoch = EARLIER, .linked = linked
	};
	struct failover_update update;

	failover_step(failover, &event, &update);
	return update;
}

static struct failover protected(bool automatic)
{
	struct failover failover = protected_at(automatic, 1000);

	(void)epoch(&failover, FAILOVER_COMMITTED, 1000, LAST);
	return failover;
}

/* Of a primary that stands. */
static struct failover taking_over(void)
{
	struct failover failover = protected(false);

	assert_true(order(&failover, 1010, true).yield);
	assert_true(step(&failover, FAILOVER_YIELDED, 1020 * MS).activate);
	assert_int_equal(failover.state, FAILOVER_TAKING_OVER);
	return failover;
}

static void it_asks_the_primary_and_the_witness_as_any_takeover_does(void **unused)
{
	struct failover failover = protected(false);
	struct failover_event won = { .type = FAILOVER_WON, .now_ns = 1030 * MS, .term = 2 };
	struct failover_update update;

	(void)unused;
	failover.witness = true;
	update = order(&failover, 1010, true);
	assert_true(update.yield && update.claim && update.by_operator && !update.activate);
	assert_false(step(&failover, FAILOVER_YIELDED, 1020 * MS).activate);
	failover_step(&failover, &won, &update);
	assert_true(update.activate);
	assert_non_null(strstr(update.reason, "from epoch 17, not the last one, with term 2"));
	assert_int_equal(failover.epoch, LAST);
}

static void the_last_epoch_is_the_committed_one_until_it_is_given_up(void **unused)
{
	struct failover failover = taking_over();
	const struct term_record was = { .term = 1, .kind = TERM_PROTECTS };

	(void)unused;
	assert_int_equal(failover.epoch, LAST);
	assert_int_equal(aftermath_record(&was, &failover, "a", false).epoch, EARLIER);
	(void)step(&failover, FAILOVER_NOT_ACTIVATED, 1030 * MS);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	assert_int_equal(failover.epoch, LAST);
	/* What is ordered next is the last one, unless it is said again. */
	assert_true(epoch(&failover, FAILOVER_OPERATOR, 1040, 0).changed);
	assert_int_equal(failover.back_to, 0);
	(void)step(&failover, FAILOVER_REWOUND, 1050 * MS);
	assert_int_equal(failover.epoch, LAST);
}

static void once_given_up_the_earlier_one_is_committed_and_outdated(void **unused)
{
	struct failover failover = taking_over();
	struct failover_update update = step(&failover, FAILOVER_REWOUND, 1030 * MS);

	(void)unused;
	assert_non_null(strstr(update.reason, "epoch 40 is given up"));
	assert_int_equal(failover.epoch, EARLIER);
	/* What was being made durable when the decision fell is not what is served. */
	(void)epoch(&failover, FAILOVER_COMMITTED, 1035, LAST + 1);
	assert_int_equal(failover.epoch, EARLIER);
	(void)step(&failover, FAILOVER_NOT_ACTIVATED, 1040 * MS);
	assert_true(failover.outdated && failover.epoch == EARLIER);
	/* A primary that comes back has the word again. */
	(void)epoch(&failover, FAILOVER_COMMITTED, 1050, LAST + 2);
	assert_int_equal(failover.state, FAILOVER_PROTECTED);
	assert_true(!failover.outdated && failover.epoch == LAST + 2);
}

static void silence_never_goes_back(void **unused)
{
	struct failover failover = protected(true);
	struct failover_event unanswered = { .type = FAILOVER_UNANSWERED, .now_ns = 1020 * MS };
	struct failover_update update;

	(void)unused;
	failover.witness = true;
	(void)order(&failover, 1010, false);
	failover_step(&failover, &unanswered, &update);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	(void)silence(&failover, 1040, 2400);
	assert_int_equal(failover.state, FAILOVER_CLAIMING);
	assert_int_equal(failover.back_to, 0);
	/* Unless the operator says so meanwhile. */
	assert_false(order(&failover, 2410, false).refused);
	assert_int_equal(failover.back_to, EARLIER);
}

static void what_serves_or_has_nothing_refuses_it(void **unused)
{
	struct failover failover = taking_over();

	(void)unused;
	assert_string_equal(failover_refusal(&failover), "a takeover is under way");
	assert_true(order(&failover, 1030, false).refused);
	(void)step(&failover, FAILOVER_ACTIVATED, 1040 * MS);
	assert_string_equal(failover_refusal(&failover), "the replica is serving already");
	assert_true(order(&failover, 1050, false).refused);
	failover_init(&failover, DETECT_MS, false, 0);
	assert_non_null(strstr(failover_refusal(&failover), "no committed epoch"));
	failover = protected(false);
	assert_null(failover_refusal(&failover));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_asks_the_primary_and_the_witness_as_any_takeover_does),
		cmocka_unit_test(the_last_epoch_is_the_committed_one_until_it_is_given_up),
		cmocka_unit_test(once_given_up_the_earlier_one_is_committed_and_outdated),
		cmocka_unit_test(silence_never_goes_back),
		cmocka_unit_test(what_serves_or_has_nothing_refuses_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
