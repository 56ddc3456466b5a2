#include "replica/ram_stream.h"

#include "tests/unit/stream_builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct layout layout;
static struct ram_stream stream;
static struct buf bytes;
static struct err err;

static int setup(void **state)
{
	(void)state;
	layout = (struct layout){ 0 };
	ram_stream_init(&stream, &layout);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	buf_free(&bytes);
	return 0;
}

/* The next item of `bytes`, which is taken out of them. */
static struct ram_item take(void)
{
	struct cursor in = cursor_of(bytes.data, bytes.len);
	struct ram_item item;

	assert_false(bytes.failed);
	assert_int_equal(ram_stream_next(&stream, &in, &item, &err), RC_OK);
	if (item.data !=
	    NULL) /* stays readable after it is taken out: the tests look at its first byte only */
		item.data = *item.data == 0x11 ? (const uint8_t *)"\x11" : (const uint8_t *)"\x22";
	buf_consume(&bytes, bytes.len - in.left);
	return item;
}

static void listed(void)
{
	builder_list(&bytes);
	assert_int_equal(take().kind, RAM_ITEM_LAYOUT);
}

/* What is in `bytes` is refused with that code and a text with that in it. */
static void refused(enum rc code, const char *text)
{
	struct cursor in = cursor_of(bytes.data, bytes.len);
	struct ram_item item;

	assert_int_equal(ram_stream_next(&stream, &in, &item, &err), code);
	if (strstr(err.text, text) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", text, err.text);
}

static void a_list_of_blocks_becomes_the_layout(void **state)
{
	(void)state;
	listed();
	assert_int_equal(layout.ram_blocks, 2);
	assert_string_equal(layout.blocks[0].name, "pc.ram");
	assert_int_equal(layout.blocks[0].pages, BUILDER_RAM_PAGES);
	assert_string_equal(layout.blocks[1].name, "pc.bios");
	assert_int_equal(layout.blocks[1].first, BUILDER_RAM_PAGES);
	assert_int_equal(layout.ram_pages, BUILDER_RAM_PAGES + BUILDER_BIOS_PAGES);
}

static void pages_are_numbered_through_all_blocks(void **state)
{
	struct ram_item item;

	(void)state;
	listed();
	builder_page(&bytes, "pc.ram", 7, 0x11);
	builder_page(&bytes, "pc.bios", 3, 0x22);
	builder_eos(&bytes);
	item = take();
	assert_int_equal(item.kind, RAM_ITEM_PAGE);
	assert_int_equal(item.index, 7);
	assert_int_equal(*item.data, 0x11);
	item = take();
	assert_int_equal(item.index, BUILDER_RAM_PAGES + 3);
	assert_int_equal(*item.data, 0x22);
	assert_int_equal(take().kind, RAM_ITEM_END);
	assert_int_equal(bytes.len, 0);
}

static void data_points_into_the_given_bytes(void **state)
{
	struct ram_item item;
	struct cursor in;

	(void)state;
	listed();
	builder_page(&bytes, "pc.ram", 0, 0x11);
	in = cursor_of(bytes.data, bytes.len);
	assert_int_equal(ram_stream_next(&stream, &in, &item, &err), RC_OK);
	assert_ptr_equal(item.data, bytes.data + 8 + 1 + 6);
	assert_int_equal(in.left, 0);
}

static void continue_means_the_last_block_also_in_the_next_section(void **state)
{
	(void)state;
	listed();
	builder_page(&bytes, "pc.bios", 1, 0x11);
	builder_page(&bytes, NULL, 2, 0x22);
	builder_eos(&bytes);
	builder_page(&bytes, NULL, 3, 0);
	assert_int_equal(take().index, BUILDER_RAM_PAGES + 1);
	assert_int_equal(take().index, BUILDER_RAM_PAGES + 2);
	assert_int_equal(take().kind, RAM_ITEM_END);
	assert_int_equal(take().index, BUILDER_RAM_PAGES + 3);
}

static void a_zero_page_has_no_data(void **state)
{
	struct ram_item item;

	(void)state;
	listed();
	builder_page(&bytes, "pc.ram", 299, 0);
	item = take();
	assert_int_equal(item.kind, RAM_ITEM_PAGE);
	assert_int_equal(item.index, 299);
	assert_null(item.data);
}

static void a_section_can_be_cut_anywhere(void **state)
{
	struct cursor in;
	struct ram_item item;
	size_t shown, done = 0, pages = 0, lists = 0, ends = 0;

	(void)state;
	builder_list(&bytes);
	builder_page(&bytes, "pc.ram", 1, 0x11);
	builder_page(&bytes, NULL, 2, 0);
	builder_page(&bytes, "pc.bios", 0, 0x22);
	builder_eos(&bytes);
	for (shown = 1; shown <= bytes.len; shown++) {
		in = cursor_of(bytes.data + done, shown - done);
		assert_int_equal(ram_stream_next(&stream, &in, &item, &err), RC_OK);
		done = shown - in.left;
		pages += item.kind == RAM_ITEM_PAGE;
		lists += item.kind == RAM_ITEM_LAYOUT;
		ends += item.kind == RAM_ITEM_END;
		assert_true(shown - done < RAM_STREAM_ITEM_MAX);
	}
	assert_int_equal(done, bytes.len);
	assert_int_equal(lists, 1);
	assert_int_equal(pages, 3);
	assert_int_equal(ends, 1);
}

static void what_is_not_supported_is_refused_by_its_name(void **state)
{
	static const struct {
		uint64_t flag;
		const char *name;
	} cases[] = { { 0x001, "FULL" },
		      { 0x040, "xbzrle" },
		      { 0x080, "RDMA" },
		      { 0x100, "compress" },
		      { 0x200, "multifd" } };
	size_t i;

	(void)state;
	listed();
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		buf_reset(&bytes);
		buf_append_be64(&bytes, 4096 | cases[i].flag);
		refused(RC_UNSUPPORTED, cases[i].name);
	}
}

static void flags_that_nobody_defined_are_refused(void **state)
{
	static const uint64_t flags[] = { 0, 0x020, 0x00a, 0x018, 0x030, 0x400, 0x800, 0x024 };
	size_t i;

	(void)state;
	listed();
	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		buf_reset(&bytes);
		buf_append_be64(&bytes, 4096 | flags[i]);
		refused(RC_INVALID, "flags");
	}
}

static void a_fill_byte_other_than_zero_is_refused(void **state)
{
	(void)state;
	listed();
	buf_append_be64(&bytes, BUILDER_ZERO);
	builder_text(&bytes, "pc.ram");
	buf_append_u8(&bytes, 0xff);
	refused(RC_UNSUPPORTED, "0xff");
}

static void a_page_needs_a_listed_block_and_a_place_in_it(void **state)
{
	(void)state;
	builder_page(&bytes, "pc.ram", 0, 0x11);
	refused(RC_INVALID, "before the list");
	buf_reset(&bytes);
	listed();
	builder_page(&bytes, NULL, 0, 0x11);
	refused(RC_INVALID, "names no block");
	buf_reset(&bytes);
	builder_page(&bytes, "vga.vram", 0, 0x11);
	refused(RC_INVALID, "vga.vram");
	buf_reset(&bytes);
	builder_page(&bytes, "pc.bios", BUILDER_BIOS_PAGES, 0x11);
	refused(RC_INVALID, "page 4 of block \"pc.bios\"");
	buf_reset(&bytes);
	builder_page(&bytes, "pc.bios", UINT64_C(1) << 51, 0x11);
	refused(RC_INVALID, "pc.bios");
}

static void a_list_has_to_add_up(void **state)
{
	(void)state;
	buf_append_be64(&bytes, 0x004);
	refused(RC_INVALID, "empty");
	buf_reset(&bytes);
	buf_append_be64(&bytes, LAYOUT_BYTES_MAX + LAYOUT_PAGE + 0x004);
	refused(RC_LIMIT, "at most");
	buf_reset(&bytes);
	buf_append_be64(&bytes, LAYOUT_PAGE | 0x004);
	builder_text(&bytes, "pc.ram");
	buf_append_be64(&bytes, 2 * LAYOUT_PAGE);
	refused(RC_INVALID, "larger than their announced total");
}

static void a_second_list_is_refused(void **state)
{
	(void)state;
	listed();
	builder_list(&bytes);
	refused(RC_INVALID, "second list");
}

static void a_block_that_the_layout_refuses_is_refused(void **state)
{
	(void)state;
	buf_append_be64(&bytes, 2 * LAYOUT_PAGE | 0x004);
	builder_text(&bytes, "pc.ram");
	buf_append_be64(&bytes, LAYOUT_PAGE);
	builder_text(&bytes, "pc.ram");
	buf_append_be64(&bytes, LAYOUT_PAGE);
	refused(RC_INVALID, "pc.ram");
	setup(NULL);
	buf_reset(&bytes);
	buf_append_be64(&bytes, LAYOUT_PAGE | 0x004);
	builder_text(&bytes, "pc.ram");
	buf_append_be64(&bytes, 100);
	refused(RC_INVALID, "RAM section");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_list_of_blocks_becomes_the_layout),
		TEST(pages_are_numbered_through_all_blocks),
		TEST(data_points_into_the_given_bytes),
		TEST(continue_means_the_last_block_also_in_the_next_section),
		TEST(a_zero_page_has_no_data),
		TEST(a_section_can_be_cut_anywhere),
		TEST(what_is_not_supported_is_refused_by_its_name),
		TEST(flags_that_nobody_defined_are_refused),
		TEST(a_fill_byte_other_than_zero_is_refused),
		TEST(a_page_needs_a_listed_block_and_a_place_in_it),
		TEST(a_list_has_to_add_up),
		TEST(a_second_list_is_refused),
		TEST(a_block_that_the_layout_refuses_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
