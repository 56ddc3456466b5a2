/*
 * The epochs of a span of a journal's past, one by one: number, time and size of each. Reads the heads of records, and no payload but of
 * COMMIT; while the journal is written to. Blocking, for a thread of its own.
 */
#ifndef REPLICA_JOURNAL_EPOCHS_H
#define REPLICA_JOURNAL_EPOCHS_H

#include "replica/history.h"
#include "replica/journal_list.h"

#include <stdatomic.h>

#define JOURNAL_EPOCHS_MAX 10000 /* in one list: half of what an answer over HTTP has room for */

struct journal_epoch {
	uint64_t epoch, ms; /* ms since 1970 when it was committed, 0: not known */
	uint64_t pages, bytes;
};

struct journal_epochs_options {
	const char *dirs
		[JOURNAL_COPIES_MAX]; /* copies of the journal: each record is read from one where it is good */
	unsigned count;
	/* From the first epoch that is not before this place, */
	struct history_place from;
	/* up to the last one that is not behind this one. */
	struct history_place to;
	bool newest;  /* of more than `limit`, the last ones; else the first */
	size_t limit; /* up to JOURNAL_EPOCHS_MAX */
};

struct journal_epochs {
	struct journal_epoch *list; /* journal_epochs_free() */
	size_t count;
	bool earlier, later; /* there are more in the span before, behind these */
};

/*
 * RC_IO: it cannot be read, or what was asked for was given up meanwhile; RC_INVALID: a record in the midst of it is none, in no copy. What is only
 * half written at its end is not told of. RC_CANCELLED.
 */
int journal_epochs_read(struct journal_epochs *epochs, const struct journal_epochs_options *options,
			const atomic_bool *cancelled, struct err *err);
void journal_epochs_free(struct journal_epochs *epochs);

#endif
