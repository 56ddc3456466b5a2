#include "net/link.h"
#include "net/link_strangers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EVERYONE (LINK_STRANGERS_MAX + 1)

static struct link_stranger strangers[EVERYONE];

/* So many strangers of that source and stage from an index on; the next index. */
static size_t put(size_t at, size_t count, uint64_t source, enum link_stranger_stage stage)
{
	size_t i;

	for (i = at; i < at + count; i++)
		strangers[i] = (struct link_stranger){ source, stage };
	return i;
}

static void nobody_goes_while_there_is_room(void **state)
{
	size_t count = put(0, LINK_STRANGERS_PER_SOURCE, 1, LINK_STRANGER_SILENT);

	(void)state;
	assert_int_equal(link_strangers_excess(strangers, 1), 1);
	assert_int_equal(link_strangers_excess(strangers, count), count);
	count = put(count, LINK_STRANGERS_MAX - count, 2, LINK_STRANGER_SPEAKING);
	assert_int_equal(count, LINK_STRANGERS_MAX);
	assert_int_equal(link_strangers_excess(strangers, count), count);
}

static void a_source_with_too_many_displaces_its_own(void **state)
{
	size_t count = put(0, 3, 2, LINK_STRANGER_SILENT);

	(void)state;
	count = put(count, LINK_STRANGERS_PER_SOURCE + 1, 1, LINK_STRANGER_SILENT);
	assert_true(count < LINK_STRANGERS_MAX);
	assert_int_equal(link_strangers_excess(strangers, count), 3);
	/* Those that are through TLS are not counted as a crowd. */
	strangers[10].stage = LINK_STRANGER_KNOWN;
	assert_int_equal(link_strangers_excess(strangers, count), count);
}

static void who_has_not_said_a_word_goes_before_who_has(void **state)
{
	size_t count = put(0, LINK_STRANGERS_PER_SOURCE + 1, 1, LINK_STRANGER_SPEAKING);

	(void)state;
	strangers[20].stage = strangers[31].stage = LINK_STRANGER_SILENT;
	assert_int_equal(link_strangers_excess(strangers, count), 20);
	strangers[20].stage = LINK_STRANGER_SPEAKING;
	assert_int_equal(link_strangers_excess(strangers, count), 31);
	strangers[31].stage = LINK_STRANGER_SPEAKING;
	assert_int_equal(link_strangers_excess(strangers, count), 0);
}

static void who_has_only_just_come_is_given_time_to_speak(void **state)
{
	size_t count = put(0, LINK_STRANGERS_PER_SOURCE + 1, 1, LINK_STRANGER_SPEAKING);

	(void)state;
	strangers[LINK_STRANGERS_PER_SOURCE / 2].stage = LINK_STRANGER_SILENT;
	assert_int_equal(link_strangers_excess(strangers, count), 0);
}

static void the_newcomer_is_never_the_one(void **state)
{
	size_t count = put(0, LINK_STRANGERS_PER_SOURCE, 1, LINK_STRANGER_SPEAKING);

	(void)state;
	count = put(count, 1, 1, LINK_STRANGER_SILENT);
	assert_int_equal(link_strangers_excess(strangers, count), 0);
}

static void of_many_sources_the_largest_gives_way(void **state)
{
	size_t count = put(0, 1, 7, LINK_STRANGER_SILENT), i;

	(void)state;
	/* An honest one that has just come, one that has been at it for long, and a flood. */
	count = put(count, 1, 8, LINK_STRANGER_SPEAKING);
	count = put(count, 60, 9, LINK_STRANGER_SPEAKING);
	count = put(count, 59, 10, LINK_STRANGER_SILENT);
	for (i = 0; count < EVERYONE; i++)
		count = put(count, 1, 100 + i, LINK_STRANGER_SILENT);
	assert_int_equal(link_strangers_excess(strangers, count), 2);
	strangers[2].source = strangers[3].source = 11;
	assert_int_equal(link_strangers_excess(strangers, count), 62);
}

static void the_oldest_goes_when_every_one_is_of_another_source(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < EVERYONE; i++)
		(void)put(i, 1, i, LINK_STRANGER_SPEAKING);
	assert_int_equal(link_strangers_excess(strangers, EVERYONE), 0);
}

static void who_has_shown_a_certificate_goes_last(void **state)
{
	(void)state;
	(void)put(0, EVERYONE, 1, LINK_STRANGER_KNOWN);
	strangers[100] = (struct link_stranger){ 2, LINK_STRANGER_SPEAKING };
	assert_int_equal(link_strangers_excess(strangers, EVERYONE), 100);
	strangers[100].stage = LINK_STRANGER_KNOWN;
	assert_int_equal(link_strangers_excess(strangers, EVERYONE), 0);
	strangers[EVERYONE - 1].stage = LINK_STRANGER_SILENT;
	assert_int_equal(link_strangers_excess(strangers, EVERYONE), 0);
}

static void some_one_else_goes_whatever_the_crowd(void **state)
{
	size_t count, i, excess;
	unsigned round;

	(void)state;
	srandom(7);
	for (round = 0; round < 20000; round++) {
		count = LINK_STRANGERS_MAX + 1 - (size_t)random() % 70;
		for (i = 0; i < count; i++)
			strangers[i] =
				(struct link_stranger){ (uint64_t)(random() % (1 + round % 5)),
							(enum link_stranger_stage)(random() % 3) };
		excess = link_strangers_excess(strangers, count);
		assert_true(excess != count - 1);
		assert_true(excess <= count);
		assert_true(count <= LINK_STRANGERS_MAX || excess < count);
		if (excess < count && strangers[excess].stage == LINK_STRANGER_KNOWN) {
			for (i = 0; i < count - 1; i++)
				assert_int_equal(strangers[i].stage, LINK_STRANGER_KNOWN);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_goes_while_there_is_room),
		cmocka_unit_test(a_source_with_too_many_displaces_its_own),
		cmocka_unit_test(who_has_not_said_a_word_goes_before_who_has),
		cmocka_unit_test(who_has_only_just_come_is_given_time_to_speak),
		cmocka_unit_test(the_newcomer_is_never_the_one),
		cmocka_unit_test(of_many_sources_the_largest_gives_way),
		cmocka_unit_test(the_oldest_goes_when_every_one_is_of_another_source),
		cmocka_unit_test(who_has_shown_a_certificate_goes_last),
		cmocka_unit_test(some_one_else_goes_whatever_the_crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
