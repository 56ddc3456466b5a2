/*
 * Decoding: the header and the checksum first, then both streams into working memory whose size
 * is the format's limit, never the batch's word; then the entries one by one. The checksum
 * protects against accidents, not against a peer: every later step checks as if it were not
 * there.
 */
#include "replica/delta.h"
#include "replica/delta_format.h"

#include <inttypes.h>
#include <string.h>

struct decoding {
	const struct delta_sink *sink;
	struct delta_scratch *scratch;
	struct cursor control, content;
	uint64_t next; /* the least index that the next page can have */
	uint64_t hash;
};

/*
 * The `len` bytes of a stream, from the `stored` bytes at `from`; NULL when they are not that
 * many.
 */
static const uint8_t *restore(uint8_t *to, uint32_t len, const uint8_t *from, uint32_t stored)
{
	if (stored == len)
		return from;
	return LZ4_decompress_safe((const char *)from, (char *)to, (int)stored, (int)len) ==
			       (int)len ?
		       to :
		       NULL;
}

/* The old page is in the scratch. */
static const uint8_t *patch_sectors(struct decoding *d, uint64_t index, uint64_t *hash,
				    struct err *err)
{
	const uint8_t sectors = cursor_u8(&d->control);
	const uint8_t *from = cursor_bytes(&d->content, delta_sectors_bytes(sectors));
	size_t i;

	if (d->control.short_read || sectors == 0 || sectors == UINT8_MAX || from == NULL) {
		err_set(err, RC_INVALID, "page %" PRIu64 ": its sectors are not valid", index);
		return NULL;
	}
	*hash = delta_sectors_hash(sectors, from);
	for (i = 0; i < LAYOUT_PAGE / CHUNK_SECTOR; i++) {
		if ((sectors >> i & 1) == 0)
			continue;
		memcpy(d->scratch->page + i * CHUNK_SECTOR, from, CHUNK_SECTOR);
		from += CHUNK_SECTOR;
	}
	return d->scratch->page;
}

/*
 * The new content of a page that is in content or made of its old one, and what it counts by; NULL:
 * refused (err is set).
 */
static const uint8_t *new_content(struct decoding *d, enum delta_kind kind, uint64_t index,
				  uint64_t *hash, struct err *err)
{
	const uint8_t *data;

	if (kind == DELTA_PLAIN) {
		data = cursor_bytes(&d->content, LAYOUT_PAGE);
		if (data == NULL)
			err_set(err, RC_INVALID, "content ends before page %" PRIu64, index);
		else
			*hash = delta_content_hash(data);
		return data;
	}
	data = kind == DELTA_CHANGED ? d->sink->base(d->sink->owner, index) :
	       d->sink->held != NULL ? d->sink->held(d->sink->owner, index) :
				       NULL;
	if (data == NULL) {
		err_set(err, RC_INVALID,
			"page %" PRIu64 ": changed, but there is nothing that it could have been",
			index);
		return NULL;
	}
	memcpy(d->scratch->page, data, LAYOUT_PAGE);
	if (kind == DELTA_SECTORS)
		return patch_sectors(d, index, hash, err);
	if (!delta_diff_read(d->scratch->page, &d->control, &d->content)) {
		err_set(err, RC_INVALID, "page %" PRIu64 ": its runs are not valid", index);
		return NULL;
	}
	*hash = delta_content_hash(d->scratch->page);
	return d->scratch->page;
}

static int decode_page(struct decoding *d, struct err *err)
{
	uint64_t entry = delta_get_number(&d->control), index = d->next + (entry >> 2);
	enum delta_kind kind = (enum delta_kind)(entry & 3);
	const uint8_t *data = NULL;
	uint64_t hash = 0;

	if (d->control.short_read)
		return err_set(err, RC_INVALID, "no page after the one before %" PRIu64, d->next);
	if (index >= d->sink->pages)
		return err_set(err, RC_INVALID, "page %" PRIu64 " of %" PRIu64, index,
			       d->sink->pages);
	if (kind == DELTA_ZERO) {
		hash = delta_content_hash(NULL);
	} else {
		data = new_content(d, kind, index, &hash, err);
		if (data == NULL)
			return (int)err->code;
	}
	d->next = index + 1;
	d->hash += delta_page_hash(index, hash);
	return d->sink->put(d->sink->owner, index, data, err);
}

static int decode_pages(struct decoding *d, const struct delta_header *header, const uint8_t *parts,
			struct err *err)
{
	const uint8_t *control, *content;
	uint32_t i;
	int rc;

	control = restore(d->scratch->control, header->control, parts, header->control_stored);
	content = restore(d->scratch->content, header->content, parts + header->control_stored,
			  header->content_stored);
	if (control == NULL || content == NULL)
		return err_set(err, RC_INVALID, "a part does not decompress to what it should be");
	d->control = cursor_of(control, header->control);
	d->content = cursor_of(content, header->content);
	for (i = 0; i < header->pages; i++) {
		rc = decode_page(d, err);
		if (rc != RC_OK)
			return rc;
	}
	if (d->control.left > 0 || d->content.left > 0)
		return err_set(err, RC_INVALID, "%zu and %zu bytes too many", d->control.left,
			       d->content.left);
	return RC_OK;
}

int delta_decode(const uint8_t *batch, size_t len, const struct delta_sink *sink,
		 uint64_t *epoch_hash, uint64_t *received, struct err *err)
{
	struct decoding d = { .sink = sink };
	struct delta_header header;
	int rc;

	rc = delta_format_open(&header, batch, len, err);
	if (rc != RC_OK)
		return rc;
	d.scratch = delta_scratch_get();
	if (d.scratch == NULL)
		return err_nomem(err, "decoding");
	rc = decode_pages(&d, &header, batch + DELTA_HEADER, err);
	delta_scratch_put(d.scratch);
	if (rc != RC_OK)
		return err_prefix(err, "batch: ");
	*epoch_hash += d.hash;
	*received += header.pages;
	return RC_OK;
}
