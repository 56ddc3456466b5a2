/*
 * Writes a journal (journal_format.h) and opens it again after whatever ended its writer. Blocking: it
 * belongs to one thread at a time.
 *
 * After an error of a call that writes, what is on the disk is not known: every further call is
 * refused with RC_STATE, naming that error, until the journal has been closed and opened anew, which
 * reads what there is.
 */
#ifndef REPLICA_JOURNAL_H
#define REPLICA_JOURNAL_H

#include "replica/journal_copies.h"

#include <stdbool.h>

#define JOURNAL_SEGMENT_BYTES \
	(UINT64_C(64) << 20) /* a new one is begun between two epochs behind that */

struct journal;

/*
 * Opens the journal of that place, whose directories are made if they are not there, and begins one with that random
 * number where there is none. What a crash has torn is cut off (found->torn says how much). It is read from
 * journal_start() on: `visit` sees each record there that counts, and those of epochs that were given up.
 * RC_STATE: there is none, and something of one was reached.
 * RC_REFUSED: somebody else has it open, or the directories are of several journals. RC_INVALID: it is damaged; nothing
 * was changed. Of several copies what is there is read also when they are fewer than the quorum; then nothing can be written:
 * journal_is_broken().
 */
int journal_open(struct journal **journal, const struct journal_place *place, uint64_t number,
		 uint64_t segment_bytes, journal_visit visit, void *owner,
		 struct journal_found *found, struct err *err);
bool journal_is_broken(const struct journal *journal, struct err *err);
void journal_close(struct journal *journal);

/*
 * The disk is full: `make_room` may remove something (journal_trim()), and says whether it has. Then the
 * same is tried again.
 */
void journal_set_room(struct journal *journal, bool (*make_room)(void *owner), void *owner);

/*
 * All kinds but COMMIT, in an order that journal_format.h allows. It is on the disk after the next
 * journal_commit() or journal_sync() at the latest.
 */
int journal_append(struct journal *journal, enum journal_kind kind, uint64_t epoch,
		   const uint8_t *payload, uint32_t len, struct err *err);
/* Its COMMIT is written, and what of it was gathered. */
int journal_commit(struct journal *journal, uint64_t epoch, const struct journal_commit *commit,
		   struct err *err);

/* RC_OK: everything so far is on stable storage, as many epochs as were committed. */
int journal_sync(struct journal *journal, struct err *err);

/* Removes the segments that end before that record. *removed: how many. */
int journal_trim(struct journal *journal, uint64_t sequence, unsigned *removed, struct err *err);

/* Of the record to come, and of the first one that there is. */
uint64_t journal_next_sequence(const struct journal *journal);
uint64_t journal_first_sequence(const struct journal *journal);
/* Number of the segment that is written to. */
uint64_t journal_present_segment(const struct journal *journal);
/* How far it is, as after a journal_sync(). */
struct journal_reached journal_reached(const struct journal *journal);
/* How its copies are. Now and then, for it answers a copy whose disk is full. */
void journal_health(struct journal *journal, struct journal_health *health);

uint64_t journal_bytes(const struct journal *journal);
/* Of the segments from that record's on. */
uint64_t journal_bytes_from(const struct journal *journal, uint64_t sequence);

#endif
