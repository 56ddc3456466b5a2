/* Wherever the capture ends, by QEMU, by bytes that do not belong or for want of memory, it is told. */
#include "tests/unit/colo_secondary_fixture.h"

#include "appliance/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <cmocka.h>

static void an_end_of_qemu_is_told_wherever_it_happens(void **state)
{
	int phase;

	for (phase = 0; phase < 4; phase++) {
		played_start(8);
		if (phase == 1) {
			builder_header(&played.bytes);
			builder_start(&played.bytes);
			played_send_bytes();
			played_finish_sending();
		} else if (phase >= 2) {
			played_protect();
			played_request();
			played_run_until(&played.requests, 1);
		}
		if (phase == 3) {
			colo_secondary_checkpoint(played.secondary);
			played_receives(2);
		}
		(void)shutdown(played.fd, SHUT_RDWR);
		played_run_until(&played.ended, 1);
		assert_int_equal(played.err.code, RC_CLOSED);
		played_stop();
		played_teardown(state);
		played_setup(state);
	}
}

static void bytes_that_do_not_belong_end_the_capture(void **state)
{
	(void)state;
	played_start(8);
	buf_append(&played.bytes, "not a stream", 12);
	played_send_bytes();
	played_run_until(&played.ended, 1);
	assert_int_equal(played.err.code, RC_INVALID);
	played_stop();
}

static void bytes_behind_a_request_end_the_capture(void **state)
{
	(void)state;
	played_start(8);
	played_protect();
	played_finish_sending();
	buf_append_be64(&played.bytes, (UINT64_C(1) << 32) + 3);
	played_send_bytes();
	played_run_until(&played.ended, 1);
	assert_int_equal(played.err.code, RC_INVALID);
	played_stop();
}

static void an_instance_that_may_not_run_on_is_not_let_out_of_its_checkpoint(void **state)
{
	(void)state;
	played_start(8);
	played_protect();
	played_request();
	played_run_until(&played.requests, 1);
	colo_secondary_checkpoint(played.secondary);
	played_receives(2);
	atomic_store(&played.stands, true);
	played_finish_sending();
	builder_begin_checkpoint(&played.bytes);
	buf_consume(&played.bytes, 4); /* REQUEST was sent before */
	builder_end_checkpoint(&played.bytes, 100);
	played_send_bytes();
	played_run_until(&played.ended, 1);
	assert_int_equal(played.err.code, RC_STATE);
	assert_int_equal(played.epochs, 1);
	played_receives_nothing();
	played_stop();
}

/*
 * played_stop() in each test above ended a thread that read or waited for its word; this is one that waits
 * for a chunk.
 */
static void a_thread_that_waits_for_a_chunk_can_be_stopped(void **state)
{
	uint64_t i;

	(void)state;
	played_start(4);
	played.keep_chunks = true;
	builder_header(&played.bytes);
	builder_start(&played.bytes);
	builder_begin_part(&played.bytes);
	for (i = 0; i < 2600; i++)
		builder_page(&played.bytes, "pc.ram", i % BUILDER_RAM_PAGES, 0x44);
	played_send_bytes();
	played_receives_nothing();
	played_stop();
	assert_int_equal(played.ended, 0);
}

static void without_memory_nothing_is_started(void **state)
{
	struct colo_secondary_options options = { .first_epoch = FIRST_EPOCH };
	unsigned long n = 0;
	int fds[2], rc;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	options.fd = fds[0];
	played.fd = fds[1];
	assert_int_equal(chunk_pool_create(&played.pool, 8 << 20, &played.err), RC_OK);
	do {
		fault_arm(FAULT_ALLOC, ++n);
		rc = colo_secondary_start(&played.secondary, &played.loop, played.pool, &options,
					  &played_ops, &played, &played.err);
		assert_true(rc == RC_OK || rc == RC_NOMEM);
		if (rc == RC_OK && fault_fired(FAULT_ALLOC)) { /* it hit the thread's first chunk */
			played_run_until(&played.ended, 1);
			assert_int_equal(played.err.code, RC_NOMEM);
		}
	} while (rc != RC_OK);
	fault_arm(FAULT_ALLOC, 0);
	assert_true(n > 1);
	played_stop();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, played_setup, played_teardown)
	const struct CMUnitTest tests[] = {
		TEST(an_end_of_qemu_is_told_wherever_it_happens),
		TEST(bytes_that_do_not_belong_end_the_capture),
		TEST(bytes_behind_a_request_end_the_capture),
		TEST(an_instance_that_may_not_run_on_is_not_let_out_of_its_checkpoint),
		TEST(a_thread_that_waits_for_a_chunk_can_be_stopped),
		TEST(without_memory_nothing_is_started),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
