/*
 * For tests of the QMP client: a peer on a socket that says what the test wants, and the story of
 * what the client's owner was told.
 */
#ifndef TESTS_UNIT_QMP_FIXTURE_H
#define TESTS_UNIT_QMP_FIXTURE_H

#include "replica/qmp.h"
#include "tests/unit/scratch.h"

#define GREETING \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 0, \"major\": 10}}, \"capabilities\": []}}\r\n"
#define PATIENCE_MS 5000 /* a test that waits longer has failed */

struct fixture {
	uv_loop_t loop;
	char directory[SCRATCH_MAX], path[SCRATCH_MAX + 8];
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

/* One for each test: setup and teardown for cmocka; the latter proves that nothing is left. */
int monitor_setup(void **state);
int monitor_teardown(void **state);

/* For qmp_connect() and qmp_close(): what they tell becomes words of the story. */
extern const struct qmp_ops monitor_ops;
void monitor_note_closed(void *owner);
/* For qmp_execute(), with a struct reply as the owner. */
void monitor_note_reply(void *owner, const cJSON *reply, const struct err *err);

/* One turn of the loop. */
void monitor_turn(struct fixture *f);
/* Runs the loop until the story is `expected`. */
void monitor_expect_story(struct fixture *f, const char *expected);
/* And that nothing follows. */
void monitor_expect_no_more(struct fixture *f);

/* The client connects and is accepted; */
void monitor_connect(struct fixture *f);
/* the same, and negotiates. */
void monitor_become_ready(struct fixture *f);
/* Executes `command`, whose reply is told as "command:ok" or with the error's name. */
void monitor_execute(struct fixture *f, const char *command, struct reply *reply);

/* The peer's side. */
void monitor_say(struct fixture *f, const char *text);
/* Takes what has come, and a descriptor that came along. */
void monitor_hear(struct fixture *f);
/* Waits for one command and compares it. */
void monitor_expect_command(struct fixture *f, const char *expected);

#endif
