/* Clients' checks rely on the test guest's ledger refusing what it does not hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/guest/ledger.c"

void give_up(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	abort();
}

static const char *append(const char *text)
{
	static char to[256];

	assert_in_range(ledger_append_answer(text, to, sizeof(to)), 1, sizeof(to) - 1);
	return to;
}

static const char *entry(const char *number)
{
	static char to[256];

	assert_in_range(ledger_entry_answer(number, to, sizeof(to)), 1, sizeof(to) - 1);
	return to;
}

static bool refused(const char *answer)
{
	return strncmp(answer, "error ", 6) == 0;
}

static void nothing_is_in_it_at_first(void **unused)
{
	(void)unused;
	assert_true(refused(entry("1")));
	assert_true(refused(entry("0")));
}

static void entries_are_numbered_and_come_back(void **unused)
{
	char longest[LEDGER_TEXT_MAX + 2], line[sizeof(longest) + 1];

	(void)unused;
	memset(longest, 'x', sizeof(longest));
	longest[LEDGER_TEXT_MAX] = '\0';
	assert_string_equal(append("first"), "1\n");
	assert_string_equal(append(longest), "2\n");
	assert_string_equal(entry("1"), "first\n");
	(void)snprintf(line, sizeof(line), "%s\n", longest);
	assert_string_equal(entry("2"), line);
	assert_true(refused(entry("3")));
}

static void what_is_too_long_or_no_number_is_refused(void **unused)
{
	char longer[LEDGER_TEXT_MAX + 2];
	static const char *const bad[] = { "", "-1", "+1", " 1", "1x", "99999999999999999999" };
	size_t i;

	(void)unused;
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_true(refused(append(longer)));
	assert_true(refused(append("")));
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(refused(entry(bad[i])));
	assert_string_equal(append("third"), "3\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_in_it_at_first),
		cmocka_unit_test(entries_are_numbered_and_come_back),
		cmocka_unit_test(what_is_too_long_or_no_number_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
