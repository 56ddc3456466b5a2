/*
 * Copies of a journal that come back: what they hold stays until the journal has been begun anew on a quorum; what one of them was
 * given and has not synced does not count as there.
 */
#include "appliance/base/mem.h"
#include "tests/unit/journal_copies_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define INODES_MAX 1024
#define PATIENCE_MS 10000 /* is not waited for but by a failure */

/* ---- syncs ------------------------------------------------------------------------------------ */

/* What of copy 1 is on its disk: bytes of each file, and how often its directory was synced. */
static struct {
	ino_t inode;
	off_t bytes;
} synced[INODES_MAX];
static size_t nsynced;
static atomic_uint names_synced;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void note_sync(ino_t inode, off_t bytes)
{
	size_t i = 0;

	(void)pthread_mutex_lock(&mutex);
	while (i < nsynced && synced[i].inode != inode)
		i++;
	if (i < INODES_MAX) {
		synced[i].inode = inode;
		synced[i].bytes = bytes;
		nsynced = i < nsynced ? nsynced : i + 1;
	}
	(void)pthread_mutex_unlock(&mutex);
}

static bool is_synced(const char *path)
{
	struct stat st;
	bool is = false;
	size_t i;

	assert_int_equal(stat(path, &st), 0);
	(void)pthread_mutex_lock(&mutex);
	for (i = 0; i < nsynced; i++)
		is = is || (synced[i].inode == st.st_ino && synced[i].bytes == st.st_size);
	(void)pthread_mutex_unlock(&mutex);
	return is;
}

/* The journal's syncs are seen here first, because this is defined here. */
int fdatasync(int fd)
{
	char path[SCRATCH_MAX + 64];
	const int r = (int)syscall(SYS_fdatasync, fd);
	struct stat st;

	copies_path_of(fd, path);
	if (strstr(path, "/j1") == NULL || fstat(fd, &st) != 0)
		return r;
	if (S_ISDIR(st.st_mode))
		(void)atomic_fetch_add(&names_synced, 1);
	else
		note_sync(st.st_ino, st.st_size);
	return r;
}

/* Nobody waits for what is removed from copy 1: while it is, the others are asked how they are. */
static atomic_uint asked, removed;
static atomic_bool removing, blocked;

int unlinkat(int dir, const char *name, int flags)
{
	const unsigned before = atomic_load(&asked);
	char path[SCRATCH_MAX + 64];
	unsigned waited;

	copies_path_of(dir, path);
	if (atomic_load(&removing) && strstr(path, "/j1") != NULL &&
	    journal_segment_sequence(name) != 0) {
		for (waited = 0; waited < PATIENCE_MS && atomic_load(&removing) &&
				 atomic_load(&asked) < before + 2;
		     waited++)
			(void)usleep(1000);
		if (waited == PATIENCE_MS)
			atomic_store(&blocked, true);
		(void)atomic_fetch_add(&removed, 1);
	}
	return (int)syscall(SYS_unlinkat, dir, name, flags);
}

/* ---- tests ------------------------------------------------------------------------------------ */

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

/* Up to its last byte it is written to, but not synced, and then falls behind: what comes to it is the next segment. */
static void what_was_written_and_not_synced_is_synced(void **state)
{
	static uint8_t pages[1 << 20];
	const struct journal_commit commit = { .hash = 12 };
	char path[SCRATCH_MAX + 64];
	unsigned before, i;
	struct err err;

	(void)state;
	journal_play.segment_bytes = 1;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 3);
	before = atomic_load(&names_synced);
	assert_int_equal(journal_append(journal_play.j, JOURNAL_BEGIN, 4, journal_fixture_session,
					JOURNAL_BEGIN_BYTES, &err),
			 RC_OK);
	while (atomic_load(&names_synced) == before) /* of the segment that is begun */
		(void)usleep(1000);
	copies_path(1, journal_present_segment(journal_play.j), path);
	fault_hold(2, true);
	assert_int_equal(journal_commit(journal_play.j, 4, &commit, &err), RC_OK);
	assert_int_equal(journal_sync(journal_play.j, &err), RC_OK);
	for (i = 0; i < (JOURNAL_LAG_BYTES >> 20) + 8; i++)
		assert_int_equal(journal_append(journal_play.j, JOURNAL_PAGES, 4, pages,
						sizeof(pages), &err),
				 RC_OK);
	assert_int_equal(journal_sync(journal_play.j, &err), RC_OK);
	assert_non_null(strstr(copies_health().copy[1].why, "fell behind"));
	fault_hold(2, false);
	copies_wait_for_good(3);
	assert_true(is_synced(path));
	copies_become_the_same();
}

/* Those that hang are named, and nobody waits for them for ever. */
static void who_ends_does_not_wait_for_a_disk_that_hangs(void **state)
{
	atomic_bool stop = false;
	struct journal_health health;
	struct err err;

	(void)state;
	journal_play.place.stop = &stop;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 3);
	fault_hold(1, true);
	fault_hold(3, true);
	atomic_store(&stop, true);
	assert_int_equal(journal_fixture_write(4, true, &err), RC_IO);
	health = copies_health();
	fault_hold(1, false);
	fault_hold(3, false);
	assert_non_null(strstr(err.text, "below its quorum: 1 of 3"));
	assert_true(health.good == 1 && health.copy[1].state == JOURNAL_COPY_GOOD);
	assert_non_null(strstr(health.copy[0].why, "does not answer"));
	assert_non_null(strstr(health.copy[2].why, journal_play.path[2]));
	journal_fixture_close();
	journal_play.place.stop = NULL;
	copies_open();
	assert_true(journal_play.seen >= 3);
	copies_become_the_same();
}

/* As it does what it was given, it is good again. */
static void a_disk_that_does_not_answer_is_told(void **state)
{
	struct journal_health health;

	(void)state;
	journal_play.place.silent_ms = 1;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 3);
	fault_hold(2, true);
	journal_fixture_write_all(4, 4);
	do {
		health = copies_health();
	} while (health.copy[1].state == JOURNAL_COPY_GOOD || health.good < 2);
	assert_non_null(strstr(health.copy[1].why, "does not answer"));
	assert_non_null(strstr(health.copy[1].why, journal_play.path[1]));
	fault_hold(2, false);
	copies_wait_for_good(3);
	assert_string_equal(copies_health().copy[1].why, "");
	copies_become_the_same();
}

static void let_go_if_told(void *owner)
{
	bool *told = owner;

	if (journal_play.j == NULL || copies_health().good > 1)
		return;
	*told = true;
	fault_hold(2, false);
	fault_hold(3, false);
}

static void who_waits_for_them_can_tell_it(void **state)
{
	bool told = false;

	(void)state;
	journal_play.place.silent_ms = 1;
	journal_play.place.on_wait = let_go_if_told;
	journal_play.place.owner = &told;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 3);
	fault_hold(2, true);
	fault_hold(3, true);
	journal_fixture_write_all(4, 4);
	assert_true(told);
	copies_become_the_same();
}

static void a_directory_that_is_removed_is_noticed_where_nothing_is_written(void **state)
{
	(void)state;
	copies_open();
	copies_wait_for_good(3);
	copies_take_away(2);
	while (copies_health().copy[2].state == JOURNAL_COPY_GOOD)
		(void)usleep(1000);
	assert_non_null(strstr(copies_health().copy[2].why, "the directory has been removed"));
	copies_bring_back(2);
}

static bool make_room(void *owner)
{
	unsigned count;
	struct err err;

	(void)owner;
	return journal_trim(journal_play.j, journal_play.found.base, &count, &err) == RC_OK &&
	       count > 0;
}

static void nobody_waits_for_what_a_full_disk_removes(void **state)
{
	(void)state;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, 18);
	journal_fixture_close();
	copies_open();
	copies_wait_for_good(3);
	journal_set_room(journal_play.j, make_room, NULL);
	atomic_store(&removing, true);
	fault_arm_at(FAULT_WRITE, 2, 2, false); /* which is an ENOSPC */
	while (atomic_load(&removed) < 2 && !atomic_load(&blocked)) {
		if (journal_play.acknowledged < 30)
			journal_fixture_write_all(journal_play.acknowledged + 1,
						  journal_play.acknowledged + 1);
		(void)copies_health();
		(void)atomic_fetch_add(&asked, 1);
	}
	atomic_store(&removing, false);
	assert_false(atomic_load(&blocked));
	copies_become_the_same();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, copies_begin, copies_end)
	const struct CMUnitTest tests[] = {
		TEST(without_a_quorum_nothing_gives_way),
		TEST(what_was_written_and_not_synced_is_synced),
		TEST(who_ends_does_not_wait_for_a_disk_that_hangs),
		TEST(a_disk_that_does_not_answer_is_told),
		TEST(who_waits_for_them_can_tell_it),
		TEST(a_directory_that_is_removed_is_noticed_where_nothing_is_written),
		TEST(nobody_waits_for_what_a_full_disk_removes),
	};

	(void)setenv("TMPDIR", "/dev/shm", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
