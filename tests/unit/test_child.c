#include "appliance/base/clock.h"
#include "replica/child.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static uv_loop_t loop;
static struct child *child;
static struct err err, how;
static int ends, closes;
static bool close_at_end;

static void on_closed(void *owner)
{
	assert_ptr_equal(owner, &loop);
	closes++;
}

static void on_end(void *owner, const struct err *why)
{
	assert_ptr_equal(owner, &loop);
	how = *why;
	ends++;
	if (close_at_end)
		child_close(child, false, on_closed);
}

static int setup(void **state)
{
	(void)state;
	ends = closes = 0;
	close_at_end = true;
	return uv_loop_init(&loop);
}

static int teardown(void **state)
{
	(void)state;
	return uv_loop_close(&loop); /* nothing of ours is left in it */
}

static int start(const char *script)
{
	char sh[] = "/bin/sh", c[] = "-c", text[512];
	char *args[] = { sh, c, text, NULL };

	(void)snprintf(text, sizeof(text), "%s", script);
	return child_start(&child, &loop,
			   &(struct child_options){ "test", args, "/tmp", -1, false }, on_end,
			   &loop, &err);
}

static void run(void)
{
	(void)uv_run(&loop, UV_RUN_DEFAULT);
}

static void its_end_is_told_with_its_last_words(void **state)
{
	(void)state;
	assert_int_equal(start("echo 'sh: warning: old' >&2; echo 'sh: no such disk' >&2; exit 3"),
			 RC_OK);
	assert_true(child_pid(child) > 0);
	run();
	assert_int_equal(ends, 1);
	assert_int_equal(closes, 1);
	assert_int_equal(how.code, RC_CLOSED);
	assert_string_equal(how.text, "sh ended with status 3: no such disk");
}

static void a_kill_does_not_ask(void **state)
{
	(void)state;
	assert_int_equal(start("trap '' TERM; kill -STOP $$"), RC_OK);
	child_kill(child);
	run();
	assert_int_equal(ends, 1);
	assert_string_equal(how.text, "sh was ended by signal 9 (Killed)");
}

static void a_signal_is_told_by_number_and_name(void **state)
{
	(void)state;
	assert_int_equal(start("kill -9 $$"), RC_OK);
	run();
	assert_non_null(strstr(how.text, "sh was ended by signal 9 (Killed)"));
}

static void it_starts_in_its_directory_and_in_a_session_of_its_own(void **state)
{
	long session;
	char *end;

	(void)state;
	assert_int_equal(start("echo \"$PWD $(cut -d' ' -f6 /proc/$$/stat) $$\" >&2"), RC_OK);
	run();
	session = strtol(strstr(how.text, "/tmp ") + 5, &end, 10);
	assert_true(session > 0);
	assert_int_equal(strtol(end, NULL, 10), session); /* it leads it */
}

static void a_helper_that_holds_standard_error_delays_the_end_only_a_little(void **state)
{
	static const char words[] = "sh ended with status 1: ";
	uint64_t began = clock_now_ns();
	long helper;

	(void)state;
	assert_int_equal(start("sleep 5 & echo $! >&2; exit 1"), RC_OK);
	run();
	assert_int_equal(ends, 1);
	assert_true(clock_now_ns() - began < 3 * CLOCK_NS_PER_S);
	assert_memory_equal(how.text, words, strlen(words));
	helper = strtol(how.text + strlen(words), NULL, 10);
	assert_true(helper > 1);
	(void)kill((pid_t)helper, SIGKILL);
}

static void what_cannot_be_started_says_so_and_leaves_nothing(void **state)
{
	char none[] = "/no/such/program";
	char *args[] = { none, NULL };

	(void)state;
	assert_int_equal(child_start(&child, &loop,
				     &(struct child_options){ "test", args, "/tmp", -1, false },
				     on_end, &loop, &err),
			 RC_IO);
	assert_non_null(strstr(err.text, "/no/such/program: no such file"));
	run();
	assert_int_equal(ends, 0);
}

static void closing_ends_it_and_leaves_no_zombie(void **state)
{
	pid_t pid;

	(void)state;
	assert_int_equal(start("exec sleep 60"), RC_OK);
	pid = child_pid(child);
	child_close(child, false, on_closed);
	child_close(child, false, on_closed);
	run();
	assert_int_equal(ends, 0);
	assert_int_equal(closes, 1);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
}

static void one_that_ignores_sigterm_is_killed_after_two_seconds(void **state)
{
	uint64_t began = clock_now_ns();
	pid_t pid;

	(void)state;
	assert_int_equal(start("trap '' TERM; while :; do sleep 0.05; done"), RC_OK);
	pid = child_pid(child);
	(void)usleep(200000); /* until the trap is set */
	child_close(child, false, on_closed);
	run();
	assert_int_equal(kill(pid, 0), -1);
	assert_true(clock_now_ns() - began >= 2 * CLOCK_NS_PER_S);
	assert_true(clock_now_ns() - began < 6 * CLOCK_NS_PER_S);
}

static void left_it_runs_on(void **state)
{
	pid_t pid;

	(void)state;
	assert_int_equal(start("exec sleep 60"), RC_OK);
	pid = child_pid(child);
	child_close(child, true, on_closed);
	run();
	assert_int_equal(closes, 1);
	assert_int_equal(kill(pid, 0), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_flood_of_words_is_read_and_bounded(void **state)
{
	(void)state;
	assert_int_equal(
		start("i=0; while [ $i -lt 20000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1"),
		RC_OK);
	run();
	assert_non_null(strstr(how.text, "line 19999"));
	assert_true(strlen(how.text) < ERR_TEXT_MAX);
}

#define CLAIM(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(its_end_is_told_with_its_last_words),
		CLAIM(a_kill_does_not_ask),
		CLAIM(a_signal_is_told_by_number_and_name),
		CLAIM(it_starts_in_its_directory_and_in_a_session_of_its_own),
		CLAIM(a_helper_that_holds_standard_error_delays_the_end_only_a_little),
		CLAIM(what_cannot_be_started_says_so_and_leaves_nothing),
		CLAIM(closing_ends_it_and_leaves_no_zombie),
		CLAIM(one_that_ignores_sigterm_is_killed_after_two_seconds),
		CLAIM(left_it_runs_on),
		CLAIM(a_flood_of_words_is_read_and_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
