/*
 * The test guest's disk, /dev/vda: sectors are written at random, and memory knows what each of them
 * must hold. So if a clone's disk is older or newer than its memory, or a write is torn, it shows.
 */
#ifndef TESTS_GUEST_DISK_H
#define TESTS_GUEST_DISK_H

#include <stddef.h>
#include <stdint.h>

/* Uses the disk's first `mib` MiB, which are zero or are made so by nobody else. */
void disk_start(uint64_t mib);
/* `count` writes of 1 to 16 sectors each, past the page cache, one after the other; each has come back. */
void disk_write(uint64_t count);
/* As many writes as `times` says, one without it: how many there were in all. */
int disk_write_answer(const char *times, char *to, size_t size);
/* Reads everything: "ok writes=N sectors=S" (S: ever written) or "bad sector=N holds=G wanted=W". */
int disk_check_answer(char *to, size_t size);

#endif
