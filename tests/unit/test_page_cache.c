#include "appliance/base/mem.h"
#include "replica/layout.h"
#include "replica/page_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

static struct err err;
static struct page_cache *cache;

static void open_cache(size_t bytes)
{
	assert_int_equal(page_cache_create(&cache, bytes, &err), RC_OK);
}

/* Looks for the page; if it is not here, brings it. Returns whether it was here, and right. */
static bool use(uint64_t index)
{
	uint8_t *data = page_cache_lock(cache, index);
	bool found = data != NULL;

	if (found)
		assert_true(data[0] == (uint8_t)index &&
			    data[LAYOUT_PAGE - 1] == (uint8_t)(index >> 8));
	else
		data = page_cache_insert(cache, index);
	if (data != NULL) {
		data[0] = (uint8_t)index;
		data[LAYOUT_PAGE - 1] = (uint8_t)(index >> 8);
	}
	page_cache_unlock(cache, index);
	return found;
}

static void pages_are_found_again_until_they_are_removed_or_all_forgotten(void **state)
{
	uint64_t last = LAYOUT_BYTES_MAX / LAYOUT_PAGE - 1;

	(void)state;
	open_cache((size_t)1 << 20);
	assert_false(use(0));
	assert_false(use(last));
	assert_true(use(0));
	assert_true(use(last));
	(void)page_cache_lock(cache, last);
	page_cache_remove(cache, last);
	page_cache_unlock(cache, last);
	assert_false(use(last));
	assert_true(use(0));
	page_cache_clear(cache);
	assert_false(use(0));
	assert_false(use(last));
	page_cache_destroy(cache);
}

static void the_budget_covers_all_that_a_page_costs(void **state)
{
	(void)state;
	open_cache((size_t)64 << 20);
	assert_true(page_cache_pages(cache) < 16384);
	assert_true(page_cache_pages(cache) > 16384 - 16384 / 100);
	page_cache_destroy(cache);
}

static void a_budget_too_small_for_a_set_holds_nothing(void **state)
{
	(void)state;
	open_cache(16 * LAYOUT_PAGE);
	assert_int_equal(page_cache_pages(cache), 0);
	assert_false(use(1));
	assert_false(use(1));
	page_cache_clear(cache);
	page_cache_destroy(cache);
}

/* Uses so many pages in turn, so many times; returns how many are found in the last turn. */
static uint64_t use_in_turn(uint64_t first, uint64_t count, int turns)
{
	uint64_t i, found = 0;

	for (; turns > 0; turns--)
		for (i = 0, found = 0; i < count; i++)
			found += use(first + i * 2654435761 % 1000003);
	return found;
}

static void of_as_many_pages_as_it_can_hold_nearly_all_are_found(void **state)
{
	uint64_t pages;

	(void)state;
	open_cache((size_t)8 << 20);
	pages = page_cache_pages(cache);
	assert_true(use_in_turn(0, pages * 7 / 10, 2) == pages * 7 / 10);
	page_cache_clear(cache);
	assert_true(use_in_turn(0, pages, 10) > pages * 85 / 100);
	page_cache_destroy(cache);
}

static void of_more_pages_than_it_can_hold_it_finds_most_of_what_it_can(void **state)
{
	uint64_t pages;

	(void)state;
	open_cache((size_t)8 << 20);
	pages = page_cache_pages(cache);
	assert_true(use_in_turn(0, pages * 3 / 2, 10) > pages * 85 / 100);
	page_cache_destroy(cache);
}

static void pages_that_keep_coming_outlast_a_sweep_over_memory(void **state)
{
	uint64_t i, hot, found = 0;

	(void)state;
	open_cache((size_t)4 << 20);
	hot = page_cache_pages(cache) / 2;
	for (i = 0; i < 4 * hot; i++)
		(void)use(i % hot);
	/* Ten times as many pages as it holds, each once; a hot one now and then. */
	for (i = 0; i < 20 * hot; i++) {
		(void)use(100000 + i);
		if (i % 4 == 0)
			found += use(i / 4 % hot);
	}
	assert_true(found > 5 * hot * 9 / 10);
	page_cache_destroy(cache);
}

static void a_working_set_that_moves_on_replaces_the_old_one(void **state)
{
	uint64_t pages;

	(void)state;
	open_cache((size_t)4 << 20);
	pages = page_cache_pages(cache) * 7 / 10;
	(void)use_in_turn(0, pages, 20);
	(void)use_in_turn(2000000, pages, 30);
	assert_true(use_in_turn(2000000, pages, 1) > pages * 85 / 100);
	page_cache_destroy(cache);
}

/* As use(), but only filling what is free. */
static bool fill(uint64_t index)
{
	uint8_t *data = page_cache_lock(cache, index);

	if (data == NULL)
		data = page_cache_fill(cache, index);
	if (data != NULL) {
		data[0] = (uint8_t)index;
		data[LAYOUT_PAGE - 1] = (uint8_t)(index >> 8);
	}
	page_cache_unlock(cache, index);
	return data != NULL;
}

static void what_only_filled_free_room_gives_way_to_every_newcomer(void **state)
{
	uint64_t i, pages, filled = 0;

	(void)state;
	open_cache((size_t)4 << 20);
	pages = page_cache_pages(cache);
	for (i = 0; i < 4 * pages; i++)
		filled += fill(700000 + i);
	assert_int_equal(filled, pages);
	assert_int_equal(use_in_turn(0, pages * 7 / 10, 2), pages * 7 / 10);
	/* And what was wanted gives way to no filling. */
	for (i = 0; i < 4 * pages; i++)
		(void)fill(300000 + i);
	assert_int_equal(use_in_turn(0, pages * 7 / 10, 1), pages * 7 / 10);
	page_cache_destroy(cache);
}

static void without_memory_there_is_an_error(void **state)
{
	unsigned long n;

	(void)state;
	for (n = 1; n <= 2; n++) {
		fault_arm(FAULT_ALLOC, n);
		assert_int_equal(page_cache_create(&cache, (size_t)1 << 20, &err), RC_NOMEM);
		assert_true(fault_fired(FAULT_ALLOC));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_are_found_again_until_they_are_removed_or_all_forgotten),
		cmocka_unit_test(the_budget_covers_all_that_a_page_costs),
		cmocka_unit_test(a_budget_too_small_for_a_set_holds_nothing),
		cmocka_unit_test(of_as_many_pages_as_it_can_hold_nearly_all_are_found),
		cmocka_unit_test(of_more_pages_than_it_can_hold_it_finds_most_of_what_it_can),
		cmocka_unit_test(pages_that_keep_coming_outlast_a_sweep_over_memory),
		cmocka_unit_test(a_working_set_that_moves_on_replaces_the_old_one),
		cmocka_unit_test(what_only_filled_free_room_gives_way_to_every_newcomer),
		cmocka_unit_test(without_memory_there_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
