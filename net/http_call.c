#include "net/http_call.h"

#include "appliance/base/mem.h"
#include "net/http.h"
#include "net/http_parse.h"

#include <string.h>
#include <sys/un.h>

#define READ_BYTES ((size_t)64 << 10)

struct http_call {
	uv_pipe_t pipe;
	uv_timer_t timer;
	uv_connect_t connect;
	uv_write_t write;
	struct buf request;
	struct http_parse parse;
	const struct http_call_ops *ops;
	void *owner;
	unsigned open; /* handles */
	bool over, closing;
	uint8_t bytes[READ_BYTES];
};

/* ---- the end --------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
	struct http_call *call = handle->data;

	if (--call->open > 0)
		return;
	buf_free(&call->request);
	http_parse_free(&call->parse);
	mem_free(call);
}

void http_call_close(struct http_call *call)
{
	if (call == NULL || call->closing)
		return;
	call->closing = true;
	uv_close((uv_handle_t *)&call->pipe, on_closed);
	uv_close((uv_handle_t *)&call->timer, on_closed);
}

/* `err` NULL: with an answer. */
static void end(struct http_call *call, const struct err *err)
{
	if (call->over || call->closing)
		return;
	call->over = true;
	(void)uv_read_stop((uv_stream_t *)&call->pipe);
	(void)uv_timer_stop(&call->timer);
	call->ops->on_end(call->owner, err == NULL ? http_parse_status(&call->parse) : 0,
			  &call->parse.body, err);
}

static void fail(struct http_call *call, const char *doing, int r)
{
	struct err err;

	(void)err_set(&err, RC_IO, "%s: %s", doing, uv_strerror(r));
	end(call, &err);
}

static void on_timeout(uv_timer_t *timer)
{
	struct err err;

	(void)err_set(&err, RC_TIMEOUT, "no answer in time");
	end(timer->data, &err);
}

/* ---- in the order in which it happens -------------------------------------------------------- */

static void tell_part(struct http_call *call)
{
	struct http_parse *parse = &call->parse;
	size_t used;

	if (call->ops->on_part == NULL || !parse->headers_complete || parse->complete)
		return;
	used = call->ops->on_part(call->owner, http_parse_status(parse), &parse->body);
	if (!call->closing)
		http_parse_use(parse, used);
}

/* Of a stream no more at once than there is room for: what is told of makes more. */
static size_t slice_of(const struct http_call *call, size_t len)
{
	const struct buf *body = &call->parse.body;
	const size_t room = body->limit - body->len;

	if (call->ops->on_part == NULL || len <= room)
		return len;
	return room > 0 ? room : 1;
}

static void take(struct http_call *call, size_t len)
{
	const uint8_t *at = call->bytes;
	size_t used = 0;
	struct err err;

	while (len > 0 && !call->parse.complete && !call->closing) {
		if (http_parse_feed(&call->parse, at, slice_of(call, len), &used, &err) != RC_OK) {
			end(call, &err);
			return;
		}
		at += used;
		len -= used;
		tell_part(call);
	}
	if (!call->closing && call->parse.complete)
		end(call, NULL);
}

static void on_eof(struct http_call *call)
{
	const bool midway = http_parse_midway(&call->parse);
	struct err err;

	if (http_parse_end(&call->parse, &err) == RC_OK && call->parse.complete) {
		end(call, NULL);
		return;
	}
	(void)err_set(&err, RC_CLOSED,
		      midway ? "closed in the middle of an answer" : "closed without an answer");
	end(call, &err);
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *bytes)
{
	struct http_call *call = stream->data;

	(void)bytes;
	if (len > 0) {
		take(call, (size_t)len);
	} else if (len == UV_EOF) {
		on_eof(call);
	} else if (len < 0) {
		fail(call, "receiving", (int)len);
	}
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *bytes)
{
	struct http_call *call = handle->data;

	(void)wanted;
	*bytes = uv_buf_init((char *)call->bytes, READ_BYTES);
}

static void on_written(uv_write_t *write, int r)
{
	if (r < 0)
		fail(write->data, "sending", r);
}

static void on_connected(uv_connect_t *connect, int r)
{
	struct http_call *call = connect->data;
	const uv_buf_t bytes = uv_buf_init((char *)call->request.data, (unsigned)call->request.len);

	if (r == 0)
		r = uv_write(&call->write, (uv_stream_t *)&call->pipe, &bytes, 1, on_written);
	if (r == 0)
		r = uv_read_start((uv_stream_t *)&call->pipe, on_alloc, on_read);
	if (r < 0)
		fail(call, "connecting", r);
}

static int print_request(struct http_call *call, const char *path, struct err *err)
{
	call->request.limit = HTTP_HEADERS_MAX;
	(void)buf_printf(&call->request,
			 "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
			 "Connection: close\r\n\r\n",
			 path);
	return call->request.failed ?
		       err_set(err, RC_LIMIT, "a request that is too long, or no memory for it") :
		       RC_OK;
}

int http_call_open(struct http_call **out, uv_loop_t *loop, const char *socket, const char *path,
		   size_t body_max, uint32_t timeout_ms, const struct http_call_ops *ops,
		   void *owner, struct err *err)
{
	struct http_call *call;

	if (*socket == '\0' || strlen(socket) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return err_set(err, RC_INVALID, "a unix socket's path has 1 to %zu bytes",
			       sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
	call = mem_zalloc(1, sizeof(*call));
	if (call == NULL)
		return err_nomem(err, "a request");
	if (print_request(call, path, err) != RC_OK) {
		buf_free(&call->request);
		mem_free(call);
		return (int)err->code;
	}
	call->ops = ops;
	call->owner = owner;
	http_parse_init(&call->parse, HTTP_RESPONSE, body_max);
	(void)uv_pipe_init(loop, &call->pipe, 0);
	(void)uv_timer_init(loop, &call->timer);
	call->open = 2;
	call->pipe.data = call->timer.data = call->connect.data = call->write.data = call;
	if (timeout_ms > 0)
		(void)uv_timer_start(&call->timer, on_timeout, timeout_ms, 0);
	uv_pipe_connect(&call->connect, &call->pipe, socket, on_connected);
	*out = call;
	return RC_OK;
}
