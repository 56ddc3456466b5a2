#include "appliance/init_processes.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char dir[SCRATCH_MAX];

static void run(const char *script)
{
	char command[1024];

	(void)snprintf(command, sizeof(command), "cd %s && %s", dir, script);
	assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a path of our own */
}

static int set_up(void **state)
{
	(void)state;
	assert_int_equal(scratch_make(dir, "proc"), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	run("rm -rf \"$PWD\"");
	return 0;
}

static void processes_are_told_by_number_and_the_kernels_threads_are_not(void **state)
{
	char text[128];

	(void)state;
	run("mkdir 1 2 57 100 200 sys && echo kthreadd >2/comm && : >2/cmdline && "
	    "for p in 1 57; do echo understudy >$p/comm; printf 'init\\0-x\\0' >$p/cmdline; done && "
	    "echo qemu-system-x86 >100/comm && printf '/bin/qemu\\0' >100/cmdline && echo 1 >sys/comm");
	init_processes_tell(text, sizeof(text), dir);
	assert_string_equal(text, "understudy (1), understudy (57), qemu-system-x86 (100)");
}

static void what_there_is_no_room_for_is_left_out_and_that_is_told(void **state)
{
	char text[40], none[8];

	(void)state;
	run("for p in 1 2 3 4; do mkdir $p; echo understudy >$p/comm; echo x >$p/cmdline; done");
	init_processes_tell(text, sizeof(text), dir);
	assert_string_equal(text, "understudy (1), understudy (2), ...");
	init_processes_tell(none, sizeof(none), dir);
	assert_string_equal(none, ", ...");
	init_processes_tell(text, sizeof(text), "/no/such/place");
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			processes_are_told_by_number_and_the_kernels_threads_are_not, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			what_there_is_no_room_for_is_left_out_and_that_is_told, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
