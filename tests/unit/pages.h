/*
 * An imaginary guest for the tests: memory whose pages change in the ways in which real ones do,
 * from a seed.
 */
#ifndef TESTS_UNIT_PAGES_H
#define TESTS_UNIT_PAGES_H

#include "replica/chunk.h"
#include "replica/layout.h"

#include <stdbool.h>
#include <stdint.h>

struct pages {
	uint64_t count, random;
	uint8_t *memory; /* count * LAYOUT_PAGE */
	bool *dirty;
};

void pages_open(struct pages *pages, uint64_t count, uint64_t seed);
void pages_close(struct pages *pages);

/* The next pseudo-random number, below `below`. */
uint64_t pages_random(struct pages *pages, uint64_t below);
uint8_t *pages_at(const struct pages *pages, uint64_t index);

/* Changes some pages, as often some of them again, and marks them dirty; some end as they were. */
void pages_change(struct pages *pages, uint64_t changes);

/*
 * Fills a chunk with dirty pages from index *at on, and marks them clean; false: there were none.
 */
bool pages_fill(struct pages *pages, uint64_t *at, struct chunk *chunk);

#endif
