/*
 * Epochs through the receiver into the journal, and back: whatever the moment at which a standby dies, its
 * journal holds every epoch that was acknowledged, and brings the image to one of them byte for byte.
 */
#include "appliance/base/mem.h"
#include "tests/unit/journaling_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void what_was_acknowledged_comes_back_and_goes_on(void **unused)
{
	(void)unused;
	journaling_wait_for_state("bare");
	journaling_send_epochs(1);
	journaling_wait_for_state("based"); /* nothing else comes meanwhile */
	journaling_send_epochs(20);
	journaling_restart(21);
	assert_int_equal(journaling_play.epoch, 21);
	assert_false(journaling_play.behind);
	assert_string_equal(journaling_state(), "based");
	journaling_send_epochs(10);
	journaling_restart(31);
	assert_int_equal(journaling_play.epoch, 31);
}

static void the_image_is_copied_while_epochs_go_on(void **unused)
{
	(void)unused;
	journaling_wait_for_state("bare");
	journaling_send_epochs(1);
	do {
		journaling_send_epoch();
		journaling_send_epoch();
		journaling_send_epochs(1); /* two are queued: there is no moment without work */
	} while (strcmp(journaling_state(), "based") != 0);
	assert_true(image_fixture.epoch.number > 3);
	journaling_send_epochs(3);
	journaling_restart(image_fixture.epoch.number);
}

static void another_copy_takes_the_place_of_the_first(void **unused)
{
	struct journaling_status status;
	uint64_t most = 0;

	(void)unused;
	journaling_play.options.copy_bytes = 1;
	journaling_fixture_close();
	journaling_fixture_open(false);
	journaling_wait_for_state("bare");
	journaling_send_epochs(1);
	journaling_wait_for_state("based");
	while (image_fixture.epoch.number < EPOCHS_MAX - 20) {
		journaling_send_epochs(1);
		journaling_status(receiver_journal(journaling_play.receiver), &status);
		if (status.bytes + SEGMENT < most)
			break; /* segments have gone */
		most = status.bytes > most ? status.bytes : most;
	}
	assert_true(image_fixture.epoch.number < EPOCHS_MAX - 20);
	journaling_send_epochs(5);
	journaling_restart(image_fixture.epoch.number);
}

/* At any moment, what is on the disk is copied, as a power cut or SIGKILL would leave it. */
static void killed_at_any_moment_it_holds_what_was_acknowledged(void **unused)
{
	unsigned round, turns;
	uint64_t acknowledged;

	(void)unused;
	journaling_wait_for_state("bare");
	journaling_send_epochs(1);
	journaling_wait_for_state("based");
	journaling_play.options.copy_bytes = 1;
	for (round = 0; round < 40; round++) {
		journaling_send_epochs((unsigned)pages_random(&image_fixture.guest, 4));
		journaling_send_epoch();
		journaling_send_epoch();
		for (turns = (unsigned)pages_random(&image_fixture.guest, 16); turns > 0; turns--)
			(void)uv_run(&journaling_play.loop, UV_RUN_NOWAIT);
		acknowledged = journaling_play.committed;
		journaling_copy_files();
		journaling_use_copy();
		journaling_restart(acknowledged);
		journaling_rewind_guest(journaling_play.epoch);
	}
}

/* Each write and each sync fails once: the epochs go on, and so does the journal after a while. */
static void a_disk_that_fails_costs_the_journal_and_not_the_epochs(void **unused)
{
	static const enum fault_kind kinds[] = { FAULT_WRITE, FAULT_FSYNC, FAULT_OPEN };
	struct journaling_status status;
	unsigned long nth;
	size_t kind;

	(void)unused;
	journaling_wait_for_state("bare");
	journaling_send_epochs(1);
	for (kind = 0; kind < 3; kind++) {
		for (nth = 1; nth < 8; nth += 2) {
			journaling_wait_for_state("based");
			fault_arm(kinds[kind], nth);
			while (!fault_fired(kinds[kind]) && kinds[kind] != FAULT_OPEN)
				journaling_send_epochs(1);
			journaling_send_epochs(2);
			fault_arm(kinds[kind], 0);
			journaling_status(receiver_journal(journaling_play.receiver), &status);
			if (kinds[kind] != FAULT_OPEN)
				assert_true(*status.problem != '\0' || status.durable);
			while (strcmp(journaling_state(), "based") != 0)
				journaling_send_epochs(1);
			journaling_send_epochs(1);
		}
	}
	assert_int_equal(journaling_play.faults, 0);
	journaling_restart(image_fixture.epoch.number);
}

static void what_was_acknowledged_without_it_is_told(void **unused)
{
	uint64_t last;

	(void)unused;
	journaling_play.options.retry_ms = 1 << 30;
	journaling_fixture_close();
	journaling_fixture_open(false);
	journaling_wait_for_state("bare");
	journaling_send_epochs(1);
	journaling_wait_for_state("based");
	journaling_send_epochs(4);
	last = journaling_play.committed;
	fault_arm(FAULT_FSYNC, 1);
	journaling_send_epochs(3);
	fault_arm(FAULT_FSYNC, 0);
	assert_string_equal(journaling_state(), "broken");
	journaling_restart(last);
	assert_true(journaling_play.behind);
	journaling_rewind_guest(journaling_play.epoch);
	journaling_send_epochs(2); /* and is true again once the journal leads on from there */
	journaling_restart(journaling_play.committed);
	assert_false(journaling_play.behind);
}

static void another_image_is_another_history(void **unused)
{
	const uint64_t before = 3;

	(void)unused;
	journaling_wait_for_state("bare");
	journaling_send_epochs(1);
	journaling_wait_for_state("based");
	journaling_send_epochs((unsigned)before - 1);
	image_forget(image_fixture.image);
	journaling_rewind_guest(before);
	journaling_send_epochs(2);
	journaling_fixture_close(); /* the other image's epochs were not waited for */
	journaling_fixture_open(false);
	journaling_wait_for_state("bare");
	journaling_send_epochs(1);
	journaling_wait_for_state("based");
	journaling_send_epochs(1);
	journaling_restart(before + 4);
	assert_false(journaling_play.behind);
}

/* The journal then ends with a base that leads nowhere, behind one that does. */
static void a_copy_that_was_cut_short_leaves_what_was_there_before(void **unused)
{
	(void)unused;
	journaling_wait_for_state("bare");
	journaling_send_epochs(1);
	journaling_wait_for_state("based");
	journaling_send_epochs(4);
	journaling_play.options.copy_backlog = 0; /* no piece is copied any more */
	journaling_restart(5);
	image_forget(image_fixture.image);
	journaling_rewind_guest(5);
	journaling_send_epochs(3);
	assert_string_equal(journaling_state(), "copying");
	journaling_restart(5);
	assert_int_equal(journaling_play.epoch, 5);
	assert_true(journaling_play.behind);
}

static void a_takeover_does_not_wait_for_the_disk(void **unused)
{
	(void)unused;
	journaling_wait_for_state("bare");
	journaling_send_epochs(1);
	journaling_wait_for_state("based");
	journaling_send_epoch();
	receiver_drop(journaling_play.receiver, true, journaling_on_idle);
	journaling_wait_for(&journaling_play.idle);
	image_fixture_holds(*journaling_then(image_fixture.epoch.number));
	while (journaling_play.committed != image_fixture.epoch.number)
		(void)uv_run(&journaling_play.loop, UV_RUN_ONCE);
}

static void what_is_damaged_is_told_and_left_alone(void **unused)
{

	(void)unused;
	journaling_wait_for_state("bare");
	journaling_send_epochs(1);
	journaling_wait_for_state("based");
	journaling_send_epochs(5);
	journaling_fixture_close();
	journaling_damage(1);
	image_destroy(image_fixture.image, false);
	image_fixture.image = NULL;
	image_fixture_make(STAGING);
	journaling_fixture_open(true);
	assert_int_equal(journaling_play.epoch, 0);
	assert_int_equal(journaling_play.why.code, RC_INVALID);
	assert_non_null(strstr(journaling_play.why.text, "damaged"));
	assert_non_null(strstr(journaling_play.why.text, "move the journal away"));
}

static void another_instances_journal_is_left_alone(void **unused)
{
	(void)unused;
	journaling_send_epochs(3);
	journaling_wait_for_state("based");
	journaling_fixture_close();
	journaling_play.options.instance = "vm2";
	image_destroy(image_fixture.image, false);
	image_fixture.image = NULL;
	image_fixture_make(STAGING);
	journaling_fixture_open(true);
	assert_int_equal(journaling_play.epoch, 0);
	assert_int_equal(journaling_play.why.code, RC_REFUSED);
	assert_non_null(strstr(journaling_play.why.text, "another instance"));
	journaling_fixture_close();
	journaling_play.options.instance = "vm1";
	journaling_restart(3);
}

/* One BASE with nothing behind it that is not zero, whose checksums are right. */
static void write_base(const struct journal_base *base)
{
	struct buf payload = { 0 };
	struct journal_found found;
	struct journal *journal;
	struct err err;

	assert_non_null(buf_extend(&payload, JOURNAL_BASE_BYTES));
	journal_put_base(payload.data, base);
	payload.len = JOURNAL_BASE_BYTES;
	layout_encode(&image_fixture.layout, &payload);
	assert_int_equal(journal_open(&journal, &journaling_play.options.place, 9, SEGMENT, NULL,
				      NULL, &found, &err),
			 RC_OK);
	assert_int_equal(journal_append(journal, JOURNAL_BASE, 4, payload.data,
					(uint32_t)payload.len, &err),
			 RC_OK);
	assert_int_equal(journal_append(journal, JOURNAL_WHOLE, 4, NULL, 0, &err), RC_OK);
	assert_int_equal(journal_sync(journal, &err), RC_OK);
	journal_close(journal);
	buf_free(&payload);
}

static void a_base_whose_device_state_does_not_fit_is_refused(void **unused)
{
	struct journal_base base = { .origin = { SESSION, TERM },
				     .instance = journal_instance("vm1"),
				     .device_state_len = LAYOUT_DEVICE_STATE_MAX };

	(void)unused;
	journaling_wait_for_state("bare");
	journaling_fixture_close();
	write_base(&base);
	journaling_fixture_open(true);
	assert_int_equal(journaling_play.epoch, 4);
	journaling_fixture_close();
	base.device_state_len++;
	write_base(&base);
	journaling_fixture_open(true);
	assert_int_equal(journaling_play.epoch, 0);
	assert_int_equal(journaling_play.why.code, RC_INVALID);
	assert_non_null(strstr(journaling_play.why.text, "a device state of 67108865 bytes"));
}

int main(void)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, journaling_fixture_begin, journaling_fixture_end)
	const struct CMUnitTest tests[] = {
		TEST(what_was_acknowledged_comes_back_and_goes_on),
		TEST(the_image_is_copied_while_epochs_go_on),
		TEST(another_copy_takes_the_place_of_the_first),
		TEST(killed_at_any_moment_it_holds_what_was_acknowledged),
		TEST(a_disk_that_fails_costs_the_journal_and_not_the_epochs),
		TEST(what_was_acknowledged_without_it_is_told),
		TEST(another_image_is_another_history),
		TEST(a_copy_that_was_cut_short_leaves_what_was_there_before),
		TEST(a_takeover_does_not_wait_for_the_disk),
		TEST(what_is_damaged_is_told_and_left_alone),
		TEST(another_instances_journal_is_left_alone),
		TEST(a_base_whose_device_state_does_not_fit_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
