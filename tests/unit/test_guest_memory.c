/* The system tests believe the word of the test guest; here it shows that it notices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "tests/guest/memory.c"

void give_up(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	abort();
}

static int set_up(void **state)
{
	(void)state;
	memory_fill(1);
	memory_oracle_start(1);
	return 0;
}

static const char *sum_answer(void)
{
	static char text[128];

	assert_in_range(memory_sum_answer(text, sizeof(text)), 1, sizeof(text) - 1);
	return text;
}

static const char *oracle_answer(void)
{
	static char text[128];

	assert_in_range(memory_oracle_answer(text, sizeof(text)), 1, sizeof(text) - 1);
	return text;
}

static void the_sum_follows_every_write(void **state)
{
	char before[128];

	(void)state;
	(void)snprintf(before, sizeof(before), "%s", sum_answer());
	memory_dirty(1000);
	assert_string_not_equal(sum_answer(), before);
	assert_non_null(strstr(sum_answer(), " ok\n"));
}

static void the_sum_notices_a_page_from_another_moment(void **state)
{
	uint64_t old[WORDS_PER_PAGE], new[WORDS_PER_PAGE];

	(void)state;
	for (size_t page = 0; page < word_count / WORDS_PER_PAGE; page++) {
		uint64_t *at = words + page * WORDS_PER_PAGE;

		memcpy(old, at, PAGE);
		do
			memory_dirty(1);
		while (memcmp(old, at, PAGE) == 0);
		memcpy(new, at, PAGE);
		memcpy(at, old, PAGE);
		assert_non_null(strstr(sum_answer(), " bad "));
		memcpy(at, new, PAGE);
		assert_non_null(strstr(sum_answer(), " ok\n"));
	}
}

static void the_sum_notices_exchanged_pages(void **state)
{
	uint64_t *first = words, *second = words + WORDS_PER_PAGE, old[WORDS_PER_PAGE];

	(void)state;
	memcpy(old, first, PAGE);
	memcpy(first, second, PAGE);
	memcpy(second, old, PAGE);
	assert_non_null(strstr(sum_answer(), " bad "));
	memcpy(second, first, PAGE);
	memcpy(first, old, PAGE);
	assert_non_null(strstr(sum_answer(), " ok\n"));
}

static void the_oracle_has_at_most_one_step_wherever_it_is(void **state)
{
	(void)state;
	for (size_t i = 0; i < 600 * region_pages; i += 7) {
		memory_oracle_advance(7);
		assert_memory_equal(oracle_answer(), region_at == 0 ? "ok edges=0" : "ok edges=1",
				    10);
	}
}

static void the_oracle_notices_any_page_of_another_moment(void **state)
{
	(void)state;
	memory_oracle_advance(region_pages / 2);
	for (size_t page = 0; page < region_pages; page++) {
		region[page * PAGE]--;
		assert_memory_equal(oracle_answer(), "torn ", 5);
		memory_oracle_advance(3 * region_pages);
		assert_memory_equal(oracle_answer(), "torn ", 5);
		region[page * PAGE]++;
		assert_memory_equal(oracle_answer(), "ok ", 3);
	}
}

static void the_oracle_notices_a_processor_older_than_its_memory(void **state)
{
	(void)state;
	memory_oracle_advance(region_pages - region_at + 10);
	region_at--;
	assert_memory_equal(oracle_answer(), "torn ", 5);
	region_at++;
	assert_memory_equal(oracle_answer(), "ok ", 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sum_follows_every_write),
		cmocka_unit_test(the_sum_notices_a_page_from_another_moment),
		cmocka_unit_test(the_sum_notices_exchanged_pages),
		cmocka_unit_test(the_oracle_has_at_most_one_step_wherever_it_is),
		cmocka_unit_test(the_oracle_notices_any_page_of_another_moment),
		cmocka_unit_test(the_oracle_notices_a_processor_older_than_its_memory),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
