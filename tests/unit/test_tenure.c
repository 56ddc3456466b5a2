/* May the primary let its instance answer: the table of tenure.h, its times and its refusals. */
#include "appliance/base/clock.h"
#include "appliance/tenure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MS CLOCK_NS_PER_MS

/* `from_ms`: when a lease was asked for. */
static struct tenure_update step_from(struct tenure *tenure, enum tenure_event_type type,
				      uint64_t now_ms, uint64_t from_ms, uint64_t until_ms,
				      uint64_t term)
{
	const struct tenure_event event = { .type = type,
					    .now_ns = now_ms * MS,
					    .from_ns = from_ms * MS,
					    .until_ns = until_ms * MS,
					    .term = term };
	struct tenure_update update;

	tenure_step(tenure, &event, &update);
	return update;
}

static struct tenure_update step(struct tenure *tenure, enum tenure_event_type type,
				 uint64_t now_ms, uint64_t until_ms, uint64_t term)
{
	return step_from(tenure, type, now_ms, now_ms, until_ms, term);
}

static struct tenure_update tick(struct tenure *tenure, uint64_t now_ms)
{
	return step(tenure, TENURE_TICK, now_ms, 0, 0);
}

static struct tenure leased_until(bool witness, uint64_t until_ms)
{
	struct tenure tenure;

	tenure_init(&tenure, true, witness, 1);
	(void)step(&tenure, TENURE_GRANTED, 1000, until_ms, 1);
	assert_int_equal(tenure.state, TENURE_LEASED);
	return tenure;
}

static struct tenure claiming_at(uint64_t now_ms)
{
	struct tenure tenure = leased_until(true, now_ms);

	assert_true(tick(&tenure, now_ms).claim);
	assert_int_equal(tenure.state, TENURE_CLAIMING);
	return tenure;
}

static void whoever_continues_without_a_witness_is_free(void **unused)
{
	struct tenure tenure;

	(void)unused;
	tenure_init(&tenure, false, false, 1);
	assert_true(tenure_may_serve(&tenure, 0));
	assert_true(tenure_may_serve(&tenure, UINT64_MAX));
	assert_true(tenure_due_ns(&tenure) == UINT64_MAX);
	(void)step(&tenure, TENURE_GRANTED, 1000, 1300, 5);
	assert_int_equal(tenure.state, TENURE_FREE);
	assert_int_equal(tenure.term, 5); /* for its frames */
	(void)step(&tenure, TENURE_SUPERSEDE, 1400, 0, 6);
	assert_false(tenure_may_serve(&tenure, 1400 * MS));
}

static void a_witness_means_hold(void **unused)
{
	struct tenure tenure;

	(void)unused;
	tenure_init(&tenure, false, true, 1);
	assert_int_equal(tenure.state, TENURE_WAITING);
	assert_false(tenure_may_serve(&tenure, 0));
}

static void a_lease_ends_by_itself(void **unused)
{
	struct tenure tenure = leased_until(false, 1300);

	(void)unused;
	assert_true(tenure_may_serve(&tenure, 1299 * MS));
	assert_false(tenure_may_serve(&tenure, 1300 * MS)); /* before any tick */
	assert_true(tenure_due_ns(&tenure) == 1300 * MS);
	(void)tick(&tenure, 1300);
	assert_int_equal(tenure.state, TENURE_LAPSED);
	assert_true(tenure_due_ns(&tenure) == UINT64_MAX);
	(void)step(&tenure, TENURE_GRANTED, 1400, 1600, 1);
	assert_true(tenure_may_serve(&tenure, 1500 * MS));
}

static void leases_only_grow_and_old_ones_give_nothing(void **unused)
{
	struct tenure tenure = leased_until(false, 1300);

	(void)unused;
	(void)step(&tenure, TENURE_GRANTED, 1100, 1200, 1);
	assert_true(tenure.until_ns == 1300 * MS);
	(void)step(&tenure, TENURE_GRANTED, 1100, 1500, 1);
	assert_true(tenure.until_ns == 1500 * MS);
	(void)tick(&tenure, 1500);
	(void)step(&tenure, TENURE_GRANTED, 1600, 1600, 1); /* over when it arrives */
	assert_int_equal(tenure.state, TENURE_LAPSED);
}

static void the_lease_is_shorter_than_the_patience_by_the_margin(void **unused)
{
	uint64_t ms;

	(void)unused;
	for (ms = 10; ms <= 600000; ms += 7) {
		uint64_t patience = ms * MS, lease = TENURE_LEASE_NS(patience);

		assert_true(lease <= patience - patience / TENURE_MARGIN);
		assert_true(TENURE_WAIT_NS(lease) <= patience);
		/* A clock that is slow by an eighth, to the nanosecond. */
		assert_true(TENURE_WAIT_NS(lease) * 7 + 7 > lease * 8);
	}
}

static void a_grant_of_a_standby_that_is_behind_gives_nothing(void **unused)
{
	struct tenure tenure = claiming_at(1300);

	(void)unused;
	(void)step(&tenure, TENURE_WON, 1350, 3000, 2);
	assert_int_equal(tenure.state, TENURE_ALONE);
	(void)step(&tenure, TENURE_GRANTED, 1400, 1700, 1);
	assert_int_equal(tenure.state, TENURE_ALONE);
	(void)step(&tenure, TENURE_GRANTED, 1410, 1710, 2);
	assert_int_equal(tenure.state, TENURE_LEASED);
	assert_int_equal(tenure.term, 2);
}

static void why_the_witness_is_asked_is_told(void **unused)
{
	struct tenure tenure = leased_until(true, 1300);
	struct tenure_update update = tick(&tenure, 1300);

	(void)unused;
	assert_non_null(
		strstr(update.reason, "the standby is silent and its lease has run out; asking"));
	tenure.term = UINT64_MAX - 2;
	(void)step(&tenure, TENURE_WON, 1350, 3000, UINT64_MAX - 1);
	update = tick(&tenure, 3000);
	assert_non_null(
		strstr(update.reason, "the witness has not renewed this site's lease; asking"));
	assert_non_null(strstr(update.reason, "with term 18446744073709551615")); /* not cut */
}

static void the_witness_lets_it_serve_alone_for_its_lease(void **unused)
{
	struct tenure tenure = claiming_at(1300);

	(void)unused;
	assert_false(tenure_may_serve(&tenure, 1300 * MS));
	(void)step(&tenure, TENURE_WON, 1350, 3000, 2);
	assert_true(tenure_may_serve(&tenure, 2999 * MS));
	(void)step(&tenure, TENURE_WON, 2000, 4000, 2); /* renewed */
	assert_true(tenure_may_serve(&tenure, 3999 * MS));
	assert_false(tenure_may_serve(&tenure, 4000 * MS));
	assert_true(tick(&tenure, 4000).claim); /* with a new term */
	assert_int_equal(tenure.state, TENURE_CLAIMING);
	assert_false(tenure_may_serve(&tenure, 4000 * MS));
}

static void the_witness_is_not_asked_for_an_instance_that_is_gone(void **unused)
{
	struct tenure tenure = claiming_at(1300);

	(void)unused;
	(void)step(&tenure, TENURE_GONE, 1310, 0, 0);
	(void)step(&tenure, TENURE_WON, 1350, 3000, 2); /* too late: for its caller to give back */
	assert_int_equal(tenure.state, TENURE_LAPSED);
	assert_int_equal(tenure.term, 2);
	assert_false(tick(&tenure, 9000).claim);
	assert_true(tenure_due_ns(&tenure) == UINT64_MAX);
	(void)step(&tenure, TENURE_THERE, 9100, 0, 0);
	assert_true(tick(&tenure, 9100).claim);
	(void)step(&tenure, TENURE_WON, 9150, 20000, 3);
	assert_true(tenure_may_serve(&tenure, 9200 * MS));
	(void)step(&tenure, TENURE_GONE, 9200, 0, 0);
	assert_false(tenure_may_serve(&tenure, 9200 * MS));
}

static void whom_the_witness_refuses_is_superseded(void **unused)
{
	struct tenure tenure = claiming_at(1300);

	(void)unused;
	(void)step(&tenure, TENURE_LOST, 1350, 0, 2);
	assert_int_equal(tenure.state, TENURE_SUPERSEDED);
	assert_int_equal(tenure.term, 2);
	(void)step(&tenure, TENURE_WON, 1400, 1700, 3);
	assert_false(tenure_may_serve(&tenure, 1500 * MS));
}

/* Its takeover came to nothing, or the witness's answer never reached it: nobody would serve, for ever. */
static void the_witness_s_word_is_taken_back_by_a_standby_that_grants(void **unused)
{
	struct tenure tenure = claiming_at(1300);

	(void)unused;
	(void)step(&tenure, TENURE_LOST, 1350, 0, 2);
	(void)step(&tenure, TENURE_GRANTED, 1400, 1700, 1); /* before it knows of that term */
	assert_int_equal(tenure.state, TENURE_SUPERSEDED);
	(void)step(&tenure, TENURE_GRANTED, 1500, 1800, 2);
	assert_int_equal(tenure.state, TENURE_LEASED);
	assert_true(tenure_may_serve(&tenure, 1799 * MS));
}

static void the_standby_s_own_word_is_taken_back_by_the_operator_only(void **unused)
{
	struct tenure tenure = claiming_at(1300);

	(void)unused;
	(void)step(&tenure, TENURE_LOST, 1350, 0, 2);
	(void)step(&tenure, TENURE_SUPERSEDE, 1360, 0, 2);
	(void)step(&tenure, TENURE_LOST, 1370, 0, 3);
	(void)step(&tenure, TENURE_GRANTED, 1400, 1700, 3);
	assert_int_equal(tenure.state, TENURE_SUPERSEDED);
	(void)step(&tenure, TENURE_RELEASE, 1500, 0, 3);
	assert_int_equal(tenure.state, TENURE_WAITING);
}

static void a_silent_witness_is_asked_again_after_a_while(void **unused)
{
	struct tenure tenure = claiming_at(1300);

	(void)unused;
	(void)step(&tenure, TENURE_UNANSWERED, 2300, 0, 0);
	assert_int_equal(tenure.state, TENURE_LAPSED);
	assert_true(tenure_due_ns(&tenure) == 3300 * MS);
	assert_false(tick(&tenure, 3299).claim);
	assert_true(tick(&tenure, 3300).claim);
}

/* A claim whose answer did not come may have been won: the standby has to hear of that term. */
static void an_uncertain_claim_is_looked_up_once_the_standby_is_back(void **unused)
{
	struct tenure tenure = claiming_at(1300);

	(void)unused;
	(void)step(&tenure, TENURE_UNANSWERED, 2300, 0, 0);
	(void)step(&tenure, TENURE_GRANTED, 2400, 9000, 1);
	assert_false(tick(&tenure, 2500).look);
	assert_true(tick(&tenure, 3300).look);
	assert_false(tick(&tenure, 3400).look);
	(void)step(&tenure, TENURE_WON, 3500, 0, 2);
	assert_int_equal(tenure.term, 2);
	assert_int_equal(tenure.state, TENURE_LEASED);
	assert_false(tick(&tenure, 8000).look);
}

static void who_starts_waits_for_the_standby_before_it_asks_the_witness(void **unused)
{
	struct tenure tenure;

	(void)unused;
	tenure_init(&tenure, true, true, 1);
	assert_true(tenure_due_ns(&tenure) == UINT64_MAX); /* not at once, again and again */
	assert_false(tick(&tenure, 1000).claim);
	assert_true(tenure_due_ns(&tenure) == 2000 * MS);
	assert_false(tick(&tenure, 1999).claim);
	assert_true(tick(&tenure, 2000).claim);
	assert_int_equal(tenure.state, TENURE_CLAIMING);

	tenure_init(&tenure, true, false, 1); /* nobody to be asked */
	assert_false(tick(&tenure, 1000).claim);
	assert_false(tick(&tenure, 90000).claim);
}

/* What served in the term that was let go may still do so, in that term. */
static void who_was_released_does_not_ask_before_the_standby_was_heard(void **unused)
{
	struct tenure tenure = leased_until(true, 1300);

	(void)unused;
	assert_true(tick(&tenure, 1001).look); /* and its answer is slow */
	(void)step(&tenure, TENURE_SUPERSEDE, 1100, 0, 2);
	(void)step(&tenure, TENURE_RELEASE, 1200, 0, 2);
	assert_int_equal(tenure.state, TENURE_WAITING);
	assert_true(tenure_due_ns(&tenure) == UINT64_MAX);
	assert_false(tick(&tenure, 1210).claim);
	(void)step(&tenure, TENURE_UNANSWERED, 1220, 0, 0);
	assert_false(tick(&tenure, 60000).claim);
	(void)step(&tenure, TENURE_GRANTED, 60000, 60300, 2);
	assert_true(tick(&tenure, 60300).claim);
}

/* Of our own term, too: it may have come with another frame of the standby's. */
static void a_standby_that_serves_ends_the_right_whatever_the_terms(void **unused)
{
	struct tenure_update update;
	struct tenure tenure;
	uint64_t term;

	(void)unused;
	for (term = 3; term <= 5; term++) {
		tenure = claiming_at(1300);
		(void)step(&tenure, TENURE_WON, 1350, 3000, 4);
		update = step(&tenure, TENURE_SUPERSEDE, 1400, 0, term);
		assert_int_equal(tenure.state, TENURE_SUPERSEDED);
		assert_false(tenure_may_serve(&tenure, 1400 * MS));
		assert_int_equal(tenure.term, term > 4 ? term : 4);
		assert_true(update.both);
		assert_non_null(strstr(update.reason, "both have answered clients"));
	}
	tenure = leased_until(true, 1300);
	update = step(&tenure, TENURE_SUPERSEDE, 1100, 0, 2);
	assert_false(update.both);
}

/* It has lost its data, or its lease was revoked there: it may have let another one serve. */
static void who_serves_alone_is_silent_at_once_when_the_witness_has_its_lease_no_more(void **unused)
{
	struct tenure tenure = claiming_at(1300);

	(void)unused;
	(void)step(&tenure, TENURE_WON, 1350, 3000, 2);
	(void)step(&tenure, TENURE_TAKEN, 1400, 0, 0);
	assert_int_equal(tenure.state, TENURE_LAPSED);
	assert_false(tenure_may_serve(&tenure, 1400 * MS));
	(void)step(&tenure, TENURE_WON, 1401, 3000, 2); /* a renewal that was under way */
	assert_false(tenure_may_serve(&tenure, 1402 * MS));
	assert_true(tick(&tenure, 1410).claim);

	tenure = leased_until(true, 1300); /* by the standby's word */
	(void)step(&tenure, TENURE_TAKEN, 1100, 0, 0);
	assert_true(tenure_may_serve(&tenure, 1299 * MS));
}

/* Yielding ----------------------------------------------------------------------------------- */

static struct tenure_update granted(struct tenure *tenure, uint64_t now_ms, uint64_t from_ms,
				    uint64_t until_ms, uint64_t term)
{
	return step_from(tenure, TENURE_GRANTED, now_ms, from_ms, until_ms, term);
}

static void what_yields_is_silent_at_once_whatever_it_was(void **unused)
{
	struct tenure tenures[5];
	size_t i;

	(void)unused;
	tenure_init(&tenures[0], false, false, 1);
	tenures[1] = leased_until(false, 5000);
	tenures[2] = leased_until(true, 5000);
	tenures[3] = claiming_at(1300);
	tenures[4] = claiming_at(1300);
	(void)step(&tenures[4], TENURE_WON, 1350, 5000, 2);
	for (i = 0; i < 5; i++) {
		assert_true(step(&tenures[i], TENURE_YIELD, 1400, 0, 1).changed);
		assert_int_equal(tenures[i].state, TENURE_YIELDED);
		assert_false(tenure_may_serve(&tenures[i], 1400 * MS));
		assert_false(step(&tenures[i], TENURE_YIELD, 1401, 0, 1).changed);
	}
	(void)step(&tenures[3], TENURE_WON, 1410, 9000, 2); /* an answer that was under way */
	assert_int_equal(tenures[3].state, TENURE_YIELDED);
	assert_false(tenure_may_serve(&tenures[3], 1420 * MS));
	(void)step(&tenures[0], TENURE_SUPERSEDE, 1500, 0, 2);
	(void)step(&tenures[0], TENURE_YIELD, 1600, 0, 2);
	assert_int_equal(tenures[0].state, TENURE_SUPERSEDED);
}

/* Datagrams overtake; and the link keeps the lease that it has. */
static void a_lease_asked_for_before_the_yield_gives_nothing_back(void **unused)
{
	struct tenure tenure = leased_until(false, 1300);

	(void)unused;
	(void)step(&tenure, TENURE_YIELD, 1200, 0, 1);
	(void)granted(&tenure, 1210, 1190, 600000, 1);
	(void)granted(&tenure, 1220, 1200, 600000, 1);
	assert_int_equal(tenure.state, TENURE_YIELDED);
	(void)granted(&tenure, 1500, 1450, 1750, 2);
	assert_int_equal(tenure.state, TENURE_LEASED);
	assert_int_equal(tenure.term, 2);
	assert_true(tenure_may_serve(&tenure, 1749 * MS));
	(void)tick(&tenure, 1750); /* nor does it later */
	(void)granted(&tenure, 1800, 1190, 600000, 2);
	assert_int_equal(tenure.state, TENURE_LAPSED);
}

static void who_continues_is_free_again_when_the_standby_stands_by(void **unused)
{
	struct tenure tenure;

	(void)unused;
	tenure_init(&tenure, false, false, 1);
	(void)step(&tenure, TENURE_YIELD, 1200, 0, 1);
	assert_true(tenure_due_ns(&tenure) == UINT64_MAX);
	(void)tick(&tenure, 900000); /* not by itself: that standby may serve */
	assert_int_equal(tenure.state, TENURE_YIELDED);
	(void)granted(&tenure, 900100, 900050, 900090, 2); /* also by one that came late */
	assert_int_equal(tenure.state, TENURE_FREE);
	assert_int_equal(tenure.term, 2);
	assert_true(tenure_may_serve(&tenure, 900100 * MS));
}

static void the_operator_may_let_go_of_what_yielded(void **unused)
{
	struct tenure tenure;

	(void)unused;
	tenure_init(&tenure, false, false, 1);
	(void)step(&tenure, TENURE_YIELD, 1200, 0, 1);
	(void)step(&tenure, TENURE_RELEASE, 1300, 0, 1);
	assert_int_equal(tenure.state, TENURE_FREE);
	tenure = leased_until(false, 1300);
	(void)step(&tenure, TENURE_YIELD, 1200, 0, 1);
	(void)step(&tenure, TENURE_RELEASE, 1250, 0, 1);
	assert_int_equal(tenure.state, TENURE_WAITING);
	(void)granted(&tenure, 1260, 1190, 600000, 1);
	assert_int_equal(tenure.state, TENURE_WAITING);
}

static void the_witness_is_asked_when_the_standby_says_no_more(void **unused)
{
	struct tenure tenure = leased_until(true, 1300);
	const uint64_t due_ms = 1200 + TENURE_YIELD_NS / MS;

	(void)unused;
	assert_true(tick(&tenure, 1100).look);
	(void)step(&tenure, TENURE_YIELD, 1200, 0, 1);
	(void)step(&tenure, TENURE_UNANSWERED, 1250, 0,
		   0); /* of that look: no reason to ask sooner */
	assert_true(tenure_due_ns(&tenure) == due_ms * MS);
	assert_false(tick(&tenure, due_ms - 1).claim);
	assert_true(tick(&tenure, due_ms).claim);
	assert_int_equal(tenure.state, TENURE_CLAIMING);
	(void)step(&tenure, TENURE_WON, due_ms + 10, due_ms + 1000, 2);
	assert_true(tenure_may_serve(&tenure, (due_ms + 20) * MS));
}

/* 20,000 seeded histories: never a right without a lease in force, terms only grow. */
static void random_histories_keep_the_invariants(void **unused)
{
	uint64_t now_ms, until_ms, term, seed;
	enum tenure_state before;
	struct tenure_update update;
	struct tenure tenure;
	unsigned random, i;

	(void)unused;
	for (seed = 1; seed <= 20000; seed++) {
		random = (unsigned)seed;
		now_ms = 1000;
		tenure_init(&tenure, seed % 2 == 0, seed % 3 == 0, 1);
		for (i = 0; i < 40; i++) {
			enum tenure_event_type type =
				(enum tenure_event_type)(rand_r(&random) % (TENURE_RELEASE + 1));

			now_ms += (uint64_t)rand_r(&random) % 300;
			until_ms = now_ms + (uint64_t)rand_r(&random) % 300;
			term = tenure.term;
			before = tenure.state;
			update = step(&tenure, type, now_ms, until_ms,
				      1 + (uint64_t)rand_r(&random) % 6);
			assert_true(update.changed == (tenure.state != before));
			/* Or by way of lapsed. */
			assert_true(!update.changed || tenure_may(before, tenure.state) ||
				    (update.claim && tenure_may(before, TENURE_LAPSED)));
			assert_true(tenure.term >= term);
			assert_true(!update.claim || tenure.witness);
			if (tenure_may_serve(&tenure, now_ms * MS))
				assert_true(tenure.state == TENURE_FREE ||
					    tenure.until_ns > now_ms * MS);
			if (before == TENURE_SUPERSEDED && update.changed)
				assert_true(type == TENURE_RELEASE || type == TENURE_GRANTED);
			if (before == TENURE_YIELDED && tenure_may_serve(&tenure, now_ms * MS))
				assert_true(type == TENURE_RELEASE || type == TENURE_GRANTED);
			if (update.changed && tenure.state == TENURE_ALONE)
				assert_true(before == TENURE_CLAIMING && type == TENURE_WON);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whoever_continues_without_a_witness_is_free),
		cmocka_unit_test(a_witness_means_hold),
		cmocka_unit_test(a_lease_ends_by_itself),
		cmocka_unit_test(leases_only_grow_and_old_ones_give_nothing),
		cmocka_unit_test(the_lease_is_shorter_than_the_patience_by_the_margin),
		cmocka_unit_test(a_grant_of_a_standby_that_is_behind_gives_nothing),
		cmocka_unit_test(why_the_witness_is_asked_is_told),
		cmocka_unit_test(the_witness_lets_it_serve_alone_for_its_lease),
		cmocka_unit_test(the_witness_is_not_asked_for_an_instance_that_is_gone),
		cmocka_unit_test(whom_the_witness_refuses_is_superseded),
		cmocka_unit_test(the_witness_s_word_is_taken_back_by_a_standby_that_grants),
		cmocka_unit_test(the_standby_s_own_word_is_taken_back_by_the_operator_only),
		cmocka_unit_test(a_silent_witness_is_asked_again_after_a_while),
		cmocka_unit_test(an_uncertain_claim_is_looked_up_once_the_standby_is_back),
		cmocka_unit_test(who_starts_waits_for_the_standby_before_it_asks_the_witness),
		cmocka_unit_test(who_was_released_does_not_ask_before_the_standby_was_heard),
		cmocka_unit_test(a_standby_that_serves_ends_the_right_whatever_the_terms),
		cmocka_unit_test(
			who_serves_alone_is_silent_at_once_when_the_witness_has_its_lease_no_more),
		cmocka_unit_test(what_yields_is_silent_at_once_whatever_it_was),
		cmocka_unit_test(a_lease_asked_for_before_the_yield_gives_nothing_back),
		cmocka_unit_test(who_continues_is_free_again_when_the_standby_stands_by),
		cmocka_unit_test(the_operator_may_let_go_of_what_yielded),
		cmocka_unit_test(the_witness_is_asked_when_the_standby_says_no_more),
		cmocka_unit_test(random_histories_keep_the_invariants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
