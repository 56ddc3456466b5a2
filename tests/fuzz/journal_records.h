/* What the fuzz targets of the journal make of arbitrary bytes, so that they get past its checksums. */
#ifndef TESTS_FUZZ_JOURNAL_RECORDS_H
#define TESTS_FUZZ_JOURNAL_RECORDS_H

#include <stddef.h>
#include <stdint.h>

/*
 * The bytes behind a segment's head become records of that journal, counted from `sequence`, with short payloads and the right
 * sums; what is left at the end stays as it is.
 */
void fuzz_journal_make_right(uint8_t *bytes, size_t len, uint64_t journal, uint64_t sequence);

#endif
