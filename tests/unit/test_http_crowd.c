/* The server of HTTP: how many connections it has, and which of them make room. */
#include "tests/unit/clock_fixture.h"
#include "tests/unit/http_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void many_silent_connections_do_not_keep_anybody_out(void **state)
{
	struct fixture *f = *state;
	int fds[300], n = (int)(sizeof(fds) / sizeof(fds[0])), i;
	struct client *monitor;

	web_start(f, "127.0.0.1:0");
	for (i = 0; i < n; i++) {
		fds[i] = web_connect(f);
		if (i % 2 == 0) /* begun, and not finished: no better */
			assert_int_equal(send(fds[i], "GET /", 5, MSG_NOSIGNAL), 5);
		web_turn(f);
	}
	web_ask(f, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200, NULL, 0);
	/* Who asks now and then is not the one that makes room. */
	monitor = web_open_client(f, 0);
	for (i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
		web_say(f, monitor, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
		web_expect_status(f, monitor, 200);
		clock_fixture_pass(1);
		close(fds[i]);
		fds[i] = web_connect(f);
		web_turn(f);
	}
	web_say(f, monitor, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	web_expect_status(f, monitor, 200);
	for (i = 0; i < n; i++)
		close(fds[i]);
}

static void connections_have_a_limit(void **state)
{
	struct fixture *f = *state;
	int fds[HTTP_CONNECTIONS_MAX], i;
	struct client *client;

	web_start(f, "127.0.0.1:0");
	for (i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
		fds[i] = web_connect(f);
		assert_int_equal(send(fds[i], "?\r\n\r\n", 5, MSG_NOSIGNAL), 5); /* is told why */
		web_turn(f);
	}
	for (i = 0; i < 20; i++)
		web_turn(f);
	client = web_open_client(f, 0);
	web_expect_status(f, client, 503);
	web_expect_end(f, client);
	close(fds[0]);
	for (i = 0; i < 20; i++)
		web_turn(f);
	web_ask(f, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200, NULL, 0);
	for (i = 1; i < HTTP_CONNECTIONS_MAX; i++)
		close(fds[i]);
}

#define SERVER(test) cmocka_unit_test_setup_teardown(test, web_setup, web_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		SERVER(many_silent_connections_do_not_keep_anybody_out),
		SERVER(connections_have_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
