#include "appliance/base/bytes.h"
#include "replica/layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct err err;
static struct layout layout, back;

static int add(const char *name, uint64_t bytes)
{
	return layout_add(&layout, name, strlen(name), bytes, &err);
}

static int setup(void **state)
{
	(void)state;
	memset(&layout, 0, sizeof(layout));
	memset(&back, 0x55, sizeof(back));
	layout.section = 2;
	layout.instance = 3;
	layout.version = 4;
	memcpy(layout.configuration, "pc-i440fx-10.0", 14);
	layout.configuration_len = 14;
	return 0;
}

static void make_sample(void)
{
	assert_int_equal(add("pc.ram", UINT64_C(256) << 20), RC_OK);
	assert_int_equal(add("0000:00:02.0/vga.vram", UINT64_C(16) << 20), RC_OK);
	assert_int_equal(add("/rom@etc/acpi/rsdp", 4096), RC_OK);
	assert_int_equal(layout_finish(&layout, &err), RC_OK);
}

static int add_disk(const char *name, uint64_t bytes)
{
	return layout_add_disk(&layout, name, strlen(name), bytes, &err);
}

static void blocks_follow_one_another_and_the_device_state_comes_last(void **state)
{
	(void)state;
	make_sample();
	assert_int_equal(layout.blocks[0].first, 0);
	assert_int_equal(layout.blocks[1].first, 65536);
	assert_int_equal(layout.blocks[2].first, 65536 + 4096);
	assert_int_equal(layout.ram_pages, 65536 + 4096 + 1);
	assert_int_equal(layout.blocks[3].first, layout.ram_pages);
	assert_string_equal(layout.blocks[3].name, LAYOUT_DEVICE_STATE_NAME);
	assert_int_equal(layout.pages, layout.ram_pages + LAYOUT_DEVICE_STATE_MAX / LAYOUT_PAGE);
}

static void every_page_is_found_in_its_block(void **state)
{
	uint32_t i;

	(void)state;
	make_sample();
	for (i = 0; i <= layout.ram_blocks; i++) {
		const struct layout_block *block = &layout.blocks[i];

		assert_ptr_equal(layout_block_of(&layout, block->first), block);
		assert_ptr_equal(layout_block_of(&layout, block->first + block->pages - 1), block);
	}
}

static void a_block_is_found_by_its_whole_name_and_the_device_state_is_not_a_ram_block(void **state)
{
	(void)state;
	make_sample();
	assert_ptr_equal(layout_find(&layout, "pc.ram", 6), &layout.blocks[0]);
	assert_null(layout_find(&layout, "pc.ra", 5));
	assert_null(layout_find(&layout, "pc.ram\0", 7));
	assert_null(
		layout_find(&layout, LAYOUT_DEVICE_STATE_NAME, strlen(LAYOUT_DEVICE_STATE_NAME)));
}

static void what_is_encoded_decodes_to_the_same_layout(void **state)
{
	struct buf out = { 0 };

	(void)state;
	make_sample();
	layout_encode(&layout, &out);
	assert_false(out.failed);
	assert_memory_equal(
		out.data,
		"LAY2\x02\0\0\0\x03\0\0\0\x04\0\0\0\x0e\0\0\0pc-i440fx-10.0\x03\0\0\0\x06pc.ram",
		45);
	assert_int_equal(layout_decode(&back, out.data, out.len, &err), RC_OK);
	assert_true(layout_equal(&layout, &back));
	assert_int_equal(back.ram_pages, layout.ram_pages);
	buf_free(&out);
}

static void layouts_that_differ_in_anything_are_not_equal(void **state)
{
	(void)state;
	make_sample();
	back = layout;
	assert_true(layout_equal(&layout, &back));
	back.version++;
	assert_false(layout_equal(&layout, &back));
	back = layout;
	back.configuration[0] ^= 1;
	assert_false(layout_equal(&layout, &back));
	back = layout;
	back.blocks[1].name[3] ^= 1;
	assert_false(layout_equal(&layout, &back));
	back = layout;
	back.blocks[0].pages--;
	back.blocks[1].pages++;
	assert_false(layout_equal(&layout, &back));
}

static void blocks_that_break_a_rule_are_refused_and_change_nothing(void **state)
{
	char long_name[LAYOUT_NAME_MAX + 2];

	(void)state;
	memset(long_name, 'n', sizeof(long_name));
	assert_int_equal(add("pc.ram", 8192), RC_OK);
	back = layout;
	assert_int_equal(add("pc.ram", 4096), RC_INVALID);
	assert_int_equal(add("", 4096), RC_INVALID);
	assert_int_equal(add("a\nb", 4096), RC_INVALID);
	assert_int_equal(layout_add(&layout, "a\0b", 3, 4096, &err), RC_INVALID);
	assert_int_equal(layout_add(&layout, long_name, sizeof(long_name) - 1, 4096, &err),
			 RC_INVALID);
	assert_int_equal(add(LAYOUT_DEVICE_STATE_NAME, 4096), RC_INVALID);
	assert_int_equal(add("x", 0), RC_INVALID);
	assert_int_equal(add("x", 4097), RC_INVALID);
	assert_int_equal(add("x", LAYOUT_BYTES_MAX), RC_LIMIT);
	assert_int_equal(add("x", UINT64_MAX - 4095), RC_LIMIT);
	assert_memory_equal(&layout, &back, sizeof(layout));
}

static void one_page_more_than_31_bits_can_number_is_refused(void **state)
{
	(void)state;
	assert_int_equal(add("a", LAYOUT_BYTES_MAX - LAYOUT_DEVICE_STATE_MAX - 4096), RC_OK);
	assert_int_equal(add("b", 8192), RC_LIMIT);
	assert_int_equal(add("b", 4096), RC_OK);
	assert_int_equal(add("c", 4096), RC_LIMIT);
	assert_int_equal(layout_finish(&layout, &err), RC_OK);
	assert_int_equal(layout.pages, UINT64_C(1) << 31);
}

static void as_many_blocks_as_the_limit_says_and_no_more(void **state)
{
	char name[16];
	int i;

	(void)state;
	for (i = 0; i < LAYOUT_BLOCKS_MAX; i++) {
		(void)snprintf(name, sizeof(name), "block %d", i);
		assert_int_equal(add(name, 4096), RC_OK);
	}
	assert_int_equal(add("one more", 4096), RC_LIMIT);
	assert_int_equal(layout_finish(&layout, &err), RC_OK);
	assert_ptr_equal(layout_block_of(&layout, 77), &layout.blocks[77]);
}

static void an_instance_without_memory_is_refused(void **state)
{
	(void)state;
	assert_int_equal(layout_finish(&layout, &err), RC_INVALID);
}

static void a_layout_cut_short_anywhere_or_with_more_behind_it_is_refused(void **state)
{
	struct buf out = { 0 };
	size_t len;

	(void)state;
	make_sample();
	layout_encode(&layout, &out);
	for (len = 0; len < out.len; len++)
		assert_int_equal(layout_decode(&back, out.data, len, &err), RC_INVALID);
	assert_true(buf_append_u8(&out, 0));
	assert_int_equal(layout_decode(&back, out.data, out.len, &err), RC_INVALID);
	buf_free(&out);
}

static void a_peers_layout_with_impossible_numbers_is_refused(void **state)
{
	struct buf out = { 0 };

	(void)state;
	make_sample();
	layout_encode(&layout, &out);
	bytes_put_le32(out.data + 16, LAYOUT_CONFIGURATION_MAX + 1);
	assert_int_equal(layout_decode(&back, out.data, out.len, &err), RC_LIMIT);
	bytes_put_le32(out.data + 16, UINT32_MAX);
	assert_int_equal(layout_decode(&back, out.data, out.len, &err), RC_LIMIT);
	bytes_put_le32(out.data + 16, 14);
	bytes_put_le32(out.data + 34, UINT32_MAX);
	assert_int_equal(layout_decode(&back, out.data, out.len, &err), RC_INVALID);
	bytes_put_le32(out.data + 34, 0);
	assert_int_equal(layout_decode(&back, out.data, out.len, &err), RC_INVALID);
	bytes_put_le32(out.data + 34, 3);
	bytes_put_le64(out.data + 45, UINT64_MAX);
	assert_int_equal(layout_decode(&back, out.data, out.len, &err), RC_INVALID);
	out.data[0]++;
	assert_int_equal(layout_decode(&back, out.data, out.len, &err), RC_INVALID);
	buf_free(&out);
}

static void disks_come_behind_the_device_state_in_whole_pages(void **state)
{
	struct buf out = { 0 };
	uint64_t end;

	(void)state;
	make_sample();
	end = layout.pages;
	assert_int_equal(add_disk("disk0", 4096 + 512), RC_OK);
	assert_int_equal(add_disk("pc.ram", 1 << 20), RC_OK); /* another kind of name */
	assert_int_equal(layout.disks, 2);
	assert_int_equal(layout_disk(&layout, 0)->first, end);
	assert_int_equal(layout_disk(&layout, 0)->pages, 2);
	assert_int_equal(layout_disk(&layout, 1)->first, end + 2);
	assert_int_equal(layout.pages, end + 2 + 256);
	assert_ptr_equal(layout_block_of(&layout, end + 1), layout_disk(&layout, 0));
	assert_ptr_equal(layout_block_of(&layout, end + 2), layout_disk(&layout, 1));
	assert_ptr_equal(layout_find(&layout, "disk0", 5), NULL);
	layout_encode(&layout, &out);
	assert_int_equal(layout_decode(&back, out.data, out.len, &err), RC_OK);
	assert_true(layout_equal(&layout, &back));
	back.blocks[layout.ram_blocks + 1].name[0] ^= 1;
	assert_false(layout_equal(&layout, &back));
	bytes_put_le64(out.data + out.len - 8, 4095);
	assert_int_equal(layout_decode(&back, out.data, out.len, &err), RC_INVALID);
	buf_free(&out);
}

static void disks_that_break_a_rule_are_refused_and_change_nothing(void **state)
{
	char name[16];
	int i;

	(void)state;
	make_sample();
	assert_int_equal(add_disk("disk0", 8192), RC_OK);
	back = layout;
	assert_int_equal(add_disk("disk0", 8192), RC_INVALID);
	assert_int_equal(add_disk("", 8192), RC_INVALID);
	assert_int_equal(add_disk("x", 0), RC_INVALID);
	assert_int_equal(add_disk("x", LAYOUT_BYTES_MAX), RC_LIMIT);
	assert_int_equal(add_disk("x", UINT64_MAX - 1), RC_INVALID);
	assert_memory_equal(&layout, &back, sizeof(layout));
	for (i = 1; i < LAYOUT_DISKS_MAX; i++) {
		(void)snprintf(name, sizeof(name), "more %d", i);
		assert_int_equal(add_disk(name, 512), RC_OK);
	}
	assert_int_equal(add_disk("one more", 512), RC_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(blocks_follow_one_another_and_the_device_state_comes_last,
				       setup),
		cmocka_unit_test_setup(every_page_is_found_in_its_block, setup),
		cmocka_unit_test_setup(
			a_block_is_found_by_its_whole_name_and_the_device_state_is_not_a_ram_block,
			setup),
		cmocka_unit_test_setup(what_is_encoded_decodes_to_the_same_layout, setup),
		cmocka_unit_test_setup(layouts_that_differ_in_anything_are_not_equal, setup),
		cmocka_unit_test_setup(blocks_that_break_a_rule_are_refused_and_change_nothing,
				       setup),
		cmocka_unit_test_setup(one_page_more_than_31_bits_can_number_is_refused, setup),
		cmocka_unit_test_setup(as_many_blocks_as_the_limit_says_and_no_more, setup),
		cmocka_unit_test_setup(an_instance_without_memory_is_refused, setup),
		cmocka_unit_test_setup(
			a_layout_cut_short_anywhere_or_with_more_behind_it_is_refused, setup),
		cmocka_unit_test_setup(disks_come_behind_the_device_state_in_whole_pages, setup),
		cmocka_unit_test_setup(disks_that_break_a_rule_are_refused_and_change_nothing,
				       setup),
		cmocka_unit_test_setup(a_peers_layout_with_impossible_numbers_is_refused, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
