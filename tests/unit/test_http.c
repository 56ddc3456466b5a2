#include "net/http.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "net/http_parse.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 5000 /* a test that waits longer has failed */

/* Time that the tests added: libuv and the program both ask here, so waits of seconds take none. */
static uint64_t skipped_ns;

int clock_gettime(clockid_t clock, struct timespec *ts)
{
	int r = (int)syscall(SYS_clock_gettime, clock, ts);

	if (r == 0 && clock == CLOCK_MONOTONIC)
		ts->tv_sec += (time_t)(skipped_ns / CLOCK_NS_PER_S);
	return r;
}

/* ---- a server in this thread, raw clients ---- */

struct client {
	int fd;
	char heard[65536];
	size_t len;
	bool ended;
};

struct fixture {
	uv_loop_t loop;
	struct http_server *server;
	struct client clients[4];
	unsigned handled;
	char last[256]; /* "METHOD path query body" of the last request */
	bool closed;
};

static void echo(void *owner, const struct http_request *request, struct http_response *response)
{
	struct fixture *f = owner;

	f->handled++;
	(void)snprintf(f->last, sizeof(f->last), "%s %s [%s] %.*s", request->method, request->path,
		       request->query, (int)request->body_len, (const char *)request->body);
	if (strcmp(request->path, "/missing") == 0)
		http_error(response, 404, "not \"here\"\n");
	else if (strcmp(request->path, "/large") == 0)
		while (response->body.len < HTTP_ANSWER_MAX / 2)
			(void)buf_append(&response->body, "0123456789abcdef", 16);
	else if (strcmp(request->path, "/too-large") == 0)
		while (!response->body.failed)
			(void)buf_append(&response->body, "0123456789abcdef", 16);
	else
		(void)buf_printf(&response->body, "{\"n\":%u}", f->handled);
}

static void note_closed(void *owner)
{
	((struct fixture *)owner)->closed = true;
}

static void start(struct fixture *f, const char *address)
{
	struct err err = { 0 };

	if (http_listen(&f->server, &f->loop, address, echo, f, &err) != RC_OK)
		fail_msg("%s", err.text);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	size_t i;

	assert_non_null(f);
	for (i = 0; i < 4; i++)
		f->clients[i].fd = -1;
	assert_int_equal(uv_loop_init(&f->loop), 0);
	*state = f;
	return 0;
}

static void turn(struct fixture *f)
{
	(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	(void)usleep(100);
}

static void stop(struct fixture *f)
{
	int i;

	f->closed = false;
	http_close(f->server, note_closed);
	for (i = 0; i < PATIENCE_MS && !f->closed; i++)
		turn(f);
	assert_true(f->closed);
	f->server = NULL;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	size_t i;

	fault_arm(FAULT_ALLOC, 0);
	if (f->server != NULL)
		stop(f);
	for (i = 0; i < 4; i++) {
		if (f->clients[i].fd >= 0)
			close(f->clients[i].fd);
	}
	for (i = 0; i < 10; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	free(f);
	return 0;
}

static int connect_to(const struct fixture *f)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(http_port(f->server)),
				       .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static struct client *open_client(struct fixture *f, unsigned which)
{
	struct client *client = &f->clients[which];

	if (client->fd >= 0)
		close(client->fd);
	memset(client, 0, sizeof(*client));
	client->fd = connect_to(f);
	return client;
}

static void say_bytes(struct fixture *f, const struct client *client, const char *bytes, size_t len)
{
	size_t sent = 0;
	ssize_t r;
	int i;

	for (i = 0; i < PATIENCE_MS && sent < len; i++) {
		r = send(client->fd, bytes + sent, len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r > 0)
			sent += (size_t)r;
		if (r < 0 && errno != EAGAIN)
			return;
		turn(f);
	}
	assert_int_equal(sent, len);
}

static void say(struct fixture *f, const struct client *client, const char *text)
{
	say_bytes(f, client, text, strlen(text));
}

static void hear(struct client *client)
{
	ssize_t r = recv(client->fd, client->heard + client->len,
			 sizeof(client->heard) - 1 - client->len, MSG_DONTWAIT);

	if (r > 0)
		client->len += (size_t)r;
	if (r == 0)
		client->ended = true;
	client->heard[client->len] = '\0';
}

/* The length of the first whole response in what was heard, 0 if there is none. */
static size_t response_len(const struct client *client, bool has_body)
{
	const char *end = strstr(client->heard, "\r\n\r\n"),
		   *length = strstr(client->heard, "Content-Length: ");
	size_t len;

	if (end == NULL)
		return 0;
	assert_non_null(length);
	assert_true(length < end);
	len = (size_t)(end + 4 - client->heard) + (has_body ? strtoul(length + 16, NULL, 10) : 0);
	return len <= client->len ? len : 0;
}

/* Waits for one response with that status, and takes it; its text is in `text`. */
static void expect(struct fixture *f, struct client *client, int status, bool has_body, char *text,
		   size_t size)
{
	char start_line[32];
	size_t len = 0;
	int i;

	for (i = 0; i < PATIENCE_MS && len == 0; i++) {
		turn(f);
		hear(client);
		len = response_len(client, has_body);
	}
	if (len == 0)
		fail_msg("no response: %s", client->heard);
	(void)snprintf(start_line, sizeof(start_line), "HTTP/1.1 %d ", status);
	if (strncmp(client->heard, start_line, strlen(start_line)) != 0)
		fail_msg("not %d: %s", status, client->heard);
	if (text != NULL)
		(void)snprintf(text, size, "%.*s", (int)len, client->heard);
	client->len -= len;
	memmove(client->heard, client->heard + len, client->len + 1);
}

static void expect_status(struct fixture *f, struct client *client, int status)
{
	expect(f, client, status, true, NULL, 0);
}

static void expect_end(struct fixture *f, struct client *client)
{
	int i;

	for (i = 0; i < PATIENCE_MS && !client->ended; i++) {
		turn(f);
		hear(client);
	}
	assert_true(client->ended);
	assert_int_equal(client->len, 0);
}

/* One request on a connection of its own. */
static void ask(struct fixture *f, const char *request, int status, char *text, size_t size)
{
	struct client *client = open_client(f, 0);

	say(f, client, request);
	expect(f, client, status, true, text, size);
}

static void a_get_is_answered(void **state)
{
	struct fixture *f = *state;
	char text[1024];

	start(f, "127.0.0.1:0");
	ask(f, "GET /v1/status?a=1&b=2 HTTP/1.1\r\nHost: x\r\n\r\n", 200, text, sizeof(text));
	assert_string_equal(f->last, "GET /v1/status [a=1&b=2] ");
	assert_string_equal(
		text, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n"
		      "Cache-Control: no-store\r\nConnection: keep-alive\r\n\r\n{\"n\":1}");
}

static void a_head_is_a_get_without_its_body(void **state)
{
	struct fixture *f = *state;
	struct client *client;
	char text[1024];

	start(f, "127.0.0.1:0");
	client = open_client(f, 0);
	say(f, client, "HEAD /x HTTP/1.1\r\nHost: x\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n");
	expect(f, client, 200, false, text, sizeof(text));
	assert_non_null(strstr(text, "Content-Length: 7\r\n"));
	expect(f, client, 200, true, text, sizeof(text));
	assert_non_null(strstr(text, "{\"n\":2}"));
}

static void a_post_has_its_body(void **state)
{
	struct fixture *f = *state;

	start(f, "127.0.0.1:0");
	ask(f,
	    "POST /v1/takeover HTTP/1.1\r\nHost: x\r\nContent-Type: Application/JSON; charset=utf-8\r\n"
	    "Content-Length: 13\r\n\r\n{\"a\": \"b c\"}\n",
	    200, NULL, 0);
	assert_string_equal(f->last, "POST /v1/takeover [] {\"a\": \"b c\"}\n");
	ask(f,
	    "POST /p HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
	    "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
	    200, NULL, 0);
	assert_string_equal(f->last, "POST /p [] abcde");
}

static void a_post_that_a_web_page_could_send_is_refused(void **state)
{
	static const char *const types[] = { "",
					     "Content-Type: text/plain\r\n",
					     "Content-Type: application/jsonx\r\n",
					     "Content-Type: application/x-www-form-urlencoded\r\n",
					     "Content-Type:\r\n",
					     "X-Content-Type: application/json\r\n" };
	struct fixture *f = *state;
	char request[256];
	size_t i;

	start(f, "127.0.0.1:0");
	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		(void)snprintf(request, sizeof(request),
			       "POST /p HTTP/1.1\r\nHost: x\r\n%sContent-Length: 2\r\n\r\n{}",
			       types[i]);
		ask(f, request, 415, NULL, 0);
	}
	assert_int_equal(f->handled, 0);
}

static void the_handlers_error_is_json(void **state)
{
	struct fixture *f = *state;
	char text[1024];

	start(f, "127.0.0.1:0");
	ask(f, "GET /missing HTTP/1.1\r\nHost: x\r\n\r\n", 404, text, sizeof(text));
	assert_non_null(strstr(text, "\r\n\r\n{\"error\": \"not \\\"here\\\"\\u000a\"}\n"));
}

static void other_methods_are_refused_with_what_is_allowed(void **state)
{
	static const char *const methods[] = { "PUT",	"DELETE",  "OPTIONS", "PATCH",
					       "TRACE", "CONNECT", "PROPFIND" };
	struct fixture *f = *state;
	char request[128], text[1024];
	size_t i;

	start(f, "127.0.0.1:0");
	for (i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		(void)snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: x\r\n\r\n",
			       methods[i], strcmp(methods[i], "CONNECT") == 0 ? "a:1" : "/");
		ask(f, request, 405, text, sizeof(text));
		assert_non_null(strstr(text, "\r\nAllow: GET, HEAD, POST\r\n"));
	}
	assert_int_equal(f->handled, 0);
}

static void what_is_not_http_is_refused_and_closed(void **state)
{
	static const struct {
		const char *request;
		int status;
	} cases[] = {
		{ "\x16\x03\x01\x02\x01", 400 },
		{ "{\"QMP\": {}}\r\n", 400 },
		{ "get / HTTP/1.1\r\n\r\n", 400 },
		{ "GET / HTTP/9.1\r\n\r\n", 505 },
		{ "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505 },
		{ "GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400 },
		{ "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		  400 },
		{ "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400 },
		{ "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400 },
		{ "GET http://elsewhere/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400 },
	};
	struct fixture *f = *state;
	struct client *client;
	size_t i;

	start(f, "127.0.0.1:0");
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		client = open_client(f, 0);
		say(f, client, cases[i].request);
		expect_status(f, client, cases[i].status);
		expect_end(f, client);
	}
	assert_int_equal(f->handled, 0);
}

static void sizes_have_limits(void **state)
{
	struct fixture *f = *state;
	size_t size = 4 * HTTP_BODY_MAX, len, over;
	char *request = malloc(size);
	struct client *client;

	assert_non_null(request);
	start(f, "127.0.0.1:0");
	for (over = 0; over <= 1; over++) {
		/* the target */
		len = (size_t)snprintf(request, size, "GET /");
		memset(request + len, 'x', HTTP_TARGET_MAX - 1 + over);
		len += HTTP_TARGET_MAX - 1 + over;
		len += (size_t)snprintf(request + len, size - len, " HTTP/1.1\r\nHost: x\r\n\r\n");
		client = open_client(f, 0);
		say_bytes(f, client, request, len);
		expect_status(f, client, over ? 414 : 200);
		/* all headers together, to the byte */
		len = (size_t)snprintf(request, size, "GET / HTTP/1.1\r\nX: ");
		memset(request + len, 'x', HTTP_HEADERS_MAX);
		len = HTTP_HEADERS_MAX - 4 + over;
		len += (size_t)snprintf(request + len, size - len, "\r\n\r\n");
		client = open_client(f, 0);
		say_bytes(f, client, request, len);
		expect_status(f, client, over ? 431 : 200);
		/* the body */
		len = (size_t)snprintf(
			request, size,
			"POST / HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
			HTTP_BODY_MAX + over);
		memset(request + len, 'x', HTTP_BODY_MAX + over);
		client = open_client(f, 0);
		say_bytes(f, client, request, len + HTTP_BODY_MAX + over);
		expect_status(f, client, over ? 413 : 200);
	}
	free(request);
}

static void a_body_in_chunks_has_the_same_limit(void **state)
{
	struct fixture *f = *state;
	struct client *client;
	char chunk[1100];
	size_t i, len;

	start(f, "127.0.0.1:0");
	client = open_client(f, 0);
	say(f, client,
	    "POST / HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
	len = (size_t)snprintf(chunk, sizeof(chunk), "400\r\n%01024d\r\n", 0);
	for (i = 0; i < HTTP_BODY_MAX / 1024 + 1; i++)
		say_bytes(f, client, chunk, len);
	expect_status(f, client, 413);
	/* Tiny chunks with long extensions: the body stays small, the message does not. */
	client = open_client(f, 0);
	say(f, client,
	    "POST / HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
	len = (size_t)snprintf(chunk, sizeof(chunk), "1;%01000d\r\nx\r\n", 0);
	for (i = 0; i < 200 && client->len == 0; i++) {
		say_bytes(f, client, chunk, len);
		hear(client);
	}
	expect_status(f, client, 413);
}

static void requests_sent_ahead_are_answered_in_order(void **state)
{
	static const char one[] = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
	struct fixture *f = *state;
	struct client *client;
	char text[1024], expected[32];
	int i;

	start(f, "127.0.0.1:0");
	client = open_client(f, 0);
	for (i = 0; i < 50; i++)
		assert_int_equal(send(client->fd, one, sizeof(one) - 1, 0),
				 (ssize_t)sizeof(one) - 1);
	for (i = 1; i <= 50; i++) {
		expect(f, client, 200, true, text, sizeof(text));
		(void)snprintf(expected, sizeof(expected), "{\"n\":%d}", i);
		assert_non_null(strstr(text, expected));
	}
}

static void a_request_may_come_byte_by_byte(void **state)
{
	static const char request[] =
		"POST /b?q HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
	struct fixture *f = *state;
	struct client *client;
	size_t i;

	start(f, "127.0.0.1:0");
	client = open_client(f, 0);
	for (i = 0; i < sizeof(request) - 1; i++)
		say_bytes(f, client, request + i, 1);
	expect_status(f, client, 200);
	assert_string_equal(f->last, "POST /b [q] {}");
}

static void a_connection_is_kept_or_closed_as_asked(void **state)
{
	struct fixture *f = *state;
	struct client *client;
	char text[1024];

	start(f, "127.0.0.1:0");
	client = open_client(f, 0);
	say(f, client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	expect_status(f, client, 200);
	say(f, client,
	    "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n");
	expect(f, client, 200, true, text, sizeof(text));
	assert_non_null(strstr(text, "\r\nConnection: close\r\n"));
	expect_end(f, client);
	assert_int_equal(f->handled, 2);
	client = open_client(f, 0);
	say(f, client, "GET / HTTP/1.0\r\n\r\n");
	expect_status(f, client, 200);
	expect_end(f, client);
}

static void a_wish_to_upgrade_is_not_granted(void **state)
{
	struct fixture *f = *state;
	struct client *client;

	start(f, "127.0.0.1:0");
	client = open_client(f, 0);
	say(f, client,
	    "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello");
	expect_status(f, client, 200);
	expect_end(f, client);
}

static void a_slow_request_is_told_and_closed(void **state)
{
	struct fixture *f = *state;
	struct client *client;
	int i;

	start(f, "127.0.0.1:0");
	client = open_client(f, 0);
	say(f, client, "GET / HTTP/1.1\r\n");
	/* A header now and then does not buy more time. */
	for (i = 0; i < HTTP_IDLE_MS / 1000 - 1; i++) {
		skipped_ns += CLOCK_NS_PER_S;
		say(f, client, "X: y\r\n");
		hear(client);
		assert_int_equal(client->len, 0);
	}
	skipped_ns += 2 * CLOCK_NS_PER_S;
	expect_status(f, client, 408);
	expect_end(f, client);
}

static void a_silent_connection_is_closed(void **state)
{
	struct fixture *f = *state;
	struct client *fresh, *used;

	start(f, "127.0.0.1:0");
	fresh = open_client(f, 0);
	used = open_client(f, 1);
	say(f, used, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	expect_status(f, used, 200);
	skipped_ns += (HTTP_IDLE_MS / 1000 + 1) * CLOCK_NS_PER_S;
	expect_end(f, fresh);
	expect_end(f, used);
}

static void a_client_that_does_not_take_its_answer_is_closed(void **state)
{
	struct fixture *f = *state;
	struct client *client;
	size_t total = 0;
	char *bytes = malloc(1 << 20);
	ssize_t r = 1;
	int i;

	assert_non_null(bytes);
	start(f, "127.0.0.1:0");
	client = open_client(f, 0);
	for (i = 0; i < 8; i++) /* more than the kernel's buffers take */
		say(f, client, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
	for (i = 0; i < 50; i++)
		turn(f);
	assert_in_range(f->handled, 1, 7);
	skipped_ns += (HTTP_IDLE_MS / 1000 + 1) * CLOCK_NS_PER_S;
	for (i = 0; i < 50; i++)
		turn(f);
	for (i = 0; i < PATIENCE_MS && r != 0; i++) {
		r = recv(client->fd, bytes, 1 << 20, MSG_DONTWAIT);
		if (r > 0)
			total += (size_t)r;
		if (r < 0 && errno != EAGAIN)
			break;
		turn(f);
	}
	assert_true(i < PATIENCE_MS);
	assert_true(total < 8 * HTTP_ANSWER_MAX / 2);
	free(bytes);
}

static void a_large_answer_arrives_whole(void **state)
{
	struct fixture *f = *state;
	struct client *client;
	size_t total = 0;
	char *bytes = malloc(1 << 20);
	ssize_t r = 1;
	int i;

	assert_non_null(bytes);
	start(f, "127.0.0.1:0");
	client = open_client(f, 0);
	say(f, client, "GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	for (i = 0; i < 10 * PATIENCE_MS && r != 0; i++) {
		r = recv(client->fd, bytes, 1 << 20, MSG_DONTWAIT);
		total += r > 0 ? (size_t)r : 0;
		turn(f);
	}
	assert_in_range(total, HTTP_ANSWER_MAX / 2 + 100, HTTP_ANSWER_MAX / 2 + 400);
	free(bytes);
}

static void an_answer_without_room_is_a_503(void **state)
{
	struct fixture *f = *state;
	char text[512];

	start(f, "127.0.0.1:0");
	ask(f, "GET /too-large HTTP/1.1\r\nHost: x\r\n\r\n", 503, text, sizeof(text));
	assert_non_null(strstr(text, "Content-Length: 0\r\n"));
}

static void connections_have_a_limit(void **state)
{
	struct fixture *f = *state;
	int fds[HTTP_CONNECTIONS_MAX], i;
	struct client *client;

	start(f, "127.0.0.1:0");
	for (i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
		fds[i] = connect_to(f);
		turn(f);
	}
	client = open_client(f, 0);
	expect_status(f, client, 503);
	expect_end(f, client);
	close(fds[0]);
	for (i = 0; i < 20; i++)
		turn(f);
	ask(f, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200, NULL, 0);
	for (i = 1; i < HTTP_CONNECTIONS_MAX; i++)
		close(fds[i]);
}

static void closing_the_server_closes_its_connections(void **state)
{
	struct fixture *f = *state;
	struct client *idle, *midway;

	start(f, "127.0.0.1:0");
	idle = open_client(f, 0);
	midway = open_client(f, 1);
	say(f, midway, "GET /large HTTP/1.1\r\nHost: x\r\n\r\nGET");
	stop(f);
	expect_end(f, idle);
	http_close(NULL, NULL);
}

static void addresses_that_cannot_be_are_refused(void **state)
{
	static const char *const addresses[] = {
		"", "7080", "127.0.0.1", "127.0.0.1:99999", "::1:7080", "unix:", "[::1]"
	};
	struct fixture *f = *state;
	char address[64];
	struct http_server *second;
	struct err err;
	size_t i;

	for (i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		assert_int_equal(http_listen(&f->server, &f->loop, addresses[i], echo, f, &err),
				 RC_INVALID);
		assert_null(f->server);
	}
	assert_int_equal(http_listen(&f->server, &f->loop, "192.0.2.7:7080", echo, f, &err), RC_IO);
	start(f, "127.0.0.1:0");
	(void)snprintf(address, sizeof(address), "127.0.0.1:%u", http_port(f->server));
	assert_int_equal(http_listen(&second, &f->loop, address, echo, f, &err), RC_IO);
	assert_non_null(strstr(err.text, "address already in use"));
}

static void a_unix_socket_is_private_and_replaces_a_stale_one(void **state)
{
	struct fixture *f = *state;
	char directory[] = "/tmp/test-http-XXXXXX", path[64], address[80];
	struct http_server *second;
	struct stat info;
	struct err err;
	int round, fd;

	assert_non_null(mkdtemp(directory));
	(void)snprintf(path, sizeof(path), "%s/socket", directory);
	(void)snprintf(address, sizeof(address), "unix:%s", path);
	for (round = 0; round < 2; round++) {
		if (round == 1) { /* as a process leaves it that was killed */
			struct sockaddr_un un = { .sun_family = AF_UNIX };

			fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
			memcpy(un.sun_path, path, sizeof(path));
			assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
			close(fd);
		}
		start(f, address);
		assert_int_equal(lstat(path, &info), 0);
		assert_int_equal(info.st_mode & 0777, 0600);
		assert_int_equal(http_listen(&second, &f->loop, address, echo, f, &err), RC_IO);
		assert_int_equal(http_port(f->server), 0);
		stop(f);
		assert_int_equal(lstat(path, &info), -1);
	}
	/* A file that is no socket is nobody's to remove. */
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(http_listen(&second, &f->loop, address, echo, f, &err), RC_IO);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(directory), 0);
}

/* The Nth allocation fails, for every N: an answer of some kind, or an end; no crash, no leak. */
static void any_allocation_may_fail(void **state)
{
	struct fixture *f = *state;
	struct client *client;
	bool fired = true;
	unsigned long n;
	struct err err;
	int i;

	for (n = 1; fired; n++) {
		fault_arm(FAULT_ALLOC, n);
		if (http_listen(&f->server, &f->loop, "127.0.0.1:0", echo, f, &err) == RC_OK) {
			client = open_client(f, 0);
			say(f, client,
			    "POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
			    "Content-Length: 2\r\nConnection: close\r\n\r\n{}");
			for (i = 0; i < 200 && !client->ended; i++) {
				turn(f);
				hear(client);
			}
			stop(f);
		}
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
	}
	client = &f->clients[0];
	assert_non_null(strstr(client->heard, "200 OK"));
	assert_true(n >= 5);
}

/* ---- the client ---- */

/* A server in a thread of its own, or a scripted one: accepts, reads a request, answers, closes. */
struct remote {
	pthread_t thread;
	char address[96];
	/* ours */
	struct fixture f;
	uv_async_t async;
	/* scripted */
	int listener;
	const char *answer;
	char heard[8192];
};

static void on_stop(uv_async_t *async)
{
	struct remote *remote = async->data;

	http_close(remote->f.server, NULL);
	uv_close((uv_handle_t *)async, NULL);
}

static void *run_server(void *argument)
{
	struct remote *remote = argument;

	(void)uv_run(&remote->f.loop, UV_RUN_DEFAULT);
	return NULL;
}

static void start_remote(struct remote *remote, const char *address)
{
	memset(remote, 0, sizeof(*remote));
	assert_int_equal(uv_loop_init(&remote->f.loop), 0);
	start(&remote->f, address);
	if (strncmp(address, "unix:", 5) == 0)
		(void)snprintf(remote->address, sizeof(remote->address), "%s", address);
	else
		(void)snprintf(remote->address, sizeof(remote->address), "%.*s:%u",
			       (int)(strrchr(address, ':') - address), address,
			       http_port(remote->f.server));
	assert_int_equal(uv_async_init(&remote->f.loop, &remote->async, on_stop), 0);
	remote->async.data = remote;
	assert_int_equal(pthread_create(&remote->thread, NULL, run_server, remote), 0);
}

static void stop_remote(struct remote *remote)
{
	assert_int_equal(uv_async_send(&remote->async), 0);
	assert_int_equal(pthread_join(remote->thread, NULL), 0);
	assert_int_equal(uv_loop_close(&remote->f.loop), 0);
}

static void *run_script(void *argument)
{
	struct remote *remote = argument;
	int fd = accept(remote->listener, NULL, NULL);
	ssize_t r = recv(fd, remote->heard, sizeof(remote->heard) - 1, 0);

	remote->heard[r > 0 ? r : 0] = '\0';
	if (remote->answer != NULL)
		(void)send(fd, remote->answer, strlen(remote->answer), MSG_NOSIGNAL);
	else
		(void)recv(fd, remote->heard, 1, 0); /* silence until the client has gone */
	(void)close(fd);
	return NULL;
}

static void fetch_scripted(const char *answer, const char *body, int expected_rc,
			   int expected_status, const char *expected_body)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(address);
	struct buf got = { .limit = 1000 };
	struct remote remote = { .answer = answer };
	struct err err = { 0 };
	int status = 0, rc;

	remote.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(remote.listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(remote.listener, 1), 0);
	assert_int_equal(getsockname(remote.listener, (struct sockaddr *)&address, &len), 0);
	(void)snprintf(remote.address, sizeof(remote.address), "127.0.0.1:%u",
		       ntohs(address.sin_port));
	assert_int_equal(pthread_create(&remote.thread, NULL, run_script, &remote), 0);
	rc = http_fetch(remote.address, "/x", body, 300, &status, &got, &err);
	assert_int_equal(pthread_join(remote.thread, NULL), 0);
	close(remote.listener);
	if (rc != expected_rc)
		fail_msg("rc %d (%s) for: %.60s", rc, err.text, answer);
	if (rc == RC_OK) {
		assert_int_equal(status, expected_status);
		assert_int_equal(got.len, strlen(expected_body));
		assert_memory_equal(got.data != NULL ? got.data : (const uint8_t *)"",
				    expected_body, got.len);
	}
	buf_free(&got);
}

static void what_is_fetched_is_what_was_served(void **state)
{
	static const char *const addresses[] = { "127.0.0.1:0", "[::1]:0", "localhost:0",
						 "unix:/tmp/test-http-fetch" };
	struct buf answer = { 0 };
	struct remote remote;
	struct err err = { 0 };
	int status, fd;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		fd = socket(AF_INET6, SOCK_STREAM, 0);
		if (i == 1 && fd < 0)
			continue; /* a machine without IPv6 */
		close(fd);
		start_remote(&remote, addresses[i]);
		buf_reset(&answer);
		if (http_fetch(remote.address, "/v1/status?x", NULL, 2000, &status, &answer,
			       &err) != RC_OK)
			fail_msg("%s: %s", remote.address, err.text);
		assert_int_equal(status, 200);
		assert_memory_equal(answer.data, "{\"n\":1}", 7);
		assert_int_equal(answer.len, 7);
		assert_string_equal(remote.f.last, "GET /v1/status [x] ");
		buf_reset(&answer);
		assert_int_equal(http_fetch(remote.address, "/missing", "{\"instance\": \"vm1\"}",
					    2000, &status, &answer, &err),
				 RC_OK);
		assert_int_equal(status, 404);
		assert_string_equal(remote.f.last, "POST /missing [] {\"instance\": \"vm1\"}");
		stop_remote(&remote);
	}
	buf_free(&answer);
}

static void an_answer_larger_than_its_room_is_refused(void **state)
{
	struct buf answer = { .limit = HTTP_ANSWER_MAX / 2 };
	struct remote remote;
	struct err err;
	int status;

	(void)state;
	start_remote(&remote, "127.0.0.1:0");
	assert_int_equal(http_fetch(remote.address, "/large", NULL, 5000, &status, &answer, &err),
			 RC_OK);
	assert_int_equal(answer.len, HTTP_ANSWER_MAX / 2);
	buf_free(&answer);
	answer.limit = HTTP_ANSWER_MAX / 2 - 1;
	assert_int_equal(http_fetch(remote.address, "/large", NULL, 5000, &status, &answer, &err),
			 RC_LIMIT);
	assert_int_equal(answer.len, 0);
	buf_free(&answer);
	stop_remote(&remote);
}

static void answers_of_every_shape_are_taken(void **state)
{
	(void)state;
	fetch_scripted("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", NULL, RC_OK, 200, "hi");
	fetch_scripted("HTTP/1.0 200 OK\r\n\r\nuntil the end", NULL, RC_OK, 200, "until the end");
	fetch_scripted(
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
		NULL, RC_OK, 200, "abc");
	fetch_scripted("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 1\r\n\r\nx",
		       "{}", RC_OK, 503, "x");
	fetch_scripted("HTTP/1.1 204 No Content\r\n\r\n", NULL, RC_OK, 204, "");
	fetch_scripted("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", NULL, RC_OK, 200, "");
}

static void what_is_no_answer_is_an_error(void **state)
{
	char large[2000];
	size_t len;

	(void)state;
	fetch_scripted("", NULL, RC_CLOSED, 0, "");
	fetch_scripted("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi", NULL, RC_INVALID, 0, "");
	fetch_scripted("HTTP/1.1 20", NULL, RC_INVALID, 0, "");
	fetch_scripted("SSH-2.0-OpenSSH_9.2\r\n", NULL, RC_INVALID, 0, "");
	fetch_scripted("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", NULL, RC_LIMIT, 0, "");
	fetch_scripted(NULL, NULL, RC_TIMEOUT, 0, "");
	len = (size_t)snprintf(large, sizeof(large), "HTTP/1.0 200 OK\r\n\r\n");
	memset(large + len, 'x', 1001);
	large[len + 1001] = '\0';
	fetch_scripted(large, NULL, RC_LIMIT, 0, "");
}

static void a_server_that_is_not_there_is_an_error(void **state)
{
	struct buf answer = { 0 };
	struct err err;
	int status;

	(void)state;
	assert_int_equal(http_fetch("unix:/nonexistent/socket", "/", NULL, 300, &status, &answer,
				    &err),
			 RC_IO);
	assert_int_equal(http_fetch("127.0.0.1:1", "/", NULL, 300, &status, &answer, &err), RC_IO);
	assert_int_equal(http_fetch("nonsense", "/", NULL, 300, &status, &answer, &err),
			 RC_INVALID);
	assert_int_equal(http_fetch("127.0.0.1:0", "/", NULL, 300, &status, &answer, &err),
			 RC_INVALID);
	assert_int_equal(answer.len, 0);
}

#define SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		SERVER(a_get_is_answered),
		SERVER(a_head_is_a_get_without_its_body),
		SERVER(a_post_has_its_body),
		SERVER(a_post_that_a_web_page_could_send_is_refused),
		SERVER(the_handlers_error_is_json),
		SERVER(other_methods_are_refused_with_what_is_allowed),
		SERVER(what_is_not_http_is_refused_and_closed),
		SERVER(sizes_have_limits),
		SERVER(a_body_in_chunks_has_the_same_limit),
		SERVER(requests_sent_ahead_are_answered_in_order),
		SERVER(a_request_may_come_byte_by_byte),
		SERVER(a_connection_is_kept_or_closed_as_asked),
		SERVER(a_wish_to_upgrade_is_not_granted),
		SERVER(a_slow_request_is_told_and_closed),
		SERVER(a_silent_connection_is_closed),
		SERVER(a_client_that_does_not_take_its_answer_is_closed),
		SERVER(a_large_answer_arrives_whole),
		SERVER(an_answer_without_room_is_a_503),
		SERVER(connections_have_a_limit),
		SERVER(closing_the_server_closes_its_connections),
		SERVER(addresses_that_cannot_be_are_refused),
		SERVER(a_unix_socket_is_private_and_replaces_a_stale_one),
		SERVER(any_allocation_may_fail),
		cmocka_unit_test(what_is_fetched_is_what_was_served),
		cmocka_unit_test(an_answer_larger_than_its_room_is_refused),
		cmocka_unit_test(answers_of_every_shape_are_taken),
		cmocka_unit_test(what_is_no_answer_is_an_error),
		cmocka_unit_test(a_server_that_is_not_there_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
