/*
 * The memory of the test guest that is to survive: a working set that is written at random, and a
 * region in which a copy put together from several moments shows.
 */
#ifndef TESTS_GUEST_MEMORY_H
#define TESTS_GUEST_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/*
 * The working set. Each write follows from the one before, by a pseudo-random generator whose state
 * is in memory like everything else. So the generation, which is the number of writes, determines
 * the contents, and with them the checksum: the sum over all 64-bit words of
 * value * (2 * index + 1) * 0x9e3779b97f4a7c15, modulo 2^64. That sum is kept up to date with each
 * write and is computed afresh to be answered: a page from another moment makes the two differ.
 */
void memory_fill(uint64_t mib);
void memory_dirty(uint64_t pages);
int memory_sum_answer(char *to, size_t size); /* as snprintf() */

/*
 * The oracle. One byte of every page of the region is incremented, page after page, over and over.
 * At any moment the pages before the current one are one ahead of those from it on. A region with
 * a second step, or with its step elsewhere than at the current page, is not of one moment.
 * Increments keep such a difference for ever, so it does not matter how soon it is asked for.
 */
void memory_oracle_start(uint64_t mib);
void memory_oracle_advance(uint64_t pages); /* nothing, if it was not started */
int memory_oracle_answer(char *to, size_t size);

/* Of guest.c: says what is wrong, with errno's reason, and ends the guest. */
void give_up(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
