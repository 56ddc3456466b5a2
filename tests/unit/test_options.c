#include "appliance/options.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *file, *dir, *names[2];
static size_t nnames;
static bool json;
static char said[4096]; /* on standard output and standard error */

static const struct option list[] = {
	{ .name = "config", .value = "FILE", .text = &file, .doc = "a file" },
	{ .name = "json", .flag = &json, .doc = "as JSON" },
	{ .name = "name",
	  .value = "SITE",
	  .text = names,
	  .most = 2,
	  .count = &nnames,
	  .doc = "a site" },
};
static const struct command command = { .synopsis = "verb DIR [--config FILE]",
					.about = "What it does.",
					.options = list,
					.count = 3,
					.operand = &dir,
					.operand_name = "DIR" };

/* Parses the words of `line`; true: go on. What was printed is in `said`. */
static bool parse(const char *line, int *status)
{
	static char words[256], *argv[16];
	int argc = 1, ends[2], out = dup(1), error = dup(2);
	bool go_on;
	ssize_t len;

	file = dir = names[0] = names[1] = NULL;
	nnames = 0;
	json = false;
	argv[0] = strcpy(words, "verb");
	(void)snprintf(words + 5, sizeof(words) - 5, "%s", line);
	for (char *word = strtok(words + 5, " "); word != NULL; word = strtok(NULL, " "))
		argv[argc++] = word;
	argv[argc] = NULL;
	(void)fflush(stdout);
	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	assert_true(dup2(ends[1], 1) == 1 && dup2(ends[1], 2) == 2);
	go_on = options_parse(&command, argc, argv, status);
	(void)fflush(stdout);
	assert_true(dup2(out, 1) == 1 && dup2(error, 2) == 2);
	len = read(ends[0], said, sizeof(said) - 1);
	said[len > 0 ? len : 0] = '\0';
	(void)close(ends[0]);
	(void)close(ends[1]);
	(void)close(out);
	(void)close(error);
	return go_on;
}

static void refuses(const char *line, const char *message)
{
	int status = -1;

	assert_false(parse(line, &status));
	assert_int_equal(status, EXIT_USAGE);
	assert_memory_equal(said, message, strlen(message));
	assert_non_null(strstr(said, "\nusage: understudy verb DIR [--config FILE]\n"));
}

static void options_and_the_operand_stand_in_any_order(void **state)
{
	int status;

	(void)state;
	assert_true(parse("--config a d --json", &status));
	assert_string_equal(file, "a");
	assert_string_equal(dir, "d");
	assert_true(json);
	assert_true(parse("d --config=b=c", &status));
	assert_string_equal(file, "b=c");
	assert_false(json);
}

static void an_option_is_repeated_as_often_as_it_may_be(void **state)
{
	int status;

	(void)state;
	assert_true(parse("d --name x --name=y", &status));
	assert_int_equal(nnames, 2);
	assert_string_equal(names[0], "x");
	assert_string_equal(names[1], "y");
	refuses("d --name x --name y --name z", "understudy verb: --name is given too often");
	refuses("d --config x --config y", "understudy verb: --config is given too often");
}

static void mistakes_are_told_with_the_usage(void **state)
{
	(void)state;
	refuses("d --confg x", "understudy verb: unknown option --confg; did you mean --config?");
	refuses("d --zzzzzzzz", "understudy verb: unknown option --zzzzzzzz\n");
	refuses("d --config", "understudy verb: --config needs a value: FILE");
	refuses("d --config=", "understudy verb: --config needs a value: FILE");
	refuses("d --json=yes", "understudy verb: --json takes no value");
	refuses("d e", "understudy verb: unexpected argument 'e'");
	refuses("--json", "understudy verb: DIR is missing");
	refuses("d -x", "understudy verb: unknown option -x\n");
	refuses("-x", "understudy verb: unknown option -x\n");
	refuses("-config x", "understudy verb: unknown option -config; did you mean --config?");
	refuses("-jsn=x", "understudy verb: unknown option -jsn; did you mean --json?");
}

static void two_dashes_end_the_options(void **state)
{
	int status;

	(void)state;
	assert_true(parse("--json -- -x", &status));
	assert_string_equal(dir, "-x");
	assert_true(json);
	assert_true(parse("-- --json", &status));
	assert_string_equal(dir, "--json");
	assert_false(json);
	assert_true(parse("-", &status));
	assert_string_equal(dir, "-");
	refuses("--", "understudy verb: DIR is missing");
	refuses("-- d --", "understudy verb: unexpected argument '--'");
}

static void help_explains_every_option(void **state)
{
	int status = -1;

	(void)state;
	assert_false(parse("--help", &status));
	assert_int_equal(status, EXIT_FINE);
	assert_string_equal(said, "usage: understudy verb DIR [--config FILE]\n\nWhat it does.\n\n"
				  "  --config FILE          a file\n"
				  "  --json                 as JSON\n"
				  "  --name SITE            a site\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_and_the_operand_stand_in_any_order),
		cmocka_unit_test(an_option_is_repeated_as_often_as_it_may_be),
		cmocka_unit_test(mistakes_are_told_with_the_usage),
		cmocka_unit_test(two_dashes_end_the_options),
		cmocka_unit_test(help_explains_every_option),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
