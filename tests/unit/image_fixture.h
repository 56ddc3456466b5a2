/*
 * For the tests of the memory image: an imaginary guest, a sender, and an image of it on tmpfs.
 */
#ifndef TESTS_UNIT_IMAGE_FIXTURE_H
#define TESTS_UNIT_IMAGE_FIXTURE_H

#include "replica/delta.h"
#include "replica/image.h"
#include "tests/unit/pages.h"
#include "tests/unit/scratch.h"

#define RAM_PAGES 1100
#define ROM_PAGES 40
#define GUEST_PAGES (RAM_PAGES + ROM_PAGES + 30) /* some of the device state's too */
#define STAGING ((size_t)4 << 20)
#define BATCHES_MAX 16
#define DEVICE_STATE_LEN 12345

struct image_fixture {
	struct err err;
	char dir[64], spill[SCRATCH_MAX];
	struct image_shared shared; /* the RAM block; a ROM block is private */
	struct layout layout;
	struct image *image;
	struct pages guest;
	struct delta_state *sender;
	struct delta_stats stats;
	struct { /* as it travels */
		uint64_t number, hash, pages;
		struct buf batches[BATCHES_MAX];
		size_t count;
	} epoch;
};

extern struct image_fixture image_fixture;

/* For cmocka: before and after each test. The image is the test's to make. */
int image_fixture_setup(void **state);
int image_fixture_teardown(void **state);

/* The image, with the layout set. */
void image_fixture_make(size_t staging);
/* Encodes the dirty pages as the next epoch. */
void image_fixture_capture(bool may_xor);
/* Gives the epoch to the image, begin and batches; and ends it. */
int image_fixture_receive(void);
int image_fixture_commit(void);
/* A first epoch of all of a guest that has done something, committed. */
void image_fixture_first_copy(void);

/* Asserts that the image holds that memory. */
void image_fixture_holds(const uint8_t *memory);
/* The guest's memory as it is now; free() it. */
uint8_t *image_fixture_copy(void);
/* How many pages the shared block's file takes. */
uint64_t image_fixture_storage(void);

#endif
