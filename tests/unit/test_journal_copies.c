/*
 * A journal in several copies: whichever of them fail, at whatever open, write, sync or rename, and whichever are missing
 * afterwards, it holds the last epoch that was acknowledged as long as fewer than the quorum are missing; and copies that
 * come back become what the others are.
 */
#include "appliance/base/mem.h"
#include "tests/unit/journal_copies_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- tests ------------------------------------------------------------------------------------ */

static void all_copies_are_the_same(void **state)
{
	unsigned copy;

	(void)state;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 20);
	journal_fixture_close();
	copies_are_the_same();
	for (copy = 0; copy < 3; copy++) {
		copies_open();
		assert_true(journal_play.seen == 20 + copy && journal_play.found.missing == 0);
		journal_fixture_write_all(21 + copy, 21 + copy);
		copies_become_the_same();
	}
}

/* A copy fails at some step and stays as it is then, another one too; so the writer ends. */
static void write_until_they_fail(enum fault_kind kind, unsigned long one, unsigned long other)
{
	struct err err;

	journal_play.acknowledged = journal_play.begun = 0;
	fault_arm_at(kind, 1, one, true);
	fault_arm_at(kind, 2, other, true);
	if (journal_fixture_open(&err) == RC_OK) {
		while (journal_play.begun < 12 &&
		       journal_fixture_write(journal_play.begun + 1, true, &err) == RC_OK)
			;
	}
	journal_fixture_close();
	copies_disarm();
}

/* `missing`: a copy that is away at the next opening; 3: none is. */
static void what_was_acknowledged_is_there(unsigned missing)
{
	uint64_t last;

	copies_take_away(missing);
	copies_open();
	if (journal_play.seen < journal_play.acknowledged || journal_play.seen > journal_play.begun)
		fail_msg("epoch %llu, and %llu was acknowledged",
			 (unsigned long long)journal_play.seen,
			 (unsigned long long)journal_play.acknowledged);
	last = journal_play.seen + 3;
	journal_fixture_write_all(journal_play.seen + 1, last);
	journal_fixture_close();
	copies_bring_back(missing);
	copies_open();
	assert_true(journal_play.seen == last);
	copies_become_the_same();
	copies_open();
	assert_true(journal_play.seen == last);
	journal_fixture_close();
}

static void remove_all(void)
{
	unsigned copy;

	for (copy = 0; copy < 3; copy++)
		journal_fixture_remove(copy);
}

static void failed_at_each_step_they_hold_what_was_acknowledged(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_OPEN, FAULT_WRITE, FAULT_FSYNC,
						 FAULT_RENAME };
	unsigned long nth, apart;
	size_t kind;

	(void)state;
	for (kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
		for (nth = 1; nth < 34; nth++) {
			for (apart = 0; apart < 4; apart++) {
				write_until_they_fail(kinds[kind], nth, nth + apart * apart);
				what_was_acknowledged_is_there((nth + apart) % 4);
				remove_all();
			}
			if (journal_play.begun == 12 && journal_play.acknowledged == 12)
				break;
		}
		assert_true(nth > 3);
	}
}

/* What nobody was told of stays behind on a copy that was away, and is longer than what came instead. */
static void an_old_end_does_not_win(void **state)
{
	unsigned round;

	(void)state;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 3);
	fault_arm_at(FAULT_WRITE, 1, 1, true); /* only the third goes on */
	fault_arm_at(FAULT_WRITE, 2, 1, true);
	for (round = 4; round < 9; round++) {
		struct err err;

		(void)journal_fixture_write(round, false, &err);
	}
	journal_fixture_close();
	copies_disarm();
	copies_take_away(2);
	copies_open();
	assert_true(journal_play.seen == 3);
	journal_fixture_write_all(4, 4);
	journal_fixture_close();
	copies_bring_back(2);
	copies_open();
	assert_true(journal_play.seen == 4);
	copies_become_the_same();
}

static void what_is_rotten_in_one_is_read_from_another(void **state)
{
	uint8_t *first = NULL;
	uint64_t segment;
	size_t len;
	off_t at;

	(void)state;
	journal_play.segment_bytes = 600;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 4);
	copies_become_the_same();
	copies_open();
	segment = journal_play.found.segment; /* the last one, which is repaired at once */
	assert_true(segment > 1);
	journal_fixture_close();
	len = copies_get(0, 1, &first);
	for (at = 0; at < 300; at += 3) {
		copies_flip((unsigned)at % 2, 1, at);
		copies_flip(2, 1, 299 - at);
		copies_flip(2, segment, at % 64);
		copies_open();
		assert_true(journal_play.seen == 4);
		journal_fixture_close();
		copies_put(0, 1, first, len); /* what of it was a head's is repaired already */
		copies_put(1, 1, first, len);
		copies_put(2, 1, first, len);
	}
	free(first);
}

/* The last segment, which the quorum needs. (A copy that comes when it is closed leaves that to the scrub.) */
static void what_is_rotten_in_all_is_put_together(void **state)
{
	uint64_t segment;
	unsigned copy;

	(void)state;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 8);
	copies_become_the_same();
	copies_open();
	segment = journal_play.found.segment;
	journal_fixture_close();
	for (copy = 0; copy < 3; copy++)
		copies_flip(copy, segment, 100 + 200 * (off_t)copy);
	copies_open();
	assert_true(journal_play.seen == 8);
	journal_fixture_write_all(9, 12);
	copies_wait_for_good(3);
	journal_fixture_close();
	copies_open();
	assert_true(journal_play.seen == 12);
	journal_fixture_close();
}

/* In fewer copies than any that counts. In as many it may be one whose head is rotten. */
static void a_file_that_is_no_segment_is_left_out(void **state)
{
	char path[SCRATCH_MAX + 64];
	uint8_t junk[5000];
	struct err err;

	(void)state;
	memset(junk, 0xa5, sizeof(junk));
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 5);
	copies_become_the_same();
	copies_put(1, 0xfffff, junk, sizeof(junk));
	copies_put(1, 0x3fffffffffffffff, junk, 0);
	copies_open();
	assert_true(journal_play.seen == 5 && journal_play.found.whole);
	journal_fixture_write_all(6, 7);
	copies_become_the_same();
	copies_put(0, 0xfffff, junk, sizeof(junk));
	copies_put(1, 0xfffff, junk, sizeof(junk));
	assert_int_equal(journal_fixture_open(&err), RC_INVALID);
	assert_non_null(strstr(err.text, "damaged: segment 00000000000fffff"));
	copies_take_away(2); /* who may have held it */
	copies_path(0, 0xfffff, path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(journal_fixture_open(&err), RC_INVALID);
	copies_bring_back(2);
	copies_open();
	assert_true(journal_play.seen == 7);
	journal_fixture_close();
}

static void a_copy_that_fails_is_repaired_while_the_others_go_on(void **state)
{
	uint64_t epoch = 0;
	struct journal_health health;

	(void)state;
	journal_play.place.retry_ms = 1;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 5);
	fault_arm_at(FAULT_FSYNC, 2, 1, true);
	journal_fixture_write_all(6, 12);
	health = copies_health();
	assert_true(health.good == 2 && health.copy[1].state != JOURNAL_COPY_GOOD);
	assert_non_null(strstr(health.copy[1].why, "fdatasync"));
	copies_disarm();
	for (epoch = 13; copies_health().good < 3; epoch++)
		journal_fixture_write_all(epoch, epoch);
	assert_true(copies_health().repaired > 0);
	copies_become_the_same();
}

static void a_directory_that_is_removed_is_made_again(void **state)
{
	uint64_t epoch;
	unsigned copy;

	(void)state;
	journal_play.place.retry_ms = 1;
	copies_open();
	for (copy = 0, epoch = 1; copy < 3; copy++) {
		copies_wait_for_good(3);
		journal_fixture_write_all(epoch, epoch + 5);
		epoch += 6;
		journal_fixture_remove(copy);
		do {
			journal_fixture_write_all(epoch, epoch);
			epoch++;
		} while (copies_health().good == 3);
		while (copies_health().good < 3) {
			journal_fixture_write_all(epoch, epoch);
			epoch++;
		}
	}
	copies_become_the_same();
	copies_open();
	assert_true(journal_play.seen == epoch - 1);
}

/* While it is written to: what follows would be behind a hole, or in the wrong place. */
static void a_segment_that_is_cut_off_is_made_whole_again(void **state)
{
	char path[SCRATCH_MAX + 64];
	uint64_t segment, repaired;
	struct stat st;

	(void)state;
	journal_play.place.retry_ms = 1;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 5);
	segment = journal_present_segment(journal_play.j);
	copies_path(1, segment, path);
	while (stat(path, &st) != 0 ||
	       (uint64_t)st.st_size != journal_bytes_from(journal_play.j, segment))
		(void)usleep(1000);
	repaired = copies_health().repaired;
	assert_int_equal(truncate(path, st.st_size / 2), 0);
	journal_fixture_write_all(6, 9);
	while (copies_health().repaired == repaired)
		(void)usleep(1000);
	copies_become_the_same();
}

static void below_the_quorum_nothing_is_acknowledged(void **state)
{
	struct err err;

	(void)state;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 5);
	fault_arm_at(FAULT_FSYNC, 1, 1, true);
	fault_arm_at(FAULT_WRITE, 3, 1, true);
	while (journal_fixture_write(journal_play.begun + 1, true, &err) == RC_OK)
		;
	assert_non_null(strstr(err.text, "below its quorum: 1 of 3"));
	assert_non_null(strstr(err.text, copies_health().copy[0].why)); /* whole; and */
	assert_non_null(strstr(err.text, journal_play.path[2]));
	assert_true(journal_is_broken(journal_play.j, &err));
	journal_fixture_close();
	assert_int_equal(journal_fixture_open(&err), RC_OK); /* as long as the disks fail */
	assert_true(journal_is_broken(journal_play.j, &err));
	assert_true(journal_play.seen >= journal_play.acknowledged);
	journal_fixture_close();
	copies_disarm();
	copies_open();
	assert_true(journal_play.seen >= journal_play.acknowledged);
	copies_become_the_same();
}

static void as_many_missing_as_acknowledge_are_told(void **state)
{
	(void)state;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 5);
	journal_fixture_close();
	copies_open();
	assert_true(journal_play.found.whole && journal_play.found.missing == 0);
	journal_fixture_close();
	journal_fixture_remove(1);
	copies_open();
	assert_true(journal_play.found.whole && journal_play.found.missing == 1);
	copies_become_the_same();
	journal_fixture_remove(0);
	journal_fixture_remove(2);
	copies_open();
	assert_true(!journal_play.found.whole && journal_play.found.missing == 2);
	assert_true(journal_play.seen == 5);
}

/* Instead of what it held: nine epochs of a journal with that number. */
static void write_another(unsigned copy, uint64_t number)
{
	const struct journal_place place = journal_play.place;
	struct err err;

	journal_fixture_remove(copy);
	journal_play.place = (struct journal_place){ .dirs = { journal_play.path[copy] },
						     .count = 1,
						     .quorum = 1 };
	assert_int_equal(journal_open(&journal_play.j, &journal_play.place, number, JOURNAL_SMALL,
				      NULL, NULL, &journal_play.found, &err),
			 RC_OK);
	journal_fixture_write_all(1, 9);
	journal_fixture_close();
	journal_play.place = place;
}

static void another_journal_is_left_alone(void **state)
{
	struct journal_health health;
	struct err err;

	(void)state;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 5);
	copies_become_the_same();
	write_another(1, 77);
	copies_open();
	assert_true(journal_play.seen == 5);
	health = copies_health();
	assert_true(health.good == 2 && health.copy[1].state == JOURNAL_COPY_FAILED);
	assert_non_null(strstr(health.copy[1].why, "another journal; move that away"));
	journal_fixture_write_all(6, 9);
	journal_fixture_close();
	journal_fixture_remove(2);
	assert_int_equal(journal_fixture_open(&err), RC_REFUSED);
	assert_non_null(strstr(err.text, "different journals"));
	assert_non_null(strstr(err.text, journal_play.path[0]));
	assert_non_null(strstr(err.text, journal_play.path[1]));
}

/* An earlier one has come back in most of them. */
static void the_one_that_was_acknowledged_counts_wherever_it_is(void **state)
{
	struct journal_dirs dirs;
	struct journal_found found;
	struct err err;

	(void)state;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 5);
	copies_become_the_same();
	write_another(0, 77);
	write_another(2, 77);
	journal_play.place.reached = (struct journal_reached){ .journal = JOURNAL_NUMBER };
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	assert_true(journal_play.seen == 5 && journal_play.found.missing == 2);
	assert_false(journal_play.found.whole);
	assert_true(journal_is_broken(journal_play.j, &err));
	assert_non_null(strstr(err.text, "below its quorum"));
	assert_non_null(strstr(err.text, "another journal; move that away"));
	journal_fixture_close();
	assert_int_equal(journal_dirs_open(&dirs, journal_play.place.dirs, 3, &err), RC_OK);
	dirs.journal = JOURNAL_NUMBER; /* for who reads it beside */
	assert_int_equal(journal_scan(&dirs, 0, NULL, NULL, &found, &err), RC_OK);
	assert_true(found.journal == JOURNAL_NUMBER && found.epoch == 5);
	journal_dirs_close(&dirs);
	journal_play.place.reached.journal = 78; /* nobody has that: then it is as without */
	copies_open();
	assert_true(journal_play.found.journal == 77);
}

/* By the files' names, whatever their heads say. */
static void files_of_two_journals_are_named(void **state)
{
	char at[SCRATCH_MAX + 64], as[SCRATCH_MAX + 64];
	uint64_t number;
	struct err err;
	int dir;

	(void)state;
	copies_open();
	journal_fixture_write_all(1, 2);
	copies_become_the_same();
	copies_path(0, 1, at);
	copies_path(1, 5, as);
	assert_int_equal(rename(at, as), 0);
	journal_fixture_remove(0);
	journal_play.place.count = journal_play.place.quorum = 1;
	assert_int_equal(journal_open(&journal_play.j, &journal_play.place, 77, JOURNAL_SMALL, NULL,
				      NULL, &journal_play.found, &err),
			 RC_OK);
	journal_fixture_close();
	copies_path(0, 1, at);
	copies_path(1, 6, as);
	assert_int_equal(rename(at, as), 0);
	dir = open(journal_play.path[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(journal_number_of(dir, &number, &err), RC_REFUSED);
	(void)close(dir);
	assert_non_null(strstr(err.text, "0000000000000006.journal"));
	assert_non_null(strstr(err.text, "0000000000000005.journal"));
	journal_fixture_remove(1);
}

/* Nobody waits for it, and it does not take more memory than it may. */
static void a_copy_that_hangs_is_left_behind(void **state)
{
	static uint8_t batch[1 << 20];
	struct err err;
	unsigned i;

	(void)state;
	journal_play.segment_bytes = JOURNAL_SEGMENT_BYTES;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 3);
	fault_hold(2, true);
	journal_fixture_write_all(4, 6);
	for (i = 0; i < (JOURNAL_LAG_BYTES >> 20) + 8; i++)
		assert_int_equal(journal_append(journal_play.j, JOURNAL_PAGES, 6, batch,
						sizeof(batch), &err),
				 RC_OK);
	assert_int_equal(journal_sync(journal_play.j, &err), RC_OK);
	assert_true(copies_health().good == 2);
	assert_non_null(strstr(copies_health().copy[1].why, "fell behind"));
	fault_hold(2, false);
	copies_wait_for_good(3);
	journal_fixture_write_all(7, 9);
	journal_fixture_close();
	copies_open();
	assert_true(journal_play.seen == 9);
	copies_become_the_same();
}

static unsigned asked;

static bool make_room(void *owner)
{
	unsigned removed;
	struct err err;

	(void)owner;
	asked++;
	return journal_trim(journal_play.j, journal_play.found.base, &removed, &err) == RC_OK &&
	       removed > 0;
}

static void a_full_disk_of_one_takes_the_past_of_all(void **state)
{
	uint64_t first;

	(void)state;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 18);
	journal_fixture_close();
	copies_open();
	copies_wait_for_good(3);
	first = journal_first_sequence(journal_play.j);
	journal_set_room(journal_play.j, make_room, NULL);
	asked = 0;
	fault_arm_at(FAULT_WRITE, 3, 2, false); /* which is an ENOSPC */
	while (asked == 0)
		journal_fixture_write_all(journal_play.acknowledged + 1,
					  journal_play.acknowledged + 1);
	assert_true(journal_first_sequence(journal_play.j) > first);
	journal_fixture_write_all(journal_play.acknowledged + 1, journal_play.acknowledged + 3);
	assert_true(copies_health().good == 3);
	fault_arm_at(FAULT_WRITE, 3, 1, true); /* there is nothing to remove any more */
	journal_fixture_write_all(journal_play.acknowledged + 1, journal_play.acknowledged + 3);
	while (copies_health().good == 3)
		;
	assert_non_null(strstr(copies_health().copy[2].why, "No space left"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, copies_begin, copies_end)
	const struct CMUnitTest tests[] = {
		TEST(all_copies_are_the_same),
		TEST(failed_at_each_step_they_hold_what_was_acknowledged),
		TEST(an_old_end_does_not_win),
		TEST(what_is_rotten_in_one_is_read_from_another),
		TEST(what_is_rotten_in_all_is_put_together),
		TEST(a_file_that_is_no_segment_is_left_out),
		TEST(a_copy_that_fails_is_repaired_while_the_others_go_on),
		TEST(a_directory_that_is_removed_is_made_again),
		TEST(a_segment_that_is_cut_off_is_made_whole_again),
		TEST(below_the_quorum_nothing_is_acknowledged),
		TEST(as_many_missing_as_acknowledge_are_told),
		TEST(another_journal_is_left_alone),
		TEST(the_one_that_was_acknowledged_counts_wherever_it_is),
		TEST(files_of_two_journals_are_named),
		TEST(a_copy_that_hangs_is_left_behind),
		TEST(a_full_disk_of_one_takes_the_past_of_all),
	};

	(void)setenv("TMPDIR", "/dev/shm",
		     1); /* thousands of syncs, which need not be waited for */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
