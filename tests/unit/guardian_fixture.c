#include "tests/unit/guardian_fixture.h"

#include "appliance/base/clock.h"
#include "replica/guardian.h"
#include "replica/guardian_keeper.h"
#include "replica/leash.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#define QUIET_MS 60 /* how long "nothing comes" is looked at */

/* A loop of recv() with a limit: false at the end of the stream. */
static bool hear(struct guarded_qemu *qemu, int timeout_ms)
{
	struct pollfd poll_fd = { .fd = qemu->qmp, .events = POLLIN };
	ssize_t r;

	if (poll(&poll_fd, 1, timeout_ms) <= 0)
		return true;
	r = recv(qemu->qmp, qemu->heard + qemu->heard_len,
		 sizeof(qemu->heard) - 1 - qemu->heard_len, MSG_DONTWAIT);
	if (r <= 0)
		return r < 0 && errno == EAGAIN;
	qemu->heard_len += (size_t)r;
	qemu->heard[qemu->heard_len] = '\0';
	return true;
}

bool guarded_next_line(struct guarded_qemu *qemu, char *line, size_t size, int timeout_ms)
{
	uint64_t deadline_ns = clock_now_ns() + (uint64_t)timeout_ms * CLOCK_NS_PER_MS;
	char *end;

	while ((end = memchr(qemu->heard, '\n', qemu->heard_len)) == NULL) {
		if (clock_now_ns() >= deadline_ns || !hear(qemu, 10))
			return false;
	}
	*end = '\0';
	(void)snprintf(line, size, "%s", qemu->heard);
	qemu->heard_len -= (size_t)(end + 1 - qemu->heard);
	memmove(qemu->heard, end + 1, qemu->heard_len);
	return true;
}

void guarded_expect_line(struct guarded_qemu *qemu, const char *expected)
{
	char line[256];

	assert_true(guarded_next_line(qemu, line, sizeof(line), GUARDED_PATIENCE_MS));
	assert_string_equal(line, expected);
}

void guarded_expect_silence(struct guarded_qemu *qemu)
{
	(void)usleep(QUIET_MS * 1000);
	assert_true(hear(qemu, 0));
	assert_int_equal(qemu->heard_len, 0);
}

void guarded_expect_end(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	char byte;

	assert_int_equal(poll(&poll_fd, 1, GUARDED_PATIENCE_MS), 1);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
}

static void reply(struct guarded_qemu *qemu, const char *kind, const char *id, const char *status)
{
	char text[256];
	int len = snprintf(text, sizeof(text),
			   "{\"return\": {%s%s%s}, \"id\": \"us-guardian-%s%s\"}\r\n",
			   status[0] != '\0' ? "\"status\": \"" : "", status,
			   status[0] != '\0' ? "\"" : "", kind, id);

	assert_int_equal(send(qemu->qmp, text, (size_t)len, MSG_NOSIGNAL), len);
}

void guarded_expect_round(struct guarded_qemu *qemu, const char *round, const char *migration,
			  const char *status)
{
	char line[128];

	(void)snprintf(line, sizeof(line),
		       "{\"execute\":\"query-migrate\",\"id\":\"us-guardian-m%s\"}", round);
	guarded_expect_line(qemu, line);
	(void)snprintf(line, sizeof(line),
		       "{\"execute\":\"query-status\",\"id\":\"us-guardian-s%s\"}", round);
	guarded_expect_line(qemu, line);
	reply(qemu, "m", round, migration);
	reply(qemu, "s", round, status);
}

void guarded_expect_stop(struct guarded_qemu *qemu, const char *round, const char *before,
			 const char *after)
{
	char line[128];

	(void)snprintf(line, sizeof(line),
		       "{\"execute\":\"query-status\",\"id\":\"us-guardian-m%s\"}", round);
	guarded_expect_line(qemu, line);
	guarded_expect_line(qemu, "{\"execute\":\"stop\"}");
	(void)snprintf(line, sizeof(line),
		       "{\"execute\":\"query-status\",\"id\":\"us-guardian-s%s\"}", round);
	guarded_expect_line(qemu, line);
	reply(qemu, "m", round, before);
	reply(qemu, "s", round, after);
}

void guarded_say(struct guarded_qemu *qemu, const char *text)
{
	assert_int_equal(send(qemu->qmp, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* ---- the agent ----------------------------------------------------------------------------- */

struct agent {
	uv_loop_t loop;
	uv_poll_t poll;
	struct guardian *guardian;
	struct guardian_keeper keeper;
	unsigned slots[GUARDED_QEMUS_MAX], count, leash;
	int qmp; /* of the first */
	int orders;
};

static void obey_leash(struct agent *agent, char what)
{
	const uint64_t until_ns =
		what == 'F' ? LEASH_FREE :
		what == 'M' ? clock_now_ns() + GUARDED_LEASE_MS * CLOCK_NS_PER_MS :
			      LEASH_STANDS;
	struct err err;

	if (what == 'L' && guardian_leash(agent->guardian, "instance", agent->qmp, false,
					  &agent->leash, &err) != RC_OK)
		_exit(1);
	if (what == 'L' || strchr("FMSO", what) != NULL)
		guardian_leash_until(agent->guardian, agent->leash,
				     what == 'L' ? LEASH_FREE : until_ns, what == 'O');
	if (what == 'U' || what == 'V')
		guardian_unleash(agent->guardian, agent->leash, what == 'V');
}

static void obey(struct agent *agent, char what)
{
	struct err err;
	unsigned i;

	obey_leash(agent, what);

	for (i = 0; i < agent->count; i++) {
		if (what == 'h' || what == 'r')
			guardian_hold(agent->guardian, agent->slots[i], what == 'h');
		if (what == 'u')
			guardian_unwatch(agent->guardian, agent->slots[i]);
	}
	if (what == 'u' && agent->qmp >= 0) {
		(void)close(agent->qmp);
		agent->qmp = -1;
	}
	if (what == 'l' || what == 's')
		guardian_keeper_end(&agent->keeper);
	if (what == 't' &&
	    guardian_keeper_begin(&agent->keeper, &agent->loop, agent->guardian, &err) != RC_OK)
		_exit(1);
	if (what == 's') {
		guardian_stop(agent->guardian);
		(void)close(agent->qmp);
	}
}

/* An order is answered by itself, 'p' by the guardian's process id. */
static void on_order(uv_poll_t *poll_handle, int status, int events)
{
	struct agent *agent = poll_handle->data;
	pid_t pid;
	char what;

	(void)events;
	if (status != 0 || read(agent->orders, &what, 1) != 1) {
		(void)uv_poll_stop(poll_handle); /* the test has ended: so will we */
		return;
	}
	obey(agent, what);
	if (what == 'p') {
		pid = guardian_pid(agent->guardian);
		if (write(agent->orders, &pid, sizeof(pid)) != (ssize_t)sizeof(pid))
			_exit(1);
	} else if (write(agent->orders, &what, 1) != 1) {
		_exit(1);
	}
}

static _Noreturn void agent_main(const struct guarded *f, int orders, uint32_t freeze_limit_ms)
{
	struct agent agent = { .count = f->count, .orders = orders };
	struct err err;
	unsigned i;

	if (guardian_start(&agent.guardian, &err) != RC_OK || uv_loop_init(&agent.loop) != 0 ||
	    guardian_keeper_begin(&agent.keeper, &agent.loop, agent.guardian, &err) != RC_OK ||
	    uv_poll_init(&agent.loop, &agent.poll, orders) != 0)
		_exit(1);
	for (i = 0; i < f->count; i++) {
		if (f->sockets ?
			    guardian_watch_socket(agent.guardian, "socket", f->qemus[i].agent_colo,
						  freeze_limit_ms, &agent.slots[i], &err) != RC_OK :
			    guardian_watch(agent.guardian, "instance", f->qemus[i].agent_qmp,
					   f->qemus[i].agent_colo, freeze_limit_ms, &agent.slots[i],
					   &err) != RC_OK)
			_exit(1);
		if (i > 0)
			close(f->qemus[i].agent_qmp);
		close(f->qemus[i].agent_colo);
	}
	agent.qmp = f->qemus[0].agent_qmp;
	agent.poll.data = &agent;
	(void)uv_poll_start(&agent.poll, UV_READABLE, on_order);
	(void)uv_run(&agent.loop, UV_RUN_DEFAULT);
	for (;;)
		(void)pause();
}

/* ---- the test's side ----------------------------------------------------------------------- */

static void ask(struct guarded *f, char what, void *answer, size_t size)
{
	assert_int_equal(write(f->orders, &what, 1), 1);
	assert_int_equal(read(f->orders, answer, size), (ssize_t)size);
}

void guarded_start(struct guarded *f, unsigned count, uint32_t freeze_limit_ms)
{
	int qmp[2], colo[2], orders[2];
	unsigned i;

	f->count = count;
	for (i = 0; i < count; i++) {
		assert_int_equal(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, qmp), 0);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
					    colo),
				 0);
		f->qemus[i] = (struct guarded_qemu){
			.qmp = qmp[0], .agent_qmp = qmp[1], .colo = colo[0], .agent_colo = colo[1]
		};
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, orders), 0);
	f->agent = fork();
	assert_true(f->agent >= 0);
	if (f->agent == 0) {
		close(orders[0]);
		for (i = 0; i < count; i++) {
			close(f->qemus[i].qmp);
			close(f->qemus[i].colo);
		}
		agent_main(f, orders[1], freeze_limit_ms);
	}
	close(orders[1]);
	f->orders = orders[0];
	for (i = 0; i < count; i++) {
		close(f->qemus[i].agent_qmp);
		close(f->qemus[i].agent_colo);
	}
	ask(f, 'p', &f->guardian, sizeof(f->guardian));
}

void guarded_order(struct guarded *f, char what)
{
	char answer = 0;

	ask(f, what, &answer, 1);
	assert_int_equal(answer, what);
}

void guarded_kill_agent(struct guarded *f)
{
	assert_int_equal(kill(f->agent, SIGKILL), 0);
	assert_int_equal(waitpid(f->agent, NULL, 0), f->agent);
	f->agent = 0;
}

void guarded_kill_guardian(const struct guarded *f)
{
	struct pollfd process = { .fd = (int)syscall(SYS_pidfd_open, f->guardian, 0),
				  .events = POLLIN };

	assert_true(process.fd >= 0);
	assert_int_equal(kill(f->guardian, SIGKILL), 0);
	assert_int_equal(poll(&process, 1, GUARDED_PATIENCE_MS), 1); /* it has ended */
	(void)close(process.fd);
}

void guarded_stop_guardian(const struct guarded *f)
{
	assert_int_equal(kill(f->guardian, SIGSTOP), 0);
}

void guarded_successor(struct guarded *f)
{
	uint64_t deadline_ns = clock_now_ns() + GUARDED_PATIENCE_MS * CLOCK_NS_PER_MS;
	pid_t before = f->guardian;

	do {
		assert_true(clock_now_ns() < deadline_ns);
		(void)usleep(1000);
		ask(f, 'p', &f->guardian, sizeof(f->guardian));
	} while (f->guardian == before || f->guardian == 0);
	assert_int_equal(kill(before, 0), -1); /* not even a zombie */
	assert_int_equal(errno, ESRCH);
}

int guarded_setup(void **state)
{
	*state = calloc(1, sizeof(struct guarded));
	return *state == NULL;
}

int guarded_teardown(void **state)
{
	struct guarded *f = *state;
	unsigned i;

	if (f->agent > 0)
		guarded_kill_agent(f);
	for (i = 0; i < f->count; i++) {
		close(f->qemus[i].qmp);
		close(f->qemus[i].colo);
	}
	if (f->orders > 0)
		close(f->orders);
	free(f);
	return 0;
}

void guarded_read_status(pid_t pid, const char *key, char *value, size_t size)
{
	char path[64], line[256];
	FILE *file;

	value[0] = '\0';
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, key, strlen(key)) == 0)
			(void)snprintf(value, size, "%.*s", (int)strcspn(line + strlen(key), "\n"),
				       line + strlen(key));
	}
	(void)fclose(file);
}
