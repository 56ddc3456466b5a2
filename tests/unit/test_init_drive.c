/* Devices are files here, and the kernel's list of them a directory with their names. */
#include "appliance/init_drive.h"

#include "appliance/base/mem.h"
#include "tests/unit/scratch.h"
#include "tests/unit/volumes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH_SIZE (SCRATCH_MAX + 64)

static char dir[SCRATCH_MAX];
static uint8_t bytes[VOLUMES_BYTES];
static struct init_drive drive;
static struct err err;

static int set_up(void **state)
{
	(void)state;
	memset(bytes, 0, sizeof(bytes));
	return scratch_make(dir, "drives");
}

static int tear_down(void **state)
{
	char command[PATH_SIZE];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command); /* NOLINT(cert-env33-c): a path of our own */
}

static const char *path_of(const char *name)
{
	static char path[PATH_SIZE];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

/* A device with what is in `bytes`, whole from the first moment. */
static void attach(const char *name)
{
	char path[PATH_SIZE];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/.new", dir);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, sizeof(bytes), file), sizeof(bytes));
	assert_int_equal(fclose(file), 0);
	assert_int_equal(rename(path, path_of(name)), 0);
}

static int find(uint32_t within_ms)
{
	return init_drive_find(&drive, dir, dir, within_ms, &err);
}

static void the_one_with_the_label_is_found(void **state)
{
	(void)state;
	attach("vda");
	volumes_put_iso9660(bytes, "SOMETHING ELSE");
	attach("sr0");
	memset(bytes, 0, sizeof(bytes));
	volumes_put_fat32(bytes, "NO NAME", "Understudy");
	attach("sdb1");
	assert_int_equal(mkdir(path_of("loop0"), 0700),
			 0); /* cannot be read, as an empty CD drive */
	assert_int_equal(find(0), RC_OK);
	assert_string_equal(drive.device, "sdb1");
	assert_string_equal(drive.type, "vfat");
}

static void without_one_it_says_so(void **state)
{
	(void)state;
	attach("vda");
	assert_int_equal(find(0), RC_STATE);
	assert_non_null(strstr(err.text, "UNDERSTUDY"));
	assert_int_equal(init_drive_find(&drive, "/nowhere", "/nowhere", 0, &err), RC_STATE);
}

static void two_are_refused_by_their_names(void **state)
{
	(void)state;
	volumes_put_iso9660(bytes, "UNDERSTUDY");
	attach("sr0");
	attach("vdb");
	assert_int_equal(find(0), RC_REFUSED);
	assert_non_null(strstr(err.text, "sr0"));
	assert_non_null(strstr(err.text, "vdb"));
}

/* Of what the kernel has of it, in another directory than the devices'. */
static void set_flag(const char *device, const char *flag)
{
	char path[PATH_SIZE];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/list/%s", dir, device);
	assert_int_equal(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/list/%s/%s", dir, device, flag);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs("1\n", file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void one_that_cannot_be_written_to_comes_before_what_a_guest_may_have_labelled(void **state)
{
	static const char *const flags[] = { "ro", "removable" };
	char list[PATH_SIZE];

	(void)state;
	(void)snprintf(list, sizeof(list), "%s", path_of("list"));
	volumes_put_iso9660(bytes, "UNDERSTUDY");
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		assert_int_equal(mkdir(list, 0700), 0);
		attach("vdb");
		set_flag("vdb", "some");
		attach("vdc");
		set_flag("vdc", flags[i]);
		assert_int_equal(init_drive_find(&drive, list, dir, 0, &err), RC_OK);
		assert_string_equal(drive.device, "vdc");
		assert_string_equal(drive.unused, "vdb");
		/* Two that a guest may have labelled do not matter either; two that it may not have do. */
		attach("vdd");
		set_flag("vdd", "some");
		assert_int_equal(init_drive_find(&drive, list, dir, 0, &err), RC_OK);
		attach("vde");
		set_flag("vde", "ro");
		assert_int_equal(init_drive_find(&drive, list, dir, 0, &err), RC_REFUSED);
		assert_int_equal(tear_down(NULL) || set_up(NULL), 0);
		volumes_put_iso9660(bytes, "UNDERSTUDY");
		(void)snprintf(list, sizeof(list), "%s", path_of("list"));
	}
}

static void the_second_of_two_may_appear_later(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	volumes_put_iso9660(bytes, "UNDERSTUDY");
	attach("sda");
	pid = fork();
	if (pid == 0) {
		attach("sdb");
		_exit(0);
	}
	assert_int_equal(find(60000), RC_REFUSED);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void one_that_appears_later_is_waited_for(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	volumes_put_iso9660(bytes, "UNDERSTUDY");
	pid = fork();
	if (pid == 0) {
		(void)usleep(200000); /* whenever it is */
		attach("sda");
		_exit(0);
	}
	assert_int_equal(find(60000), RC_OK);
	assert_string_equal(drive.device, "sda");
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void without_memory_it_says_so(void **state)
{
	(void)state;
	fault_arm(FAULT_ALLOC, 1);
	assert_int_equal(find(1000), RC_NOMEM);
	fault_arm(FAULT_ALLOC, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_one_with_the_label_is_found, set_up, tear_down),
		cmocka_unit_test_setup_teardown(without_one_it_says_so, set_up, tear_down),
		cmocka_unit_test_setup_teardown(two_are_refused_by_their_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			one_that_cannot_be_written_to_comes_before_what_a_guest_may_have_labelled,
			set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_second_of_two_may_appear_later, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(one_that_appears_later_is_waited_for, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(without_memory_it_says_so, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
