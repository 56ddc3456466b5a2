/*
 * What a power cut may take: all that was not synced, the names that their directory was not synced with, or either. At each
 * step of a journal's writer the directory is made as such a cut would leave it, and what was acknowledged has to be
 * there: no sync may be missing, or come too late.
 *
 * The calls of the journal that sync, or change names, are seen here first, because they are defined here.
 */
#include "tests/unit/journal_fixture.h"

#include <dirent.h>
#include <errno.h>
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

#define FILES_MAX 64	/* at a time */
#define INODES_MAX 512	/* in all */
#define BYTES_MAX 16384 /* of a file; segments are small here */

struct content {
	ino_t inode;
	size_t len;
	uint8_t bytes[BYTES_MAX];
};

struct names {
	struct {
		char name[64];
		ino_t inode;
	} of[FILES_MAX];
	size_t count;
};

/* What is on the disk for good. */
static struct content synced[INODES_MAX];
static size_t nsynced;
static struct names lasting;
static bool watching;
static unsigned cuts;

static const char *directory(void)
{
	return journal_play.path[0];
}

/* ---- the disk --------------------------------------------------------------------------------- */

static void list_names(struct names *names)
{
	DIR *dir = opendir(directory());
	struct dirent *entry;

	names->count = 0;
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lock") == 0)
			continue;
		assert_true(names->count < FILES_MAX);
		(void)snprintf(names->of[names->count].name, sizeof(names->of[0].name), "%.63s",
			       entry->d_name);
		names->of[names->count++].inode = entry->d_ino;
	}
	if (dir != NULL)
		(void)closedir(dir);
}

static void read_whole(struct content *content, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd >= 0 ? read(fd, content->bytes, BYTES_MAX) : 0;

	assert_true(got >= 0 && got < BYTES_MAX);
	content->len = (size_t)got;
	if (fd >= 0)
		(void)close(fd);
}

static struct content *content_of(ino_t inode)
{
	size_t i = 0;

	while (i < nsynced && synced[i].inode != inode)
		i++;
	return i < nsynced ? &synced[i] : NULL;
}

/* A file's bytes, or a directory's names, are on the disk. */
static void on_sync(int fd)
{
	struct content *content;
	struct stat st;
	char path[64];

	assert_int_equal(fstat(fd, &st), 0);
	if (S_ISDIR(st.st_mode)) {
		list_names(&lasting);
		return;
	}
	content = content_of(st.st_ino);
	if (content == NULL) {
		assert_true(nsynced < INODES_MAX);
		content = &synced[nsynced++];
		content->inode = st.st_ino;
	}
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_whole(content, path);
}

/* ---- the cut ---------------------------------------------------------------------------------- */

static void put(const char *name, const struct content *content)
{
	char path[SCRATCH_MAX + 80];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", journal_play.path[1], name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	if (content != NULL)
		assert_int_equal(write(fd, content->bytes, content->len), (ssize_t)content->len);
	(void)close(fd);
}

static void make_as_left(const struct names *names, bool all_bytes)
{
	static struct content now;
	char path[SCRATCH_MAX + 80];
	struct stat st;
	size_t i;

	journal_fixture_remove(1);
	assert_int_equal(mkdir(journal_play.path[1], 0700), 0);
	for (i = 0; i < names->count; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", directory(), names->of[i].name);
		if (all_bytes && stat(path, &st) == 0 && st.st_ino == names->of[i].inode) {
			read_whole(&now, path);
			put(names->of[i].name, &now);
		} else {
			put(names->of[i].name, content_of(names->of[i].inode));
		}
	}
}

static void recover(const char *what)
{
	const struct journal_play writer = journal_play;
	struct err err;

	journal_play.place.dirs[0] = journal_play.path[1];
	journal_play.j = NULL;
	if (journal_fixture_open(&err) != RC_OK)
		fail_msg("cut %u, %s: %s", cuts, what, err.text);
	if (journal_play.wrong || journal_play.seen < writer.acknowledged ||
	    journal_play.seen > writer.begun)
		fail_msg("cut %u, %s: epoch %llu, and %llu was acknowledged", cuts, what,
			 (unsigned long long)journal_play.seen,
			 (unsigned long long)writer.acknowledged);
	journal_fixture_close();
	journal_play = writer;
}

static void cut(void)
{
	const int reason = errno; /* of the call that this is behind */
	struct names now;

	if (!watching)
		return;
	watching = false;
	cuts++;
	list_names(&now);
	make_as_left(&lasting, false);
	recover("nothing that was not synced");
	make_as_left(&lasting, true);
	recover("all bytes, of names that were synced");
	make_as_left(&now, false);
	recover("all names, with bytes that were synced");
	make_as_left(&now, true);
	recover("all of it");
	watching = true;
	errno = reason;
}

int fdatasync(int fd)
{
	const int r = (int)syscall(SYS_fdatasync, fd);

	cut();
	if (watching)
		on_sync(fd);
	cut();
	return r;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	const int r = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);

	cut();
	return r;
}

int unlinkat(int dir, const char *name, int flags)
{
	const int r = (int)syscall(SYS_unlinkat, dir, name, flags);

	cut();
	return r;
}

int ftruncate(int fd, off_t length)
{
	const int r = (int)syscall(SYS_ftruncate, fd, length);

	cut();
	return r;
}

/* ---- tests ------------------------------------------------------------------------------------ */

static int end(void **state)
{
	watching = false;
	return journal_fixture_end(state);
}

static void open_it(void)
{
	struct err err;

	if (journal_fixture_open(&err) != RC_OK)
		fail_msg("%s", err.text);
}

static void no_cut_takes_what_was_acknowledged(void **state)
{
	unsigned removed;
	uint64_t last;
	struct err err;

	(void)state;
	watching = true;
	open_it();
	journal_fixture_write_all(1, 14);
	(void)journal_fixture_write(15, false, &err);
	(void)journal_fixture_write(16, false, &err);
	journal_fixture_close();
	open_it();
	last = journal_play.seen;
	journal_play.acknowledged = last; /* by who reads it and goes on from there */
	journal_fixture_write_all(last + 1, last + 8);
	journal_fixture_close();
	open_it();
	assert_int_equal(journal_trim(journal_play.j, journal_play.found.base, &removed, &err),
			 RC_OK);
	assert_true(removed > 2);
	journal_fixture_write_all(journal_play.seen + 1, journal_play.seen + 5);
	assert_true(cuts > 60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_cut_takes_what_was_acknowledged,
						journal_fixture_begin, end),
	};

	(void)setenv("TMPDIR", "/dev/shm", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
