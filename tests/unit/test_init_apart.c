/* What never answers here is a pipe that nobody writes to. */
#include "appliance/init_apart.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMES_MAX 32

static struct err err;
static int ends[2]; /* of a pipe by which the work tells what it does */

static int set_up(void **state)
{
	(void)state;
	return pipe(ends);
}

static int tear_down(void **state)
{
	(void)state;
	(void)close(ends[0]);
	return close(ends[1]);
}

/* A letter for each device that was looked at. */
static const char *looked_at(void)
{
	static char text[TIMES_MAX + 1];
	ssize_t n;

	assert_int_equal(write(ends[1], ".", 1), 1); /* so that there is something */
	n = read(ends[0], text, TIMES_MAX);
	assert_true(n > 0);
	text[n - 1] = '\0';
	return text;
}

static void look(const char *device)
{
	char byte;
	int never[2];

	if (init_apart_hangs(device))
		return;
	init_apart_at(device, strchr(device, 'x') != NULL ? 100 : INIT_APART_LOOK_MS);
	(void)write(ends[1], device, 1);
	if (strchr(device, 'x') != NULL && pipe(never) == 0)
		(void)read(never[0], &byte, 1);
	init_apart_at(NULL, 0);
}

/* owner: the devices, with spaces between. */
static int work(void *owner, struct err *why)
{
	char *rest, names[64];

	(void)strncpy(names, owner, sizeof(names) - 1);
	names[sizeof(names) - 1] = '\0';
	for (const char *name = strtok_r(names, " ", &rest); name != NULL;
	     name = strtok_r(NULL, " ", &rest))
		look(name);
	return err_set(why, RC_REFUSED, "done");
}

static int crash(void *owner, struct err *why)
{
	(void)owner;
	(void)why;
	init_apart_at("vdz", INIT_APART_LOOK_MS);
	return raise(SIGKILL);
}

static void what_the_work_returns_comes_back(void **state)
{
	char devices[] = "a b";

	(void)state;
	assert_int_equal(init_apart(work, devices, NULL, &err), RC_REFUSED);
	assert_int_equal(err.code, RC_REFUSED);
	assert_string_equal(err.text, "done");
	assert_string_equal(looked_at(), "ab");
}

static void what_does_not_answer_is_left_out_and_stays_so(void **state)
{
	char devices[] = "a bx c dx e", later[] = "bx f";

	(void)state;
	assert_int_equal(init_apart(work, devices, NULL, &err), RC_REFUSED);
	assert_string_equal(looked_at(), "abacdace");
	assert_int_equal(init_apart(work, later, NULL, &err), RC_REFUSED);
	assert_string_equal(looked_at(), "f");
	assert_true(init_apart_hangs("bx") && !init_apart_hangs("a"));
}

static void the_watchdog_is_told_meanwhile(void **state)
{
	char devices[] = "gx";
	struct init_watchdog watchdog = { .fd = dup(ends[1]), .every_ms = 1, .due_ms = 0 };

	(void)state;
	assert_int_equal(init_apart(work, devices, &watchdog, &err), RC_REFUSED);
	assert_true(watchdog.due_ms > 0);
	assert_int_equal(close(watchdog.fd), 0);
}

static void a_fault_ends_the_work_only(void **state)
{
	(void)state;
	assert_int_equal(init_apart(crash, NULL, NULL, &err), RC_IO);
	assert_non_null(strstr(err.text, "vdz"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_the_work_returns_comes_back),
		TEST(what_does_not_answer_is_left_out_and_stays_so),
		TEST(the_watchdog_is_told_meanwhile),
		TEST(a_fault_ends_the_work_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
