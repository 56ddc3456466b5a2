/* An instance that needs a lease does not run longer than that, whatever becomes of its agent. */
#include "tests/unit/guardian_fixture.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "replica/guardian_mark.h"
#include "replica/guardian_process.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define ASKED "{\"execute\":\"query-status\",\"id\":4503599627370496}"
#define ASKED_REPLY \
	"{\"return\": {\"status\": \"%s\", \"running\": true}, \"id\": 4503599627370496}\r\n"
#define STOP "{\"execute\":\"stop\"}"

/* The pause of one whose agent may live: its replies are not read. */
static void expect_pause(struct guarded_qemu *qemu)
{
	guarded_expect_line(qemu, "\xff");
	guarded_expect_line(qemu, ASKED);
	guarded_expect_line(qemu, STOP);
}

static void expect_marked(bool wanted)
{
	int i;

	for (i = 0; i < GUARDED_PATIENCE_MS && guardian_mark_is_stopped(getpid()) != wanted; i++)
		(void)usleep(1000);
	assert_int_equal(guardian_mark_is_stopped(getpid()), wanted);
}

static void expect_gone(pid_t pid)
{
	int i;

	for (i = 0; i < GUARDED_PATIENCE_MS && kill(pid, 0) == 0; i++)
		(void)usleep(1000);
	assert_int_equal(kill(pid, 0), -1);
}

/* Without a capture: only the leash is looked at. */
static struct guarded_qemu *leashed(struct guarded *f)
{
	guarded_start(f, 1, 0);
	guarded_order(f, 'L');
	return &f->qemus[0];
}

static void an_agent_that_lets_its_lease_pass_is_not_waited_for(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = leashed(f);
	uint64_t began_ns;
	int i;

	guarded_expect_silence(qemu);
	for (i = 0; i < 4; i++) { /* in all longer than one lease */
		guarded_order(f, 'M');
		guarded_expect_silence(qemu);
	}
	began_ns = clock_now_ns();
	guarded_order(f, 'M');
	assert_int_equal(kill(f->agent, SIGSTOP), 0);
	for (i = 0; i < 4; i++)
		expect_pause(qemu); /* again and again */
	assert_true(clock_now_ns() - began_ns >= GUARDED_LEASE_MS * CLOCK_NS_PER_MS);
	assert_int_equal(kill(f->agent, SIGCONT), 0);
	guarded_order(f, 'F');
}

static void one_that_its_agent_has_seen_to_stand_is_left_to_it(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = leashed(f);

	guarded_order(f, 'O');
	guarded_expect_silence(qemu);
	guarded_order(f, 'U');
	guarded_kill_agent(f);
	expect_marked(false);
}

static void without_an_agent_it_runs_as_long_as_it_may(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = leashed(f);
	uint64_t began_ns = clock_now_ns();

	guarded_order(f, 'M');
	guarded_order(f, 'h');
	guarded_kill_agent(f);
	/* It is let go first, */
	guarded_expect_end(qemu->colo);
	guarded_expect_line(qemu, "\xff");
	guarded_expect_line(qemu, GUARDED_TELL);
	guarded_expect_round(qemu, "1", "completed", "running");
	/* and stopped when its lease is over. */
	guarded_expect_line(qemu, "\xff");
	assert_true(clock_now_ns() - began_ns >= GUARDED_LEASE_MS * CLOCK_NS_PER_MS);
	guarded_expect_stop(qemu, "1", "running", "running");
	guarded_expect_stop(qemu, "2", "running", "paused");
	guarded_expect_end(qemu->qmp);
	expect_marked(true);
	assert_int_equal(kill(f->guardian, 0), 0);
}

static void one_whose_lease_is_over_is_left_in_colo(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = leashed(f);

	guarded_order(f, 'h');
	guarded_order(f, 'M');
	assert_int_equal(kill(f->agent, SIGSTOP), 0);
	expect_pause(qemu);
	expect_pause(qemu);
	guarded_kill_agent(f);
	guarded_expect_end(qemu->colo);
	/* More of these may have been on their way. */
	for (;;) {
		char line[128];

		assert_true(guarded_next_line(qemu, line, sizeof(line), GUARDED_PATIENCE_MS));
		assert_string_not_equal(line, GUARDED_TELL);
		if (strstr(line, "us-guardian-m1") != NULL)
			break;
	}
	guarded_expect_line(qemu, STOP);
	guarded_expect_line(qemu, "{\"execute\":\"query-status\",\"id\":\"us-guardian-s1\"}");
	guarded_say(qemu, "{\"return\": {\"status\": \"colo\"}, \"id\": \"us-guardian-m1\"}\r\n"
			  "{\"return\": {\"status\": \"colo\"}, \"id\": \"us-guardian-s1\"}\r\n");
	/* It might still run on after that checkpoint. */
	guarded_expect_stop(qemu, "2", "colo", "colo");
	guarded_say(qemu, "{\"event\": \"COLO_EXIT\", \"data\": {\"mode\": \"primary\", "
			  "\"reason\": \"error\"}}\r\n");
	guarded_expect_end(qemu->qmp);
	expect_marked(true);
}

static void what_the_guardian_itself_had_stopped_is_known_to_have_run(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = leashed(f);
	char text[128];

	guarded_order(f, 'M');
	assert_int_equal(kill(f->agent, SIGSTOP), 0);
	expect_pause(qemu);
	(void)snprintf(text, sizeof(text), ASKED_REPLY, "running");
	guarded_say(qemu, text); /* which no agent reads any more */
	guarded_kill_agent(f);
	for (;;) {
		char line[128];

		assert_true(guarded_next_line(qemu, line, sizeof(line), GUARDED_PATIENCE_MS));
		if (strstr(line, "us-guardian-s1") != NULL)
			break;
	}
	guarded_say(qemu, "{\"return\": {\"status\": \"paused\"}, \"id\": \"us-guardian-m1\"}\r\n"
			  "{\"return\": {\"status\": \"paused\"}, \"id\": \"us-guardian-s1\"}\r\n");
	guarded_expect_end(qemu->qmp);
	expect_marked(true);
}

static void what_its_operator_had_stopped_has_no_mark(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = leashed(f);

	guarded_order(f, 'S');
	guarded_kill_agent(f);
	guarded_expect_line(qemu, "\xff");
	guarded_expect_stop(qemu, "1", "paused", "paused");
	guarded_expect_end(qemu->qmp);
	expect_gone(f->guardian);
	expect_marked(false);
}

static void what_an_agent_has_stopped_is_known_after_its_orderly_end(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = leashed(f);
	int pair[2], mark;

	guarded_order(f, 'O');
	guarded_order(f, 'u');
	guarded_order(f, 'V');
	guarded_order(f, 's');
	guarded_expect_line(qemu, "\xff");
	guarded_expect_stop(qemu, "1", "paused", "paused");
	guarded_expect_end(qemu->qmp);
	expect_marked(true);
	guarded_kill_agent(f);
	assert_int_equal(kill(f->guardian, 0), 0);
	expect_marked(true);
	/* Until another guardian has it. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	mark = guardian_mark_set(pair[0]);
	assert_true(mark >= 0);
	expect_gone(f->guardian);
	expect_marked(false);
	close(mark);
	close(pair[0]);
	close(pair[1]);
}

static void one_that_needs_no_lease_is_not_touched(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = leashed(f);

	guarded_order(f, 'u');
	guarded_kill_agent(f);
	guarded_expect_end(qemu->qmp);
	assert_int_equal(qemu->heard_len, 0);
}

static void a_successor_has_the_leash(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = leashed(f);

	guarded_order(f, 'M');
	guarded_kill_guardian(f);
	guarded_successor(f);
	expect_pause(qemu);
}

#define PROCESS(test) cmocka_unit_test_setup_teardown(test, guarded_setup, guarded_teardown_all)

/* A guardian that keeps a mark lives as long as its QEMU, which is this process. */
static int guarded_teardown_all(void **state)
{
	const struct guarded *f = *state;
	const pid_t guardian = f->guardian;
	const int rc = guarded_teardown(state);

	if (guardian > 0)
		(void)kill(guardian, SIGKILL);
	expect_marked(false);
	return rc;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		PROCESS(an_agent_that_lets_its_lease_pass_is_not_waited_for),
		PROCESS(one_that_its_agent_has_seen_to_stand_is_left_to_it),
		PROCESS(without_an_agent_it_runs_as_long_as_it_may),
		PROCESS(one_whose_lease_is_over_is_left_in_colo),
		PROCESS(what_the_guardian_itself_had_stopped_is_known_to_have_run),
		PROCESS(what_its_operator_had_stopped_has_no_mark),
		PROCESS(what_an_agent_has_stopped_is_known_after_its_orderly_end),
		PROCESS(one_that_needs_no_lease_is_not_touched),
		PROCESS(a_successor_has_the_leash),
	};

	if (guardian_process_is_one(argc, argv))
		guardian_process_run();
	log_setup(LOG_LEVEL_ERROR, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
