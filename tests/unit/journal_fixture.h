/*
 * A journal in one directory or several, a writer of epochs whose bytes follow from their numbers, and a reader that
 * knows them again.
 */
#ifndef TESTS_UNIT_JOURNAL_FIXTURE_H
#define TESTS_UNIT_JOURNAL_FIXTURE_H

#include "replica/journal.h"
#include "tests/unit/scratch.h"

#include <stdbool.h>
#include <stdint.h>

#define JOURNAL_SMALL 1500 /* of a segment: two epochs or three */
#define JOURNAL_NUMBER 0x1122334455667788

extern struct journal_play {
	char dir[SCRATCH_MAX], path[JOURNAL_COPIES_MAX][SCRATCH_MAX + 8];
	struct journal_place place;
	uint64_t segment_bytes;
	struct journal *j;
	struct journal_found found;
	uint64_t acknowledged, begun; /* what the writer did */
	/* what a reader saw: whole epochs only */
	uint64_t seen, open, batches;
	bool wrong;
} journal_play;

/* For cmocka; the place has one directory. */
int journal_fixture_begin(void **state);
int journal_fixture_end(void **state);

int journal_fixture_open(struct err *err);
void journal_fixture_close(void);

int journal_fixture_write(uint64_t epoch, bool durable, struct err *err);
void journal_fixture_write_all(uint64_t from, uint64_t to);

/* What a BEGIN holds here. */
extern const uint8_t journal_fixture_session[JOURNAL_BEGIN_BYTES];

/* The files of one directory, and that one. */
void journal_fixture_remove(unsigned copy);

#endif
