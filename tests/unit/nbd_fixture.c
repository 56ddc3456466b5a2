#include "tests/unit/nbd_fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct nbd_fixture nbd_fixture;

static enum nbd_error on_read(void *owner, uint64_t offset, uint8_t *to, uint32_t len)
{
	(void)owner;
	memcpy(to, nbd_fixture.disk + offset, len);
	return NBD_OK;
}

static enum nbd_error on_write(void *owner, uint64_t offset, const uint8_t *data, uint32_t len)
{
	(void)owner;
	if (nbd_fixture.error == NBD_OK)
		memcpy(nbd_fixture.disk + offset, data, len);
	return nbd_fixture.error;
}

static enum nbd_error on_zero(void *owner, uint64_t offset, uint32_t len, bool hole)
{
	(void)owner;
	(void)hole;
	if (nbd_fixture.error == NBD_OK)
		memset(nbd_fixture.disk + offset, 0, len);
	return nbd_fixture.error;
}

static enum nbd_error on_flush(void *owner)
{
	(void)owner;
	atomic_fetch_add(&nbd_fixture.flushes, 1);
	return nbd_fixture.flush_error;
}

/* By mebibytes: one that begins with a zero is a hole. */
static uint32_t on_extent(void *owner, uint64_t offset, uint32_t len, uint32_t *flags)
{
	const uint32_t left = (1U << 20) - (uint32_t)(offset % (1U << 20));

	(void)owner;
	*flags = nbd_fixture.disk[offset - offset % (1U << 20)] == 0 ? NBD_HOLE | NBD_ZERO : 0;
	return left < len ? left : len;
}

static const struct nbd_server_ops ops = { on_read, on_write, on_zero, on_flush, on_extent, NULL };
static struct nbd_export export = { .name = "disk0", .block = 65536 };

static void on_stop(uv_async_t *async)
{
	nbd_server_close(nbd_fixture.server, NULL);
	uv_close((uv_handle_t *)async, NULL);
}

static void serve(void *owner)
{
	(void)owner;
	(void)uv_run(&nbd_fixture.loop, UV_RUN_DEFAULT);
}

void nbd_fixture_start(void)
{
	struct err err;

	export.bytes = nbd_fixture.bytes;
	assert_int_equal(uv_loop_init(&nbd_fixture.loop), 0);
	assert_int_equal(uv_async_init(&nbd_fixture.loop, &nbd_fixture.stop, on_stop), 0);
	assert_int_equal(nbd_server_open(&nbd_fixture.server, &nbd_fixture.loop, nbd_fixture.socket,
					 &export, &ops, NULL, &err),
			 RC_OK);
	assert_int_equal(uv_thread_create(&nbd_fixture.thread, serve, NULL), 0);
	nbd_fixture.runs = true;
}

void nbd_fixture_end(void)
{
	if (!nbd_fixture.runs)
		return;
	nbd_fixture.runs = false;
	assert_int_equal(uv_async_send(&nbd_fixture.stop), 0);
	assert_int_equal(uv_thread_join(&nbd_fixture.thread), 0);
	assert_int_equal(uv_loop_close(&nbd_fixture.loop), 0);
}

int nbd_fixture_setup(void **state)
{
	(void)state;
	(void)signal(SIGPIPE, SIG_IGN); /* a client that has gone, as in the program */
	memset(&nbd_fixture, 0, sizeof(nbd_fixture));
	nbd_fixture.bytes = NBD_BYTES;
	assert_int_equal(scratch_make(nbd_fixture.dir, "nbd-fixture"), 0);
	(void)snprintf(nbd_fixture.socket, sizeof(nbd_fixture.socket), "%s/nbd", nbd_fixture.dir);
	nbd_fixture_start();
	return 0;
}

int nbd_fixture_teardown(void **state)
{
	(void)state;
	nbd_fixture_end();
	return rmdir(nbd_fixture.dir);
}
