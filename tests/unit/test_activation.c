#include "appliance/base/buf.h"
#include "appliance/base/mem.h"
#include "replica/activation.h"
#include "replica/delta.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ROM_PAGES 3

static struct err err;
static char dir[64];
static struct image_shared shared;
static struct layout layout;
static struct image *image;
static struct chunk chunk;
static uint8_t chunk_bytes[CHUNK_BYTES];
static uint8_t stream[CHUNK_BYTES];
static size_t stream_len;

static const struct activation_block blocks[] = { { "mem", 0x1122334455 }, { "other", 7 } };

static void make(uint64_t ram_bytes)
{
	(void)snprintf(dir, sizeof(dir), "/dev/shm/activation-XXXXXX");
	assert_non_null(mkdtemp(dir));
	shared = (struct image_shared){ .name = "mem", .bytes = ram_bytes };
	memset(&layout, 0, sizeof(layout));
	layout.section = 2;
	layout.instance = 0;
	layout.version = 4;
	layout.configuration_len = 2;
	memcpy(layout.configuration, "pc", 2);
	assert_int_equal(layout_add(&layout, "mem", 3, ram_bytes, &err), RC_OK);
	assert_int_equal(layout_add(&layout, "rom", 3, ROM_PAGES * LAYOUT_PAGE, &err), RC_OK);
	assert_int_equal(layout_finish(&layout, &err), RC_OK);
	assert_int_equal(image_create(&image, dir, dir, &shared, 1, (size_t)1 << 20, &err), RC_OK);
	assert_int_equal(image_set_layout(image, &layout, &err), RC_OK);
}

static void drop(void)
{
	image_destroy(image, false);
	image = NULL;
	delta_trim();
	assert_int_equal(rmdir(dir), 0);
}

static void add_page(uint64_t index, char fill)
{
	uint8_t *to = chunk.bytes + chunk.used;

	memset(to, fill, LAYOUT_PAGE);
	chunk.pages[chunk.npages++] =
		(struct chunk_page){ .index = index, .data = fill != 0 ? to : NULL };
	chunk.used += LAYOUT_PAGE;
}

/*
 * An epoch: a page of memory, the middle page of the ROM, a device state of `device_len` times 'd'.
 */
static void commit(uint32_t device_len)
{
	struct buf batch = { .limit = DELTA_BATCH_MAX };
	struct delta_stats stats = { 0 };
	struct delta_state *sender;
	uint64_t hash = 0, sent = 0;

	chunk = (struct chunk){ .bytes = chunk_bytes };
	add_page(1, 'm');
	add_page(layout.blocks[1].first, 0);
	add_page(layout.blocks[1].first + 1, 'r');
	for (uint32_t at = 0; at < device_len; at += (uint32_t)LAYOUT_PAGE)
		add_page(layout.ram_pages + at / LAYOUT_PAGE, 'd');
	assert_int_equal(delta_state_create(&sender, layout.pages, 0, &err), RC_OK);
	assert_int_equal(delta_encode(sender, &chunk, false, &batch, &hash, &sent, &stats, &err),
			 RC_OK);
	assert_int_equal(image_begin(image, 1, &err), RC_OK);
	assert_int_equal(image_batch(image, batch.data, batch.len, &err), RC_OK);
	assert_int_equal(image_commit(image, sent, hash, device_len, &err), RC_OK);
	delta_state_destroy(sender);
	buf_free(&batch);
}

/* The stream, read from where its descriptor stands. */
static int take_stream(void)
{
	size_t len;
	ssize_t r;
	int fd, rc;

	rc = activation_stream(image, blocks, 2, &fd, &len, &err);
	if (rc != RC_OK) {
		assert_int_equal(fd, -1);
		return rc;
	}
	r = read(fd, stream, sizeof(stream));
	assert_int_equal(r, len);
	stream_len = len;
	assert_int_equal(read(fd, stream, 1), 0);
	assert_int_equal(close(fd), 0);
	return RC_OK;
}

static size_t put(uint8_t *to, size_t at, const void *data, size_t len)
{
	memcpy(to + at, data, len);
	return at + len;
}

#define BYTES(text) put(expected, at, text, sizeof(text) - 1)

static void the_stream_is_laid_down_byte_by_byte(void **state)
{
	static uint8_t expected[3 * 4096];
	static char page[4096];
	size_t at = 0;

	(void)state;
	make(8 * LAYOUT_PAGE);
	commit(5);
	assert_int_equal(take_stream(), RC_OK);

	at = BYTES("QEVM\0\0\0\x03");
	at = BYTES("\x07\0\0\0\x02pc");
	at = BYTES("\x05\x1a"
		   "configuration/capabilities\0\0\0\x01\0\0\0\x01\x0f"
		   "x-ignore-shared");
	at = BYTES("\x01\0\0\0\x02\x03ram\0\0\0\0\0\0\0\x04");
	at = BYTES("\0\0\0\0\0\0\xb0\x04"); /* 11 pages */
	at = BYTES("\x03mem\0\0\0\0\0\0\x80\0\0\0\0\x11\x22\x33\x44\x55");
	at = BYTES("\x03rom\0\0\0\0\0\0\x30\0\0\0\0\0\0\0\0\0");
	at = BYTES("\0\0\0\0\0\0\0\x10\x7e\0\0\0\x02");
	at = BYTES("\x03\0\0\0\x02");
	at = BYTES("\0\0\0\0\0\0\0\x02\x03rom\0"); /* zero */
	at = BYTES("\0\0\0\0\0\0\x10\x28");	   /* data, same block */
	memset(page, 'r', sizeof(page));
	at = put(expected, at, page, sizeof(page));
	at = BYTES("\0\0\0\0\0\0\x20\x22\0"); /* zero, same block */
	at = BYTES("\0\0\0\0\0\0\0\x10\x7e\0\0\0\x02");
	at = BYTES("ddddd\x06\0\0\0\0");
	assert_int_equal(stream_len, at);
	assert_memory_equal(stream, expected, at);
	drop();
}

static void its_length_does_not_grow_with_memory(void **state)
{
	size_t small;

	(void)state;
	make(8 * LAYOUT_PAGE);
	commit(5);
	assert_int_equal(take_stream(), RC_OK);
	small = stream_len;
	drop();
	make(UINT64_C(8) << 30);
	commit(5);
	assert_int_equal(take_stream(), RC_OK);
	assert_int_equal(stream_len, small);
	drop();
}

static void a_device_state_of_many_pages_comes_whole(void **state)
{
	(void)state;
	make(8 * LAYOUT_PAGE);
	commit(3 * LAYOUT_PAGE + 17);
	assert_int_equal(take_stream(), RC_OK);
	assert_memory_equal(stream + stream_len - 5, "\x06\0\0\0\0", 5);
	for (size_t i = 1; i <= 3 * LAYOUT_PAGE + 17; i++)
		assert_int_equal(stream[stream_len - 5 - i], 'd');
	assert_int_not_equal(stream[stream_len - 5 - 3 * LAYOUT_PAGE - 18], 'd');
	drop();
}

static void without_a_committed_epoch_there_is_no_stream(void **state)
{
	(void)state;
	make(8 * LAYOUT_PAGE);
	assert_int_equal(take_stream(), RC_STATE);
	commit(5);
	image_forget(image);
	assert_int_equal(take_stream(), RC_STATE);
	drop();
}

static void a_shared_block_that_qemu_does_not_have_is_refused_by_name(void **state)
{
	size_t len;
	int fd;

	(void)state;
	make(8 * LAYOUT_PAGE);
	commit(5);
	assert_int_equal(activation_stream(image, &blocks[1], 1, &fd, &len, &err), RC_STATE);
	assert_non_null(strstr(err.text, "mem"));
	drop();
}

#ifdef UNDERSTUDY_FAULTS
static void every_failing_allocation_is_an_error_and_leaks_nothing(void **state)
{
	bool fired = true;
	int rc;

	(void)state;
	make(8 * LAYOUT_PAGE);
	commit(5);
	for (unsigned long n = 1; fired; n++) {
		fault_arm(FAULT_ALLOC, n);
		rc = take_stream();
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
		assert_int_equal(rc, fired ? RC_NOMEM : RC_OK);
	}
	drop();
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_stream_is_laid_down_byte_by_byte),
		cmocka_unit_test(its_length_does_not_grow_with_memory),
		cmocka_unit_test(a_device_state_of_many_pages_comes_whole),
		cmocka_unit_test(without_a_committed_epoch_there_is_no_stream),
		cmocka_unit_test(a_shared_block_that_qemu_does_not_have_is_refused_by_name),
#ifdef UNDERSTUDY_FAULTS
		cmocka_unit_test(every_failing_allocation_is_an_error_and_leaks_nothing),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
