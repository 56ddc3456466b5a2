/* What is kept of an instance follows the decision, and what is left of a former life is told until something undoes it. */
#include "appliance/aftermath.h"

#include "appliance/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DETECT_MS 300

static struct {
	struct failover failover;
	struct term_record record; /* on the disk */
	uint64_t now_ns;
	unsigned kept; /* times that it had to be written */
} a;

/* A process begins, with what the disk has. */
static void begin(void)
{
	a.now_ns += CLOCK_NS_PER_S;
	failover_init(&a.failover, DETECT_MS, false, a.now_ns);
	failover_restore(&a.failover, a.record.term,
			 a.record.kind == TERM_TOOK_OVER ? a.record.epoch : 0);
}

static int setup(void **state)
{
	(void)state;
	memset(&a, 0, sizeof(a));
	a.record = (struct term_record){ .term = 1, .kind = TERM_STANDS_BY };
	begin();
	return 0;
}

/* As clone_takeover.c does it. */
static void step(enum failover_event_type type, uint64_t epoch)
{
	const struct failover_event event = { .type = type,
					      .now_ns = a.now_ns += CLOCK_NS_PER_S,
					      .epoch = epoch };
	struct failover_update update;
	struct term_record record;

	failover_step(&a.failover, &event, &update);
	record = aftermath_record(&a.record, &a.failover, "a",
				  type == FAILOVER_RELEASE && !update.refused);
	if (!aftermath_differs(&a.record, &record))
		return;
	a.record = record;
	a.kept++;
}

static bool stands(void)
{
	return aftermath_stands(&a.record, &a.failover);
}

static void told(const char *what)
{
	char text[AFTERMATH_TEXT_MAX];

	assert_true(stands());
	aftermath_text(&a.record, text);
	assert_non_null(strstr(text, what));
	assert_non_null(strstr(text, "`understudy release`"));
	assert_true(strlen(text) < AFTERMATH_TEXT_MAX - 1); /* not cut */
}

static void protect(void)
{
	step(FAILOVER_COPYING, 0);
	step(FAILOVER_COMMITTED, 7);
}

static void a_first_copy_is_nothing_to_worry_about(void **state)
{
	(void)state;
	assert_false(stands());
	step(FAILOVER_COPYING, 0);
	assert_false(stands());
	begin();
	assert_false(stands());
	assert_int_equal(a.kept, 0);
}

static void epochs_are_not_written_down_one_by_one(void **state)
{
	(void)state;
	protect();
	assert_int_equal(a.record.kind, TERM_PROTECTS);
	for (uint64_t epoch = 8; epoch < 100; epoch++)
		step(FAILOVER_COMMITTED, epoch);
	step(FAILOVER_GOODBYE, 0);
	assert_int_equal(a.kept, 1);
	assert_int_equal(a.record.epoch, 7);
	assert_false(stands());
}

static void who_was_protected_before_a_restart_is_not_forgotten_until_it_is_again(void **state)
{
	(void)state;
	protect();
	begin();
	told("epoch 7 or later, term 1");
	begin();
	step(FAILOVER_COPYING, 0);
	told("protected here");
	step(FAILOVER_COMMITTED, 70);
	assert_false(stands());
	assert_int_equal(a.record.kind, TERM_PROTECTS);
}

static void an_image_that_was_replaced_is_told_as_well(void **state)
{
	(void)state;
	protect();
	step(FAILOVER_FORGOTTEN, 0);
	told("protected here");
}

static void a_takeover_that_was_cut_short_is_told(void **state)
{
	(void)state;
	protect();
	step(FAILOVER_OPERATOR, 0);
	assert_int_equal(a.failover.state, FAILOVER_TAKING_OVER);
	assert_int_equal(a.record.kind, TERM_TOOK_OVER);
	begin();
	assert_int_equal(a.failover.state, FAILOVER_RETURNING);
	assert_false(stands()); /* that is not known yet */
	step(FAILOVER_UNUSED, 0);
	assert_int_equal(a.failover.state, FAILOVER_EMPTY);
	told("from epoch 7 with term 2");
	begin();
	assert_int_equal(a.failover.state, FAILOVER_EMPTY);
	told("from epoch 7 with term 2");
	protect();
	assert_false(stands());
	assert_int_equal(a.record.kind, TERM_PROTECTS);
	assert_int_equal(a.record.term, 2);
}

/* The term has grown, and what the journal holds is of the former one: that nothing came of it has to be known until a commit. */
static void that_nothing_came_of_a_takeover_is_kept_until_there_is_a_commit(void **state)
{
	(void)state;
	protect();
	step(FAILOVER_OPERATOR, 0);
	begin();
	step(FAILOVER_UNUSED, 0);
	step(FAILOVER_RECOVERED, 7);
	assert_int_equal(a.failover.state, FAILOVER_UNATTENDED);
	assert_false(stands());
	assert_int_equal(a.record.kind, TERM_UNFINISHED);
	begin(); /* and once more */
	step(FAILOVER_RECOVERED, 7);
	step(FAILOVER_OPERATOR, 0);
	assert_int_equal(a.record.kind, TERM_TOOK_OVER);
	assert_int_equal(a.record.term, 3);
	step(FAILOVER_NOT_ACTIVATED, 0);
	assert_int_equal(a.record.kind, TERM_UNFINISHED);
	step(FAILOVER_FORGOTTEN, 0);
	protect();
	assert_int_equal(a.record.kind, TERM_PROTECTS);
	step(FAILOVER_GOODBYE, 0);
	assert_int_equal(a.record.kind, TERM_PROTECTS);
}

/* Clients may have been answered: a restart must not let the primary go on from before that. */
static void a_takeover_that_failed_is_the_operator_s_after_a_restart_too(void **state)
{
	(void)state;
	protect();
	step(FAILOVER_OPERATOR, 0);
	step(FAILOVER_ACTIVATION_FAILED, 0);
	assert_int_equal(a.record.kind, TERM_TOOK_OVER);
	begin();
	assert_int_equal(a.failover.state, FAILOVER_RETURNING);
	step(FAILOVER_GONE, 0);
	assert_int_equal(a.failover.state, FAILOVER_LOST);
	assert_true(failover_lease_ns(&a.failover) == 0);
	step(FAILOVER_RELEASE, 0);
	assert_int_equal(a.record.kind, TERM_STANDS_BY);
}

static void what_serves_and_what_served_is_kept(void **state)
{
	(void)state;
	protect();
	step(FAILOVER_OPERATOR, 0);
	step(FAILOVER_ACTIVATED, 0);
	begin();
	step(FAILOVER_FOUND, 0);
	assert_int_equal(a.record.kind, TERM_TOOK_OVER);
	step(FAILOVER_GONE, 0);
	assert_int_equal(a.record.kind, TERM_TOOK_OVER);
	begin();
	step(FAILOVER_GONE, 0);
	assert_int_equal(a.failover.state, FAILOVER_LOST);
	assert_int_equal(a.record.epoch, 7);
	step(FAILOVER_RELEASE, 0);
	assert_int_equal(a.record.kind, TERM_STANDS_BY);
	assert_int_equal(a.record.epoch, 0);
	assert_int_equal(a.record.term, 2);
	assert_false(stands());
}

static void a_refused_release_lets_go_of_nothing(void **state)
{
	(void)state;
	protect();
	step(FAILOVER_RELEASE, 0);
	assert_int_equal(a.record.kind, TERM_PROTECTS);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		CLAIM(a_first_copy_is_nothing_to_worry_about),
		CLAIM(epochs_are_not_written_down_one_by_one),
		CLAIM(who_was_protected_before_a_restart_is_not_forgotten_until_it_is_again),
		CLAIM(an_image_that_was_replaced_is_told_as_well),
		CLAIM(a_takeover_that_was_cut_short_is_told),
		CLAIM(that_nothing_came_of_a_takeover_is_kept_until_there_is_a_commit),
		CLAIM(a_takeover_that_failed_is_the_operator_s_after_a_restart_too),
		CLAIM(what_serves_and_what_served_is_kept),
		CLAIM(a_refused_release_lets_go_of_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
