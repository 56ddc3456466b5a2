/*
 * The scrub: whatever rots in one copy of a journal becomes what it was, from another; and what no copy has whole is told.
 */
#include "tests/unit/journal_copies_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Each bit of a closed segment, in one copy or the other; and the whole of it. */
static void the_scrub_finds_and_repairs_what_rots(void **state)
{
	uint64_t mended = 0;
	uint8_t *first = NULL;
	char path[SCRATCH_MAX + 64];
	size_t len, at;

	(void)state;
	journal_play.segment_bytes = 600;
	journal_play.place.scrub_ms = 1;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 4);
	len = copies_get(0, 1, &first);
	for (at = 0; at < len; at += 11) {
		copies_flip(at % 3, 1, (off_t)at);
		while (copies_health().mended == mended)
			(void)usleep(1000);
		mended++;
		assert_true(copies_health().good == 3 && copies_health().rotten == 0);
	}
	copies_path(1, 1, path);
	assert_int_equal(unlink(path), 0);
	while (copies_health().mended == mended)
		(void)usleep(1000);
	copies_become_the_same();
	free(first);
}

/* A byte in each copy, of another record each. */
static void the_scrub_puts_together_what_is_rotten_in_all(void **state)
{
	uint64_t mended;
	unsigned copy;

	(void)state;
	journal_play.segment_bytes = 2000;
	journal_play.place.scrub_ms = 100;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 12);
	mended = copies_health().mended;
	for (copy = 0; copy < 3; copy++)
		copies_flip(copy, 1, 100 + 300 * (off_t)copy);
	while (copies_health().mended < mended + 3) {
		assert_true(copies_health().rotten == 0);
		(void)usleep(1000);
	}
	copies_become_the_same();
}

static void what_no_copy_has_whole_is_told(void **state)
{
	unsigned removed;
	uint64_t epoch;
	struct err err;

	(void)state;
	journal_play.place.count = journal_play.place.quorum = 1;
	journal_play.segment_bytes = 600;
	journal_play.place.scrub_ms = 1;
	copies_open();
	journal_fixture_write_all(1, 4);
	while (copies_health().rounds < 2)
		(void)usleep(1000);
	assert_true(copies_health().rotten == 0);
	copies_flip(0, 1, 100);
	while (copies_health().rotten != 1)
		(void)usleep(1000);
	assert_non_null(strstr(copies_health().rot, "segment 0000000000000001, at 64: "));
	assert_non_null(strstr(copies_health().rot, journal_play.path[0]));
	for (epoch = 5; epoch < 20; epoch++)
		journal_fixture_write_all(epoch, epoch);
	assert_int_equal(journal_trim(journal_play.j, journal_next_sequence(journal_play.j) - 1,
				      &removed, &err),
			 RC_OK);
	assert_true(copies_health().rotten == 0);
}

/* The other copies have it: it is the disk, or the process, that something is wrong with. */
static void what_cannot_be_written_is_told_as_that(void **state)
{
	char path[SCRATCH_MAX + 64];
	struct journal_health health;

	(void)state;
	journal_play.segment_bytes = 600;
	journal_play.place.scrub_ms = 1;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 4);
	(void)snprintf(path, sizeof(path), "%s/" JOURNAL_REPLACED, journal_play.path[1]);
	assert_int_equal(mkdir(path, 0700), 0); /* where the copy would be made */
	copies_flip(1, 1, 100);
	do {
		health = copies_health();
		assert_true(health.rotten == 0 && health.mended == 0 && health.good == 3);
	} while (health.unmended[0] == '\0');
	assert_non_null(strstr(health.unmended, journal_play.path[1]));
	assert_non_null(strstr(health.unmended, "it cannot be copied from another copy"));
	assert_non_null(strstr(health.unmended, "Is a directory; make room"));
	assert_int_equal(rmdir(path), 0);
	while (copies_health().mended == 0 || copies_health().unmended[0] != '\0')
		(void)usleep(1000);
	copies_become_the_same();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, copies_begin, copies_end)
	const struct CMUnitTest tests[] = {
		TEST(the_scrub_finds_and_repairs_what_rots),
		TEST(the_scrub_puts_together_what_is_rotten_in_all),
		TEST(what_no_copy_has_whole_is_told),
		TEST(what_cannot_be_written_is_told_as_that),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
