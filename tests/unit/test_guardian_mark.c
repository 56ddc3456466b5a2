/* The next agent finds the guardian of one that is gone, and ends it and nobody else. */
#include "replica/guardian_mark.h"

#include "replica/claim.h"
#include "replica/guardian_process.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A process of that name which marks this one: to SO_PEERCRED it is the other end. */
static pid_t start_guardian(const char *name, enum guardian_mark shows)
{
	int pair[2], mark;
	char byte = '0';
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)prctl(PR_SET_NAME, name, 0, 0, 0);
		mark = guardian_mark_set(pair[1]);
		guardian_mark_become(mark, shows);
		if (mark < 0 || write(pair[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	(void)close(pair[1]);
	assert_int_equal(read(pair[0], &byte, 1), 1);
	(void)close(pair[0]);
	return pid;
}

static void end(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void one_that_watches_is_found_and_ended(void **state)
{
	pid_t guardian = start_guardian(GUARDIAN_PROCESS_NAME, GUARDIAN_MARK_WATCHES), found;
	int status;

	(void)state;
	assert_int_equal(kill(guardian, SIGSTOP), 0);
	assert_int_equal(guardian_mark_find(getpid(), &found), GUARDIAN_MARK_WATCHES);
	assert_int_equal(found, guardian);
	assert_int_equal(guardian_mark_end(getpid(), found), 0);
	assert_int_equal(waitpid(guardian, &status, 0), guardian);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(guardian_mark_find(getpid(), &found), GUARDIAN_MARK_NONE);
	assert_int_equal(found, 0);
}

static void one_that_releases_is_told_and_left_alone(void **state)
{
	pid_t guardian = start_guardian(GUARDIAN_PROCESS_NAME, GUARDIAN_MARK_RELEASES), found;

	(void)state;
	assert_int_equal(guardian_mark_find(getpid(), &found), GUARDIAN_MARK_RELEASES);
	assert_int_equal(found, guardian);
	assert_int_equal(guardian_mark_end(getpid(), guardian), ESRCH);
	assert_int_equal(waitpid(guardian, NULL, WNOHANG), 0);
	end(guardian);
}

static void nobody_else_is_ended(void **state)
{
	pid_t other = start_guardian("somebody", GUARDIAN_MARK_WATCHES), guardian, found;

	(void)state;
	assert_int_equal(guardian_mark_find(getpid(), &found), GUARDIAN_MARK_NONE);
	assert_int_equal(guardian_mark_end(getpid(), other), ESRCH);
	guardian = start_guardian(GUARDIAN_PROCESS_NAME, GUARDIAN_MARK_WATCHES);
	assert_int_equal(guardian_mark_end(getpid(), other), ESRCH);
	assert_int_equal(guardian_mark_end(other, guardian), ESRCH); /* of another QEMU */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), 0);
	end(other);
	end(guardian);
	assert_int_equal(guardian_mark_end(getpid(), guardian), ESRCH);
}

static void one_that_has_stopped_it_says_so_and_sees_who_watches(void **state)
{
	pid_t guardian = start_guardian(GUARDIAN_PROCESS_NAME, GUARDIAN_MARK_STOPPED), found;
	int pair[2], mark;

	(void)state;
	assert_true(guardian_mark_is_stopped(getpid()));
	assert_false(guardian_mark_is_stopped(guardian));
	/* It keeps nobody from QEMU. */
	assert_int_equal(guardian_mark_find(getpid(), &found), GUARDIAN_MARK_NONE);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	mark = guardian_mark_set(pair[0]);
	assert_false(guardian_mark_has_other(mark));
	end(guardian);
	assert_false(guardian_mark_is_stopped(getpid()));
	guardian = start_guardian(GUARDIAN_PROCESS_NAME, GUARDIAN_MARK_WATCHES);
	assert_true(guardian_mark_has_other(mark));
	end(guardian);
	(void)close(mark);
	(void)close(pair[0]);
	(void)close(pair[1]);
}

static void a_mark_and_a_claim_do_not_exclude_each_other(void **state)
{
	pid_t guardian = start_guardian(GUARDIAN_PROCESS_NAME, GUARDIAN_MARK_WATCHES), found;
	struct err err;
	int claim;

	(void)state;
	assert_int_equal(claim_take(&claim, getpid(), &err), RC_OK);
	assert_int_equal(guardian_mark_find(getpid(), &found), GUARDIAN_MARK_WATCHES);
	claim_end(&claim);
	assert_int_equal(guardian_mark_find(getpid(), &found), GUARDIAN_MARK_WATCHES);
	end(guardian);
}

static void what_is_no_socket_has_no_mark(void **state)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(guardian_mark_set(fd), -1);
	guardian_mark_become(-1, GUARDIAN_MARK_RELEASES);
	assert_false(guardian_mark_has_other(-1));
	assert_false(guardian_mark_is_stopped(-1));
	(void)close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_watches_is_found_and_ended),
		cmocka_unit_test(one_that_releases_is_told_and_left_alone),
		cmocka_unit_test(one_that_has_stopped_it_says_so_and_sees_who_watches),
		cmocka_unit_test(nobody_else_is_ended),
		cmocka_unit_test(a_mark_and_a_claim_do_not_exclude_each_other),
		cmocka_unit_test(what_is_no_socket_has_no_mark),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
