#include "replica/ram_stream.h"

#include "replica/migration_format.h"

#include <inttypes.h>
#include <string.h>

#define FLAGS (LAYOUT_PAGE - 1)

/* What we do not take, by the flag that announces it. */
static const struct {
	uint64_t flag;
	const char *what;
} unsupported[] = {
	{ 0x001, "the FULL flag of a QEMU from before 2010" },
	{ 0x040, "an XBZRLE page (capability xbzrle)" },
	{ 0x080, "an RDMA hook" },
	{ 0x100, "a compressed page (capability compress)" },
	{ 0x200, "a multifd flush (capability multifd)" },
};

void ram_stream_init(struct ram_stream *stream, struct layout *layout)
{
	*stream = (struct ram_stream){ .layout = layout };
}

static int refuse_flags(uint64_t head, struct err *err)
{
	size_t i;

	for (i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++) {
		if (head & unsupported[i].flag)
			return err_set(err, RC_UNSUPPORTED, "RAM section: %s is not supported",
				       unsupported[i].what);
	}
	return err_set(err, RC_INVALID, "RAM section: unknown flags %#" PRIx64, head & FLAGS);
}

/* One block of the list. */
static int list_block(struct ram_stream *stream, struct cursor *in, struct ram_item *item,
		      struct err *err)
{
	struct cursor at = *in;
	uint8_t name_len = cursor_u8(&at);
	const uint8_t *name = cursor_bytes(&at, name_len);
	uint64_t bytes = cursor_be64(&at);
	int rc;

	item->kind = RAM_ITEM_MORE;
	if (at.short_read)
		return RC_OK;
	if (bytes > stream->unlisted)
		return err_set(err, RC_INVALID,
			       "RAM section: the blocks are larger than their announced total");
	rc = layout_add(stream->layout, (const char *)name, name_len, bytes, err);
	if (rc != RC_OK)
		return err_prefix(err, "RAM section: ");
	stream->unlisted -= bytes;
	*in = at;
	if (stream->unlisted > 0)
		return RC_OK;
	rc = layout_finish(stream->layout, err);
	if (rc != RC_OK)
		return err_prefix(err, "RAM section: ");
	stream->listed = true;
	item->kind = RAM_ITEM_LAYOUT;
	return RC_OK;
}

static int begin_list(struct ram_stream *stream, uint64_t total, struct err *err)
{
	if (stream->listed)
		return err_set(err, RC_INVALID, "RAM section: a second list of blocks");
	if (total == 0)
		return err_set(err, RC_INVALID, "RAM section: the list of blocks is empty");
	if (total > LAYOUT_BYTES_MAX)
		return err_set(err, RC_LIMIT,
			       "RAM section: %" PRIu64 " bytes of memory, at most %" PRIu64
			       " are supported",
			       total, (uint64_t)LAYOUT_BYTES_MAX);
	stream->unlisted = total;
	return RC_OK;
}

static int find_block(const struct ram_stream *stream, const uint8_t *name, size_t len,
		      const struct layout_block **block, struct err *err)
{
	*block = layout_find(stream->layout, (const char *)name, len);
	if (*block == NULL)
		return err_set(err, RC_INVALID,
			       "RAM section: a page of a block that was not listed: \"%.*s\"",
			       (int)len, (const char *)name);
	return RC_OK;
}

/* `at` is behind the flags. */
static int take_page(struct ram_stream *stream, uint64_t head, struct cursor at, struct cursor *in,
		     struct ram_item *item, struct err *err)
{
	const struct layout_block *block = stream->block;
	uint64_t page = head / LAYOUT_PAGE;
	const uint8_t *name = NULL, *data;
	uint8_t name_len = 0;

	if (!stream->listed)
		return err_set(err, RC_INVALID, "RAM section: a page before the list of blocks");
	if (!(head & RAM_FLAG_CONTINUE)) {
		name_len = cursor_u8(&at);
		name = cursor_bytes(&at, name_len);
	} else if (block == NULL) {
		return err_set(err, RC_INVALID, "RAM section: the first page names no block");
	}
	data = cursor_bytes(&at, head & RAM_FLAG_PAGE ? LAYOUT_PAGE : 1);
	if (at.short_read)
		return RC_OK;
	if (name != NULL && find_block(stream, name, name_len, &block, err) != RC_OK)
		return (int)err->code;
	if (page >= block->pages)
		return err_set(err, RC_INVALID,
			       "RAM section: page %" PRIu64 " of block \"%s\", which has %" PRIu64,
			       page, block->name, block->pages);
	if (head & RAM_FLAG_ZERO) {
		if (*data != 0)
			return err_set(err, RC_UNSUPPORTED,
				       "RAM section: a page filled with %#x instead of zeroes",
				       *data);
		data = NULL;
	}
	stream->block = block;
	*item = (struct ram_item){ .kind = RAM_ITEM_PAGE,
				   .index = block->first + page,
				   .data = data };
	*in = at;
	return RC_OK;
}

int ram_stream_next(struct ram_stream *stream, struct cursor *in, struct ram_item *item,
		    struct err *err)
{
	struct cursor at = *in;
	size_t before;
	uint64_t head;
	int rc;

	*item = (struct ram_item){ .kind = RAM_ITEM_MORE };
	while (stream->unlisted > 0) {
		before = in->left;
		rc = list_block(stream, in, item, err);
		if (rc != RC_OK || item->kind != RAM_ITEM_MORE || in->left == before)
			return rc;
		at = *in;
	}
	head = cursor_be64(&at);
	if (at.short_read)
		return RC_OK;
	switch (head & FLAGS) {
	case RAM_FLAG_PAGE:
	case RAM_FLAG_PAGE | RAM_FLAG_CONTINUE:
	case RAM_FLAG_ZERO:
	case RAM_FLAG_ZERO | RAM_FLAG_CONTINUE:
		return take_page(stream, head, at, in, item, err);
	case RAM_FLAG_EOS:
		item->kind = RAM_ITEM_END;
		*in = at;
		return RC_OK;
	case RAM_FLAG_MEM_SIZE:
		rc = begin_list(stream, head & ~(uint64_t)FLAGS, err);
		if (rc != RC_OK)
			return rc;
		*in = at;
		return ram_stream_next(stream, in, item, err);
	default:
		return refuse_flags(head, err);
	}
}
