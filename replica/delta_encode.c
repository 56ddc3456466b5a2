/*
 * Encoding: the pages of a chunk, in ascending order, are looked at one by one and written into
 * two streams, control and content; then the streams are compressed straight into the caller's
 * buffer.
 *
 * What the standby has of a page is known by its content in the cache or else by its hash. A
 * cached page is compared byte by byte, which finds the differences and proves "unchanged" in one
 * go; the hash of a page is only taken when it travels or is not cached. A difference is sent of
 * a page whose former content is at hand (in the cache, or zeroes), unless most of it differs.
 *
 * A page enters the cache for good when it is sent although something was known of it. A page that
 * is merely copied for the first time only fills room that is free: the first copy of a guest
 * brings every page once and must not push out those that keep changing.
 */
#define LZ4_STATIC_LINKING_ONLY /* LZ4_compress_fast_extState_fastReset(): we link it statically */
#include "replica/delta_format.h"
#include "replica/delta_state.h"
#include "replica/zero_page.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* LZ4's. Measured on recorded guests: 8 makes batches 4 to 18 % larger and all 6 to 11 % faster. */
#define ACCELERATION 1

struct encoding {
	struct delta_state *state;
	struct delta_scratch *scratch;
	bool may_xor;
	uint8_t *control, *content; /* where the next byte goes */
	uint64_t next;		    /* the least index that the next page can have */
	uint64_t hash;		    /* of what travels */
	struct delta_stats stats;
};

static void put_entry(struct encoding *e, uint64_t index, enum delta_kind kind)
{
	e->control = delta_put_number(e->control, (index - e->next) << 2 | kind);
	e->next = index + 1;
}

static void travels(struct encoding *e, uint64_t index, uint64_t content_hash)
{
	e->state->hashes[index] = content_hash;
	e->hash += delta_page_hash(index, content_hash);
}

static void put_plain(struct encoding *e, uint64_t index, const uint8_t *data)
{
	put_entry(e, index, DELTA_PLAIN);
	memcpy(e->content, data, LAYOUT_PAGE);
	e->content += LAYOUT_PAGE;
	e->stats.plain++;
}

static void forget(struct delta_state *state, uint64_t index)
{
	state->hashes[index] = 0;
	page_cache_lock(state->cache, index);
	page_cache_remove(state->cache, index);
	page_cache_unlock(state->cache, index);
}

static void encode_zero(struct encoding *e, uint64_t index)
{
	if (e->state->hashes[index] == e->state->zero_hash) {
		e->stats.unchanged++;
		return;
	}
	forget(e->state, index);
	put_entry(e, index, DELTA_ZERO);
	travels(e, index, e->state->zero_hash);
	e->stats.zero++;
}

/* What the standby has of the page afterwards is not known here. */
static void put_sectors(struct encoding *e, uint64_t index, const struct chunk_page *page)
{
	const uint8_t *start = e->content;
	size_t i;

	forget(e->state, index);
	put_entry(e, index, DELTA_SECTORS);
	*e->control++ = page->sectors;
	for (i = 0; i < LAYOUT_PAGE / CHUNK_SECTOR; i++) {
		if ((page->sectors >> i & 1) == 0)
			continue;
		memcpy(e->content, page->data + i * CHUNK_SECTOR, CHUNK_SECTOR);
		e->content += CHUNK_SECTOR;
	}
	e->hash += delta_page_hash(index, delta_sectors_hash(page->sectors, start));
	e->stats.changed++;
}

/*
 * What differs from `old`, which the standby has; the whole page when that is most of it. False:
 * nothing differs.
 */
static bool put_difference(struct encoding *e, uint64_t index, const uint8_t *data,
			   const uint8_t *old)
{
	struct delta_diff diff;
	unsigned differ = delta_diff(&diff, data, old);

	if (differ == 0)
		return false;
	if (e->may_xor && differ <= DELTA_DENSE) {
		put_entry(e, index, DELTA_CHANGED);
		delta_diff_write(&diff, data, &e->control, &e->content);
		e->stats.changed++;
	} else {
		put_plain(e, index, data);
	}
	return true;
}

/* The page is in the cache, as `cached`. */
static void encode_cached(struct encoding *e, uint64_t index, const uint8_t *data, uint8_t *cached)
{
	if (!put_difference(e, index, data, cached)) {
		e->stats.unchanged++;
		return;
	}
	memcpy(cached, data, LAYOUT_PAGE);
	travels(e, index, delta_content_hash(data));
}

static void encode_uncached(struct encoding *e, uint64_t index, const uint8_t *data)
{
	uint64_t hash = delta_content_hash(data), had = e->state->hashes[index];
	uint8_t *room;

	if (hash == had) {
		e->stats.unchanged++;
		return;
	}
	room = had != 0 ? page_cache_insert(e->state->cache, index) :
			  page_cache_fill(e->state->cache, index);
	if (room != NULL)
		memcpy(room, data, LAYOUT_PAGE);
	if (had == e->state->zero_hash)
		put_difference(e, index, data, zero_page);
	else
		put_plain(e, index, data);
	travels(e, index, hash);
}

static void encode_page(struct encoding *e, const struct chunk_page *page)
{
	const uint8_t *data = page->data;
	const uint64_t index = page->index;
	uint8_t *cached;

	if (page->sectors != 0) {
		put_sectors(e, index, page);
		return;
	}
	if (data == NULL || zero_page_is(data)) {
		encode_zero(e, index);
		return;
	}
	cached = page_cache_lock(e->state->cache, index);
	if (cached != NULL)
		encode_cached(e, index, data, cached);
	else
		encode_uncached(e, index, data);
	page_cache_unlock(e->state->cache, index);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y ? 1 : 0;
}

/*
 * `order`: page index and place in the chunk, ascending; a capture delivers almost always in that
 * order already.
 */
static int sort_pages(const struct delta_state *state, const struct chunk *chunk, uint64_t *order,
		      struct err *err)
{
	bool ascending = true;
	size_t with_data = 0;
	uint32_t i;

	static_assert(CHUNK_PAGES <= 1 << 16, "the place fits 16 bits");
	for (i = 0; i < chunk->npages; i++) {
		if (chunk->pages[i].index >= state->pages)
			return err_set(err, RC_INVALID, "page %llu of %llu",
				       (unsigned long long)chunk->pages[i].index,
				       (unsigned long long)state->pages);
		order[i] = chunk->pages[i].index << 16 | i;
		ascending = ascending && (i == 0 || order[i - 1] < order[i]);
		with_data += chunk->pages[i].data != NULL;
	}
	if (with_data * LAYOUT_PAGE > CHUNK_BYTES)
		return err_set(err, RC_LIMIT, "%zu pages with content in a chunk", with_data);
	if (!ascending)
		qsort(order, chunk->npages, sizeof(*order), compare_u64);
	return RC_OK;
}

static void encode_pages(struct encoding *e, const struct chunk *chunk)
{
	const uint64_t *order = e->scratch->order;
	uint32_t i;

	for (i = 0; i < chunk->npages; i++) {
		const struct chunk_page *page = &chunk->pages[order[i] & 0xffff];

		if (i + 1 == chunk->npages ||
		    order[i + 1] >> 16 != page->index) /* the later of two */
			encode_page(e, page);
		e->stats.bytes_in += LAYOUT_PAGE;
	}
	e->stats.pages += chunk->npages;
}

/*
 * Compresses to `to`, where there are `len` bytes of room; as it is when it does not shrink.
 * Returns the bytes used.
 */
static uint32_t store(struct delta_scratch *scratch, const uint8_t *stream, size_t len, uint8_t *to)
{
	int shrunk = 0;

	if (len > 1)
		shrunk = LZ4_compress_fast_extState_fastReset(&scratch->lz4, (const char *)stream,
							      (char *)to, (int)len, (int)len - 1,
							      ACCELERATION);
	if (shrunk > 0)
		return (uint32_t)shrunk;
	memcpy(to, stream, len);
	return (uint32_t)len;
}

static int write_batch(struct encoding *e, struct buf *out, uint64_t sent, struct err *err)
{
	struct delta_scratch *scratch = e->scratch;
	size_t most, before = out->len;
	struct delta_header header = {
		.pages = (uint32_t)sent,
		.control = (uint32_t)(e->control - scratch->control),
		.content = (uint32_t)(e->content - scratch->content),
	};
	uint8_t *batch;

	most = DELTA_HEADER + header.control + header.content;
	batch = buf_extend(out, most);
	if (batch == NULL)
		return err_nomem(err, "batch");
	header.control_stored =
		store(scratch, scratch->control, header.control, batch + DELTA_HEADER);
	header.content_stored = store(scratch, scratch->content, header.content,
				      batch + DELTA_HEADER + header.control_stored);
	delta_format_seal(batch, &header);
	out->len = before + DELTA_HEADER + header.control_stored + header.content_stored;
	e->stats.bytes_out = out->len - before;
	return RC_OK;
}

static void forget_chunk(struct delta_state *state, const struct chunk *chunk)
{
	uint32_t i;

	for (i = 0; i < chunk->npages; i++)
		if (chunk->pages[i].index < state->pages)
			forget(state, chunk->pages[i].index);
}

void delta_stats_add(struct delta_stats *to, const struct delta_stats *s)
{
	to->pages += s->pages;
	to->zero += s->zero;
	to->unchanged += s->unchanged;
	to->changed += s->changed;
	to->plain += s->plain;
	to->bytes_in += s->bytes_in;
	to->bytes_out += s->bytes_out;
}

int delta_encode(struct delta_state *state, const struct chunk *chunk, bool may_xor,
		 struct buf *out, uint64_t *epoch_hash, uint64_t *sent, struct delta_stats *stats,
		 struct err *err)
{
	struct encoding e = { .state = state, .may_xor = may_xor };
	uint64_t travelled;
	int rc;

	assert(chunk->npages <= CHUNK_PAGES);
	e.scratch = delta_scratch_get();
	if (e.scratch == NULL) {
		rc = err_nomem(err, "encoding");
		goto out;
	}
	e.control = e.scratch->control;
	e.content = e.scratch->content;
	rc = sort_pages(state, chunk, e.scratch->order, err);
	if (rc != RC_OK)
		goto out;
	encode_pages(&e, chunk);
	travelled = e.stats.zero + e.stats.changed + e.stats.plain;
	if (travelled > 0)
		rc = write_batch(&e, out, travelled, err);
	if (rc != RC_OK)
		goto out;
	*epoch_hash += e.hash;
	*sent += travelled;
	delta_stats_add(stats, &e.stats);
out:
	if (e.scratch != NULL)
		delta_scratch_put(e.scratch);
	if (rc != RC_OK)
		forget_chunk(state, chunk);
	return rc;
}

int delta_encode_plain(const struct chunk_page *pages, size_t count, struct buf *out,
		       struct err *err)
{
	struct encoding e = { .scratch = delta_scratch_get() };
	size_t i;
	int rc;

	assert(count > 0 && count <= CHUNK_BYTES / LAYOUT_PAGE);
	if (e.scratch == NULL)
		return err_nomem(err, "encoding");
	e.control = e.scratch->control;
	e.content = e.scratch->content;
	for (i = 0; i < count; i++)
		put_plain(&e, pages[i].index, pages[i].data);
	rc = write_batch(&e, out, count, err);
	delta_scratch_put(e.scratch);
	return rc;
}
