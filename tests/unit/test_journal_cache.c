/*
 * After a failed fdatasync() the kernel shows what it could not write as if it were on the disk: a journal that is opened then, by
 * whichever process, goes on from what the disk has, and a power cut takes nothing that was acknowledged.
 *
 * The calls of the journal that sync, or drop what the kernel keeps, are seen here first, because they are defined here.
 */
#include "appliance/base/mem.h"
#include "tests/unit/journal_copies_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

/* A file that could not be written from there to its end of that time; and how far the one of that name was. */
static struct {
	ino_t inode;
	off_t from, to;
} lost;

static void lose(const char *path)
{
	static const uint8_t zeroes[1 << 16];
	const int file = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;

	if (file < 0)
		return;
	assert_int_equal(fstat(file, &st), 0);
	if (st.st_ino == lost.inode && st.st_size > lost.from) {
		const off_t to = st.st_size < lost.to ? st.st_size : lost.to;

		assert_int_equal(pwrite(file, zeroes, (size_t)(to - lost.from), lost.from),
				 to - lost.from);
	}
	(void)close(file);
}

int posix_fadvise(int fd, off_t offset, off_t len, int advice)
{
	char path[SCRATCH_MAX + 64];

	copies_path_of(fd, path);
	if (advice == POSIX_FADV_DONTNEED)
		lose(path);
	return (int)syscall(SYS_fadvise64, fd, offset, len, advice);
}

/* What copy 1 has synced last. */
static _Atomic ino_t synced_inode;
static _Atomic off_t synced_bytes;

int fdatasync(int fd)
{
	const int r = (int)syscall(SYS_fdatasync, fd);
	char path[SCRATCH_MAX + 64];
	struct stat st;

	copies_path_of(fd, path);
	if (strstr(path, "/j1/") == NULL || fstat(fd, &st) != 0)
		return r;
	synced_inode = st.st_ino;
	synced_bytes = st.st_size;
	return r;
}

/* It has done all that was given to it. */
static bool has_all(const char *path)
{
	const uint64_t present = journal_present_segment(journal_play.j);
	const off_t wanted = (off_t)journal_bytes_from(journal_play.j, present);
	struct stat st;

	return stat(path, &st) == 0 && st.st_size == wanted && synced_bytes == wanted &&
	       synced_inode == st.st_ino;
}

static off_t size_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

/* Of the segment that was written to; behind `from` nothing is on the disk. */
static void cannot_be_written(const char *path, off_t from)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	lost.inode = st.st_ino;
	lost.from = from;
	lost.to = st.st_size;
	assert_true(lost.to > lost.from);
}

static void it_goes_on_from_what_the_disk_has(void **state)
{
	char path[SCRATCH_MAX + 64];
	struct err err;
	off_t synced;

	(void)state;
	journal_play.place.count = journal_play.place.quorum = 1;
	journal_play.segment_bytes = JOURNAL_SEGMENT_BYTES;
	copies_open();
	journal_fixture_write_all(1, 4);
	copies_path(0, journal_present_segment(journal_play.j), path);
	synced = size_of(path);
	fault_arm(FAULT_FSYNC, 1);
	assert_int_equal(journal_fixture_write(5, true, &err), RC_IO);
	fault_arm(FAULT_FSYNC, 0);
	cannot_be_written(path, synced);
	journal_fixture_close();
	copies_open();
	assert_true(journal_play.seen == 4);
	journal_fixture_write_all(5, 9);
	journal_fixture_close();
	lose(path); /* a power cut */
	copies_open();
	assert_true(journal_play.seen == 9);
}

/* The others go on: it is not their last segment any more in which this one lacks something, nor does its length tell. */
static void a_copy_that_lacks_something_is_found_after_a_restart(void **state)
{
	char path[SCRATCH_MAX + 64];

	(void)state;
	journal_play.segment_bytes = 1;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 4);
	copies_path(1, journal_present_segment(journal_play.j), path);
	while (!has_all(path))
		(void)usleep(1000);
	/* The one before, its head and its name are synced; not its records. */
	fault_arm_at(FAULT_FSYNC, 2, 4, true);
	journal_fixture_write_all(5, 5);
	copies_path(1, journal_present_segment(journal_play.j), path);
	while (copies_health().good == 3)
		(void)usleep(1000);
	cannot_be_written(path, JOURNAL_SEGMENT_HEAD);
	journal_fixture_write_all(6, 9);
	journal_fixture_close();
	copies_disarm();
	copies_open();
	assert_true(journal_play.seen == 9);
	copies_wait_for_good(3);
	assert_true(copies_health().repaired > 0);
	journal_fixture_close();
	lose(path);
	copies_are_the_same();
}

static int begin(void **state)
{
	lost.inode = 0;
	return copies_begin(state);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, copies_end)
	const struct CMUnitTest tests[] = {
		TEST(it_goes_on_from_what_the_disk_has),
		TEST(a_copy_that_lacks_something_is_found_after_a_restart),
	};

	(void)setenv("TMPDIR", "/dev/shm", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
