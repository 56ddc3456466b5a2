#include "appliance/base/mem.h"
#include "replica/delta.h"
#include "replica/delta_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

#define PAGES 600

static struct err err;
static uint8_t standby[PAGES][LAYOUT_PAGE];

static const uint8_t *base(void *owner, uint64_t index)
{
	(void)owner;
	return standby[index];
}

static int put(void *owner, uint64_t index, const uint8_t *data, struct err *e)
{
	(void)owner;
	(void)e;
	if (data != NULL)
		memcpy(standby[index], data, LAYOUT_PAGE);
	else
		memset(standby[index], 0, LAYOUT_PAGE);
	return RC_OK;
}

static const struct delta_sink sink = { .base = base, .held = base, .put = put, .pages = PAGES };

static void a_batch_has_the_bytes_that_the_header_file_says(void **state)
{
	/* Page 1 zero; in page 2 the first byte and the last one are new; page 70 whole. */
	static const uint8_t control[] = { 1 << 2, 0 << 2 | 2, 0,    1 << 1, 0xfe,
					   0x1f,   1 << 1 | 1, 0x8d, 0x02 };
	static uint8_t page[LAYOUT_PAGE], old[LAYOUT_PAGE];
	static struct chunk chunk;
	struct delta_stats stats = { 0 };
	struct buf out = { .limit = DELTA_BATCH_MAX };
	struct delta_state *sender;
	uint64_t hash = 0, sent = 0, i;

	(void)state;
	assert_int_equal(delta_state_create(&sender, PAGES, 0, &err), RC_OK);
	chunk.npages = 1;
	chunk.pages[0].index = 2; /* zero, and known to be */
	assert_int_equal(delta_encode(sender, &chunk, true, &out, &hash, &sent, &stats, &err),
			 RC_OK);
	buf_reset(&out);
	old[0] = 'A';
	old[LAYOUT_PAGE - 1] = 'B';
	for (i = 0; i < LAYOUT_PAGE; i++)
		page[i] = (uint8_t)((i * i * 31 + i / 7) >> 3); /* LZ4 finds nothing in it */
	chunk.npages = 3;
	chunk.pages[0] = (struct chunk_page){ .index = 1 };
	chunk.pages[1] = (struct chunk_page){ .index = 2, .data = old };
	chunk.pages[2] = (struct chunk_page){ .index = 70, .data = page };
	assert_int_equal(delta_encode(sender, &chunk, true, &out, &hash, &sent, &stats, &err),
			 RC_OK);
	assert_int_equal(out.len, 36 + sizeof(control) + 2 + LAYOUT_PAGE);
	assert_memory_equal(out.data, "USDELTA1", 8);
	assert_true(bytes_get_le64(out.data + 8) == XXH64(out.data + 16, out.len - 16, 0));
	assert_memory_equal(out.data + 16, "\3\0\0\0\x9\0\0\0\x9\0\0\0\2\x10\0\0\2\x10\0\0", 20);
	assert_memory_equal(out.data + 36, control, sizeof(control));
	assert_memory_equal(out.data + 36 + sizeof(control), "AB", 2);
	assert_memory_equal(out.data + 36 + sizeof(control) + 2, page, LAYOUT_PAGE);
	buf_free(&out);
	delta_state_destroy(sender);
}

/* A batch with a right checksum around these streams, as they are. */
static int decode_made(const struct delta_header *header, const void *control, const void *content)
{
	static uint8_t batch[DELTA_HEADER + 2 * LAYOUT_PAGE];
	uint64_t hash = 0, received = 0;

	memcpy(batch + DELTA_HEADER, control, header->control_stored);
	memcpy(batch + DELTA_HEADER + header->control_stored, content, header->content_stored);
	delta_format_seal(batch, header);
	return delta_decode(batch, DELTA_HEADER + header->control_stored + header->content_stored,
			    &sink, &hash, &received, &err);
}

static int decode_streams(uint32_t pages, const char *control, uint32_t control_len,
			  uint32_t content_len)
{
	static uint8_t content[LAYOUT_PAGE + 1];
	const struct delta_header header = { .pages = pages,
					     .control = control_len,
					     .control_stored = control_len,
					     .content = content_len,
					     .content_stored = content_len };

	return decode_made(&header, control, content);
}

#define CONTROL(bytes) bytes, sizeof(bytes) - 1

static void batches_with_a_right_checksum_and_wrong_contents_are_refused(void **state)
{
	(void)state;
	/*
	 * What is right: a zero page; a plain one; one with a run at its start and one at its
	 * very end.
	 */
	assert_int_equal(decode_streams(1, CONTROL("\0"), 0), RC_OK);
	assert_int_equal(decode_streams(1, CONTROL("\1"), 4096), RC_OK);
	assert_int_equal(decode_streams(1, CONTROL("\2\0\2\xfe\x1f\3"), 2), RC_OK);
	assert_int_equal(decode_streams(2, CONTROL("\0\0"), 0), RC_OK);
	assert_int_equal(decode_streams(1, CONTROL("\xdc\x12"), 0),
			 RC_OK); /* page 599, the last one */
	/* Pages beyond those there are, by one and by far. */
	assert_int_equal(decode_streams(1, CONTROL("\xe0\x12"), 0), RC_INVALID);
	assert_int_equal(decode_streams(1, CONTROL("\xfc\xff\xff\xff\x7f"), 0), RC_INVALID);
	assert_int_equal(decode_streams(2, CONTROL("\xdc\x12\0"), 0), RC_INVALID);
	/* Sectors: the first and the last one; none, all, cut short, too little content. */
	assert_int_equal(decode_streams(1, CONTROL("\3\x81"), 1024), RC_OK);
	assert_int_equal(decode_streams(1, CONTROL("\3\0"), 0), RC_INVALID);
	assert_int_equal(decode_streams(1, CONTROL("\3\xff"), 4096), RC_INVALID);
	assert_int_equal(decode_streams(1, CONTROL("\3"), 0), RC_INVALID);
	assert_int_equal(decode_streams(1, CONTROL("\3\x81"), 1023), RC_INVALID);
	/* A number that is too long, or cut. */
	assert_int_equal(decode_streams(1, CONTROL("\x80\x80\x80\x80\x80\0"), 0), RC_INVALID);
	assert_int_equal(decode_streams(1, CONTROL("\x80"), 0), RC_INVALID);
	/* Fewer entries than pages, more, and bytes behind them. */
	assert_int_equal(decode_streams(2, CONTROL("\0"), 0), RC_INVALID);
	assert_int_equal(decode_streams(1, CONTROL("\0\0"), 0), RC_INVALID);
	/* Too little content and too much. */
	assert_int_equal(decode_streams(1, CONTROL("\1"), 4095), RC_INVALID);
	assert_int_equal(decode_streams(1, CONTROL("\1"), 4097), RC_INVALID);
	assert_int_equal(decode_streams(1, CONTROL("\0"), 1), RC_INVALID);
	assert_int_equal(decode_streams(1, CONTROL("\2\0\7"), 2), RC_INVALID);
	/*
	 * Runs: none, empty, beyond the page by their start, their length, or both; without a
	 * last one.
	 */
	assert_int_equal(decode_streams(1, CONTROL("\2"), 0), RC_INVALID);
	assert_int_equal(decode_streams(1, CONTROL("\2\0\1"), 0), RC_INVALID);
	assert_int_equal(decode_streams(1, CONTROL("\2\x80\x20\3"), 1), RC_INVALID);
	assert_int_equal(decode_streams(1, CONTROL("\2\xff\x1f\5"), 2), RC_INVALID);
	assert_int_equal(decode_streams(1, CONTROL("\2\0\x83\x40"), 4097), RC_INVALID);
	assert_int_equal(decode_streams(1, CONTROL("\2\xff\xff\xff\xff\x7f\3"), 1), RC_INVALID);
	assert_int_equal(decode_streams(1, CONTROL("\2\0\2"), 1), RC_INVALID);
	assert_int_equal(decode_streams(1, CONTROL("\2\0\xff\xff\xff\xff\x7f"), 4096), RC_INVALID);
}

static void sizes_that_the_header_may_not_state_are_refused(void **state)
{
	static const struct {
		unsigned at;
		uint32_t value;
	} wrong[] = {
		{ 16, 0 },
		{ 16, CHUNK_PAGES + 1 },
		{ 16, UINT32_MAX },
		{ 20, 0 },
		{ 20, DELTA_CONTROL_MAX + 1 },
		{ 20, UINT32_MAX },
		{ 20, 2 },
		{ 24, 0 },
		{ 24, 2 },
		{ 24, UINT32_MAX },
		{ 28, CHUNK_BYTES + 1 },
		{ 28, UINT32_MAX },
		{ 28, 1 },
		{ 32, 1 },
		{ 32, UINT32_MAX },
	};
	uint64_t hash = 0, received = 0;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const struct delta_header header = { .pages = 1,
						     .control = 1,
						     .control_stored = 1 };
		uint8_t batch[DELTA_HEADER + 1] = { 0 };

		delta_format_seal(batch, &header);
		assert_int_equal(delta_decode(batch, sizeof(batch), &sink, &hash, &received, &err),
				 RC_OK);
		bytes_put_le32(batch + wrong[i].at, wrong[i].value);
		delta_format_reseal(batch, sizeof(batch));
		assert_int_equal(delta_decode(batch, sizeof(batch), &sink, &hash, &received, &err),
				 RC_INVALID);
	}
}

static void parts_that_decompress_to_more_or_less_or_not_at_all_are_refused(void **state)
{
	uint8_t page[LAYOUT_PAGE] = { 0 }, packed[LAYOUT_PAGE];
	struct delta_header header = { .pages = 1, .control = 1, .control_stored = 1 };
	int len = LZ4_compress_default((char *)page, (char *)packed, sizeof(page), sizeof(packed));

	(void)state;
	assert_true(len > 0);
	header.content_stored = (uint32_t)len;
	header.content = LAYOUT_PAGE;
	assert_int_equal(decode_made(&header, "\1", packed), RC_OK);
	header.content = LAYOUT_PAGE - 1;
	assert_int_equal(decode_made(&header, "\1", packed), RC_INVALID);
	header.content = LAYOUT_PAGE + 1;
	assert_int_equal(decode_made(&header, "\1", packed), RC_INVALID);
	header.content = LAYOUT_PAGE;
	header.content_stored--;
	assert_int_equal(decode_made(&header, "\1", packed), RC_INVALID);
	memset(packed, 0xff, sizeof(packed));
	assert_int_equal(decode_made(&header, "\1", packed), RC_INVALID);
}

static const uint8_t *no_base(void *owner, uint64_t index)
{
	(void)owner;
	(void)index;
	return NULL;
}

static int refuse(void *owner, uint64_t index, const uint8_t *data, struct err *e)
{
	(void)owner;
	(void)data;
	return index == 2 ? err_set(e, RC_IO, "the disk is full") : RC_OK;
}

static void sectors_replace_their_part_of_what_is_there(void **state)
{
	const struct delta_sink without_held = { .base = base, .put = put, .pages = PAGES };
	static struct chunk chunk;
	static uint8_t page[LAYOUT_PAGE];
	struct delta_stats stats = { 0 };
	struct buf out = { .limit = DELTA_BATCH_MAX };
	struct delta_state *sender;
	uint64_t hash = 0, sent = 0, decoded = 0, received = 0;

	(void)state;
	assert_int_equal(delta_state_create(&sender, PAGES, 0, &err), RC_OK);
	memset(standby[7], 'o', LAYOUT_PAGE);
	memset(page, 'n', LAYOUT_PAGE);
	chunk.npages = 1;
	chunk.pages[0] = (struct chunk_page){ .index = 7, .data = page, .sectors = 0x12 };
	assert_int_equal(delta_encode(sender, &chunk, false, &out, &hash, &sent, &stats, &err),
			 RC_OK);
	assert_int_equal(sent, 1);
	assert_int_equal(delta_decode(out.data, out.len, &without_held, &decoded, &received, &err),
			 RC_INVALID);
	assert_int_equal(delta_decode(out.data, out.len, &sink, &decoded, &received, &err), RC_OK);
	assert_true(decoded == hash);
	memset(page, 'o', LAYOUT_PAGE);
	memset(page + 512, 'n', 512);
	memset(page + 4 * 512, 'n', 512);
	assert_memory_equal(standby[7], page, LAYOUT_PAGE);
	/* What it has is not known to the sender: the whole page travels when it is. */
	buf_reset(&out);
	chunk.pages[0].sectors = 0;
	assert_int_equal(delta_encode(sender, &chunk, true, &out, &hash, &sent, &stats, &err),
			 RC_OK);
	assert_int_equal(sent, 2);
	assert_int_equal(stats.plain, 1);
	buf_free(&out);
	delta_state_destroy(sender);
}

static void a_sinks_refusal_ends_the_decoding_and_counts_nothing(void **state)
{
	const struct delta_sink without_base = { .base = no_base, .put = put, .pages = PAGES };
	const struct delta_sink refusing = { .base = base, .put = refuse, .pages = PAGES };
	static const uint8_t run[] = { 2, 0, 3, 1 };
	struct delta_header header = { .pages = 1, .control = 3, .content = 1 };
	uint8_t batch[DELTA_HEADER + 4] = { 0 };
	uint64_t hash = 0, received = 0;

	(void)state;
	header.control_stored = header.control;
	header.content_stored = header.content;
	memcpy(batch + DELTA_HEADER, run, sizeof(run));
	delta_format_seal(batch, &header);
	assert_int_equal(delta_decode(batch, sizeof(batch), &without_base, &hash, &received, &err),
			 RC_INVALID);
	assert_int_equal(delta_decode(batch, sizeof(batch), &sink, &hash, &received, &err), RC_OK);
	hash = received = 0;
	header = (struct delta_header){ .pages = 4, .control = 4, .control_stored = 4 };
	memset(batch + DELTA_HEADER, 0, 4);
	delta_format_seal(batch, &header);
	assert_int_equal(delta_decode(batch, sizeof(batch), &refusing, &hash, &received, &err),
			 RC_IO);
	assert_non_null(strstr(err.text, "the disk is full"));
	assert_true(hash == 0 && received == 0);
	assert_int_equal(delta_decode(batch, sizeof(batch), &sink, &hash, &received, &err), RC_OK);
	assert_int_equal(received, 4);
}

static void decoding_without_memory_is_an_error(void **state)
{
	const struct delta_header header = { .pages = 1, .control = 1, .control_stored = 1 };
	uint8_t batch[DELTA_HEADER + 1] = { 0 };
	uint64_t hash = 0, received = 0;

	(void)state;
	delta_format_seal(batch, &header);
	delta_trim();
	fault_arm(FAULT_ALLOC, 1);
	assert_int_equal(delta_decode(batch, sizeof(batch), &sink, &hash, &received, &err),
			 RC_NOMEM);
	assert_int_equal(delta_decode(batch, sizeof(batch), &sink, &hash, &received, &err), RC_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_batch_has_the_bytes_that_the_header_file_says),
		cmocka_unit_test(batches_with_a_right_checksum_and_wrong_contents_are_refused),
		cmocka_unit_test(sizes_that_the_header_may_not_state_are_refused),
		cmocka_unit_test(parts_that_decompress_to_more_or_less_or_not_at_all_are_refused),
		cmocka_unit_test(sectors_replace_their_part_of_what_is_there),
		cmocka_unit_test(a_sinks_refusal_ends_the_decoding_and_counts_nothing),
		cmocka_unit_test(decoding_without_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
