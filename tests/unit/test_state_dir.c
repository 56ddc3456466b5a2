/* The standby's directory: one process at a time, and known in advance when it cannot be used. */
#include "appliance/base/lock_file.h"
#include "appliance/base/mem.h"
#include "appliance/state_dir.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char parent[SCRATCH_MAX], dir[SCRATCH_MAX + 16], lock_path[SCRATCH_MAX + 32];

static int setup(void **state)
{
	(void)state;
	assert_int_equal(scratch_make(parent, "state"), 0);
	(void)snprintf(dir, sizeof(dir), "%s/state", parent);
	(void)snprintf(lock_path, sizeof(lock_path), "%s/.lock", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)unlink(lock_path);
	(void)rmdir(dir);
	(void)unlink(dir);
	assert_int_equal(rmdir(parent), 0);
	return 0;
}

static void one_process_has_it_and_another_is_told_which(void **state)
{
	int lock, again, told[2];
	char expected[160], text[ERR_TEXT_MAX] = "";
	struct err err = { 0 };
	pid_t other;

	(void)state;
	assert_int_equal(state_dir_take(dir, &lock, &err), RC_OK);
	assert_int_equal(pipe(told), 0);
	other = fork();
	if (other == 0) {
		int rc = state_dir_take(dir, &again, &err);

		(void)!write(told[1], err.text, strlen(err.text));
		_exit(rc == RC_STATE && again == -1 ? 0 : 1);
	}
	int status;

	assert_int_equal(waitpid(other, &status, 0), other);
	assert_int_equal(status, 0);
	assert_true(read(told[0], text, sizeof(text) - 1) > 0);
	(void)snprintf(expected, sizeof(expected), "%s: process %d has it", dir, (int)getpid());
	assert_memory_equal(text, expected, strlen(expected));
	state_dir_let_go(lock);
	assert_int_equal(state_dir_take(dir, &lock, &err), RC_OK);
	state_dir_let_go(lock);
	(void)close(told[0]);
	(void)close(told[1]);
}

static void the_lock_ends_with_its_process(void **state)
{
	struct err err;
	pid_t other;
	int lock;

	(void)state;
	other = fork();
	if (other == 0)
		_exit(state_dir_take(dir, &lock, &err));
	assert_int_equal(waitpid(other, NULL, 0), other);
	assert_int_equal(state_dir_take(dir, &lock, &err), RC_OK);
	state_dir_let_go(lock);
}

/* Of a version before, whose lock file had a name that an instance may have. */
static void an_old_lock_file_is_in_the_way_only_while_it_is_held(void **state)
{
	char old[SCRATCH_MAX + 32];
	struct err err;
	pid_t holder;
	int held, lock;

	(void)state;
	(void)snprintf(old, sizeof(old), "%s/lock", dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(lock_file_take(old, &held, &holder, &err), RC_OK);
	assert_int_equal(state_dir_take(dir, &lock, &err), RC_STATE);
	assert_int_equal(lock, LOCK_FILE_NONE);
	assert_non_null(strstr(err.text, "one standby at a time can"));
	lock_file_let_go(held);
	assert_int_equal(state_dir_take(dir, &lock, &err), RC_OK);
	state_dir_let_go(lock);
	assert_int_not_equal(access(old, F_OK), 0);
}

static void an_instance_may_be_called_lock(void **state)
{
	char instance[SCRATCH_MAX + 32];
	struct err err;
	int lock;

	(void)state;
	(void)snprintf(instance, sizeof(instance), "%s/lock", dir);
	assert_int_equal(state_dir_take(dir, &lock, &err), RC_OK);
	assert_int_equal(mkdir(instance, 0700), 0);
	state_dir_let_go(lock);
	assert_int_equal(state_dir_take(dir, &lock, &err), RC_OK);
	state_dir_let_go(lock);
	assert_int_equal(rmdir(instance), 0);
}

static void trying_leaves_nothing_behind(void **state)
{
	struct stat st;
	struct err err;
	bool lasting, full;

	(void)state;
	assert_int_equal(state_dir_try(dir, &lasting, &full, &err), RC_OK);
	assert_int_not_equal(stat(dir, &st), 0);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(state_dir_try(dir, &lasting, &full, &err), RC_OK);
	assert_int_equal(rmdir(dir), 0); /* it is there, and empty */
}

static void what_cannot_be_used_is_named(void **state)
{
	char deep[120];
	struct err err;
	bool lasting, full;
	FILE *f;

	(void)state;
	assert_int_equal(state_dir_try("/proc/x", &lasting, &full, &err), RC_IO);
	assert_string_equal(err.text, "/proc/x: cannot be made: No such file or directory");
	assert_int_equal(state_dir_try("/proc", &lasting, &full, &err), RC_IO);
	assert_non_null(strstr(err.text, "/proc: making a file there"));
	(void)snprintf(deep, sizeof(deep), "%s/no/where", dir);
	assert_int_equal(state_dir_try(deep, &lasting, &full, &err), RC_IO);
	f = fopen(dir, "w");
	assert_non_null(f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(state_dir_try(dir, &lasting, &full, &err), RC_REFUSED);
	assert_non_null(strstr(err.text, "is no directory"));
}

/* Who may write there decides who serves. */
static void one_that_others_may_write_to_is_refused(void **state)
{
	static const mode_t modes[] = { 0777, 01777, 0770 };
	struct err err;
	bool lasting, full;
	int lock;

	(void)state;
	assert_int_equal(mkdir(dir, 0700), 0);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		assert_int_equal(chmod(dir, modes[i]), 0);
		assert_int_equal(state_dir_try(dir, &lasting, &full, &err), RC_REFUSED);
		assert_false(full);
		assert_non_null(strstr(err.text, "others may write to this directory"));
		assert_int_equal(state_dir_take(dir, &lock, &err), RC_REFUSED);
		assert_non_null(strstr(err.text, "chmod 700 it"));
	}
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(state_dir_try(dir, &lasting, &full, &err), RC_OK);
	if (geteuid() != 0 || chown(dir, 1, 1) != 0)
		return; /* only root gives a directory away */
	assert_int_equal(state_dir_try(dir, &lasting, &full, &err), RC_REFUSED);
	assert_non_null(strstr(err.text, "belongs to another user (uid 1)"));
	assert_int_equal(state_dir_take(dir, &lock, &err), RC_REFUSED);
}

static void a_full_one_is_told_apart_if_it_was_there(void **state)
{
	struct err err;
	bool lasting, full;

	(void)state;
	fault_arm(FAULT_WRITE, 1);
	assert_int_equal(state_dir_try(dir, &lasting, &full, &err), RC_IO);
	assert_false(full); /* nothing can have been kept there */
	assert_int_equal(mkdir(dir, 0700), 0);
	fault_arm(FAULT_WRITE, 1);
	assert_int_equal(state_dir_try(dir, &lasting, &full, &err), RC_IO);
	assert_true(full);
	assert_non_null(strstr(err.text, dir));
	fault_arm(FAULT_FSYNC, 1); /* a bad disk */
	assert_int_equal(state_dir_try(dir, &lasting, &full, &err), RC_IO);
	assert_false(full);
	fault_arm(FAULT_FSYNC, 0);
	assert_int_equal(state_dir_try(dir, &lasting, &full, &err), RC_OK);
	assert_false(full);
}

static void a_tmpfs_does_not_last(void **state)
{
	struct err err;
	bool lasting, full;

	(void)state;
	if (access("/dev/shm", W_OK) != 0)
		skip();
	assert_int_equal(state_dir_try("/dev/shm/test-state-dir", &lasting, &full, &err), RC_OK);
	assert_false(lasting);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CLAIM(one_process_has_it_and_another_is_told_which),
		CLAIM(the_lock_ends_with_its_process),
		CLAIM(an_old_lock_file_is_in_the_way_only_while_it_is_held),
		CLAIM(an_instance_may_be_called_lock),
		CLAIM(trying_leaves_nothing_behind),
		CLAIM(what_cannot_be_used_is_named),
		CLAIM(one_that_others_may_write_to_is_refused),
		CLAIM(a_full_one_is_told_apart_if_it_was_there),
		CLAIM(a_tmpfs_does_not_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
