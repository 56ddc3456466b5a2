/* The server of HTTP: what it answers, what it refuses, and that its sizes and waits are bounded. */
#include "tests/unit/clock_fixture.h"
#include "tests/unit/http_fixture.h"

#include "net/http_host.h"
#include "net/http_parse.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void a_get_is_answered(void **state)
{
	struct fixture *f = *state;
	char text[1024];

	web_start(f, "127.0.0.1:0");
	web_ask(f, "GET /v1/status?a=1&b=2 HTTP/1.1\r\nHost: x\r\n\r\n", 200, text, sizeof(text));
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

	web_start(f, "127.0.0.1:0");
	client = web_open_client(f, 0);
	web_say(f, client, "HEAD /x HTTP/1.1\r\nHost: x\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n");
	web_expect(f, client, 200, false, text, sizeof(text));
	assert_non_null(strstr(text, "Content-Length: 7\r\n"));
	web_expect(f, client, 200, true, text, sizeof(text));
	assert_non_null(strstr(text, "{\"n\":2}"));
}

static void a_post_has_its_body(void **state)
{
	struct fixture *f = *state;

	web_start(f, "127.0.0.1:0");
	web_ask(f,
		"POST /v1/takeover HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: Application/JSON; charset=utf-8\r\n"
		"Content-Length: 13\r\n\r\n{\"a\": \"b c\"}\n",
		200, NULL, 0);
	assert_string_equal(f->last, "POST /v1/takeover [] {\"a\": \"b c\"}\n");
	web_ask(f,
		"POST /p HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
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

	web_start(f, "127.0.0.1:0");
	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		(void)snprintf(
			request, sizeof(request),
			"POST /p HTTP/1.1\r\nHost: 127.0.0.1\r\n%sContent-Length: 2\r\n\r\n{}",
			types[i]);
		web_ask(f, request, 415, NULL, 0);
	}
	assert_int_equal(f->handled, 0);
}

static void a_post_for_another_server_or_of_a_page_is_refused(void **state)
{
	static const char *const headers[] = { "Host:\r\n",
					       "Host: rebound.example:7480\r\n",
					       "Host: 127.0.0.1.example\r\n",
					       "Host: localhost.example\r\n",
					       "Host: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n",
					       "Host: 127.0.0.1\r\norigin: null\r\n" };
	static const char *const ours[] = { "127.0.0.1", "127.0.0.1:7480",  "192.0.2.1",
					    "[::1]",	 "[2001:db8::7]:1", "LocalHost:99",
					    "localhost" };
	static const char post[] = "POST /p HTTP/1.1\r\n%s%s%sContent-Type: application/json\r\n"
				   "Content-Length: 2\r\n\r\n{}";
	char request[512], filler[400];
	struct fixture *f = *state;

	web_start(f, "127.0.0.1:0");
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		(void)snprintf(request, sizeof(request), post, headers[i], "", "");
		web_ask(f, request, 403, NULL, 0);
	}
	memset(filler, '0', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = '\0';
	(void)snprintf(request, sizeof(request), post, "Host: 127.0.0.1:", filler, "\r\n");
	web_ask(f, request, 403, NULL, 0);
	assert_int_equal(f->handled, 0);
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		(void)snprintf(request, sizeof(request), post, "Host: ", ours[i], "\r\n");
		web_ask(f, request, 200, NULL, 0);
	}
	/* Whoever asks only looks; and the one before on a connection leaves nothing behind. */
	web_ask(f, "GET / HTTP/1.1\r\nHost: rebound.example\r\n\r\n", 200, NULL, 0);
}

static void each_request_of_a_connection_has_its_own_host(void **state)
{
	struct fixture *f = *state;
	struct client *client;

	web_start(f, "127.0.0.1:0");
	client = web_open_client(f, 0);
	web_say(f, client, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
	web_expect_status(f, client, 200);
	web_say(f, client,
		"POST /p HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
	web_expect_status(f, client, 403);
}

static void the_name_that_is_listened_on_is_ours(void **state)
{
	(void)state;
	assert_true(http_host_is_ours("site-b.example", "site-b.example:7480"));
	assert_true(http_host_is_ours("Site-B.example:80", "site-b.example:7480"));
	assert_false(http_host_is_ours("site-b.example", "0.0.0.0:7480"));
	assert_false(http_host_is_ours("site-b.example.org", "site-b.example:7480"));
	assert_false(http_host_is_ours("", "site-b.example:7480"));
	assert_false(http_host_is_ours("[::1", "[::1]:7480"));
}

static void the_handlers_error_is_json(void **state)
{
	struct fixture *f = *state;
	char text[1024];

	web_start(f, "127.0.0.1:0");
	web_ask(f, "GET /missing HTTP/1.1\r\nHost: x\r\n\r\n", 404, text, sizeof(text));
	assert_non_null(strstr(text, "\r\n\r\n{\"error\": \"not \\\"here\\\"\\u000a\"}\n"));
}

static void other_methods_are_refused_with_what_is_allowed(void **state)
{
	static const char *const methods[] = { "PUT",	"DELETE",  "OPTIONS", "PATCH",
					       "TRACE", "CONNECT", "PROPFIND" };
	struct fixture *f = *state;
	char request[128], text[1024];
	size_t i;

	web_start(f, "127.0.0.1:0");
	for (i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		(void)snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: x\r\n\r\n",
			       methods[i], strcmp(methods[i], "CONNECT") == 0 ? "a:1" : "/");
		web_ask(f, request, 405, text, sizeof(text));
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
		{ "GET / HTTP/1.1\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: rebound.example\r\n\r\n", 400 },
		{ "POST / HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
		  400 },
		{ "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		  400 },
		{ "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		  400 },
		{ "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400 },
		{ "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400 },
		{ "GET http://elsewhere/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400 },
	};
	struct fixture *f = *state;
	struct client *client;
	size_t i;

	web_start(f, "127.0.0.1:0");
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		client = web_open_client(f, 0);
		web_say(f, client, cases[i].request);
		web_expect_status(f, client, cases[i].status);
		web_expect_end(f, client);
	}
	assert_int_equal(f->handled, 0);
}

static void a_client_that_waits_for_word_gets_it_once(void **state)
{
	static const char post[] =
		"POST /p %s\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
		"Expect: 100-Continue\r\nContent-Length: %d\r\n\r\n%s";
	static const char word[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct fixture *f = *state;
	struct client *client;
	char request[256];

	web_start(f, "127.0.0.1:0");
	client = web_open_client(f, 0);
	for (int i = 0; i < 2; i++) { /* on a connection that is kept, too */
		(void)snprintf(request, sizeof(request), post, "HTTP/1.1", 2, "");
		web_say(f, client, request);
		for (int turn = 0; turn < PATIENCE_MS && client->len < strlen(word); turn++) {
			web_turn(f);
			web_hear(client);
		}
		assert_int_equal(client->len, strlen(word));
		assert_memory_equal(client->heard, word, strlen(word));
		client->len = 0;
		web_say(f, client, "{");
		web_turn(f);
		web_say(f, client, "}");
		web_expect_status(f, client, 200);
	}
	/* Nobody waits: the body is there, is too long, or the client knows nothing of such words. */
	(void)snprintf(request, sizeof(request), post, "HTTP/1.1", 2, "{}");
	web_ask(f, request, 200, NULL, 0);
	(void)snprintf(request, sizeof(request), post, "HTTP/1.1", (int)HTTP_BODY_MAX + 1, "");
	web_ask(f, request, 413, NULL, 0);
	(void)snprintf(request, sizeof(request), post, "HTTP/1.0", 2, "");
	client = web_open_client(f, 1);
	web_say(f, client, request);
	web_turn(f);
	web_say(f, client, "{}");
	web_expect_status(f, client, 200);
}

static void sizes_have_limits(void **state)
{
	struct fixture *f = *state;
	size_t size = 4 * HTTP_BODY_MAX, len, over;
	char *request = malloc(size);
	struct client *client;

	assert_non_null(request);
	web_start(f, "127.0.0.1:0");
	for (over = 0; over <= 1; over++) {
		/* the target */
		len = (size_t)snprintf(request, size, "GET /");
		memset(request + len, 'x', HTTP_TARGET_MAX - 1 + over);
		len += HTTP_TARGET_MAX - 1 + over;
		len += (size_t)snprintf(request + len, size - len, " HTTP/1.1\r\nHost: x\r\n\r\n");
		client = web_open_client(f, 0);
		web_say_bytes(f, client, request, len);
		web_expect_status(f, client, over ? 414 : 200);
		/* all headers together, to the byte */
		len = (size_t)snprintf(request, size, "GET / HTTP/1.1\r\nHost: x\r\nX: ");
		memset(request + len, 'x', HTTP_HEADERS_MAX);
		len = HTTP_HEADERS_MAX - 4 + over;
		len += (size_t)snprintf(request + len, size - len, "\r\n\r\n");
		client = web_open_client(f, 0);
		web_say_bytes(f, client, request, len);
		web_expect_status(f, client, over ? 431 : 200);
		/* the body */
		len = (size_t)snprintf(
			request, size,
			"POST / HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
			HTTP_BODY_MAX + over);
		memset(request + len, 'x', HTTP_BODY_MAX + over);
		client = web_open_client(f, 0);
		web_say_bytes(f, client, request, len + HTTP_BODY_MAX + over);
		web_expect_status(f, client, over ? 413 : 200);
	}
	free(request);
}

static void a_body_in_chunks_has_the_same_limit(void **state)
{
	struct fixture *f = *state;
	struct client *client;
	char chunk[1100];
	size_t i, len;

	web_start(f, "127.0.0.1:0");
	client = web_open_client(f, 0);
	web_say(f, client,
		"POST / HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
	len = (size_t)snprintf(chunk, sizeof(chunk), "400\r\n%01024d\r\n", 0);
	for (i = 0; i < HTTP_BODY_MAX / 1024 + 1; i++)
		web_say_bytes(f, client, chunk, len);
	web_expect_status(f, client, 413);
	/* Tiny chunks with long extensions: the body stays small, the message does not. */
	client = web_open_client(f, 0);
	web_say(f, client,
		"POST / HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
	len = (size_t)snprintf(chunk, sizeof(chunk), "1;%01000d\r\nx\r\n", 0);
	for (i = 0; i < 200 && client->len == 0; i++) {
		web_say_bytes(f, client, chunk, len);
		web_hear(client);
	}
	web_expect_status(f, client, 413);
}

static void requests_sent_ahead_are_answered_in_order(void **state)
{
	static const char one[] = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
	struct fixture *f = *state;
	struct client *client;
	char text[1024], expected[32];
	int i;

	web_start(f, "127.0.0.1:0");
	client = web_open_client(f, 0);
	for (i = 0; i < 50; i++)
		assert_int_equal(send(client->fd, one, sizeof(one) - 1, 0),
				 (ssize_t)sizeof(one) - 1);
	for (i = 1; i <= 50; i++) {
		web_expect(f, client, 200, true, text, sizeof(text));
		(void)snprintf(expected, sizeof(expected), "{\"n\":%d}", i);
		assert_non_null(strstr(text, expected));
	}
}

static void a_request_may_come_byte_by_byte(void **state)
{
	static const char request[] =
		"POST /b?q HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
	struct fixture *f = *state;
	struct client *client;
	size_t i;

	web_start(f, "127.0.0.1:0");
	client = web_open_client(f, 0);
	for (i = 0; i < sizeof(request) - 1; i++)
		web_say_bytes(f, client, request + i, 1);
	web_expect_status(f, client, 200);
	assert_string_equal(f->last, "POST /b [q] {}");
}

static void a_connection_is_kept_or_closed_as_asked(void **state)
{
	struct fixture *f = *state;
	struct client *client;
	char text[1024];

	web_start(f, "127.0.0.1:0");
	client = web_open_client(f, 0);
	web_say(f, client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	web_expect_status(f, client, 200);
	web_say(f, client,
		"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n");
	web_expect(f, client, 200, true, text, sizeof(text));
	assert_non_null(strstr(text, "\r\nConnection: close\r\n"));
	web_expect_end(f, client);
	assert_int_equal(f->handled, 2);
	client = web_open_client(f, 0);
	web_say(f, client, "GET / HTTP/1.0\r\n\r\n");
	web_expect_status(f, client, 200);
	web_expect_end(f, client);
}

static void a_wish_to_upgrade_is_not_granted(void **state)
{
	struct fixture *f = *state;
	struct client *client;

	web_start(f, "127.0.0.1:0");
	client = web_open_client(f, 0);
	web_say(f, client,
		"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello");
	web_expect_status(f, client, 200);
	web_expect_end(f, client);
}

static void a_slow_request_is_told_and_closed(void **state)
{
	struct fixture *f = *state;
	struct client *client;
	int i;

	web_start(f, "127.0.0.1:0");
	client = web_open_client(f, 0);
	web_say(f, client, "GET / HTTP/1.1\r\n");
	/* A header now and then does not buy more time. */
	for (i = 0; i < HTTP_IDLE_MS / 1000 - 1; i++) {
		clock_fixture_pass(1000);
		web_say(f, client, "X: y\r\n");
		web_hear(client);
		assert_int_equal(client->len, 0);
	}
	clock_fixture_pass(2000);
	web_expect_status(f, client, 408);
	web_expect_end(f, client);
}

static void a_silent_connection_is_closed(void **state)
{
	struct fixture *f = *state;
	struct client *fresh, *used;

	web_start(f, "127.0.0.1:0");
	fresh = web_open_client(f, 0);
	used = web_open_client(f, 1);
	web_say(f, used, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	web_expect_status(f, used, 200);
	clock_fixture_pass(HTTP_IDLE_MS + 1000);
	web_expect_end(f, fresh);
	web_expect_end(f, used);
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
	web_start(f, "127.0.0.1:0");
	client = web_open_client(f, 0);
	for (i = 0; i < 8; i++) /* more than the kernel's buffers take */
		web_say(f, client, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
	for (i = 0; i < 50; i++)
		web_turn(f);
	assert_in_range(f->handled, 1, 7);
	clock_fixture_pass(HTTP_IDLE_MS + 1000);
	for (i = 0; i < 50; i++)
		web_turn(f);
	for (i = 0; i < PATIENCE_MS && r != 0; i++) {
		r = recv(client->fd, bytes, 1 << 20, MSG_DONTWAIT);
		if (r > 0)
			total += (size_t)r;
		if (r < 0 && errno != EAGAIN)
			break;
		web_turn(f);
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
	web_start(f, "127.0.0.1:0");
	client = web_open_client(f, 0);
	web_say(f, client, "GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	for (i = 0; i < 10 * PATIENCE_MS && r != 0; i++) {
		r = recv(client->fd, bytes, 1 << 20, MSG_DONTWAIT);
		total += r > 0 ? (size_t)r : 0;
		web_turn(f);
	}
	assert_in_range(total, HTTP_ANSWER_MAX / 2 + 100, HTTP_ANSWER_MAX / 2 + 400);
	free(bytes);
}

static void an_answer_without_room_is_a_503(void **state)
{
	struct fixture *f = *state;
	char text[512];

	web_start(f, "127.0.0.1:0");
	web_ask(f, "GET /too-large HTTP/1.1\r\nHost: x\r\n\r\n", 503, text, sizeof(text));
	assert_non_null(strstr(text, "Content-Length: 0\r\n"));
}

static void closing_the_server_closes_its_connections(void **state)
{
	struct fixture *f = *state;
	struct client *idle, *midway;

	web_start(f, "127.0.0.1:0");
	idle = web_open_client(f, 0);
	midway = web_open_client(f, 1);
	web_say(f, midway, "GET /large HTTP/1.1\r\nHost: x\r\n\r\nGET");
	web_stop(f);
	web_expect_end(f, idle);
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
		assert_int_equal(http_listen(&f->server, &f->loop, addresses[i], web_echo, f, &err),
				 RC_INVALID);
		assert_null(f->server);
	}
	assert_int_equal(http_listen(&f->server, &f->loop, "192.0.2.7:7080", web_echo, f, &err),
			 RC_IO);
	web_start(f, "127.0.0.1:0");
	(void)snprintf(address, sizeof(address), "127.0.0.1:%u", http_port(f->server));
	assert_int_equal(http_listen(&second, &f->loop, address, web_echo, f, &err), RC_IO);
	assert_non_null(strstr(err.text, "address already in use"));
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
		if (http_listen(&f->server, &f->loop, "127.0.0.1:0", web_echo, f, &err) == RC_OK) {
			client = web_open_client(f, 0);
			web_say(f, client,
				"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
				"Content-Length: 2\r\nConnection: close\r\n\r\n{}");
			for (i = 0; i < 200 && !client->ended; i++) {
				web_turn(f);
				web_hear(client);
			}
			web_stop(f);
		}
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
	}
	client = &f->clients[0];
	assert_non_null(strstr(client->heard, "200 OK"));
	assert_true(n >= 5);
}

#define SERVER(test) cmocka_unit_test_setup_teardown(test, web_setup, web_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		SERVER(a_get_is_answered),
		SERVER(a_head_is_a_get_without_its_body),
		SERVER(a_post_has_its_body),
		SERVER(a_post_that_a_web_page_could_send_is_refused),
		SERVER(a_post_for_another_server_or_of_a_page_is_refused),
		SERVER(each_request_of_a_connection_has_its_own_host),
		SERVER(the_name_that_is_listened_on_is_ours),
		SERVER(the_handlers_error_is_json),
		SERVER(other_methods_are_refused_with_what_is_allowed),
		SERVER(what_is_not_http_is_refused_and_closed),
		SERVER(a_client_that_waits_for_word_gets_it_once),
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
		SERVER(closing_the_server_closes_its_connections),
		SERVER(addresses_that_cannot_be_are_refused),
		SERVER(any_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, clock_fixture_hold, NULL);
}
