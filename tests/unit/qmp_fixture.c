#include "tests/unit/qmp_fixture.h"

#include "appliance/base/mem.h"
#include "tests/unit/unix_socket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

void monitor_note_closed(void *owner)
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
		qmp_close(f->qmp, monitor_note_closed);
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

const struct qmp_ops monitor_ops = { .on_ready = note_ready,
				     .on_event = note_event,
				     .on_lost = note_lost };

void monitor_note_reply(void *owner, const cJSON *reply, const struct err *err)
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

void monitor_turn(struct fixture *f)
{
	(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	(void)usleep(200);
}

void monitor_expect_story(struct fixture *f, const char *expected)
{
	int i;

	for (i = 0; i < PATIENCE_MS && strcmp(f->story, expected) != 0; i++)
		monitor_turn(f);
	assert_string_equal(f->story, expected);
}

void monitor_expect_no_more(struct fixture *f)
{
	char before[sizeof(f->story)];
	int i;

	memcpy(before, f->story, sizeof(before));
	for (i = 0; i < 20; i++)
		monitor_turn(f);
	assert_string_equal(f->story, before);
}

int monitor_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->peer = f->received_fd = -1;
	assert_int_equal(scratch_make(f->directory, "qmp"), 0);
	(void)snprintf(f->path, sizeof(f->path), "%s/qmp", f->directory);
	f->listener = unix_socket_listen(f->path);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	*state = f;
	return 0;
}

int monitor_teardown(void **state)
{
	struct fixture *f = *state;
	int i;

	fault_arm(FAULT_ALLOC, 0);
	if (f->qmp != NULL)
		qmp_close(f->qmp, monitor_note_closed);
	for (i = 0; i < PATIENCE_MS && uv_loop_alive(&f->loop); i++)
		monitor_turn(f);
	assert_null(f->qmp);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	if (f->peer >= 0)
		close(f->peer);
	if (f->received_fd >= 0)
		close(f->received_fd);
	close(f->listener);
	(void)unlink(f->path);
	assert_int_equal(rmdir(f->directory), 0);
	free(f);
	return 0;
}

void monitor_say(struct fixture *f, const char *text)
{
	assert_int_equal(send(f->peer, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

void monitor_hear(struct fixture *f)
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

void monitor_expect_command(struct fixture *f, const char *expected)
{
	char *end = NULL;
	int i;

	for (i = 0; i < PATIENCE_MS && end == NULL; i++) {
		monitor_turn(f);
		monitor_hear(f);
		end = memchr(f->heard, '\n', f->heard_len);
	}
	assert_non_null(end);
	*end = '\0';
	assert_string_equal(f->heard, expected);
	f->heard_len -= (size_t)(end + 1 - f->heard);
	memmove(f->heard, end + 1, f->heard_len);
}

void monitor_connect(struct fixture *f)
{
	struct err err;

	assert_int_equal(qmp_connect(&f->qmp, &f->loop, f->path, 1000, &monitor_ops, f, &err),
			 RC_OK);
	f->peer = accept(f->listener, NULL, NULL);
	assert_true(f->peer >= 0);
}

void monitor_become_ready(struct fixture *f)
{
	monitor_connect(f);
	monitor_say(f, GREETING);
	monitor_expect_command(f, "{\"execute\":\"qmp_capabilities\",\"id\":1}");
	monitor_say(f, "{\"return\": {}, \"id\": 1}\r\n");
	monitor_expect_story(f, "ready");
}

void monitor_execute(struct fixture *f, const char *command, struct reply *reply)
{
	struct err err;

	reply->f = f;
	reply->word = command;
	assert_int_equal(qmp_execute(f->qmp, command, NULL, monitor_note_reply, reply, &err),
			 RC_OK);
}
