/*
 * A receiver with a journal, the guest whose epochs it gets (image_fixture.h), and what the guest was at each of the
 * last ones. Everything is as soon as it can be: the loop is run until it is.
 */
#ifndef TESTS_UNIT_JOURNALING_FIXTURE_H
#define TESTS_UNIT_JOURNALING_FIXTURE_H

#include "replica/receiver.h"
#include "replica/rewind.h"
#include "tests/unit/image_fixture.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define EPOCHS_MAX 400
#define KEPT 16 /* epochs that may come back */
#define SUMS 8192
#define SESSION 77
#define TERM 3
#define SEGMENT ((uint64_t)1 << 20) /* small: an image takes several */

extern struct journaling_play {
	uv_loop_t loop;
	char dir[SCRATCH_MAX], copy[SCRATCH_MAX], claim[SCRATCH_MAX];
	struct receiver *receiver;
	struct rewind *rewind;
	struct journaling_options options;
	uint8_t *then[KEPT]; /* the guest, per epoch */
	uint64_t sums[SUMS]; /* of it, of the last epochs */
	uint64_t committed, faults;
	bool idle, closed, restored, behind, more, never_early, rewound;
	uint64_t epoch; /* restored */
	struct journal_origin origin;
	struct err why;
} journaling_play;

/* For cmocka. */
int journaling_fixture_begin(void **unused);
int journaling_fixture_end(void **unused);

/* The receiver; `restore`: with what the journal holds. */
void journaling_fixture_open(bool restore);
void journaling_fixture_close(void);

/* Until it is so. */
void journaling_wait_for(const bool *what);
const char *journaling_state(void);
void journaling_wait_for_state(const char *name);

/* The next epoch is on its way to the image; `epochs`: so many, each waited for. */
void journaling_send_epoch(void);
void journaling_send_epochs(unsigned count);

/* A standby that knows nothing but its journal; at least that epoch has to be there. */
void journaling_restart(uint64_t at_least);

/* The guest at one of the last epochs. */
uint8_t **journaling_then(uint64_t epoch);

/* The guest is where it was at that epoch. */
void journaling_rewind_guest(uint64_t epoch);

/* The journal's files as they were at one moment; and that they take the journal's place. */
void journaling_copy_files(void);
void journaling_use_copy(void);

/* For the files of a directory. */
void journaling_each_file(const char *path, void (*what)(int dir, const char *name));
void journaling_remove_one(int dir, const char *name);

/* The sequence number of the oldest one that there is. */
uint64_t journaling_first_segment(void);

/* One bit of that segment, by its first sequence number, is another one. */
void journaling_damage(uint64_t segment);

/* Callbacks that note it. */
void journaling_on_idle(void *owner);
void journaling_on_closed(void *owner);

#endif
