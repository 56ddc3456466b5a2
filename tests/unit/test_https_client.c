#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "tests/unit/etcd_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ANSWER_MAX 1000
#define OK(length, body) "HTTP/1.1 200 OK\r\nContent-Length: " length "\r\n\r\n" body

static struct err err, how;
static struct odd_server server;
static struct https_client *client;
static struct https_progress progress;
static char answer[ANSWER_MAX + 1];
static int status;
static bool done, closed;
static unsigned answers;

static void on_done(void *owner, const struct https_answer *given,
		    const struct https_progress *came, const struct err *why)
{
	assert_ptr_equal(owner, &client);
	assert_true((given == NULL) != (why == NULL));
	progress = *came;
	how.code = RC_OK;
	if (why != NULL)
		how = *why;
	if (given != NULL) {
		status = given->status;
		memcpy(answer, given->body, given->len);
		answer[given->len] = '\0';
	}
	answers++;
	done = true;
}

static void on_closed(void *owner)
{
	assert_ptr_equal(owner, &client);
	closed = true;
}

static void begin(void)
{
	odd_server_open(&server);
	assert_int_equal(https_open(&client, &loop, identity, ANSWER_MAX, on_done, &client, &err),
			 RC_OK);
	answers = 0;
}

static void end(void)
{
	closed = false;
	https_close(client, on_closed);
	turn_until(&closed);
	odd_server_close(&server);
}

static int post_to(const char *name, uint16_t port, uint32_t timeout_ms, bool first_line)
{
	struct address host = { .port = port }, to = { .host = "127.0.0.1", .port = port };
	static uint8_t bytes[] = { '{', '}' };
	const struct buf body = { .data = bytes, .len = sizeof(bytes) };
	struct https_request request = { .host = &host,
					 .path = "/v3/kv/range",
					 .body = &body,
					 .timeout_ms = timeout_ms,
					 .first_line = first_line };

	(void)snprintf(host.host, sizeof(host.host), "%s", name);
	assert_true(address_to_socket(&to, &request.to));
	done = false;
	return https_post(client, &request, &err);
}

/* From 127.0.0.1, with plenty of time. */
static void ask(void)
{
	assert_int_equal(post_to("127.0.0.1", server.port, PATIENCE_MS, false), RC_OK);
	assert_false(done); /* never from within the call */
	turn_until(&done);
}

static void expect_answer(const char *text)
{
	if (how.code != RC_OK)
		fail_msg("%s", how.text);
	assert_int_equal(status, 200);
	assert_string_equal(answer, text);
}

static void expect_failure(enum rc code, const char *part)
{
	assert_int_equal(how.code, code);
	if (strstr(how.text, part) == NULL)
		fail_msg("\"%s\" does not contain \"%s\"", how.text, part);
}

static void one_connection_serves_many_requests(void **state)
{
	unsigned i;

	(void)state;
	begin();
	server.answer = OK("5", "hello");
	for (i = 0; i < 10; i++) {
		ask();
		expect_answer("hello");
		assert_int_equal(progress.reused, i > 0);
		assert_true(progress.sent_ns > 0 && progress.sent_ns <= clock_now_ns());
	}
	assert_int_equal(server.connections, 1);
	assert_int_equal(server.requests, 10);
	end();
}

static void a_server_may_be_known_by_its_name(void **state)
{
	(void)state;
	begin();
	server.answer = OK("5", "hello");
	assert_int_equal(post_to("etcd.test", server.port, PATIENCE_MS, false), RC_OK);
	turn_until(&done);
	expect_answer("hello");
	end();
}

static void a_server_of_another_name_or_address_is_refused(void **state)
{
	(void)state;
	begin();
	server.answer = OK("5", "hello");
	assert_int_equal(post_to("etcd.example", server.port, PATIENCE_MS, false), RC_OK);
	turn_until(&done);
	expect_failure(RC_REFUSED, "is not for the host etcd.example");
	assert_int_equal(post_to("127.0.0.2", server.port, PATIENCE_MS, false), RC_OK);
	turn_until(&done);
	expect_failure(RC_REFUSED, "is not for the host 127.0.0.2");
	assert_int_equal(server.requests, 0);
	end();
}

static void a_server_of_another_authority_is_refused(void **state)
{
	struct tls_identity *right = identity, *wrong;

	(void)state;
	assert_int_equal(tls_identity_load_client(&wrong, certs_path(&certs, "other", "pem"), NULL,
						  NULL, &err),
			 RC_OK);
	identity = wrong;
	begin();
	ask();
	expect_failure(RC_REFUSED, "CN=etcd");
	assert_non_null(strstr(how.text, "is not signed by our CA"));
	assert_int_equal(server.requests, 0);
	end();
	identity = right;
	tls_identity_free(wrong);
}

static void a_server_that_wants_a_certificate_says_so(void **state)
{
	struct tls_identity *right = identity, *without;

	(void)state;
	assert_int_equal(tls_identity_load_client(&without, certs_path(&certs, "ca", "pem"), NULL,
						  NULL, &err),
			 RC_OK);
	identity = without;
	begin();
	ask();
	expect_failure(RC_REFUSED, "the peer refused our certificate: it got none");
	end();
	identity = right;
	tls_identity_free(without);
}

static void a_server_that_never_answers_ends_with_the_time(void **state)
{
	uint64_t since_ns = clock_now_ns();

	(void)state;
	begin();
	assert_int_equal(post_to("127.0.0.1", server.port, 150, false), RC_OK);
	turn_until(&done);
	expect_failure(RC_TIMEOUT, "no answer within 150 ms");
	assert_true(clock_now_ns() - since_ns >= 150 * CLOCK_NS_PER_MS);
	assert_true(progress.sent_ns > 0); /* so it may have been done */
	/* The late answer must not be taken for the next request's. */
	server.answer = OK("5", "hello");
	ask();
	expect_answer("hello");
	assert_int_equal(server.connections, 2);
	end();
}

static void nobody_there_is_told_at_once(void **state)
{
	uint16_t port;

	(void)state;
	begin();
	port = server.port;
	odd_server_close(&server);
	assert_int_equal(post_to("127.0.0.1", port, PATIENCE_MS, false), RC_OK);
	turn_until(&done);
	expect_failure(RC_CLOSED, "connection refused");
	assert_true(progress.sent_ns == 0);
	closed = false;
	https_close(client, on_closed);
	turn_until(&closed);
}

static void answers_that_are_too_large_are_refused(void **state)
{
	static char large[4096];
	int len;

	(void)state;
	begin();
	server.answer = OK("1001", "x"); /* by what it announces */
	ask();
	expect_failure(RC_LIMIT, "body longer than 1000 bytes");
	len = snprintf(large, sizeof(large),
		       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n500\r\n");
	memset(large + len, 'x', sizeof(large) - (size_t)len - 1);
	server.answer = large; /* by what comes */
	ask();
	expect_failure(RC_LIMIT, "body longer than 1000 bytes");
	server.answer = OK("5", "hello");
	ask();
	expect_answer("hello");
	end();
}

static void headers_without_end_are_refused(void **state)
{
	static char large[20000];
	int len;

	(void)state;
	begin();
	len = snprintf(large, sizeof(large), "HTTP/1.1 200 OK\r\nX: ");
	memset(large + len, 'x', sizeof(large) - (size_t)len - 1);
	server.answer = large;
	ask();
	expect_failure(RC_LIMIT, "headers longer");
	end();
}

static void garbage_is_refused(void **state)
{
	static const char *const garbage[] = { "\x01\x02\x03", "SSH-2.0-x\r\n",
					       "HTTP/1.1 abc\r\n\r\n",
					       "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
					       "HTTP/1.1 200\r\n :\r\n\r\n" };
	size_t i;

	(void)state;
	begin();
	for (i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		server.answer = garbage[i];
		ask();
		expect_failure(RC_INVALID, "HTTP");
	}
	end();
}

static void an_answer_that_breaks_off_is_none(void **state)
{
	(void)state;
	begin();
	server.answer = OK("10", "hello");
	server.end = true;
	ask();
	expect_failure(RC_CLOSED, "closed");
	end();
}

static void the_end_of_the_connection_may_be_the_answers(void **state)
{
	(void)state;
	begin();
	server.answer = "HTTP/1.1 200 OK\r\n\r\nhello";
	server.end = true;
	ask();
	expect_answer("hello");
	ask();
	expect_answer("hello");
	assert_int_equal(server.connections, 2);
	end();
}

static void a_connection_closed_while_idle_is_made_anew(void **state)
{
	(void)state;
	begin();
	server.answer = OK("5", "hello");
	ask();
	odd_server_hang_up(&server);
	turn_for(50);
	ask();
	expect_answer("hello");
	assert_false(progress.reused);
	assert_int_equal(server.connections, 2);
	end();
}

static void what_comes_unasked_ends_the_connection(void **state)
{
	(void)state;
	begin();
	server.answer = OK("5", "hello");
	ask();
	odd_server_say(&server, OK("6", "forged"));
	turn_for(50);
	ask();
	expect_answer("hello");
	assert_int_equal(server.connections, 2);
	server.answer = OK("5", "hello") OK("6", "forged");
	ask();
	expect_answer("hello");
	server.answer = OK("5", "again");
	ask();
	expect_answer("again");
	end();
}

#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

static void the_first_line_of_a_stream_is_the_answer(void **state)
{
	(void)state;
	begin();
	server.answer = CHUNKED "6\r\nhello\n\r\n";
	assert_int_equal(post_to("127.0.0.1", server.port, PATIENCE_MS, true), RC_OK);
	turn_until(&done);
	expect_answer("hello\n");
	/* The stream's end comes late, but in time: the connection serves on. */
	server.answer = OK("5", "after");
	assert_int_equal(post_to("127.0.0.1", server.port, PATIENCE_MS, false), RC_OK);
	odd_server_say(&server, "0\r\n\r\n");
	turn_until(&done);
	expect_answer("after");
	assert_int_equal(server.connections, 1);
	end();
}

static void a_stream_that_does_not_end_does_not_hold_up_the_next_request(void **state)
{
	uint64_t since_ns;

	(void)state;
	begin();
	server.answer = CHUNKED "6\r\nhello\n\r\n";
	assert_int_equal(post_to("127.0.0.1", server.port, PATIENCE_MS, true), RC_OK);
	turn_until(&done);
	server.answer = OK("5", "after");
	since_ns = clock_now_ns();
	ask();
	expect_answer("after");
	assert_true(clock_now_ns() - since_ns >= (HTTPS_DRAIN_MS - 1) * CLOCK_NS_PER_MS);
	assert_int_equal(server.connections, 2);
	end();
}

static void a_request_given_up_is_not_heard_of_again(void **state)
{
	(void)state;
	begin();
	assert_int_equal(post_to("127.0.0.1", server.port, PATIENCE_MS, false), RC_OK);
	turn_for(50);
	https_cancel(client);
	turn_for(50);
	assert_int_equal(answers, 0);
	server.answer = OK("5", "hello");
	ask();
	expect_answer("hello");
	assert_int_equal(post_to("127.0.0.1", server.port, PATIENCE_MS, false), RC_OK);
	end(); /* closing gives it up, too */
	assert_int_equal(answers, 1);
}

static void every_lack_of_memory_is_survived(void **state)
{
	unsigned long n;
	bool fired = true;

	(void)state;
	begin();
	server.answer = OK("5", "hello");
	for (n = 1; n < 200 && fired; n++) {
		done = false;
		fault_arm(FAULT_ALLOC, n);
		if (post_to("127.0.0.1", server.port, PATIENCE_MS, false) == RC_OK)
			turn_until(&done);
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
		odd_server_hang_up(&server);
		turn_for(5);
	}
	assert_true(n > 5);
	ask();
	expect_answer("hello");
	end();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, etcd_test_setup, etcd_test_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_connection_serves_many_requests),
		TEST(a_server_may_be_known_by_its_name),
		TEST(a_server_of_another_name_or_address_is_refused),
		TEST(a_server_of_another_authority_is_refused),
		TEST(a_server_that_wants_a_certificate_says_so),
		TEST(a_server_that_never_answers_ends_with_the_time),
		TEST(nobody_there_is_told_at_once),
		TEST(answers_that_are_too_large_are_refused),
		TEST(headers_without_end_are_refused),
		TEST(garbage_is_refused),
		TEST(an_answer_that_breaks_off_is_none),
		TEST(the_end_of_the_connection_may_be_the_answers),
		TEST(a_connection_closed_while_idle_is_made_anew),
		TEST(what_comes_unasked_ends_the_connection),
		TEST(the_first_line_of_a_stream_is_the_answer),
		TEST(a_stream_that_does_not_end_does_not_hold_up_the_next_request),
		TEST(a_request_given_up_is_not_heard_of_again),
		TEST(every_lack_of_memory_is_survived),
	};

	return cmocka_run_group_tests(tests, etcd_group_setup, etcd_group_teardown);
}
