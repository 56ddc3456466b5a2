/*
 * A journal in three directories (journal_fixture.h), of which a test takes some away, damages files, and compares what
 * they hold.
 */
#ifndef TESTS_UNIT_JOURNAL_COPIES_FIXTURE_H
#define TESTS_UNIT_JOURNAL_COPIES_FIXTURE_H

#include "tests/unit/journal_fixture.h"

#include <sys/types.h>

/* For cmocka: three copies, acknowledged by two. */
int copies_begin(void **state);
int copies_end(void **state);
/* No fault any more. */
void copies_disarm(void);

/* A copy's directory is not there; and is again. */
void copies_take_away(unsigned copy);
void copies_bring_back(unsigned copy);

/* The path of what is open. */
void copies_path_of(int fd, char out[SCRATCH_MAX + 64]);
/* A segment of a copy: its path; its bytes, which the caller frees; with others; with one bit turned. */
void copies_path(unsigned copy, uint64_t segment, char out[SCRATCH_MAX + 64]);
size_t copies_get(unsigned copy, uint64_t segment, uint8_t **bytes);
void copies_put(unsigned copy, uint64_t segment, const uint8_t *bytes, size_t len);
void copies_flip(unsigned copy, uint64_t segment, off_t at);

/* Opens it, which has to do; what was read is in journal_play. */
void copies_open(void);
struct journal_health copies_health(void);
void copies_wait_for_good(unsigned good);
/* Each has what the others have. */
void copies_are_the_same(void);
/* Waits for all, closes it, and that. */
void copies_become_the_same(void);

#endif
