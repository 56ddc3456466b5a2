/* One agent per QEMU: the claim excludes, says who has it, and ends with its holder. */
#include "replica/claim.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

typedef int (*take_fn)(int *claim, pid_t pid, struct err *err);
static const take_fn takes[] = { claim_take, claim_take_proc };
#define TAKES (sizeof(takes) / sizeof(takes[0]))

/* A child that does what it is for, tells one byte, and waits until it is ended. */
static pid_t start_child(int (*task)(void *argument), void *argument, char *told)
{
	int pair[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		byte = (char)('0' + (task != NULL ? task(argument) : 0));
		if (write(pair[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	(void)close(pair[1]);
	assert_int_equal(read(pair[0], &byte, 1), 1);
	(void)close(pair[0]);
	if (told != NULL)
		*told = byte;
	return pid;
}

static void end_child(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

struct attempt {
	take_fn take;
	pid_t pid;
};

static int try_it(void *argument)
{
	const struct attempt *attempt = argument;
	struct err err;
	int claim;

	return attempt->take(&claim, attempt->pid, &err);
}

static void the_second_is_refused_until_the_first_gives_it_up(void **state)
{
	pid_t qemu = start_child(NULL, NULL, NULL);
	int first, second;
	struct err err;

	(void)state;
	for (size_t i = 0; i < TAKES; i++) {
		assert_int_equal(takes[i](&first, qemu, &err), RC_OK);
		assert_int_equal(takes[i](&second, qemu, &err), RC_STATE);
		assert_int_equal(second, CLAIM_NONE);
		claim_end(&first);
		assert_int_equal(first, CLAIM_NONE);
		claim_end(&first);
		assert_int_equal(takes[i](&second, qemu, &err), RC_OK);
		claim_end(&second);
	}
	end_child(qemu);
}

static void two_qemus_are_claimed_independently(void **state)
{
	pid_t one = start_child(NULL, NULL, NULL), other = start_child(NULL, NULL, NULL);
	int first, second;
	struct err err;

	(void)state;
	for (size_t i = 0; i < TAKES; i++) {
		assert_int_equal(takes[i](&first, one, &err), RC_OK);
		assert_int_equal(takes[i](&second, other, &err), RC_OK);
		claim_end(&first);
		claim_end(&second);
	}
	end_child(one);
	end_child(other);
}

static void the_refusal_names_the_holder(void **state)
{
	pid_t qemu = start_child(NULL, NULL, NULL), agent;
	char expected[64], told;
	struct err err;
	int claim;

	(void)state;
	for (size_t i = 0; i < TAKES; i++) {
		struct attempt attempt = { takes[i], qemu };

		agent = start_child(try_it, &attempt, &told);
		assert_int_equal(told, '0' + RC_OK);
		assert_int_equal(takes[i](&claim, qemu, &err), RC_STATE);
		(void)snprintf(expected, sizeof(expected), "another understudy agent (pid %d)",
			       (int)agent);
		assert_non_null(strstr(err.text, expected));
		end_child(agent);
	}
	end_child(qemu);
}

static void the_holder_is_known_without_a_claim(void **state)
{
	pid_t qemu = start_child(NULL, NULL, NULL), agent;
	struct attempt attempt = { claim_take, qemu };
	struct err err;
	int claim;

	(void)state;
	assert_int_equal(claim_holder(qemu), 0);
	agent = start_child(try_it, &attempt, NULL);
	assert_int_equal(claim_holder(qemu), agent);
	end_child(agent);
	assert_int_equal(claim_holder(qemu), 0);
	assert_int_equal(claim_take(&claim, qemu, &err), RC_OK); /* nobody was in the way */
	assert_int_equal(claim_holder(qemu), getpid());
	claim_end(&claim);
	end_child(qemu);
	assert_int_equal(claim_holder(qemu), 0);
	assert_int_equal(claim_holder(0), 0);
}

static void another_instance_of_the_same_agent_is_told_so(void **state)
{
	pid_t qemu = start_child(NULL, NULL, NULL);
	int first, second;
	struct err err;

	(void)state;
	for (size_t i = 0; i < TAKES; i++) {
		assert_int_equal(takes[i](&first, qemu, &err), RC_OK);
		assert_int_equal(takes[i](&second, qemu, &err), RC_STATE);
		assert_non_null(strstr(err.text, "another instance of this agent"));
		claim_end(&first);
	}
	end_child(qemu);
}

static void it_ends_with_a_holder_that_is_killed(void **state)
{
	pid_t qemu = start_child(NULL, NULL, NULL), agent;
	struct err err;
	int claim;
	char told;

	(void)state;
	for (size_t i = 0; i < TAKES; i++) {
		struct attempt attempt = { takes[i], qemu };

		agent = start_child(try_it, &attempt, &told);
		assert_int_equal(told, '0' + RC_OK);
		end_child(agent);
		assert_int_equal(takes[i](&claim, qemu, &err), RC_OK);
		claim_end(&claim);
	}
	end_child(qemu);
}

static void a_program_that_the_holder_starts_does_not_keep_it(void **state)
{
	pid_t qemu = start_child(NULL, NULL, NULL), child;
	int claim, again, r;
	struct err err;

	(void)state;
	for (size_t i = 0; i < TAKES; i++) {
		assert_int_equal(takes[i](&claim, qemu, &err), RC_OK);
		child = fork();
		if (child == 0) {
			(void)execl("/bin/sleep", "sleep", "60", (char *)NULL);
			_exit(127);
		}
		claim_end(&claim);
		/* The fork shares the lock until it executes. */
		for (int tries = 0; (r = takes[i](&again, qemu, &err)) != RC_OK && tries < 2000;
		     tries++)
			(void)usleep(1000);
		assert_int_equal(r, RC_OK);
		claim_end(&again);
		end_child(child);
	}
	end_child(qemu);
}

/* As in a container: its own mounts, network and /proc. */
static int try_from_a_container(void *argument)
{
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) != 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("proc", "/proc", "proc", 0, NULL) != 0)
		return RC_COUNT;
	return try_it(argument);
}

static void an_agent_in_a_container_is_seen_where_the_kernel_has_pidfs(void **state)
{
	pid_t qemu = start_child(NULL, NULL, NULL), agent;
	int pidfd = (int)syscall(SYS_pidfd_open, qemu, 0), claim;
	struct attempt attempt = { claim_take, qemu };
	bool pidfs, container;
	struct statfs fs;
	struct err err;
	char told;

	(void)state;
	assert_int_equal(fstatfs(pidfd, &fs), 0);
	(void)close(pidfd);
	pidfs = fs.f_type == 0x50494446;
	assert_int_equal(claim_take(&claim, qemu, &err), RC_OK);
	agent = start_child(try_from_a_container, &attempt, &told);
	container = told != '0' + RC_COUNT;
	end_child(agent);
	claim_end(&claim);
	end_child(qemu);
	if (!pidfs || !container)
		skip(); /* a kernel before 6.9, or no right to make namespaces */
	assert_int_equal(told, '0' + RC_STATE);
}

static void a_process_that_is_gone_cannot_be_claimed(void **state)
{
	pid_t qemu = start_child(NULL, NULL, NULL);
	struct err err;
	int claim = 0;

	(void)state;
	end_child(qemu);
	for (size_t i = 0; i < TAKES; i++) {
		assert_int_equal(takes[i](&claim, qemu, &err), RC_IO);
		assert_int_equal(claim, CLAIM_NONE);
		assert_int_equal(takes[i](&claim, 0, &err), RC_IO); /* QMP did not tell whose */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_second_is_refused_until_the_first_gives_it_up),
		cmocka_unit_test(two_qemus_are_claimed_independently),
		cmocka_unit_test(the_refusal_names_the_holder),
		cmocka_unit_test(the_holder_is_known_without_a_claim),
		cmocka_unit_test(another_instance_of_the_same_agent_is_told_so),
		cmocka_unit_test(it_ends_with_a_holder_that_is_killed),
		cmocka_unit_test(a_program_that_the_holder_starts_does_not_keep_it),
		cmocka_unit_test(an_agent_in_a_container_is_seen_where_the_kernel_has_pidfs),
		cmocka_unit_test(a_process_that_is_gone_cannot_be_claimed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
