/* What the witness's value means for the site that asked, case by case. */
#include "appliance/witness_judge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static enum witness_verdict judge(uint64_t own_term, bool claim, bool by_operator,
				  const struct witness_value *value, bool held)
{
	const struct witness_question question = { .server = WITNESS_STANDBY,
						   .site = "busan",
						   .own_term = own_term,
						   .claim = claim,
						   .by_operator = by_operator };

	return witness_judge(&question, value, held);
}

static const struct witness_value theirs = { .term = 5,
					     .server = WITNESS_PRIMARY,
					     .site = "seoul" };
static const struct witness_value ours = { .term = 5, .server = WITNESS_STANDBY, .site = "busan" };
/* Of our role and of another site, and the other way round. */
static const struct witness_value another = { .term = 5,
					      .server = WITNESS_STANDBY,
					      .site = "daegu" };
static const struct witness_value reversed = { .term = 5,
					       .server = WITNESS_PRIMARY,
					       .site = "busan" };

static void what_nobody_has_claimed_is_to_be_claimed(void **state)
{
	(void)state;
	assert_int_equal(judge(1, true, false, NULL, false), WITNESS_TO_CLAIM);
	assert_int_equal(judge(1, false, false, NULL, false), WITNESS_NOTHING);
}

static void a_term_of_anothers_that_we_have_not_heard_of_is_its_word_against_ours(void **state)
{
	(void)state;
	assert_int_equal(judge(4, true, false, &theirs, false), WITNESS_OTHERS);
	assert_int_equal(judge(4, false, false, &theirs, false), WITNESS_OTHERS);
	assert_int_equal(judge(4, true, false, &another, false), WITNESS_OTHERS);
	assert_int_equal(judge(4, true, false, &reversed, false), WITNESS_OTHERS);
	assert_int_equal(judge(5, true, false, &theirs, false), WITNESS_TO_CLAIM);
	assert_int_equal(judge(5, false, false, &theirs, false), WITNESS_NOTHING);
}

/* He knows that that site is lost; but not of one that proves to be alive. */
static void an_operator_claims_against_it_unless_its_lease_is_alive(void **state)
{
	(void)state;
	assert_int_equal(judge(4, true, true, &theirs, false), WITNESS_TO_CLAIM);
	assert_int_equal(judge(4, true, true, &theirs, true), WITNESS_OTHERS);
}

static void while_anothers_lease_is_alive_nobody_claims(void **state)
{
	(void)state;
	assert_int_equal(judge(5, true, false, &theirs, true), WITNESS_TO_WAIT);
	assert_int_equal(judge(6, true, true, &theirs, true), WITNESS_TO_WAIT);
	assert_int_equal(judge(5, true, false, &ours, true), WITNESS_TO_CLAIM);
}

static void what_a_lost_answer_said_is_found_by_a_look(void **state)
{
	(void)state;
	assert_int_equal(judge(4, false, false, &ours, false), WITNESS_OURS);
	assert_int_equal(judge(5, false, false, &ours, false), WITNESS_OURS);
	assert_int_equal(judge(6, false, false, &ours, false), WITNESS_NOTHING);
	assert_int_equal(judge(4, true, false, &ours, false), WITNESS_TO_CLAIM);
}

static void the_next_term_is_above_both(void **state)
{
	struct witness_question question = { .own_term = 3 };

	(void)state;
	assert_int_equal(witness_next_term(&question, NULL), 4);
	assert_int_equal(witness_next_term(&question, &theirs), 6);
	question.own_term = 7;
	assert_int_equal(witness_next_term(&question, &theirs), 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_nobody_has_claimed_is_to_be_claimed),
		cmocka_unit_test(
			a_term_of_anothers_that_we_have_not_heard_of_is_its_word_against_ours),
		cmocka_unit_test(an_operator_claims_against_it_unless_its_lease_is_alive),
		cmocka_unit_test(while_anothers_lease_is_alive_nobody_claims),
		cmocka_unit_test(what_a_lost_answer_said_is_found_by_a_look),
		cmocka_unit_test(the_next_term_is_above_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
