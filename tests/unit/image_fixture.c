#include "tests/unit/image_fixture.h"

#include "appliance/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct image_fixture image_fixture;
#define f image_fixture

void image_fixture_make(size_t staging)
{
	assert_int_equal(image_create(&f.image, f.dir, f.spill, &f.shared, 1, staging, &f.err),
			 RC_OK);
	assert_int_equal(image_set_layout(f.image, &f.layout, &f.err), RC_OK);
}

int image_fixture_setup(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	(void)snprintf(f.dir, sizeof(f.dir), "/dev/shm/image-XXXXXX");
	assert_non_null(mkdtemp(f.dir));
	assert_int_equal(scratch_make(f.spill, "spill"), 0);
	f.shared = (struct image_shared){ .name = "pc.ram", .bytes = RAM_PAGES * LAYOUT_PAGE };
	assert_int_equal(layout_add(&f.layout, "pc.ram", 6, f.shared.bytes, &f.err), RC_OK);
	assert_int_equal(layout_add(&f.layout, "pc.rom", 6, ROM_PAGES * LAYOUT_PAGE, &f.err),
			 RC_OK);
	assert_int_equal(layout_finish(&f.layout, &f.err), RC_OK);
	pages_open(&f.guest, GUEST_PAGES, 11);
	assert_int_equal(delta_state_create(&f.sender, f.layout.pages, (size_t)2 << 20, &f.err),
			 RC_OK);
	return 0;
}

static void free_batches(void)
{
	while (f.epoch.count > 0)
		buf_free(&f.epoch.batches[--f.epoch.count]);
}

int image_fixture_teardown(void **state)
{
	(void)state;
	fault_arm(FAULT_ALLOC, 0);
	fault_arm(FAULT_WRITE, 0);
	free_batches();
	image_destroy(f.image, false);
	delta_state_destroy(f.sender);
	delta_trim();
	pages_close(&f.guest);
	assert_int_equal(rmdir(f.spill), 0); /* nothing was left behind */
	assert_int_equal(rmdir(f.dir), 0);
	return 0;
}

void image_fixture_capture(bool may_xor)
{
	static struct chunk chunk;
	static uint8_t bytes[CHUNK_BYTES];
	uint64_t at = 0;

	chunk.bytes = bytes;
	free_batches();
	f.epoch.number++;
	f.epoch.hash = f.epoch.pages = 0;
	while (pages_fill(&f.guest, &at, &chunk)) {
		struct buf *out = &f.epoch.batches[f.epoch.count];

		assert_true(f.epoch.count < BATCHES_MAX);
		*out = (struct buf){ .limit = DELTA_BATCH_MAX };
		assert_int_equal(delta_encode(f.sender, &chunk, may_xor, out, &f.epoch.hash,
					      &f.epoch.pages, &f.stats, &f.err),
				 RC_OK);
		if (out->len > 0)
			f.epoch.count++;
	}
}

int image_fixture_receive(void)
{
	size_t i;
	int rc;

	rc = image_begin(f.image, f.epoch.number, &f.err);
	for (i = 0; rc == RC_OK && i < f.epoch.count; i++)
		rc = image_batch(f.image, f.epoch.batches[i].data, f.epoch.batches[i].len, &f.err);
	return rc;
}

int image_fixture_commit(void)
{
	return image_commit(f.image, f.epoch.pages, f.epoch.hash, DEVICE_STATE_LEN, &f.err);
}

void image_fixture_first_copy(void)
{
	memset(f.guest.dirty, true, GUEST_PAGES * sizeof(bool));
	pages_change(&f.guest, 3000);
	image_fixture_capture(false);
	assert_int_equal(image_fixture_receive(), RC_OK);
	assert_int_equal(image_fixture_commit(), RC_OK);
}

void image_fixture_holds(const uint8_t *memory)
{
	uint64_t i;

	for (i = 0; i < GUEST_PAGES; i++)
		assert_memory_equal(image_page(f.image, i), memory + i * LAYOUT_PAGE, LAYOUT_PAGE);
}

uint8_t *image_fixture_copy(void)
{
	uint8_t *copy = malloc(GUEST_PAGES * LAYOUT_PAGE);

	assert_non_null(copy);
	memcpy(copy, f.guest.memory, GUEST_PAGES * LAYOUT_PAGE);
	return copy;
}

uint64_t image_fixture_storage(void)
{
	struct stat st;

	assert_int_equal(stat(f.shared.path, &st), 0);
	return (uint64_t)st.st_blocks * 512 / LAYOUT_PAGE;
}
