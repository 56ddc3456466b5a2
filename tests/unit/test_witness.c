/* Claims at the witness: one wins, the others learn of it, and what etcd has forgotten counts for nothing. */
#include "appliance/base/mem.h"
#include "tests/unit/witness_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 40

static struct err err;

static void nobody_has_claimed_a_new_instance(void **state)
{
	(void)state;
	begin();
	assert_int_equal(look(&a), WITNESS_SEEN);
	assert_false(a.view.present);
	assert_false(a.view.held);
	end();
}

static void the_first_claim_wins_and_the_other_learns_of_it(void **state)
{
	(void)state;
	begin();
	assert_int_equal(claim(&a, 1, false), WITNESS_WON);
	expect_view(&a, 1, &a, false);
	assert_true(witness_until_ns(a.witness) == 0);
	assert_int_equal(claim(&b, 1, false), WITNESS_LOST);
	expect_view(&b, 1, &a, false);
	/* Having seen that, it may go on from there; and not back. */
	assert_int_equal(claim(&b, 2, false), WITNESS_WON);
	assert_int_equal(look(&a), WITNESS_SEEN);
	expect_view(&a, 2, &b, false);
	const struct witness_claim old = { .term = 2, .site = "seoul" };

	assert_int_equal(witness_claim(a.witness, &old, 0, &err), RC_STATE);
	assert_non_null(strstr(err.text, "has seen term 2"));
	end();
}

static void of_two_claims_at_once_exactly_one_wins(void **state)
{
	struct site *sites[2] = { &a, &b };
	unsigned round, won[2] = { 0, 0 }, i;
	uint64_t term = 0;

	(void)state;
	begin();
	for (round = 0; round < ROUNDS; round++) {
		assert_int_equal(look(&a), WITNESS_SEEN);
		assert_int_equal(look(&b), WITNESS_SEEN);
		term++;
		start_claim(sites[round % 2], term, round % 4 < 2);
		start_claim(sites[1 - round % 2], term, round % 4 == 1 || round % 4 == 2);
		turn_until(&a.done);
		turn_until(&b.done);
		assert_int_equal((a.outcome == WITNESS_WON) + (b.outcome == WITNESS_WON), 1);
		assert_int_equal((a.outcome == WITNESS_LOST) + (b.outcome == WITNESS_LOST), 1);
		i = b.outcome == WITNESS_WON;
		won[i]++;
		/* The loser knows the winner's term and site, and whether it holds a lease. */
		expect_view(sites[1 - i], term, sites[i], witness_until_ns(sites[i]->witness) > 0);
		assert_true(witness_until_ns(sites[1 - i]->witness) == 0);
		witness_release(sites[i]->witness);
		do
			assert_int_equal(look(sites[1 - i]), WITNESS_SEEN);
		while (sites[1 - i]->view.held);
	}
	print_message("of %d rounds %u and %u were won\n", ROUNDS, won[0], won[1]);
	assert_false(a.lost || b.lost);
	end();
}

static int64_t revision_found;

static void on_found(void *owner, const struct etcd_reply *reply)
{
	bool *found = owner;

	if (reply->txn != NULL)
		revision_found = reply->txn->entries[0].mod_revision;
	*found = true;
}

static void an_unreachable_witness_is_told_and_the_claim_can_be_repeated(void **state)
{
	(void)state;
	begin();
	assert_int_equal(claim(&b, 1, false), WITNESS_WON);
	etcd_server_kill(&server);
	assert_int_equal(look(&b), WITNESS_UNREACHABLE);
	assert_non_null(strstr(b.err.text, "connection refused"));
	expect_view(&b, 1, &b, false); /* what was known stays */
	assert_int_equal(claim(&b, 2, false), WITNESS_UNREACHABLE);
	assert_int_equal(claim(&b, 2, true), WITNESS_UNREACHABLE);
	etcd_server_start(&server);
	do
		(void)claim(&b, 2, false);
	while (b.outcome == WITNESS_UNREACHABLE);
	assert_int_equal(b.outcome, WITNESS_WON);
	end();
}

static bool swapped;

static void on_swapped(void *owner, const struct etcd_reply *reply)
{
	(void)owner;
	assert_null(reply->err);
	assert_true(reply->txn->succeeded);
	swapped = true;
}

/* Makes b's claim of that term as etcd does when only its answer is lost. */
static void claim_without_answer(uint64_t term, int64_t from)
{
	const struct etcd_how how = { .timeout_ms = PATIENCE_MS, .done = on_swapped };
	struct witness_value value = b.view.value;
	char text[WITNESS_TEXT_MAX];

	value.term = term;
	assert_int_equal(witness_value_print(text, &value, &err), RC_OK);
	swapped = false;
	assert_non_null(etcd_swap(a.etcd, "/understudy/vm1", from, text, 0, &how, &err));
	turn_until(&swapped);
}

static int64_t found_revision(void)
{
	bool found = false;
	const struct etcd_how how = { .timeout_ms = PATIENCE_MS,
				      .done = on_found,
				      .owner = &found };

	assert_non_null(etcd_get(a.etcd, "/understudy/vm1", &how, &err));
	turn_until(&found);
	return revision_found;
}

static void a_claim_whose_answer_was_lost_is_recognised(void **state)
{
	(void)state;
	begin();
	assert_int_equal(claim(&b, 1, false), WITNESS_WON);
	claim_without_answer(2, found_revision());
	assert_int_equal(claim(&b, 2, false), WITNESS_WON);
	expect_view(&b, 2, &b, false);
	/* It knows the revision from which to go on. With a lease it is another claim. */
	claim_without_answer(3, found_revision());
	assert_int_equal(claim(&b, 3, true), WITNESS_LOST);
	expect_view(&b, 3, &b, false);
	assert_true(witness_until_ns(b.witness) == 0);
	assert_int_equal(claim(&b, 4, true), WITNESS_WON);
	/* Nobody else's is taken for one's own. */
	assert_int_equal(look(&a), WITNESS_SEEN);
	expect_view(&a, 4, &b, true);
	end();
}

static void what_somebody_else_stored_there_is_left_alone(void **state)
{
	const struct etcd_how how = { .timeout_ms = PATIENCE_MS, .done = on_swapped };

	(void)state;
	begin();
	swapped = false;
	assert_non_null(etcd_swap(b.etcd, "/understudy/vm1", 0, "not ours", 0, &how, &err));
	turn_until(&swapped);
	assert_int_equal(look(&a), WITNESS_UNREACHABLE);
	assert_non_null(strstr(a.err.text, "what is stored at /understudy/vm1 is not ours"));
	assert_int_equal(claim(&a, 1, true), WITNESS_UNREACHABLE);
	assert_true(witness_until_ns(a.witness) == 0);
	end();
}

static void an_etcd_that_has_lost_what_it_knew_counts_as_away(void **state)
{
	(void)state;
	begin();
	assert_int_equal(claim(&a, 3, false), WITNESS_WON);
	assert_int_equal(look(&b), WITNESS_SEEN);
	etcd_server_forget(&server);
	assert_int_equal(look(&a), WITNESS_UNREACHABLE);
	assert_non_null(strstr(a.err.text, "etcd does not know what it knew: /understudy/vm1 had "
					   "term 3, and is gone"));
	assert_string_equal(etcd_doubted(a.etcd), a.err.text);
	assert_int_equal(look(&b), WITNESS_UNREACHABLE);
	assert_int_equal(claim(&a, 4, true), WITNESS_UNREACHABLE); /* it is told of nothing */
	assert_true(witness_until_ns(a.witness) == 0);
	/* Another process claims from what is there now. */
	close_site(&b);
	open_site(&b, "busan", WITNESS_STANDBY);
	assert_int_equal(claim(&b, 2, false), WITNESS_WON);
	assert_int_equal(look(&a), WITNESS_UNREACHABLE);
	assert_non_null(strstr(a.err.text, "has a lower one now"));
	assert_int_equal(claim(&b, 3, false), WITNESS_WON);
	assert_int_equal(look(&a), WITNESS_UNREACHABLE);
	assert_non_null(strstr(a.err.text, "has it of another site now"));
	assert_int_equal(claim(&b, 4, false), WITNESS_WON);
	assert_int_equal(look(&a), WITNESS_SEEN);
	expect_view(&a, 4, &b, false);
	assert_null(etcd_doubted(a.etcd));
	end();
}

static void one_thing_at_a_time_and_closing_gives_it_up(void **state)
{
	const struct witness_claim claim = { .term = 1, .site = "no name" };

	(void)state;
	begin();
	assert_int_equal(witness_claim(a.witness, &claim, 0, &err), RC_INVALID);
	assert_int_equal(witness_read(a.witness, 0, &err), RC_OK);
	assert_int_equal(witness_read(a.witness, 0, &err), RC_STATE);
	end();
	assert_false(a.done);
}

static void every_lack_of_memory_is_told(void **state)
{
	struct witness_claim claim = { .server = WITNESS_PRIMARY, .site = "seoul", .leased = true };
	unsigned long n;
	bool fired = true, won;

	(void)state;
	begin();
	for (n = 1; n < 300 && fired; n++) {
		claim.term = n;
		a.done = false;
		fault_arm(FAULT_ALLOC, n);
		if (witness_claim(a.witness, &claim, PATIENCE_MS, &err) == RC_OK)
			turn_until(&a.done);
		else
			assert_int_equal(err.code, RC_NOMEM);
		won = a.done && a.outcome == WITNESS_WON;
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
		/* Made or not: what the witness says afterwards is whole. */
		witness_release(a.witness);
		do
			assert_int_equal(look(&a), WITNESS_SEEN);
		while (a.view.held);
		assert_true(!won || a.view.value.term == n);
	}
	assert_false(fired);
	assert_true(n > 10);
	end();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, etcd_test_setup, etcd_test_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nobody_has_claimed_a_new_instance),
		TEST(the_first_claim_wins_and_the_other_learns_of_it),
		TEST(of_two_claims_at_once_exactly_one_wins),
		TEST(an_unreachable_witness_is_told_and_the_claim_can_be_repeated),
		TEST(a_claim_whose_answer_was_lost_is_recognised),
		TEST(what_somebody_else_stored_there_is_left_alone),
		TEST(an_etcd_that_has_lost_what_it_knew_counts_as_away),
		TEST(one_thing_at_a_time_and_closing_gives_it_up),
		TEST(every_lack_of_memory_is_told),
	};

	return cmocka_run_group_tests(tests, etcd_group_setup, etcd_group_teardown);
}
