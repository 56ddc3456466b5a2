/*
 * Where reading a journal may begin for a recovery: at the newest BASE that has its WHOLE. Only the heads of
 * records are looked at, from the newest segments back, however much history is before them.
 */
#ifndef REPLICA_JOURNAL_START_H
#define REPLICA_JOURNAL_START_H

#include "replica/journal_list.h"

#include <stdatomic.h>
#include <stdint.h>

/* `dir`: an open directory. The BASE's sequence number; 0: read all of it, which also tells what is wrong. */
uint64_t journal_start(int dir);
/* For the progress of who reads from `base` on (0: from where that may begin): *total grows by the bytes, of any copy. Returns the base. */
uint64_t journal_start_measure(const struct journal_dirs *dirs, uint64_t base,
			       _Atomic uint64_t *total);

#endif
