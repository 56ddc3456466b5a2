/*
 * What epochs and their standby notice of the journal's copies: below the quorum they go on from memory, and the
 * journal comes back by itself; and rot in what a recovery needs is made good from the image.
 */
#include "appliance/base/mem.h"
#include "replica/journal_claim.h"
#include "tests/unit/journaling_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

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

/* Epochs wait, and that is told. */
static void a_disk_that_does_not_answer_and_is_needed_is_told(void **unused)
{
	struct journaling_status status;

	(void)unused;
	journaling_play.options.place.silent_ms = 1;
	use_two_copies(2);
	journaling_send_epochs(2);
	fault_hold(2, true);
	journaling_send_epoch();
	while (strstr(problem(), "no epoch is acknowledged") == NULL)
		(void)uv_run(&journaling_play.loop, UV_RUN_ONCE);
	assert_non_null(strstr(problem(), "does not answer"));
	journaling_status(receiver_journal(journaling_play.receiver), &status);
	assert_false(status.durable);
	assert_string_equal(status.state, "based");
	fault_hold(2, false);
	while (journaling_play.committed < image_fixture.epoch.number || *problem() != '\0')
		(void)uv_run(&journaling_play.loop, UV_RUN_ONCE);
	journaling_restart(journaling_play.committed);
	assert_false(journaling_play.behind);
}

static atomic_bool held;

/* The journal's syncs are seen here first, because this is defined here. */
int fdatasync(int fd)
{
	while (atomic_load(&held))
		(void)usleep(1000);
	return (int)syscall(SYS_fdatasync, fd);
}

static void so_is_the_only_one(void **unused)
{
	struct journaling_status status;

	(void)unused;
	journaling_play.options.place.silent_ms = 1;
	open_again();
	journaling_send_epochs(2);
	atomic_store(&held, true);
	journaling_send_epoch();
	while (strstr(problem(), "no epoch is acknowledged") == NULL)
		(void)uv_run(&journaling_play.loop, UV_RUN_NOWAIT);
	assert_non_null(strstr(problem(), journaling_play.dir));
	journaling_status(receiver_journal(journaling_play.receiver), &status);
	assert_true(!status.durable && journaling_play.committed < image_fixture.epoch.number);
	atomic_store(&held, false);
	while (journaling_play.committed < image_fixture.epoch.number || *problem() != '\0')
		(void)uv_run(&journaling_play.loop, UV_RUN_NOWAIT);
	journaling_restart(journaling_play.committed);
	assert_false(journaling_play.behind);
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

/* ---- copies that are missing when a standby begins ------------------------------------------------- */

static char third[SCRATCH_MAX + 8];

static void use_three_copies(void)
{
	(void)snprintf(third, sizeof(third), "%s.third", journaling_play.copy);
	journaling_play.options.place.dirs[2] = third;
	journaling_play.options.place.count = 3;
}

/* There is a file where the directory of a copy was, or it is there again. */
static void use(const char *path, bool usable)
{
	char away[SCRATCH_MAX + 16];

	(void)snprintf(away, sizeof(away), "%s.away", path);
	if (usable) {
		assert_int_equal(unlink(path), 0);
		assert_int_equal(rename(away, path), 0);
	} else {
		assert_int_equal(rename(path, away), 0);
		assert_int_equal(close(open(path, O_WRONLY | O_CREAT, 0600)), 0);
	}
}

static bool claimed(void)
{
	char path[SCRATCH_MAX + 16];

	(void)snprintf(path, sizeof(path), "%s/" JOURNAL_CLAIM_NAME, journaling_play.claim);
	return access(path, F_OK) == 0;
}

/* A standby that comes back with one of three, which is older than what two have acknowledged. */
static void restart_with_an_old_one(void)
{
	use_two_copies(2);
	journaling_send_epochs(4);
	journaling_fixture_close();
	use(journaling_play.dir, false);
	use_three_copies();
	journaling_restart(journaling_play.committed);
	while (strcmp(journaling_state(), "based") != 0)
		(void)uv_run(&journaling_play.loop, UV_RUN_ONCE);
	journaling_send_epochs(3);
	journaling_fixture_close();
	use(journaling_play.dir, true);
	use(journaling_play.copy, false);
	use(third, false);
	journaling_restart(1);
	assert_true(journaling_play.behind);
	journaling_wait_for_state("broken");
	assert_non_null(strstr(problem(), "below its quorum"));
	assert_non_null(strstr(problem(), "the journal is read again"));
}

static void bring_back(void)
{
	use(journaling_play.copy, true);
	use(third, true);
}

/* Nothing has come of what was brought back: that clients may know more was only so without them. */
static void copies_that_come_back_are_read_again(void **unused)
{
	uint64_t last;

	(void)unused;
	restart_with_an_old_one();
	last = image_fixture.epoch.number;
	assert_true(journaling_play.epoch < last && claimed());
	assert_false(journaling_play.more);
	bring_back();
	journaling_wait_for(&journaling_play.more);
	assert_null(strstr(problem(), "below its quorum"));
	journaling_restart(last);
	assert_false(journaling_play.behind);
	journaling_send_epochs(2);
	assert_string_equal(journaling_state(), "based");
	journaling_restart(journaling_play.committed);
	assert_false(journaling_play.behind);
}

/* A primary was quicker: what it commits is in no journal, and nothing claims so. */
static void what_is_committed_meanwhile_counts_and_is_not_claimed(void **unused)
{
	(void)unused;
	restart_with_an_old_one();
	journaling_rewind_guest(journaling_play.epoch);
	assert_true(claimed());
	journaling_send_epochs(1);
	assert_false(claimed());
	bring_back();
	while (strcmp(journaling_state(), "based") != 0)
		journaling_send_epochs(1);
	assert_false(journaling_play.more);
	journaling_send_epochs(1);
	journaling_restart(journaling_play.committed);
	assert_false(journaling_play.behind);
}

/* What was acknowledged is not there at all: no other journal is begun before a primary is. */
static void without_any_of_it_the_claim_stays(void **unused)
{
	(void)unused;
	open_again();
	journaling_send_epochs(5);
	journaling_fixture_close();
	journaling_each_file(journaling_play.dir, journaling_remove_one);
	image_destroy(image_fixture.image, false);
	image_fixture_make(STAGING);
	journaling_fixture_open(true);
	assert_true(journaling_play.epoch == 0 && journaling_play.why.code == RC_STATE);
	assert_non_null(strstr(journaling_play.why.text, "what was acknowledged is not there"));
	assert_non_null(strstr(journaling_play.why.text, journaling_play.dir));
	assert_true(claimed());
	assert_true(journaling_first_segment() == 0);
	journaling_rewind_guest(journaling_play.committed);
	journaling_send_epochs(1);
	assert_false(claimed());
	while (strcmp(journaling_state(), "based") != 0)
		journaling_send_epochs(1);
}

static int end(void **unused)
{
	fault_hold(2, false);
	fault_arm_at(FAULT_FSYNC, 2, 0, false);
	journaling_fixture_close();
	journaling_each_file(third, journaling_remove_one);
	(void)rmdir(third);
	return journaling_fixture_end(unused);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, journaling_fixture_begin, end)
	const struct CMUnitTest tests[] = {
		TEST(below_the_quorum_epochs_go_on_from_memory),
		TEST(while_it_is_opened_again_epochs_go_on_from_memory),
		TEST(one_copy_that_is_away_is_another_problem),
		TEST(a_disk_that_does_not_answer_and_is_needed_is_told),
		TEST(so_is_the_only_one),
		TEST(the_image_takes_the_place_of_what_has_rotted),
		TEST(copies_that_come_back_are_read_again),
		TEST(what_is_committed_meanwhile_counts_and_is_not_claimed),
		TEST(without_any_of_it_the_claim_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
