#include "appliance/base/mem.h"
#include "replica/image_block.h"
#include "tests/unit/image_fixture.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define f image_fixture
#define HUGE_PAGES ((uint64_t)1024) /* 4 MiB: whole huge pages of x86-64 */

static void what_does_not_fit_in_memory_goes_to_a_file_that_has_no_name(void **state)
{
	int i;

	(void)state;
	image_fixture_make(3 * LAYOUT_PAGE);
	image_fixture_first_copy();
	for (i = 0; i < 50; i++) {
		pages_change(&f.guest, 400);
		image_fixture_capture(true);
		assert_int_equal(image_fixture_receive(), RC_OK);
		assert_true(image_staged(f.image) > 20 * LAYOUT_PAGE);
		assert_int_equal(rmdir(f.spill), 0); /* empty, although it is in use */
		assert_int_equal(mkdir(f.spill, 0700), 0);
		assert_int_equal(image_fixture_commit(), RC_OK);
		image_fixture_holds(f.guest.memory);
	}
}

static void a_full_or_missing_spill_directory_costs_the_epoch_and_nothing_else(void **state)
{
	uint8_t *before;
	unsigned long n;
	bool fired = true;

	(void)state;
	image_fixture_make(3 * LAYOUT_PAGE);
	image_fixture_first_copy();
	before = image_fixture_copy();
	memset(f.guest.dirty, true, GUEST_PAGES * sizeof(bool));
	pages_change(&f.guest, 100);
	image_fixture_capture(true);
	for (n = 1; fired; n += 1 + n / 3) {
		fault_arm(FAULT_WRITE, n);
		if (image_fixture_receive() == RC_OK)
			break;
		fired = fault_fired(FAULT_WRITE);
		assert_true(fired);
		assert_int_equal(f.err.code, RC_IO);
		assert_int_equal(image_fixture_commit(), RC_STATE);
		image_fixture_holds(before);
	}
	fault_arm(FAULT_WRITE, 0);
	assert_true(n > 10);
	image_abort(f.image);
	assert_int_equal(rmdir(f.spill), 0);
	assert_int_equal(image_fixture_receive(), RC_IO);
	image_abort(f.image);
	assert_int_equal(mkdir(f.spill, 0700), 0);
	assert_int_equal(image_fixture_receive(), RC_OK);
	image_fixture_holds(before);
	assert_int_equal(image_fixture_commit(), RC_OK);
	image_fixture_holds(f.guest.memory);
	free(before);
}

/* The file without a name, found among our open files; and what a bad disk does to it. */
static void damage_spill(bool truncate_it)
{
	char link[64], target[256];
	uint8_t byte;
	ssize_t len;
	int fd, file;

	for (fd = 3; fd < 1000; fd++) {
		(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		len = readlink(link, target, sizeof(target));
		if (len > (ssize_t)strlen(f.spill) && memcmp(target, f.spill, strlen(f.spill)) == 0)
			break;
	}
	assert_true(fd < 1000);
	file = open(link, O_RDWR | O_CLOEXEC);
	assert_true(file >= 0);
	if (truncate_it) {
		assert_int_equal(ftruncate(file, 9 * LAYOUT_PAGE), 0);
	} else {
		assert_int_equal(pread(file, &byte, 1, 9 * LAYOUT_PAGE + 77), 1);
		byte ^= 4;
		assert_int_equal(pwrite(file, &byte, 1, 9 * LAYOUT_PAGE + 77), 1);
	}
	(void)close(file);
}

static void spilled_pages_that_come_back_altered_are_noticed_in_time(void **state)
{
	uint8_t *before;

	(void)state;
	image_fixture_make(3 * LAYOUT_PAGE);
	image_fixture_first_copy();
	before = image_fixture_copy();
	pages_change(&f.guest, 500);
	image_fixture_capture(true);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(image_fixture_receive(), RC_OK);
		damage_spill(i == 1);
		assert_int_equal(image_fixture_commit(), RC_IO);
		assert_int_equal(image_epoch(f.image), 1);
		image_fixture_holds(before);
	}
	assert_int_equal(image_fixture_receive(), RC_OK);
	assert_int_equal(image_fixture_commit(), RC_OK);
	image_fixture_holds(f.guest.memory);
	free(before);
}

static void a_full_memory_file_system_fails_the_commit_and_changes_nothing(void **state)
{
	uint8_t *before;
	unsigned long n;

	(void)state;
	image_fixture_make(STAGING);
	image_fixture_capture(false); /* an empty first copy: every page is a hole */
	assert_int_equal(image_fixture_receive(), RC_OK);
	assert_int_equal(image_fixture_commit(), RC_OK);
	before = image_fixture_copy();
	pages_change(&f.guest, 400);
	image_fixture_capture(true);
	for (n = 1;; n++) {
		/* It has all storage from the tries before, but for one page more each time. */
		assert_int_equal(image_fixture_receive(), RC_OK);
		fault_arm(FAULT_WRITE, 1);
		if (image_fixture_commit() == RC_OK)
			break;
		assert_int_equal(f.err.code, RC_IO);
		image_fixture_holds(before);
		assert_int_equal(image_epoch(f.image), 1);
		fault_arm(FAULT_WRITE, 0);
		assert_int_equal(image_fixture_receive(), RC_OK);
		fault_arm(FAULT_WRITE, 2);
		if (image_fixture_commit() == RC_OK)
			break;
		image_fixture_holds(before);
	}
	fault_arm(FAULT_WRITE, 0);
	assert_true(n > 10);
	image_fixture_holds(f.guest.memory);
	free(before);
}

static void when_it_is_full_during_the_first_copy_there_is_no_epoch(void **state)
{
	(void)state;
	image_fixture_make(STAGING);
	pages_change(&f.guest, 400);
	image_fixture_capture(false);
	fault_arm(FAULT_WRITE, 20);
	assert_int_equal(image_fixture_receive(), RC_IO);
	assert_int_equal(image_fixture_commit(), RC_STATE);
	assert_int_equal(image_epoch(f.image), 0);
	assert_int_equal(image_fixture_receive(), RC_OK);
	assert_int_equal(image_fixture_commit(), RC_OK);
	image_fixture_holds(f.guest.memory);
}

static void a_guest_of_zeroes_takes_no_storage_and_looking_at_it_gives_it_none(void **state)
{
	uint64_t hashes[GUEST_PAGES], i;

	(void)state;
	image_fixture_make(STAGING);
	memset(f.guest.dirty, true, GUEST_PAGES * sizeof(bool));
	image_fixture_capture(false);
	assert_int_equal(f.epoch.pages, GUEST_PAGES);
	assert_int_equal(image_fixture_receive(), RC_OK);
	assert_int_equal(image_fixture_commit(), RC_OK);
	image_fixture_holds(f.guest.memory);
	image_hashes(f.image, 0, GUEST_PAGES, hashes);
	for (i = 0; i < GUEST_PAGES; i++)
		assert_true(hashes[i] == delta_content_hash(NULL));
	assert_int_equal(image_fixture_storage(), 0);
	pages_at(&f.guest, 17)[5] = 1;
	f.guest.dirty[17] = true;
	image_fixture_capture(true);
	assert_int_equal(f.stats.changed, 1);
	assert_int_equal(image_fixture_receive(), RC_OK);
	assert_int_equal(image_fixture_storage(), 0);
	assert_int_equal(image_fixture_commit(), RC_OK);
	assert_int_equal(image_fixture_storage(), 1);
	image_fixture_holds(f.guest.memory);
}

static void memory_that_the_guest_freed_and_cleared_is_given_back(void **state)
{
	(void)state;
	image_fixture_make(STAGING);
	for (uint64_t i = 0; i < GUEST_PAGES; i++)
		memset(pages_at(&f.guest, i), (int)(i % 255) + 1, LAYOUT_PAGE);
	memset(f.guest.dirty, true, GUEST_PAGES * sizeof(bool));
	image_fixture_capture(false);
	assert_int_equal(image_fixture_receive(), RC_OK);
	assert_int_equal(image_fixture_commit(), RC_OK);
	assert_int_equal(image_fixture_storage(), RAM_PAGES);
	/* All but three pages of the file, and the blocks behind it. */
	for (uint64_t i = 0; i < GUEST_PAGES; i++) {
		f.guest.dirty[i] = i != 0 && i != 5 && i != 300;
		if (f.guest.dirty[i])
			memset(pages_at(&f.guest, i), 0, LAYOUT_PAGE);
	}
	image_fixture_capture(true);
	assert_int_equal(image_fixture_receive(), RC_OK);
	assert_int_equal(image_fixture_commit(), RC_OK);
	image_fixture_holds(f.guest.memory);
	assert_int_equal(image_fixture_storage(),
			 3 + 4); /* the four between pages 0 and 5 are not worth a hole */
	pages_change(&f.guest, 2000);
	image_fixture_capture(true);
	assert_int_equal(image_fixture_receive(), RC_OK);
	assert_int_equal(image_fixture_commit(), RC_OK);
	image_fixture_holds(f.guest.memory);
}

static void a_kept_image_is_found_again_with_its_pages_but_without_an_epoch(void **state)
{
	uint64_t hashes[GUEST_PAGES], blocks, i;

	(void)state;
	image_fixture_make(STAGING);
	assert_false(image_was_reopened(f.image));
	image_fixture_first_copy();
	blocks = image_fixture_storage();
	image_destroy(f.image, true);
	image_fixture_make(STAGING);
	assert_true(image_was_reopened(f.image));
	assert_int_equal(image_epoch(f.image), 0);
	image_hashes(f.image, 0, GUEST_PAGES, hashes);
	for (i = 0; i < RAM_PAGES; i++)
		assert_true(hashes[i] == delta_content_hash(pages_at(&f.guest, i)));
	for (; i < GUEST_PAGES; i++)
		assert_true(hashes[i] == delta_content_hash(NULL));
	assert_int_equal(image_fixture_storage(), blocks);
	/* A resync onto it. */
	delta_state_forget(f.sender);
	delta_state_learn(f.sender, 0, hashes, GUEST_PAGES);
	f.stats = (struct delta_stats){ 0 };
	pages_change(&f.guest, 50);
	memset(f.guest.dirty, true, GUEST_PAGES * sizeof(bool));
	image_fixture_capture(false);
	assert_int_equal(image_fixture_receive(), RC_OK);
	assert_int_equal(image_fixture_commit(), RC_OK);
	image_fixture_holds(f.guest.memory);
	assert_true(f.stats.unchanged > RAM_PAGES / 2);
}

static void a_file_of_another_size_is_made_anew(void **state)
{
	int fd;

	(void)state;
	image_fixture_make(STAGING);
	image_fixture_first_copy();
	image_destroy(f.image, true);
	fd = open(f.shared.path, O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(write(fd, "x", 1), 1);
	(void)close(fd);
	image_fixture_make(STAGING);
	assert_false(image_was_reopened(f.image));
	assert_int_equal(image_fixture_storage(), 0);
	assert_memory_equal(image_page(f.image, 0), image_page(f.image, RAM_PAGES), LAYOUT_PAGE);
}

/* A process that inherited the lock, as a QEMU does; it ends when its standard input does. */
static pid_t start_holder(int lock, int *end)
{
	int pipes[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	if (pid == 0) {
		(void)close(pipes[1]);
		(void)!read(pipes[0], &c, 1);
		_exit(lock < 0);
	}
	(void)close(pipes[0]);
	*end = pipes[1];
	return pid;
}

static void an_image_is_locked_for_as_long_as_somebody_may_have_it_mapped(void **state)
{
	struct image_shared again = f.shared;
	struct image *other = NULL;
	char expected[64];
	pid_t pid;
	int end;

	(void)state;
	image_fixture_make(STAGING);
	image_fixture_first_copy();
	assert_int_equal(image_create(&other, f.dir, f.spill, &again, 1, STAGING, &f.err),
			 RC_REFUSED);
	pid = start_holder(image_lock(f.image), &end);
	image_held_by(f.image, pid);
	image_destroy(f.image, true);
	/* Nobody who could make it anew, be it smaller, larger or the same. */
	for (int i = -1; i < 2; i++) {
		again.bytes = f.shared.bytes + (uint64_t)((int64_t)LAYOUT_PAGE * i);
		assert_int_equal(image_create(&other, f.dir, f.spill, &again, 1, STAGING, &f.err),
				 RC_REFUSED);
		(void)snprintf(expected, sizeof(expected), "%s: in use by process %d", f.dir,
			       (int)pid);
		assert_non_null(strstr(f.err.text, expected));
		assert_non_null(strstr(f.err.text, "a memory_dir of its own"));
	}
	(void)close(end);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	image_fixture_make(STAGING);
	assert_true(image_was_reopened(f.image)); /* and whole */
	assert_memory_equal(image_page(f.image, 0), pages_at(&f.guest, 0), LAYOUT_PAGE);
}

static void what_is_not_our_file_is_refused(void **state)
{
	struct image_shared again = f.shared;
	struct image *other = NULL;
	char path[512], second[512];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/pc.ram", f.dir);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(image_create(&other, f.dir, f.spill, &again, 1, STAGING, &f.err), RC_IO);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(image_create(&other, f.dir, f.spill, &again, 1, STAGING, &f.err),
			 RC_REFUSED);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_not_equal(image_create(&other, f.dir, f.spill, &again, 1, STAGING, &f.err),
			     RC_OK);
	assert_int_equal(rmdir(path), 0);
	image_fixture_make(STAGING);
	image_destroy(f.image, true);
	f.image = NULL;
	(void)snprintf(second, sizeof(second), "%s/second", f.dir);
	assert_int_equal(link(path, second), 0);
	assert_int_equal(image_create(&other, f.dir, f.spill, &again, 1, STAGING, &f.err),
			 RC_REFUSED);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(unlink(second), 0);
	assert_int_equal(image_create(&other, "/nonexistent", f.spill, &again, 1, STAGING, &f.err),
			 RC_IO);
	assert_null(other);
	(void)snprintf(path, sizeof(path), "%s/.lock", f.dir);
	assert_int_equal(unlink(path), 0);
}

static void files_are_named_after_their_blocks_and_only_ours_may_read_them(void **state)
{
	struct image_shared two[2] = { { .name = "../0000:00:02.0/vga.vram", .bytes = 8192 },
				       { .name = ".", .bytes = 4096 } };
	char expected[256];
	struct stat st;

	(void)state;
	assert_int_equal(image_create(&f.image, f.dir, f.spill, two, 2, STAGING, &f.err), RC_OK);
	(void)snprintf(expected, sizeof(expected), "%s/%%2e.%%2f0000%%3a00%%3a02.0%%2fvga.vram",
		       f.dir);
	assert_string_equal(two[0].path, expected);
	(void)snprintf(expected, sizeof(expected), "%s/%%2e", f.dir);
	assert_string_equal(two[1].path, expected);
	assert_int_equal(stat(two[0].path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, 8192);
	image_destroy(f.image, true);
	assert_int_equal(chmod(two[0].path, 0644), 0);
	assert_int_equal(image_create(&f.image, f.dir, f.spill, two, 2, STAGING, &f.err), RC_OK);
	assert_int_equal(stat(two[0].path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

/* In a mount namespace of a child's own, which needs root. Its exit status: 0, or the line of what
 * was not so; 255: no hugetlbfs. */
static int reopen_on_hugetlbfs(const char *dir)
{
	struct image_block block;
	bool existed = true;
	struct err err;
	char path[128];

	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("none", dir, "hugetlbfs", 0, NULL) != 0)
		return 255;
	(void)snprintf(path, sizeof(path), "%s/block", dir);
	if (image_block_open(&block, path, HUGE_PAGES, &existed, &err) != RC_OK || existed)
		return 1;
	image_block_close(&block);
	if (image_block_open(&block, path, HUGE_PAGES, &existed, &err) != RC_OK || existed)
		return 2;
	if (image_block_stored(&block) != 0 || image_block_page(&block, 0) != NULL)
		return 3; /* reading it would be the end of this process: there are no huge pages */
	image_block_close(&block);
	return 0;
}

static void a_file_on_hugetlbfs_is_made_anew_because_its_holes_cannot_be_told(void **state)
{
	char dir[SCRATCH_MAX];
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(scratch_make(dir, "huge"), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(reopen_on_hugetlbfs(dir));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(rmdir(dir), 0);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 255) {
		print_message("hugetlbfs cannot be mounted here (it takes root)\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, image_fixture_setup, image_fixture_teardown)
		TEST(what_does_not_fit_in_memory_goes_to_a_file_that_has_no_name),
		TEST(a_full_or_missing_spill_directory_costs_the_epoch_and_nothing_else),
		TEST(spilled_pages_that_come_back_altered_are_noticed_in_time),
		TEST(a_full_memory_file_system_fails_the_commit_and_changes_nothing),
		TEST(when_it_is_full_during_the_first_copy_there_is_no_epoch),
		TEST(a_guest_of_zeroes_takes_no_storage_and_looking_at_it_gives_it_none),
		TEST(memory_that_the_guest_freed_and_cleared_is_given_back),
		TEST(a_kept_image_is_found_again_with_its_pages_but_without_an_epoch),
		TEST(a_file_of_another_size_is_made_anew),
		TEST(a_file_on_hugetlbfs_is_made_anew_because_its_holes_cannot_be_told),
		TEST(an_image_is_locked_for_as_long_as_somebody_may_have_it_mapped),
		TEST(what_is_not_our_file_is_refused),
		TEST(files_are_named_after_their_blocks_and_only_ours_may_read_them),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
