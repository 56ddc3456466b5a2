/*
 * Copies of a journal that come back: what they hold stays until the journal has been begun anew on a quorum; what one of them was
 * given and has not synced does not count as there.
 */
#include "tests/unit/journal_copies_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Its directory changes places with a file, at once. */
static void make_unusable(unsigned copy, bool unusable)
{
	char other[SCRATCH_MAX + 16];
	int fd;

	(void)snprintf(other, sizeof(other), "%s.other", journal_play.path[copy]);
	fd = unusable ? open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
	assert_int_equal(
		renameat2(AT_FDCWD, other, AT_FDCWD, journal_play.path[copy], RENAME_EXCHANGE), 0);
	if (unusable)
		(void)close(fd);
	else
		assert_int_equal(unlink(other), 0);
}

/* One that is behind is alone at an opening; those that have more come while it is open, and is nothing. */
static void without_a_quorum_nothing_gives_way(void **state)
{
	struct journal_health health;
	struct err err;

	(void)state;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 5);
	journal_fixture_close();
	copies_take_away(0);
	copies_open();
	copies_wait_for_good(2);
	journal_fixture_write_all(6, 12);
	journal_fixture_close();
	journal_fixture_remove(0); /* what the last opening has made there */
	copies_bring_back(0);
	make_unusable(1, true);
	make_unusable(2, true);
	journal_play.place.retry_ms = 1;
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	assert_true(journal_is_broken(journal_play.j, &err) && journal_play.seen == 5);
	make_unusable(1, false);
	make_unusable(2, false);
	do {
		health = copies_health();
	} while (health.copy[1].state == JOURNAL_COPY_FAILED ||
		 health.copy[2].state == JOURNAL_COPY_FAILED);
	journal_fixture_close();
	copies_open();
	assert_true(journal_play.seen == 12 && journal_play.found.missing == 0);
	copies_become_the_same();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, copies_begin, copies_end)
	const struct CMUnitTest tests[] = {
		TEST(without_a_quorum_nothing_gives_way),
	};

	(void)setenv("TMPDIR", "/dev/shm", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
