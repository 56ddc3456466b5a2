/*
 * The copies of a journal: what journal.c decides, done in one directory, or in several.
 *
 *   state      a copy                                          becomes
 *   repairing  is made what the journal is, from others,       good, failed
 *              while what comes meanwhile waits for it
 *   good       has what was given, or will have it soon        repairing: it fell behind; failed
 *   failed     cannot be written to, or is another journal;    repairing
 *              tried again after a while, and then not before
 *              the opening it comes to has begun on a quorum
 *
 * The files of all copies are the same, byte for byte, but for their ends. One directory is written to by the caller's
 * thread. With several each has a thread, which does the same steps in the same order; what has to be on stable
 * storage is awaited from `quorum` of them. One that is further behind than JOURNAL_LAG_BYTES is waited for only
 * if the quorum needs it; else it is dropped, and repaired like one that failed: nobody waits for a repair.
 *
 * A good one that has been at the same step for `silent_ms` is told as one that is not, until it goes on: its disk does not answer. The
 * quorum waits for it if it has to: whoever waits is called now and then (on_wait), and can say so.
 *
 * With fewer than `quorum` good copies nothing can be made durable: each call that writes fails, naming those that are
 * not good and why.
 *
 * Why what was acknowledged is found again. An epoch is acknowledged when `quorum` copies have it. If fewer than
 * `quorum` copies are missing at the next opening, one that has it is there. Of what is there the furthest counts
 * (journal_list.h): of one opening all copies hold beginnings of the same bytes, so the longest has all of them; and a
 * later opening has begun with all that was acknowledged before, so nothing of earlier ones behind its beginning
 * counts. No two openings have the same number: records are written under a number only when `quorum` copies have a
 * segment whose head says it, and an opening that fewer than `quorum` copies are missing from sees one of
 * these and takes a higher one. (If more are missing, it is the clock that makes the later one the higher one.)
 */
#ifndef REPLICA_JOURNAL_COPIES_H
#define REPLICA_JOURNAL_COPIES_H

#include "appliance/base/buf.h"
#include "replica/journal_dir.h"
#include "replica/journal_scan.h"
#include "replica/journal_verify.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define JOURNAL_LAG_BYTES ((uint64_t)64 << 20) /* in memory, for each copy */
#define JOURNAL_JOIN_MS \
	5000 /* to see that copies are what they should be; a repair may take longer */

/* Where a journal is. */
struct journal_place {
	const char *dirs[JOURNAL_COPIES_MAX];
	unsigned count, quorum;
	/* A copy that failed is tried again after that; doubled while it fails. */
	uint64_t retry_ms;
	/* Between two rounds of the scrub, and before the first; 0: there is none. */
	uint64_t scrub_ms;
	/* What was acknowledged is in that journal, up to there: less is damage. */
	struct journal_reached reached;
	/* The opening waits for a repair that the quorum needs, as long as it takes; else JOURNAL_JOIN_MS. */
	bool patient;
	uint64_t silent_ms; /* 0: as long as it takes is never too long */
	/* May be NULL: about every second of a wait for disks, in the waiting thread. */
	void (*on_wait)(void *owner);
	void *owner;
	/* It is not wanted any more (NULL: always): disks that do not answer are waited for some seconds, then named in the log. */
	const atomic_bool *stop;
};

enum journal_copy_state { JOURNAL_COPY_FAILED, JOURNAL_COPY_REPAIRING, JOURNAL_COPY_GOOD };

struct journal_health {
	unsigned count, quorum, good;
	struct {
		char path[JOURNAL_PATH_MAX];
		enum journal_copy_state state;
		char why[ERR_TEXT_MAX];
	} copy[JOURNAL_COPIES_MAX];
	/* Segments that were copied, since the opening; of them by the scrub: */
	uint64_t repaired, mended;
	/* The scrub's whole rounds, and the bytes that it has read in the present one. */
	uint64_t rounds, done;
	/* Number of a segment that no copy that is there has whole, 0: none; where, and what is wrong. */
	uint64_t rotten;
	char rot[ERR_TEXT_MAX];
	/* What the scrub has found and cannot replace, and why; "": nothing. Another copy may have it whole. */
	char unmended[ERR_TEXT_MAX];
};

struct journal_copies;

/* Opens the directories. RC_OK: one at least is there. */
int journal_copies_open(struct journal_copies **copies, const struct journal_place *place,
			struct err *err);
/* Those of the same journal (the one that was reached, or else what most of them hold), *number (0: there is none yet). *there: bit i: copy i holds of it what it held. RC_REFUSED: several journals. */
int journal_copies_look(struct journal_copies *copies, struct journal_dirs *dirs, uint64_t *number,
			unsigned *there, struct err *err);

/*
 * They are to hold these segments, the last one up to its length, and whatever is written from now on; `next`: the number of the
 * next segment. RC_OK: `quorum` do.
 */
int journal_copies_join(struct journal_copies *copies, uint64_t journal,
			const struct journal_file *files, size_t count, uint64_t next,
			struct err *err);

/* Waits for nobody. The threads end when their disks let them. */
void journal_copies_close(struct journal_copies *copies);

/* The disk of a copy is full: `make_room` may remove something, and says whether it has. */
void journal_copies_set_room(struct journal_copies *copies, bool (*make_room)(void *owner),
			     void *owner);

/* A segment is begun; and what is in the buffer is taken, and written to the last one. RC_OK of _begin and _sync: `quorum` have it. */
int journal_copies_begin(struct journal_copies *copies, uint64_t sequence, uint64_t opening,
			 struct err *err);
int journal_copies_write(struct journal_copies *copies, struct buf *data, struct err *err);
int journal_copies_sync(struct journal_copies *copies, struct err *err);
/* The first so many segments are removed. */
int journal_copies_remove(struct journal_copies *copies, size_t count, struct err *err);

/* The segments, for the thread that writes; and for any thread how it is. */
const struct journal_file *journal_copies_files(const struct journal_copies *copies, size_t *count);
void journal_copies_health(struct journal_copies *copies, struct journal_health *health);

#endif
