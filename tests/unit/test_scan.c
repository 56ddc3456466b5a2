/* A look at a tree: all of it, each directory before what is in it, past what a path may have. */
#include "fs-watch/scan.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NAME "a-name-of-some-twenty"

struct found {
	unsigned dirs, files;
	size_t longest;
	int skip_fd; /* what is in the first directory is removed when it is found */
};

static bool on_entry(void *owner, struct scan_entry *entry)
{
	struct found *found = owner;
	const bool is_dir = S_ISDIR(entry->st.st_mode);

	assert_int_equal(is_dir, entry->fd >= 0);
	/* The tag is that of the directory it is in: set before. */
	assert_non_null(entry->dir_tag);
	entry->tag = owner;
	found->dirs += is_dir;
	found->files += !is_dir;
	if (strlen(entry->path) > found->longest)
		found->longest = strlen(entry->path);
	if (is_dir && found->skip_fd > 0)
		(void)unlinkat(entry->fd, "gone", 0);
	return true;
}

/* So many directories, each in the one before, with a file in the last: by steps, for no path is as long. */
static void make_deep(int top, unsigned depth)
{
	int dir = dup(top), next;

	for (unsigned i = 0; i < depth; i++) {
		assert_int_equal(mkdirat(dir, NAME, 0700), 0);
		next = openat(dir, NAME, O_RDONLY | O_DIRECTORY);
		assert_true(next >= 0);
		(void)close(dir);
		dir = next;
	}
	next = openat(dir, "file", O_WRONLY | O_CREAT, 0600);
	assert_true(next >= 0);
	(void)close(next);
	(void)close(dir);
}

static int open_scratch(char dir[SCRATCH_MAX])
{
	int fd;

	assert_int_equal(scratch_make(dir, "scan"), 0);
	fd = open(dir, O_RDONLY | O_DIRECTORY);
	assert_true(fd >= 0);
	return fd;
}

static void remove_scratch(const char *dir, int fd)
{
	const pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)execlp("rm", "rm", "-rf", dir, (char *)NULL);
		_exit(127);
	}
	(void)close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void a_path_past_what_the_kernel_takes_is_found(void **state)
{
	struct found found = { 0 };
	char dir[SCRATCH_MAX];
	const int fd = open_scratch(dir);
	struct err err;

	(void)state;
	make_deep(fd, 400);
	assert_int_equal(scan(fd, "x", &found, on_entry, &found, &err), RC_OK);
	assert_int_equal(found.dirs, 400);
	assert_int_equal(found.files, 1);
	assert_int_equal(found.longest, 1 + 400 * (1 + strlen(NAME)) + strlen("/file"));
	remove_scratch(dir, fd);
}

static void too_deep_a_tree_is_said_to_be(void **state)
{
	struct found found = { 0 };
	char dir[SCRATCH_MAX];
	const int fd = open_scratch(dir);
	struct err err;

	(void)state;
	make_deep(fd, 600);
	assert_int_equal(scan(fd, "", &found, on_entry, &found, &err), RC_LIMIT);
	assert_non_null(strstr(err.text, "directories deep"));
	remove_scratch(dir, fd);
}

static void what_vanishes_meanwhile_is_no_error(void **state)
{
	struct found found = { .skip_fd = 1 };
	char dir[SCRATCH_MAX];
	const int fd = open_scratch(dir);
	struct err err;
	int file;

	(void)state;
	assert_int_equal(mkdirat(fd, "d", 0700), 0);
	file = openat(fd, "d/gone", O_WRONLY | O_CREAT, 0600);
	assert_true(file >= 0);
	(void)close(file);
	assert_int_equal(scan(fd, "", &found, on_entry, &found, &err), RC_OK);
	assert_int_equal(found.dirs, 1);
	assert_int_equal(found.files, 0);
	remove_scratch(dir, fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_past_what_the_kernel_takes_is_found),
		cmocka_unit_test(too_deep_a_tree_is_said_to_be),
		cmocka_unit_test(what_vanishes_meanwhile_is_no_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
