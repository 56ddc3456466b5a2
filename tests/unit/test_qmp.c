#include "replica/qmp.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "replica/qmp_parse.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define GREETING \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 0, \"major\": 10}}, \"capabilities\": []}}\r\n"
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

/* ---- parsing ---- */

/*
 * Feeds `text` in pieces of `piece` bytes; returns the first error, or RC_OK with the number of
 * objects and the last one in *message.
 */
static int feed(const char *text, size_t piece, unsigned *count, struct qmp_parse_message *message)
{
	const uint8_t *at = (const uint8_t *)text;
	size_t total = strlen(text), left;
	struct qmp_parse parse;
	struct err err = { 0 };
	bool complete;
	int rc = RC_OK;

	*count = 0;
	memset(message, 0, sizeof(*message));
	qmp_parse_init(&parse);
	while (total > 0 && rc == RC_OK) {
		left = piece < total ? piece : total;
		total -= left;
		while (left > 0 && rc == RC_OK) {
			struct qmp_parse_message next;

			rc = qmp_parse_feed(&parse, &at, &left, &next, &complete, &err);
			if (rc == RC_OK && complete) {
				qmp_parse_release(message);
				*message = next;
				++*count;
			}
		}
	}
	assert_int_equal(rc, err.code);
	qmp_parse_free(&parse);
	return rc;
}

static void objects_are_found_however_the_bytes_are_cut(void **state)
{
	static const char text[] =
		"{\"return\": {}, \"id\": 1}\r\n"
		"{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 5, \"microseconds\": 7}}"
		" \n\t{\n  \"return\": [\n \"}]\\\"{\\\\\"\n ],\n \"id\": 42 }\n";
	struct qmp_parse_message message;
	unsigned count;
	size_t piece;

	(void)state;
	for (piece = 1; piece <= sizeof(text); piece++) {
		assert_int_equal(feed(text, piece, &count, &message), RC_OK);
		assert_int_equal(count, 3);
		assert_int_equal(message.kind, QMP_PARSE_RETURN);
		assert_true(message.has_id);
		assert_int_equal(message.id, 42);
		assert_string_equal(cJSON_GetArrayItem(message.data, 0)->valuestring, "}]\"{\\");
		qmp_parse_release(&message);
	}
}

static void an_event_has_its_name_data_and_time(void **state)
{
	struct qmp_parse_message message;
	unsigned count;

	(void)state;
	assert_int_equal(feed("{\"timestamp\": {\"seconds\": 1700000000, \"microseconds\": 123456},"
			      " \"event\": \"MIGRATION\", \"data\": {\"status\": \"colo\"}}",
			      1000, &count, &message),
			 RC_OK);
	assert_int_equal(message.kind, QMP_PARSE_EVENT);
	assert_string_equal(message.text, "MIGRATION");
	assert_int_equal(message.time_us, UINT64_C(1700000000123456));
	assert_string_equal(cJSON_GetObjectItem(message.data, "status")->valuestring, "colo");
	qmp_parse_release(&message);
}

static void a_time_that_cannot_be_is_no_time(void **state)
{
	static const char *const stamps[] = {
		"{\"seconds\": -1, \"microseconds\": -1}",
		"{\"seconds\": 1e300, \"microseconds\": 0}",
		"{\"seconds\": \"5\"}",
		"{\"seconds\": 5, \"microseconds\": 1e9}",
		"17",
		"null",
	};
	struct qmp_parse_message message;
	char text[200];
	unsigned count;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(stamps) / sizeof(stamps[0]); i++) {
		(void)snprintf(text, sizeof(text), "{\"event\": \"X\", \"timestamp\": %s}",
			       stamps[i]);
		assert_int_equal(feed(text, 1000, &count, &message), RC_OK);
		assert_int_equal(message.time_us, 0);
		qmp_parse_release(&message);
	}
}

static void an_id_that_is_not_ours_counts_as_none(void **state)
{
	static const char *const ids[] = { "-1",   "1.5", "\"1\"",	     "1e300",
					   "null", "{}",  "9007199254740994" };
	struct qmp_parse_message message;
	char text[100];
	unsigned count;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		(void)snprintf(text, sizeof(text), "{\"return\": {}, \"id\": %s}", ids[i]);
		assert_int_equal(feed(text, 1000, &count, &message), RC_OK);
		assert_false(message.has_id);
		qmp_parse_release(&message);
	}
}

static void what_is_not_qmp_is_refused(void **state)
{
	static const char *const texts[] = {
		"HTTP/1.1 400 Bad Request\r\n",
		"[1]",
		"\"text\"",
		"{]",
		"{}",
		"{\"return\": }",
		"{\"id\": 1}",
		"{\"error\": \"text\"}",
		"{\"event\": 7}",
		"{\"QMP\": 1}",
		"{\"return\": {]}}",
		"} {\"return\": {}}",
	};
	struct qmp_parse_message message;
	unsigned count;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(feed(texts[i], 1, &count, &message), RC_INVALID);
		assert_int_equal(feed(texts[i], 1000, &count, &message), RC_INVALID);
		assert_int_equal(count, 0);
	}
}

static void nesting_has_a_limit(void **state)
{
	char text[2 * QMP_PARSE_DEPTH_MAX + 100];
	struct qmp_parse_message message;
	size_t deep, len;
	unsigned count;

	(void)state;
	for (deep = QMP_PARSE_DEPTH_MAX - 1; deep <= QMP_PARSE_DEPTH_MAX; deep++) {
		len = (size_t)snprintf(text, sizeof(text), "{\"return\": ");
		memset(text + len, '[', deep);
		memset(text + len + deep, ']', deep);
		memcpy(text + len + 2 * deep, "}", 2);
		assert_int_equal(feed(text, 100, &count, &message),
				 deep < QMP_PARSE_DEPTH_MAX ? RC_OK : RC_LIMIT);
		qmp_parse_release(&message);
	}
}

static void size_has_a_limit(void **state)
{
	static const char before[] = "{\"return\": \"", after[] = "\"}";
	size_t over, fill, len;
	struct qmp_parse_message message;
	unsigned count;
	char *text;

	(void)state;
	for (over = 0; over <= 1; over++) {
		fill = QMP_LINE_MAX - strlen(before) - strlen(after) + over;
		len = strlen(before) + fill + sizeof(after);
		text = malloc(len);
		assert_non_null(text);
		memcpy(text, before, strlen(before));
		memset(text + strlen(before), 'x', fill);
		memcpy(text + strlen(before) + fill, after, sizeof(after));
		assert_int_equal(feed(text, 65536, &count, &message), over ? RC_LIMIT : RC_OK);
		qmp_parse_release(&message);
		free(text);
	}
}

/* ---- the client, against a scripted peer ---- */

struct fixture {
	uv_loop_t loop;
	char directory[64], path[80];
	int listener, peer;
	struct qmp *qmp;
	char heard[4096]; /* what the peer was sent and has not looked at */
	size_t heard_len;
	int received_fd;
	/* what the owner was told */
	char story[512];
	struct err lost;
	int closed;
	struct reply {
		struct fixture *f;
		const char *word;
		struct err err;
	} a, b;
	const char *close_at; /* the word of the story at which to call qmp_close() */
};

static void note_closed(void *owner)
{
	struct fixture *f = owner;

	f->closed++;
	f->qmp = NULL;
}

static void tell(struct fixture *f, const char *word)
{
	size_t len = strlen(f->story);

	(void)snprintf(f->story + len, sizeof(f->story) - len, "%s%s", len > 0 ? " " : "", word);
	if (f->close_at != NULL && strcmp(f->close_at, word) == 0)
		qmp_close(f->qmp, note_closed);
}

static void note_ready(void *owner)
{
	tell(owner, "ready");
}

static void note_event(void *owner, const char *name, const cJSON *data, uint64_t time_us)
{
	(void)data;
	(void)time_us;
	tell(owner, name);
}

static void note_lost(void *owner, const struct err *err)
{
	((struct fixture *)owner)->lost = *err;
	tell(owner, "lost");
}

static const struct qmp_ops ops = { .on_ready = note_ready,
				    .on_event = note_event,
				    .on_lost = note_lost };

static void note_reply(void *owner, const cJSON *reply, const struct err *err)
{
	struct reply *r = owner;
	char word[64];

	assert_true((reply == NULL) == (err != NULL));
	if (err != NULL)
		r->err = *err;
	(void)snprintf(word, sizeof(word), "%s:%s", r->word,
		       err != NULL ? err_name(err->code) : "ok");
	tell(r->f, word);
}

static void turn(struct fixture *f)
{
	(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	(void)usleep(200);
}

/* Runs the loop until the story is `expected`. */
static void expect_story(struct fixture *f, const char *expected)
{
	int i;

	for (i = 0; i < PATIENCE_MS && strcmp(f->story, expected) != 0; i++)
		turn(f);
	assert_string_equal(f->story, expected);
}

/* And that nothing follows. */
static void expect_no_more(struct fixture *f)
{
	char before[sizeof(f->story)];
	int i;

	memcpy(before, f->story, sizeof(before));
	for (i = 0; i < 20; i++)
		turn(f);
	assert_string_equal(f->story, before);
}

static int setup(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->peer = f->received_fd = -1;
	(void)snprintf(f->directory, sizeof(f->directory), "/tmp/test-qmp-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	(void)snprintf(f->path, sizeof(f->path), "%s/qmp", f->directory);
	memcpy(address.sun_path, f->path, sizeof(f->path));
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(f->listener, 1), 0);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	int i;

	fault_arm(FAULT_ALLOC, 0);
	if (f->qmp != NULL)
		qmp_close(f->qmp, note_closed);
	for (i = 0; i < PATIENCE_MS && uv_loop_alive(&f->loop); i++)
		turn(f);
	assert_null(f->qmp);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	if (f->peer >= 0)
		close(f->peer);
	if (f->received_fd >= 0)
		close(f->received_fd);
	close(f->listener);
	(void)unlink(f->path);
	(void)rmdir(f->directory);
	free(f);
	return 0;
}

static void say(struct fixture *f, const char *text)
{
	assert_int_equal(send(f->peer, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Takes what has come, and a descriptor that came along. */
static void hear(struct fixture *f)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { f->heard + f->heard_len, sizeof(f->heard) - 1 - f->heard_len };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	ssize_t r = recvmsg(f->peer, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (r <= 0)
		return;
	f->heard_len += (size_t)r;
	f->heard[f->heard_len] = '\0';
	if (CMSG_FIRSTHDR(&message) != NULL) {
		assert_int_equal(f->received_fd, -1);
		memcpy(&f->received_fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	}
}

/* Waits for one command and compares it. */
static void expect_command(struct fixture *f, const char *expected)
{
	char *end = NULL;
	int i;

	for (i = 0; i < PATIENCE_MS && end == NULL; i++) {
		turn(f);
		hear(f);
		end = memchr(f->heard, '\n', f->heard_len);
	}
	assert_non_null(end);
	*end = '\0';
	assert_string_equal(f->heard, expected);
	f->heard_len -= (size_t)(end + 1 - f->heard);
	memmove(f->heard, end + 1, f->heard_len);
}

static void connect_to_peer(struct fixture *f)
{
	struct err err;

	assert_int_equal(qmp_connect(&f->qmp, &f->loop, f->path, 1000, &ops, f, &err), RC_OK);
	f->peer = accept(f->listener, NULL, NULL);
	assert_true(f->peer >= 0);
}

static void become_ready(struct fixture *f)
{
	connect_to_peer(f);
	say(f, GREETING);
	expect_command(f, "{\"execute\":\"qmp_capabilities\",\"id\":1}");
	say(f, "{\"return\": {}, \"id\": 1}\r\n");
	expect_story(f, "ready");
}

static void execute(struct fixture *f, const char *command, struct reply *reply)
{
	struct err err;

	reply->f = f;
	reply->word = command;
	assert_int_equal(qmp_execute(f->qmp, command, NULL, note_reply, reply, &err), RC_OK);
}

static void it_is_ready_after_negotiation(void **state)
{
	struct fixture *f = *state;
	struct err err;

	connect_to_peer(f);
	assert_int_equal(qmp_execute(f->qmp, "stop", NULL, NULL, NULL, &err), RC_STATE);
	say(f, GREETING);
	expect_command(f, "{\"execute\":\"qmp_capabilities\",\"id\":1}");
	assert_int_equal(qmp_execute(f->qmp, "stop", NULL, NULL, NULL, &err), RC_STATE);
	assert_string_equal(f->story, "");
	say(f, "{\"return\": {}, \"id\": 1}\r\n");
	expect_story(f, "ready");
	assert_int_equal(qmp_peer_pid(f->qmp), getpid());
	assert_true((fcntl(qmp_fd(f->qmp), F_GETFL) & O_NONBLOCK) != 0);
}

static void replies_are_matched_by_id(void **state)
{
	struct fixture *f = *state;
	cJSON *arguments = cJSON_CreateObject();
	struct err err;

	become_ready(f);
	execute(f, "a", &f->a);
	f->b = (struct reply){ .f = f, .word = "b" };
	assert_non_null(cJSON_AddNumberToObject(arguments, "value", 5));
	assert_int_equal(qmp_execute(f->qmp, "b", arguments, note_reply, &f->b, &err), RC_OK);
	assert_int_equal(qmp_execute(f->qmp, "c", NULL, NULL, NULL, &err), RC_OK);
	expect_command(f, "{\"execute\":\"a\",\"id\":2}");
	expect_command(f, "{\"execute\":\"b\",\"id\":3,\"arguments\":{\"value\":5}}");
	expect_command(f, "{\"execute\":\"c\",\"id\":4}");
	say(f,
	    "{\"return\": {}, \"id\": 4}\r\n{\"return\": {}, \"id\": 3}\r\n{\"event\": \"STOP\"}\r\n{\"return\": {}, \"id\": 2}\r\n");
	expect_story(f, "ready b:ok STOP a:ok");
}

static void replies_to_others_are_ignored(void **state)
{
	struct fixture *f = *state;

	become_ready(f);
	execute(f, "a", &f->a);
	say(f,
	    "{\"return\": {}}\r\n{\"error\": {\"class\": \"GenericError\", \"desc\": \"not for you\"}}\r\n"
	    "{\"return\": {}, \"id\": 77}\r\n{\"return\": {}, \"id\": \"guardian\"}\r\n{\"return\": {}, \"id\": 1}\r\n");
	expect_no_more(f);
	say(f, "{\"return\": {}, \"id\": 2}{\"return\": {}, \"id\": 2}");
	expect_story(f, "ready a:ok");
	expect_no_more(f);
}

static void a_refusal_carries_qemus_words(void **state)
{
	struct fixture *f = *state;

	become_ready(f);
	execute(f, "a", &f->a);
	say(f,
	    "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"The command a has not been found\"}, \"id\": 2}");
	expect_story(f, "ready a:refused");
	assert_string_equal(f->a.err.text, "The command a has not been found");
}

static void a_lost_connection_answers_everything_and_is_told_once(void **state)
{
	struct fixture *f = *state;
	struct err err;

	become_ready(f);
	execute(f, "a", &f->a);
	execute(f, "b", &f->b);
	say(f, "{\"event\": \"SHUTDOWN\"}\r\n{\"return\"");
	close(f->peer);
	f->peer = -1;
	expect_story(f, "ready SHUTDOWN a:closed b:closed lost");
	assert_int_equal(f->lost.code, RC_CLOSED);
	assert_int_equal(qmp_execute(f->qmp, "c", NULL, NULL, NULL, &err), RC_STATE);
	expect_no_more(f);
}

static void last_words_are_heard_when_writing_fails(void **state)
{
	struct fixture *f = *state;

	become_ready(f);
	say(f, "{\"event\": \"SHUTDOWN\"}\r\n");
	close(f->peer);
	f->peer = -1;
	execute(f, "a", &f->a);
	expect_story(f, "ready SHUTDOWN a:closed lost");
}

static void what_is_not_qmp_loses_the_connection(void **state)
{
	struct fixture *f = *state;

	become_ready(f);
	say(f, "HTTP/1.1 400 Bad Request\r\n\r\n");
	expect_story(f, "ready lost");
	assert_int_equal(f->lost.code, RC_INVALID);
}

static void a_second_greeting_loses_the_connection(void **state)
{
	struct fixture *f = *state;

	become_ready(f);
	say(f, GREETING);
	expect_story(f, "ready lost");
	assert_int_equal(f->lost.code, RC_INVALID);
}

static void refused_capabilities_lose_the_connection(void **state)
{
	struct fixture *f = *state;

	connect_to_peer(f);
	say(f, GREETING "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": 1}");
	expect_story(f, "lost");
	assert_string_equal(f->lost.text, "qmp_capabilities: no");
}

static void a_silent_socket_is_given_up_in_time(void **state)
{
	struct fixture *f = *state;

	connect_to_peer(f);
	expect_no_more(f);
	skipped_ns += 2 * CLOCK_NS_PER_S;
	expect_story(f, "lost");
	assert_int_equal(f->lost.code, RC_TIMEOUT);
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
	assert_int_equal(qmp_connect(&f->qmp, &f->loop, f->path, 1000, &ops, f, &err), RC_OK);
	expect_no_more(f);
	for (other = 0; other < n; other++) {
		close(accept(f->listener, NULL, NULL));
		close(fds[other]);
	}
	for (n = 0; n < 100; n++)
		turn(f);
	f->peer = accept(f->listener, NULL, NULL);
	say(f, GREETING "{\"return\": {}, \"id\": 1}");
	expect_story(f, "ready");
}

static void a_command_has_a_time_limit(void **state)
{
	struct fixture *f = *state;

	become_ready(f);
	execute(f, "a", &f->a);
	expect_command(f, "{\"execute\":\"a\",\"id\":2}");
	skipped_ns += 5 * CLOCK_NS_PER_S;
	execute(f, "b", &f->b);
	expect_command(f, "{\"execute\":\"b\",\"id\":3}");
	expect_no_more(f);
	skipped_ns += 6 * CLOCK_NS_PER_S;
	expect_story(f, "ready a:timeout");
	say(f, "{\"return\": {}, \"id\": 2}\r\n{\"return\": {}, \"id\": 3}\r\n");
	expect_story(f, "ready a:timeout b:ok");
}

static void an_early_reply_does_not_answer_a_later_command(void **state)
{
	struct fixture *f = *state;

	become_ready(f);
	say(f, "{\"return\": {}, \"id\": 2}\r\n");
	expect_no_more(f);
	execute(f, "a", &f->a);
	expect_no_more(f);
}

static void closing_answers_what_is_open(void **state)
{
	struct fixture *f = *state;

	become_ready(f);
	execute(f, "a", &f->a);
	qmp_close(f->qmp, note_closed);
	qmp_close(f->qmp, note_closed);
	assert_string_equal(f->story, "ready");
	expect_story(f, "ready a:cancelled");
}

/*
 * Whatever callback closes the connection, nothing comes afterwards but the answers that are owed;
 * teardown() sees that it was freed.
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
		become_ready(f);
		if (i > 0) {
			execute(f, "a", &f->a);
			execute(f, "b", &f->b);
			say(f,
			    "{\"event\": \"STOP\"}{\"return\": {}, \"id\": 2}{\"event\": \"RESUME\"}");
			shutdown(f->peer, SHUT_WR);
		}
		if (i == 1)
			expect_story(f, "ready STOP a:cancelled b:cancelled");
		else
			expect_story(f, cases[i].story);
		expect_no_more(f);
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

	become_ready(f);
	f->a = (struct reply){ .f = f, .word = "getfd" };
	fd = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(fstat(fd, &ours), 0);
	assert_int_equal(qmp_send_fd(f->qmp, "stream", fd, note_reply, &f->a, &err), RC_OK);
	close(fd);
	expect_command(f, "{\"execute\":\"getfd\",\"id\":2,\"arguments\":{\"fdname\":\"stream\"}}");
	assert_true(f->received_fd >= 0);
	assert_int_equal(fstat(f->received_fd, &theirs), 0);
	assert_int_equal(theirs.st_ino, ours.st_ino);
	say(f, "{\"return\": {}, \"id\": 2}");
	expect_story(f, "ready getfd:ok");
	assert_int_equal(qmp_send_fd(f->qmp, "stream", -1, note_reply, &f->a, &err), RC_IO);
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

	become_ready(f);
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
			turn(f);
			if (memchr(f->heard, '\n', f->heard_len) == NULL)
				hear(f);
			end = memchr(f->heard, '\n', f->heard_len);
		}
		assert_non_null(end);
		(void)snprintf(start, sizeof(start), "{\"execute\":\"fill\",\"id\":%d,", i + 2);
		assert_memory_equal(f->heard, start, strlen(start));
		f->heard_len -= (size_t)(end + 1 - f->heard);
		memmove(f->heard, end + 1, f->heard_len);
	}
	expect_command(f,
		       "{\"execute\":\"getfd\",\"id\":42,\"arguments\":{\"fdname\":\"stream\"}}");
	assert_true(f->received_fd >= 0);
	expect_command(f, "{\"execute\":\"last\",\"id\":43}");
}

static void a_peer_that_reads_nothing_is_lost_in_time(void **state)
{
	struct fixture *f = *state;
	int buffer = 4096, i;
	struct err err;

	become_ready(f);
	assert_int_equal(setsockopt(qmp_fd(f->qmp), SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer)),
			 0);
	for (i = 0; i < QMP_OPEN_MAX; i++)
		assert_int_equal(qmp_execute(f->qmp, "fill", long_argument(), NULL, NULL, &err),
				 RC_OK);
	assert_int_equal(qmp_execute(f->qmp, "fill", long_argument(), NULL, NULL, &err), RC_LIMIT);
	expect_no_more(f);
	skipped_ns += 11 * CLOCK_NS_PER_S;
	expect_story(f, "ready lost");
	assert_int_equal(f->lost.code, RC_TIMEOUT);
}

static void a_path_that_cannot_be_is_refused(void **state)
{
	struct fixture *f = *state;
	char path[300];
	struct err err;

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(qmp_connect(&f->qmp, &f->loop, path, 1000, &ops, f, &err), RC_LIMIT);
	assert_int_equal(qmp_connect(&f->qmp, &f->loop, "", 1000, &ops, f, &err), RC_LIMIT);
	assert_int_equal(qmp_connect(&f->qmp, &f->loop, "/nonexistent/qmp", 1000, &ops, f, &err),
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
		if (qmp_connect(&f->qmp, &f->loop, f->path, 1000, &ops, f, &err) == RC_OK) {
			f->peer = accept(f->listener, NULL, NULL);
			say(f, GREETING "{\"return\": {}, \"id\": 1}");
			for (i = 0; i < 1000 && f->story[0] == '\0'; i++)
				turn(f);
			if (strcmp(f->story, "ready") == 0 &&
			    qmp_execute(f->qmp, "a", cJSON_CreateObject(), note_reply, &f->a,
					&err) == RC_OK) {
				say(f, "{\"return\": {}, \"id\": 2}");
				for (i = 0; i < 1000 && strchr(f->story, ' ') == NULL; i++)
					turn(f);
				assert_non_null(strchr(f->story, ' '));
			}
			assert_string_not_equal(f->story, "");
			qmp_close(f->qmp, note_closed);
			for (i = 0; i < 1000 && f->closed == 0; i++)
				turn(f);
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

#define CLIENT(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	cJSON_Hooks hooks = { .malloc_fn = mem_alloc, .free_fn = mem_free };
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_are_found_however_the_bytes_are_cut),
		cmocka_unit_test(an_event_has_its_name_data_and_time),
		cmocka_unit_test(a_time_that_cannot_be_is_no_time),
		cmocka_unit_test(an_id_that_is_not_ours_counts_as_none),
		cmocka_unit_test(what_is_not_qmp_is_refused),
		cmocka_unit_test(nesting_has_a_limit),
		cmocka_unit_test(size_has_a_limit),
		CLIENT(it_is_ready_after_negotiation),
		CLIENT(replies_are_matched_by_id),
		CLIENT(replies_to_others_are_ignored),
		CLIENT(a_refusal_carries_qemus_words),
		CLIENT(a_lost_connection_answers_everything_and_is_told_once),
		CLIENT(last_words_are_heard_when_writing_fails),
		CLIENT(what_is_not_qmp_loses_the_connection),
		CLIENT(a_second_greeting_loses_the_connection),
		CLIENT(refused_capabilities_lose_the_connection),
		CLIENT(a_silent_socket_is_given_up_in_time),
		CLIENT(a_full_backlog_is_tried_again),
		CLIENT(a_command_has_a_time_limit),
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
	return cmocka_run_group_tests(tests, NULL, NULL);
}
