/*
 * Theory of operation. A first pass compares, notes each page that differs (a bit each: 32 KiB for a GiB), and has it reserved where it
 * will hold something, so that a full file system is found while the image is whole. The second one writes, and reads nothing that is
 * the same: its cost grows with what differs, that of the first one with what has storage.
 */
#include "replica/image_take.h"

#include "appliance/base/mem.h"
#include "replica/image_map.h"
#include "replica/zero_page.h"

#include <string.h>

struct image_take {
	struct image *image;
	const struct image *from;
	uint64_t pages, count;
	uint64_t differ[]; /* a bit each page */
};

static bool differs(const struct image_take *take, uint64_t index)
{
	return (take->differ[index / 64] >> (index % 64) & 1) != 0;
}

/* *content NULL: all zeroes. */
static int read_new(const struct image_take *take, uint64_t index, uint8_t *room,
		    const uint8_t **content, struct err *err)
{
	int rc = image_read(take->from, index, room, content, err);

	if (rc == RC_OK && (*content == zero_page || zero_page_is(*content)))
		*content = NULL;
	return rc;
}

/* By words: the C library's memcmp() takes bytes one by one. */
static bool is_same(const uint8_t *a, const uint8_t *b)
{
	uint64_t left[8], right[8], difference = 0;
	size_t at, i;

	for (at = 0; at < LAYOUT_PAGE && difference == 0; at += sizeof(left)) {
		memcpy(left, a + at, sizeof(left));
		memcpy(right, b + at, sizeof(right));
		for (i = 0; i < 8; i++)
			difference |= left[i] ^ right[i];
	}
	return difference == 0;
}

static int look_at(struct image_take *take, uint64_t index, struct err *err)
{
	uint8_t rooms[2][LAYOUT_PAGE];
	const uint8_t *now = NULL, *then = NULL;
	struct image_block *block;
	uint64_t page;
	int rc = image_read(take->image, index, rooms[0], &now, err);

	if (rc == RC_OK)
		rc = image_read(take->from, index, rooms[1], &then, err);
	if (rc != RC_OK || now == then || is_same(now, then))
		return rc;
	take->differ[index / 64] |= UINT64_C(1) << (index % 64);
	take->count++;
	if (zero_page_is(then))
		return RC_OK;
	block = image_map_block(image_map_of(take->image), index, &page);
	return image_block_reserve(block, page, err);
}

int image_take_open(struct image_take **out, struct image *image, const struct image *from,
		    struct err *err)
{
	const struct layout *layout = image_layout(image);
	struct image_take *take;
	uint64_t index;
	int rc = RC_OK;

	*out = NULL;
	if (layout == NULL || image_layout(from) == NULL ||
	    !layout_equal(layout, image_layout(from)))
		return err_set(err, RC_REFUSED,
			       "the instance had other memory or disks then than it has now");
	if (image_epoch(from) == 0)
		return err_set(err, RC_REFUSED, "there is no epoch in it");
	take = mem_zalloc(1, sizeof(*take) + (layout->pages / 64 + 1) * sizeof(take->differ[0]));
	if (take == NULL)
		return err_nomem(err, "comparing two images");
	*out = take;
	take->image = image;
	take->from = from;
	take->pages = layout->pages;
	for (index = 0; rc == RC_OK && index < take->pages; index++)
		rc = look_at(take, index, err);
	return rc;
}

uint64_t image_take_pages(const struct image_take *take)
{
	return take->count;
}

/* How many pages from that one on, in its block, differ and are to be zero. */
static int zeroes_from(const struct image_take *take, uint64_t index, uint64_t end, uint64_t *count,
		       struct err *err)
{
	uint8_t room[LAYOUT_PAGE];
	const uint8_t *content = NULL;
	int rc = RC_OK;

	for (*count = 0; index + *count < end && differs(take, index + *count); (*count)++) {
		rc = read_new(take, index + *count, room, &content, err);
		if (rc != RC_OK || content != NULL)
			break;
	}
	return rc;
}

static int write_at(const struct image_take *take, uint64_t index, uint64_t *count, struct err *err)
{
	uint64_t page;
	struct image_block *block = image_map_block(image_map_of(take->image), index, &page);
	uint8_t room[LAYOUT_PAGE];
	const uint8_t *content;
	int rc = zeroes_from(take, index, index + (block->pages - page), count, err);

	if (rc != RC_OK)
		return rc;
	if (*count > 0)
		return image_block_zero(block, page, *count, err);
	*count = 1;
	rc = read_new(take, index, room, &content, err);
	return rc == RC_OK ? image_block_write(block, page, content, err) : rc;
}

int image_take_copy(struct image_take *take, struct err *err)
{
	uint64_t index = 0, count;
	int rc = RC_OK;

	image_forget(take->image);
	while (rc == RC_OK && index < take->pages) {
		count = 1;
		if (differs(take, index))
			rc = write_at(take, index, &count, err);
		index += count;
	}
	if (rc == RC_OK)
		rc = image_become(take->image, image_epoch(take->from),
				  image_device_state_len(take->from), err);
	return rc;
}

void image_take_close(struct image_take *take)
{
	mem_free(take);
}
