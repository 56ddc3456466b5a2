/* What is said again and again: once, then at growing distances. */
#include "appliance/base/repeat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static unsigned unsaid;

static bool due(struct repeat *repeat, const char *text, uint64_t now_ns)
{
	return repeat_is_due(repeat, text, now_ns, &unsaid);
}

static void the_same_is_said_once_and_then_at_growing_distances(void **state)
{
	const uint64_t step_ns = REPEAT_FIRST_NS / 60, end_ns = 48 * REPEAT_LAST_NS;
	uint64_t said_ns = 0, gap_ns = 0, now_ns;
	unsigned lines = 0, held = 0, told = 0;
	struct repeat repeat = { 0 };

	(void)state;
	for (now_ns = 0; now_ns < end_ns; now_ns += step_ns) {
		if (!due(&repeat, "no room", now_ns)) {
			held++;
			continue;
		}
		if (lines++ > 0) {
			assert_true(now_ns - said_ns >= gap_ns);
			gap_ns = now_ns - said_ns;
			assert_in_range(gap_ns, REPEAT_FIRST_NS, REPEAT_LAST_NS);
		}
		said_ns = now_ns;
		told += unsaid;
	}
	assert_int_equal(gap_ns, REPEAT_LAST_NS);
	assert_in_range(lines, 48, 56); /* two days */
	assert_true(told <= held && held - told < REPEAT_LAST_NS / step_ns);
}

static void another_reason_is_said_at_once(void **state)
{
	struct repeat repeat = { 0 };

	(void)state;
	assert_true(due(&repeat, "no room", 0));
	assert_false(due(&repeat, "no room", 1));
	assert_true(due(&repeat, "no room here", 2));
	assert_int_equal(unsaid, 0);
	assert_true(due(&repeat, "no room", 3));
	assert_true(due(&repeat, "", 4));
	memset(&repeat, 0, sizeof(repeat));
	assert_true(due(&repeat, "no room", 5));
}

static void numbers_make_no_difference_unless_they_are_part_of_a_word(void **state)
{
	static const struct {
		const char *one, *other;
		bool same;
	} pairs[] = {
		{ "epoch 9: 0 MiB free", "epoch 10: 12 MiB free", true },
		{ "192.0.2.7:40000: refused", "192.0.2.7:51234: refused", true },
		{ "192.0.2.7:40000: refused", "192.0.2.8:40000: refused", false },
		{ "instance vm1", "instance vm2", false },
		{ "instance vm-1", "instance vm-2", false },
		{ "vm.qmp: 3", "vm.qmp: none", false },
		{ "a 1", "a 1 b", false },
		{ "a 1 b", "a 1", false },
		{ "7", "8", true },
		{ "byte 0xd7 where", "byte 0x10 where", true },
		{ "byte 0x7", "byte 0xabc", true },
		{ "byte 0x7f", "byte 0x7g", false },
		{ "vm0xa", "vm0xb", false },
		{ "0x", "0y", false },
	};
	struct repeat repeat;

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		memset(&repeat, 0, sizeof(repeat));
		assert_true(due(&repeat, pairs[i].one, 0));
		assert_int_equal(!due(&repeat, pairs[i].other, 1), pairs[i].same);
	}
}

static void a_text_that_was_cut_is_known_again(void **state)
{
	char text[2 * ERR_TEXT_MAX];
	struct repeat repeat = { 0 };

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_true(due(&repeat, text, 0));
	assert_false(due(&repeat, text, 1));
	text[ERR_TEXT_MAX - 1] = '\0';
	assert_false(due(&repeat, text, 2));
	text[ERR_TEXT_MAX - 2] = '\0';
	assert_true(due(&repeat, text, 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_is_said_once_and_then_at_growing_distances),
		cmocka_unit_test(another_reason_is_said_at_once),
		cmocka_unit_test(numbers_make_no_difference_unless_they_are_part_of_a_word),
		cmocka_unit_test(a_text_that_was_cut_is_known_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
