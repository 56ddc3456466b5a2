#include "tests/unit/colo_secondary_fixture.h"

#include "appliance/base/bytes.h"
#include "appliance/base/clock.h"
#include "tests/unit/stream_builder.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_NS (UINT64_C(20) * CLOCK_NS_PER_S) /* a test that waits longer has failed */

struct played played;

/* ---- the owner ---- */

static void on_layout(void *owner, const struct layout *layout)
{
	assert_ptr_equal(owner, &played);
	played.layouts++;
	played.ram_pages = layout->ram_pages;
}

static void on_chunk(void *owner, struct chunk *chunk)
{
	const struct chunk_page *page;
	uint32_t i;

	assert_ptr_equal(owner, &played);
	assert_int_equal(played.layouts, 1);
	assert_int_equal(chunk->epoch, FIRST_EPOCH + played.epochs);
	assert_true(chunk->npages > 0 && chunk->npages <= CHUNK_PAGES);
	for (i = 0; i < chunk->npages; i++) {
		page = &chunk->pages[i];
		assert_true(page->data == NULL ||
			    (page->data >= chunk->bytes &&
			     page->data + LAYOUT_PAGE <= chunk->bytes + CHUNK_BYTES));
		if (page->index < played.ram_pages)
			played.first_byte[page->index] =
				page->data != NULL ? page->data[LAYOUT_PAGE - 1] : 0;
		else
			memcpy(played.state + (page->index - played.ram_pages) * LAYOUT_PAGE,
			       page->data, LAYOUT_PAGE);
	}
	played.chunks++;
	played.pages += chunk->npages;
	if (played.keep_chunks)
		played.kept[played.nkept++] = chunk;
	else
		chunk_put(chunk);
}

static void on_epoch(void *owner, const struct capture_epoch *epoch)
{
	assert_ptr_equal(owner, &played);
	assert_int_equal(epoch->epoch, FIRST_EPOCH + played.epochs);
	assert_int_equal(epoch->pages, played.pages);
	played.pages = 0;
	played.last = *epoch;
	played.epochs++;
}

static void on_request(void *owner)
{
	assert_ptr_equal(owner, &played);
	played.requests++;
}

static void on_ended(void *owner, const struct err *err)
{
	assert_ptr_equal(owner, &played);
	played.ended++;
	played.err = *err;
}

static void on_hold(void *owner, bool held)
{
	(void)owner;
	atomic_fetch_add(held ? &played.holds : &played.lets_go, 1);
}

static void on_closed(void *owner)
{
	assert_ptr_equal(owner, &played);
	played.closed++;
}

const struct colo_secondary_ops played_ops = {
	.on_layout = on_layout,
	.on_chunk = on_chunk,
	.on_epoch = on_epoch,
	.on_request = on_request,
	.on_ended = on_ended,
};

/* ---- the primary ---- */

static void write_bytes(void *arg)
{
	size_t done = 0;
	ssize_t r = 0;

	(void)arg;
	for (; done < played.bytes.len && r >= 0; done += (size_t)r)
		r = send(played.fd, played.bytes.data + done, played.bytes.len - done,
			 MSG_NOSIGNAL);
	atomic_store(&played.written, true);
}

void played_finish_sending(void)
{
	if (played.writing)
		(void)uv_thread_join(&played.writer);
	played.writing = false;
	buf_reset(&played.bytes);
}

void played_send_bytes(void)
{
	assert_false(played.bytes.failed);
	atomic_store(&played.written, false);
	played.writing = uv_thread_create(&played.writer, write_bytes, NULL) == 0;
	assert_true(played.writing);
}

void played_run_until(const unsigned *count, unsigned wanted)
{
	uint64_t end_ns = clock_now_ns() + PATIENCE_NS;

	while (*count != wanted) {
		assert_true(*count < wanted && clock_now_ns() < end_ns);
		(void)uv_run(&played.loop, UV_RUN_NOWAIT);
		(void)poll(NULL, 0, 1);
	}
}

void played_receives(uint32_t message)
{
	struct pollfd readable = { .fd = played.fd, .events = POLLIN };
	uint64_t end_ns = clock_now_ns() + PATIENCE_NS;
	uint8_t bytes[4];

	while (poll(&readable, 1, 1) == 0) {
		assert_true(clock_now_ns() < end_ns);
		(void)uv_run(&played.loop, UV_RUN_NOWAIT);
	}
	assert_int_equal(recv(played.fd, bytes, 4, MSG_WAITALL), 4);
	assert_int_equal(bytes_get_be32(bytes), message);
}

void played_receives_nothing(void)
{
	struct pollfd readable = { .fd = played.fd, .events = POLLIN };
	int i;

	for (i = 0; i < 20; i++) {
		(void)uv_run(&played.loop, UV_RUN_NOWAIT);
		assert_int_equal(poll(&readable, 1, 1), 0);
	}
}

void played_lets_go(void)
{
	uint64_t end_ns = clock_now_ns() + PATIENCE_NS;

	while (colo_secondary_held_ns(played.secondary) > 0)
		assert_true(clock_now_ns() < end_ns);
}

static bool may_thaw(void *owner)
{
	return !atomic_load(&((struct played *)owner)->stands);
}

void played_start(size_t pool_mib)
{
	struct colo_secondary_options options = {
		.first_epoch = FIRST_EPOCH,
		.hold = on_hold,
		.wait = played.wait,
		.hooks = { .may_thaw = may_thaw, .owner = &played },
	};
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	options.fd = fds[0];
	played.fd = fds[1];
	assert_int_equal(chunk_pool_create(&played.pool, pool_mib << 20, &played.err), RC_OK);
	assert_int_equal(colo_secondary_start(&played.secondary, &played.loop, played.pool,
					      &options, &played_ops, &played, &played.err),
			 RC_OK);
}

void played_stop(void)
{
	colo_secondary_stop(played.secondary);
	played_finish_sending();
	while (played.nkept > 0)
		chunk_put(played.kept[--played.nkept]);
	colo_secondary_close(played.secondary, on_closed);
	(void)uv_run(&played.loop, UV_RUN_DEFAULT);
	assert_int_equal(played.closed, 1);
	assert_int_equal(chunk_pool_in_use(played.pool), 0);
	chunk_pool_destroy(played.pool);
	(void)close(played.fd);
}

void played_enter_colo(void)
{
	played_finish_sending();
	buf_append(&played.bytes, "device state of no known length", 31);
	played_send_bytes();
	played_finish_sending();
	colo_secondary_entered(played.secondary);
	played_receives(0);
}

void played_checkpoint(uint64_t page, uint8_t fill, size_t state_len)
{
	unsigned epochs = played.epochs;

	played_finish_sending();
	builder_begin_checkpoint(&played.bytes);
	buf_consume(&played.bytes, 4); /* REQUEST was sent before */
	builder_page(&played.bytes, "pc.ram", page, fill);
	builder_end_checkpoint(&played.bytes, state_len);
	played_send_bytes();
	played_receives(5);
	played_receives(6);
	played_run_until(&played.epochs, epochs + 1);
	assert_int_equal(played.last.device_state_len, state_len);
	assert_true(played.last.pause_ns > 0);
}

void played_request(void)
{
	played_finish_sending();
	buf_append_be32(&played.bytes, 1);
	played_send_bytes();
}

void played_protect(void)
{
	builder_header(&played.bytes);
	builder_start(&played.bytes);
	builder_begin_end(&played.bytes);
	builder_footer(&played.bytes);
	played_send_bytes();
	played_enter_colo();
	played_request();
	played_receives(2);
	played_checkpoint(1, 0x11, 100);
	assert_int_equal(played.requests, 0);
}

int played_setup(void **state)
{
	(void)state;
	memset(&played, 0, sizeof(played));
	played.bytes.limit = (size_t)64 << 20;
	return uv_loop_init(&played.loop);
}

int played_teardown(void **state)
{
	(void)state;
	buf_free(&played.bytes);
	return uv_loop_close(&played.loop);
}
