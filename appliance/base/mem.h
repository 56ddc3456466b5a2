/*
 * Memory: the only door to the heap, so that a test can make the Nth allocation fail and prove that
 * every caller copes (SQLite's habit). Sizes are checked for overflow; what comes back is released
 * with mem_free().
 */
#ifndef APPLIANCE_BASE_MEM_H
#define APPLIANCE_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

/* NULL when there is no memory (or a test says so). Contents undefined. */
void *mem_alloc(size_t size) __attribute__((malloc, warn_unused_result));

/* `count` items of `size` bytes, zeroed; NULL also when the product overflows. */
void *mem_zalloc(size_t count, size_t size) __attribute__((malloc, warn_unused_result));

/* As realloc; the old memory stays when NULL comes back. */
void *mem_realloc(void *old, size_t size) __attribute__((warn_unused_result));

/* A copy of a string, and of its first `len` bytes with a NUL added. */
char *mem_strdup(const char *text) __attribute__((malloc, warn_unused_result));
char *mem_strndup(const char *text, size_t len) __attribute__((malloc, warn_unused_result));

void mem_free(void *memory);

/*
 * Faults (test builds only; no code in others). fault_arm(kind, n) makes the nth call from now on
 * of that kind fail once (n = 1: the next), 0 disarms; fault_here(kind) is asked at each such call;
 * fault_fired() tells whether it came to that, so that a test can raise n until nothing fails any
 * more. A thread may say which place its calls are of (0: none): fault_arm_at() counts those of one place only,
 * each such place for itself, and with `on` each call after the nth fails, too. A place that is held does not come out
 * of such a call until it is let go of.
 */
enum fault_kind { FAULT_ALLOC, FAULT_OPEN, FAULT_WRITE, FAULT_FSYNC, FAULT_RENAME, FAULT_KINDS };

#ifdef UNDERSTUDY_FAULTS
#define FAULT_PLACES 8
void fault_arm(enum fault_kind kind, unsigned long nth);
void fault_arm_at(enum fault_kind kind, unsigned place, unsigned long nth, bool on);
void fault_place(unsigned place);
void fault_hold(unsigned place, bool held);
/* What may be asked of one write: as much as is wanted, or what a test allows. */
void fault_short(size_t most); /* 0: all */
size_t fault_clip(size_t wanted);
bool fault_here(enum fault_kind kind);
bool fault_fired(enum fault_kind kind);
#else
static inline size_t fault_clip(size_t wanted)
{
	return wanted;
}
static inline void fault_place(unsigned place)
{
	(void)place;
}
static inline bool fault_here(enum fault_kind kind)
{
	(void)kind;
	return false;
}
#endif

#endif
