/* Room for a memory image: what is refused at once, what is only told, and what an error says. */
#include "replica/image_room.h"

#include "tests/unit/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)
#define FREE(size) (&(struct image_room){ .bytes = (size) })

static void a_full_directory_is_refused_with_what_is_needed_and_free(void **state)
{
	struct err err;
	bool tight;

	(void)state;
	assert_int_equal(image_room_judge("/m/vm1", 8192 * MIB, 0, FREE(100 * MIB), &tight, &err),
			 RC_LIMIT);
	assert_string_equal(err.text,
			    "memory_dir: /m/vm1: no room for the instance's memory: 8192 MiB "
			    "needed, 100 MiB free");
	assert_int_equal(image_room_judge("/m", MIB, 0, FREE(0), &tight, &err), RC_LIMIT);
}

static void images_are_sparse_so_less_than_the_whole_is_only_told(void **state)
{
	struct err err;
	bool tight;

	(void)state;
	assert_int_equal(image_room_judge("/m", 8192 * MIB, 0, FREE(128 * MIB), &tight, &err),
			 RC_OK);
	assert_true(tight);
	assert_int_equal(image_room_judge("/m", 8192 * MIB, 0, FREE(8192 * MIB), &tight, &err),
			 RC_OK);
	assert_false(tight);
}

static void what_is_stored_already_needs_no_room(void **state)
{
	struct err err;
	bool tight;

	(void)state;
	assert_int_equal(image_room_judge("/m", 256 * MIB, 256 * MIB, FREE(0), &tight, &err),
			 RC_OK);
	assert_false(tight);
	assert_int_equal(image_room_judge("/m", 256 * MIB, 192 * MIB, FREE(0), &tight, &err),
			 RC_LIMIT);
	assert_non_null(strstr(err.text, "64 MiB needed, 0 MiB free"));
}

static void a_failed_write_tells_directory_and_sizes(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(image_room_error("/m/pc%2eram", ENOSPC, 256 * MIB, 60 * MIB, &err), RC_IO);
	assert_non_null(strstr(err.text, "memory_dir: /m/pc%2eram: 60 of 256 MiB stored"));
	assert_non_null(strstr(err.text, "No space left on device"));
}

static void no_file_system_has_room_for_everything(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(image_room_check("/", UINT64_MAX, 0, &err), RC_LIMIT);
	assert_int_equal(image_room_check("/", 4096, 4096, &err), RC_OK);
}

/* In a process and with mounts of its own, on a tmpfs that says that it has more than any machine. */
static int try_large_tmpfs(const char *dir)
{
	struct image_room room;
	struct err err;

	if (unshare(CLONE_NEWNS | (geteuid() != 0 ? CLONE_NEWUSER : 0)) != 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", dir, "tmpfs", 0, "size=4096T") != 0)
		return 255;
	room = image_room_of(dir);
	if (!room.of_machine || room.bytes >= 1024 * 1024 * 1024 * MIB)
		return 1;
	if (image_room_check(dir, 1024 * 1024 * 1024 * MIB, 0, &err) != RC_LIMIT)
		return 2;
	return strstr(err.text, " MiB of this machine's memory available") != NULL ? 0 : 3;
}

static void a_tmpfs_has_no_more_than_the_machine(void **state)
{
	char dir[SCRATCH_MAX];
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(scratch_make(dir, "tmpfs"), 0);
	pid = fork();
	if (pid == 0)
		_exit(try_large_tmpfs(dir));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(rmdir(dir), 0);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 255) {
		print_message("no mount namespaces here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void room_is_low_below_a_share_of_what_may_still_be_needed(void **state)
{
	(void)state;
	assert_false(image_room_is_low(256 * MIB, 64 * MIB, 24 * MIB));
	assert_true(image_room_is_low(256 * MIB, 64 * MIB, 24 * MIB - 1));
	assert_false(image_room_is_low(256 * MIB, 256 * MIB, 0)); /* it has all of it */
	assert_false(image_room_is_low(256 * MIB, 300 * MIB, 0));
	assert_false(image_room_is_low(8192 * MIB, 0, UINT64_MAX)); /* no limit is known */
}

static void a_look_adds_up_what_the_images_in_a_directory_may_need(void **state)
{
	char dir[SCRATCH_MAX], path[SCRATCH_MAX + 16], lock[SCRATCH_MAX + 16];
	struct err err = { 0 };
	int fd;

	(void)state;
	assert_int_equal(scratch_make(dir, "room"), 0);
	(void)snprintf(path, sizeof(path), "%s/pc%%2eram", dir);
	(void)snprintf(lock, sizeof(lock), "%s/.lock", dir);
	assert_int_equal(image_room_look(dir, &err), RC_OK);
	fd = open(lock, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0 && ftruncate(fd, (off_t)(UINT64_C(8) << 40)) == 0);
	assert_int_equal(close(fd), 0);
	assert_int_equal(image_room_look(dir, &err), RC_OK); /* no image */
	assert_int_equal(rename(lock, path), 0);
	assert_int_equal(image_room_look(dir, &err), RC_LIMIT);
	assert_memory_equal(err.text, "memory_dir: ", 12);
	assert_non_null(strstr(err.text, dir));
	assert_non_null(
		strstr(err.text, " MiB free, and the replica may come to need 8388608 MiB"));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(image_room_look(dir, &err), RC_OK); /* there is none */
}

static void a_bus_error_tells_file_and_room_in_front_of_the_end(void **state)
{
	struct err err;

	(void)state;
	(void)err_set(&err, RC_CLOSED, "qemu was ended by signal 7 (Bus error)");
	assert_int_equal(image_room_bus_error("/", &err), RC_CLOSED);
	assert_memory_equal(err.text, "memory_dir: /: no storage for another page, ", 44);
	assert_non_null(strstr(err.text, " MiB free: qemu was ended by signal 7"));
	(void)err_set(&err, RC_CLOSED, "ended");
	(void)image_room_bus_error("/nowhere", &err);
	assert_string_equal(err.text, "memory_dir: /nowhere: no storage for another page: ended");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_directory_is_refused_with_what_is_needed_and_free),
		cmocka_unit_test(images_are_sparse_so_less_than_the_whole_is_only_told),
		cmocka_unit_test(what_is_stored_already_needs_no_room),
		cmocka_unit_test(a_failed_write_tells_directory_and_sizes),
		cmocka_unit_test(a_tmpfs_has_no_more_than_the_machine),
		cmocka_unit_test(room_is_low_below_a_share_of_what_may_still_be_needed),
		cmocka_unit_test(a_look_adds_up_what_the_images_in_a_directory_may_need),
		cmocka_unit_test(a_bus_error_tells_file_and_room_in_front_of_the_end),
		cmocka_unit_test(no_file_system_has_room_for_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
