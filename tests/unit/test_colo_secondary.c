/*
 * The capture thread against a primary that this file plays, on a socket pair.
 */
#include "replica/colo_secondary.h"

#include "appliance/base/buf.h"
#include "appliance/base/bytes.h"
#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "tests/unit/stream_builder.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_NS (UINT64_C(20) * CLOCK_NS_PER_S) /* a test that waits longer has failed */
#define PAGES (BUILDER_RAM_PAGES + BUILDER_BIOS_PAGES)
#define FIRST_EPOCH 5

struct world {
	uv_loop_t loop;
	struct chunk_pool *pool;
	struct colo_secondary *secondary;
	int fd; /* the primary's end */
	struct buf bytes;
	uv_thread_t writer;
	atomic_bool written;
	bool writing;

	/* What the owner saw. */
	bool keep_chunks; /* instead of giving them back */
	struct chunk *kept[64];
	size_t nkept;
	uint64_t ram_pages;
	unsigned layouts, epochs, requests, ended, closed;
	uint64_t chunks, pages; /* of the present epoch */
	struct capture_epoch last;
	struct err err;
	uint8_t first_byte[PAGES], state[2 << 20]; /* of each page; device state */
	atomic_uint holds, lets_go;
};

static struct world w;

/*
 * ---- the owner
 * ------------------------------------------------------------------------------------------------
 */

static void on_layout(void *owner, const struct layout *layout)
{
	assert_ptr_equal(owner, &w);
	w.layouts++;
	w.ram_pages = layout->ram_pages;
}

static void on_chunk(void *owner, struct chunk *chunk)
{
	const struct chunk_page *page;
	uint32_t i;

	assert_ptr_equal(owner, &w);
	assert_int_equal(w.layouts, 1);
	assert_int_equal(chunk->epoch, FIRST_EPOCH + w.epochs);
	assert_true(chunk->npages > 0 && chunk->npages <= CHUNK_PAGES);
	for (i = 0; i < chunk->npages; i++) {
		page = &chunk->pages[i];
		assert_true(page->data == NULL ||
			    (page->data >= chunk->bytes &&
			     page->data + LAYOUT_PAGE <= chunk->bytes + CHUNK_BYTES));
		if (page->index < w.ram_pages)
			w.first_byte[page->index] =
				page->data != NULL ? page->data[LAYOUT_PAGE - 1] : 0;
		else
			memcpy(w.state + (page->index - w.ram_pages) * LAYOUT_PAGE, page->data,
			       LAYOUT_PAGE);
	}
	w.chunks++;
	w.pages += chunk->npages;
	if (w.keep_chunks)
		w.kept[w.nkept++] = chunk;
	else
		chunk_put(w.pool, chunk);
}

static void on_epoch(void *owner, const struct capture_epoch *epoch)
{
	assert_ptr_equal(owner, &w);
	assert_int_equal(epoch->epoch, FIRST_EPOCH + w.epochs);
	assert_int_equal(epoch->pages, w.pages);
	w.pages = 0;
	w.last = *epoch;
	w.epochs++;
}

static void on_request(void *owner)
{
	assert_ptr_equal(owner, &w);
	w.requests++;
}

static void on_ended(void *owner, const struct err *err)
{
	assert_ptr_equal(owner, &w);
	w.ended++;
	w.err = *err;
}

static void on_hold(void *owner, bool held)
{
	(void)owner;
	atomic_fetch_add(held ? &w.holds : &w.lets_go, 1);
}

static void on_closed(void *owner)
{
	assert_ptr_equal(owner, &w);
	w.closed++;
}

static const struct colo_secondary_ops ops = {
	.on_layout = on_layout,
	.on_chunk = on_chunk,
	.on_epoch = on_epoch,
	.on_request = on_request,
	.on_ended = on_ended,
};

/*
 * ---- the primary
 * ----------------------------------------------------------------------------------------------
 */

static void write_bytes(void *arg)
{
	size_t done = 0;
	ssize_t r = 0;

	(void)arg;
	for (; done < w.bytes.len && r >= 0; done += (size_t)r)
		r = send(w.fd, w.bytes.data + done, w.bytes.len - done, MSG_NOSIGNAL);
	atomic_store(&w.written, true);
}

static void finish_sending(void)
{
	if (w.writing)
		(void)uv_thread_join(&w.writer);
	w.writing = false;
	buf_reset(&w.bytes);
}

/* Sends what is in w.bytes, from a thread of its own. */
static void send_bytes(void)
{
	assert_false(w.bytes.failed);
	atomic_store(&w.written, false);
	w.writing = uv_thread_create(&w.writer, write_bytes, NULL) == 0;
	assert_true(w.writing);
}

/* Runs the loop until *count is `wanted`. */
static void run_until(const unsigned *count, unsigned wanted)
{
	uint64_t end_ns = clock_now_ns() + PATIENCE_NS;

	while (*count != wanted) {
		assert_true(*count < wanted && clock_now_ns() < end_ns);
		(void)uv_run(&w.loop, UV_RUN_NOWAIT);
		(void)poll(NULL, 0, 1);
	}
}

static void receives(uint32_t message)
{
	struct pollfd readable = { .fd = w.fd, .events = POLLIN };
	uint64_t end_ns = clock_now_ns() + PATIENCE_NS;
	uint8_t bytes[4];

	while (poll(&readable, 1, 1) == 0) {
		assert_true(clock_now_ns() < end_ns);
		(void)uv_run(&w.loop, UV_RUN_NOWAIT);
	}
	assert_int_equal(recv(w.fd, bytes, 4, MSG_WAITALL), 4);
	assert_int_equal(bytes_get_be32(bytes), message);
}

static void receives_nothing(void)
{
	struct pollfd readable = { .fd = w.fd, .events = POLLIN };
	int i;

	for (i = 0; i < 20; i++) {
		(void)uv_run(&w.loop, UV_RUN_NOWAIT);
		assert_int_equal(poll(&readable, 1, 1), 0);
	}
}

/* The thread lets go just after its message. */
static void lets_go(void)
{
	uint64_t end_ns = clock_now_ns() + PATIENCE_NS;

	while (colo_secondary_held_ns(w.secondary) > 0)
		assert_true(clock_now_ns() < end_ns);
}

static void start(size_t pool_mib)
{
	struct colo_secondary_options options = { .first_epoch = FIRST_EPOCH, .hold = on_hold };
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	options.fd = fds[0];
	w.fd = fds[1];
	assert_int_equal(chunk_pool_create(&w.pool, pool_mib << 20, &w.err), RC_OK);
	assert_int_equal(colo_secondary_start(&w.secondary, &w.loop, w.pool, &options, &ops, &w,
					      &w.err),
			 RC_OK);
}

static void stop(void)
{
	colo_secondary_stop(w.secondary);
	finish_sending();
	while (w.nkept > 0)
		chunk_put(w.pool, w.kept[--w.nkept]);
	colo_secondary_close(w.secondary, on_closed);
	(void)uv_run(&w.loop, UV_RUN_DEFAULT);
	assert_int_equal(w.closed, 1);
	assert_int_equal(chunk_pool_in_use(w.pool), 0);
	chunk_pool_destroy(w.pool);
	(void)close(w.fd);
}

/* Sends the device state of the first copy and lets the secondary know that QEMU is in COLO. */
static void enter_colo(void)
{
	finish_sending();
	buf_append(&w.bytes, "device state of no known length", 31);
	send_bytes();
	finish_sending();
	colo_secondary_entered(w.secondary);
	receives(0);
}

/* A checkpoint of one page and `state_len` bytes of device state, after REQUEST and REPLY. */
static void checkpoint(uint64_t page, uint8_t fill, size_t state_len)
{
	unsigned epochs = w.epochs;

	finish_sending();
	builder_begin_checkpoint(&w.bytes);
	buf_consume(&w.bytes, 4); /* REQUEST was sent before */
	builder_page(&w.bytes, "pc.ram", page, fill);
	builder_end_checkpoint(&w.bytes, state_len);
	send_bytes();
	receives(5);
	receives(6);
	run_until(&w.epochs, epochs + 1);
	assert_int_equal(w.last.device_state_len, state_len);
	assert_true(w.last.pause_ns > 0);
}

static void request(void)
{
	finish_sending();
	buf_append_be32(&w.bytes, 1);
	send_bytes();
}

/* The first copy of an empty machine, and its first checkpoint. */
static void protect(void)
{
	builder_header(&w.bytes);
	builder_start(&w.bytes);
	builder_begin_end(&w.bytes);
	builder_footer(&w.bytes);
	send_bytes();
	enter_colo();
	request();
	receives(2);
	checkpoint(1, 0x11, 100);
	assert_int_equal(w.requests, 0);
}

static int setup(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	w.bytes.limit = (size_t)64 << 20;
	return uv_loop_init(&w.loop);
}

static int teardown(void **state)
{
	(void)state;
	buf_free(&w.bytes);
	return uv_loop_close(&w.loop);
}

/* ---- claims -------------------------------------------------------------------------------- */

static void a_first_copy_larger_than_the_pool_arrives_whole(void **state)
{
	uint64_t i;

	(void)state;
	start(4);
	builder_header(&w.bytes);
	builder_start(&w.bytes);
	builder_begin_part(&w.bytes);
	for (i = 0; i < 5000; i++)
		builder_page(&w.bytes, "pc.ram", i % BUILDER_RAM_PAGES, (uint8_t)(i % 250 + 1));
	for (i = 0; i < 5000; i++) /* the index of a chunk is full long before its bytes */
		builder_page(&w.bytes, NULL, i % 100, 0);
	builder_footer(&w.bytes);
	builder_begin_end(&w.bytes);
	builder_page(&w.bytes, "pc.bios", 2, 0x77);
	builder_footer(&w.bytes);
	send_bytes();
	while (!atomic_load(&w.written))
		(void)uv_run(&w.loop, UV_RUN_NOWAIT);
	enter_colo();
	request();
	receives(2);
	checkpoint(299, 0x55, 5000);

	assert_int_equal(w.layouts, 1);
	assert_int_equal(w.last.epoch, FIRST_EPOCH);
	assert_int_equal(w.last.pages, 10000 + 1 + 1 + 2);
	for (i = 0; i < 100; i++)
		assert_int_equal(w.first_byte[i], 0);
	for (i = 100; i < 299;
	     i++) /* the last version: pass 16 (of 200 pages) for those below 200, else 15 */
		assert_int_equal(w.first_byte[i],
				 (i + BUILDER_RAM_PAGES * (i < 200 ? 16 : 15)) % 250 + 1);
	assert_int_equal(w.first_byte[299], 0x55);
	assert_int_equal(w.first_byte[BUILDER_RAM_PAGES + 2], 0x77);
	stop();
}

static void a_checkpoint_is_granted_only_on_the_owners_word(void **state)
{
	unsigned i;

	(void)state;
	start(8);
	protect();
	for (i = 1; i <= 5; i++) {
		request();
		run_until(&w.requests, i);
		receives_nothing();
		assert_int_equal(colo_secondary_held_ns(w.secondary), 0);
		assert_int_equal(colo_secondary_granted(w.secondary), i);
		colo_secondary_checkpoint(w.secondary);
		receives(2);
		assert_true(colo_secondary_held_ns(w.secondary) > 0);
		checkpoint(i, (uint8_t)i, 300);
		assert_int_equal(w.first_byte[i], i);
		assert_int_equal(colo_secondary_held_ns(w.secondary), 0);
	}
	/* Each checkpoint holds once, and so does the end of the first copy. */
	assert_int_equal(atomic_load(&w.holds), i + 1);
	assert_int_equal(atomic_load(&w.lets_go), i + 1);
	stop();
}

static void nothing_is_handed_over_while_the_guest_stands(void **state)
{
	uint64_t i, chunks;

	(void)state;
	start(8);
	protect();
	request();
	run_until(&w.requests, 1);
	chunks = w.chunks;
	colo_secondary_checkpoint(w.secondary);
	receives(2);
	finish_sending();
	builder_begin_checkpoint(&w.bytes);
	buf_consume(&w.bytes, 4);
	for (i = 0; i < BUILDER_RAM_PAGES; i++) /* more than one chunk */
		builder_page(&w.bytes, "pc.ram", i, 0x33);
	send_bytes();
	finish_sending();
	receives_nothing();
	assert_int_equal(w.chunks, chunks);
	builder_end_checkpoint(&w.bytes, 10);
	send_bytes();
	receives(5);
	receives(6);
	run_until(&w.epochs, 2);
	assert_int_equal(w.chunks, chunks + 2);
	stop();
}

static void a_checkpoint_that_outgrows_the_pool_waits_for_chunks(void **state)
{
	uint64_t i;

	(void)state;
	start(4);
	protect();
	w.keep_chunks = true;
	request();
	run_until(&w.requests, 1);
	colo_secondary_checkpoint(w.secondary);
	receives(2);
	finish_sending();
	builder_begin_checkpoint(&w.bytes);
	buf_consume(&w.bytes, 4);
	for (i = 0; i < 2000; i++)
		builder_page(&w.bytes, "pc.ram", i % BUILDER_RAM_PAGES, (uint8_t)(i % 200 + 1));
	builder_end_checkpoint(&w.bytes, 10);
	send_bytes();
	receives_nothing();
	assert_true(w.nkept > 0);
	assert_true(colo_secondary_held_ns(w.secondary) > 0);
	w.keep_chunks = false;
	while (w.nkept > 0)
		chunk_put(w.pool, w.kept[--w.nkept]);
	receives(5);
	receives(6);
	run_until(&w.epochs, 2);
	assert_int_equal(w.last.pages, 2001);
	stop();
}

static void the_end_of_the_first_copy_does_not_wait_for_a_slow_owner(void **state)
{
	uint64_t i;

	(void)state;
	start(12);
	w.keep_chunks = true;
	builder_header(&w.bytes);
	builder_start(&w.bytes);
	builder_begin_part(&w.bytes);
	for (i = 0; i < 2600; i++) /* 10 MiB; only half of the pool is for this */
		builder_page(&w.bytes, "pc.ram", i % BUILDER_RAM_PAGES, 0x44);
	builder_footer(&w.bytes);
	builder_begin_end(&w.bytes);
	builder_footer(&w.bytes);
	send_bytes();
	receives_nothing();
	assert_false(atomic_load(&w.written));
	assert_int_equal(colo_secondary_held_ns(w.secondary), 0);
	colo_secondary_standing(w.secondary);
	assert_true(colo_secondary_held_ns(w.secondary) > 0);
	enter_colo();
	lets_go();
	stop();
}

static void a_tail_at_the_end_of_a_chunk_moves_to_the_next(void **state)
{
	static const size_t lens[] = { CHUNK_BYTES - 4300, CHUNK_BYTES - 200, CHUNK_BYTES - 100,
				       CHUNK_BYTES - 60,   CHUNK_BYTES - 30,  CHUNK_BYTES,
				       CHUNK_BYTES + 1,	   CHUNK_BYTES + 4000 };
	size_t i, k;

	(void)state;
	start(8);
	protect();
	for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		request();
		run_until(&w.requests, (unsigned)i + 1);
		colo_secondary_checkpoint(w.secondary);
		receives(2);
		memset(w.state, 0xee, sizeof(w.state));
		checkpoint(1, 0, lens[i]);
		for (k = 0; k < lens[i]; k++)
			assert_int_equal(w.state[k], (k + 1) % 251);
		for (; k % LAYOUT_PAGE != 0; k++)
			assert_int_equal(w.state[k], 0);
	}
	stop();
}

static void an_end_of_qemu_is_told_wherever_it_happens(void **state)
{
	int phase;

	for (phase = 0; phase < 4; phase++) {
		start(8);
		if (phase == 1) {
			builder_header(&w.bytes);
			builder_start(&w.bytes);
			send_bytes();
			finish_sending();
		} else if (phase >= 2) {
			protect();
			request();
			run_until(&w.requests, 1);
		}
		if (phase == 3) {
			colo_secondary_checkpoint(w.secondary);
			receives(2);
		}
		(void)shutdown(w.fd, SHUT_RDWR);
		run_until(&w.ended, 1);
		assert_int_equal(w.err.code, RC_CLOSED);
		stop();
		teardown(state);
		setup(state);
	}
}

static void bytes_that_do_not_belong_end_the_capture(void **state)
{
	(void)state;
	start(8);
	buf_append(&w.bytes, "not a stream", 12);
	send_bytes();
	run_until(&w.ended, 1);
	assert_int_equal(w.err.code, RC_INVALID);
	stop();
}

static void bytes_behind_a_request_end_the_capture(void **state)
{
	(void)state;
	start(8);
	protect();
	finish_sending();
	buf_append_be64(&w.bytes, (UINT64_C(1) << 32) + 3);
	send_bytes();
	run_until(&w.ended, 1);
	assert_int_equal(w.err.code, RC_INVALID);
	stop();
}

/*
 * stop() in each test above ended a thread that read or waited for its word; this is one that waits
 * for a chunk.
 */
static void a_thread_that_waits_for_a_chunk_can_be_stopped(void **state)
{
	uint64_t i;

	(void)state;
	start(4);
	w.keep_chunks = true;
	builder_header(&w.bytes);
	builder_start(&w.bytes);
	builder_begin_part(&w.bytes);
	for (i = 0; i < 2600; i++)
		builder_page(&w.bytes, "pc.ram", i % BUILDER_RAM_PAGES, 0x44);
	send_bytes();
	receives_nothing();
	stop();
	assert_int_equal(w.ended, 0);
}

static void without_memory_nothing_is_started(void **state)
{
	struct colo_secondary_options options = { .first_epoch = FIRST_EPOCH };
	unsigned long n = 0;
	int fds[2], rc;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	options.fd = fds[0];
	w.fd = fds[1];
	assert_int_equal(chunk_pool_create(&w.pool, 8 << 20, &w.err), RC_OK);
	do {
		fault_arm(FAULT_ALLOC, ++n);
		rc = colo_secondary_start(&w.secondary, &w.loop, w.pool, &options, &ops, &w,
					  &w.err);
		assert_true(rc == RC_OK || rc == RC_NOMEM);
		if (rc == RC_OK && fault_fired(FAULT_ALLOC)) { /* it hit the thread's first chunk */
			run_until(&w.ended, 1);
			assert_int_equal(w.err.code, RC_NOMEM);
		}
	} while (rc != RC_OK);
	fault_arm(FAULT_ALLOC, 0);
	assert_true(n > 1);
	stop();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_first_copy_larger_than_the_pool_arrives_whole),
		TEST(a_checkpoint_is_granted_only_on_the_owners_word),
		TEST(nothing_is_handed_over_while_the_guest_stands),
		TEST(a_checkpoint_that_outgrows_the_pool_waits_for_chunks),
		TEST(the_end_of_the_first_copy_does_not_wait_for_a_slow_owner),
		TEST(a_tail_at_the_end_of_a_chunk_moves_to_the_next),
		TEST(an_end_of_qemu_is_told_wherever_it_happens),
		TEST(bytes_that_do_not_belong_end_the_capture),
		TEST(bytes_behind_a_request_end_the_capture),
		TEST(a_thread_that_waits_for_a_chunk_can_be_stopped),
		TEST(without_memory_nothing_is_started),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
