/* The epochs of a journal's past, one by one, as far as each can be brought back. */
#include "replica/journal_epochs.h"
#include "tests/unit/journaling_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct {
	struct history_base bases[64];
	size_t nbases;
	struct journal_epochs epochs;
	struct err err;
	atomic_bool cancelled;
} t;

static void look(void *owner, const struct history *history)
{
	(void)owner;
	assert_true(history->nbases <= 64);
	t.nbases = history->nbases;
	memcpy(t.bases, history->bases, history->nbases * sizeof(t.bases[0]));
}

static void have_bases(size_t count)
{
	journaling_play.options.copy_bytes = 1;
	journaling_play.options.history.bytes = UINT64_C(1) << 40;
	journaling_fixture_close();
	journaling_fixture_open(false);
	journaling_wait_for_state("bare");
	journaling_send_epochs(1);
	journaling_wait_for_state("based");
	for (t.nbases = 0; t.nbases < count && image_fixture.epoch.number < EPOCHS_MAX;) {
		journaling_send_epochs(1);
		assert_true(
			journaling_history(receiver_journal(journaling_play.receiver), look, NULL));
	}
	assert_int_equal(t.nbases, count);
}

static int list(const struct history_place *from, const struct history_place *to, bool last,
		size_t limit)
{
	const struct journal_epochs_options options = { .dirs = { journaling_play.dir },
							.count = 1,
							.from = *from,
							.to = *to,
							.newest = last,
							.limit = limit };

	journal_epochs_free(&t.epochs);
	return journal_epochs_read(&t.epochs, &options, &t.cancelled, &t.err);
}

static struct history_place at(uint64_t base, uint64_t epoch)
{
	return (struct history_place){ base, epoch, UINT64_MAX, 0 };
}

static void follow_each_other(uint64_t first, uint64_t last)
{
	size_t i;

	assert_int_equal(t.epochs.count, last - first + 1);
	for (i = 0; i < t.epochs.count; i++) {
		assert_int_equal(t.epochs.list[i].epoch, first + i);
		assert_true(t.epochs.list[i].ms > 0);
		assert_true(i == 0 || t.epochs.list[i].ms >= t.epochs.list[i - 1].ms);
		assert_true(i == 0 || (t.epochs.list[i].pages > 0 && t.epochs.list[i].bytes > 100));
	}
}

static void each_that_can_be_brought_back_is_there(void **unused)
{
	struct history_place from, to;
	uint64_t first;

	(void)unused;
	have_bases(3);
	first = t.bases[0].first;
	from = at(t.bases[0].sequence, 0);
	to = at(t.bases[2].sequence, UINT64_MAX);
	assert_int_equal(list(&from, &to, false, 1000), RC_OK);
	follow_each_other(first, image_fixture.epoch.number);
	assert_false(t.epochs.earlier || t.epochs.later);
	/* From one epoch to another. */
	from = at(t.bases[0].sequence, first + 2);
	to = at(t.bases[1].sequence, t.bases[1].first + 1);
	assert_int_equal(list(&from, &to, false, 1000), RC_OK);
	follow_each_other(first + 2, t.bases[1].first + 1);
	/* From a moment on: that epoch's own time is in it. */
	from.until_ms = t.epochs.list[1].ms;
	assert_int_equal(list(&from, &to, false, 1000), RC_OK);
	assert_true(t.epochs.list[0].ms == from.until_ms);
	to = at(t.bases[0].sequence, first);
	from = at(t.bases[2].sequence, 0);
	assert_int_equal(list(&from, &to, false, 1000), RC_OK);
	assert_int_equal(t.epochs.count, 0);
}

static void of_too_many_the_first_or_the_last_are_told(void **unused)
{
	struct history_place from, to;

	(void)unused;
	have_bases(3);
	from = at(t.bases[0].sequence, 0);
	to = at(t.bases[2].sequence, UINT64_MAX);
	assert_int_equal(list(&from, &to, false, 4), RC_OK);
	follow_each_other(t.bases[0].first, t.bases[0].first + 3);
	assert_true(t.epochs.later && !t.epochs.earlier);
	assert_int_equal(list(&from, &to, true, 4), RC_OK);
	follow_each_other(image_fixture.epoch.number - 3, image_fixture.epoch.number);
	assert_true(t.epochs.earlier && !t.epochs.later);
	to = at(t.bases[1].sequence, t.bases[1].first + 1);
	assert_int_equal(list(&from, &to, true, 1), RC_OK);
	follow_each_other(t.bases[1].first + 1, t.bases[1].first + 1);
}

static void what_was_cut_off_is_not_told(void **unused)
{
	struct history_place from, to;
	uint64_t last;
	size_t i;

	(void)unused;
	have_bases(2);
	last = image_fixture.epoch.number;
	journaling_cut(receiver_journal(journaling_play.receiver));
	journaling_send_epochs(2);
	journaling_wait_for_state("based");
	journaling_send_epochs(2);
	assert_true(journaling_history(receiver_journal(journaling_play.receiver), look, NULL));
	from = at(t.bases[0].sequence, 0);
	to = at(t.bases[t.nbases - 1].sequence, UINT64_MAX);
	assert_true(t.bases[t.nbases - 1].cut && t.bases[t.nbases - 1].first > last);
	assert_int_equal(list(&from, &to, false, 1000), RC_OK);
	for (i = 0; i < t.epochs.count; i++)
		assert_true(t.epochs.list[i].epoch <= last ||
			    t.epochs.list[i].epoch >= t.bases[t.nbases - 1].first);
	assert_int_equal(t.epochs.list[t.epochs.count - 1].epoch, image_fixture.epoch.number);
}

static void damage_and_what_is_gone_are_told(void **unused)
{
	struct history_place from, to;

	(void)unused;
	have_bases(3);
	from = at(1, 0);
	to = at(t.bases[2].sequence, UINT64_MAX);
	t.cancelled = true;
	from.base = t.bases[0].sequence;
	assert_int_equal(list(&from, &to, false, 10), RC_CANCELLED);
	t.cancelled = false;
	from.base = 0;
	assert_int_equal(list(&from, &to, false, 10), RC_IO);
	assert_non_null(strstr(t.err.text, "given up"));
	journaling_fixture_close();
	from.base = journaling_first_segment();
	journaling_damage(from.base);
	/* Where it is in a payload, nothing is read there. */
	if (list(&from, &to, false, 1000) != RC_OK)
		assert_int_equal(t.err.code, RC_INVALID);
	journaling_fixture_open(true);
}

static int end(void **unused)
{
	journal_epochs_free(&t.epochs);
	return journaling_fixture_end(unused);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, journaling_fixture_begin, end)
	const struct CMUnitTest tests[] = {
		TEST(each_that_can_be_brought_back_is_there),
		TEST(of_too_many_the_first_or_the_last_are_told),
		TEST(what_was_cut_off_is_not_told),
		TEST(damage_and_what_is_gone_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
