/*
 * Delta batches. Byte 0 chooses how the rest is taken:
 *   0  a batch as it is
 *   1  a batch, whose magic and checksum are made right
 *   2  streams: u16 pages, u16 bytes of control, control, content; made a batch that is valid as
 *   far as they are
 *   3  a script: an imaginary guest's pages change as it says, are encoded and decoded; both ends
 *   must be in step What is decoded must come in ascending order within the pages, and its sums
 *   must be those of what was put.
 */
#include "replica/delta.h"
#include "replica/delta_format.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#define PAGES 24
#define EPOCHS_MAX 12 /* of a script: longer ones only take longer */
static uint8_t standby[PAGES][LAYOUT_PAGE], guest[PAGES][LAYOUT_PAGE];
static uint64_t next, put_count, put_hash;

static const uint8_t *base(void *owner, uint64_t index)
{
	(void)owner;
	CHECK(index < PAGES);
	return standby[index];
}

static int put(void *owner, uint64_t index, const uint8_t *data, struct err *err)
{
	(void)owner;
	(void)err;
	CHECK(index >= next && index < PAGES);
	next = index + 1;
	put_count++;
	put_hash += delta_page_hash(index, delta_content_hash(data));
	if (data != NULL)
		memcpy(standby[index], data, LAYOUT_PAGE);
	else
		memset(standby[index], 0, LAYOUT_PAGE);
	return RC_OK;
}

static int decode(const uint8_t *batch, size_t len)
{
	static const struct delta_sink sink = {
		.base = base, .held = base, .put = put, .pages = PAGES
	};
	uint64_t hash = 0, received = 0;
	struct err err;
	int rc;

	next = put_count = put_hash = 0;
	rc = delta_decode(batch, len, &sink, &hash, &received, &err);
	if (rc == RC_OK)
		CHECK(received == put_count && received >= 1 && hash == put_hash);
	else
		CHECK(received == 0 && hash == 0);
	return rc;
}

static void sealed(const uint8_t *data, size_t size)
{
	static const uint8_t magic[] = { 'U', 'S', 'D', 'E', 'L', 'T', 'A', '1' };
	uint8_t *batch = malloc(size);

	CHECK(batch != NULL);
	memcpy(batch, data, size);
	memcpy(batch, magic, sizeof(magic));
	delta_format_reseal(batch, size);
	(void)decode(batch, size);
	free(batch);
}

static void streams(const uint8_t *data, size_t size)
{
	struct delta_header header = { 0 };
	uint8_t *batch;

	if (size < 5 || size > LAYOUT_PAGE * 8)
		return;
	header.pages = 1 + bytes_get_le16(data) % CHUNK_PAGES;
	size -= 4;
	header.control = header.control_stored = 1 + bytes_get_le16(data + 2) % (uint32_t)size;
	header.content = header.content_stored = (uint32_t)size - header.control;
	batch = malloc(DELTA_HEADER + size);
	CHECK(batch != NULL);
	memcpy(batch + DELTA_HEADER, data + 4, size);
	delta_format_seal(batch, &header);
	(void)decode(batch, DELTA_HEADER + size);
	free(batch);
}

/* One step of the script: 4 bytes. */
static void change(const uint8_t *step)
{
	uint8_t *page = guest[step[0] % PAGES];
	size_t at = (size_t)step[1] * 16 % LAYOUT_PAGE,
	       len = 1 + (size_t)step[2] * 16 % (LAYOUT_PAGE - at), i;

	switch (step[3] % 8) {
	case 0:
		memset(page, 0, LAYOUT_PAGE);
		break;
	case 1:
		memcpy(page, guest[step[1] % PAGES], LAYOUT_PAGE);
		break;
	case 2:
	case 3:
		for (i = at; i < at + len; i += 1 + step[3] / 8)
			page[i] ^= step[2];
		break;
	case 4:
		page[LAYOUT_PAGE - 1 - step[1] % 16]++;
		break;
	case 5:
		memset(page + at, step[2], len);
		break;
	default:
		page[(at + step[2]) % LAYOUT_PAGE]++;
	}
}

static void transfer(struct delta_state *state, const bool *dirty, bool may_xor, bool backwards)
{
	static struct chunk chunk;
	struct buf out = { .limit = DELTA_BATCH_MAX };
	struct delta_stats stats = { 0 };
	uint64_t hash = 0, sent = 0;
	struct err err;
	unsigned i;

	chunk.npages = 0;
	for (i = 0; i < PAGES; i++) {
		unsigned index = backwards ? PAGES - 1 - i : i;

		if (dirty[index])
			chunk.pages[chunk.npages++] =
				(struct chunk_page){ .index = index, .data = guest[index] };
	}
	CHECK(delta_encode(state, &chunk, may_xor, &out, &hash, &sent, &stats, &err) == RC_OK);
	CHECK((sent == 0) == (out.len == 0));
	if (sent > 0)
		CHECK(decode(out.data, out.len) == RC_OK && sent == put_count && hash == put_hash);
	buf_free(&out);
}

/* Byte 0: the cache's size. Then steps; a step whose last byte is above 250 ends an epoch. */
static void script(const uint8_t *data, size_t size)
{
	static const size_t cache[] = { 0, 70000, 140000, (size_t)1 << 20 };
	static struct delta_state *states[4]; /* made once: that takes longer than a script */
	bool dirty[PAGES], first = true;
	unsigned epochs = 0;
	struct delta_state *state;
	struct err err;

	if (size < 1)
		return;
	state = states[data[0] % 4];
	if (state == NULL)
		CHECK(delta_state_create(&state, PAGES, cache[data[0] % 4], &err) == RC_OK);
	else
		delta_state_forget(state);
	states[data[0] % 4] = state;
	memset(standby, 0, sizeof(standby));
	memset(guest, 0, sizeof(guest));
	memset(dirty, true, sizeof(dirty));
	for (data++, size--; size >= 4 && epochs < EPOCHS_MAX; data += 4, size -= 4) {
		if (data[3] <= 250) {
			change(data);
			dirty[data[0] % PAGES] = true;
			continue;
		}
		transfer(state, dirty, !first, data[3] == 251);
		epochs++;
		CHECK(memcmp(standby, guest, sizeof(guest)) == 0);
		memset(dirty, data[3] == 252, sizeof(dirty));
		first = data[3] == 253;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t mode;

	if (size < 1)
		return 0;
	mode = *data++ % 4;
	size--;
	if (mode == 0)
		(void)decode(data, size);
	else if (mode == 1 && size >= DELTA_HEADER)
		sealed(data, size);
	else if (mode == 2)
		streams(data, size);
	else if (mode == 3)
		script(data, size);
	return 0;
}
