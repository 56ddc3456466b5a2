/*
 * Checks a segment of a journal, all of it, and copies what is good. Blocking.
 */
#ifndef REPLICA_JOURNAL_VERIFY_H
#define REPLICA_JOURNAL_VERIFY_H

#include "replica/journal_format.h"
#include "replica/journal_list.h"

#include <stdbool.h>
#include <stdint.h>

/* A segment as it has to be. */
struct journal_file {
	uint64_t sequence, opening, bytes;
};

struct journal_verify {
	uint64_t journal;
	/* Called for each piece; false: no further (RC_CANCELLED). NULL: at once. */
	bool (*pace)(void *owner, uint64_t bytes);
	void *owner;
};

/*
 * Whether the directory has the segment: its first file->bytes bytes are that head, and records that are valid and follow each
 * other, up to there. `next`: what comes then (0: not known). RC_INVALID: not, and where; RC_IO: it cannot be read.
 */
int journal_verify(const struct journal_verify *how, int dir, const struct journal_file *file,
		   uint64_t next, struct err *err);

/*
 * The same of what several directories have together, each record from one where it is good; and so much of it goes to the directory
 * `to`, which may be one of them: to a file `as` first, then it takes the place of what is there; on stable storage but for the name.
 * *wrote: the error is of `to`. Else it says what of the last directory that was asked.
 */
int journal_copy_segment(const struct journal_verify *how, const struct journal_dirs *from, int to,
			 const struct journal_file *file, const char *as, bool *wrote,
			 struct err *err);

#endif
