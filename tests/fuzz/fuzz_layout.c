/*
 * A peer's memory layout. What is accepted must encode to the same bytes and be sound: blocks
 * without gaps, every page found in its block.
 */
#include "replica/layout.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct layout layout, again;
	struct buf out = { 0 };
	struct err err;
	uint64_t next = 0;
	uint32_t i;

	if (layout_decode(&layout, data, size, &err) != RC_OK)
		return 0;
	CHECK(layout.ram_blocks >= 1 && layout.ram_blocks <= LAYOUT_BLOCKS_MAX);
	for (i = 0; i < layout_count(&layout); i++) {
		const struct layout_block *block = &layout.blocks[i];

		CHECK(block->first == next && block->pages > 0);
		next += block->pages;
		CHECK(layout_block_of(&layout, block->first) == block);
		CHECK(layout_block_of(&layout, next - 1) == block);
		if (i < layout.ram_blocks)
			CHECK(layout_find(&layout, block->name, strlen(block->name)) == block);
	}
	CHECK(next == layout.pages && next <= LAYOUT_BYTES_MAX / LAYOUT_PAGE);
	layout_encode(&layout, &out);
	CHECK(!out.failed && out.len == size && memcmp(out.data, data, size) == 0);
	CHECK(layout_decode(&again, out.data, out.len, &err) == RC_OK &&
	      layout_equal(&layout, &again));
	buf_free(&out);
	return 0;
}
