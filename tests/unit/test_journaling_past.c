/*
 * The past of a journal: which epochs are there, that each can be brought back while others come, and that a recovery does not
 * depend on it.
 */
#include "appliance/base/mem.h"
#include "replica/history_target.h"
#include "tests/unit/journaling_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <xxhash.h>

static struct history_place place;
static const char *target;
static bool pinned;
static size_t bases, marks;
static uint64_t oldest, newest, newest_base;

static void look(void *owner, const struct history *history)
{
	struct err *err = owner;

	bases = history->nbases;
	marks = history->nmarks;
	newest_base = bases > 0 ? history->bases[bases - 1].sequence : 0;
	oldest = bases > 0 ? history->bases[0].first : 0;
	newest = bases > 0 ? history->bases[bases - 1].last : 0;
	err->code = RC_OK;
	if (target != NULL &&
	    history_find(history, target, UINT64_C(1) << 42, &place, err) != RC_OK)
		place.base = 0;
}

/* False: it is not there, and why. */
static bool find(const char *wanted, struct err *err)
{
	target = wanted;
	assert_true(journaling_history(receiver_journal(journaling_play.receiver), look, err));
	return err->code == RC_OK;
}

static void count_bases(void)
{
	struct err err;

	(void)find(NULL, &err);
}

static void on_rewound(void *owner, uint64_t epoch, uint64_t ms, const struct err *result)
{
	(void)owner;
	assert_true(result->code != RC_OK || ms > 0);
	journaling_play.epoch = epoch;
	journaling_play.why = *result;
	journaling_play.rewound = true;
}

static uint64_t sum_of(const struct image *image)
{
	XXH64_state_t *state = XXH64_createState();
	uint64_t i, sum;

	(void)XXH64_reset(state, 0);
	for (i = 0; i < GUEST_PAGES; i++)
		(void)XXH64_update(state, image_page(image, i), LAYOUT_PAGE);
	sum = XXH64_digest(state);
	(void)XXH64_freeState(state);
	return sum;
}

/* Another image is brought to where find() has led, while this one goes on. */
static void rewind_to_place(void)
{
	struct image_shared shared = image_fixture.shared;
	const char *dirs[] = { journaling_play.dir };
	struct rewind_options options = { .dirs = dirs, .ndirs = 1, .place = place };
	char dir[SCRATCH_MAX];
	struct err err;

	assert_int_equal(scratch_make(dir, "rewound"), 0);
	assert_int_equal(image_create(&options.image, dir, dir, &shared, 1, STAGING, &err), RC_OK);
	journaling_play.rewound = journaling_play.closed = false;
	pinned = journaling_pin(receiver_journal(journaling_play.receiver), place.base);
	assert_int_equal(rewind_open(&journaling_play.rewind, &journaling_play.loop, &options,
				     on_rewound, NULL, &err),
			 RC_OK);
	journaling_send_epochs(2);
	journaling_wait_for(&journaling_play.rewound);
	if (journaling_play.why.code == RC_OK) {
		assert_true(image_epoch(options.image) == journaling_play.epoch);
		assert_int_equal(image_device_state_len(options.image), DEVICE_STATE_LEN);
		assert_true(sum_of(options.image) ==
			    journaling_play.sums[journaling_play.epoch % SUMS]);
	}
	rewind_close(journaling_play.rewind, journaling_on_closed, NULL);
	journaling_wait_for(&journaling_play.closed);
	journaling_play.rewind = NULL;
	(void)journaling_pin(receiver_journal(journaling_play.receiver), 0);
	journaling_play.closed = false;
	image_destroy(options.image, false);
	journaling_each_file(dir, journaling_remove_one);
	assert_int_equal(rmdir(dir), 0);
}

static void rewind_to(uint64_t epoch)
{
	char text[24];
	struct err err;

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)epoch);
	if (!find(text, &err))
		return; /* it has gone meanwhile */
	rewind_to_place();
	if (!pinned && journaling_play.why.code == RC_IO)
		return;
	if (journaling_play.why.code != RC_OK)
		fail_msg("%s: %s", text, journaling_play.why.text);
	assert_true(journaling_play.epoch == epoch);
}

/* A journal with a history of several bases. */
static void have_bases(size_t count)
{
	journaling_play.options.copy_bytes = 1;
	if (journaling_play.options.history.bytes == 0)
		journaling_play.options.history.bytes = UINT64_C(1) << 40;
	journaling_fixture_close();
	journaling_fixture_open(false);
	journaling_wait_for_state("bare");
	journaling_send_epochs(1);
	journaling_wait_for_state("based");
	for (count_bases(); bases < count && image_fixture.epoch.number < EPOCHS_MAX; count_bases())
		journaling_send_epochs(1);
	assert_int_equal(bases, count);
}

static void any_epoch_of_the_past_is_brought_back_while_others_come(void **unused)
{
	unsigned round;
	struct err err;

	(void)unused;
	have_bases(3);
	journaling_send_epochs(5);
	rewind_to(oldest);
	for (round = 0; round < 8; round++)
		rewind_to(oldest + pages_random(&image_fixture.guest, (uint32_t)(newest - oldest)));
	count_bases();
	rewind_to(newest);
	assert_false(find("999999", &err));
	journaling_restart(
		image_fixture.epoch.number); /* from the last base on, and it knows of the others */
	count_bases();
	assert_true(bases >= 3);
	rewind_to(oldest);
	rewind_to(newest);
}

static void a_mark_and_a_moment_lead_to_their_epochs(void **unused)
{
	const char long_ago[] = "2001-01-01T00:00:00Z";
	uint64_t epoch;
	struct err err;

	(void)unused;
	assert_int_equal(journaling_mark(receiver_journal(journaling_play.receiver), "early",
					 &epoch, &err),
			 RC_STATE);
	have_bases(2);
	assert_int_equal(journaling_mark(receiver_journal(journaling_play.receiver), "before it",
					 &epoch, &err),
			 RC_OK);
	assert_true(epoch == image_fixture.epoch.number);
	journaling_send_epochs(3);
	journaling_restart(image_fixture.epoch.number);
	assert_true(find("before it", &err));
	rewind_to_place();
	assert_true(journaling_play.epoch == epoch);
	assert_false(find(long_ago, &err));
	assert_true(find("-0s", &err)); /* of a clock that is ahead */
	rewind_to_place();
	assert_true(journaling_play.epoch >= epoch + 3);
	find("1", &err);
	place.until_ms = 1; /* the first that there is, whenever that was */
	assert_true(find("before it", &err));
	place.epoch = UINT64_MAX;
	place.until_ms = 1;
	rewind_to_place();
	assert_int_equal(journaling_play.why.code, RC_OK);
	assert_true(journaling_play.epoch <= epoch);
}

static void what_is_too_much_of_the_past_goes_and_recovery_stays(void **unused)
{
	struct journaling_status status;
	uint64_t first;
	unsigned round;

	(void)unused;
	journaling_play.options.history.bytes = (uint64_t)3 << 20; /* two bases and their epochs */
	have_bases(2);
	for (round = 0; round < 12; round++) {
		for (count_bases(), first = newest_base; newest_base == first; count_bases())
			journaling_send_epochs(1);
		assert_true(bases >= 1 && bases <= 5);
		journaling_status(receiver_journal(journaling_play.receiver), &status);
		assert_true(status.bytes < (uint64_t)8 << 20);
		rewind_to(oldest);
	}
	assert_true(oldest > 1);
	journaling_restart(image_fixture.epoch.number);
	count_bases();
	rewind_to(oldest);
}

/* Whenever the disk is full, it is the past that makes room, and nobody hears of it. */
static void a_full_disk_takes_the_past_first(void **unused)
{
	unsigned long nth;
	size_t before;

	(void)unused;
	have_bases(4);
	for (nth = 1; nth < 30; nth += 7) {
		for (count_bases(); bases < 3; count_bases())
			journaling_send_epochs(1);
		before = bases;
		fault_arm(FAULT_WRITE, nth);
		while (!fault_fired(FAULT_WRITE))
			journaling_send_epochs(1);
		fault_arm(FAULT_WRITE, 0);
		journaling_send_epochs(1);
		assert_string_equal(journaling_state(), "based");
		count_bases();
		assert_true(bases <= before); /* another one may have come */
	}
	assert_true(oldest > 40);
	journaling_restart(image_fixture.epoch.number);
	count_bases();
	rewind_to(oldest);
}

static void a_past_that_goes_while_it_is_read_is_told(void **unused)
{
	struct err err;

	(void)unused;
	have_bases(2);
	assert_true(find("-0s", &err));
	place.base = 1;
	place.epoch = 1 << 20;
	rewind_to_place(); /* no BASE of that number leads there */
	assert_int_equal(journaling_play.why.code, RC_INVALID);
	assert_non_null(strstr(journaling_play.why.text, journaling_play.dir));
	place.base = 2;
	rewind_to_place();
	assert_int_equal(journaling_play.why.code, RC_IO);
	assert_non_null(strstr(journaling_play.why.text, "not in the journal any more"));
}

/* A recovery does not need it; who reads it is told where it is. */
static void damage_in_the_past_is_found_by_who_goes_there(void **unused)
{
	char text[24];
	struct err err;

	(void)unused;
	have_bases(3);
	journaling_fixture_close();
	journaling_damage(journaling_first_segment());
	journaling_restart(image_fixture.epoch.number);
	count_bases();
	assert_true(bases >= 3);
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)oldest);
	assert_true(find(text, &err));
	rewind_to_place();
	assert_int_equal(journaling_play.why.code, RC_INVALID);
	assert_non_null(strstr(journaling_play.why.text, "damaged: segment"));
	rewind_to(newest);
}

/* As above, but what a copy of the files leads to is also its past. */
static void killed_at_any_moment_its_past_is_as_it_was(void **unused)
{
	unsigned round, turns;
	uint64_t acknowledged;

	(void)unused;
	journaling_play.options.history.bytes = (uint64_t)3 << 20;
	have_bases(2);
	for (round = 0; round < 12; round++) {
		journaling_send_epochs((unsigned)pages_random(&image_fixture.guest, 12));
		journaling_send_epoch();
		for (turns = (unsigned)pages_random(&image_fixture.guest, 16); turns > 0; turns--)
			(void)uv_run(&journaling_play.loop, UV_RUN_NOWAIT);
		acknowledged = journaling_play.committed;
		journaling_copy_files();
		journaling_use_copy();
		journaling_restart(acknowledged);
		journaling_rewind_guest(journaling_play.epoch);
		count_bases();
		assert_true(bases >= 1 && newest >= acknowledged);
		rewind_to(oldest);
		rewind_to(oldest + (newest - oldest) / 2);
	}
}

int main(void)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, journaling_fixture_begin, journaling_fixture_end)
	const struct CMUnitTest tests[] = {
		TEST(any_epoch_of_the_past_is_brought_back_while_others_come),
		TEST(a_mark_and_a_moment_lead_to_their_epochs),
		TEST(what_is_too_much_of_the_past_goes_and_recovery_stays),
		TEST(a_full_disk_takes_the_past_first),
		TEST(a_past_that_goes_while_it_is_read_is_told),
		TEST(damage_in_the_past_is_found_by_who_goes_there),
		TEST(killed_at_any_moment_its_past_is_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
