#include "replica/last_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct last_words words;
static char text[400];
static int lines;

static void on_line(void *owner, const char *line)
{
	(void)owner;
	assert_null(strchr(line, '\n'));
	lines++;
}

static void say(const char *what)
{
	last_words_add(&words, what, strlen(what), on_line, NULL);
}

static int setup(void **state)
{
	(void)state;
	memset(&words, 0, sizeof(words));
	lines = 0;
	return 0;
}

static void nothing_said_is_empty(void **state)
{
	(void)state;
	last_words_text(&words, "qemu", text, sizeof(text));
	assert_string_equal(text, "");
}

static void lines_are_joined_without_the_programs_name_and_without_warnings(void **state)
{
	(void)state;
	say("qemu: warning: something is deprecated\nqemu: -dev");
	say("ice x: no such device\n\nload failed\n");
	last_words_text(&words, "qemu", text, sizeof(text));
	assert_string_equal(text, "-device x: no such device; load failed");
	assert_int_equal(lines, 3);
}

static void warnings_are_told_when_there_is_nothing_else(void **state)
{
	(void)state;
	say("qemu: warning: a\nqemu: warning: b\n");
	last_words_text(&words, "qemu", text, sizeof(text));
	assert_string_equal(text, "warning: a; warning: b");
}

static void an_end_without_newline_counts(void **state)
{
	(void)state;
	say("one\ntwo");
	last_words_text(&words, NULL, text, sizeof(text));
	assert_string_equal(text, "one; two");
	assert_int_equal(lines, 1);
}

static void of_much_the_last_lines_are_kept(void **state)
{
	char line[64];

	(void)state;
	for (int i = 0; i < 10000; i++) {
		(void)snprintf(line, sizeof(line), "line %d\n", i);
		say(line);
	}
	last_words_text(&words, NULL, text, 40);
	assert_string_equal(text, "line 9997; line 9998; line 9999");
	assert_true(words.len <= LAST_WORDS_MAX);
}

static void endless_lines_and_nuls_are_cut(void **state)
{
	char flood[5000];

	(void)state;
	memset(flood, 'x', sizeof(flood));
	for (int i = 0; i < 10; i++)
		last_words_add(&words, flood, sizeof(flood), on_line, NULL);
	last_words_add(&words, "\0\0\n", 3, on_line, NULL);
	assert_int_equal(lines, 1);
	last_words_text(&words, NULL, text, sizeof(text));
	assert_int_equal(strlen(text), sizeof(text) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(nothing_said_is_empty, setup),
		cmocka_unit_test_setup(
			lines_are_joined_without_the_programs_name_and_without_warnings, setup),
		cmocka_unit_test_setup(warnings_are_told_when_there_is_nothing_else, setup),
		cmocka_unit_test_setup(an_end_without_newline_counts, setup),
		cmocka_unit_test_setup(of_much_the_last_lines_are_kept, setup),
		cmocka_unit_test_setup(endless_lines_and_nuls_are_cut, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
