/*
 * A journal whose copies are not those of its former life: others are configured, another number has to have what is acknowledged, or
 * the head of a segment cannot be read. Whether all that was acknowledged is there is judged by what the copies were then.
 */
#include "appliance/base/mem.h"
#include "tests/unit/journal_copies_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Five epochs in all copies, and two more in those that do not fail. */
static void begin_with(unsigned quorum, bool behind)
{
	journal_play.place.quorum = 3;
	copies_open();
	journal_fixture_write_all(1, 5);
	journal_fixture_close();
	journal_play.place.quorum = quorum;
	copies_open();
	copies_wait_for_good(3);
	journal_play.place.reached = journal_reached(journal_play.j); /* raised now and then */
	if (behind) {
		fault_arm_at(FAULT_WRITE, 2, 1, true);
		fault_arm_at(FAULT_WRITE, 3, 1, true);
		journal_fixture_write_all(6, 7);
	}
	journal_fixture_close();
	copies_disarm();
}

static void open_with(unsigned count, unsigned quorum, bool whole)
{
	journal_play.place.count = count;
	journal_play.place.quorum = quorum;
	copies_open();
	assert_true(journal_play.found.whole == whole);
	journal_fixture_close();
}

static void what_one_had_alone_is_missed_though_two_are_to_have_it_now(void **state)
{
	(void)state;
	begin_with(1, true);
	copies_take_away(0);
	open_with(3, 2, false);
	assert_true(journal_play.seen == 5);
	copies_bring_back(0);
}

static void one_of_those_that_were_is_not_all_of_them(void **state)
{
	(void)state;
	begin_with(2, false);
	journal_play.place.dirs[0] = journal_play.path[2];
	open_with(1, 1, false);
	journal_play.place.reached.quorum = 3; /* each had it */
	open_with(1, 1, true);
}

static void more_copies_than_before_are_none_that_are_missing(void **state)
{
	(void)state;
	begin_with(2, false);
	open_with(5, 3, true);
	assert_true(journal_play.found.missing == 2);
}

/* An end that nobody was told of is longer than the one that counts, whose head cannot be read in the one copy that is there. */
static void what_a_head_that_is_gone_may_lead_to_is_missed(void **state)
{
	char path[SCRATCH_MAX + 64];
	uint64_t segment;
	struct err err;

	(void)state;
	journal_play.segment_bytes = JOURNAL_SEGMENT_BYTES;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 3);
	fault_arm_at(FAULT_WRITE, 1, 1, true); /* only the third goes on */
	fault_arm_at(FAULT_WRITE, 2, 1, true);
	(void)journal_fixture_write(4, false, &err);
	(void)journal_fixture_write(5, false, &err);
	journal_fixture_close();
	copies_disarm();
	copies_take_away(2);
	copies_open();
	assert_true(journal_play.seen == 3);
	journal_fixture_write_all(4, 4);
	copies_wait_for_good(3); /* the third's is made anew */
	segment = journal_present_segment(journal_play.j);
	journal_play.place.reached = journal_reached(journal_play.j);
	journal_fixture_close();
	journal_fixture_remove(2);
	copies_bring_back(2);
	copies_take_away(0);
	copies_flip(1, segment, 20);
	copies_open();
	assert_true(journal_play.seen == 5 && !journal_play.found.whole);
	assert_true(journal_play.found.opening < journal_play.place.reached.opening);
	copies_path(1, segment, path);
	assert_int_equal(access(path, F_OK), 0);
	journal_fixture_close();
	copies_bring_back(0);
}

/* Less than a quorum ever had it. */
static void a_file_without_a_head_in_one_copy_is_none_of_the_journals(void **state)
{
	static const uint8_t junk[5000] = { 1, 2, 3 };

	(void)state;
	begin_with(2, false);
	copies_put(0, 0xfffff, junk, sizeof(junk));
	copies_put(0, 2, junk, sizeof(junk));
	copies_put(1, UINT64_C(0x3fffffffffffffff), junk, 0);
	copies_open();
	assert_true(journal_play.seen == 5 && journal_play.found.whole);
	journal_fixture_write_all(6, 7);
	copies_become_the_same();
}

static void in_as_many_as_a_quorum_it_is_damage(void **state)
{
	static const uint8_t junk[5000] = { 1, 2, 3 };
	struct err err;

	(void)state;
	begin_with(2, false);
	copies_put(0, 0xfffff, junk, sizeof(junk));
	copies_put(1, 0xfffff, junk, sizeof(junk));
	assert_int_equal(journal_fixture_open(&err), RC_INVALID);
	assert_non_null(strstr(err.text, "the journal is damaged: segment 00000000000fffff"));
}

/* What README tells an operator to do by hand, where the message says. */
static void what_is_before_damage_in_all_copies_is_there_once_the_rest_is_cut_off(void **state)
{
	char path[SCRATCH_MAX + 64];
	uint64_t segment, at;
	const char *place;
	unsigned copy;
	struct err err;

	(void)state;
	journal_play.segment_bytes = JOURNAL_SEGMENT_BYTES;
	begin_with(2, false);
	for (copy = 0; copy < 3; copy++)
		copies_flip(copy, 1, 2000);
	assert_int_equal(journal_fixture_open(&err), RC_INVALID);
	place = strstr(err.text, "segment ");
	assert_non_null(place);
	segment = strtoull(place + strlen("segment "), NULL, 16);
	place = strstr(place, ", at ");
	assert_non_null(place);
	at = strtoull(place + strlen(", at "), NULL, 10);
	for (copy = 0; copy < 3; copy++) {
		copies_path(copy, segment, path);
		assert_int_equal(truncate(path, (off_t)at), 0);
		copies_path(copy, journal_play.found.next_sequence, path);
		(void)unlink(path);
	}
	copies_open();
	assert_true(journal_play.seen > 0 && journal_play.seen < 5);
	assert_true(journal_play.found.next_sequence < journal_play.place.reached.sequence);
	journal_fixture_write_all(journal_play.seen + 1, 9);
	copies_become_the_same();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, copies_begin, copies_end)
	const struct CMUnitTest tests[] = {
		TEST(what_one_had_alone_is_missed_though_two_are_to_have_it_now),
		TEST(one_of_those_that_were_is_not_all_of_them),
		TEST(more_copies_than_before_are_none_that_are_missing),
		TEST(what_a_head_that_is_gone_may_lead_to_is_missed),
		TEST(a_file_without_a_head_in_one_copy_is_none_of_the_journals),
		TEST(what_is_before_damage_in_all_copies_is_there_once_the_rest_is_cut_off),
		TEST(in_as_many_as_a_quorum_it_is_damage),
	};

	(void)setenv("TMPDIR", "/dev/shm", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
