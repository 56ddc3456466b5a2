#include "appliance/base/mem.h"
#include "tests/unit/image_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define f image_fixture

static void the_image_follows_the_guest_over_hundreds_of_epochs(void **state)
{
	int i;

	(void)state;
	image_fixture_make(STAGING);
	assert_int_equal(image_epoch(f.image), 0);
	image_fixture_first_copy();
	for (i = 0; i < 600; i++) {
		assert_int_equal(image_epoch(f.image), f.epoch.number);
		pages_change(&f.guest, pages_random(&f.guest, 80));
		image_fixture_capture(true);
		assert_int_equal(image_fixture_receive(), RC_OK);
		assert_int_equal(image_fixture_commit(), RC_OK);
		assert_int_equal(image_staged(f.image), 0);
		if (i % 20 == 0)
			image_fixture_holds(f.guest.memory);
	}
	image_fixture_holds(f.guest.memory);
	assert_true(f.stats.changed > 1000 && f.stats.zero > 0);
	assert_int_equal(image_device_state_len(f.image), DEVICE_STATE_LEN);
}

static void what_qemu_maps_is_what_was_committed(void **state)
{
	uint8_t *map;
	int fd;

	(void)state;
	image_fixture_make(STAGING);
	fd = open(f.shared.path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	map = mmap(NULL, f.shared.bytes, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	image_fixture_first_copy();
	assert_memory_equal(map, f.guest.memory, f.shared.bytes);
	pages_change(&f.guest, 500);
	image_fixture_capture(true);
	assert_int_equal(image_fixture_receive(), RC_OK);
	assert_memory_not_equal(map, f.guest.memory, f.shared.bytes);
	assert_int_equal(image_fixture_commit(), RC_OK);
	assert_memory_equal(map, f.guest.memory, f.shared.bytes);
	assert_int_equal(munmap(map, f.shared.bytes), 0);
	(void)close(fd);
}

static void a_received_epoch_does_not_show_before_its_commit_nor_after_an_abort(void **state)
{
	uint8_t *before;

	(void)state;
	image_fixture_make(STAGING);
	image_fixture_first_copy();
	before = image_fixture_copy();
	pages_change(&f.guest, 300);
	image_fixture_capture(true);
	assert_int_equal(image_fixture_receive(), RC_OK);
	assert_true(image_staged(f.image) > 0);
	image_fixture_holds(before);
	image_abort(f.image);
	image_abort(f.image);
	assert_int_equal(image_staged(f.image), 0);
	assert_int_equal(image_epoch(f.image), 1);
	image_fixture_holds(before);
	/* The same epoch again. */
	assert_int_equal(image_fixture_receive(), RC_OK);
	assert_int_equal(image_fixture_commit(), RC_OK);
	image_fixture_holds(f.guest.memory);
	free(before);
}

static void an_epoch_whose_sums_are_wrong_is_not_applied(void **state)
{
	uint8_t *before;
	int i;

	(void)state;
	image_fixture_make(STAGING);
	image_fixture_first_copy();
	before = image_fixture_copy();
	pages_change(&f.guest, 300);
	image_fixture_capture(true);
	for (i = 0; i < 4; i++) {
		assert_int_equal(image_fixture_receive(), RC_OK);
		if (i == 0)
			assert_int_equal(image_commit(f.image, f.epoch.pages + 1, f.epoch.hash, 0,
						      &f.err),
					 RC_INVALID);
		else if (i == 1)
			assert_int_equal(image_commit(f.image, f.epoch.pages, f.epoch.hash ^ 1, 0,
						      &f.err),
					 RC_INVALID);
		else if (i == 2)
			assert_int_equal(image_commit(f.image, f.epoch.pages, f.epoch.hash,
						      UINT32_MAX, &f.err),
					 RC_LIMIT);
		else
			assert_int_equal(image_fixture_commit(), RC_OK);
		assert_int_equal(image_epoch(f.image), i < 3 ? 1 : 2);
		assert_int_equal(image_device_state_len(f.image), DEVICE_STATE_LEN);
		image_fixture_holds(i < 3 ? before : f.guest.memory);
	}
	free(before);
}

static void a_damaged_or_missing_batch_keeps_the_epoch_from_being_committed(void **state)
{
	uint8_t *before;
	size_t i;

	(void)state;
	image_fixture_make(STAGING);
	image_fixture_first_copy();
	before = image_fixture_copy();
	memset(f.guest.dirty, true, GUEST_PAGES * sizeof(bool));
	pages_change(&f.guest, 3000);
	image_fixture_capture(true);
	assert_true(f.epoch.count > 1);
	for (i = 0; i < 200; i++) {
		struct buf *batch = &f.epoch.batches[pages_random(&f.guest, f.epoch.count)];
		size_t at = pages_random(&f.guest, batch->len);

		batch->data[at] ^= 0x10;
		assert_int_equal(image_fixture_receive(), RC_INVALID);
		assert_int_equal(image_fixture_commit(), RC_STATE);
		image_fixture_holds(before);
		batch->data[at] ^= 0x10;
	}
	assert_int_equal(image_begin(f.image, f.epoch.number, &f.err), RC_OK);
	for (i = 1; i < f.epoch.count; i++)
		assert_int_equal(image_batch(f.image, f.epoch.batches[i].data,
					     f.epoch.batches[i].len, &f.err),
				 RC_OK);
	assert_int_equal(image_fixture_commit(), RC_INVALID);
	image_fixture_holds(before);
	assert_int_equal(image_epoch(f.image), 1);
	free(before);
}

static void whatever_allocation_fails_the_image_is_whole(void **state)
{
	uint8_t *before;
	unsigned long n;
	bool fired;

	(void)state;
	for (n = 1, fired = true; fired; n++) {
		fault_arm(FAULT_ALLOC, n);
		f.image = NULL;
		if (image_create(&f.image, f.dir, f.spill, &f.shared, 1, 3 * LAYOUT_PAGE, &f.err) ==
		    RC_OK) {
			if (image_set_layout(f.image, &f.layout, &f.err) != RC_OK) {
				assert_null(image_layout(f.image));
				image_destroy(f.image, true);
			}
		}
		fired = fault_fired(FAULT_ALLOC);
		if (fired)
			assert_int_equal(f.err.code, RC_NOMEM);
	}
	fault_arm(FAULT_ALLOC, 0);
	assert_true(n > 8);
	image_fixture_first_copy();
	for (n = 1, fired = true; fired; n++) {
		before = image_fixture_copy();
		pages_change(&f.guest, 50);
		delta_state_forget(f.sender); /* all pages travel */
		memset(f.guest.dirty, true, GUEST_PAGES * sizeof(bool));
		image_fixture_capture(true);
		delta_trim();
		fault_arm(FAULT_ALLOC, n);
		if (image_fixture_receive() == RC_OK) {
			if (image_fixture_commit() != RC_OK)
				image_fixture_holds(before);
			else
				image_fixture_holds(f.guest.memory);
		} else {
			assert_int_equal(f.err.code, RC_NOMEM);
			image_fixture_holds(before);
			assert_int_equal(image_fixture_commit(), RC_STATE);
		}
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
		if (image_epoch(f.image) != f.epoch.number) {
			assert_int_equal(image_fixture_receive(), RC_OK);
			assert_int_equal(image_fixture_commit(), RC_OK);
		}
		image_fixture_holds(f.guest.memory);
		free(before);
	}
	assert_true(n > 6);
}

static void resync(size_t staging)
{
	uint8_t *before;
	uint64_t hashes[GUEST_PAGES], sent = 0, hash = 0;
	int round;

	image_fixture_make(staging);
	image_fixture_first_copy();
	before = image_fixture_copy();
	delta_state_forget(f.sender);
	image_hashes(f.image, 0, 300, hashes);
	image_hashes(f.image, 300, GUEST_PAGES - 300, hashes + 300);
	delta_state_learn(f.sender, 0, hashes, GUEST_PAGES);
	assert_int_equal(image_begin(f.image, 2, &f.err), RC_OK);
	memset(f.guest.dirty, true, GUEST_PAGES * sizeof(bool));
	f.stats = (struct delta_stats){ 0 };
	for (round = 0; round < 30; round++) {
		pages_change(&f.guest, 100);
		image_fixture_capture(false);
		sent += f.epoch.pages;
		hash += f.epoch.hash;
		for (size_t i = 0; i < f.epoch.count; i++)
			assert_int_equal(image_batch(f.image, f.epoch.batches[i].data,
						     f.epoch.batches[i].len, &f.err),
					 RC_OK);
		image_fixture_holds(before);
	}
	assert_true(f.stats.unchanged > GUEST_PAGES / 2);
	/* A page that came ten times is kept once. */
	assert_true(image_staged(f.image) < GUEST_PAGES * (LAYOUT_PAGE + 64));
	assert_true(sent > GUEST_PAGES);
	assert_int_equal(image_commit(f.image, sent, hash, 7, &f.err), RC_OK);
	image_fixture_holds(f.guest.memory);
	assert_int_equal(image_epoch(f.image), 2);
	free(before);
}

static void in_a_resync_the_committed_epoch_stays_and_later_versions_win(void **state)
{
	(void)state;
	resync(2 * STAGING);
}

static void so_it_is_when_the_versions_are_in_the_file(void **state)
{
	(void)state;
	resync(3 * LAYOUT_PAGE);
}

static void differences_are_refused_where_there_is_nothing_committed(void **state)
{
	(void)state;
	image_fixture_make(STAGING);
	image_fixture_first_copy();
	for (int i = 0; i < 3; i++) {
		pages_change(&f.guest, 300);
		image_fixture_capture(true);
		assert_int_equal(image_fixture_receive(), RC_OK);
		assert_int_equal(image_fixture_commit(), RC_OK);
	}
	pages_change(&f.guest, 300);
	image_fixture_capture(true);
	image_forget(f.image);
	assert_int_equal(image_epoch(f.image), 0);
	assert_int_equal(image_device_state_len(f.image), 0);
	assert_int_equal(image_fixture_receive(), RC_INVALID);
	assert_non_null(strstr(f.err.text, "changed, but there is nothing"));
}

struct decoder {
	pthread_t thread;
	size_t first;
	int rc;
};

static void *decode_every_second(void *argument)
{
	struct decoder *d = argument;
	struct err e;

	for (size_t i = d->first; i < f.epoch.count && d->rc == RC_OK; i += 2)
		d->rc = image_batch(f.image, f.epoch.batches[i].data, f.epoch.batches[i].len, &e);
	return NULL;
}

static void batches_of_a_checkpoint_may_be_decoded_side_by_side(void **state)
{
	int i;

	(void)state;
	image_fixture_make((size_t)1 << 20); /* part of them goes to the file */
	image_fixture_first_copy();
	for (i = 0; i < 40; i++) {
		struct decoder decoders[2] = { { .first = 0 }, { .first = 1 } };

		memset(f.guest.dirty, true, GUEST_PAGES * sizeof(bool));
		pages_change(&f.guest, 1000);
		image_fixture_capture(true);
		assert_int_equal(image_begin(f.image, f.epoch.number, &f.err), RC_OK);
		for (size_t k = 0; k < 2; k++)
			assert_int_equal(pthread_create(&decoders[k].thread, NULL,
							decode_every_second, &decoders[k]),
					 0);
		for (size_t k = 0; k < 2; k++) {
			assert_int_equal(pthread_join(decoders[k].thread, NULL), 0);
			assert_int_equal(decoders[k].rc, RC_OK);
		}
		assert_int_equal(image_fixture_commit(), RC_OK);
		image_fixture_holds(f.guest.memory);
	}
}

static void a_layout_that_does_not_fit_the_reservation_is_refused(void **state)
{
	struct layout other = { 0 };

	(void)state;
	assert_int_equal(image_create(&f.image, f.dir, f.spill, &f.shared, 1, STAGING, &f.err),
			 RC_OK);
	assert_null(image_layout(f.image));
	assert_int_equal(image_begin(f.image, 1, &f.err), RC_STATE);
	assert_int_equal(layout_add(&other, "pc.rom", 6, 4096, &f.err), RC_OK);
	assert_int_equal(layout_finish(&other, &f.err), RC_OK);
	assert_int_equal(image_set_layout(f.image, &other, &f.err), RC_REFUSED);
	memset(&other, 0, sizeof(other));
	assert_int_equal(layout_add(&other, "pc.ram", 6, 4096, &f.err), RC_OK);
	assert_int_equal(layout_finish(&other, &f.err), RC_OK);
	assert_int_equal(image_set_layout(f.image, &other, &f.err), RC_REFUSED);
	memset(&other, 0, sizeof(other));
	assert_int_equal(layout_add(&other, "pc.ram", 6, f.shared.bytes, &f.err), RC_OK);
	assert_int_equal(layout_add(&other, "more", 4, UINT64_C(1) << 40, &f.err), RC_OK);
	assert_int_equal(layout_finish(&other, &f.err), RC_OK);
	assert_int_equal(image_set_layout(f.image, &other, &f.err), RC_LIMIT);
	assert_null(image_layout(f.image));
	assert_int_equal(image_set_layout(f.image, &f.layout, &f.err), RC_OK);
	assert_true(layout_equal(image_layout(f.image), &f.layout));
	assert_true(image_is_shared(f.image, &f.layout.blocks[0]));
	assert_false(image_is_shared(f.image, &f.layout.blocks[1]));
}

static void the_same_layout_again_changes_nothing_and_another_one_has_to_wait(void **state)
{
	struct layout other = { 0 };

	(void)state;
	image_fixture_make(STAGING);
	image_fixture_first_copy();
	assert_int_equal(image_set_layout(f.image, &f.layout, &f.err), RC_OK);
	image_fixture_holds(f.guest.memory);
	assert_int_equal(layout_add(&other, "pc.rom", 6, 4096, &f.err), RC_OK);
	assert_int_equal(layout_add(&other, "pc.ram", 6, f.shared.bytes, &f.err), RC_OK);
	assert_int_equal(layout_finish(&other, &f.err), RC_OK);
	assert_int_equal(image_set_layout(f.image, &other, &f.err), RC_STATE);
	image_fixture_holds(f.guest.memory);
	image_forget(f.image);
	assert_int_equal(image_set_layout(f.image, &other, &f.err), RC_OK);
	assert_memory_equal(image_page(f.image, 1), f.guest.memory, LAYOUT_PAGE);
}

static void steps_out_of_order_are_refused(void **state)
{
	uint8_t byte = 0;

	(void)state;
	image_fixture_make(STAGING);
	assert_int_equal(image_batch(f.image, &byte, 1, &f.err), RC_STATE);
	assert_int_equal(image_commit(f.image, 0, 0, 0, &f.err), RC_STATE);
	assert_int_equal(image_begin(f.image, 0, &f.err), RC_INVALID);
	assert_int_equal(image_begin(f.image, 5, &f.err), RC_OK);
	assert_int_equal(image_begin(f.image, 6, &f.err), RC_STATE);
	assert_int_equal(image_commit(f.image, 0, 0, 0, &f.err), RC_OK);
	assert_int_equal(image_begin(f.image, 5, &f.err), RC_INVALID);
	assert_int_equal(image_begin(f.image, 6, &f.err), RC_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, image_fixture_setup, image_fixture_teardown)
		TEST(the_image_follows_the_guest_over_hundreds_of_epochs),
		TEST(what_qemu_maps_is_what_was_committed),
		TEST(a_received_epoch_does_not_show_before_its_commit_nor_after_an_abort),
		TEST(an_epoch_whose_sums_are_wrong_is_not_applied),
		TEST(a_damaged_or_missing_batch_keeps_the_epoch_from_being_committed),
		TEST(whatever_allocation_fails_the_image_is_whole),
		TEST(in_a_resync_the_committed_epoch_stays_and_later_versions_win),
		TEST(so_it_is_when_the_versions_are_in_the_file),
		TEST(differences_are_refused_where_there_is_nothing_committed),
		TEST(batches_of_a_checkpoint_may_be_decoded_side_by_side),
		TEST(a_layout_that_does_not_fit_the_reservation_is_refused),
		TEST(the_same_layout_again_changes_nothing_and_another_one_has_to_wait),
		TEST(steps_out_of_order_are_refused),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
