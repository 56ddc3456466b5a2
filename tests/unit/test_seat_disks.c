/* Images for a copy of the replica: nothing that is not one is written over or removed, and none is left behind. */
#include "appliance/rewound.h"
#include "appliance/seat_disks.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DISK_BYTES ((uint64_t)8 * LAYOUT_PAGE)

static char name[] = "system", path[600];

static struct {
	char dir[SCRATCH_MAX], copies[600], link[640], copy[640], memory[64];
	struct config_disk disk;
	struct config_instance instance;
	struct cmdline_spec spec;
	struct image *image;
	struct err err;
} t;

static void make_image(void)
{
	struct image_shared shared = { .name = "pc.ram", .bytes = LAYOUT_PAGE };

	assert_int_equal(image_create(&t.image, t.memory, t.dir, &shared, 1, 1 << 20, &t.err),
			 RC_OK);
}

static int setup(void **state)
{
	(void)state;
	memset(&t, 0, sizeof(t));
	assert_int_equal(scratch_make(t.dir, "seat-disks"), 0);
	(void)snprintf(t.memory, sizeof(t.memory), "/dev/shm/seat-disks-XXXXXX");
	assert_non_null(mkdtemp(t.memory));
	(void)snprintf(t.copies, sizeof(t.copies), "%s/rewound", t.dir);
	(void)snprintf(t.link, sizeof(t.link), "%s/system.disk", t.copies);
	(void)snprintf(path, sizeof(path), "%s/d.raw", t.dir);
	(void)snprintf(t.copy, sizeof(t.copy), "%s" SEAT_DISKS_COPY, path);
	assert_int_equal(mkdir(t.copies, 0700), 0);
	t.disk = (struct config_disk){ .name = name, .path = path };
	t.instance.disks = &t.disk;
	t.instance.ndisks = 1;
	t.spec.ndisks = 1;
	t.spec.disks[0] = (struct cmdline_disk){ .name = "system",
						 .file = "system.disk",
						 .bytes = DISK_BYTES };
	make_image();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	image_destroy(t.image, false);
	(void)unlink(t.link);
	(void)unlink(t.copy);
	assert_int_equal(rmdir(t.copies), 0);
	assert_int_equal(rmdir(t.dir), 0);
	assert_int_equal(rmdir(t.memory), 0);
	return 0;
}

static int add_copies(void)
{
	return seat_disks_add_copies(t.image, &t.instance, &t.spec, t.copies, &t.err);
}

static void write_file(const char *at)
{
	int fd = open(at, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, "mine", 4), 4);
	assert_int_equal(close(fd), 0);
}

static off_t size_of(const char *at)
{
	struct stat st;

	return stat(at, &st) == 0 ? st.st_size : -1;
}

static void what_no_link_names_is_somebodys(void **state)
{
	(void)state;
	write_file(t.copy);
	assert_int_equal(add_copies(), RC_REFUSED);
	assert_non_null(strstr(t.err.text, t.copy));
	assert_int_equal(size_of(t.copy), 4);
	seat_disks_remove_copies(t.copies);
	assert_int_equal(size_of(t.copy), 4);
}

static void a_copy_that_was_left_makes_way(void **state)
{
	(void)state;
	assert_int_equal(symlink(t.copy, t.link), 0); /* as far as one came that was killed */
	write_file(t.copy);
	assert_int_equal(add_copies(), RC_OK);
	assert_int_equal(size_of(t.copy), DISK_BYTES);
	assert_int_equal(size_of(t.link), DISK_BYTES);
	seat_disks_remove_copies(t.copies);
	assert_int_equal(size_of(t.copy), -1);
	assert_int_not_equal(access(t.link, F_OK), 0);
}

static void after_a_reboot_it_goes_although_its_memory_is_gone(void **state)
{
	(void)state;
	assert_int_equal(add_copies(), RC_OK);
	image_destroy(t.image, false);
	rewound_clear("test", t.dir, "/dev/shm/nothing-is-there");
	assert_int_equal(size_of(t.copy), -1);
	make_image();
}

static void a_file_that_is_gone_says_more_than_qemu(void **state)
{
	const struct err qemus = { .code = RC_CLOSED, .text = "Could not open 'system.disk'" };
	struct err own;

	(void)state;
	assert_int_equal(seat_disks_add(t.image, &t.instance, &t.spec, t.dir, &t.err), RC_OK);
	assert_ptr_equal(seat_disks_explain(t.image, &t.instance, &qemus, &own), &qemus);
	assert_ptr_equal(seat_disks_explain(NULL, &t.instance, &qemus, &own), &qemus);
	assert_int_equal(unlink(path), 0);
	assert_ptr_equal(seat_disks_explain(t.image, &t.instance, &qemus, &own), &own);
	assert_non_null(strstr(own.text, path));
	(void)snprintf(t.link, sizeof(t.link), "%s/system.disk", t.dir);
}

static void a_target_that_does_not_answer_is_named(void **state)
{
	static char target[] = "{\"driver\":\"nbd\"}";
	struct err late = { .code = RC_TIMEOUT, .text = "QEMU was not ready in time" }, own;

	(void)state;
	assert_ptr_equal(seat_disks_explain(NULL, &t.instance, &late, &own), &late);
	t.disk = (struct config_disk){ .name = name, .target = target };
	assert_ptr_equal(seat_disks_explain(NULL, &t.instance, &late, &own), &own);
	assert_string_equal(
		own.text,
		"QEMU was not ready in time; it may wait for a target that does not answer: "
		"disk \"system\": {\"driver\":\"nbd\"}");
	assert_int_equal(own.code, RC_TIMEOUT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(what_no_link_names_is_somebodys),
		TEST(a_copy_that_was_left_makes_way),
		TEST(after_a_reboot_it_goes_although_its_memory_is_gone),
		TEST(a_file_that_is_gone_says_more_than_qemu),
		TEST(a_target_that_does_not_answer_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
