/*
 * What epochs and their standby notice of the journal's copies: below the quorum they go on from memory, and the
 * journal comes back by itself; and rot in what a recovery needs is made good from the image.
 */
#include "appliance/base/mem.h"
#include "tests/unit/journaling_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *problem(void)
{
	struct journaling_status status;

	journaling_status(receiver_journal(journaling_play.receiver), &status);
	return status.problem;
}

static void open_again(void)
{
	journaling_fixture_close();
	journaling_fixture_open(false);
	journaling_wait_for_state("bare");
	journaling_send_epochs(1);
	journaling_wait_for_state("based");
}

static void use_two_copies(unsigned quorum)
{
	journaling_play.options.place.dirs[1] = journaling_play.copy;
	journaling_play.options.place.count = 2;
	journaling_play.options.place.quorum = quorum;
	journaling_play.options.place.retry_ms = 1;
	open_again();
}

static void below_the_quorum_epochs_go_on_from_memory(void **unused)
{
	(void)unused;
	use_two_copies(2);
	journaling_send_epochs(5);
	fault_arm_at(FAULT_FSYNC, 2, 1, true);
	journaling_send_epochs(5);
	assert_non_null(strstr(problem(), "below its quorum"));
	assert_non_null(strstr(problem(), journaling_play.copy));
	fault_arm_at(FAULT_FSYNC, 2, 0, false);
	while (strcmp(journaling_state(), "based") != 0)
		journaling_send_epochs(1);
	journaling_send_epochs(3);
	assert_string_equal(problem(), "");
	journaling_restart(journaling_play.committed);
	assert_false(journaling_play.behind);
}

/* A copy that is being repaired holds up the second opening for as long as that takes. */
static void while_it_is_opened_again_epochs_go_on_from_memory(void **unused)
{
	(void)unused;
	use_two_copies(2);
	journaling_send_epochs(2);
	fault_arm_at(FAULT_FSYNC, 2, 1, true);
	while (strcmp(journaling_state(), "broken") != 0)
		journaling_send_epochs(1);
	fault_hold(2, true);
	fault_arm_at(FAULT_FSYNC, 2, 0, false);
	journaling_wait_for_state("opening");
	journaling_send_epochs(3);
	assert_string_equal(journaling_state(), "opening");
	fault_hold(2, false);
	while (strcmp(journaling_state(), "based") != 0)
		journaling_send_epochs(1);
	journaling_send_epochs(1);
	journaling_restart(journaling_play.committed);
	assert_false(journaling_play.behind);
}

static void one_copy_that_is_away_is_another_problem(void **unused)
{
	(void)unused;
	use_two_copies(1);
	fault_arm_at(FAULT_FSYNC, 2, 1, true);
	while (strstr(problem(), "a copy of the journal is") == NULL)
		journaling_send_epochs(1);
	assert_string_equal(journaling_state(), "based");
	assert_null(strstr(problem(), "below"));
	fault_arm_at(FAULT_FSYNC, 2, 0, false);
	while (*problem() != '\0')
		journaling_send_epochs(1);
	journaling_restart(journaling_play.committed);
}

static void the_image_takes_the_place_of_what_has_rotted(void **unused)
{
	(void)unused;
	journaling_play.options.place.scrub_ms = 1;
	open_again();
	journaling_send_epochs(3);
	journaling_restart(
		journaling_play.committed); /* the first segment is not written to any more */
	journaling_damage(1);
	while (strstr(problem(), "another copy of the image is being written") == NULL)
		(void)uv_run(&journaling_play.loop, UV_RUN_ONCE);
	assert_non_null(strstr(problem(), "the journal is damaged"));
	assert_non_null(strstr(problem(), "segment 0000000000000001"));
	while (*problem() != '\0')
		journaling_send_epochs(1);
	journaling_restart(journaling_play.committed);
	assert_false(journaling_play.behind);
}

static int end(void **unused)
{
	fault_hold(2, false);
	fault_arm_at(FAULT_FSYNC, 2, 0, false);
	return journaling_fixture_end(unused);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, journaling_fixture_begin, end)
	const struct CMUnitTest tests[] = {
		TEST(below_the_quorum_epochs_go_on_from_memory),
		TEST(while_it_is_opened_again_epochs_go_on_from_memory),
		TEST(one_copy_that_is_away_is_another_problem),
		TEST(the_image_takes_the_place_of_what_has_rotted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
