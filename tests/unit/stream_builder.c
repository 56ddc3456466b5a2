#include "tests/unit/stream_builder.h"

#include "replica/layout.h"

#include <string.h>

void builder_text(struct buf *out, const char *text)
{
	buf_append_u8(out, (uint8_t)strlen(text));
	buf_append(out, text, strlen(text));
}

void builder_list(struct buf *out)
{
	buf_append_be64(out, (BUILDER_RAM_PAGES + BUILDER_BIOS_PAGES) * LAYOUT_PAGE | 0x004);
	builder_text(out, "pc.ram");
	buf_append_be64(out, BUILDER_RAM_PAGES * LAYOUT_PAGE);
	builder_text(out, "pc.bios");
	buf_append_be64(out, BUILDER_BIOS_PAGES * LAYOUT_PAGE);
}

void builder_page(struct buf *out, const char *block, uint64_t page, uint8_t fill)
{
	uint8_t *to;

	buf_append_be64(out, page * LAYOUT_PAGE | (fill != 0 ? BUILDER_PAGE : BUILDER_ZERO) |
				     (block == NULL ? BUILDER_CONTINUE : 0));
	if (block != NULL)
		builder_text(out, block);
	to = buf_extend(out, fill != 0 ? LAYOUT_PAGE : 1);
	if (to != NULL)
		memset(to, fill, fill != 0 ? LAYOUT_PAGE : 1);
}

void builder_eos(struct buf *out)
{
	buf_append_be64(out, 0x010);
}

void builder_header(struct buf *out)
{
	buf_append(out, "QEVM", 4);
	buf_append_be32(out, 3);
	buf_append_u8(out, 7);
	buf_append_be32(out, 7);
	buf_append(out, "pc-10.0", 7);
	buf_append_u8(out, 8);
	buf_append_be32(out, UINT32_C(8) << 16); /* ENABLE_COLO, empty */
}

static void begin(struct buf *out, uint8_t type)
{
	buf_append_u8(out, type);
	buf_append_be32(out, BUILDER_SECTION);
}

void builder_start(struct buf *out)
{
	begin(out, 1);
	builder_text(out, "ram");
	buf_append_be32(out, 0);
	buf_append_be32(out, 4);
	builder_list(out);
	builder_footer(out);
}

void builder_begin_part(struct buf *out)
{
	begin(out, 2);
}

void builder_begin_end(struct buf *out)
{
	begin(out, 3);
}

void builder_footer(struct buf *out)
{
	builder_eos(out);
	begin(out, 0x7e);
}

void builder_begin_checkpoint(struct buf *out)
{
	buf_append_be32(out, 1);
	buf_append_be32(out, 3);
	buf_append_u8(out, 8);
	buf_append_be32(out, UINT32_C(11) << 16); /* SWITCHOVER_START, empty */
	builder_begin_end(out);
}

void builder_end_checkpoint(struct buf *out, size_t state_len)
{
	size_t i;

	builder_footer(out);
	buf_append_u8(out, 0);
	buf_append_be32(out, 4);
	buf_append_be64(out, state_len);
	for (i = 1; i <= state_len; i++)
		buf_append_u8(out, (uint8_t)(i % 251));
}
