/*
 * Files of a copy of a journal that the disk does not give back (EIO): whichever copy it is, and wherever it ends to be readable,
 * the journal is read from the others, and is said not to be all that there was.
 *
 * The journal's reading is seen here first, because it is defined here.
 */

#include "appliance/base/mem.h"
#include "tests/unit/journal_copies_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

/* Of a copy's segment (0: of all) nothing can be read from there on; nor its end, of a file system that is gone. */
static struct {
	bool on, end;
	unsigned copy;
	uint64_t segment;
	off_t from;
} bad;

static bool is_bad(int fd, off_t end)
{
	char path[SCRATCH_MAX + 64], wanted[SCRATCH_MAX + 64];

	if (!bad.on || end <= bad.from)
		return false;
	copies_path_of(fd, path);
	copies_path(bad.copy, bad.segment, wanted);
	if (bad.segment == 0)
		*strrchr(wanted, '/') = '\0';
	return strncmp(path, wanted, strlen(wanted)) == 0;
}

ssize_t pread(int fd, void *data, size_t len, off_t at)
{
	ssize_t got = syscall(SYS_pread64, fd, data, len, at);

	if (got < 0 || (got == 0 && !bad.end) || !is_bad(fd, at + (got > 0 ? got : 1)))
		return got;
	if (at < bad.from)
		return bad.from - at;
	errno = EIO;
	return -1;
}

static int end(void **state)
{
	bad.on = false;
	return copies_end(state);
}

static struct journal_dirs all_dirs(void)
{
	struct journal_dirs dirs;
	struct err err;

	assert_int_equal(journal_dirs_open(&dirs, journal_play.place.dirs, journal_play.place.count,
					   &err),
			 RC_OK);
	return dirs;
}

static unsigned unread; /* how often that was told */

static void is_read(uint64_t epoch)
{
	struct journal_dirs dirs = all_dirs();
	struct journal_found found;
	struct err err;

	bad.on = true;
	if (journal_scan(&dirs, 0, NULL, NULL, &found, &err) != RC_OK)
		fail_msg("copy %u, segment %llu, at %lld: %s", bad.copy,
			 (unsigned long long)bad.segment, (long long)bad.from, err.text);
	bad.on = false;
	assert_true(found.epoch == epoch);
	unread += !found.whole;
	journal_dirs_close(&dirs);
}

/* Each segment of each copy, at its head, at its end, and between; all copies end in the same way. */
static void one_copy_that_cannot_be_read_is_one_that_is_missing(void **state)
{
	uint8_t *bytes = NULL;
	uint64_t segment, last;
	size_t len;

	(void)state;
	journal_play.segment_bytes = 600;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 7);
	last = journal_present_segment(journal_play.j);
	journal_fixture_close();
	for (bad.copy = 0; bad.copy < 3; bad.copy++) {
		for (segment = 1; segment <= last; segment++) {
			len = copies_get(bad.copy, segment, &bytes);
			if (len == SIZE_MAX)
				continue;
			free(bytes);
			bad.segment = segment;
			for (bad.from = 0; bad.from <= (off_t)len; bad.from += 8) {
				bad.end = bad.from % 24 == 0 || bad.from == (off_t)len;
				is_read(7);
			}
		}
	}
	bad.segment = 0;
	bad.from = 0;
	bad.end = true;
	for (bad.copy = 0; bad.copy < 3; bad.copy++)
		is_read(7);
	assert_true(unread > 50);
}

/* What only that one had, of which nobody was told. */
static void what_only_an_unreadable_copy_has_is_not_there(void **state)
{
	uint8_t *bytes = NULL;
	struct err err;
	size_t len;

	(void)state;
	journal_play.segment_bytes = 1;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 5);
	fault_arm_at(FAULT_FSYNC, 2, 1, true);
	fault_arm_at(FAULT_FSYNC, 3, 1, true);
	(void)journal_fixture_write(6, true, &err);
	bad.segment = journal_present_segment(journal_play.j);
	journal_fixture_close();
	copies_disarm();
	len = copies_get(0, bad.segment, &bytes);
	assert_true(len != SIZE_MAX && len > 0);
	free(bytes);
	bad.end = true;
	for (bad.from = 0; bad.from <= (off_t)len; bad.from += (off_t)len)
		is_read(5);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, copies_begin, end)
	const struct CMUnitTest tests[] = {
		TEST(one_copy_that_cannot_be_read_is_one_that_is_missing),
		TEST(what_only_an_unreadable_copy_has_is_not_there),
	};

	(void)setenv("TMPDIR", "/dev/shm", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
