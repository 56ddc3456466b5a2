#include "net/nbd_format.h"

#include <string.h>

#define LAST 1 /* of a reply's chunks */

static void put_chunk(struct buf *out, enum nbd_chunk_kind kind, uint64_t cookie, uint32_t len)
{
	(void)buf_append_be32(out, NBD_CHUNK_MAGIC);
	(void)buf_append_be32(out, (uint32_t)LAST << 16 | (uint32_t)kind);
	(void)buf_append_be64(out, cookie);
	(void)buf_append_be32(out, len);
}

static void put_simple(struct buf *out, uint64_t cookie, enum nbd_error error)
{
	(void)buf_append_be32(out, NBD_SIMPLE_MAGIC);
	(void)buf_append_be32(out, (uint32_t)error);
	(void)buf_append_be64(out, cookie);
}

void nbd_put_done(struct buf *out, uint64_t cookie)
{
	put_simple(out, cookie, NBD_OK);
}

void nbd_put_error(struct buf *out, bool structured, uint64_t cookie, enum nbd_error error)
{
	if (!structured) {
		put_simple(out, cookie, error);
		return;
	}
	put_chunk(out, NBD_CHUNK_ERROR, cookie, 6);
	(void)buf_append_be32(out, (uint32_t)error);
	(void)buf_append(out, "\0", 2); /* no message */
}

static void put_zeroes(struct buf *out, size_t len)
{
	uint8_t *at = buf_extend(out, len);

	if (at != NULL)
		memset(at, 0, len);
}

void nbd_put_data(struct buf *out, bool structured, uint64_t cookie, uint64_t offset,
		  const uint8_t *data, uint32_t len)
{
	if (!structured) {
		put_simple(out, cookie, NBD_OK);
	} else if (data == NULL) {
		put_chunk(out, NBD_CHUNK_OFFSET_HOLE, cookie, 12);
		(void)buf_append_be64(out, offset);
		(void)buf_append_be32(out, len);
		return;
	} else {
		put_chunk(out, NBD_CHUNK_OFFSET_DATA, cookie, 8 + len);
		(void)buf_append_be64(out, offset);
	}
	if (data != NULL)
		(void)buf_append(out, data, len);
	else
		put_zeroes(out, len);
}

void nbd_put_extents(struct buf *out, uint64_t cookie, uint32_t context,
		     const struct nbd_extent *extents, size_t count)
{
	size_t i;

	put_chunk(out, NBD_CHUNK_BLOCK_STATUS, cookie, (uint32_t)(4 + 8 * count));
	(void)buf_append_be32(out, context);
	for (i = 0; i < count; i++) {
		(void)buf_append_be32(out, extents[i].length);
		(void)buf_append_be32(out, extents[i].flags);
	}
}
