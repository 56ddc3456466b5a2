/* An image that becomes another one: all of it or, by its own word, nothing; and what does not differ is not written. */
#include "appliance/base/mem.h"
#include "replica/image_map.h"
#include "replica/image_take.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define RAM_PAGES 300
#define ROM_PAGES 20
#define DISK_BYTES ((uint64_t)200 * LAYOUT_PAGE + 512)
#define EPOCH_NOW 40
#define EPOCH_THEN 17
#define STATE_LEN 777

struct side {
	char dir[64], spill[SCRATCH_MAX], disk[512];
	struct image *image;
};

static struct {
	struct side now, then;
	struct layout layout;
	struct image_take *take;
	struct err err;
	uint32_t random;
} t;

static uint32_t next_random(uint32_t below)
{
	t.random = t.random * 1664525 + 1013904223;
	return (t.random >> 8) % below;
}

static void make(struct side *side)
{
	struct image_shared shared = { .name = "pc.ram",
				       .bytes = (uint64_t)RAM_PAGES * LAYOUT_PAGE };
	struct image_disk disk = { .name = "system", .bytes = DISK_BYTES };

	(void)snprintf(side->dir, sizeof(side->dir), "/dev/shm/take-XXXXXX");
	assert_non_null(mkdtemp(side->dir));
	assert_int_equal(scratch_make(side->spill, "take"), 0);
	(void)snprintf(side->disk, sizeof(side->disk), "%s/disk.raw", side->spill);
	memcpy(disk.path, side->disk, sizeof(disk.path));
	assert_int_equal(image_create(&side->image, side->dir, side->spill, &shared, 1, 1 << 20,
				      &t.err),
			 RC_OK);
	assert_int_equal(image_add_disk(side->image, &disk, &t.err), RC_OK);
	assert_int_equal(image_set_layout(side->image, &t.layout, &t.err), RC_OK);
}

static void set(struct side *side, uint64_t index, uint8_t value)
{
	uint8_t content[LAYOUT_PAGE];
	uint64_t page;
	struct image_block *block = image_map_block(image_map_of(side->image), index, &page);
	const uint64_t disk_end = block->bytes - page * LAYOUT_PAGE;

	memset(content, value, sizeof(content));
	if (block->map == NULL && disk_end < sizeof(content))
		memset(content + disk_end, 0, sizeof(content) - disk_end);
	assert_int_equal(value == 0 ? image_block_zero(block, page, 1, &t.err) :
				      image_block_write(block, page, content, &t.err),
			 RC_OK);
}

/* Half of what is there is the same in both. */
static void fill(void)
{
	uint64_t index;
	uint8_t value;

	for (index = 0; index < t.layout.pages; index++) {
		value = (uint8_t)next_random(3);
		set(&t.now, index, value);
		set(&t.then, index, next_random(2) == 0 ? value : (uint8_t)next_random(5));
	}
	for (index = 50; index < 100; index++) /* longer runs of zeroes give memory back */
		set(&t.then, index, 0);
	assert_int_equal(image_become(t.now.image, EPOCH_NOW, 1, &t.err), RC_OK);
	assert_int_equal(image_become(t.then.image, EPOCH_THEN, STATE_LEN, &t.err), RC_OK);
}

static int setup(void **state)
{
	(void)state;
	memset(&t, 0, sizeof(t));
	t.random = 5;
	assert_int_equal(layout_add(&t.layout, "pc.ram", 6, (uint64_t)RAM_PAGES * LAYOUT_PAGE,
				    &t.err),
			 RC_OK);
	assert_int_equal(layout_add(&t.layout, "pc.rom", 6, (uint64_t)ROM_PAGES * LAYOUT_PAGE,
				    &t.err),
			 RC_OK);
	assert_int_equal(layout_finish(&t.layout, &t.err), RC_OK);
	assert_int_equal(layout_add_disk(&t.layout, "system", 6, DISK_BYTES, &t.err), RC_OK);
	make(&t.now);
	make(&t.then);
	return 0;
}

static void unmake(struct side *side)
{
	image_destroy(side->image, false);
	(void)unlink(side->disk);
	assert_int_equal(rmdir(side->spill), 0);
	assert_int_equal(rmdir(side->dir), 0);
}

static int teardown(void **state)
{
	(void)state;
	fault_arm(FAULT_ALLOC, 0);
	fault_arm(FAULT_WRITE, 0);
	image_take_close(t.take);
	unmake(&t.now);
	unmake(&t.then);
	return 0;
}

static uint64_t differing(void)
{
	uint8_t rooms[2][LAYOUT_PAGE];
	const uint8_t *now, *then;
	uint64_t index, count = 0;

	for (index = 0; index < t.layout.pages; index++) {
		assert_int_equal(image_read(t.now.image, index, rooms[0], &now, &t.err), RC_OK);
		assert_int_equal(image_read(t.then.image, index, rooms[1], &then, &t.err), RC_OK);
		count += memcmp(now, then, LAYOUT_PAGE) != 0;
	}
	return count;
}

static void is_the_other(void)
{
	assert_int_equal(differing(), 0);
	assert_int_equal(image_epoch(t.now.image), EPOCH_THEN);
	assert_int_equal(image_device_state_len(t.now.image), STATE_LEN);
}

static void it_becomes_the_other_one(void **state)
{
	uint64_t count;

	(void)state;
	fill();
	count = differing();
	assert_true(count > 100 && count < t.layout.pages - 100);
	assert_int_equal(image_take_open(&t.take, t.now.image, t.then.image, &t.err), RC_OK);
	assert_int_equal(image_take_pages(t.take), count);
	assert_int_equal(image_epoch(t.now.image), EPOCH_NOW); /* nothing has happened yet */
	assert_int_equal(differing(), count);
	assert_int_equal(image_take_copy(t.take, &t.err), RC_OK);
	is_the_other();
	image_take_close(t.take);
	assert_int_equal(image_take_open(&t.take, t.now.image, t.then.image, &t.err), RC_OK);
	assert_int_equal(image_take_pages(t.take), 0);
}

static void without_room_it_stays_what_it_was(void **state)
{
	uint64_t count;
	unsigned long n;
	bool fired = true;

	(void)state;
	fill();
	count = differing();
	for (n = 1; fired; n++) {
		image_take_close(t.take);
		fault_arm(FAULT_WRITE, n);
		if (image_take_open(&t.take, t.now.image, t.then.image, &t.err) == RC_OK)
			break;
		fired = fault_fired(FAULT_WRITE);
		assert_int_equal(image_epoch(t.now.image), EPOCH_NOW);
		assert_int_equal(differing(), count);
	}
	assert_true(n > 10);
	fault_arm(FAULT_WRITE, 0);
	assert_int_equal(image_take_copy(t.take, &t.err), RC_OK);
	is_the_other();
}

static void broken_off_it_is_no_epoch_and_can_be_done_again(void **state)
{
	unsigned long n;

	(void)state;
	for (n = 1;; n += 7) {
		fill();
		assert_int_equal(image_take_open(&t.take, t.now.image, t.then.image, &t.err),
				 RC_OK);
		fault_arm(FAULT_WRITE, n);
		if (image_take_copy(t.take, &t.err) == RC_OK)
			break;
		fault_arm(FAULT_WRITE, 0);
		assert_int_equal(image_epoch(t.now.image), 0);
		assert_int_equal(image_take_copy(t.take, &t.err), RC_OK);
		is_the_other();
		image_take_close(t.take);
		t.take = NULL;
	}
	assert_true(n > 7);
	is_the_other();
}

static void of_other_memory_or_of_no_epoch_it_is_refused(void **state)
{
	(void)state;
	assert_int_equal(image_take_open(&t.take, t.now.image, t.then.image, &t.err), RC_REFUSED);
	assert_null(t.take);
	memset(&t.layout, 0, sizeof(t.layout));
	assert_int_equal(layout_add(&t.layout, "pc.ram", 6, (uint64_t)RAM_PAGES * LAYOUT_PAGE,
				    &t.err),
			 RC_OK);
	assert_int_equal(layout_finish(&t.layout, &t.err), RC_OK);
	assert_int_equal(layout_add_disk(&t.layout, "system", 6, DISK_BYTES, &t.err), RC_OK);
	assert_int_equal(image_set_layout(t.then.image, &t.layout, &t.err), RC_OK);
	assert_int_equal(image_become(t.then.image, EPOCH_THEN, STATE_LEN, &t.err), RC_OK);
	assert_int_equal(image_take_open(&t.take, t.now.image, t.then.image, &t.err), RC_REFUSED);
	assert_non_null(strstr(t.err.text, "other memory or disks"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(it_becomes_the_other_one),
		TEST(without_room_it_stays_what_it_was),
		TEST(broken_off_it_is_no_epoch_and_can_be_done_again),
		TEST(of_other_memory_or_of_no_epoch_it_is_refused),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
