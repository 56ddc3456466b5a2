#include "appliance/base/mem.h"
#include "replica/delta.h"
#include "replica/delta_format.h"
#include "tests/unit/pages.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGES 600

static struct err err;
static struct chunk chunk;
static struct pages guest;
static uint8_t *standby;
static struct delta_state *sender;
static struct delta_stats stats;
static uint8_t data_of_chunk[CHUNK_BYTES];

static const uint8_t *base(void *owner, uint64_t index)
{
	(void)owner;
	return standby + index * LAYOUT_PAGE;
}

static int put(void *owner, uint64_t index, const uint8_t *data, struct err *e)
{
	uint64_t *last = owner;

	(void)e;
	assert_true(last == NULL || *last == UINT64_MAX || index > *last);
	if (last != NULL)
		*last = index;
	if (data != NULL)
		memcpy(standby + index * LAYOUT_PAGE, data, LAYOUT_PAGE);
	else
		memset(standby + index * LAYOUT_PAGE, 0, LAYOUT_PAGE);
	return RC_OK;
}

static const struct delta_sink sink = { .base = base, .put = put, .pages = PAGES };

static void open_state(size_t cache_bytes)
{
	assert_int_equal(delta_state_create(&sender, PAGES, cache_bytes, &err), RC_OK);
}

static int setup(void **state)
{
	(void)state;
	pages_open(&guest, PAGES, 7);
	standby = calloc(PAGES, LAYOUT_PAGE);
	chunk.bytes = data_of_chunk;
	chunk.npages = 0;
	sender = NULL;
	memset(&stats, 0, sizeof(stats));
	return standby == NULL;
}

static int teardown(void **state)
{
	(void)state;
	fault_arm(FAULT_ALLOC, 0);
	delta_state_destroy(sender);
	delta_trim();
	free(standby);
	pages_close(&guest);
	return 0;
}

static void mark_all(void)
{
	memset(guest.dirty, true, PAGES * sizeof(bool));
}

/* Sends all dirty pages; both ends must agree on sums. Returns the encoded bytes. */
static size_t transfer(bool may_xor)
{
	uint64_t at = 0, sent = 0, received = 0, hash = 0, hash_received = 0, last;
	struct delta_sink checked = sink;
	size_t bytes = 0;

	checked.owner = &last;
	while (pages_fill(&guest, &at, &chunk)) {
		struct buf out = { .limit = DELTA_BATCH_MAX };

		assert_int_equal(delta_encode(sender, &chunk, may_xor, &out, &hash, &sent, &stats,
					      &err),
				 RC_OK);
		last = UINT64_MAX;
		if (out.len > 0)
			assert_int_equal(delta_decode(out.data, out.len, &checked, &hash_received,
						      &received, &err),
					 RC_OK);
		bytes += out.len;
		buf_free(&out);
	}
	assert_int_equal(sent, received);
	assert_true(hash == hash_received);
	return bytes;
}

static void assert_in_step(void)
{
	assert_memory_equal(guest.memory, standby, PAGES * LAYOUT_PAGE);
}

/* One page in the chunk, from guest memory. */
static void add_page(uint64_t index)
{
	chunk.pages[chunk.npages++] =
		(struct chunk_page){ .index = index, .data = pages_at(&guest, index) };
}

static size_t transfer_page(uint64_t index)
{
	guest.dirty[index] = true;
	return transfer(true);
}

static void two_memories_stay_in_step_over_thousands_of_epochs(void **state)
{
	/* Room for all pages, for few, for none. */
	static const size_t cache[] = { (size_t)8 << 20, 200000, 0 };
	size_t i;
	int epoch;

	(void)state;
	for (i = 0; i < 3; i++) {
		memset(standby, 0, PAGES * LAYOUT_PAGE);
		open_state(cache[i]);
		mark_all();
		(void)transfer(false);
		assert_in_step();
		for (epoch = 0; epoch < 1500; epoch++) {
			pages_change(&guest, pages_random(&guest, 60));
			(void)transfer(true);
			if (epoch % 50 == 0)
				assert_in_step();
		}
		assert_in_step();
		assert_true(stats.zero > 0 && stats.unchanged > 0 && stats.plain > 0);
		assert_true(stats.changed > 0);
		delta_state_destroy(sender);
		sender = NULL;
	}
}

static void what_the_standby_has_does_not_travel(void **state)
{
	(void)state;
	open_state((size_t)4 << 20);
	pages_change(&guest, 2000);
	(void)transfer(false);
	mark_all();
	assert_int_not_equal(transfer(true), 0); /* zero pages that were never sent */
	mark_all();
	assert_int_equal(transfer(true), 0);
	mark_all();
	assert_int_equal(transfer(false), 0);
	assert_in_step();
}

static void a_counter_in_a_page_that_keeps_changing_costs_few_bytes(void **state)
{
	(void)state;
	open_state((size_t)4 << 20);
	for (size_t i = 0; i < LAYOUT_PAGE; i++)
		pages_at(&guest, 5)[i] = (uint8_t)pages_random(&guest, 256);
	assert_true(transfer_page(5) > LAYOUT_PAGE);
	pages_at(&guest, 5)[4095]++;
	assert_int_equal(transfer_page(5), DELTA_HEADER + 1 + 2 + 1 + 1);
	/* Fewer than four equal bytes are sent along, four are not. */
	pages_at(&guest, 5)[10]++;
	pages_at(&guest, 5)[14]++;
	assert_int_equal(transfer_page(5), DELTA_HEADER + 1 + 2 + 5);
	pages_at(&guest, 5)[10]++;
	pages_at(&guest, 5)[15]++;
	assert_int_equal(transfer_page(5), DELTA_HEADER + 1 + 4 + 2);
	assert_in_step();
}

static void a_page_that_was_zero_travels_as_what_is_not_zero_any_more(void **state)
{
	(void)state;
	open_state(0);
	guest.dirty[9] = true;
	(void)transfer(false);
	memcpy(pages_at(&guest, 9) + 1000, "\1\2\3\4\5\6\7\10\11", 9);
	assert_int_equal(transfer_page(9), DELTA_HEADER + 1 + 2 + 1 + 9);
	assert_in_step();
}

static void nothing_is_sent_as_a_difference_where_a_page_may_come_twice(void **state)
{
	(void)state;
	open_state((size_t)4 << 20);
	for (int i = 0; i < 5; i++) {
		mark_all();
		pages_change(&guest, 2000);
		(void)transfer(false);
	}
	assert_int_equal(stats.changed, 0);
	assert_in_step();
}

static void of_a_page_twice_in_a_chunk_the_later_one_counts_and_order_does_not_matter(void **state)
{
	static uint8_t old[LAYOUT_PAGE], older[LAYOUT_PAGE];
	struct buf out = { .limit = DELTA_BATCH_MAX };
	uint64_t hash = 0, hash_received = 0, sent = 0, received = 0;

	(void)state;
	open_state(0);
	memset(old, 1, sizeof(old));
	memset(older, 2, sizeof(older));
	memset(pages_at(&guest, 40), 3, LAYOUT_PAGE);
	memset(pages_at(&guest, 3), 4, LAYOUT_PAGE);
	memset(pages_at(&guest, 599), 5, LAYOUT_PAGE);
	chunk.pages[chunk.npages++] = (struct chunk_page){ .index = 40, .data = older };
	add_page(599);
	chunk.pages[chunk.npages++] = (struct chunk_page){ .index = 40, .data = old };
	chunk.pages[chunk.npages++] = (struct chunk_page){ .index = 3 };
	add_page(40);
	add_page(3);
	assert_int_equal(delta_encode(sender, &chunk, false, &out, &hash, &sent, &stats, &err),
			 RC_OK);
	assert_int_equal(sent, 3);
	assert_int_equal(delta_decode(out.data, out.len, &sink, &hash_received, &received, &err),
			 RC_OK);
	assert_true(hash == hash_received && received == 3);
	assert_in_step();
	buf_free(&out);
}

static void after_forgetting_everything_is_sent_again(void **state)
{
	size_t bytes;

	(void)state;
	open_state((size_t)4 << 20);
	pages_change(&guest, 3000);
	mark_all();
	bytes = transfer(false);
	delta_state_forget(sender);
	memset(standby, 0xee, PAGES * LAYOUT_PAGE);
	mark_all();
	assert_int_equal(transfer(false), bytes);
	assert_in_step();
}

static void a_resync_sends_only_what_differs_from_the_hashes(void **state)
{
	uint64_t hashes[PAGES], i;

	(void)state;
	open_state((size_t)4 << 20);
	pages_change(&guest, 3000);
	mark_all();
	(void)transfer(false);
	for (i = 0; i < 20; i++) {
		pages_change(&guest, 50);
		(void)transfer(true);
	}
	/* The standby's memory is another one than the sender thinks. */
	memset(standby + 10 * LAYOUT_PAGE, 0x77, 5 * LAYOUT_PAGE);
	for (i = 0; i < PAGES; i++)
		hashes[i] = delta_content_hash(standby + i * LAYOUT_PAGE);
	hashes[99] = 0; /* not known */
	delta_state_learn(sender, 0, hashes, 300);
	delta_state_learn(sender, 300, hashes + 300, PAGES - 300);
	stats = (struct delta_stats){ 0 };
	mark_all();
	(void)transfer(false);
	assert_in_step();
	assert_int_equal(stats.zero + stats.plain, 6);
	assert_int_equal(stats.unchanged, PAGES - 6);
}

static void hashes_beyond_the_pages_are_ignored(void **state)
{
	uint64_t hashes[4] = { 1, 2, 3, 4 };

	(void)state;
	open_state(0);
	delta_state_learn(sender, PAGES - 2, hashes, 4);
	delta_state_learn(sender, PAGES, hashes, 4);
	delta_state_learn(sender, UINT64_MAX, hashes, 4);
}

static void the_worst_pages_fit_into_a_batch(void **state)
{
	uint64_t i;
	size_t at;

	(void)state;
	open_state((size_t)4 << 20);
	/* 256 pages of noise, and all the rest zero: the most control and content there can be. */
	for (i = 0; i < CHUNK_BYTES / LAYOUT_PAGE; i++)
		for (at = 0; at < LAYOUT_PAGE; at++)
			pages_at(&guest, i)[at] = (uint8_t)pages_random(&guest, 256);
	for (i = 0; i < CHUNK_BYTES / LAYOUT_PAGE; i++)
		add_page(i);
	for (int round = 0; round < 4; round++) {
		struct buf out = { .limit = DELTA_BATCH_MAX };
		uint64_t hash = 0, sent = 0;

		assert_int_equal(delta_encode(sender, &chunk, true, &out, &hash, &sent, &stats,
					      &err),
				 RC_OK);
		assert_int_equal(sent, CHUNK_BYTES / LAYOUT_PAGE);
		assert_int_equal(delta_decode(out.data, out.len, &sink, &hash, &sent, &err), RC_OK);
		assert_in_step();
		buf_free(&out);
		/* The most runs; as many bytes as a difference may have; more. */
		for (i = 0; i < CHUNK_BYTES / LAYOUT_PAGE; i++)
			for (at = 0; at < LAYOUT_PAGE; at++)
				if (round == 0 ? at % (DELTA_GAP + 1) == 0 :
						 at < DELTA_DENSE + (size_t)round - 1)
					pages_at(&guest, i)[at]++;
	}
	assert_int_equal(stats.changed, 2 * CHUNK_BYTES / LAYOUT_PAGE);
}

static void any_byte_of_a_batch_that_is_altered_or_missing_is_noticed(void **state)
{
	struct buf out = { .limit = DELTA_BATCH_MAX };
	uint64_t hash = 0, sent = 0, received = 0;
	uint8_t *before = malloc(PAGES * LAYOUT_PAGE);
	size_t i;
	unsigned bit;

	(void)state;
	assert_non_null(before);
	open_state((size_t)4 << 20);
	pages_change(&guest, 100);
	(void)transfer(false);
	pages_change(&guest, 40);
	for (i = 0; i < 30; i++)
		if (guest.dirty[i])
			add_page(i);
	memcpy(before, standby, PAGES * LAYOUT_PAGE);
	assert_int_equal(delta_encode(sender, &chunk, true, &out, &hash, &sent, &stats, &err),
			 RC_OK);
	assert_true(out.len > 100);
	for (i = 0; i < out.len; i++) {
		for (bit = 0; bit < 8; bit++) {
			out.data[i] ^= (uint8_t)(1u << bit);
			assert_int_equal(delta_decode(out.data, out.len, &sink, &hash, &received,
						      &err),
					 RC_INVALID);
			out.data[i] ^= (uint8_t)(1u << bit);
		}
		assert_int_equal(delta_decode(out.data, i, &sink, &hash, &received, &err),
				 RC_INVALID);
	}
	assert_memory_equal(before, standby, PAGES * LAYOUT_PAGE);
	assert_int_equal(received, 0);
	assert_true(buf_append_u8(&out, 0));
	assert_int_equal(delta_decode(out.data, out.len, &sink, &hash, &received, &err),
			 RC_INVALID);
	buf_free(&out);
	free(before);
}

static void a_page_beyond_those_there_are_is_not_encoded(void **state)
{
	struct buf out = { .limit = DELTA_BATCH_MAX };
	uint64_t hash = 0, sent = 0;

	(void)state;
	open_state(0);
	add_page(1);
	chunk.pages[chunk.npages++] = (struct chunk_page){ .index = PAGES };
	assert_int_equal(delta_encode(sender, &chunk, true, &out, &hash, &sent, &stats, &err),
			 RC_INVALID);
	chunk.pages[1].index = UINT64_MAX;
	assert_int_equal(delta_encode(sender, &chunk, true, &out, &hash, &sent, &stats, &err),
			 RC_INVALID);
	assert_true(out.len == 0 && hash == 0 && sent == 0 && stats.pages == 0);
	buf_free(&out);
}

static int note_index(void *owner, uint64_t index, const uint8_t *data, struct err *e)
{
	uint64_t **next = owner;

	(void)data;
	(void)e;
	*(*next)++ = index;
	return RC_OK;
}

static void the_largest_guest_that_a_layout_takes_is_encoded_to_its_last_page(void **state)
{
	static const uint64_t most = LAYOUT_BYTES_MAX / LAYOUT_PAGE;
	const uint64_t indexes[] = { most / 2 - 1, most / 2 + 5, most - 1 };
	uint64_t seen[3] = { 0 }, *next = seen, hash = 0, sent = 0, received = 0, got_hash = 0;
	const struct delta_sink large = {
		.base = base, .put = note_index, .owner = (void *)&next, .pages = most
	};
	struct buf out = { .limit = DELTA_BATCH_MAX };

	(void)state;
	assert_int_equal(delta_state_create(&sender, most, 1 << 20, &err), RC_OK);
	memset(chunk.bytes, 7, 3 * LAYOUT_PAGE);
	for (size_t first = 0; first < 3; first++) { /* far from the start, and from one another */
		chunk.npages = 0;
		buf_reset(&out);
		hash = got_hash = sent = received = 0;
		next = seen;
		for (size_t i = first; i < 3; i++)
			chunk.pages[chunk.npages++] =
				(struct chunk_page){ .index = indexes[i],
						     .data = chunk.bytes + i * LAYOUT_PAGE };
		chunk.bytes[first * LAYOUT_PAGE]++; /* else the standby has it */
		assert_int_equal(delta_encode(sender, &chunk, false, &out, &hash, &sent, &stats,
					      &err),
				 RC_OK);
		assert_int_equal(
			delta_decode(out.data, out.len, &large, &got_hash, &received, &err), RC_OK);
		assert_true(next > seen && received == sent && got_hash == hash);
		assert_int_equal(seen[0], indexes[first]);
	}
	buf_free(&out);
}

static void whatever_allocation_fails_the_state_stays_true(void **state)
{
	unsigned long n;
	bool fired = true;

	(void)state;
	for (n = 1; fired; n++) {
		fault_arm(FAULT_ALLOC, n);
		if (delta_state_create(&sender, PAGES, (size_t)1 << 20, &err) == RC_OK)
			break;
		assert_int_equal(err.code, RC_NOMEM);
		assert_true(n < 10);
	}
	fault_arm(FAULT_ALLOC, 0);
	assert_true(n > 3);
	mark_all();
	(void)transfer(false);
	for (n = 1; fired; n++) {
		struct buf out = { .limit = DELTA_BATCH_MAX };
		uint64_t at = 0, hash = 0, sent = 0;

		pages_change(&guest, 50);
		assert_true(pages_fill(&guest, &at, &chunk));
		delta_trim();
		fault_arm(FAULT_ALLOC, n);
		(void)delta_encode(sender, &chunk, true, &out, &hash, &sent, &stats, &err);
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
		if (fired)
			assert_true(out.len == 0 && hash == 0 && sent == 0);
		else
			assert_int_equal(delta_decode(out.data, out.len, &sink, &hash, &sent, &err),
					 RC_OK);
		buf_free(&out);
		/* The lost pages are sent again when they come again, and are right. */
		mark_all();
		(void)transfer(true);
		assert_in_step();
	}
	assert_true(n > 2);
}

/* Four threads, each with its own quarter of the pages, over one state. */
struct quarter {
	pthread_t thread;
	struct chunk chunk;
	uint64_t first;
	uint8_t *memory, *copy;
	bool failed;
};

static const uint8_t *quarter_base(void *owner, uint64_t index)
{
	return (uint8_t *)owner + index * LAYOUT_PAGE;
}

static int quarter_put(void *owner, uint64_t index, const uint8_t *data, struct err *e)
{
	(void)e;
	if (data != NULL)
		memcpy((uint8_t *)owner + index * LAYOUT_PAGE, data, LAYOUT_PAGE);
	else
		memset((uint8_t *)owner + index * LAYOUT_PAGE, 0, LAYOUT_PAGE);
	return RC_OK;
}

static void *run_quarter(void *argument)
{
	struct quarter *q = argument;
	const struct delta_sink to = {
		.base = quarter_base, .put = quarter_put, .owner = q->copy, .pages = PAGES
	};
	struct delta_stats counted = { 0 };
	struct err e;
	int epoch, i;

	for (epoch = 0; epoch < 400 && !q->failed; epoch++) {
		struct buf out = { .limit = DELTA_BATCH_MAX };
		uint64_t hash = 0, sent = 0, hash_received = 0, received = 0;

		q->chunk.npages = 0;
		for (i = 0; i < PAGES / 4; i += 1 + epoch % 7) {
			uint8_t *page = q->memory + (q->first + (uint64_t)i) * LAYOUT_PAGE;

			page[(epoch * 31 + i * 17) % (int)LAYOUT_PAGE]++;
			q->chunk.pages[q->chunk.npages++] =
				(struct chunk_page){ .index = q->first + (uint64_t)i,
						     .data = page };
		}
		q->failed = delta_encode(sender, &q->chunk, true, &out, &hash, &sent, &counted,
					 &e) != RC_OK ||
			    delta_decode(out.data, out.len, &to, &hash_received, &received, &e) !=
				    RC_OK ||
			    hash != hash_received || sent != received;
		buf_free(&out);
	}
	return NULL;
}

static void threads_encode_chunks_without_common_pages_side_by_side(void **state)
{
	static struct quarter quarters[4];
	size_t i;

	(void)state;
	open_state((size_t)1 << 20); /* less than all pages: they push one another out */
	for (i = 0; i < 4; i++) {
		quarters[i].first = i * (PAGES / 4);
		quarters[i].memory = guest.memory;
		quarters[i].copy = standby;
		assert_int_equal(
			pthread_create(&quarters[i].thread, NULL, run_quarter, &quarters[i]), 0);
	}
	for (i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(quarters[i].thread, NULL), 0);
		assert_false(quarters[i].failed);
	}
	assert_in_step();
}

static void two_pages_that_swap_places_have_another_epoch_hash(void **state)
{
	uint64_t a = delta_content_hash(pages_at(&guest, 0)), b;

	(void)state;
	pages_at(&guest, 1)[0] = 1;
	b = delta_content_hash(pages_at(&guest, 1));
	assert_true(a == delta_content_hash(NULL));
	assert_true(a != b && a != 0);
	assert_true(delta_page_hash(0, a) + delta_page_hash(1, b) !=
		    delta_page_hash(0, b) + delta_page_hash(1, a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(two_memories_stay_in_step_over_thousands_of_epochs),
		TEST(what_the_standby_has_does_not_travel),
		TEST(a_counter_in_a_page_that_keeps_changing_costs_few_bytes),
		TEST(a_page_that_was_zero_travels_as_what_is_not_zero_any_more),
		TEST(nothing_is_sent_as_a_difference_where_a_page_may_come_twice),
		TEST(of_a_page_twice_in_a_chunk_the_later_one_counts_and_order_does_not_matter),
		TEST(after_forgetting_everything_is_sent_again),
		TEST(a_resync_sends_only_what_differs_from_the_hashes),
		TEST(hashes_beyond_the_pages_are_ignored),
		TEST(the_worst_pages_fit_into_a_batch),
		TEST(any_byte_of_a_batch_that_is_altered_or_missing_is_noticed),
		TEST(a_page_beyond_those_there_are_is_not_encoded),
		TEST(the_largest_guest_that_a_layout_takes_is_encoded_to_its_last_page),
		TEST(whatever_allocation_fails_the_state_stays_true),
		TEST(threads_encode_chunks_without_common_pages_side_by_side),
		TEST(two_pages_that_swap_places_have_another_epoch_hash),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
