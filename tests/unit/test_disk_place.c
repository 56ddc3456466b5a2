/* A replica's disk whose file is not where QEMU would look for it: no epoch is committed, and the last one stays. */
#include "replica/delta.h"
#include "replica/image.h"
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

#define RAM_PAGES 4
#define DISK_BYTES ((uint64_t)3 * LAYOUT_PAGE + 512)

static struct {
	char dir[64], spill[SCRATCH_MAX], kept[600];
	struct image_disk disk;
	struct layout layout;
	struct image *image;
	struct err err;
} t;

static int setup(void **state)
{
	struct image_shared shared = { .name = "pc.ram",
				       .bytes = (uint64_t)RAM_PAGES * LAYOUT_PAGE };

	(void)state;
	memset(&t, 0, sizeof(t));
	(void)snprintf(t.dir, sizeof(t.dir), "/dev/shm/place-XXXXXX");
	assert_non_null(mkdtemp(t.dir));
	assert_int_equal(scratch_make(t.spill, "place"), 0);
	t.disk = (struct image_disk){ .name = "system", .bytes = DISK_BYTES };
	(void)snprintf(t.disk.path, sizeof(t.disk.path), "%s/disk.raw", t.spill);
	(void)snprintf(t.kept, sizeof(t.kept), "%s.kept", t.disk.path);
	assert_int_equal(layout_add(&t.layout, "pc.ram", 6, shared.bytes, &t.err), RC_OK);
	assert_int_equal(layout_finish(&t.layout, &t.err), RC_OK);
	assert_int_equal(layout_add_disk(&t.layout, "system", 6, DISK_BYTES, &t.err), RC_OK);
	assert_int_equal(image_create(&t.image, t.dir, t.spill, &shared, 1, 1 << 20, &t.err),
			 RC_OK);
	assert_int_equal(image_add_disk(t.image, &t.disk, &t.err), RC_OK);
	assert_int_equal(image_set_layout(t.image, &t.layout, &t.err), RC_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	image_destroy(t.image, false);
	(void)unlink(t.disk.path);
	(void)unlink(t.kept);
	assert_int_equal(rmdir(t.spill), 0);
	assert_int_equal(rmdir(t.dir), 0);
	return 0;
}

/* An epoch that sets the disk's second page. */
static int commit(uint64_t epoch, uint8_t value)
{
	struct buf batch = { .limit = DELTA_BATCH_MAX };
	const uint64_t index = t.layout.pages - 3;
	uint8_t data[LAYOUT_PAGE];
	const struct chunk_page page = { .index = index, .data = data };
	int rc;

	memset(data, value, sizeof(data));
	assert_int_equal(delta_encode_plain(&page, 1, &batch, &t.err), RC_OK);
	assert_int_equal(image_begin(t.image, epoch, &t.err), RC_OK);
	assert_int_equal(image_batch(t.image, batch.data, batch.len, &t.err), RC_OK);
	rc = image_commit(t.image, 1, delta_page_hash(index, delta_content_hash(data)), 0, &t.err);
	buf_free(&batch);
	return rc;
}

static uint8_t held_by(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t byte = 0;

	assert_true(fd >= 0);
	(void)pread(fd, &byte, 1, LAYOUT_PAGE);
	close(fd);
	return byte;
}

static int look(void)
{
	struct disk_place places[LAYOUT_DISKS_MAX];

	assert_int_equal(image_disk_places(t.image, places), 1);
	return disk_place_look(&places[0], &t.err);
}

static void another_file_or_none_in_its_place_costs_the_epoch(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(commit(1, 'a'), RC_OK);
	assert_int_equal(look(), RC_OK);
	assert_int_equal(rename(t.disk.path, t.kept), 0);
	assert_int_equal(look(), RC_STATE);
	assert_int_equal(commit(2, 'b'), RC_STATE);
	assert_non_null(strstr(t.err.text, t.disk.path));
	assert_non_null(strstr(t.err.text, "is not there any more"));
	fd = open(t.disk.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, (off_t)DISK_BYTES), 0);
	close(fd);
	assert_int_equal(look(), RC_STATE);
	assert_int_equal(commit(2, 'b'), RC_STATE);
	assert_non_null(strstr(t.err.text, "is not the file"));
	assert_int_equal(image_epoch(t.image), 1);
	assert_int_equal(held_by(t.kept), 'a');
	assert_int_equal(rename(t.kept, t.disk.path), 0);
	assert_int_equal(look(), RC_OK);
	assert_int_equal(commit(2, 'b'), RC_OK);
	assert_int_equal(held_by(t.disk.path), 'b');
}

static void one_that_was_cut_holds_no_epoch_until_there_is_another(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(commit(1, 'a'), RC_OK);
	assert_int_equal(truncate(t.disk.path, 512), 0);
	assert_int_equal(look(), RC_INVALID);
	assert_int_equal(commit(2, 'b'), RC_INVALID);
	assert_int_equal(image_epoch(t.image), 0);
	assert_int_equal(stat(t.disk.path, &st), 0);
	assert_int_equal(st.st_size, DISK_BYTES);
	assert_int_equal(commit(2, 'b'), RC_OK);
	assert_int_equal(held_by(t.disk.path), 'b');
}

static void one_file_is_no_two_disks(void **state)
{
	struct image_disk other = t.disk;
	char *name = strrchr(other.path, '/');

	(void)state;
	memcpy(other.name, "log", sizeof("log"));
	assert_int_equal(link(t.disk.path, t.kept), 0);
	memcpy(other.path, t.kept, strlen(t.kept) + 1);
	assert_int_equal(image_add_disk(t.image, &other, &t.err), RC_REFUSED);
	assert_non_null(strstr(t.err.text, "is the image of another disk"));
	assert_int_equal(unlink(t.kept), 0);
	assert_int_equal(symlink(t.disk.path, t.kept), 0);
	assert_int_equal(image_add_disk(t.image, &other, &t.err), RC_REFUSED);
	assert_int_equal(unlink(t.kept), 0);
	memcpy(name, "/./disk.raw", sizeof("/./disk.raw"));
	other.bytes *= 2; /* nothing is said of removing it */
	assert_int_equal(image_add_disk(t.image, &other, &t.err), RC_REFUSED);
	assert_non_null(strstr(t.err.text, "is the image of another disk"));
	assert_int_equal(commit(1, 'a'), RC_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(another_file_or_none_in_its_place_costs_the_epoch),
		TEST(one_that_was_cut_holds_no_epoch_until_there_is_another),
		TEST(one_file_is_no_two_disks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
