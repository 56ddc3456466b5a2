/* How an instance is let go of: what is decided, how replies are read, one release step by step. */
#include "replica/release.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "replica/qmp_scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define TELL "{\"execute\":\"x-colo-lost-heartbeat\"}"

/* ---- what is decided ---- */

static void every_state_has_its_verdict(void **state)
{
	static const char *const over[] = { "", "none", "completed", "failed", "cancelled" };
	static const char *const under_way[] = { "setup",      "active",     "pre-switchover",
						 "device",     "cancelling", "postcopy-active",
						 "wait-unplug" };
	static const char *const others[] = { "paused",		"io-error", "internal-error",
					      "guest-panicked", "watchdog", "shutdown",
					      "prelaunch",	"debug" };
	size_t i, j;

	(void)state;
	for (i = 0; i < sizeof(over) / sizeof(over[0]); i++) {
		assert_int_equal(release_decide(over[i], "running"), RELEASE_DONE);
		assert_int_equal(release_decide(over[i], "colo"), RELEASE_WAIT);
		assert_int_equal(release_decide(over[i], "finish-migrate"), RELEASE_WAIT);
		for (j = 0; j < sizeof(others) / sizeof(others[0]); j++)
			assert_int_equal(release_decide(over[i], others[j]), RELEASE_DONE);
	}
	for (i = 0; i < sizeof(under_way) / sizeof(under_way[0]); i++) {
		assert_int_equal(release_decide(under_way[i], "running"), RELEASE_WAIT);
		assert_int_equal(release_decide(under_way[i], "paused"), RELEASE_WAIT);
		assert_int_equal(release_decide(under_way[i], "finish-migrate"), RELEASE_WAIT);
	}
	assert_int_equal(release_decide("colo", "running"), RELEASE_TELL);
	assert_int_equal(release_decide("colo", "colo"), RELEASE_TELL);
	assert_int_equal(release_decide("colo", "finish-migrate"), RELEASE_TELL);
	assert_int_equal(release_decide("colo", "suspended"), RELEASE_TELL);
	for (j = 0; j < sizeof(others) / sizeof(others[0]); j++)
		assert_int_equal(release_decide("colo", others[j]), RELEASE_LEAVE);
}

/* ---- what is read ---- */

/* Feeds in pieces; the number of objects, and what the last one says. */
static unsigned scan_all(const char *text, size_t piece, struct qmp_scan_reply *reply)
{
	struct qmp_scan *scan = malloc(sizeof(*scan));
	const uint8_t *at = (const uint8_t *)text;
	size_t total = strlen(text), left;
	unsigned count = 0;

	assert_non_null(scan);
	qmp_scan_init(scan);
	while (total > 0) {
		left = piece < total ? piece : total;
		total -= left;
		while (qmp_scan_feed(scan, &at, &left)) {
			qmp_scan_reply(scan->text, scan->len, reply);
			count++;
		}
	}
	free(scan);
	return count;
}

static void replies_are_read_however_they_are_cut(void **state)
{
	static const char text[] =
		"{\"return\": {\"running\": true, \"status\": \"running\"}, \"id\": \"us-guardian-s1\"}\r\n"
		"{\"timestamp\": {\"seconds\": 1}, \"event\": \"STOP\"}\r\n"
		"{\r\n    \"id\": \"us-guardian-m12\",\r\n    \"return\": {\r\n"
		"        \"ram\": {\"status\": \"wrong\"},\r\n        \"list\": [{\"status\": \"wrong\"}],\r\n"
		"        \"status\" : \"colo\"\r\n    }\r\n}\r\n";
	struct qmp_scan_reply reply;
	size_t piece;

	(void)state;
	for (piece = 1; piece <= sizeof(text); piece++) {
		assert_int_equal(scan_all(text, piece, &reply), 3);
		assert_string_equal(reply.id, "us-guardian-m12");
		assert_string_equal(reply.status, "colo");
		assert_true(reply.returned);
		assert_false(reply.failed);
	}
}

static void a_stream_entered_in_the_middle_is_understood_from_its_next_line(void **state)
{
	static const char *const befores[] = { "", "\r\n", "]}}}\r\n",
					       "half \\\" a {string\", {\"x\": [\r\n",
					       "{{{{\"\r\n" };
	struct qmp_scan_reply reply;
	char text[300];
	size_t i, piece;

	(void)state;
	for (i = 0; i < sizeof(befores) / sizeof(befores[0]); i++) {
		(void)snprintf(text, sizeof(text),
			       "%s{\"return\": {\"status\": \"paused\"}, \"id\": \"a\"}\r\n",
			       befores[i]);
		for (piece = 1; piece < 20; piece++) {
			memset(&reply, 0, sizeof(reply));
			assert_true(scan_all(text, piece, &reply) >= 1);
			assert_string_equal(reply.id, "a");
			assert_string_equal(reply.status, "paused");
		}
	}
}

static void what_has_no_room_is_passed_over(void **state)
{
	size_t len = 3 * QMP_SCAN_OBJECT_MAX;
	char *text = malloc(len + 200);
	struct qmp_scan_reply reply = { .returned = false };

	(void)state;
	assert_non_null(text);
	(void)snprintf(text, len + 200, "{\"return\": \"%0*d", (int)len, 0);
	len = strlen(text);
	(void)snprintf(text + len, 100,
		       "\"}\r\n{\"return\": {\"status\": \"%s\"}, \"id\": \"b\"}\r\n",
		       "a-status-of-more-than-thirty-one-characters");
	assert_int_equal(scan_all(text, 4096, &reply), 1);
	assert_string_equal(reply.id, "b");
	assert_string_equal(reply.status, "");
	free(text);
}

static void only_the_replys_own_members_count(void **state)
{
	struct qmp_scan_reply reply = { .returned = false };

	(void)state;
	assert_int_equal(
		scan_all(
			"{\"error\": {\"class\": \"x\", \"desc\": \"\\\"id\\\": \\\"no\\\"\", \"id\": \"no\", \"status\": \"no\"}}",
			1000, &reply),
		1);
	assert_true(reply.failed);
	assert_false(reply.returned);
	assert_string_equal(reply.id, "");
	assert_string_equal(reply.status, "");
	assert_int_equal(
		scan_all("{\"id\": \"return\", \"data\": {\"status\": \"no\"}}", 1000, &reply), 1);
	assert_false(reply.returned);
	assert_string_equal(reply.status, "");
}

/* ---- one release, on a clock of the test's ---- */

struct played {
	struct release release;
	uint64_t now_ns;
	int pair[2]; /* ours, QEMU's */
	char heard[65536];
};

static struct played *play(bool held)
{
	struct played *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->now_ns = 1000;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->pair), 0);
	release_begin(&p->release, p->pair[0], held, p->now_ns);
	return p;
}

static void end_play(struct played *p)
{
	close(p->pair[0]);
	close(p->pair[1]);
	free(p);
}

/* As its caller does: a step, and the next after the wait. The number of steps within `ms`. */
static unsigned step_for(struct played *p, uint64_t ms)
{
	uint64_t end_ns = p->now_ns + ms * CLOCK_NS_PER_MS;
	unsigned steps = 0;

	while (p->now_ns < end_ns) {
		assert_int_equal(release_step(&p->release, p->now_ns), RELEASE_GOING);
		p->now_ns += (uint64_t)release_wait_ms(&p->release, p->now_ns) * CLOCK_NS_PER_MS;
		steps++;
	}
	return steps;
}

/* QEMU reads all there is; whether it was told that. */
static bool hear(struct played *p, const char *command)
{
	ssize_t len = recv(p->pair[1], p->heard, sizeof(p->heard) - 1, 0);

	p->heard[len > 0 ? len : 0] = '\0';
	return strstr(p->heard, command) != NULL;
}

/* And answers the question that was put last; then it is looked at once. */
static enum release_end answer(struct played *p, const char *migration, const char *status)
{
	char text[256];
	int len = snprintf(text, sizeof(text),
			   "{\"return\": {\"status\": \"%s\"}, \"id\": \"us-guardian-m%u\"}\r\n"
			   "{\"return\": {\"status\": \"%s\"}, \"id\": \"us-guardian-s%u\"}\r\n",
			   migration, p->release.round, status, p->release.round);

	assert_int_equal(send(p->pair[1], text, (size_t)len, 0), len);
	return release_step(&p->release, p->now_ns);
}

static void a_qemu_that_answers_nothing_is_waited_for(void **state)
{
	struct played *p = play(false);

	(void)state;
	/* A day: about a question a minute, and no more of them than its socket takes. */
	assert_in_range(step_for(p, 24 * 3600 * 1000), 1000, 1600);
	assert_false(hear(p, TELL)); /* it may have been paused by somebody */
	while (hear(p, "query"))
		assert_int_equal(release_step(&p->release, p->now_ns), RELEASE_GOING);
	assert_int_equal(answer(p, "colo", "colo"), RELEASE_GOING);
	assert_true(hear(p, TELL));
	assert_false(hear(p, "cont")); /* its silence is not held against it */
	assert_in_range(release_wait_ms(&p->release, p->now_ns), 1, RELEASE_ANSWER_MS + 1);
	assert_int_equal(answer(p, "completed", "running"), RELEASE_RUNS);
	end_play(p);
}

static void one_that_does_not_let_go_is_told_to_go_on_and_then_less_often(void **state)
{
	struct played *p = play(false);
	unsigned rounds, conts = 0, tells = 0, all;

	(void)state;
	for (rounds = 0; p->now_ns < RELEASE_LATE_MS * 2 * CLOCK_NS_PER_MS; rounds++) {
		assert_int_equal(answer(p, "colo", "colo"), RELEASE_GOING);
		p->now_ns += (uint64_t)release_wait_ms(&p->release, p->now_ns) * CLOCK_NS_PER_MS;
		assert_int_equal(release_step(&p->release, p->now_ns), RELEASE_GOING);
		tells += hear(p, TELL);
		conts += strstr(p->heard, "\"cont\"") != NULL;
	}
	assert_int_equal(conts, 1);
	assert_in_range(tells, 100, 500);
	for (all = rounds; p->now_ns < 3600 * CLOCK_NS_PER_S; all++) {
		assert_int_equal(answer(p, "colo", "colo"), RELEASE_GOING);
		p->now_ns += (uint64_t)release_wait_ms(&p->release, p->now_ns) * CLOCK_NS_PER_MS;
		assert_int_equal(release_step(&p->release, p->now_ns), RELEASE_GOING);
		(void)hear(p, TELL);
	}
	assert_in_range(all - rounds, 3000, 4000); /* about one a second */
	assert_int_equal(answer(p, "completed", "running"), RELEASE_RUNS);
	end_play(p);
}

static void a_full_socket_is_written_to_later(void **state)
{
	struct release *release = malloc(sizeof(*release));
	char fill[4096], heard[65536];
	uint64_t now_ns = 1000;
	int pair[2], i;
	ssize_t len;

	(void)state;
	assert_non_null(release);
	memset(fill, ' ', sizeof(fill));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	while (send(pair[0], fill, sizeof(fill), 0) > 0)
		;
	release_begin(release, pair[0], true, now_ns);
	for (i = 0; i < 500; i++) {
		assert_int_equal(release_step(release, now_ns), RELEASE_GOING);
		now_ns += RELEASE_ROUND_MS * CLOCK_NS_PER_MS;
	}
	assert_true(release_wants_to_write(release));
	do {
		len = recv(pair[1], heard, sizeof(heard) - 1, 0);
	} while (len == (ssize_t)sizeof(heard) - 1 || (len > 0 && heard[len - 1] == ' '));
	assert_int_equal(release_step(release, now_ns), RELEASE_GOING);
	assert_false(release_wants_to_write(release));
	len = recv(pair[1], heard, sizeof(heard) - 1, 0);
	assert_true(len > 0);
	heard[len] = '\0';
	assert_memory_equal(heard, "\xff\n" TELL "\n", strlen("\xff\n" TELL "\n"));
	close(pair[0]);
	close(pair[1]);
	free(release);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_state_has_its_verdict),
		cmocka_unit_test(replies_are_read_however_they_are_cut),
		cmocka_unit_test(a_stream_entered_in_the_middle_is_understood_from_its_next_line),
		cmocka_unit_test(what_has_no_room_is_passed_over),
		cmocka_unit_test(only_the_replys_own_members_count),
		cmocka_unit_test(a_qemu_that_answers_nothing_is_waited_for),
		cmocka_unit_test(one_that_does_not_let_go_is_told_to_go_on_and_then_less_often),
		cmocka_unit_test(a_full_socket_is_written_to_later),
	};

	log_setup(LOG_LEVEL_ERROR, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
