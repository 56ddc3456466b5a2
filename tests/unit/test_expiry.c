/* A certificate's end, days before and afterwards; and its beginning. */
#include "appliance/expiry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define DAY INT64_C(86400)
#define UNTIL INT64_C(1798761600) /* 2027-01-01 */
#define FROM (UNTIL - 90 * DAY)

static void it_is_told_before_its_time_and_two_weeks_before_the_end_and_from_then_on(void **state)
{
	static const struct {
		int64_t now;
		const char *says;
	} cases[] = {
		{ 0, "is not valid before 2026-10-03 00:00 UTC" },
		{ FROM - 1, "is this machine's clock right?" },
		{ FROM, "" },
		{ UNTIL - 14 * DAY - 1, "" },
		{ UNTIL - 14 * DAY, "expires in 14 days, on 2027-01-01 00:00 UTC" },
		{ UNTIL - DAY - 1, "in 1 days" },
		{ UNTIL - 1, "in 0 days" },
		{ UNTIL, "has expired on 2027-01-01 00:00 UTC" },
		{ UNTIL + 1000 * DAY, "has expired" },
	};
	char text[EXPIRY_TEXT_MAX];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		expiry_problem(text, "/etc/understudy/standby.crt", FROM, UNTIL, cases[i].now);
		if (*cases[i].says == '\0')
			assert_string_equal(text, "");
		else if (strstr(text, cases[i].says) == NULL)
			fail_msg("%s", text);
	}
	assert_non_null(strstr(text, "/etc/understudy/standby.crt"));
	expiry_problem(text, "x", INT64_MIN, INT64_MAX, UNTIL); /* never */
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			it_is_told_before_its_time_and_two_weeks_before_the_end_and_from_then_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
