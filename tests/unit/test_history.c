/*
 * The past that a journal holds: what of it is known, what is kept, and what an operator's word for a moment
 * means.
 */
#include "replica/history_format.h"
#include "replica/history_target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define NOW UINT64_C(1796000000000) /* ms: 2026-11-30T00:53:20Z */

static struct {
	struct history h;
	uint64_t sequence, epoch, ms;
} play;

static int begin(void **state)
{
	(void)state;
	memset(&play, 0, sizeof(play));
	play.ms = NOW - 1000000;
	return 0;
}

static int end(void **state)
{
	(void)state;
	history_free(&play.h);
	return 0;
}

static void note(enum journal_kind kind, const void *payload, size_t len)
{
	struct err err;

	assert_int_equal(history_note(&play.h, kind, ++play.sequence, play.epoch, payload, len,
				      &err),
			 RC_OK);
}

static void base(bool cut)
{
	uint8_t payload[JOURNAL_BASE_BYTES];

	journal_put_base(payload, &(struct journal_base){ .cut = cut });
	note(JOURNAL_BASE, payload, sizeof(payload));
}

/* One each second. */
static void commits(unsigned count)
{
	uint8_t payload[JOURNAL_COMMIT_BYTES];

	while (count-- > 0) {
		play.epoch++;
		play.ms += 1000;
		journal_put_commit(payload, &(struct journal_commit){ .time_ms = play.ms });
		note(JOURNAL_COMMIT, payload, sizeof(payload));
	}
}

static void mark(const char *text)
{
	note(JOURNAL_MARK, text, strlen(text));
}

/* Bases at epochs 2, 12, 22, ..., each whole two epochs later, and marks in the middle. */
static void live(unsigned bases)
{
	commits(2);
	while (bases-- > 0) {
		base(play.h.nbases == 0);
		commits(2);
		note(JOURNAL_WHOLE, NULL, 0);
		commits(3);
		mark("middle");
		commits(5);
	}
}

static uint64_t found(const char *target)
{
	struct history_place place;
	struct err err;

	if (history_find(&play.h, target, NOW, &place, &err) != RC_OK)
		return 0;
	return place.epoch;
}

static uint64_t base_of(const char *target)
{
	struct history_place place = { 0 };
	struct err err;

	(void)history_find(&play.h, target, NOW, &place, &err);
	return place.base;
}

static void refused(const char *target, const char *why)
{
	struct history_place place;
	struct err err = { 0 };

	assert_int_equal(history_find(&play.h, target, NOW, &place, &err), RC_INVALID);
	if (strstr(err.text, why) == NULL)
		fail_msg("%s: %s", target, err.text);
}

/* ---- what is known ------------------------------------------------------------------------------ */

static void epochs_belong_to_the_newest_base_that_leads_to_them(void **state)
{
	(void)state;
	live(3);
	assert_int_equal(play.h.nbases, 3);
	assert_int_equal(play.h.bases[0].first, 4);
	assert_int_equal(play.h.bases[0].last, 14); /* at the next one's WHOLE */
	assert_int_equal(play.h.bases[2].first, 24);
	assert_int_equal(play.h.bases[2].last, 32);
	assert_int_equal(found("4"), 4);
	assert_int_equal(base_of("13"), play.h.bases[0].sequence);
	assert_int_equal(base_of("14"), play.h.bases[1].sequence);
	assert_int_equal(base_of("32"), play.h.bases[2].sequence);
	refused("3", "begins with epoch 4");
	refused("33", "ends with 32");
	refused("0", "epoch 0");
}

static void nothing_leads_over_a_cut(void **state)
{
	(void)state;
	live(1);
	commits(1);
	base(true);
	commits(2); /* of another image */
	note(JOURNAL_WHOLE, NULL, 0);
	commits(3);
	assert_int_equal(play.h.bases[0].last, 13);
	assert_int_equal(play.h.bases[1].first, 15);
	assert_true(play.h.bases[1].cut);
	refused("14", "epoch 14");
	assert_int_equal(found("15"), 15);
}

/* Epochs are counted anew with another image: the newest of that number is meant. */
static void of_two_epochs_of_a_number_the_newest_counts(void **state)
{
	(void)state;
	live(1);
	play.epoch = 0;
	live(1);
	play.h.bases[1].cut = true;
	assert_int_equal(base_of("5"), play.h.bases[1].sequence);
	assert_int_equal(base_of("middle"), play.h.bases[1].sequence);
}

static void a_base_without_its_end_leads_nowhere(void **state)
{
	(void)state;
	live(1);
	base(false);
	commits(4);
	assert_int_equal(play.h.nbases, 1);
	assert_int_equal(play.h.bases[0].last, 16);
	base(true);
	commits(1);
	assert_int_equal(play.h.bases[0].last, 16);
}

static void what_was_before_travels_in_a_record(void **state)
{
	struct history back = { 0 };
	struct buf payload = { .limit = JOURNAL_HISTORY_MAX };
	struct err err;
	uint64_t ms;
	size_t len;

	(void)state;
	live(40);
	assert_true(history_put(&play.h, play.ms, &payload));
	assert_int_equal(history_get(&back, &ms, payload.data, payload.len, &err), RC_OK);
	assert_true(ms == play.ms && back.nbases == 40 && back.nmarks == 40);
	assert_memory_equal(back.bases, play.h.bases, 40 * sizeof(*back.bases));
	assert_memory_equal(back.marks, play.h.marks, 40 * sizeof(*back.marks));
	history_free(&back);
	for (len = 0; len < payload.len; len++) {
		assert_int_equal(history_get(&back, &ms, payload.data, len, &err), RC_INVALID);
		assert_null(back.bases);
	}
	/* Of what is behind the BASE it cannot tell. */
	assert_int_equal(history_note(&back, JOURNAL_BASE, play.h.bases[39].whole, 1,
				      (const uint8_t[JOURNAL_BASE_BYTES]){ 0 }, JOURNAL_BASE_BYTES,
				      &err),
			 RC_OK);
	assert_int_equal(history_note(&back, JOURNAL_HISTORY, play.sequence + 1, 1, payload.data,
				      payload.len, &err),
			 RC_INVALID);
	assert_int_equal(back.nbases, 0);
	history_free(&back);
	/* Who begins to read at the last base knows as much. */
	base(false);
	assert_int_equal(history_note(&back, JOURNAL_BASE, play.sequence, play.epoch,
				      (const uint8_t[JOURNAL_BASE_BYTES]){ 0 }, JOURNAL_BASE_BYTES,
				      &err),
			 RC_OK);
	assert_int_equal(history_note(&back, JOURNAL_HISTORY, play.sequence + 1, play.epoch,
				      payload.data, payload.len, &err),
			 RC_OK);
	assert_true(back.nbases == 40 && back.nmarks == 40 && back.covered && back.ms == play.ms);
	history_free(&back);
	buf_free(&payload);
}

static void bases_and_marks_are_bounded(void **state)
{
	(void)state;
	live(HISTORY_BASES_MAX + 10);
	assert_int_equal(play.h.nbases, HISTORY_BASES_MAX);
	assert_int_equal(play.h.nmarks, HISTORY_MARKS_MAX);
	assert_int_equal(play.h.bases[0].first, 10 * 10 + 4);
	assert_int_equal(found("middle"), (HISTORY_BASES_MAX + 9) * 10 + 7);
}

/* ---- what is kept ------------------------------------------------------------------------------- */

/* A record is a byte. */
static uint64_t bytes_from(const void *owner, uint64_t sequence)
{
	(void)owner;
	return play.sequence - sequence;
}

static size_t kept(uint64_t bytes, uint64_t ms, uint64_t pinned)
{
	const struct history_limits limits = { bytes, ms };
	const uint64_t from =
		history_keep_from(&play.h, &limits, play.ms, pinned, bytes_from, NULL);
	size_t i;

	for (i = 0; i < play.h.nbases && play.h.bases[i].sequence < from; i++)
		;
	return play.h.nbases - i;
}

static void as_much_is_kept_as_the_limits_allow_and_always_the_last_base(void **state)
{
	(void)state;
	assert_int_equal(kept(1000, 0, 0), 0);
	live(10);
	assert_int_equal(kept(0, 0, 0), 1); /* no history */
	assert_int_equal(kept(1000, 0, 0), 10);
	assert_int_equal(kept(13, 0, 0), 2); /* a base and its epochs are 13 records */
	assert_int_equal(kept(12, 0, 0), 1);
	assert_int_equal(kept(39, 0, 0), 4);
	assert_int_equal(kept(1000, 1, 0), 1);
	assert_int_equal(kept(1000, 8000, 0),
			 2); /* what the last one begins with is just in time */
	assert_int_equal(kept(1000, 18000, 0), 3); /* each is 10 s */
	assert_int_equal(kept(1000, 17999, 0), 2);
	assert_int_equal(kept(13, 18000, 0), 2); /* whichever comes first */
	assert_int_equal(kept(1000, UINT64_MAX, 0), 10);
	assert_int_equal(kept(0, 1, play.h.bases[4].sequence), 6); /* it is being read */
	assert_int_equal(kept(1000, 0, play.h.bases[4].sequence), 10);
}

static void what_nothing_leads_to_any_more_goes_with_its_base(void **state)
{
	(void)state;
	live(3);
	history_drop(&play.h, play.h.bases[1].sequence);
	assert_int_equal(play.h.nbases, 2);
	assert_int_equal(play.h.nmarks, 2);
	refused("13", "begins with epoch 14");
	history_drop(&play.h, UINT64_MAX);
	assert_int_equal(play.h.nbases, 1); /* a recovery needs it */
	assert_int_equal(play.h.nmarks, 1);
}

static void a_mark_that_was_cut_off_is_not_there(void **state)
{
	(void)state;
	live(1);
	mark("late");
	assert_int_equal(found("late"), 12);
	history_end(&play.h, play.sequence);
	assert_int_equal(found("late"), 0);
	assert_int_equal(found("middle"), 7);
}

/* ---- what is meant ------------------------------------------------------------------------------ */

static void a_time_leads_to_what_was_there_then(void **state)
{
	struct history_place place;
	struct err err;
	char text[HISTORY_TIME_MAX];

	(void)state;
	live(3);
	history_print_time(text, play.h.bases[1].first_ms + 4500);
	assert_int_equal(history_find(&play.h, text, NOW, &place, &err), RC_OK);
	assert_true(place.base == play.h.bases[1].sequence && place.epoch == 24);
	assert_true(place.until_ms == play.h.bases[1].first_ms + 4500);
	history_print_time(text, play.h.bases[0].first_ms - 1);
	refused(text, "begins with epoch 4");
	assert_int_equal(found("-0s"), 32);
	refused("-1d", "begins with");
}

static void a_mark_leads_to_its_epoch(void **state)
{
	(void)state;
	live(2);
	mark("before upgrade");
	commits(2);
	assert_int_equal(found("before upgrade"), 22);
	assert_int_equal(found("middle"), 17); /* the newest */
	refused("before", "a mark \"before\"");
	refused("", "no such mark");
}

static void times_are_written_in_one_way(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {
		{ "2026-11-29T04:30:00Z", UINT64_C(1795926600000) },
		{ "2026-11-29T04:30:00.25Z", UINT64_C(1795926600250) },
		{ "2026-11-29 04:30Z", UINT64_C(1795926600000) },
		{ "2026-11-29T05:30:00+01:00", UINT64_C(1795926600000) },
		{ "2026-11-28T23:00:00-05:30", UINT64_C(1795926600000) },
		{ "2024-02-29T00:00:00Z", UINT64_C(1709164800000) },
	};
	static const char *const bad[] = {
		"2026-11-29T04:30:00",
		"2026-11-29",
		"2026-11-31T04:30:00Z",
		"2026-13-01T04:30:00Z",
		"2025-02-29T00:00:00Z",
		"2026-11-29T24:00:00Z",
		"2026-11-29T04:60:00Z",
		"2026-11-29T04:30:0Z",
		"2026-11-29T04:30:00.Z",
		"2026-11-29T04:30:00+1:00",
		"2026-11-29T04:30:00Zz",
		"1969-12-31T23:59:00Z",
		"-5",
		"-5x",
		"-5mm",
		"-5 m",
		"-99999999999s",
		"9999999999999999999",
		"2026-11-00T04:30:00Z",
		"2026-00-10T04:30:00Z",
	};
	struct history_place place;
	struct err err;
	size_t i;

	(void)state;
	live(1);
	play.h.bases[0].first_ms = 1;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(history_find(&play.h, good[i].text, NOW, &place, &err), RC_OK);
		if (place.until_ms != good[i].ms)
			fail_msg("%s: %llu", good[i].text, (unsigned long long)place.until_ms);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (history_find(&play.h, bad[i], NOW, &place, &err) != RC_INVALID)
			fail_msg("%s was taken", bad[i]);
	}
	refused("2026-11-30T00:53:21Z", "still to come");
	assert_int_equal(history_find(&play.h, "-90m", NOW, &place, &err), RC_OK);
	assert_true(place.until_ms == NOW - 90 * 60 * 1000);
}

static void a_mark_cannot_be_taken_for_something_else(void **state)
{
	char longest[JOURNAL_MARK_MAX + 2];
	struct err err;

	(void)state;
	assert_int_equal(history_check_mark("before upgrade", &err), RC_OK);
	assert_int_equal(history_check_mark("2nd attempt", &err), RC_OK);
	assert_int_equal(history_check_mark("-- 5", &err), RC_OK);
	assert_int_equal(history_check_mark("4711", &err), RC_INVALID);
	assert_int_equal(history_check_mark("-5m", &err), RC_INVALID);
	assert_int_equal(history_check_mark("2026-11-29 before", &err), RC_INVALID);
	assert_int_equal(history_check_mark("", &err), RC_INVALID);
	assert_int_equal(history_check_mark("two\nlines", &err), RC_INVALID);
	memset(longest, 'x', sizeof(longest));
	longest[JOURNAL_MARK_MAX + 1] = '\0';
	assert_int_equal(history_check_mark(longest, &err), RC_INVALID);
	longest[JOURNAL_MARK_MAX] = '\0';
	assert_int_equal(history_check_mark(longest, &err), RC_OK);
	mark(longest);
	assert_string_equal(play.h.marks[0].text, longest);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(epochs_belong_to_the_newest_base_that_leads_to_them),
		TEST(nothing_leads_over_a_cut),
		TEST(of_two_epochs_of_a_number_the_newest_counts),
		TEST(a_base_without_its_end_leads_nowhere),
		TEST(what_was_before_travels_in_a_record),
		TEST(bases_and_marks_are_bounded),
		TEST(as_much_is_kept_as_the_limits_allow_and_always_the_last_base),
		TEST(what_nothing_leads_to_any_more_goes_with_its_base),
		TEST(a_mark_that_was_cut_off_is_not_there),
		TEST(a_time_leads_to_what_was_there_then),
		TEST(a_mark_leads_to_its_epoch),
		TEST(times_are_written_in_one_way),
		TEST(a_mark_cannot_be_taken_for_something_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
