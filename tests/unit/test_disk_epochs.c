/*
 * A disk through everything that it goes through: what is written (disk_store.h), encoded (delta.h), and kept
 * by the standby (image.h). Against a plain copy of it.
 */
#include "appliance/base/mem.h"
#include "replica/delta.h"
#include "replica/disk_store.h"
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

#define DISK_BYTES (600 * LAYOUT_PAGE + 3 * CHUNK_SECTOR) /* its last page is not whole */
#define DISK_PAGES 601
#define SECTORS (DISK_BYTES / CHUNK_SECTOR)
#define POOL ((size_t)64 << 20)

static struct {
	struct err err;
	char dir[64], spill[SCRATCH_MAX], path[sizeof(((struct image_disk *)NULL)->path)];
	struct image_shared shared;
	struct image_disk disk;
	struct layout layout;
	struct image *image;
	struct chunk_pool *pool;
	struct disk_store *store;
	struct disk_extent extent;
	struct delta_state *sender;
	struct delta_stats stats;
	uint8_t truth[DISK_PAGES * LAYOUT_PAGE]; /* zero behind the disk's end */
	uint64_t random, epoch, pages, hash;
} f;

static uint64_t next_random(uint64_t below)
{
	f.random = f.random * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (f.random >> 33) % below;
}

static int open_image(size_t staging)
{
	int rc = image_create(&f.image, f.dir, f.spill, &f.shared, 1, staging, &f.err);

	if (rc == RC_OK)
		rc = image_add_disk(f.image, &f.disk, &f.err);
	return rc == RC_OK ? image_set_layout(f.image, &f.layout, &f.err) : rc;
}

static void open_sender(void)
{
	assert_int_equal(delta_state_create(&f.sender, f.layout.pages, (size_t)2 << 20, &f.err),
			 RC_OK);
	assert_int_equal(disk_store_create(&f.store, f.pool, &f.err), RC_OK);
}

static void close_sender(void)
{
	disk_store_destroy(f.store);
	delta_state_destroy(f.sender);
	f.store = NULL;
	f.sender = NULL;
}

static int setup(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	f.random = 1;
	(void)snprintf(f.dir, sizeof(f.dir), "/dev/shm/disk-XXXXXX");
	assert_non_null(mkdtemp(f.dir));
	assert_int_equal(scratch_make(f.spill, "spill"), 0);
	f.shared = (struct image_shared){ .name = "pc.ram", .bytes = LAYOUT_PAGE };
	f.disk = (struct image_disk){ .name = "disk0", .bytes = DISK_BYTES };
	(void)snprintf(f.path, sizeof(f.path), "%s/disk.raw", f.dir);
	memcpy(f.disk.path, f.path, sizeof(f.disk.path));
	assert_int_equal(layout_add(&f.layout, "pc.ram", 6, LAYOUT_PAGE, &f.err), RC_OK);
	assert_int_equal(layout_finish(&f.layout, &f.err), RC_OK);
	assert_int_equal(layout_add_disk(&f.layout, "disk0", 5, DISK_BYTES, &f.err), RC_OK);
	f.extent = (struct disk_extent){ .first = layout_disk(&f.layout, 0)->first,
					 .bytes = DISK_BYTES };
	assert_int_equal(chunk_pool_create(&f.pool, POOL, &f.err), RC_OK);
	open_sender();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fault_arm(FAULT_ALLOC, 0);
	fault_arm(FAULT_WRITE, 0);
	close_sender();
	image_destroy(f.image, false);
	chunk_pool_destroy(f.pool);
	delta_trim();
	(void)unlink(f.path);
	assert_int_equal(rmdir(f.spill), 0);
	assert_int_equal(rmdir(f.dir), 0);
	return 0;
}

/* ---- what the guest does -------------------------------------------------------------------- */

static int write_disk(uint64_t sector, uint64_t count, bool zero)
{
	uint8_t *at = f.truth + sector * CHUNK_SECTOR;
	size_t len = count * CHUNK_SECTOR, i;

	for (i = 0; i < len; i++)
		at[i] = zero ? 0 : (uint8_t)next_random(251);
	return disk_store_write(f.store, &f.extent, sector * CHUNK_SECTOR, zero ? NULL : at, len,
				&f.err);
}

static void write_some(unsigned times)
{
	uint64_t sector, count;

	while (times-- > 0) {
		sector = next_random(4) == 0 ? next_random(SECTORS) : next_random(100);
		count = 1 + next_random(next_random(6) == 0 ? 200 : 20);
		if (count > SECTORS - sector)
			count = SECTORS - sector;
		assert_int_equal(write_disk(sector, count, next_random(4) == 0), RC_OK);
	}
}

/* What a mirror does at its beginning: all of it. */
static void copy_disk(uint64_t from, uint64_t to)
{
	for (; from < to; from += 8)
		assert_int_equal(disk_store_write(f.store, &f.extent, from * CHUNK_SECTOR,
						  f.truth + from * CHUNK_SECTOR,
						  (to - from < 8 ? to - from : 8) * CHUNK_SECTOR,
						  &f.err),
				 RC_OK);
}

/* ---- how it travels ------------------------------------------------------------------------- */

static int send(struct chunk *chunk, bool first_copy)
{
	struct buf batch = { .limit = DELTA_BATCH_MAX };
	int rc = delta_encode(f.sender, chunk, !first_copy, &batch, &f.hash, &f.pages, &f.stats,
			      &f.err);

	assert_int_equal(rc, RC_OK);
	if (batch.len > 0)
		rc = image_batch(f.image, batch.data, batch.len, &f.err);
	buf_free(&batch);
	chunk_put(chunk);
	return rc;
}

static int send_all(bool first_copy)
{
	struct chunk_list chunks = { 0 };
	struct chunk *chunk;
	int rc = RC_OK;

	disk_store_take(f.store, &chunks);
	while (rc == RC_OK && (chunk = chunk_list_take(&chunks)) != NULL)
		rc = send(chunk, first_copy);
	chunk_list_return(&chunks);
	return rc;
}

static void begin(void)
{
	f.pages = f.hash = 0;
	assert_int_equal(image_begin(f.image, ++f.epoch, &f.err), RC_OK);
}

static int commit(void)
{
	return image_commit(f.image, f.pages, f.hash, 0, &f.err);
}

static void first_copy(void)
{
	begin();
	write_some(50);
	copy_disk(0, SECTORS / 2);
	assert_int_equal(send_all(true), RC_OK);
	write_some(100);
	copy_disk(SECTORS / 2, SECTORS);
	write_some(100);
	assert_int_equal(send_all(true), RC_OK);
	write_some(20);
	disk_store_cut(f.store);
	assert_int_equal(send_all(true), RC_OK);
	assert_int_equal(commit(), RC_OK);
}

static void an_epoch(unsigned writes)
{
	begin();
	write_some(writes);
	disk_store_cut(f.store);
	assert_int_equal(send_all(false), RC_OK);
	assert_int_equal(commit(), RC_OK);
}

static void holds(const uint8_t *disk)
{
	uint8_t room[LAYOUT_PAGE], *file = malloc(DISK_BYTES);
	const uint8_t *content;
	uint64_t page;
	int fd = open(f.path, O_RDONLY | O_CLOEXEC);

	assert_non_null(file);
	for (page = 0; page < DISK_PAGES; page++) {
		assert_int_equal(image_read(f.image, f.extent.first + page, room, &content, &f.err),
				 RC_OK);
		assert_memory_equal(content, disk + page * LAYOUT_PAGE, LAYOUT_PAGE);
	}
	assert_int_equal(pread(fd, file, DISK_BYTES, 0), DISK_BYTES);
	assert_memory_equal(file, disk, DISK_BYTES);
	close(fd);
	free(file);
}

/* ---- claims --------------------------------------------------------------------------------- */

static void whatever_is_written_the_standbys_disk_is_that_of_each_epoch(void **state)
{
	int i;

	(void)state;
	assert_int_equal(open_image((size_t)4 << 20), RC_OK);
	assert_false(image_was_reopened(f.image));
	first_copy();
	holds(f.truth);
	for (i = 0; i < 60; i++) {
		an_epoch(1 + (unsigned)i);
		holds(f.truth);
	}
	assert_int_equal(chunk_pool_in_use(f.pool), 0);
}

static void learn(void)
{
	uint64_t hashes[DISK_PAGES];

	image_hashes(f.image, f.extent.first, DISK_PAGES, hashes);
	delta_state_learn(f.sender, f.extent.first, hashes, DISK_PAGES);
}

static void a_resync_over_an_epoch_that_is_kept_brings_what_differs(void **state)
{
	uint64_t travelled;
	int i;

	(void)state;
	assert_int_equal(open_image(3 * LAYOUT_PAGE), RC_OK); /* nearly all of it is spilled */
	first_copy();
	for (i = 0; i < 10; i++) {
		write_some(40); /* nobody hears of these */
		close_sender();
		open_sender();
		learn();
		travelled = f.stats.plain;
		first_copy();
		holds(f.truth);
		assert_true(f.stats.plain - travelled < DISK_PAGES);
		an_epoch(30);
		holds(f.truth);
	}
	close_sender();
	open_sender();
	learn();
	f.stats = (struct delta_stats){ 0 };
	begin();
	copy_disk(0, SECTORS);
	disk_store_cut(f.store);
	assert_int_equal(send_all(true), RC_OK);
	assert_int_equal(commit(), RC_OK);
	assert_int_equal(f.stats.unchanged, DISK_PAGES);
	assert_int_equal(f.stats.bytes_out, 0);
}

static void a_kept_disk_is_found_again_and_one_of_another_size_is_refused(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(open_image(POOL), RC_OK);
	first_copy();
	image_destroy(f.image, false);
	f.image = NULL;
	assert_int_equal(open_image(POOL), RC_OK);
	assert_true(image_was_reopened(f.image));
	holds(f.truth);
	image_destroy(f.image, false);
	f.image = NULL;
	f.disk.bytes += CHUNK_SECTOR;
	assert_int_equal(open_image(POOL), RC_REFUSED);
	assert_non_null(strstr(f.err.text, "remove it"));
	assert_int_equal(stat(f.path, &st), 0);
	assert_int_equal(st.st_size, DISK_BYTES);
}

static void what_another_qemu_has_open_is_refused(void **state)
{
	struct flock lock = { .l_type = F_RDLCK, .l_start = 101, .l_len = 1 };
	int fd;

	(void)state;
	assert_int_equal(open_image(POOL), RC_OK);
	image_destroy(f.image, false);
	f.image = NULL;
	fd = open(f.path, O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	assert_int_equal(open_image(POOL), RC_REFUSED);
	assert_non_null(strstr(f.err.text, "in use"));
	close(fd);
}

static void a_full_disk_costs_the_epoch_and_nothing_else(void **state)
{
	static uint8_t before[sizeof(f.truth)];
	unsigned long n;
	bool fired = true;
	int rc;

	(void)state;
	assert_int_equal(open_image(POOL), RC_OK);
	begin();
	disk_store_cut(f.store); /* an empty disk */
	assert_int_equal(commit(), RC_OK);
	memcpy(before, f.truth, sizeof(before));
	for (n = 1; n < 100 && fired; n++) {
		begin();
		assert_int_equal(write_disk(8 * n, 8, false), RC_OK);
		assert_int_equal(write_disk(8 * n + 800, 8, false), RC_OK);
		disk_store_cut(f.store);
		fault_arm(FAULT_WRITE, n);
		rc = send_all(false);
		assert_int_equal(rc, RC_OK);
		rc = commit();
		fired = fault_fired(FAULT_WRITE);
		fault_arm(FAULT_WRITE, 0);
		if (n > 2)
			break; /* the storage is there: what fails then is the disk itself */
		assert_int_equal(rc, RC_IO);
		assert_int_equal(image_epoch(f.image), 1);
		memcpy(f.truth, before, sizeof(before));
		holds(before);
	}
	/* A disk that breaks between: there is no epoch any more, rather than a wrong one. */
	assert_int_equal(rc, RC_IO);
	assert_int_equal(image_epoch(f.image), 0);
}

static void more_than_the_budget_is_refused_at_once(void **state)
{
	uint64_t sector;
	int rc = RC_OK;

	(void)state;
	close_sender();
	chunk_pool_destroy(f.pool);
	assert_int_equal(chunk_pool_create(&f.pool, 2 * CHUNK_BYTES, &f.err), RC_OK);
	open_sender();
	disk_store_cut(f.store); /* not the first copy */
	for (sector = 0; rc == RC_OK && sector < SECTORS; sector += 8)
		rc = write_disk(sector, 1, false);
	assert_int_equal(rc, RC_LIMIT);
	assert_int_equal(sector, 8 * (2 * CHUNK_BYTES / LAYOUT_PAGE + 1));
	assert_int_equal(write_disk(0, 8, false), RC_OK); /* it has its place */
	assert_non_null(strstr(f.err.text, "budget.disk_mib"));
}

static void what_is_not_of_whole_sectors_within_the_disk_is_refused(void **state)
{
	uint8_t data[1024] = { 0 };

	(void)state;
	assert_int_equal(disk_store_write(f.store, &f.extent, 100, data, 512, &f.err), RC_INVALID);
	assert_int_equal(disk_store_write(f.store, &f.extent, 0, data, 100, &f.err), RC_INVALID);
	assert_int_equal(disk_store_write(f.store, &f.extent, DISK_BYTES, data, 512, &f.err),
			 RC_INVALID);
	assert_int_equal(disk_store_write(f.store, &f.extent, UINT64_MAX - 511, data, 512, &f.err),
			 RC_INVALID);
}

static void without_memory_it_is_an_error_and_nothing_leaks(void **state)
{
	struct disk_store *other;
	unsigned long n;

	(void)state;
	for (n = 1; n <= 2; n++) {
		fault_arm(FAULT_ALLOC, n);
		assert_int_equal(disk_store_create(&other, f.pool, &f.err), RC_NOMEM);
	}
	disk_store_cut(f.store);
	fault_arm(FAULT_ALLOC, 1);
	assert_int_not_equal(write_disk(0, 8, false), RC_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(whatever_is_written_the_standbys_disk_is_that_of_each_epoch),
		TEST(a_resync_over_an_epoch_that_is_kept_brings_what_differs),
		TEST(a_kept_disk_is_found_again_and_one_of_another_size_is_refused),
		TEST(what_another_qemu_has_open_is_refused),
		TEST(a_full_disk_costs_the_epoch_and_nothing_else),
		TEST(more_than_the_budget_is_refused_at_once),
		TEST(what_is_not_of_whole_sectors_within_the_disk_is_refused),
		TEST(without_memory_it_is_an_error_and_nothing_leaks),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
