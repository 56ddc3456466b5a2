#include "appliance/base/mem.h"
#include "replica/encoder.h"
#include "tests/unit/pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGES 4000
#define POOL 24

static struct err err;
static uv_loop_t loop;
static struct chunk_pool *pool;
static struct delta_state *sender;
static struct encoder *encoder;
static struct pages guest;
static uint8_t *standby;

/* What came out. */
static struct {
	uint64_t epoch, batches, pages, hash, bytes; /* of the open epoch, as decoded here */
	uint64_t epochs, errors, chunks, closed;
	void *last_mark;
	bool wrong;
	int close_after; /* batches, then close from within on_batch */
} got;

static const uint8_t *base(void *owner, uint64_t index)
{
	(void)owner;
	return standby + index * LAYOUT_PAGE;
}

static int put(void *owner, uint64_t index, const uint8_t *data, struct err *e)
{
	(void)owner;
	(void)e;
	if (data != NULL)
		memcpy(standby + index * LAYOUT_PAGE, data, LAYOUT_PAGE);
	else
		memset(standby + index * LAYOUT_PAGE, 0, LAYOUT_PAGE);
	return RC_OK;
}

static void on_closed(void *owner)
{
	assert_ptr_equal(owner, &got);
	got.closed++;
}

static void on_batch(void *owner, uint64_t epoch, uint8_t *data, size_t len)
{
	static const struct delta_sink sink = { .base = base, .put = put, .pages = PAGES };

	assert_ptr_equal(owner, &got);
	got.wrong = got.wrong || got.closed > 0 || got.errors > 0 ||
		    (got.batches > 0 && epoch != got.epoch);
	got.epoch = epoch;
	got.batches++;
	got.bytes += len;
	if (delta_decode(data, len, &sink, &got.hash, &got.pages, &err) != RC_OK)
		got.wrong = true;
	mem_free(data);
	if (got.close_after > 0 && --got.close_after == 0)
		encoder_close(encoder, on_closed, &got);
}

static void on_chunk(void *owner)
{
	assert_ptr_equal(owner, &got);
	got.chunks++;
}

static void on_epoch(void *owner, const struct encoder_epoch *epoch)
{
	assert_ptr_equal(owner, &got);
	got.wrong = got.wrong || got.errors > 0 || epoch->batches != got.batches ||
		    epoch->pages != got.pages || epoch->hash != got.hash ||
		    epoch->bytes != got.bytes || (got.batches > 0 && epoch->epoch != got.epoch);
	got.batches = got.pages = got.hash = got.bytes = 0;
	got.epochs++;
	mem_free(got.last_mark);
	got.last_mark = epoch->mark;
}

static void on_error(void *owner, const struct err *e)
{
	assert_ptr_equal(owner, &got);
	assert_int_equal(e->code, RC_NOMEM);
	got.errors++;
}

static const struct encoder_ops ops = {
	.on_batch = on_batch, .on_chunk = on_chunk, .on_epoch = on_epoch, .on_error = on_error
};

static int setup(void **state)
{
	(void)state;
	memset(&got, 0, sizeof(got));
	pages_open(&guest, PAGES, 3);
	standby = calloc(PAGES, LAYOUT_PAGE);
	assert_non_null(standby);
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(chunk_pool_create(&pool, POOL * CHUNK_BYTES, &err), RC_OK);
	assert_int_equal(delta_state_create(&sender, PAGES, (size_t)8 << 20, &err), RC_OK);
	assert_int_equal(encoder_create(&encoder, &loop, sender, &ops, &got, &err), RC_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fault_arm(FAULT_ALLOC, 0);
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&loop), 0); /* no handle is left */
	assert_int_equal(got.closed, 1);
	assert_false(got.wrong);
	assert_int_equal(chunk_pool_in_use(pool), 0);
	mem_free(got.last_mark);
	chunk_pool_destroy(pool);
	delta_state_destroy(sender);
	delta_trim();
	free(standby);
	pages_close(&guest);
	return 0;
}

static void close_encoder(void)
{
	encoder_close(encoder, on_closed, &got);
	assert_int_equal(got.closed, 0);
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(got.closed, 1);
}

/* Adds the dirty pages' chunks; returns how many. */
static uint64_t add_dirty(uint64_t epoch, bool first_copy)
{
	uint64_t at = 0, count = 0;

	for (;;) {
		struct chunk *chunk = chunk_get(pool);

		assert_non_null(chunk);
		if (!pages_fill(&guest, &at, chunk)) {
			chunk_put(chunk);
			return count;
		}
		chunk->epoch = epoch;
		encoder_add(encoder, chunk, first_copy);
		count++;
	}
}

static void end_epoch(uint64_t epoch)
{
	assert_int_equal(encoder_end_epoch(encoder, epoch, NULL, &err), RC_OK);
}

static void assert_in_step(void)
{
	assert_memory_equal(guest.memory, standby, PAGES * LAYOUT_PAGE);
}

static void batches_come_in_order_and_epochs_with_their_sums(void **state)
{
	uint64_t epoch, chunks = 0;

	(void)state;
	for (epoch = 1; epoch <= 60; epoch++) {
		pages_change(&guest, epoch == 1 ? 20000 : 2000);
		chunks += add_dirty(epoch, epoch == 1);
		end_epoch(epoch);
		if (epoch % 5 == 0 || chunk_pool_in_use(pool) > POOL / 2)
			assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	}
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(got.epochs, 60);
	assert_int_equal(got.chunks, chunks);
	assert_in_step();
	assert_true(encoder_stats(encoder)->changed > 1000);
	assert_true(encoder_stats(encoder)->bytes_out > 0);
	close_encoder();
}

static void a_page_that_comes_twice_in_a_first_copy_ends_as_it_was_last(void **state)
{
	int round;

	(void)state;
	for (round = 0; round < 15; round++) {
		pages_change(&guest, 100);
		(void)add_dirty(1, true);
	}
	end_epoch(1);
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(encoder_stats(encoder)->changed, 0);
	assert_in_step();
	close_encoder();
}

static void chunks_of_a_first_copy_are_not_encoded_side_by_side(void **state)
{
	uint64_t round, i;
	int version;

	(void)state;
	/* Each chunk takes back what the one before it changed. */
	for (round = 0; round < 100; round++) {
		for (version = 1; version < 4; version++) {
			for (i = 0; i < 100; i++) {
				memset(pages_at(&guest, i), version % 2 + 1, LAYOUT_PAGE);
				guest.dirty[i] = true;
			}
			(void)add_dirty(1, true);
		}
		assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
		assert_in_step();
	}
	close_encoder();
}

static void what_chunks_of_disks_cost_is_told_beside_the_rest(void **state)
{
	uint64_t memory, at = 0;
	struct chunk *chunk;

	(void)state;
	pages_change(&guest, 1000);
	(void)add_dirty(1, true);
	end_epoch(1);
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	memory = encoder_stats(encoder)->bytes_out;
	assert_true(memory > 0);
	assert_int_equal(encoder_stats(encoder)->disk_out, 0);
	pages_change(&guest, 100);
	chunk = chunk_get(pool);
	assert_true(pages_fill(&guest, &at, chunk));
	chunk->epoch = 2;
	chunk->disk = true;
	encoder_add(encoder, chunk, false);
	end_epoch(2);
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_true(encoder_stats(encoder)->disk_out > 0);
	assert_int_equal(encoder_stats(encoder)->bytes_out,
			 memory + encoder_stats(encoder)->disk_out);
	close_encoder();
}

static void an_epoch_without_chunks_or_without_changes_still_ends(void **state)
{
	char *mark = mem_strdup("mark");

	(void)state;
	end_epoch(1);
	assert_int_equal(got.epochs, 1);
	assert_null(got.last_mark);
	pages_change(&guest, 1000);
	(void)add_dirty(2, true);
	end_epoch(2);
	memset(guest.dirty, true, 100 * sizeof(bool));
	(void)add_dirty(3, true);
	end_epoch(3);
	memset(guest.dirty, true, 100 * sizeof(bool));
	(void)add_dirty(4, false);
	assert_int_equal(encoder_end_epoch(encoder, 4, mark, &err), RC_OK);
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(got.epochs, 4);
	assert_string_equal(got.last_mark, "mark");
	close_encoder();
}

static void no_chunk_is_encoded_before_the_epoch_before_is_out(void **state)
{
	uint64_t epoch;

	(void)state;
	/*
	 * The same pages in every epoch: encoded side by side, one epoch's difference would be to
	 * the wrong version.
	 */
	for (epoch = 1; epoch <= 20; epoch++) {
		for (uint64_t i = 0; i < 40; i++) {
			pages_at(&guest, i)[epoch] = (uint8_t)(epoch + i);
			guest.dirty[i] = true;
		}
		(void)add_dirty(epoch, epoch == 1);
		end_epoch(epoch);
	}
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(got.epochs, 20);
	assert_in_step();
	close_encoder();
}

static void closing_drops_what_is_queued_and_returns_every_chunk_and_mark(void **state)
{
	(void)state;
	pages_change(&guest, 20000);
	assert_true(add_dirty(1, true) > 4);
	assert_int_equal(encoder_end_epoch(encoder, 1, mem_strdup("dropped"), &err), RC_OK);
	close_encoder();
	assert_int_equal(got.epochs, 0);
}

static void closing_while_chunks_are_being_encoded_waits_for_them(void **state)
{
	(void)state;
	pages_change(&guest, 20000);
	(void)add_dirty(1, false);
	end_epoch(1);
	(void)uv_run(&loop, UV_RUN_ONCE);
	close_encoder();
}

static void closing_from_within_a_callback_is_allowed(void **state)
{
	(void)state;
	got.close_after = 2;
	pages_change(&guest, 20000);
	(void)add_dirty(1, false);
	end_epoch(1);
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(got.closed, 1);
	assert_int_equal(got.epochs, 0);
	assert_int_equal(got.batches, 2);
}

static void closing_an_idle_one_calls_back_from_the_loop(void **state)
{
	(void)state;
	close_encoder();
}

static void whatever_allocation_fails_it_is_an_error_once_and_nothing_leaks(void **state)
{
	unsigned long n;
	bool fired = true;

	(void)state;
	/* One chunk each time, so that the faults hit one after the other. */
	for (n = 1; fired; n++) {
		uint64_t at = 0;
		struct chunk *chunk = chunk_get(pool);
		int rc;

		memset(&got, 0, sizeof(got));
		pages_change(&guest, 30);
		assert_true(pages_fill(&guest, &at, chunk));
		chunk->epoch = n;
		delta_trim();
		fault_arm(FAULT_ALLOC, n);
		encoder_add(encoder, chunk, false);
		rc = encoder_end_epoch(encoder, n, NULL, &err);
		assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
		assert_int_equal(got.chunks, 1);
		assert_true(got.errors <= 1);
		if (rc == RC_OK && got.errors == 0)
			assert_int_equal(got.epochs, 1);
		else
			assert_int_equal(got.epochs, 0);
		/* After an error nothing comes out any more. */
		if (got.errors > 0) {
			encoder_add(encoder, chunk_get(pool), false);
			end_epoch(n);
			assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
			assert_int_equal(got.chunks, 2);
			assert_int_equal(got.errors, 1);
		}
		close_encoder();
		assert_false(got.wrong);
		assert_int_equal(encoder_create(&encoder, &loop, sender, &ops, &got, &err), RC_OK);
		got.closed = 0;
	}
	assert_true(n > 4);
	close_encoder();
}

static void creating_one_without_memory_is_an_error(void **state)
{
	struct encoder *other = NULL;

	(void)state;
	fault_arm(FAULT_ALLOC, 1);
	assert_int_equal(encoder_create(&other, &loop, sender, &ops, &got, &err), RC_NOMEM);
	assert_null(other);
	close_encoder();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(batches_come_in_order_and_epochs_with_their_sums),
		TEST(a_page_that_comes_twice_in_a_first_copy_ends_as_it_was_last),
		TEST(chunks_of_a_first_copy_are_not_encoded_side_by_side),
		TEST(what_chunks_of_disks_cost_is_told_beside_the_rest),
		TEST(an_epoch_without_chunks_or_without_changes_still_ends),
		TEST(no_chunk_is_encoded_before_the_epoch_before_is_out),
		TEST(closing_drops_what_is_queued_and_returns_every_chunk_and_mark),
		TEST(closing_while_chunks_are_being_encoded_waits_for_them),
		TEST(closing_from_within_a_callback_is_allowed),
		TEST(closing_an_idle_one_calls_back_from_the_loop),
		TEST(whatever_allocation_fails_it_is_an_error_once_and_nothing_leaks),
		TEST(creating_one_without_memory_is_an_error),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
