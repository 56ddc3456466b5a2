/* The directories of watched trees: who is in whom, by what name; and what was told of names. */
#include "fs-watch/told.h"
#include "fs-watch/tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int top_word, other_word;

static struct tree_key key_of(unsigned number)
{
	struct tree_key key = { .len = sizeof(number) };

	memcpy(key.bytes, &number, sizeof(number));
	return key;
}

static struct tree_dir *put(struct tree *tree, unsigned number, struct tree_dir *parent,
			    const char *name)
{
	const struct tree_key key = key_of(number);

	return tree_put(tree, &key, parent, name);
}

static struct tree_dir *find(const struct tree *tree, unsigned number)
{
	const struct tree_key key = key_of(number);

	return tree_find(tree, &key);
}

static void expect_path(const struct tree_dir *dir, const char *name, const char *expected)
{
	struct buf path = { 0 };

	assert_true(tree_path(dir, name, &path));
	assert_string_equal((const char *)path.data, expected);
	buf_free(&path);
}

static void one_that_moves_takes_what_is_below_it_along(void **state)
{
	const struct tree_key top_key = key_of(1);
	struct tree *tree = tree_open(NULL, NULL);
	struct tree_dir *top = tree_add_root(tree, &top_key, &top_word), *a, *c;

	(void)state;
	a = put(tree, 2, top, "a");
	(void)put(tree, 3, a, "b");
	c = put(tree, 4, top, "c");
	expect_path(find(tree, 3), "f", "a/b/f");
	assert_ptr_equal(put(tree, 2, c, "d"), a);
	expect_path(find(tree, 3), "", "c/d/b");
	expect_path(top, "", "");
	assert_null(tree_child(tree, top, "a"));
	assert_ptr_equal(tree_child(tree, c, "d"), a);
	assert_ptr_equal(tree_root_of(find(tree, 3)), &top_word);
	/* Nothing is below itself. */
	assert_null(put(tree, 4, find(tree, 3), "e"));
	assert_true(tree_is_below(find(tree, 3), c));
	tree_close(tree);
}

static unsigned dropped;

static void on_dropped(void *owner, const struct tree_key *key)
{
	(void)owner;
	(void)key;
	dropped++;
}

static void what_is_dropped_goes_with_all_below_it_however_deep(void **state)
{
	const unsigned depth = 200000;
	const struct tree_key top_key = key_of(0), other_key = key_of(depth + 1);
	struct tree *tree = tree_open(on_dropped, NULL);
	struct tree_dir *top = tree_add_root(tree, &top_key, &top_word), *at = top;

	(void)state;
	dropped = 0;
	assert_non_null(tree_add_root(tree, &other_key, &other_word));
	for (unsigned i = 1; i <= depth; i++)
		at = put(tree, i, at, "d");
	assert_int_equal(tree_count(tree), depth + 2);
	tree_drop_below(tree, find(tree, depth / 2));
	assert_int_equal(dropped, depth / 2);
	assert_null(find(tree, depth));
	tree_drop_all(tree);
	assert_int_equal(tree_count(tree), 2);
	assert_ptr_equal(tree_root_of(find(tree, depth + 1)), &other_word);
	tree_close(tree);
}

static void those_outside_are_counted_and_forgotten_apart(void **state)
{
	const struct tree_key top_key = key_of(1), out = key_of(2);
	struct tree *tree = tree_open(NULL, NULL);
	struct tree_dir *top = tree_add_root(tree, &top_key, &top_word);

	(void)state;
	assert_false(tree_is_inside(tree_put_outside(tree, &out)));
	assert_int_equal(tree_count_outside(tree), 1);
	assert_true(tree_is_inside(put(tree, 2, top, "in")));
	assert_int_equal(tree_count_outside(tree), 0);
	(void)tree_put_outside(tree, &out);
	tree_drop_outside(tree);
	assert_null(find(tree, 2));
	assert_int_equal(tree_count(tree), 1);
	tree_close(tree);
}

static void a_name_told_of_twice_or_left_is_in_doubt(void **state)
{
	const struct tree_key dir = key_of(1), other = key_of(2);
	struct told told = { 0 };
	struct told_doubt doubt;
	char name[16];
	size_t at = 0;

	(void)state;
	assert_null(told_find(&told, &dir, "a"));
	assert_true(told_set(&told, &dir, "a", 7, false, false));
	assert_true(told_set(&told, &other, "a", 8, true, false));
	assert_int_equal(told_find(&told, &dir, "a")->who, 7);
	assert_false(told_next_doubt(&told, &at, &doubt));
	assert_true(told_set(&told, &dir, "a", TOLD_NOBODY, false, false));
	assert_true(told_set(&told, &dir, "a", 9, false, true));
	assert_true(told_next_doubt(&told, &at, &doubt));
	assert_string_equal(doubt.name, "a");
	assert_memory_equal(doubt.dir.bytes, dir.bytes, dir.len);
	assert_false(told_next_doubt(&told, &at, &doubt));
	for (unsigned i = 0; i < 5000; i++) {
		(void)snprintf(name, sizeof(name), "%u", i);
		assert_true(told_set(&told, &dir, name, i + 1, false, false));
	}
	assert_int_equal(told_find(&told, &dir, "4999")->who, 5000);
	assert_int_equal(told_find(&told, &dir, "a")->who, 9);
	told_forget(&told);
	assert_null(told_find(&told, &dir, "a"));
	told_free(&told);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_moves_takes_what_is_below_it_along),
		cmocka_unit_test(what_is_dropped_goes_with_all_below_it_however_deep),
		cmocka_unit_test(those_outside_are_counted_and_forgotten_apart),
		cmocka_unit_test(a_name_told_of_twice_or_left_is_in_doubt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
