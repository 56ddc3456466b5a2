/* The guardian as a process: what the QEMUs of an agent that died or froze see of it. */
#include "replica/guardian.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "replica/release.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define TELL "{\"execute\":\"x-colo-lost-heartbeat\"}"
#define PATIENCE_MS 5000 /* a test that waits longer has failed */
#define QUIET_MS 60	 /* how long "nothing comes" is looked at */

/* One instance as its QEMU sees it. */
struct qemu {
	int qmp, colo;		   /* QEMU's ends */
	int agent_qmp, agent_colo; /* the agent's; closed here once the agent has them */
	char heard[16384];
	size_t heard_len;
};

#define QEMUS_MAX 4

struct fixture {
	struct qemu qemus[QEMUS_MAX];
	unsigned count;
	pid_t agent;
	pid_t guardian;
	int orders; /* a byte to the agent: 'h' hold, 'r' release, 'u' unwatch, 's' stop the guardian; answered by a byte */
};

/* A loop of recv() with a limit: false at the end of the stream. */
static bool hear(struct qemu *qemu, int timeout_ms)
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

/* The next line, in `line`; false when the connection ended or nothing came. */
static bool next_line(struct qemu *qemu, char *line, size_t size, int timeout_ms)
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

static void expect_line(struct qemu *qemu, const char *expected)
{
	char line[256];

	assert_true(next_line(qemu, line, sizeof(line), PATIENCE_MS));
	assert_string_equal(line, expected);
}

static void expect_silence(struct qemu *qemu)
{
	(void)usleep(QUIET_MS * 1000);
	assert_true(hear(qemu, 0));
	assert_int_equal(qemu->heard_len, 0);
}

/* The other side has closed every copy of its end. */
static void expect_end(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	char byte;

	assert_int_equal(poll(&poll_fd, 1, PATIENCE_MS), 1);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
}

static void reply(struct qemu *qemu, const char *kind, const char *id, const char *status)
{
	char text[256];
	int len = snprintf(text, sizeof(text),
			   "{\"return\": {%s%s%s}, \"id\": \"us-guardian-%s%s\"}\r\n",
			   status[0] != '\0' ? "\"status\": \"" : "", status,
			   status[0] != '\0' ? "\"" : "", kind, id);

	assert_int_equal(send(qemu->qmp, text, (size_t)len, MSG_NOSIGNAL), len);
}

/* Waits for the two questions of a round and answers them. */
static void expect_round(struct qemu *qemu, const char *round, const char *migration,
			 const char *status)
{
	char line[128];

	(void)snprintf(line, sizeof(line),
		       "{\"execute\":\"query-migrate\",\"id\":\"us-guardian-m%s\"}", round);
	expect_line(qemu, line);
	(void)snprintf(line, sizeof(line),
		       "{\"execute\":\"query-status\",\"id\":\"us-guardian-s%s\"}", round);
	expect_line(qemu, line);
	reply(qemu, "m", round, migration);
	reply(qemu, "s", round, status);
}

static void agent_obeys(struct guardian *guardian, const unsigned *slots, unsigned count,
			int orders)
{
	unsigned i;
	char order;

	while (read(orders, &order, 1) == 1) {
		for (i = 0; i < count; i++) {
			if (order == 'h' || order == 'r')
				guardian_hold(guardian, slots[i], order == 'h');
			if (order == 'u')
				guardian_unwatch(guardian, slots[i]);
		}
		if (order == 's')
			guardian_stop(guardian);
		if (write(orders, &order, 1) != 1)
			break;
	}
	for (;;)
		(void)pause();
}

static _Noreturn void agent_main(struct fixture *f, int orders, uint32_t freeze_limit_ms)
{
	unsigned slots[QEMUS_MAX], i;
	struct guardian *guardian;
	struct err err;
	pid_t pid;

	if (guardian_start(&guardian, &err) != RC_OK)
		_exit(1);
	for (i = 0; i < f->count; i++) {
		if (guardian_watch(guardian, "instance", f->qemus[i].agent_qmp,
				   f->qemus[i].agent_colo, freeze_limit_ms, &slots[i],
				   &err) != RC_OK)
			_exit(1);
		close(f->qemus[i].agent_qmp);
		close(f->qemus[i].agent_colo);
	}
	pid = guardian_pid(guardian);
	if (write(orders, &pid, sizeof(pid)) != (ssize_t)sizeof(pid))
		_exit(1);
	agent_obeys(guardian, slots, f->count, orders);
	_exit(0);
}

static void start_agent(struct fixture *f, unsigned count, uint32_t freeze_limit_ms)
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
		f->qemus[i] = (struct qemu){
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
	assert_int_equal(read(f->orders, &f->guardian, sizeof(f->guardian)),
			 (ssize_t)sizeof(f->guardian));
}

static void order(struct fixture *f, char what)
{
	char answer = 0;

	assert_int_equal(write(f->orders, &what, 1), 1);
	assert_int_equal(read(f->orders, &answer, 1), 1);
	assert_int_equal(answer, what);
}

static void kill_agent(struct fixture *f)
{
	assert_int_equal(kill(f->agent, SIGKILL), 0);
	assert_int_equal(waitpid(f->agent, NULL, 0), f->agent);
	f->agent = 0;
}

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct fixture));
	return *state == NULL;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unsigned i;

	if (f->agent > 0)
		kill_agent(f);
	for (i = 0; i < f->count; i++) {
		close(f->qemus[i].qmp);
		close(f->qemus[i].colo);
	}
	if (f->orders > 0)
		close(f->orders);
	free(f);
	return 0;
}

static void an_agent_killed_inside_a_checkpoint_is_replaced_at_once(void **state)
{
	struct fixture *f = *state;
	struct qemu *qemu = &f->qemus[0];
	uint64_t began_ns;

	start_agent(f, 1, 0);
	order(f, 'h');
	expect_silence(qemu);
	began_ns = clock_now_ns();
	kill_agent(f);
	expect_end(qemu->colo);
	expect_line(qemu, "\xff");
	expect_line(qemu, TELL);
	assert_in_range(clock_now_ns() - began_ns, 0, 1000 * CLOCK_NS_PER_MS);
	expect_round(qemu, "1", "colo", "colo");
	expect_line(qemu, TELL);
	expect_round(qemu, "2", "completed", "colo");
	expect_round(qemu, "3", "completed", "running");
	expect_end(qemu->qmp);
}

static void an_agent_killed_between_checkpoints_is_released_after_a_look(void **state)
{
	struct fixture *f = *state;
	struct qemu *qemu = &f->qemus[0];

	start_agent(f, 1, 0);
	order(f, 'h');
	order(f, 'r');
	kill_agent(f);
	expect_end(qemu->colo);
	expect_line(qemu, "\xff");
	expect_round(qemu, "1", "colo", "running");
	expect_line(qemu, TELL);
	expect_round(qemu, "2", "completed", "running");
	expect_end(qemu->qmp);
}

static void a_guest_that_its_operator_paused_is_left_so(void **state)
{
	struct fixture *f = *state;
	struct qemu *qemu = &f->qemus[0];

	start_agent(f, 1, 0);
	kill_agent(f);
	expect_line(qemu, "\xff");
	expect_round(qemu, "1", "colo", "paused");
	expect_end(qemu->qmp);
	expect_end(qemu->colo);
}

static void a_first_copy_that_is_being_given_up_is_waited_for(void **state)
{
	struct fixture *f = *state;
	struct qemu *qemu = &f->qemus[0];

	start_agent(f, 1, 0);
	kill_agent(f);
	expect_line(qemu, "\xff");
	expect_round(qemu, "1", "active", "running");
	expect_round(qemu, "2", "device", "finish-migrate");
	expect_round(qemu, "3", "colo", "finish-migrate");
	expect_line(qemu, TELL);
	expect_round(qemu, "4", "colo", "finish-migrate");
	expect_line(qemu, TELL);
	expect_round(qemu, "5", "completed", "running");
	expect_end(qemu->qmp);
}

static void an_instance_without_a_migration_is_not_touched(void **state)
{
	struct fixture *f = *state;
	struct qemu *qemu = &f->qemus[0];

	start_agent(f, 1, 0);
	kill_agent(f);
	expect_line(qemu, "\xff");
	expect_round(qemu, "1", "", "paused");
	expect_end(qemu->qmp);
}

static void replies_that_the_agent_did_not_read_are_passed_over(void **state)
{
	static const char before[] =
		"\"status\": \"running\"}, \"id\": \"us-guardian-s1\"}\r\n"
		"{\"return\": {\"status\": \"completed\"}, \"id\": 17}\r\n"
		"{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\r\n";
	struct fixture *f = *state;
	struct qemu *qemu = &f->qemus[0];

	start_agent(f, 1, 0);
	assert_true(send(qemu->qmp, before, sizeof(before) - 1, 0) > 0);
	kill_agent(f);
	expect_line(qemu, "\xff");
	expect_round(qemu, "1", "colo", "running");
	expect_line(qemu, TELL);
	expect_round(qemu, "2", "completed", "running");
	expect_end(qemu->qmp);
}

static void a_qemu_that_is_gone_too_ends_the_guardian(void **state)
{
	struct fixture *f = *state;
	struct qemu *qemu = &f->qemus[0];

	start_agent(f, 1, 0);
	assert_int_equal(shutdown(qemu->qmp, SHUT_RDWR), 0);
	kill_agent(f);
	expect_end(qemu->colo);
	expect_end(qemu->qmp);
}

static void one_deaf_qemu_does_not_delay_the_others(void **state)
{
	struct fixture *f = *state;
	uint64_t began_ns;
	unsigned i;

	start_agent(f, 4, 0);
	order(f, 'h');
	began_ns = clock_now_ns();
	kill_agent(f);
	for (i = 3; i > 0; i--) {
		expect_end(f->qemus[i].colo);
		expect_line(&f->qemus[i], "\xff");
		expect_line(&f->qemus[i], TELL);
		expect_round(&f->qemus[i], "1", "completed", "running");
		expect_end(f->qemus[i].qmp);
	}
	/* The deaf one keeps the guardian for RELEASE_LIMIT_MS. */
	assert_in_range(clock_now_ns() - began_ns, 0, RELEASE_LIMIT_MS / 4 * CLOCK_NS_PER_MS);
	expect_end(f->qemus[0].colo);
	expect_line(&f->qemus[0], "\xff");
	expect_line(&f->qemus[0], TELL);
}

static void an_agent_that_freezes_in_a_checkpoint_loses_it(void **state)
{
	struct fixture *f = *state;
	struct qemu *qemu = &f->qemus[0];

	start_agent(f, 1, 50);
	order(f, 'h');
	assert_int_equal(kill(f->agent, SIGSTOP), 0);
	expect_end(qemu->colo);
	expect_line(qemu, "");
	expect_line(qemu, TELL);
	/* Once, and nothing is asked: the replies are the agent's. */
	expect_silence(qemu);
	assert_int_equal(kill(f->agent, SIGCONT), 0);
	order(f, 'r');
	order(f, 'u');
	expect_end(qemu->qmp);
}

static void an_agent_that_lets_go_in_time_loses_nothing(void **state)
{
	struct fixture *f = *state;
	struct qemu *qemu = &f->qemus[0];
	char byte;
	int i;

	start_agent(f, 1, 400);
	for (i = 0; i < 12; i++) {
		order(f, 'h');
		(void)usleep(100000);
		order(f, 'r');
	}
	expect_silence(qemu);
	assert_int_equal(recv(qemu->colo, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void a_guardian_told_to_stop_does_nothing(void **state)
{
	struct fixture *f = *state;
	struct qemu *qemu = &f->qemus[0];

	start_agent(f, 1, 50);
	order(f, 'h');
	order(f, 's');
	assert_int_equal(kill(f->guardian, 0), -1);
	assert_int_equal(qemu->heard_len, 0);
	expect_end(qemu->qmp);
	expect_end(qemu->colo);
}

static void an_instance_no_longer_watched_is_let_go_of(void **state)
{
	struct fixture *f = *state;

	start_agent(f, 2, 0);
	order(f, 'h');
	order(f, 'u');
	expect_end(f->qemus[0].qmp);
	expect_end(f->qemus[0].colo);
	expect_end(f->qemus[1].qmp);
	assert_int_equal(kill(f->guardian, 0), 0);
}

static void signals_do_not_end_it(void **state)
{
	static const int signals[] = { SIGTERM, SIGINT,	 SIGHUP,  SIGQUIT, SIGUSR1,
				       SIGUSR2, SIGPIPE, SIGALRM, SIGTSTP };
	struct fixture *f = *state;
	struct qemu *qemu = &f->qemus[0];
	size_t i;

	start_agent(f, 1, 0);
	order(f, 'h');
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		assert_int_equal(kill(f->guardian, signals[i]), 0);
	expect_silence(qemu);
	kill_agent(f);
	expect_line(qemu, "\xff");
	expect_line(qemu, TELL);
	expect_round(qemu, "1", "completed", "running");
	expect_end(qemu->qmp);
}

/* A line of /proc/PID/status. */
static void read_status(pid_t pid, const char *key, char *value, size_t size)
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

static void it_keeps_no_privileges_and_no_descriptors(void **state)
{
	struct fixture *f = *state;
	const struct dirent *entry;
	char value[128], path[64];
	unsigned count = 0;
	DIR *directory;
	int extra[20];
	size_t i;

	for (i = 0; i < 20; i++)
		extra[i] = open("/dev/null", O_RDONLY);
	start_agent(f, 1, 0);
	for (i = 0; i < 20; i++)
		close(extra[i]);
	order(f, 'h');
	(void)usleep(20000);
	read_status(f->guardian, "Name:\t", value, sizeof(value));
	assert_string_equal(value, "us-guardian");
	read_status(f->guardian, "CapEff:\t", value, sizeof(value));
	assert_string_equal(value, "0000000000000000");
	read_status(f->guardian, "CapBnd:\t", value, sizeof(value));
	if (geteuid() == 0)
		assert_string_equal(value, "0000000000000000");
	read_status(f->guardian, "NoNewPrivs:\t", value, sizeof(value));
	assert_string_equal(value, "1");
	assert_int_equal(getsid(f->guardian), f->guardian);
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)f->guardian);
	directory = opendir(path);
	if (directory == NULL)
		return; /* not ours to see: the process is not dumpable and we are not root */
	while ((entry = readdir(directory)) != NULL)
		count += entry->d_name[0] != '.';
	(void)closedir(directory);
	assert_int_equal(count, 4 + 2);
}

#define PROCESS(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PROCESS(an_agent_killed_inside_a_checkpoint_is_replaced_at_once),
		PROCESS(an_agent_killed_between_checkpoints_is_released_after_a_look),
		PROCESS(a_guest_that_its_operator_paused_is_left_so),
		PROCESS(a_first_copy_that_is_being_given_up_is_waited_for),
		PROCESS(an_instance_without_a_migration_is_not_touched),
		PROCESS(replies_that_the_agent_did_not_read_are_passed_over),
		PROCESS(a_qemu_that_is_gone_too_ends_the_guardian),
		PROCESS(one_deaf_qemu_does_not_delay_the_others),
		PROCESS(an_agent_that_freezes_in_a_checkpoint_loses_it),
		PROCESS(an_agent_that_lets_go_in_time_loses_nothing),
		PROCESS(a_guardian_told_to_stop_does_nothing),
		PROCESS(an_instance_no_longer_watched_is_let_go_of),
		PROCESS(signals_do_not_end_it),
		PROCESS(it_keeps_no_privileges_and_no_descriptors),
	};

	log_setup(LOG_LEVEL_ERROR, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
