/* What has changed between two epochs: applied to the tree of the first it gives the tree of the second, whatever has happened. */
#include "appliance/base/mem.h"
#include "fs-watch/change_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ENTRIES_MAX 400
#define PATH_BYTES 200
#define EPOCHS 30000
#define STEPS 60
#define SMALL 7 /* so that names are used again */

/* A file system: names, and what has them. */
struct entry {
	char path[PATH_BYTES];
	bool is_dir;
	unsigned content, attributes;
};

struct fs {
	struct entry entries[ENTRIES_MAX];
	size_t count;
};

static struct fs fs, other;
static struct change_set *set;
static unsigned number;

static struct entry *find(struct fs *in, const char *path)
{
	for (size_t i = 0; i < in->count; i++) {
		if (strcmp(in->entries[i].path, path) == 0)
			return &in->entries[i];
	}
	return NULL;
}

static bool is_below(const char *path, const char *dir)
{
	const size_t len = strlen(dir);

	return strncmp(path, dir, len) == 0 && path[len] == '/';
}

static void take_away(struct fs *in, const char *path)
{
	for (size_t i = in->count; i-- > 0;) {
		if (strcmp(in->entries[i].path, path) == 0 || is_below(in->entries[i].path, path))
			in->entries[i] = in->entries[--in->count];
	}
}

static void put(struct fs *in, const char *path, bool is_dir, unsigned content)
{
	struct entry *entry = &in->entries[in->count++];

	assert_true(in->count < ENTRIES_MAX);
	*entry = (struct entry){ .is_dir = is_dir, .content = content };
	(void)snprintf(entry->path, sizeof(entry->path), "%s", path);
}

static void move(struct fs *in, const char *from, const char *to)
{
	char path[2 * PATH_BYTES];

	assert_non_null(find(in, from));
	take_away(in, to);
	for (size_t i = 0; i < in->count; i++) {
		struct entry *entry = &in->entries[i];

		if (strcmp(entry->path, from) != 0 && !is_below(entry->path, from))
			continue;
		(void)snprintf(path, sizeof(path), "%s%s", to, entry->path + strlen(from));
		memcpy(entry->path, path, sizeof(entry->path));
	}
}

static bool has_children(struct fs *in, const char *path)
{
	for (size_t i = 0; i < in->count; i++) {
		if (is_below(in->entries[i].path, path))
			return true;
	}
	return false;
}

/* xorshift: the same changes in every run. */
static uint64_t next(void)
{
	static uint64_t state = 20261129;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state >> 11;
}

/* ---- what happens ---------------------------------------------------------------------------- */

static void tell(enum watch_kind kind, const char *path, const char *from, bool is_dir)
{
	const struct watch_event event = {
		.kind = kind, .path = path, .from = from, .is_dir = is_dir
	};

	change_set_add(set, &event);
}

static const char *some_dir(void)
{
	for (unsigned i = 0; i < 8 && fs.count > 0; i++) {
		const struct entry *entry = &fs.entries[(size_t)next() % fs.count];

		if (entry->is_dir && strlen(entry->path) < PATH_BYTES / 2)
			return entry->path;
	}
	return "";
}

static void some_name(char path[PATH_BYTES])
{
	const char *dir = some_dir();

	(void)snprintf(path, PATH_BYTES, "%s%s%c", dir, *dir != '\0' ? "/" : "",
		       'a' + (int)(next() % 1000000) % 6);
}

static void make_something(const char *path)
{
	const bool is_dir = (int)(next() % 1000000) % 3 == 0;
	struct entry *there = find(&fs, path);

	if (there == NULL) {
		put(&fs, path, is_dir, ++number);
		tell(WATCH_CREATE, path, NULL, is_dir);
	} else if (!there->is_dir) {
		there->content = ++number;
		tell(WATCH_WRITE, path, NULL, false);
	} else {
		there->attributes = ++number;
		tell(WATCH_ATTRIBUTE, path, NULL, true);
	}
}

static void remove_something(const char *path)
{
	const struct entry *there = find(&fs, path);
	const bool is_dir = there != NULL && there->is_dir;

	if (there == NULL || has_children(&fs, path))
		return;
	take_away(&fs, path);
	tell(WATCH_DELETE, path, NULL, is_dir);
}

static void rename_something(const char *from, const char *to)
{
	const struct entry *one = find(&fs, from), *there = find(&fs, to);
	const bool is_dir = one != NULL && one->is_dir;
	char room[2 * PATH_BYTES];

	(void)snprintf(room, sizeof(room), "%s%s", to, from);
	if (one == NULL || strcmp(from, to) == 0 || is_below(to, from) || is_below(from, to) ||
	    strlen(room) >= PATH_BYTES || (there != NULL && there->is_dir != is_dir) ||
	    (there != NULL && has_children(&fs, to)))
		return;
	for (size_t i = 0; i < fs.count; i++) { /* nothing gets too long */
		if (is_below(fs.entries[i].path, from) &&
		    strlen(fs.entries[i].path) + strlen(to) >= PATH_BYTES)
			return;
	}
	move(&fs, from, to);
	tell(WATCH_RENAME, to, from, is_dir);
}

static void step(void)
{
	char path[PATH_BYTES], to[PATH_BYTES];
	const int what = (int)(next() % 1000000) % 10;

	some_name(path);
	some_name(to);
	if (what < 5 && fs.count < SMALL)
		make_something(path);
	else if (what < 7)
		remove_something(path);
	else
		rename_something(path, to);
}

/* ---- what comes of it ------------------------------------------------------------------------ */

static void apply_op(const struct change_op *op)
{
	switch (op->kind) {
	case CHANGE_MAKE_DIR:
		if (find(&other, op->path) == NULL)
			put(&other, op->path, true, 0);
		break;
	case CHANGE_MOVE:
		move(&other, op->from, op->path);
		break;
	default:
		take_away(&other, op->path);
	}
}

static void apply_state(void *owner, const char *path, unsigned what)
{
	const struct entry *now = find(&fs, path);
	struct entry *there;

	(void)owner;
	assert_non_null(now);
	if ((what & CHANGE_NEW) != 0) {
		take_away(&other, path);
		put(&other, path, false, 0);
	}
	there = find(&other, path);
	assert_non_null(there);
	if ((what & CHANGE_CONTENT) != 0)
		there->content = now->content;
	if ((what & CHANGE_ATTRIBUTES) != 0)
		there->attributes = now->attributes;
}

static void compare(void)
{
	const struct entry *there;

	assert_int_equal(other.count, fs.count);
	for (size_t i = 0; i < fs.count; i++) {
		there = find(&other, fs.entries[i].path);
		assert_non_null(there);
		assert_int_equal(there->is_dir, fs.entries[i].is_dir);
		assert_true(fs.entries[i].is_dir || there->content == fs.entries[i].content);
		assert_int_equal(there->attributes, fs.entries[i].attributes);
	}
}

static void end_epoch(void)
{
	assert_false(change_set_is_whole_tree(set));
	for (size_t i = 0; i < change_set_ops(set); i++) {
		const struct change_op op = change_set_op(set, i);

		apply_op(&op);
	}
	assert_true(change_set_each(set, apply_state, NULL));
	compare();
	change_set_clear(set);
	assert_true(change_set_is_empty(set));
}

static int setup(void **state)
{
	(void)state;
	set = change_set_open();
	fs.count = other.count = 0;
	return set != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	change_set_close(set);
	return 0;
}

static void whatever_happens_the_tree_of_the_next_epoch_comes_of_it(void **state)
{
	(void)state;
	for (unsigned epoch = 0; epoch < EPOCHS; epoch++) {
		for (int i = (int)(next() % 1000000) % STEPS; i >= 0; i--)
			step();
		end_epoch();
	}
}

static void count(void *owner, const char *path, unsigned what)
{
	(void)path;
	(void)what;
	(*(size_t *)owner)++;
}

static void what_comes_and_goes_costs_nothing_and_what_is_written_often_once(void **state)
{
	size_t paths = 0;

	(void)state;
	tell(WATCH_CREATE, "a", NULL, false);
	tell(WATCH_WRITE, "a", NULL, false);
	tell(WATCH_RENAME, "b", "a", false);
	tell(WATCH_CREATE, "c", NULL, false);
	tell(WATCH_DELETE, "c", NULL, false);
	for (unsigned i = 0; i < 1000; i++)
		tell(WATCH_WRITE, "d/e", NULL, false);
	assert_int_equal(change_set_ops(set), 0);
	assert_true(change_set_each(set, count, &paths));
	assert_int_equal(paths, 2);
}

static void a_directory_that_is_renamed_is_one_operation(void **state)
{
	(void)state;
	tell(WATCH_WRITE, "d/e/f", NULL, false);
	tell(WATCH_RENAME, "g", "d", true);
	tell(WATCH_WRITE, "g/e/f", NULL, false);
	assert_int_equal(change_set_ops(set), 1);
	assert_string_equal(change_set_op(set, 0).from, "d");
	assert_string_equal(change_set_op(set, 0).path, "g");
}

static void after_a_loss_or_without_memory_the_whole_tree_is_to_be_looked_at(void **state)
{
	bool fired = true;

	(void)state;
	tell(WATCH_LOST, "", NULL, true);
	assert_true(change_set_is_whole_tree(set) && !change_set_is_empty(set));
	change_set_clear(set);
	for (unsigned long n = 1; fired; n++) {
		fault_arm(FAULT_ALLOC, n);
		tell(WATCH_CREATE, "a/b", NULL, true);
		tell(WATCH_WRITE, "a/c", NULL, false);
		tell(WATCH_RENAME, "d", "a", true);
		tell(WATCH_DELETE, "e", NULL, false);
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
		assert_int_equal(change_set_is_whole_tree(set), fired);
		change_set_clear(set);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
		TEST(whatever_happens_the_tree_of_the_next_epoch_comes_of_it),
		TEST(what_comes_and_goes_costs_nothing_and_what_is_written_often_once),
		TEST(a_directory_that_is_renamed_is_one_operation),
		TEST(after_a_loss_or_without_memory_the_whole_tree_is_to_be_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
