/* The QMP client against a scripted peer: replies find their commands, and every wait has an end. */
#include "tests/unit/clock_fixture.h"
#include "tests/unit/qmp_fixture.h"

#include "appliance/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static void it_is_ready_after_negotiation(void **state)
{
	struct fixture *f = *state;
	struct err err;

	monitor_connect(f);
	assert_int_equal(qmp_execute(f->qmp, "stop", NULL, NULL, NULL, &err), RC_STATE);
	monitor_say(f, GREETING);
	monitor_expect_command(f, "{\"execute\":\"qmp_capabilities\",\"id\":1}");
	assert_int_equal(qmp_execute(f->qmp, "stop", NULL, NULL, NULL, &err), RC_STATE);
	assert_string_equal(f->story, "");
	monitor_say(f, "{\"return\": {}, \"id\": 1}\r\n");
	monitor_expect_story(f, "ready");
	assert_int_equal(qmp_peer_pid(f->qmp), getpid());
	assert_true((fcntl(qmp_fd(f->qmp), F_GETFL) & O_NONBLOCK) != 0);
}

static void replies_are_matched_by_id(void **state)
{
	struct fixture *f = *state;
	cJSON *arguments = cJSON_CreateObject();
	struct err err;

	monitor_become_ready(f);
	monitor_execute(f, "a", &f->a);
	f->b = (struct reply){ .f = f, .word = "b" };
	assert_non_null(cJSON_AddNumberToObject(arguments, "value", 5));
	assert_int_equal(qmp_execute(f->qmp, "b", arguments, monitor_note_reply, &f->b, &err),
			 RC_OK);
	assert_int_equal(qmp_execute(f->qmp, "c", NULL, NULL, NULL, &err), RC_OK);
	monitor_expect_command(f, "{\"execute\":\"a\",\"id\":2}");
	monitor_expect_command(f, "{\"execute\":\"b\",\"id\":3,\"arguments\":{\"value\":5}}");
	monitor_expect_command(f, "{\"execute\":\"c\",\"id\":4}");
	monitor_say(
		f,
		"{\"return\": {}, \"id\": 4}\r\n{\"return\": {}, \"id\": 3}\r\n{\"event\": \"STOP\"}\r\n{\"return\": {}, \"id\": 2}\r\n");
	monitor_expect_story(f, "ready b:ok STOP a:ok");
}

static void replies_to_others_are_ignored(void **state)
{
	struct fixture *f = *state;

	monitor_become_ready(f);
	monitor_execute(f, "a", &f->a);
	monitor_say(
		f,
		"{\"return\": {}}\r\n{\"error\": {\"class\": \"GenericError\", \"desc\": \"not for you\"}}\r\n"
		"{\"return\": {}, \"id\": 77}\r\n{\"return\": {}, \"id\": \"guardian\"}\r\n{\"return\": {}, \"id\": 1}\r\n");
	monitor_expect_no_more(f);
	monitor_say(f, "{\"return\": {}, \"id\": 2}{\"return\": {}, \"id\": 2}");
	monitor_expect_story(f, "ready a:ok");
	monitor_expect_no_more(f);
}

static void what_the_guardian_asked_comes_as_an_event(void **state)
{
	struct fixture *f = *state;

	monitor_become_ready(f);
	monitor_say(f, "{\"return\": {\"status\": \"running\"}, \"id\": 4503599627370496}\r\n"
		       "{\"event\": \"STOP\"}\r\n"
		       "{\"error\": {\"desc\": \"no\"}, \"id\": 4503599627370496}\r\n");
	monitor_expect_story(f, "ready us-guardian STOP");
	monitor_expect_no_more(f);
}

static void a_refusal_carries_qemus_words(void **state)
{
	struct fixture *f = *state;

	monitor_become_ready(f);
	monitor_execute(f, "a", &f->a);
	monitor_say(
		f,
		"{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"The command a has not been found\"}, \"id\": 2}");
	monitor_expect_story(f, "ready a:refused");
	assert_string_equal(f->a.err.text, "The command a has not been found");
}

static void an_error_without_an_id_answers_nothing(void **state)
{
	struct fixture *f = *state;

	monitor_become_ready(f);
	monitor_execute(f, "a", &f->a);
	/* What QEMU says to the guardian's 0xff. */
	monitor_say(f,
		    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error, stray "
		    "'\\uFFFD'\"}}\r\n{\"return\": {}, \"id\": 2}\r\n");
	monitor_expect_story(f, "ready a:ok");
}

static void a_lost_connection_answers_everything_and_is_told_once(void **state)
{
	struct fixture *f = *state;
	struct err err;

	monitor_become_ready(f);
	monitor_execute(f, "a", &f->a);
	monitor_execute(f, "b", &f->b);
	monitor_say(f, "{\"event\": \"SHUTDOWN\"}\r\n{\"return\"");
	close(f->peer);
	f->peer = -1;
	monitor_expect_story(f, "ready SHUTDOWN a:closed b:closed lost");
	assert_int_equal(f->lost.code, RC_CLOSED);
	assert_int_equal(qmp_execute(f->qmp, "c", NULL, NULL, NULL, &err), RC_STATE);
	monitor_expect_no_more(f);
}

static void last_words_are_heard_when_writing_fails(void **state)
{
	struct fixture *f = *state;

	monitor_become_ready(f);
	monitor_say(f, "{\"event\": \"SHUTDOWN\"}\r\n");
	close(f->peer);
	f->peer = -1;
	monitor_execute(f, "a", &f->a);
	monitor_expect_story(f, "ready SHUTDOWN a:closed lost");
}

static void what_is_not_qmp_loses_the_connection(void **state)
{
	struct fixture *f = *state;

	monitor_become_ready(f);
	monitor_say(f, "HTTP/1.1 400 Bad Request\r\n\r\n");
	monitor_expect_story(f, "ready lost");
	assert_int_equal(f->lost.code, RC_INVALID);
	assert_null(strstr(f->lost.text, "-qmp unix:"));
}

static void another_servers_socket_is_called_that(void **state)
{
	struct fixture *f = *state;

	monitor_connect(f);
	assert_false(qmp_was_greeted(f->qmp));
	monitor_say(f, "QEMU 10.0.13 monitor - type 'help' for more information\r\n");
	monitor_expect_story(f, "lost");
	assert_int_equal(f->lost.code, RC_INVALID);
	assert_memory_equal(f->lost.text, f->path, strlen(f->path));
	assert_non_null(strstr(f->lost.text, "not QMP: byte 0x51"));
	assert_non_null(strstr(f->lost.text, "is it the socket of a \"-qmp unix:PATH"));
}

static void a_greeting_is_no_answer(void **state)
{
	struct fixture *f = *state;

	monitor_connect(f);
	monitor_say(f, GREETING);
	monitor_expect_command(f, "{\"execute\":\"qmp_capabilities\",\"id\":1}");
	assert_true(qmp_was_greeted(f->qmp));
	clock_fixture_pass(2000);
	monitor_expect_story(f, "lost");
	assert_int_equal(f->lost.code, RC_TIMEOUT);
	assert_non_null(strstr(f->lost.text, "greeted, and did not answer"));
}

static void a_second_greeting_loses_the_connection(void **state)
{
	struct fixture *f = *state;

	monitor_become_ready(f);
	monitor_say(f, GREETING);
	monitor_expect_story(f, "ready lost");
	assert_int_equal(f->lost.code, RC_INVALID);
}

static void refused_capabilities_lose_the_connection(void **state)
{
	struct fixture *f = *state;

	monitor_connect(f);
	monitor_say(f, GREETING
		    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": 1}");
	monitor_expect_story(f, "lost");
	assert_string_equal(f->lost.text, "qmp_capabilities: no");
}

static void a_silent_socket_is_given_up_in_time(void **state)
{
	struct fixture *f = *state;

	monitor_connect(f);
	monitor_expect_no_more(f);
	clock_fixture_pass(2000);
	monitor_expect_story(f, "lost");
	assert_int_equal(f->lost.code, RC_TIMEOUT);
}

static void without_a_limit_the_greeting_is_waited_for(void **state)
{
	struct fixture *f = *state;
	struct err err;
	int i;

	assert_int_equal(qmp_connect(&f->qmp, &f->loop, f->path, 0, &monitor_ops, f, &err), RC_OK);
	for (i = 0; i < 10; i++) {
		clock_fixture_pass(3600 * 1000);
		monitor_expect_no_more(f);
	}
	assert_int_equal(qmp_peer_pid(f->qmp), getpid());
	f->peer = accept(f->listener, NULL, NULL);
	monitor_say(f, GREETING "{\"return\": {}, \"id\": 1}");
	monitor_expect_story(f, "ready");
}

static void a_full_backlog_is_tried_again(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct fixture *f = *state;
	int fds[9], n, other;
	struct err err;

	memcpy(address.sun_path, f->path, sizeof(f->path));
	for (n = 0; n < 8; n++) {
		fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(fds[n], (struct sockaddr *)&address, sizeof(address)) < 0)
			break;
	}
	assert_true(n < 8);
	assert_int_equal(errno, EAGAIN);
	close(fds[n]);
	assert_int_equal(qmp_connect(&f->qmp, &f->loop, f->path, 1000, &monitor_ops, f, &err),
			 RC_OK);
	monitor_expect_no_more(f);
	for (other = 0; other < n; other++) {
		close(accept(f->listener, NULL, NULL));
		close(fds[other]);
	}
	clock_fixture_pass(10);
	for (n = 0; n < 100; n++)
		monitor_turn(f);
	f->peer = accept(f->listener, NULL, NULL);
	monitor_say(f, GREETING "{\"return\": {}, \"id\": 1}");
	monitor_expect_story(f, "ready");
}

static void a_command_has_a_time_limit(void **state)
{
	struct fixture *f = *state;

	monitor_become_ready(f);
	monitor_execute(f, "a", &f->a);
	monitor_expect_command(f, "{\"execute\":\"a\",\"id\":2}");
	clock_fixture_pass(5000);
	monitor_execute(f, "b", &f->b);
	monitor_expect_command(f, "{\"execute\":\"b\",\"id\":3}");
	monitor_expect_no_more(f);
	clock_fixture_pass(6000);
	monitor_expect_story(f, "ready a:timeout");
	monitor_say(f, "{\"return\": {}, \"id\": 2}\r\n{\"return\": {}, \"id\": 3}\r\n");
	monitor_expect_story(f, "ready a:timeout b:ok");
}

static void answers_that_are_there_count_however_late_they_are_looked_at(void **state)
{
	struct fixture *f = *state;

	monitor_connect(f);
	monitor_say(f, GREETING "{\"return\": {}, \"id\": 1}");
	clock_fixture_pass(2000);
	monitor_expect_story(f, "ready");
	monitor_execute(f, "a", &f->a);
	monitor_say(f, "{\"return\": {}, \"id\": 2}\r\n");
	clock_fixture_pass(11000);
	monitor_expect_story(f, "ready a:ok");
}

static void an_early_reply_does_not_answer_a_later_command(void **state)
{
	struct fixture *f = *state;

	monitor_become_ready(f);
	monitor_say(f, "{\"return\": {}, \"id\": 2}\r\n");
	monitor_expect_no_more(f);
	monitor_execute(f, "a", &f->a);
	monitor_expect_no_more(f);
}

static void closing_answers_what_is_open(void **state)
{
	struct fixture *f = *state;

	monitor_become_ready(f);
	monitor_execute(f, "a", &f->a);
	qmp_close(f->qmp, monitor_note_closed);
	qmp_close(f->qmp, monitor_note_closed);
	assert_string_equal(f->story, "ready");
	monitor_expect_story(f, "ready a:cancelled");
}

/*
 * Whatever callback closes the connection, nothing comes afterwards but the answers that are owed;
 * monitor_teardown() sees that it was freed.
 */
static void every_callback_may_close(void **state)
{
	static const struct {
		const char *at, *story;
	} cases[] = {
		{ "ready", "ready" },
		{ "STOP", "ready STOP b:cancelled" },
		{ "a:ok", "ready STOP a:ok b:cancelled" },
		{ "b:closed", "ready STOP a:ok RESUME b:closed" },
		{ "lost", "ready STOP a:ok RESUME b:closed lost" },
	};
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		f->close_at = cases[i].at;
		f->story[0] = '\0';
		f->closed = 0;
		monitor_become_ready(f);
		if (i > 0) {
			monitor_execute(f, "a", &f->a);
			monitor_execute(f, "b", &f->b);
			monitor_say(
				f,
				"{\"event\": \"STOP\"}{\"return\": {}, \"id\": 2}{\"event\": \"RESUME\"}");
			shutdown(f->peer, SHUT_WR);
		}
		if (i == 1)
			monitor_expect_story(f, "ready STOP a:cancelled b:cancelled");
		else
			monitor_expect_story(f, cases[i].story);
		monitor_expect_no_more(f);
		assert_int_equal(f->closed, 1);
		close(f->peer);
		f->heard_len = 0;
	}
	f->peer = -1;
}

static void a_descriptor_travels_with_its_command(void **state)
{
	struct fixture *f = *state;
	struct stat ours, theirs;
	struct err err;
	int fd;

	monitor_become_ready(f);
	f->a = (struct reply){ .f = f, .word = "getfd" };
	fd = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(fstat(fd, &ours), 0);
	assert_int_equal(qmp_send_fd(f->qmp, "stream", fd, monitor_note_reply, &f->a, &err), RC_OK);
	close(fd);
	monitor_expect_command(
		f, "{\"execute\":\"getfd\",\"id\":2,\"arguments\":{\"fdname\":\"stream\"}}");
	assert_true(f->received_fd >= 0);
	assert_int_equal(fstat(f->received_fd, &theirs), 0);
	assert_int_equal(theirs.st_ino, ours.st_ino);
	monitor_say(f, "{\"return\": {}, \"id\": 2}");
	monitor_expect_story(f, "ready getfd:ok");
	assert_int_equal(qmp_send_fd(f->qmp, "stream", -1, monitor_note_reply, &f->a, &err), RC_IO);
}

static cJSON *long_argument(void)
{
	cJSON *arguments = cJSON_CreateObject();
	char text[3001];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_non_null(cJSON_AddStringToObject(arguments, "text", text));
	return arguments;
}

static void order_is_kept_when_the_socket_is_full(void **state)
{
	struct fixture *f = *state;
	int buffer = 4096, i, fd, count = 40;
	struct err err;
	char start[64];

	monitor_become_ready(f);
	assert_int_equal(setsockopt(qmp_fd(f->qmp), SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer)),
			 0);
	for (i = 0; i < count; i++)
		assert_int_equal(qmp_execute(f->qmp, "fill", long_argument(), NULL, NULL, &err),
				 RC_OK);
	fd = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(qmp_send_fd(f->qmp, "stream", fd, NULL, NULL, &err), RC_OK);
	close(fd);
	assert_int_equal(qmp_execute(f->qmp, "last", NULL, NULL, NULL, &err), RC_OK);
	for (i = 0; i < count; i++) {
		char *end = NULL;
		int tries;

		for (tries = 0; tries < PATIENCE_MS && end == NULL; tries++) {
			monitor_turn(f);
			if (memchr(f->heard, '\n', f->heard_len) == NULL)
				monitor_hear(f);
			end = memchr(f->heard, '\n', f->heard_len);
		}
		assert_non_null(end);
		(void)snprintf(start, sizeof(start), "{\"execute\":\"fill\",\"id\":%d,", i + 2);
		assert_memory_equal(f->heard, start, strlen(start));
		f->heard_len -= (size_t)(end + 1 - f->heard);
		memmove(f->heard, end + 1, f->heard_len);
	}
	monitor_expect_command(
		f, "{\"execute\":\"getfd\",\"id\":42,\"arguments\":{\"fdname\":\"stream\"}}");
	assert_true(f->received_fd >= 0);
	monitor_expect_command(f, "{\"execute\":\"last\",\"id\":43}");
}

static void a_peer_that_reads_nothing_is_lost_in_time(void **state)
{
	struct fixture *f = *state;
	int buffer = 4096, i;
	struct err err;

	monitor_become_ready(f);
	assert_int_equal(setsockopt(qmp_fd(f->qmp), SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer)),
			 0);
	for (i = 0; i < QMP_OPEN_MAX; i++)
		assert_int_equal(qmp_execute(f->qmp, "fill", long_argument(), NULL, NULL, &err),
				 RC_OK);
	assert_int_equal(qmp_execute(f->qmp, "fill", long_argument(), NULL, NULL, &err), RC_LIMIT);
	monitor_expect_no_more(f);
	clock_fixture_pass(11000);
	monitor_expect_story(f, "ready lost");
	assert_int_equal(f->lost.code, RC_TIMEOUT);
}

static void a_path_that_cannot_be_is_refused(void **state)
{
	struct fixture *f = *state;
	char path[300];
	struct err err;

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(qmp_connect(&f->qmp, &f->loop, path, 1000, &monitor_ops, f, &err),
			 RC_LIMIT);
	assert_int_equal(qmp_connect(&f->qmp, &f->loop, "", 1000, &monitor_ops, f, &err), RC_LIMIT);
	assert_int_equal(qmp_connect(&f->qmp, &f->loop, "/nonexistent/qmp", 1000, &monitor_ops, f,
				     &err),
			 RC_CLOSED);
	assert_non_null(strstr(err.text, "/nonexistent/qmp: No such file"));
	assert_null(f->qmp);
}

/*
 * The Nth allocation fails, for every N: an error comes back or the connection is lost; nothing
 * crashes or leaks.
 */
static void any_allocation_may_fail(void **state)
{
	struct fixture *f = *state;
	f->a = (struct reply){ .f = f, .word = "a" };
	struct err err;
	unsigned long n;
	bool fired = true;
	int i;

	for (n = 1; fired; n++) {
		f->story[0] = '\0';
		f->closed = 0;
		fault_arm(FAULT_ALLOC, n);
		if (qmp_connect(&f->qmp, &f->loop, f->path, 1000, &monitor_ops, f, &err) == RC_OK) {
			f->peer = accept(f->listener, NULL, NULL);
			monitor_say(f, GREETING "{\"return\": {}, \"id\": 1}");
			for (i = 0; i < 1000 && f->story[0] == '\0'; i++)
				monitor_turn(f);
			if (strcmp(f->story, "ready") == 0 &&
			    qmp_execute(f->qmp, "a", cJSON_CreateObject(), monitor_note_reply,
					&f->a, &err) == RC_OK) {
				monitor_say(f, "{\"return\": {}, \"id\": 2}");
				for (i = 0; i < 1000 && strchr(f->story, ' ') == NULL; i++)
					monitor_turn(f);
				assert_non_null(strchr(f->story, ' '));
			}
			assert_string_not_equal(f->story, "");
			qmp_close(f->qmp, monitor_note_closed);
			for (i = 0; i < 1000 && f->closed == 0; i++)
				monitor_turn(f);
			assert_int_equal(f->closed, 1);
			close(f->peer);
		}
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
	}
	assert_string_equal(f->story, "ready a:ok");
	assert_true(n > 10);
	f->peer = -1;
}

#define CLIENT(test) cmocka_unit_test_setup_teardown(test, monitor_setup, monitor_teardown)

int main(void)
{
	cJSON_Hooks hooks = { .malloc_fn = mem_alloc, .free_fn = mem_free };
	static const struct CMUnitTest tests[] = {
		CLIENT(it_is_ready_after_negotiation),
		CLIENT(replies_are_matched_by_id),
		CLIENT(replies_to_others_are_ignored),
		CLIENT(what_the_guardian_asked_comes_as_an_event),
		CLIENT(a_refusal_carries_qemus_words),
		CLIENT(an_error_without_an_id_answers_nothing),
		CLIENT(a_lost_connection_answers_everything_and_is_told_once),
		CLIENT(last_words_are_heard_when_writing_fails),
		CLIENT(what_is_not_qmp_loses_the_connection),
		CLIENT(another_servers_socket_is_called_that),
		CLIENT(a_greeting_is_no_answer),
		CLIENT(a_second_greeting_loses_the_connection),
		CLIENT(refused_capabilities_lose_the_connection),
		CLIENT(a_silent_socket_is_given_up_in_time),
		CLIENT(without_a_limit_the_greeting_is_waited_for),
		CLIENT(a_full_backlog_is_tried_again),
		CLIENT(a_command_has_a_time_limit),
		CLIENT(answers_that_are_there_count_however_late_they_are_looked_at),
		CLIENT(an_early_reply_does_not_answer_a_later_command),
		CLIENT(closing_answers_what_is_open),
		CLIENT(every_callback_may_close),
		CLIENT(a_descriptor_travels_with_its_command),
		CLIENT(order_is_kept_when_the_socket_is_full),
		CLIENT(a_peer_that_reads_nothing_is_lost_in_time),
		CLIENT(a_path_that_cannot_be_is_refused),
		CLIENT(any_allocation_may_fail),
	};

	cJSON_InitHooks(&hooks);
	return cmocka_run_group_tests(tests, clock_fixture_hold, NULL);
}
