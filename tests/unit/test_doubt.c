/* Whether a standby that begins may stand by, as far as the witness tells: doubt.h. */
#include "appliance/doubt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct term_record fresh = { .term = 1, .kind = TERM_STANDS_BY, .identity = 7 };
static const struct term_record old = {
	.term = 3, .kind = TERM_PROTECTS, .epoch = 9, .identity = 7
};

static struct doubt begun_with(const struct term_record *record)
{
	struct doubt doubt;

	doubt_init(&doubt, record, true);
	assert_false(doubt.clear);
	assert_true(doubt_is_due(&doubt, 5));
	assert_false(doubt_is_due(&doubt, 5));
	return doubt;
}

static struct doubt seen(const struct term_record *record, enum witness_server server,
			 uint64_t term)
{
	const struct witness_value value = { .term = term, .server = server, .site = "b" };
	struct doubt doubt = begun_with(record);

	doubt_seen(&doubt, &value, false);
	assert_true(doubt.another != doubt.clear);
	return doubt;
}

static void who_has_no_witness_or_has_taken_over_asks_nobody(void **state)
{
	const struct term_record took = { .term = 2, .kind = TERM_TOOK_OVER, .epoch = 1 };
	struct doubt doubt;

	(void)state;
	doubt_init(&doubt, &fresh, false);
	assert_true(doubt.clear);
	doubt_init(&doubt, &took, true);
	assert_true(doubt.clear);
	assert_false(doubt_is_due(&doubt, UINT64_MAX));
}

static void a_witness_that_knows_of_no_standby_clears(void **state)
{
	struct doubt doubt = begun_with(&fresh);

	(void)state;
	doubt_seen(&doubt, NULL, false);
	assert_true(doubt.clear);
	assert_true(seen(&fresh, WITNESS_PRIMARY, 5).clear);
}

/* It took over in that term, or knows of it: whoever did, it is over. */
static void a_term_that_was_known_clears(void **state)
{
	(void)state;
	assert_true(seen(&old, WITNESS_STANDBY, 3).clear);
	assert_true(seen(&old, WITNESS_STANDBY, 2).clear);
}

static void a_standby_with_a_later_term_is_another_until_that_changes(void **state)
{
	struct doubt doubt = seen(&old, WITNESS_STANDBY, 4);

	(void)state;
	assert_false(doubt.clear);
	assert_int_equal(doubt.seen.term, 4);
	doubt_unanswered(&doubt);
	assert_false(doubt.clear);
	assert_true(doubt_is_due(&doubt, 5 + DOUBT_LOOK_NS));
	doubt_seen(&doubt,
		   &(struct witness_value){ .term = 5, .server = WITNESS_PRIMARY, .site = "a" },
		   false);
	assert_true(doubt.clear);
}

/* The term is on the disk before anything runs; a directory that is new knows of no life before. */
static void a_later_term_of_its_own_site_is_another_only_if_it_knows_nothing(void **state)
{
	const struct witness_value value = { .term = 4, .server = WITNESS_STANDBY, .site = "b" };
	struct doubt doubt = begun_with(&old);

	(void)state;
	doubt_seen(&doubt, &value, true);
	assert_true(doubt.clear);
	doubt = begun_with(&fresh);
	doubt_seen(&doubt, &value, true);
	assert_true(doubt.another && !doubt.clear);
}

static void the_operator_lets_go_of_another_and_of_nothing_else(void **state)
{
	struct doubt doubt = begun_with(&fresh);

	(void)state;
	assert_false(doubt_release(&doubt));
	assert_false(doubt.clear);
	doubt = seen(&fresh, WITNESS_STANDBY, 2);
	assert_true(doubt_release(&doubt));
	assert_true(doubt.clear);
	assert_false(doubt_release(&doubt));
}

static void without_an_answer_who_knows_nothing_waits(void **state)
{
	struct doubt doubt = begun_with(&fresh);

	(void)state;
	doubt_unanswered(&doubt);
	assert_true(doubt.unanswered && !doubt.clear);
	doubt = begun_with(&old);
	doubt_unanswered(&doubt);
	assert_true(doubt.clear);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_has_no_witness_or_has_taken_over_asks_nobody),
		cmocka_unit_test(a_witness_that_knows_of_no_standby_clears),
		cmocka_unit_test(a_term_that_was_known_clears),
		cmocka_unit_test(a_standby_with_a_later_term_is_another_until_that_changes),
		cmocka_unit_test(a_later_term_of_its_own_site_is_another_only_if_it_knows_nothing),
		cmocka_unit_test(the_operator_lets_go_of_another_and_of_nothing_else),
		cmocka_unit_test(without_an_answer_who_knows_nothing_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
