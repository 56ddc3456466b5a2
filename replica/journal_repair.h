/*
 * Makes the directory of one copy of a journal hold what the journal is, from other copies where it does not. Blocking.
 */
#ifndef REPLICA_JOURNAL_REPAIR_H
#define REPLICA_JOURNAL_REPAIR_H

#include "replica/journal_dir.h"
#include "replica/journal_list.h"
#include "replica/journal_verify.h"

#include <stdatomic.h>

/* A file beside the segments: this copy is being made what it says, and may lack what it had. */
#define JOURNAL_REPAIRING "repairing"

struct journal_plan {
	uint64_t journal;
	const struct journal_file
		*files; /* the last one may have been written to when its writer was ended */
	size_t count;
	uint64_t
		next; /* number of a segment to come: what there is of it stays until it gives way */
	uint64_t suspect;	       /* a segment that could not be written there; 0: none */
	const _Atomic uint64_t *first; /* what is before is gone meanwhile; NULL: nothing is */
	bool complete; /* no copy was missing: a file without a head that is not in the plan is none of the journal's */
	bool alone; /* there is no other copy: what was just read is as it should be */
};

/*
 * `others`: directories of other copies. RC_OK: it holds all segments of the plan that they and itself have whole together; *copied: how many
 * segments came from another one. It is written to at its end from now on. An error is this copy's; what was good in it
 * still is.
 */
int journal_repair(const struct journal_plan *plan, struct journal_dir *dir,
		   const struct journal_dirs *others, const struct journal_verify *how,
		   unsigned *copied, struct err *err);

#endif
