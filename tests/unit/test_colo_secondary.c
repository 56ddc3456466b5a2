/* The capture thread takes a first copy and checkpoints whole, whatever the size of its pool. */
#include "tests/unit/colo_secondary_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void a_first_copy_larger_than_the_pool_arrives_whole(void **state)
{
	uint64_t i;

	(void)state;
	played_start(4);
	builder_header(&played.bytes);
	builder_start(&played.bytes);
	builder_begin_part(&played.bytes);
	for (i = 0; i < 5000; i++)
		builder_page(&played.bytes, "pc.ram", i % BUILDER_RAM_PAGES,
			     (uint8_t)(i % 250 + 1));
	for (i = 0; i < 5000; i++) /* the index of a chunk is full long before its bytes */
		builder_page(&played.bytes, NULL, i % 100, 0);
	builder_footer(&played.bytes);
	builder_begin_end(&played.bytes);
	builder_page(&played.bytes, "pc.bios", 2, 0x77);
	builder_footer(&played.bytes);
	played_send_bytes();
	while (!atomic_load(&played.written))
		(void)uv_run(&played.loop, UV_RUN_NOWAIT);
	played_enter_colo();
	played_request();
	played_receives(2);
	played_checkpoint(299, 0x55, 5000);

	assert_int_equal(played.layouts, 1);
	assert_int_equal(played.last.epoch, FIRST_EPOCH);
	assert_int_equal(played.last.pages, 10000 + 1 + 1 + 2);
	for (i = 0; i < 100; i++)
		assert_int_equal(played.first_byte[i], 0);
	for (i = 100; i < 299;
	     i++) /* the last version: pass 16 (of 200 pages) for those below 200, else 15 */
		assert_int_equal(played.first_byte[i],
				 (i + BUILDER_RAM_PAGES * (i < 200 ? 16 : 15)) % 250 + 1);
	assert_int_equal(played.first_byte[299], 0x55);
	assert_int_equal(played.first_byte[BUILDER_RAM_PAGES + 2], 0x77);
	played_stop();
}

static void memory_waits_after_the_layout_for_the_owners_word(void **state)
{
	uint64_t i;

	(void)state;
	played.wait = true;
	played_start(8);
	builder_header(&played.bytes);
	builder_start(&played.bytes);
	builder_begin_part(&played.bytes);
	for (i = 0; i < BUILDER_RAM_PAGES; i++)
		builder_page(&played.bytes, "pc.ram", i, 0x22);
	builder_footer(&played.bytes);
	builder_begin_end(&played.bytes);
	builder_footer(&played.bytes);
	played_send_bytes();
	played_run_until(&played.layouts, 1);
	played_receives_nothing();
	assert_int_equal(played.chunks, 0);
	colo_secondary_go(played.secondary);
	played_enter_colo();
	played_request();
	played_receives(2);
	played_checkpoint(1, 0x11, 100);
	assert_int_equal(played.first_byte[2], 0x22);
	assert_int_equal(played.last.epoch, FIRST_EPOCH);
	played_stop();
}

static void one_that_waits_notices_that_qemu_ends_and_that_it_is_stopped(void **state)
{
	(void)state;
	for (int stop = 0; stop < 2; stop++) {
		played.wait = true;
		played_start(8);
		builder_header(&played.bytes);
		builder_start(&played.bytes);
		played_send_bytes();
		played_run_until(&played.layouts, 1);
		if (stop == 0) {
			played_finish_sending();
			(void)shutdown(played.fd, SHUT_RDWR);
			played_run_until(&played.ended, 1);
			assert_int_equal(played.err.code, RC_CLOSED);
		}
		played_stop();
		played_teardown(state);
		played_setup(state);
	}
}

static void a_checkpoint_is_granted_only_on_the_owners_word(void **state)
{
	unsigned i;

	(void)state;
	played_start(8);
	played_protect();
	for (i = 1; i <= 5; i++) {
		played_request();
		played_run_until(&played.requests, i);
		played_receives_nothing();
		assert_int_equal(colo_secondary_held_ns(played.secondary), 0);
		assert_int_equal(colo_secondary_granted(played.secondary), i);
		colo_secondary_checkpoint(played.secondary);
		played_receives(2);
		assert_true(colo_secondary_held_ns(played.secondary) > 0);
		played_checkpoint(i, (uint8_t)i, 300);
		assert_int_equal(played.first_byte[i], i);
		assert_int_equal(colo_secondary_held_ns(played.secondary), 0);
	}
	/* Each checkpoint holds once, and so does the end of the first copy. */
	assert_int_equal(atomic_load(&played.holds), i + 1);
	assert_int_equal(atomic_load(&played.lets_go), i + 1);
	played_stop();
}

static void nothing_is_handed_over_while_the_guest_stands(void **state)
{
	uint64_t i, chunks;

	(void)state;
	played_start(8);
	played_protect();
	played_request();
	played_run_until(&played.requests, 1);
	chunks = played.chunks;
	colo_secondary_checkpoint(played.secondary);
	played_receives(2);
	played_finish_sending();
	builder_begin_checkpoint(&played.bytes);
	buf_consume(&played.bytes, 4);
	for (i = 0; i < BUILDER_RAM_PAGES; i++) /* more than one chunk */
		builder_page(&played.bytes, "pc.ram", i, 0x33);
	played_send_bytes();
	played_finish_sending();
	played_receives_nothing();
	assert_int_equal(played.chunks, chunks);
	builder_end_checkpoint(&played.bytes, 10);
	played_send_bytes();
	played_receives(5);
	played_receives(6);
	played_run_until(&played.epochs, 2);
	assert_int_equal(played.chunks, chunks + 2);
	played_stop();
}

static void a_checkpoint_that_outgrows_the_pool_waits_for_chunks(void **state)
{
	uint64_t i;

	(void)state;
	played_start(4);
	played_protect();
	played.keep_chunks = true;
	played_request();
	played_run_until(&played.requests, 1);
	colo_secondary_checkpoint(played.secondary);
	played_receives(2);
	played_finish_sending();
	builder_begin_checkpoint(&played.bytes);
	buf_consume(&played.bytes, 4);
	for (i = 0; i < 2000; i++)
		builder_page(&played.bytes, "pc.ram", i % BUILDER_RAM_PAGES,
			     (uint8_t)(i % 200 + 1));
	builder_end_checkpoint(&played.bytes, 10);
	played_send_bytes();
	played_receives_nothing();
	assert_true(played.nkept > 0);
	assert_true(colo_secondary_held_ns(played.secondary) > 0);
	played.keep_chunks = false;
	while (played.nkept > 0)
		chunk_put(played.kept[--played.nkept]);
	played_receives(5);
	played_receives(6);
	played_run_until(&played.epochs, 2);
	assert_int_equal(played.last.pages, 2001);
	played_stop();
}

static void the_end_of_the_first_copy_does_not_wait_for_a_slow_owner(void **state)
{
	uint64_t i;

	(void)state;
	played_start(12);
	played.keep_chunks = true;
	builder_header(&played.bytes);
	builder_start(&played.bytes);
	builder_begin_part(&played.bytes);
	for (i = 0; i < 2600; i++) /* 10 MiB; only half of the pool is for this */
		builder_page(&played.bytes, "pc.ram", i % BUILDER_RAM_PAGES, 0x44);
	builder_footer(&played.bytes);
	builder_begin_end(&played.bytes);
	builder_footer(&played.bytes);
	played_send_bytes();
	played_receives_nothing();
	assert_false(atomic_load(&played.written));
	assert_int_equal(colo_secondary_held_ns(played.secondary), 0);
	colo_secondary_standing(played.secondary);
	assert_true(colo_secondary_held_ns(played.secondary) > 0);
	played_enter_colo();
	played_lets_go();
	played_stop();
}

static void a_tail_at_the_end_of_a_chunk_moves_to_the_next(void **state)
{
	static const size_t lens[] = { CHUNK_BYTES - 4300, CHUNK_BYTES - 200, CHUNK_BYTES - 100,
				       CHUNK_BYTES - 60,   CHUNK_BYTES - 30,  CHUNK_BYTES,
				       CHUNK_BYTES + 1,	   CHUNK_BYTES + 4000 };
	size_t i, k;

	(void)state;
	played_start(8);
	played_protect();
	for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		played_request();
		played_run_until(&played.requests, (unsigned)i + 1);
		colo_secondary_checkpoint(played.secondary);
		played_receives(2);
		memset(played.state, 0xee, sizeof(played.state));
		played_checkpoint(1, 0, lens[i]);
		for (k = 0; k < lens[i]; k++)
			assert_int_equal(played.state[k], (k + 1) % 251);
		for (; k % LAYOUT_PAGE != 0; k++)
			assert_int_equal(played.state[k], 0);
	}
	played_stop();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, played_setup, played_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_first_copy_larger_than_the_pool_arrives_whole),
		TEST(memory_waits_after_the_layout_for_the_owners_word),
		TEST(one_that_waits_notices_that_qemu_ends_and_that_it_is_stopped),
		TEST(a_checkpoint_is_granted_only_on_the_owners_word),
		TEST(nothing_is_handed_over_while_the_guest_stands),
		TEST(a_checkpoint_that_outgrows_the_pool_waits_for_chunks),
		TEST(the_end_of_the_first_copy_does_not_wait_for_a_slow_owner),
		TEST(a_tail_at_the_end_of_a_chunk_moves_to_the_next),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
