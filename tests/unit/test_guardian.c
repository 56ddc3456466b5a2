/* The guardian as a process: what the QEMUs of an agent that died or froze see of it. */
#include "tests/unit/guardian_fixture.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "replica/guardian_process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void an_agent_killed_inside_a_checkpoint_is_replaced_at_once(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = &f->qemus[0];
	uint64_t began_ns;

	guarded_start(f, 1, 0);
	guarded_order(f, 'h');
	guarded_expect_silence(qemu);
	began_ns = clock_now_ns();
	guarded_kill_agent(f);
	guarded_expect_end(qemu->colo);
	guarded_expect_line(qemu, "\xff");
	guarded_expect_line(qemu, GUARDED_TELL);
	assert_in_range(clock_now_ns() - began_ns, 0, 1000 * CLOCK_NS_PER_MS);
	guarded_expect_round(qemu, "1", "colo", "colo");
	guarded_expect_line(qemu, GUARDED_TELL);
	guarded_expect_round(qemu, "2", "completed", "colo");
	guarded_expect_round(qemu, "3", "completed", "running");
	guarded_expect_end(qemu->qmp);
}

static void an_agent_killed_between_checkpoints_is_released_after_a_look(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = &f->qemus[0];

	guarded_start(f, 1, 0);
	guarded_order(f, 'h');
	guarded_order(f, 'r');
	guarded_kill_agent(f);
	guarded_expect_end(qemu->colo);
	guarded_expect_line(qemu, "\xff");
	guarded_expect_round(qemu, "1", "colo", "running");
	guarded_expect_line(qemu, GUARDED_TELL);
	guarded_expect_round(qemu, "2", "completed", "running");
	guarded_expect_end(qemu->qmp);
}

static void a_guest_that_its_operator_paused_is_left_so(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = &f->qemus[0];

	guarded_start(f, 1, 0);
	guarded_kill_agent(f);
	guarded_expect_line(qemu, "\xff");
	guarded_expect_round(qemu, "1", "colo", "paused");
	guarded_expect_end(qemu->qmp);
	guarded_expect_end(qemu->colo);
}

static void a_first_copy_that_is_being_given_up_is_waited_for(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = &f->qemus[0];

	guarded_start(f, 1, 0);
	guarded_kill_agent(f);
	guarded_expect_line(qemu, "\xff");
	guarded_expect_round(qemu, "1", "active", "running");
	guarded_expect_round(qemu, "2", "device", "finish-migrate");
	guarded_expect_round(qemu, "3", "colo", "finish-migrate");
	guarded_expect_line(qemu, GUARDED_TELL);
	guarded_expect_round(qemu, "4", "colo", "finish-migrate");
	guarded_expect_line(qemu, GUARDED_TELL);
	guarded_expect_round(qemu, "5", "completed", "running");
	guarded_expect_end(qemu->qmp);
}

static void an_instance_without_a_migration_is_not_touched(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = &f->qemus[0];

	guarded_start(f, 1, 0);
	guarded_kill_agent(f);
	guarded_expect_line(qemu, "\xff");
	guarded_expect_round(qemu, "1", "", "paused");
	guarded_expect_end(qemu->qmp);
}

static void replies_that_the_agent_did_not_read_are_passed_over(void **state)
{
	static const char before[] =
		"\"status\": \"running\"}, \"id\": \"us-guardian-s1\"}\r\n"
		"{\"return\": {\"status\": \"completed\"}, \"id\": 17}\r\n"
		"{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\r\n";
	struct guarded *f = *state;
	struct guarded_qemu *qemu = &f->qemus[0];

	guarded_start(f, 1, 0);
	assert_true(send(qemu->qmp, before, sizeof(before) - 1, 0) > 0);
	guarded_kill_agent(f);
	guarded_expect_line(qemu, "\xff");
	guarded_expect_round(qemu, "1", "colo", "running");
	guarded_expect_line(qemu, GUARDED_TELL);
	guarded_expect_round(qemu, "2", "completed", "running");
	guarded_expect_end(qemu->qmp);
}

static void a_qemu_that_is_gone_too_ends_the_guardian(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = &f->qemus[0];

	guarded_start(f, 1, 0);
	assert_int_equal(shutdown(qemu->qmp, SHUT_RDWR), 0);
	guarded_kill_agent(f);
	guarded_expect_end(qemu->colo);
	guarded_expect_end(qemu->qmp);
}

static void one_deaf_qemu_does_not_delay_the_others(void **state)
{
	struct guarded *f = *state;
	uint64_t began_ns;
	unsigned i;

	guarded_start(f, 4, 0);
	guarded_order(f, 'h');
	began_ns = clock_now_ns();
	guarded_kill_agent(f);
	for (i = 3; i > 0; i--) {
		guarded_expect_end(f->qemus[i].colo);
		guarded_expect_line(&f->qemus[i], "\xff");
		guarded_expect_line(&f->qemus[i], GUARDED_TELL);
		guarded_expect_round(&f->qemus[i], "1", "completed", "running");
		guarded_expect_end(f->qemus[i].qmp);
	}
	/* The deaf one keeps the guardian for as long as it is deaf. */
	assert_in_range(clock_now_ns() - began_ns, 0, GUARDED_PATIENCE_MS / 2 * CLOCK_NS_PER_MS);
	guarded_expect_end(f->qemus[0].colo);
	guarded_expect_line(&f->qemus[0], "\xff");
	guarded_expect_line(&f->qemus[0], GUARDED_TELL);
	assert_int_equal(kill(f->guardian, 0), 0);
}

static void an_agent_that_freezes_in_a_checkpoint_loses_it(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = &f->qemus[0];

	guarded_start(f, 1, 50);
	guarded_order(f, 'h');
	assert_int_equal(kill(f->agent, SIGSTOP), 0);
	guarded_expect_end(qemu->colo);
	guarded_expect_line(qemu, "\xff"); /* half a command of the agent's may be before it */
	guarded_expect_line(qemu, GUARDED_TELL);
	/* Once, and nothing is asked: the replies are the agent's. */
	guarded_expect_silence(qemu);
	assert_int_equal(kill(f->agent, SIGCONT), 0);
	guarded_order(f, 'r');
	guarded_order(f, 'u');
	guarded_expect_end(qemu->qmp);
}

static void a_socket_alone_is_shut_down_for_an_agent_that_freezes_or_is_gone(void **state)
{
	struct guarded *f = *state;

	f->sockets = true;
	guarded_start(f, 1, 50);
	guarded_order(f, 'h');
	assert_int_equal(kill(f->agent, SIGSTOP), 0);
	guarded_expect_end(f->qemus[0].colo);
	assert_int_equal(kill(f->agent, SIGCONT), 0);
	guarded_order(f, 'r');
	guarded_order(f, 'u');
	guarded_teardown(state);
	guarded_setup(state);
	f = *state;
	f->sockets = true;
	guarded_start(f, 2, 0);
	guarded_kill_agent(f);
	guarded_expect_end(f->qemus[0].colo);
	guarded_expect_end(f->qemus[1].colo);
}

static void an_agent_that_lets_go_in_time_loses_nothing(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = &f->qemus[0];
	char byte;
	int i;

	guarded_start(f, 1, 400);
	for (i = 0; i < 12; i++) {
		guarded_order(f, 'h');
		(void)usleep(100000);
		guarded_order(f, 'r');
	}
	guarded_expect_silence(qemu);
	assert_int_equal(recv(qemu->colo, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void a_guardian_told_to_stop_does_nothing(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = &f->qemus[0];

	guarded_start(f, 1, 50);
	guarded_order(f, 'h');
	guarded_order(f, 's');
	assert_int_equal(kill(f->guardian, 0), -1);
	assert_int_equal(qemu->heard_len, 0);
	guarded_expect_end(qemu->qmp);
	guarded_expect_end(qemu->colo);
}

static void an_instance_no_longer_watched_is_let_go_of(void **state)
{
	struct guarded *f = *state;

	guarded_start(f, 2, 0);
	guarded_order(f, 'h');
	guarded_order(f, 'u');
	guarded_expect_end(f->qemus[0].qmp);
	guarded_expect_end(f->qemus[0].colo);
	guarded_expect_end(f->qemus[1].qmp);
	assert_int_equal(kill(f->guardian, 0), 0);
}

static void signals_do_not_end_it(void **state)
{
	static const int signals[] = { SIGTERM, SIGINT,	 SIGHUP,  SIGQUIT, SIGUSR1,
				       SIGUSR2, SIGPIPE, SIGALRM, SIGTSTP };
	struct guarded *f = *state;
	struct guarded_qemu *qemu = &f->qemus[0];
	size_t i;

	guarded_start(f, 1, 0);
	guarded_order(f, 'h');
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		assert_int_equal(kill(f->guardian, signals[i]), 0);
	guarded_expect_silence(qemu);
	guarded_kill_agent(f);
	guarded_expect_line(qemu, "\xff");
	guarded_expect_line(qemu, GUARDED_TELL);
	guarded_expect_round(qemu, "1", "completed", "running");
	guarded_expect_end(qemu->qmp);
}

/* Descriptors of a process; -1: not ours to see (it is not dumpable, and we are not root). */
static int count_fds(pid_t pid)
{
	const struct dirent *entry;
	DIR *directory;
	char path[64];
	int count = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	directory = opendir(path);
	if (directory == NULL)
		return -1;
	while ((entry = readdir(directory)) != NULL)
		count += entry->d_name[0] != '.';
	(void)closedir(directory);
	return count;
}

/* A line of /proc/PID/status gets that value, in bounded time: it becomes small step by step. */
static void expect_status(pid_t pid, const char *key, const char *expected)
{
	char value[128];
	int i;

	for (i = 0; i < GUARDED_PATIENCE_MS; i++) {
		guarded_read_status(pid, key, value, sizeof(value));
		if (strcmp(value, expected) == 0)
			return;
		(void)usleep(1000);
	}
	assert_string_equal(value, expected);
}

static void it_keeps_no_privileges_and_no_descriptors(void **state)
{
	struct guarded *f = *state;
	int extra[20], i;

	for (i = 0; i < 20; i++)
		extra[i] = open("/dev/null", O_RDONLY);
	guarded_start(f, 1, 0);
	for (i = 0; i < 20; i++)
		close(extra[i]);
	expect_status(f->guardian, "Name:\t", "us-guardian");
	expect_status(f->guardian, "NoNewPrivs:\t", "1");
	if (geteuid() == 0)
		expect_status(f->guardian, "CapBnd:\t", "0000000000000000");
	expect_status(f->guardian, "CapEff:\t", "0000000000000000");
	expect_status(f->guardian, "Threads:\t", "1");
	assert_int_equal(getsid(f->guardian), f->guardian);
	for (i = 0; i < GUARDED_PATIENCE_MS && count_fds(f->guardian) > 4 + 3; i++)
		(void)usleep(1000);
	if (count_fds(f->guardian) >= 0)
		assert_int_equal(count_fds(f->guardian), 4 + 3);
}

#define PROCESS(test) cmocka_unit_test_setup_teardown(test, guarded_setup, guarded_teardown)

int main(int argc, char **argv)
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
		PROCESS(a_socket_alone_is_shut_down_for_an_agent_that_freezes_or_is_gone),
		PROCESS(an_agent_that_lets_go_in_time_loses_nothing),
		PROCESS(a_guardian_told_to_stop_does_nothing),
		PROCESS(an_instance_no_longer_watched_is_let_go_of),
		PROCESS(signals_do_not_end_it),
		PROCESS(it_keeps_no_privileges_and_no_descriptors),
	};

	if (guardian_process_is_one(argc, argv))
		guardian_process_run();
	log_setup(LOG_LEVEL_ERROR, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
