/*
 * What of the past a journal holds: its bases, from each of which some epochs can be brought back, and the
 * operator's marks. It is told of each record as that is read or written, and kept small: a base for
 * hundreds of MiB, no word of a single epoch. No I/O.
 */
#ifndef REPLICA_HISTORY_H
#define REPLICA_HISTORY_H

#include "replica/journal_format.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Beyond these the oldest one goes: a base stands for 256 MiB at least, a mark for an operator's word. */
#define HISTORY_BASES_MAX 2048
#define HISTORY_MARKS_MAX 256

/*
 * A BASE that has its WHOLE. What it leads to: each epoch from `first`, committed at its WHOLE, to `last`,
 * committed before the next one's or before the image was replaced. Times in ms since 1970, 0: not known.
 */
struct history_base {
	uint64_t sequence, whole; /* of these records */
	uint64_t first, first_ms, last, last_ms;
	bool cut; /* what is before it does not lead to it */
};

struct history_mark {
	uint64_t sequence, epoch, ms; /* the epoch that was committed last then, and when */
	char text[JOURNAL_MARK_MAX + 1];
};

struct history {
	struct history_base *bases; /* in their order; the last one is what a recovery needs */
	struct history_mark *marks;
	size_t nbases, nmarks;
	uint64_t journal; /* whose it is: set by its owner */
	/* private */
	uint64_t epoch, ms; /* of the last commit */
	uint64_t began;	    /* BASE that has no WHOLE yet, 0: none */
	bool began_cut;
	bool covered; /* epochs that are committed count to the last base */
};

void history_free(struct history *history);

/*
 * A record, in its sequence. RC_NOMEM, RC_INVALID: of a HISTORY that cannot be. A WHOLE only when it is on
 * stable storage, because what is before is given up for it.
 */
int history_note(struct history *history, enum journal_kind kind, uint64_t sequence, uint64_t epoch,
		 const uint8_t *payload, size_t len, struct err *err);
/* Records from that one on are not in the journal. */
void history_end(struct history *history, uint64_t sequence);
/* Bases before that record, and what no other one leads to, are given up; the last one is not. */
void history_drop(struct history *history, uint64_t sequence);

/* How much of the past is kept; what a recovery needs is not counted. */
struct history_limits {
	uint64_t bytes; /* 0: nothing */
	uint64_t ms;	/* 0: as much as `bytes` allow */
};

/*
 * The first record that is to be kept: of the oldest base that is within the limits, and from
 * `pinned` on whatever they say (0: nothing is). 0: there is no base, all is to be kept. `bytes_from`: how much the
 * journal has from that record on.
 */
uint64_t history_keep_from(const struct history *history, const struct history_limits *limits,
			   uint64_t now_ms, uint64_t pinned,
			   uint64_t (*bytes_from)(const void *owner, uint64_t sequence),
			   const void *owner);

/* Where an epoch is found again: read from `base` on, it is the last one up to `epoch` and `until_ms`. */
struct history_place {
	uint64_t base;	   /* sequence number of its BASE */
	uint64_t epoch;	   /* that one, or earlier */
	uint64_t until_ms; /* committed then or earlier; UINT64_MAX: whenever */
	uint64_t journal;  /* in that one, of those that its copies hold */
};

/* Of several epochs of that number or moment, and marks of that text, the newest. RC_INVALID, and what there is. */
int history_find_epoch(const struct history *history, uint64_t epoch, struct history_place *place,
		       struct err *err);
int history_find_time(const struct history *history, uint64_t ms, struct history_place *place,
		      struct err *err);
int history_find_mark(const struct history *history, const char *text, struct history_place *place,
		      struct err *err);

/* "2026-11-29T04:30:00.123Z" */
#define HISTORY_TIME_MAX 32
void history_print_time(char out[HISTORY_TIME_MAX], uint64_t ms);

#endif
