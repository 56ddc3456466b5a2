/*
 * Blocks are kept in the order of the stream, their first pages ascending without gaps, so the
 * block of a page is found by bisection and nothing but this file needs to know how indices are
 * made. layout_add() is the only way in, for what QEMU says and for what a peer says alike: one
 * set of checks.
 */
#include "replica/layout.h"

#include "appliance/base/bytes.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define LAYOUT_MAGIC UINT32_C(0x3259414c) /* "LAY2" */

static_assert(LAYOUT_DEVICE_STATE_MAX % LAYOUT_PAGE == 0, "whole pages");
static_assert(LAYOUT_BYTES_MAX / LAYOUT_PAGE <= UINT32_MAX,
	      "page indices fit 32 bits, and one value stays free");

static bool name_is(const struct layout_block *block, const char *name, size_t name_len)
{
	return strlen(block->name) == name_len && memcmp(block->name, name, name_len) == 0;
}

static const struct layout_block *find(const struct layout_block *blocks, uint32_t count,
				       const char *name, size_t name_len)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		if (name_is(&blocks[i], name, name_len))
			return &blocks[i];
	return NULL;
}

/* Names end up in paths, logs and QEMU's stream: QEMU's own are printable. */
static int check_name(const char *kind, const char *name, size_t name_len, struct err *err)
{
	size_t i;

	if (name_len == 0 || name_len > LAYOUT_NAME_MAX)
		return err_set(err, RC_INVALID, "%s: a name of %zu bytes", kind, name_len);
	for (i = 0; i < name_len; i++)
		if (name[i] < ' ' || name[i] > '~')
			return err_set(err, RC_INVALID, "%s: byte %zu of its name is not printable",
				       kind, i);
	return RC_OK;
}

static int check_bytes(const char *kind, const char *name, size_t name_len, uint64_t bytes,
		       uint64_t room, struct err *err)
{
	if (bytes == 0 || bytes % LAYOUT_PAGE != 0)
		return err_set(err, RC_INVALID,
			       "%s \"%.*s\": %" PRIu64 " bytes are not whole pages", kind,
			       (int)name_len, name, bytes);
	if (bytes > room)
		return err_set(err, RC_LIMIT,
			       "%s \"%.*s\": %" PRIu64 " bytes are more than we can number", kind,
			       (int)name_len, name, bytes);
	return RC_OK;
}

static void set_block(struct layout_block *block, const char *name, size_t name_len, uint64_t first,
		      uint64_t bytes)
{
	memcpy(block->name, name, name_len);
	block->name[name_len] = '\0';
	block->first = first;
	block->pages = bytes / LAYOUT_PAGE;
}

int layout_add(struct layout *layout, const char *name, size_t name_len, uint64_t bytes,
	       struct err *err)
{
	uint64_t room =
		LAYOUT_BYTES_MAX - LAYOUT_DEVICE_STATE_MAX - layout->ram_pages * LAYOUT_PAGE;
	struct layout_block *block;
	int rc;

	assert(layout->pages == 0);
	rc = check_name("RAM block", name, name_len, err);
	if (rc != RC_OK)
		return rc;
	if (layout->ram_blocks == LAYOUT_BLOCKS_MAX)
		return err_set(err, RC_LIMIT, "more than %d RAM blocks", LAYOUT_BLOCKS_MAX);
	rc = check_bytes("RAM block", name, name_len, bytes, room, err);
	if (rc != RC_OK)
		return rc;
	if (find(layout->blocks, layout->ram_blocks, name, name_len) != NULL ||
	    (name_len == strlen(LAYOUT_DEVICE_STATE_NAME) &&
	     memcmp(name, LAYOUT_DEVICE_STATE_NAME, name_len) == 0))
		return err_set(err, RC_INVALID, "two RAM blocks named \"%.*s\"", (int)name_len,
			       name);
	block = &layout->blocks[layout->ram_blocks++];
	set_block(block, name, name_len, layout->ram_pages, bytes);
	layout->ram_pages += block->pages;
	return RC_OK;
}

int layout_finish(struct layout *layout, struct err *err)
{
	struct layout_block *block = &layout->blocks[layout->ram_blocks];

	assert(layout->pages == 0);
	if (layout->ram_blocks == 0)
		return err_set(err, RC_INVALID, "an instance without RAM blocks");
	set_block(block, LAYOUT_DEVICE_STATE_NAME, strlen(LAYOUT_DEVICE_STATE_NAME),
		  layout->ram_pages, LAYOUT_DEVICE_STATE_MAX);
	layout->pages = block->first + block->pages;
	return RC_OK;
}

int layout_add_disk(struct layout *layout, const char *name, size_t name_len, uint64_t bytes,
		    struct err *err)
{
	uint64_t room = LAYOUT_BYTES_MAX - layout->pages * LAYOUT_PAGE;
	struct layout_block *block = &layout->blocks[layout_count(layout)];
	int rc;

	assert(layout->pages > 0);
	rc = check_name("disk", name, name_len, err);
	if (rc == RC_OK && layout->disks == LAYOUT_DISKS_MAX)
		rc = err_set(err, RC_LIMIT, "more than %d disks", LAYOUT_DISKS_MAX);
	if (rc == RC_OK && bytes <= room)
		bytes = (bytes + LAYOUT_PAGE - 1) / LAYOUT_PAGE * LAYOUT_PAGE;
	if (rc == RC_OK)
		rc = check_bytes("disk", name, name_len, bytes, room, err);
	if (rc != RC_OK)
		return rc;
	if (find(layout_disk(layout, 0), layout->disks, name, name_len) != NULL)
		return err_set(err, RC_INVALID, "two disks named \"%.*s\"", (int)name_len, name);
	set_block(block, name, name_len, layout->pages, bytes);
	layout->disks++;
	layout->pages += block->pages;
	return RC_OK;
}

const struct layout_block *layout_find(const struct layout *layout, const char *name,
				       size_t name_len)
{
	return find(layout->blocks, layout->ram_blocks, name, name_len);
}

const struct layout_block *layout_block_of(const struct layout *layout, uint64_t page)
{
	uint32_t low = 0, high = layout_count(layout), middle;

	assert(page < layout->pages);
	while (high - low > 1) {
		middle = low + (high - low) / 2;
		if (layout->blocks[middle].first <= page)
			low = middle;
		else
			high = middle;
	}
	return &layout->blocks[low];
}

bool layout_equal(const struct layout *a, const struct layout *b)
{
	uint32_t i;

	if (a->ram_blocks != b->ram_blocks || a->disks != b->disks || a->pages != b->pages ||
	    a->section != b->section || a->instance != b->instance || a->version != b->version ||
	    a->configuration_len != b->configuration_len ||
	    memcmp(a->configuration, b->configuration, a->configuration_len) != 0)
		return false;
	for (i = 0; i < layout_count(a); i++)
		if (a->blocks[i].pages != b->blocks[i].pages ||
		    strcmp(a->blocks[i].name, b->blocks[i].name) != 0)
			return false;
	return true;
}

static void encode_blocks(const struct layout_block *blocks, uint32_t count, struct buf *out)
{
	uint32_t i;

	buf_append_le32(out, count);
	for (i = 0; i < count; i++) {
		size_t name_len = strlen(blocks[i].name);

		buf_append_u8(out, (uint8_t)name_len);
		buf_append(out, blocks[i].name, name_len);
		buf_append_le64(out, blocks[i].pages * LAYOUT_PAGE);
	}
}

void layout_encode(const struct layout *layout, struct buf *out)
{
	assert(layout->pages > 0);
	buf_append_le32(out, LAYOUT_MAGIC);
	buf_append_le32(out, layout->section);
	buf_append_le32(out, layout->instance);
	buf_append_le32(out, layout->version);
	buf_append_le32(out, layout->configuration_len);
	buf_append(out, layout->configuration, layout->configuration_len);
	encode_blocks(layout->blocks, layout->ram_blocks, out);
	encode_blocks(layout_disk(layout, 0), layout->disks, out);
}

static int decode_head(struct layout *layout, struct cursor *c, struct err *err)
{
	const uint8_t *configuration;

	if (cursor_le32(c) != LAYOUT_MAGIC)
		return err_set(err, RC_INVALID, "not a memory layout");
	layout->section = cursor_le32(c);
	layout->instance = cursor_le32(c);
	layout->version = cursor_le32(c);
	layout->configuration_len = cursor_le32(c);
	if (layout->configuration_len > LAYOUT_CONFIGURATION_MAX)
		return err_set(err, RC_LIMIT,
			       "a machine configuration of %" PRIu32 " bytes, at most %d are taken",
			       layout->configuration_len, LAYOUT_CONFIGURATION_MAX);
	configuration = cursor_bytes(c, layout->configuration_len);
	if (configuration != NULL)
		memcpy(layout->configuration, configuration, layout->configuration_len);
	return c->short_read ? err_set(err, RC_INVALID, "cut short") : RC_OK;
}

static int decode_blocks(struct layout *layout, struct cursor *c,
			 int (*add)(struct layout *layout, const char *name, size_t name_len,
				    uint64_t bytes, struct err *err),
			 struct err *err)
{
	uint32_t count = cursor_le32(c), i;
	int rc = c->short_read ? err_set(err, RC_INVALID, "cut short") : RC_OK;

	for (i = 0; rc == RC_OK && i < count; i++) {
		uint8_t name_len = cursor_u8(c);
		const uint8_t *name = cursor_bytes(c, name_len);
		uint64_t bytes = cursor_le64(c);

		if (c->short_read)
			return err_set(err, RC_INVALID, "cut short in block %" PRIu32, i);
		if (bytes % LAYOUT_PAGE != 0)
			return err_set(err, RC_INVALID, "block %" PRIu32 ": not whole pages", i);
		rc = add(layout, (const char *)name, name_len, bytes, err);
	}
	return rc;
}

static int decode(struct layout *layout, struct cursor *c, struct err *err)
{
	int rc = decode_head(layout, c, err);

	if (rc == RC_OK)
		rc = decode_blocks(layout, c, layout_add, err);
	if (rc == RC_OK)
		rc = layout_finish(layout, err);
	if (rc == RC_OK)
		rc = decode_blocks(layout, c, layout_add_disk, err);
	if (rc == RC_OK && c->left > 0)
		rc = err_set(err, RC_INVALID, "%zu bytes too many", c->left);
	return rc;
}

int layout_decode(struct layout *layout, const uint8_t *data, size_t len, struct err *err)
{
	struct cursor c = cursor_of(data, len);
	int rc;

	memset(layout, 0, sizeof(*layout));
	rc = decode(layout, &c, err);
	if (rc != RC_OK)
		err_prefix(err, "memory layout: ");
	return rc;
}
