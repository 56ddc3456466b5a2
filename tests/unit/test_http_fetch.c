/* The client of HTTP: it takes answers of every shape, and what is none is an error in time. */
#include "tests/unit/http_fixture.h"

#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 5000 /* for an answer that comes */

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
	web_start(&remote->f, address);
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
	rc = http_fetch(remote.address, "/x", body, PATIENCE_MS, &status, &got, &err);
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

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_fetched_is_what_was_served),
		cmocka_unit_test(an_answer_larger_than_its_room_is_refused),
		cmocka_unit_test(answers_of_every_shape_are_taken),
		cmocka_unit_test(what_is_no_answer_is_an_error),
		cmocka_unit_test(a_server_that_is_not_there_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
