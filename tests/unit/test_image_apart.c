/*
 * Two disks that are one store by two names are told, and nothing else is: of one image and of two, targets and files.
 */
#include "replica/image_apart.h"

#include "tests/unit/nbd_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct image_block blocks[3];
static const char *const names[] = { "system", "log" };
static char file[SCRATCH_MAX + 8];
static struct err err;

static void open_target(struct image_block *block)
{
	struct image_disk disk = { .name = "disk", .bytes = NBD_BYTES, .path = "the target" };
	bool existed;

	memcpy(disk.socket, nbd_fixture.socket, sizeof(nbd_fixture.socket));
	memcpy(disk.export, "disk0", 6);
	assert_int_equal(image_block_disk(block, &disk, &existed, &err), RC_OK);
}

static void open_file(struct image_block *block)
{
	struct image_disk disk = { .name = "disk", .bytes = NBD_BYTES };
	bool existed;

	memcpy(disk.path, file, sizeof(file));
	assert_int_equal(image_block_disk(block, &disk, &existed, &err), RC_OK);
}

static int setup(void **state)
{
	if (nbd_fixture_setup(state) != 0)
		return -1;
	(void)snprintf(file, sizeof(file), "%s.raw", nbd_fixture.socket);
	for (size_t i = 0; i < 3; i++)
		blocks[i] = (struct image_block){ .fd = -1 };
	memset(nbd_fixture.disk, 7, NBD_BYTES);
	return 0;
}

static int teardown(void **state)
{
	for (size_t i = 0; i < 3; i++)
		image_block_close(&blocks[i]);
	(void)unlink(file);
	return nbd_fixture_teardown(state);
}

static int look(size_t first, size_t count)
{
	struct image_block *const own[] = { &blocks[first], &blocks[first + 1] };

	return image_apart_look(own, names, count, &err);
}

static void holds_what_it_held(void)
{
	for (size_t i = 0; i < NBD_BYTES; i++)
		assert_int_equal(nbd_fixture.disk[i], 7);
}

static void two_targets_that_are_one(void **state)
{
	(void)state;
	open_target(&blocks[0]);
	open_target(&blocks[1]);
	assert_int_equal(look(0, 2), RC_REFUSED);
	assert_string_equal(
		err.text,
		"disk \"system\": what is written to it is in disk \"log\", too: they are one "
		"store by two names: give each disk a target, or a file, of its own");
	holds_what_it_held();
}

static void a_target_of_another_instance(void **state)
{
	(void)state;
	open_target(&blocks[0]);
	assert_int_equal(look(0, 1), RC_OK);
	assert_int_equal(blocks[0].disk->ready(&blocks[0], &err), RC_OK);
	open_target(&blocks[1]);
	assert_int_equal(look(1, 1), RC_REFUSED);
	assert_non_null(strstr(err.text, "in a disk of another instance, too"));
	holds_what_it_held();
	image_block_close(&blocks[0]); /* it is gone: there is one left */
	assert_int_equal(look(1, 1), RC_OK);
}

static void a_target_and_a_file_that_are_two(void **state)
{
	(void)state;
	open_target(&blocks[0]);
	open_file(&blocks[1]);
	assert_int_equal(look(0, 2), RC_OK);
	holds_what_it_held();
}

static void one_that_cannot_be_written(void **state)
{
	(void)state;
	open_target(&blocks[0]);
	open_file(&blocks[1]);
	atomic_store(&nbd_fixture.error, NBD_ENOSPC);
	assert_int_equal(look(0, 2), RC_IO);
	assert_string_equal(err.text, "disk \"system\": the target: writing: no space left (28)");
}

static void one_alone_is_not_written_to(void **state)
{
	(void)state;
	atomic_store(&nbd_fixture.error, NBD_ENOSPC);
	open_target(&blocks[0]);
	assert_int_equal(look(0, 1), RC_OK);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(two_targets_that_are_one),		TEST(a_target_of_another_instance),
		TEST(a_target_and_a_file_that_are_two), TEST(one_that_cannot_be_written),
		TEST(one_alone_is_not_written_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
