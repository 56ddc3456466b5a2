/*
 * A GET in the loop, from a server that says what each test wants: whole answers, streams, and what no server should.
 */
#include "net/http_call.h"

#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BODY_MAX 64

struct world {
	uv_loop_t loop;
	char dir[SCRATCH_MAX], path[SCRATCH_MAX + 8];
	uv_pipe_t server, client;
	uv_write_t write;
	const char *const *
		parts; /* one after the other, each once the one before has been told of; NULL ends: it closes */
	bool stays; /* but for this */
	bool accepted;
	char request[512], part[512];
	struct http_call *call;
	char told[512];
	unsigned nparts, ended;
	size_t keeps; /* of what comes in parts, so much is not used */
	int status;
	struct err err;
};

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *bytes)
{
	struct world *w = handle->data;

	(void)wanted;
	*bytes = uv_buf_init(w->request, sizeof(w->request) - 1);
}

static void close_client(struct world *w)
{
	if (w->accepted && !uv_is_closing((uv_handle_t *)&w->client))
		uv_close((uv_handle_t *)&w->client, NULL);
}

static void send_next(struct world *w);

static void on_written(uv_write_t *write, int r)
{
	struct world *w = write->data;

	(void)r;
	if (uv_is_closing((uv_handle_t *)&w->client))
		return;
	if (*w->parts != NULL)
		send_next(w);
	else if (!w->stays)
		close_client(w);
}

static void send_next(struct world *w)
{
	uv_buf_t bytes = uv_buf_init(w->part, (unsigned)strlen(*w->parts));

	(void)snprintf(w->part, sizeof(w->part), "%s", *w->parts);
	w->parts++;
	w->write.data = w;
	assert_int_equal(uv_write(&w->write, (uv_stream_t *)&w->client, &bytes, 1, on_written), 0);
}

static void on_request(uv_stream_t *stream, ssize_t len, const uv_buf_t *bytes)
{
	struct world *w = stream->data;

	(void)bytes;
	if (len < 0)
		close_client(w);
	else if (*w->parts != NULL)
		send_next(w);
}

static void on_client(uv_stream_t *server, int r)
{
	struct world *w = server->data;

	assert_int_equal(r, 0);
	(void)uv_pipe_init(&w->loop, &w->client, 0);
	w->client.data = w;
	assert_int_equal(uv_accept(server, (uv_stream_t *)&w->client), 0);
	w->accepted = true;
	(void)uv_read_start((uv_stream_t *)&w->client, on_alloc, on_request);
}

static size_t on_part(void *owner, int status, const struct buf *body)
{
	struct world *w = owner;
	const size_t used = body->len > w->keeps ? body->len - w->keeps : 0;

	w->status = status;
	w->nparts++;
	(void)snprintf(w->told + strlen(w->told), sizeof(w->told) - strlen(w->told), "%.*s",
		       (int)used, used > 0 ? (const char *)body->data : "");
	return used;
}

static void on_end(void *owner, int status, const struct buf *body, const struct err *err)
{
	struct world *w = owner;

	w->ended++;
	w->status = status;
	if (err != NULL)
		w->err = *err;
	else if (body->len > 0)
		(void)snprintf(w->told + strlen(w->told), sizeof(w->told) - strlen(w->told),
			       "|%.*s", (int)body->len, (const char *)body->data);
	http_call_close(w->call);
	uv_close((uv_handle_t *)&w->server, NULL);
	close_client(w);
}

static void ask(struct world *w, const char *const *parts, bool in_parts, uint32_t timeout_ms)
{
	static const struct http_call_ops whole = { .on_end = on_end },
					  stream = { .on_part = on_part, .on_end = on_end };
	struct err err;

	assert_int_equal(scratch_make(w->dir, "call"), 0);
	(void)snprintf(w->path, sizeof(w->path), "%s/s", w->dir);
	w->parts = parts;
	assert_int_equal(uv_loop_init(&w->loop), 0);
	(void)uv_pipe_init(&w->loop, &w->server, 0);
	w->server.data = w;
	assert_int_equal(uv_pipe_bind(&w->server, w->path), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&w->server, 1, on_client), 0);
	assert_int_equal(http_call_open(&w->call, &w->loop, w->path, "/what?x=1", BODY_MAX,
					timeout_ms, in_parts ? &stream : &whole, w, &err),
			 RC_OK);
	(void)uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	assert_int_equal(w->ended, 1);
	(void)unlink(w->path);
	(void)rmdir(w->dir);
}

#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#define SIXTEEN "0123456789abcdef"
#define CHUNKED HEAD "Transfer-Encoding: chunked\r\n\r\n"

static void test_a_whole_answer(void **unused)
{
	static const char *const parts[] = { HEAD "Content-Length: 5\r\n", "\r\nhel", "lo", NULL };
	struct world w = { 0 };

	(void)unused;
	ask(&w, parts, false, 60000);
	assert_int_equal(w.err.code, RC_OK);
	assert_int_equal(w.status, 200);
	assert_string_equal(w.told, "|hello");
	assert_non_null(strstr(w.request, "GET /what?x=1 HTTP/1.1\r\nHost: localhost\r\n"));
}

static void test_one_that_ends_with_the_connection(void **unused)
{
	static const char *const parts[] = { "HTTP/1.1 404 Not Found\r\n\r\nnone", NULL };
	struct world w = { 0 };

	(void)unused;
	ask(&w, parts, false, 60000);
	assert_int_equal(w.err.code, RC_OK);
	assert_int_equal(w.status, 404);
	assert_string_equal(w.told, "|none");
}

/* Forty parts of which each is used, and more than may be kept in all. */
static void test_a_stream(void **unused)
{
	const char *parts[43] = { CHUNKED };
	struct world w = { .keeps = 3 };
	char *bar;

	(void)unused;
	for (size_t i = 1; i <= 40; i++)
		parts[i] = "8\r\nabcdefg\n\r\n";
	parts[41] = "0\r\n\r\n";
	ask(&w, parts, true, 60000);
	assert_int_equal(w.err.code, RC_OK);
	assert_true(w.nparts > 1);
	assert_int_equal(strlen(w.told), 40 * 8 + 1); /* what was not used comes behind a bar */
	bar = strchr(w.told, '|');
	assert_true(bar != NULL && strlen(bar) > 3);
	memmove(bar, bar + 1, strlen(bar));
	for (size_t i = 0; i < 40; i++)
		assert_memory_equal(w.told + i * 8, "abcdefg\n", 8);
}

/* Far more of framing than of what is kept: none of it counts for ever. */
static void test_a_stream_without_an_end(void **unused)
{
	static const char part[] = "1\r\n.\r\n";
	const char *parts[8002] = { CHUNKED };
	struct world w = { 0 };

	(void)unused;
	for (size_t i = 1; i <= 8000; i++)
		parts[i] = part;
	ask(&w, parts, true, 0);
	assert_int_equal(w.err.code, RC_CLOSED);
	assert_non_null(strstr(w.err.text, "in the middle"));
}

static void test_more_than_is_kept(void **unused)
{
	static const char chunked[] = CHUNKED;
	const char *const parts[] = { chunked, "50\r\n", SIXTEEN, SIXTEEN, SIXTEEN,
				      SIXTEEN, SIXTEEN,	 "\r\n",  NULL };
	struct world w = { .keeps = 1000 }, whole = { 0 };

	(void)unused;
	ask(&w, parts, true, 60000);
	assert_int_equal(w.err.code, RC_LIMIT);
	ask(&whole, parts, false, 60000);
	assert_int_equal(whole.err.code, RC_LIMIT);
}

static void test_no_answer(void **unused)
{
	static const char *const nothing[] = { "", NULL }, *const junk[] = { "SSH-2.0\r\n", NULL },
				 *const half[] = { HEAD "Content-Length: 5\r\n\r\nhe", NULL };
	struct world closed = { 0 }, odd = { 0 }, cut = { 0 }, late = { .stays = true };

	(void)unused;
	ask(&closed, nothing, false, 60000);
	assert_int_equal(closed.err.code, RC_CLOSED);
	ask(&odd, junk, false, 60000);
	assert_int_equal(odd.err.code, RC_INVALID);
	ask(&cut, half, false, 60000);
	assert_int_equal(cut.err.code, RC_CLOSED);
	ask(&late, half, false, 50);
	assert_int_equal(late.err.code, RC_TIMEOUT);
}

static void on_refused(void *owner, int status, const struct buf *body, const struct err *err)
{
	struct world *w = owner;

	(void)status;
	(void)body;
	assert_non_null(err);
	w->err = *err;
	w->ended++;
	http_call_close(w->call);
}

static void test_nobody_there(void **unused)
{
	static const struct http_call_ops ops = { .on_end = on_refused };
	char path[200];
	struct world w = { 0 };
	struct err err;

	(void)unused;
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(uv_loop_init(&w.loop), 0);
	assert_int_equal(http_call_open(&w.call, &w.loop, path, "/", 10, 0, &ops, &w, &err),
			 RC_INVALID);
	assert_int_equal(http_call_open(&w.call, &w.loop, "", "/", 10, 0, &ops, &w, &err),
			 RC_INVALID);
	assert_int_equal(http_call_open(&w.call, &w.loop, "/nowhere/s", "/", 10, 0, &ops, &w, &err),
			 RC_OK);
	assert_int_equal(w.ended, 0); /* not from within the call */
	(void)uv_run(&w.loop, UV_RUN_DEFAULT);
	assert_int_equal(w.ended, 1);
	assert_int_equal(w.err.code, RC_IO);
	/* Closed before it has come to anything. */
	assert_int_equal(http_call_open(&w.call, &w.loop, "/nowhere/s", "/", 10, 0, &ops, &w, &err),
			 RC_OK);
	http_call_close(w.call);
	(void)uv_run(&w.loop, UV_RUN_DEFAULT);
	assert_int_equal(w.ended, 1);
	assert_int_equal(uv_loop_close(&w.loop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_whole_answer),
		cmocka_unit_test(test_one_that_ends_with_the_connection),
		cmocka_unit_test(test_a_stream),
		cmocka_unit_test(test_a_stream_without_an_end),
		cmocka_unit_test(test_more_than_is_kept),
		cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_nobody_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
