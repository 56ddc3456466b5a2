/* Names of directories that were looked into while their changes were in the queue: each is told of once. */
#include "fs-watch/inotify_seen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void elsewhere_every_event_is_told(void **state)
{
	struct inotify_seen seen = { 0 };

	(void)state;
	assert_true(inotify_seen_made(&seen, 1, "a"));
	assert_true(inotify_seen_gone(&seen, 1, "b"));
	inotify_seen_dir(&seen, 2);
	assert_true(inotify_seen_gone(&seen, 1, "a"));
	inotify_seen_forget(&seen);
}

static void what_the_look_found_is_not_told_again_by_its_event(void **state)
{
	struct inotify_seen seen = { 0 };

	(void)state;
	inotify_seen_dir(&seen, 1);
	inotify_seen_found(&seen, 1, "a");
	assert_false(inotify_seen_made(&seen, 1, "a"));
	assert_true(inotify_seen_gone(&seen, 1, "a"));
	assert_true(inotify_seen_made(&seen, 1, "a"));
	assert_true(inotify_seen_gone(&seen, 1, "a"));
	inotify_seen_forget(&seen);
}

static void what_went_before_the_look_was_never_there(void **state)
{
	struct inotify_seen seen = { 0 };

	(void)state;
	inotify_seen_dir(&seen, 1);
	assert_false(inotify_seen_gone(&seen, 1, "a"));
	assert_true(inotify_seen_made(&seen, 1, "b"));
	assert_true(inotify_seen_gone(&seen, 1, "b"));
	assert_false(inotify_seen_gone(&seen, 1, "b"));
	inotify_seen_forget(&seen);
}

static void many_are_kept_apart(void **state)
{
	struct inotify_seen seen = { 0 };
	char name[16];

	(void)state;
	for (int dir = 0; dir < 100; dir++) {
		inotify_seen_dir(&seen, dir);
		for (unsigned i = 0; i < 100; i++) {
			(void)snprintf(name, sizeof(name), "%u", i);
			if (((unsigned)dir + i) % 2 == 0)
				inotify_seen_found(&seen, dir, name);
		}
	}
	for (int dir = 0; dir < 100; dir++) {
		for (unsigned i = 0; i < 100; i++) {
			(void)snprintf(name, sizeof(name), "%u", i);
			assert_int_equal(inotify_seen_made(&seen, dir, name),
					 ((unsigned)dir + i) % 2 != 0);
			assert_true(inotify_seen_gone(&seen, dir, name));
		}
	}
	inotify_seen_forget(&seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elsewhere_every_event_is_told),
		cmocka_unit_test(what_the_look_found_is_not_told_again_by_its_event),
		cmocka_unit_test(what_went_before_the_look_was_never_there),
		cmocka_unit_test(many_are_kept_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
