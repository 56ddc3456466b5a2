/* Who was left where a new replica is to be: ended if it only waits, else left alone. */
#include "tests/unit/hypervisor_fixture.h"

#include "tests/unit/unix_socket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void a_warm_one_that_was_left_makes_way(void **state)
{
	pid_t pid;

	NEED_QEMU();
	warm_derive("-m 16");
	warm_start();
	pid = hypervisor_pid(warm.hypervisor);
	warm_close_it(true);
	assert_true(warm_exists(pid));

	warm_clear();
	assert_int_equal(warm.told.code, RC_OK);
	assert_int_equal(waitpid(pid, NULL, 0), pid); /* it has ended: this does not wait */
	warm_start();
	assert_int_equal(warm.readies, 2);
}

/* The name of a socket in run_dir. */
static const char *socket_path(void)
{
	static char path[108];

	assert_int_equal(mkdir(warm.run_dir, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/" CMDLINE_QMP_NAME, warm.run_dir);
	return path;
}

static void one_that_does_not_answer_is_left_alone(void **state)
{
	const char *path = socket_path();
	int fd = unix_socket_listen(path);

	(void)state;
	warm_clear();
	assert_int_equal(warm.told.code, RC_TIMEOUT);
	assert_non_null(strstr(warm.told.text, CMDLINE_QMP_NAME));
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(close(fd), 0);
}

static void on_cancelled(void *owner, const struct err *result)
{
	assert_int_equal(result->code, RC_CANCELLED);
	*(int *)owner += 1;
	uv_stop(&warm.loop);
}

static void the_wait_for_it_can_be_given_up(void **state)
{
	const char *path = socket_path();
	int fd = unix_socket_listen(path), told = 0;

	(void)state;
	assert_int_equal(predecessor_clear(&warm.predecessor, &warm.loop, "test", path,
					   on_cancelled, &told, &warm.err),
			 RC_OK);
	predecessor_cancel(warm.predecessor);
	predecessor_cancel(warm.predecessor);
	assert_int_equal(told, 0);
	warm_run();
	assert_int_equal(told, 1);
	assert_int_equal(close(fd), 0);
}

static void nobody_is_told_at_once(void **state)
{
	const char *path = socket_path();
	int fd = unix_socket_bind(path);

	(void)state;
	assert_int_equal(close(fd), 0);
	assert_int_equal(predecessor_clear(&warm.predecessor, &warm.loop, "test", path,
					   on_cancelled, NULL, &warm.err),
			 RC_CLOSED);
	(void)uv_run(&warm.loop, UV_RUN_NOWAIT); /* what was opened for it is being closed */
}

#define CLAIM(test) cmocka_unit_test_setup_teardown(test, warm_setup, warm_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(a_warm_one_that_was_left_makes_way),
		CLAIM(one_that_does_not_answer_is_left_alone),
		CLAIM(the_wait_for_it_can_be_given_up),
		CLAIM(nobody_is_told_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
