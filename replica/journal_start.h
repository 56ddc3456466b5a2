/*
 * Where reading a journal may begin for a recovery: at the newest BASE that has its WHOLE. Only the heads of
 * records are looked at, from the newest segments back, however much history is before them.
 */
#ifndef REPLICA_JOURNAL_START_H
#define REPLICA_JOURNAL_START_H

#include "appliance/base/err.h"

#include <stdint.h>

/* `dir`: an open directory. The BASE's sequence number; 0: read all of it, which also tells what is wrong. */
uint64_t journal_start(int dir);

#endif
