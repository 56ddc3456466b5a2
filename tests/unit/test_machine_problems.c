#include "appliance/machine_problems.h"

#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[SCRATCH_MAX], path[SCRATCH_MAX + 32];
static struct err err;

/* All that is kept, with a | behind each. */
static const char *kept(void)
{
	static char all[2 * MACHINE_PROBLEMS_MAX];
	char text[LOG_LINE_MAX];
	struct buf lines;
	size_t at = 0, len = 0;

	all[0] = '\0';
	assert_int_equal(machine_problems_read(&lines, path, &err), RC_OK);
	while (machine_problems_next(&lines, &at, text))
		len += (size_t)snprintf(all + len, sizeof(all) - len, "%s|", text);
	buf_free(&lines);
	return all;
}

static void each_is_kept_once_in_a_line_of_its_own(void **state)
{
	(void)state;
	assert_string_equal(kept(), "");
	machine_problem("before there is a file");
	machine_problems_keep(path);
	machine_problem("%s is not there", "eth0");
	machine_problem("no disk\nand a line that is none");
	machine_problem("eth0 is not there");
	machine_problem("eth0 is not");
	assert_string_equal(kept(),
			    "eth0 is not there|no disk and a line that is none|eth0 is not|");
}

static void those_of_an_earlier_machine_are_gone(void **state)
{
	(void)state;
	machine_problems_keep(path);
	machine_problem("one");
	machine_problems_keep(path);
	assert_string_equal(kept(), "");
}

static void there_may_not_be_more_than_can_be_read(void **state)
{
	char text[LOG_LINE_MAX + 100];
	size_t len;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_setup(LOG_LEVEL_COUNT, false);
	machine_problems_keep(path);
	for (int i = 0; i < 2 * MACHINE_PROBLEMS_MAX / LOG_LINE_MAX; i++)
		machine_problem("%d %s", i, text);
	len = strlen(kept());
	assert_true(len <= MACHINE_PROBLEMS_MAX && len > MACHINE_PROBLEMS_MAX - LOG_LINE_MAX);
	assert_int_equal(strlen(strchr(kept(), '|') + 1) % LOG_LINE_MAX, 0);
}

static void a_file_without_an_end_of_line_and_one_that_is_none_are_read_as_far_as_they_can_be(
	void **state)
{
	FILE *file = fopen(path, "we");
	struct buf lines;

	(void)state;
	assert_non_null(file);
	assert_true(fputs("\na\nb", file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_string_equal(kept(), "|a|b|");
	assert_int_equal(machine_problems_read(&lines, dir, &err), RC_REFUSED);
	buf_free(&lines);
}

static int set_up(void **state)
{
	(void)state;
	if (scratch_make(dir, "problems") != 0)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/problems", dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	machine_problems_keep(NULL);
	(void)unlink(path);
	return rmdir(dir);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_is_kept_once_in_a_line_of_its_own),
		TEST(those_of_an_earlier_machine_are_gone),
		TEST(there_may_not_be_more_than_can_be_read),
		TEST(a_file_without_an_end_of_line_and_one_that_is_none_are_read_as_far_as_they_can_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
