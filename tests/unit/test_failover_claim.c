/* A takeover with a witness: it is asked first, and what becomes of its answer or of none. */
#include "tests/unit/failover_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct failover witnessed(bool automatic)
{
	struct failover failover = protected_at(automatic, 1000);

	failover.witness = true;
	return failover;
}

static struct failover_update answer(struct failover *failover, enum failover_event_type type,
				     uint64_t now_ms, uint64_t term)
{
	const struct failover_event event = { .type = type, .now_ns = now_ms * MS, .term = term };
	struct failover_update update;

	failover_step(failover, &event, &update);
	return update;
}

static bool claims_again(struct failover *failover, uint64_t from_ms, uint64_t to_ms)
{
	uint64_t at;

	for (at = from_ms; at <= to_ms; at += 30) {
		if (step(failover, FAILOVER_TICK, at * MS).claim)
			return true;
	}
	return false;
}

static void the_witness_is_asked_before_the_replica_runs(void **unused)
{
	struct failover failover = witnessed(true);
	struct failover_update update;

	(void)unused;
	assert_true(claims_again(&failover, 1000, 1400));
	assert_int_equal(failover.state, FAILOVER_CLAIMING);
	assert_int_equal(failover_lease_ns(&failover), 0);
	update = answer(&failover, FAILOVER_WON, 1420, 5);
	assert_true(update.activate);
	assert_int_equal(failover.term, 5);
}

static void a_beaten_claim_makes_the_epoch_outdated(void **unused)
{
	struct failover failover = witnessed(true);

	(void)unused;
	assert_true(claims_again(&failover, 1000, 1400));
	assert_false(answer(&failover, FAILOVER_BEATEN, 1410, 2).activate);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	assert_true(failover.outdated);
	assert_int_equal(failover.term, 1);
	assert_false(claims_again(&failover, 1420, 9000));
	/* An epoch of a primary that does not say that term itself does not help. */
	(void)step(&failover, FAILOVER_COMMITTED, 9000 * MS);
	assert_true(failover.outdated);
}

static void silence_asks_a_witness_again_that_did_not_answer(void **unused)
{
	struct failover failover = witnessed(true);

	(void)unused;
	assert_true(claims_again(&failover, 1000, 1400));
	(void)answer(&failover, FAILOVER_UNANSWERED, 1500, 0);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	assert_false(claims_again(&failover, 1510, 2480));
	assert_true(claims_again(&failover, 2510, 2600));
	assert_true(answer(&failover, FAILOVER_WON, 2610, 2).activate);
}

/* Ticks of a standby whose replica could not be brought to life. */
static bool claims_unable(struct failover *failover, uint64_t from_ms, uint64_t to_ms,
			  char told[FAILOVER_REASON_MAX])
{
	struct failover_event event = { .type = FAILOVER_TICK, .unable = "no disk" };
	struct failover_update update;
	uint64_t at;

	for (at = from_ms; at <= to_ms; at += 30) {
		event.now_ns = at * MS;
		failover_step(failover, &event, &update);
		if (update.claim || update.activate)
			return true;
		if (update.changed)
			memcpy(told, update.reason, sizeof(update.reason));
	}
	return false;
}

static void who_cannot_serve_does_not_ask_before_it_can(void **unused)
{
	struct failover failover = witnessed(true);
	char told[FAILOVER_REASON_MAX];

	(void)unused;
	assert_false(claims_unable(&failover, 1000, 5000, told));
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	assert_non_null(strstr(told, "the primary is silent; not taking over"));
	assert_non_null(strstr(told, "no disk"));
	assert_true(failover_lease_ns(&failover) > 0);
	assert_true(claims_again(&failover, 5010, 6100));
	assert_true(answer(&failover, FAILOVER_WON, 6110, 2).activate);
}

static void nor_when_the_instance_is_gone(void **unused)
{
	const struct failover_event crash = { .type = FAILOVER_CRASHED,
					      .now_ns = 1010 * MS,
					      .unable = "no disk" };
	struct failover failover = witnessed(true);
	struct failover_update update;

	(void)unused;
	failover_step(&failover, &crash, &update);
	assert_false(update.claim);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	failover_step(&failover, &crash, &update); /* on another connection */
	assert_false(update.claim);
	assert_true(claims_again(&failover, 1020, 2100));
}

static void what_cannot_serve_any_more_is_the_primary_s_if_that_is_heard(void **unused)
{
	struct failover failover = witnessed(true);
	char told[FAILOVER_REASON_MAX];

	(void)unused;
	assert_false(claims_unable(&failover, 1000, 3000, told));
	(void)step(&failover, FAILOVER_HEARD, 3010 * MS);
	(void)step(&failover, FAILOVER_COMMITTED, 3020 * MS);
	assert_int_equal(failover.state, FAILOVER_PROTECTED);
	assert_true(claims_again(&failover, 3030, 3400)); /* silent anew */
}

static void a_manual_claim_without_an_answer_is_not_made_again(void **unused)
{
	struct failover failover = witnessed(false);
	struct failover_update update;

	(void)unused;
	assert_true(step(&failover, FAILOVER_OPERATOR, 1010 * MS).claim);
	update = answer(&failover, FAILOVER_UNANSWERED, 2010, 0);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	assert_non_null(strstr(update.reason, "`understudy takeover` is given again"));
	assert_false(claims_again(&failover, 2020, 20000));
	update = step(&failover, FAILOVER_OPERATOR, 20010 * MS);
	assert_true(update.claim && update.by_operator);
}

/* The instance runs on, and its answers reach clients: only its operator knows better. */
static void an_order_after_a_goodbye_is_not_kept(void **unused)
{
	struct failover failover = witnessed(true);

	(void)unused;
	(void)step(&failover, FAILOVER_GOODBYE, 1005 * MS);
	assert_true(step(&failover, FAILOVER_OPERATOR, 1010 * MS).claim);
	(void)answer(&failover, FAILOVER_UNANSWERED, 2010, 0);
	assert_false(claims_again(&failover, 2020, 20000));
}

static void an_order_without_an_answer_does_not_end_the_watch(void **unused)
{
	struct failover failover = witnessed(true);

	(void)unused;
	/* Of the primary, that is silent from then on. */
	assert_true(step(&failover, FAILOVER_OPERATOR, 1010 * MS).claim);
	(void)answer(&failover, FAILOVER_UNANSWERED, 2010, 0);
	assert_true(claims_again(&failover, 2020, 9000));
	/* And while a claim waits to be made again. */
	(void)answer(&failover, FAILOVER_UNANSWERED, 9010, 0);
	assert_true(step(&failover, FAILOVER_OPERATOR, 9020 * MS).claim);
	(void)answer(&failover, FAILOVER_UNANSWERED, 9030, 0);
	assert_true(claims_again(&failover, 9040, 20000));
}

/* Behind a gateway, which is open until the decision is carried out. */
static void answers_that_leave_while_we_claim_end_the_claim(void **unused)
{
	struct failover failover = witnessed(true);

	(void)unused;
	assert_true(claims_again(&failover, 1000, 1400));
	(void)epoch(&failover, FAILOVER_OUTDATED, 1410, 9);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	/* The witness's answer comes too late, but the term is ours, and the primary's next lease says so. */
	assert_false(answer(&failover, FAILOVER_WON, 1420, 2).activate);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	assert_int_equal(failover.term, 2);
	assert_false(claims_again(&failover, 1430, 9000));

	failover = witnessed(true);
	(void)step(&failover, FAILOVER_OPERATOR, 1010 * MS);
	(void)epoch(&failover, FAILOVER_OUTDATED, 1020, 9);
	assert_true(answer(&failover, FAILOVER_WON, 1030, 2).activate);
}

/* The primary's lease has run out meanwhile: it asked the witness, has heard of that term, and tells. */
static void a_claim_whose_term_the_primary_tells_before_the_witness_does_is_won(void **unused)
{
	struct failover_event told = { .type = FAILOVER_OUTDATED, .now_ns = 1240 * MS, .term = 2 };
	struct failover failover = witnessed(true);
	struct failover_update update;

	(void)unused;
	assert_true(step(&failover, FAILOVER_OPERATOR, 1010 * MS).claim);
	told.epoch = failover.epoch;
	failover_step(&failover, &told, &update);
	assert_int_equal(failover.state, FAILOVER_CLAIMING);
	assert_int_equal(failover.term, 2);
	assert_true(answer(&failover, FAILOVER_WON, 1700, 2).activate);
	assert_int_equal(failover.term, 2);
}

/* Or the claim would wait for ever: that answer was the only one to come. */
static void the_answer_to_an_earlier_claim_makes_it_ask_again(void **unused)
{
	struct failover_event told = { .type = FAILOVER_OUTDATED, .now_ns = 1500 * MS, .term = 2 };
	struct failover failover = witnessed(true);
	struct failover_update update;

	(void)unused;
	assert_true(claims_again(&failover, 1000, 1400));
	told.epoch = failover.epoch;
	failover_step(&failover, &told, &update); /* known, so given up */
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	assert_true(step(&failover, FAILOVER_OPERATOR, 1510 * MS).claim);
	update = answer(&failover, FAILOVER_WON, 1520, 2);
	assert_true(update.claim && update.by_operator && !update.activate && !update.changed);
	assert_int_equal(failover.state, FAILOVER_CLAIMING);
	assert_true(answer(&failover, FAILOVER_WON, 1530, 3).activate);
	assert_int_equal(failover.term, 3);

	failover = witnessed(true);
	assert_true(claims_again(&failover, 1000, 1400));
	update = answer(&failover, FAILOVER_WON, 1420, 1);
	assert_true(update.claim && !update.by_operator && !update.activate);
	assert_true(answer(&failover, FAILOVER_WON, 1430, 2).activate);

	/* What the primary has told is beyond what this claim has won. */
	failover = witnessed(true);
	assert_true(step(&failover, FAILOVER_OPERATOR, 1010 * MS).claim);
	told.term = 3;
	failover_step(&failover, &told, &update);
	update = answer(&failover, FAILOVER_WON, 1520, 2);
	assert_true(update.claim && update.by_operator && !update.activate);
	assert_true(answer(&failover, FAILOVER_WON, 1530, 4).activate);
}

/* As it asks by itself each second while the witness is away, an order mostly comes then. */
static void an_order_adopts_the_claim_that_is_under_way(void **unused)
{
	struct failover failover = witnessed(true);
	struct failover_update update;

	(void)unused;
	assert_true(claims_again(&failover, 1000, 1400));
	update = step(&failover, FAILOVER_OPERATOR, 1405 * MS);
	assert_false(update.refused || update.changed);
	assert_true(update.claim && update.by_operator);
	assert_non_null(strstr(update.reason, "the operator's command"));
	/* It counts as an order: what is heard of answers elsewhere does not end it. */
	(void)answer(&failover, FAILOVER_OUTDATED, 1410, 1);
	assert_int_equal(failover.state, FAILOVER_CLAIMING);
	update = answer(&failover, FAILOVER_UNANSWERED, 1420, 0);
	assert_int_equal(failover.state, FAILOVER_UNATTENDED);
	assert_non_null(strstr(update.reason, "the witness does not answer"));
}

static void an_order_given_twice_is_under_way(void **unused)
{
	struct failover failover = witnessed(true);
	struct failover_update update;

	(void)unused;
	(void)step(&failover, FAILOVER_OPERATOR, 1005 * MS);
	assert_int_equal(failover.state, FAILOVER_CLAIMING);
	update = step(&failover, FAILOVER_OPERATOR, 1010 * MS);
	assert_true(update.refused);
	assert_non_null(strstr(update.reason, "a takeover is under way"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_witness_is_asked_before_the_replica_runs),
		cmocka_unit_test(a_beaten_claim_makes_the_epoch_outdated),
		cmocka_unit_test(silence_asks_a_witness_again_that_did_not_answer),
		cmocka_unit_test(who_cannot_serve_does_not_ask_before_it_can),
		cmocka_unit_test(nor_when_the_instance_is_gone),
		cmocka_unit_test(what_cannot_serve_any_more_is_the_primary_s_if_that_is_heard),
		cmocka_unit_test(a_manual_claim_without_an_answer_is_not_made_again),
		cmocka_unit_test(an_order_after_a_goodbye_is_not_kept),
		cmocka_unit_test(an_order_without_an_answer_does_not_end_the_watch),
		cmocka_unit_test(answers_that_leave_while_we_claim_end_the_claim),
		cmocka_unit_test(
			a_claim_whose_term_the_primary_tells_before_the_witness_does_is_won),
		cmocka_unit_test(the_answer_to_an_earlier_claim_makes_it_ask_again),
		cmocka_unit_test(an_order_adopts_the_claim_that_is_under_way),
		cmocka_unit_test(an_order_given_twice_is_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
