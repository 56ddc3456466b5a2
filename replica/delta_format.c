#include "replica/delta_format.h"

#include "replica/delta.h"
#include "replica/zero_page.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

static const char magic[8] = { 'U', 'S', 'D', 'E', 'L', 'T', 'A', '1' };

static uint64_t checksum(const uint8_t *batch, size_t len)
{
	return XXH64(batch + DELTA_CHECKED, len - DELTA_CHECKED, 0);
}

static void check_limits(const struct delta_header *h)
{
	assert(h->pages >= 1 && h->pages <= CHUNK_PAGES);
	assert(h->control >= 1 && h->control <= DELTA_CONTROL_MAX &&
	       h->control_stored <= h->control);
	assert(h->content <= CHUNK_BYTES && h->content_stored <= h->content);
}

void delta_format_seal(uint8_t *batch, const struct delta_header *h)
{
	check_limits(h);
	memcpy(batch, magic, sizeof(magic));
	bytes_put_le32(batch + 16, h->pages);
	bytes_put_le32(batch + 20, h->control);
	bytes_put_le32(batch + 24, h->control_stored);
	bytes_put_le32(batch + 28, h->content);
	bytes_put_le32(batch + 32, h->content_stored);
	delta_format_reseal(batch, DELTA_HEADER + h->control_stored + h->content_stored);
}

void delta_format_reseal(uint8_t *batch, size_t len)
{
	bytes_put_le64(batch + 8, checksum(batch, len));
}

int delta_format_open(struct delta_header *h, const uint8_t *batch, size_t len, struct err *err)
{
	if (len < DELTA_HEADER || len > DELTA_BATCH_MAX || memcmp(batch, magic, sizeof(magic)) != 0)
		return err_set(err, RC_INVALID, "batch: %zu bytes that are not a delta batch", len);
	if (bytes_get_le64(batch + 8) != checksum(batch, len))
		return err_set(err, RC_INVALID, "batch: its checksum is wrong");
	h->pages = bytes_get_le32(batch + 16);
	h->control = bytes_get_le32(batch + 20);
	h->control_stored = bytes_get_le32(batch + 24);
	h->content = bytes_get_le32(batch + 28);
	h->content_stored = bytes_get_le32(batch + 32);
	if (h->pages < 1 || h->pages > CHUNK_PAGES || h->control < 1 ||
	    h->control > DELTA_CONTROL_MAX || h->content > CHUNK_BYTES)
		return err_set(err, RC_INVALID,
			       "batch: %" PRIu32 " pages, %" PRIu32 " bytes of control, %" PRIu32
			       " of content",
			       h->pages, h->control, h->content);
	if (h->control_stored > h->control || h->content_stored > h->content ||
	    (size_t)h->control_stored + h->content_stored != len - DELTA_HEADER)
		return err_set(err, RC_INVALID,
			       "batch: %zu bytes do not hold %" PRIu32 " of control and %" PRIu32
			       " of content",
			       len, h->control_stored, h->content_stored);
	return RC_OK;
}

uint64_t delta_content_hash(const uint8_t *data)
{
	uint64_t hash = XXH64(data != NULL ? data : zero_page, LAYOUT_PAGE, 0);

	return hash != 0 ? hash : 1; /* 0 says: not known */
}

uint64_t delta_sectors_hash(uint8_t sectors, const uint8_t *content)
{
	uint64_t hash = XXH64(content, delta_sectors_bytes(sectors), sectors);

	return hash != 0 ? hash : 1;
}

uint64_t delta_page_hash(uint64_t index, uint64_t content_hash)
{
	uint64_t hash = content_hash ^ ((index + 1) * UINT64_C(0x9E3779B97F4A7C15));

	/*
	 * What is summed must be mixed first: otherwise two pages that swap places would cancel
	 * out.
	 */
	hash = (hash ^ (hash >> 32)) * UINT64_C(0xD6E8FEB86659FD93);
	hash = (hash ^ (hash >> 32)) * UINT64_C(0xD6E8FEB86659FD93);
	return hash ^ (hash >> 32);
}
