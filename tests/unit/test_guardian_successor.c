/* A guardian that dies has a successor, which knows and does what it did. */
#include "tests/unit/guardian_fixture.h"

#include "appliance/base/log.h"
#include "replica/guardian_process.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

static void expect_freed(struct guarded_qemu *qemu)
{
	guarded_expect_end(qemu->colo);
	guarded_expect_line(qemu, "\xff");
	guarded_expect_line(qemu, GUARDED_TELL);
	guarded_expect_round(qemu, "1", "completed", "running");
	guarded_expect_end(qemu->qmp);
}

static void it_frees_what_its_predecessor_watched(void **state)
{
	struct guarded *f = *state;
	unsigned i;

	guarded_start(f, 3, 0);
	guarded_kill_guardian(f);
	guarded_successor(f);
	guarded_order(f, 'h');
	guarded_kill_agent(f);
	for (i = 0; i < 3; i++)
		expect_freed(&f->qemus[i]);
}

static void it_knows_what_was_held_before_it_came(void **state)
{
	struct guarded *f = *state;

	guarded_start(f, 1, 0);
	guarded_order(f, 'h');
	guarded_kill_guardian(f);
	guarded_successor(f);
	guarded_expect_silence(&f->qemus[0]); /* a guardian's end is no reason to free anything */
	guarded_kill_agent(f);
	expect_freed(&f->qemus[0]);
}

static void it_knows_what_was_let_go_while_there_was_none(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = &f->qemus[0];

	guarded_start(f, 1, 0);
	guarded_order(f, 'h');
	guarded_order(f, 'l');
	guarded_kill_guardian(f);
	guarded_order(f, 'r');
	guarded_order(f, 't');
	guarded_successor(f);
	guarded_kill_agent(f);
	guarded_expect_line(qemu, "\xff");
	guarded_expect_round(qemu, "1", "colo", "paused");
	guarded_expect_end(qemu->qmp);
}

static void it_counts_the_time_of_a_hold_from_its_beginning(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = &f->qemus[0];

	guarded_start(f, 1, 300);
	guarded_order(f, 'l');
	guarded_kill_guardian(f);
	guarded_order(f, 'h');
	(void)usleep(400000); /* too long, and nobody to see it */
	guarded_expect_silence(qemu);
	guarded_order(f, 't');
	guarded_successor(f);
	assert_int_equal(kill(f->agent, SIGSTOP), 0);
	guarded_expect_end(qemu->colo);
	guarded_expect_line(qemu, "\xff");
	guarded_expect_line(qemu, GUARDED_TELL);
}

static void it_does_not_watch_what_was_unwatched_while_there_was_none(void **state)
{
	struct guarded *f = *state;

	guarded_start(f, 1, 0);
	guarded_order(f, 'l');
	guarded_kill_guardian(f);
	guarded_order(f, 'u');
	guarded_expect_end(f->qemus[0].qmp);
	guarded_expect_end(f->qemus[0].colo);
	guarded_order(f, 't');
	guarded_successor(f);
	guarded_kill_agent(f);
}

/* However early the agent dies: the successor finds everything when it begins. */
static void an_agent_killed_right_after_it_began_is_noticed(void **state)
{
	struct guarded *f = *state;

	guarded_start(f, 1, 0);
	guarded_order(f, 'h');
	guarded_order(f, 'l');
	guarded_kill_guardian(f);
	guarded_order(f, 't'); /* answered when it has been started, not when it runs */
	guarded_kill_agent(f);
	expect_freed(&f->qemus[0]);
}

static void so_has_a_successor(void **state)
{
	struct guarded *f = *state;

	guarded_start(f, 1, 0);
	guarded_order(f, 'h');
	guarded_kill_guardian(f);
	guarded_successor(f);
	guarded_kill_guardian(f);
	guarded_successor(f);
	guarded_kill_guardian(f);
	guarded_successor(f);
	guarded_kill_agent(f);
	expect_freed(&f->qemus[0]);
}

static void one_that_is_stopped_has_a_successor_and_never_does_anything_again(void **state)
{
	struct guarded *f = *state;
	struct guarded_qemu *qemu = &f->qemus[0];
	pid_t first;

	guarded_start(f, 1, 300);
	guarded_order(f, 'h');
	guarded_order(f, 'r');
	first = f->guardian;
	guarded_stop_guardian(f);
	guarded_successor(f);
	assert_int_equal(kill(first, SIGCONT), -1);
	guarded_expect_silence(qemu);
	guarded_order(f, 'h');
	guarded_kill_agent(f);
	expect_freed(qemu);
}

#define CLAIM(test) cmocka_unit_test_setup_teardown(test, guarded_setup, guarded_teardown)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		CLAIM(it_frees_what_its_predecessor_watched),
		CLAIM(it_knows_what_was_held_before_it_came),
		CLAIM(it_knows_what_was_let_go_while_there_was_none),
		CLAIM(it_counts_the_time_of_a_hold_from_its_beginning),
		CLAIM(it_does_not_watch_what_was_unwatched_while_there_was_none),
		CLAIM(an_agent_killed_right_after_it_began_is_noticed),
		CLAIM(so_has_a_successor),
		CLAIM(one_that_is_stopped_has_a_successor_and_never_does_anything_again),
	};

	if (guardian_process_is_one(argc, argv))
		guardian_process_run();
	log_setup(LOG_LEVEL_ERROR, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
