/*
 * The stream, big-endian throughout:
 *
 * File header and configuration, with the one subsection that lists capabilities:
 *   be32 "QEVM"  be32 3
 *   u8 07  be32 length  machine type
 *   u8 05  u8 26 "configuration/capabilities"  be32 1  be32 1  u8 15 "x-ignore-shared"
 *
 * Start of RAM, the blocks in the layout's order:
 *   u8 01  be32 section  u8 3 "ram"  be32 instance  be32 version
 *   be64 sum of all blocks' bytes | 04
 *   per block: u8 length  name  be64 bytes  be64 address in its region
 *   be64 10  u8 7e  be32 section
 *
 * End of RAM, each page of the blocks that are not shared; 20: of the same block as the page
 * before, whose name is then left out:
 *   u8 03  be32 section
 *   per page: be64 offset | 08 (| 20)  [u8 length  name]  4096 bytes
 *   or, all zeroes: be64 offset | 02 (| 20)  [u8 length  name]  u8 0
 *   be64 10  u8 7e  be32 section
 *
 * Device state as the last checkpoint brought it (its sections, u8 00), then an empty description
 * of the stream, so that QEMU neither waits for one nor warns that there is none:
 *   u8 06  be32 0
 *
 * Every page of a private block is sent, also those that are zero: a QEMU that has just been
 * started does not have zeroes everywhere (firmware, option ROMs, the video memory of some cards).
 * 9 bytes each; 64 MiB of video memory add about 2 ms to the activation.
 */
#include "replica/activation.h"

#include "appliance/base/buf.h"
#include "appliance/base/mem.h"
#include "replica/migration_format.h"
#include "replica/zero_page.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SUBSECTION "configuration/capabilities"
#define CAPABILITY "x-ignore-shared"
#define WRITE_AT ((size_t)256 << 10)			  /* buffered, then written */
#define PAGE_COST (LAYOUT_PAGE + 8 + 1 + LAYOUT_NAME_MAX) /* the most a page adds */

struct writer {
	int fd;
	size_t written;
	struct buf buf;
};

static int flush(struct writer *w, struct err *err)
{
	size_t done = 0;
	ssize_t r;

	if (w->buf.failed)
		return err_nomem(err, "an activation stream");
	while (done < w->buf.len) {
		r = write(w->fd, w->buf.data + done, w->buf.len - done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return err_system(err, r < 0 ? errno : ENOSPC,
					  "writing an activation stream");
		done += (size_t)r;
	}
	w->written += done;
	buf_reset(&w->buf);
	return RC_OK;
}

static void put_name(struct buf *out, const char *name)
{
	size_t len = strlen(name);

	(void)buf_append_u8(out, (uint8_t)len);
	(void)buf_append(out, name, len);
}

static void put_header(struct buf *out, const struct layout *layout)
{
	(void)buf_append_be32(out, MIGRATION_MAGIC);
	(void)buf_append_be32(out, MIGRATION_VERSION);
	(void)buf_append_u8(out, SECTION_CONFIGURATION);
	(void)buf_append_be32(out, layout->configuration_len);
	(void)buf_append(out, layout->configuration, layout->configuration_len);
	(void)buf_append_u8(out, SECTION_SUBSECTION);
	put_name(out, SUBSECTION);
	(void)buf_append_be32(out, 1); /* its version */
	(void)buf_append_be32(out, 1); /* capabilities that follow */
	put_name(out, CAPABILITY);
}

static void put_part_end(struct buf *out, const struct layout *layout)
{
	(void)buf_append_be64(out, RAM_FLAG_EOS);
	(void)buf_append_u8(out, SECTION_FOOTER);
	(void)buf_append_be32(out, layout->section);
}

static const struct activation_block *find(const struct activation_block *blocks, size_t nblocks,
					   const char *name)
{
	for (size_t i = 0; i < nblocks; i++) {
		if (strcmp(blocks[i].name, name) == 0)
			return &blocks[i];
	}
	return NULL;
}

static int put_blocks(struct buf *out, const struct image *image, const struct layout *layout,
		      const struct activation_block *blocks, size_t nblocks, struct err *err)
{
	const struct activation_block *known;
	const struct layout_block *block;

	(void)buf_append_u8(out, SECTION_START);
	(void)buf_append_be32(out, layout->section);
	put_name(out, "ram");
	(void)buf_append_be32(out, layout->instance);
	(void)buf_append_be32(out, layout->version);
	(void)buf_append_be64(out, layout->ram_pages * LAYOUT_PAGE | RAM_FLAG_MEM_SIZE);
	for (uint32_t i = 0; i < layout->ram_blocks; i++) {
		block = &layout->blocks[i];
		known = find(blocks, nblocks, block->name);
		if (known == NULL && image_is_shared(image, block))
			return err_set(err, RC_STATE, "the warm QEMU does not have RAM block %.64s",
				       block->name);
		put_name(out, block->name);
		(void)buf_append_be64(out, block->pages * LAYOUT_PAGE);
		(void)buf_append_be64(out, known != NULL ? known->address : 0);
	}
	put_part_end(out, layout);
	return RC_OK;
}

static int put_block_pages(struct writer *w, const struct image *image,
			   const struct layout_block *block, struct err *err)
{
	const uint8_t *known_zero = NULL; /* the image has one page for all that hold nothing */
	uint64_t same = 0;

	for (uint64_t i = 0; i < block->pages; i++) {
		const uint8_t *page = image_page(image, block->first + i);
		bool zero = page == known_zero || zero_page_is(page);

		if (zero)
			known_zero = page;
		(void)buf_append_be64(
			&w->buf, i * LAYOUT_PAGE | (zero ? RAM_FLAG_ZERO : RAM_FLAG_PAGE) | same);
		if (same == 0)
			put_name(&w->buf, block->name);
		same = RAM_FLAG_CONTINUE;
		if (zero)
			(void)buf_append_u8(&w->buf, 0);
		else
			(void)buf_append(&w->buf, page, LAYOUT_PAGE);
		if (w->buf.len >= WRITE_AT && flush(w, err) != RC_OK)
			return (int)err->code;
	}
	return RC_OK;
}

static int put_pages(struct writer *w, const struct image *image, const struct layout *layout,
		     struct err *err)
{
	int rc = RC_OK;

	(void)buf_append_u8(&w->buf, SECTION_END);
	(void)buf_append_be32(&w->buf, layout->section);
	for (uint32_t i = 0; i < layout->ram_blocks && rc == RC_OK; i++) {
		if (!image_is_shared(image, &layout->blocks[i]))
			rc = put_block_pages(w, image, &layout->blocks[i], err);
	}
	put_part_end(&w->buf, layout);
	return rc;
}

static int put_device_state(struct writer *w, const struct image *image,
			    const struct layout *layout, struct err *err)
{
	size_t left = image_device_state_len(image), part;
	int rc = RC_OK;

	for (uint64_t i = layout->ram_pages; left > 0 && rc == RC_OK; i++) {
		part = left < LAYOUT_PAGE ? left : LAYOUT_PAGE;
		(void)buf_append(&w->buf, image_page(image, i), part);
		left -= part;
		if (w->buf.len >= WRITE_AT)
			rc = flush(w, err);
	}
	(void)buf_append_u8(&w->buf, SECTION_DESCRIPTION);
	(void)buf_append_be32(&w->buf, 0);
	return rc;
}

static int put_all(struct writer *w, const struct image *image,
		   const struct activation_block *blocks, size_t nblocks, struct err *err)
{
	const struct layout *layout = image_layout(image);
	int rc;

	put_header(&w->buf, layout);
	rc = put_blocks(&w->buf, image, layout, blocks, nblocks, err);
	if (rc == RC_OK)
		rc = put_pages(w, image, layout, err);
	if (rc == RC_OK)
		rc = put_device_state(w, image, layout, err);
	if (rc == RC_OK)
		rc = flush(w, err);
	if (rc == RC_OK && lseek(w->fd, 0, SEEK_SET) < 0)
		rc = err_system(err, errno, "an activation stream");
	return rc;
}

int activation_stream(const struct image *image, const struct activation_block *blocks,
		      size_t nblocks, int *fd, size_t *len, struct err *err)
{
	struct writer w = { .buf = { .limit = WRITE_AT + 2 * PAGE_COST } };
	int rc;

	*fd = -1;
	if (image_layout(image) == NULL || image_epoch(image) == 0 ||
	    image_device_state_len(image) == 0)
		return err_set(err, RC_STATE, "no committed epoch to activate");
	w.fd = memfd_create("activation", MFD_CLOEXEC);
	if (w.fd < 0)
		return err_system(err, errno, "an activation stream");
	rc = put_all(&w, image, blocks, nblocks, err);
	buf_free(&w.buf);
	if (rc != RC_OK) {
		(void)close(w.fd);
		return rc;
	}
	*fd = w.fd;
	*len = w.written;
	return RC_OK;
}
