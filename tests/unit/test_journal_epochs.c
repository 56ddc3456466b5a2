/*
 * The epochs of a journal in several copies: what one of them has lost, or has rotten, is listed from another.
 */
#include "replica/journal_epochs.h"
#include "tests/unit/journal_copies_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LAST 9 /* epoch */

static int list(unsigned first, unsigned count, struct journal_epochs *epochs, struct err *err)
{
	struct journal_epochs_options options = { .count = count,
						  .from = { 1, 0, UINT64_MAX, 0 },
						  .to = { 1, UINT64_MAX, UINT64_MAX, 0 },
						  .limit = 100 };
	atomic_bool cancelled = false;
	unsigned i;

	for (i = 0; i < count; i++)
		options.dirs[i] = journal_play.path[first + i];
	return journal_epochs_read(epochs, &options, &cancelled, err);
}

static void all_are_listed(void)
{
	struct journal_epochs epochs;
	struct err err;
	size_t i;

	if (list(0, 3, &epochs, &err) != RC_OK)
		fail_msg("%s", err.text);
	assert_int_equal(epochs.count, LAST);
	for (i = 0; i < epochs.count; i++)
		assert_int_equal(epochs.list[i].epoch, i + 1);
	journal_epochs_free(&epochs);
}

static void what_one_copy_lacks_is_listed_from_another(void **state)
{
	struct journal_epochs epochs;
	uint8_t *bytes = NULL;
	char path[SCRATCH_MAX + 64];
	struct err err;
	size_t len, at;
	int rc;

	(void)state;
	journal_play.segment_bytes = 600;
	copies_open();
	copies_wait_for_good(3);
	journal_fixture_write_all(1, LAST);
	copies_become_the_same();
	all_are_listed();
	len = copies_get(0, 1, &bytes);
	for (at = 0; at < len; at += 5) {
		copies_flip(0, 1, (off_t)at);
		rc = list(0, 1, &epochs, &err);
		assert_true(rc == RC_OK ||
			    rc == RC_INVALID); /* of a payload nothing is looked at */
		if (rc == RC_OK)
			journal_epochs_free(&epochs);
		all_are_listed();
		copies_put(0, 1, bytes, len);
	}
	for (at = 0; at < len; at += 40) {
		copies_put(0, 1, bytes, at);
		all_are_listed();
	}
	free(bytes);
	copies_path(0, 1, path);
	assert_int_equal(unlink(path), 0);
	all_are_listed();
	assert_int_equal(list(0, 1, &epochs, &err), RC_IO);
	journal_fixture_remove(0);
	all_are_listed();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, copies_begin, copies_end)
	const struct CMUnitTest tests[] = {
		TEST(what_one_copy_lacks_is_listed_from_another),
	};

	(void)setenv("TMPDIR", "/dev/shm", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
