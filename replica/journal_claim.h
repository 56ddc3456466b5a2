/*
 * What a standby keeps, beside its term and not in the journal, about its journal: that every epoch that it has acknowledged is
 * in there. Only with that is what a restart finds in the journal known to be the newest that clients have seen. It
 * cannot be the journal that says so: it may be what was lost, replaced, cut, or can be written to no more. Blocking; of one thread at a
 * time.
 *
 * The claim is the file "acknowledged", 48 bytes, little-endian:
 *    0  8 bytes "USTDACKD"
 *    8  u16  version of this format, 2
 *   10  u8   copies of the journal at that time, 1 to 5
 *   11  u8   quorum: in so many of them all that was acknowledged is, 1 to copies
 *   12  4 bytes 0
 *   16  u64  journal: its number
 *   24  u64  sequence: the journal reached at least to the record before that number, on stable storage
 *   32  u64  opening of the segment that was written to then (journal_format.h)
 *   40  u64  XXH64 (seed 0) of bytes 0 to 39
 * It is valid if and only if it has that length, the hash is right, and all else is as said here.
 *
 * No file, and one that is not valid (or of another version), claim nothing. Who brings an instance back from a journal believes
 * that nothing was acknowledged behind its end if and only if the file is valid, names that journal, fewer than `quorum` of
 * `copies` are missing, and the journal ends with the record before `sequence` or a later one, in a segment of that opening or a
 * later one. (With a later number in an earlier opening: a copy that was away had written more than counted.)
 *
 * The numbers of copies are those of the claim, not those that are configured when it is read: what was acknowledged by one of
 * three copies is not in two of them because two are to have it from now on. An opening that finds all, and has others, makes the
 * claim anew once a quorum of these has all of it.
 *
 * Order. (1) The journal is synced with a COMMIT that a whole BASE leads to. (2) The claim is made: the file is written, it and
 * its directory are synced. (3) That epoch is acknowledged, and from now on each only after a sync of that journal. (4) Now and then the
 * claim is raised: the file is overwritten in place with a higher `sequence`, which the journal has reached with a sync
 * before; the first time in each segment that is synced, else not: a crash may leave the older one, which is as true. (5) Before
 * anything is acknowledged that is not in that journal, the claim is withdrawn: the file is removed, and its directory synced.
 * Until that has worked nothing is acknowledged at all. So at every moment at which the power may be cut, a claim that is found
 * is true: one that (2) or (4) leaves torn is not valid, and behind (5) there is none.
 *
 * With `sequence` raised after each sync, a journal that has lost its end is noticed after a kill to the very record; after a power
 * cut if what is lost begins before the last segment's first sync, or was there some seconds before.
 */
#ifndef REPLICA_JOURNAL_CLAIM_H
#define REPLICA_JOURNAL_CLAIM_H

#include "appliance/base/err.h"
#include "replica/journal_scan.h"

#include <stdbool.h>
#include <stdint.h>

#define JOURNAL_CLAIM_NAME "acknowledged"

struct journal_claim {
	char path[512]; /* for messages */
	int dir, fd;	/* fd: what is raised; -1: there is none */
	/* There may be one on the disk; and what it says, if `known`. */
	bool stands, known;
	struct journal_reached says;
	uint64_t segment;
	uint64_t again_ns; /* one that could not be made is tried again then; and */
	bool told;	   /* that was logged */
};

/*
 * Reads what there is in that directory, which stays open: what is done later is done there, whatever has its name by then.
 * An error: the directory cannot be opened. A claim that cannot be read stands, and holds for no journal.
 */
int journal_claim_open(struct journal_claim *claim, const char *dir, struct err *err);
void journal_claim_close(struct journal_claim *claim);

/* What it says; withdrawn, only of which journal it was; all zero: nothing. */
struct journal_reached journal_claim_reached(const struct journal_claim *claim);
/* Every acknowledged epoch is in that journal, if found->whole. */
bool journal_claim_holds(const struct journal_claim *claim, const struct journal_found *found);

/*
 * Makes it, or raises it; `segment`: number of the one that is written to. After an error it may be on the disk or not: it is
 * true anyway, and has to be withdrawn as if it were.
 */
int journal_claim_make(struct journal_claim *claim, const struct journal_reached *reached,
		       uint64_t segment, struct err *err);
/*
 * The same for who acknowledges whether it works or not: without it all is as durable, only a restart will not know that it is
 * all. That is logged, and tried again after a second.
 */
void journal_claim_keep(struct journal_claim *claim, const struct journal_reached *reached,
			uint64_t segment);
/* All of it is in the copies that there are from now on. True: the claim says so of these. */
bool journal_claim_renew(struct journal_claim *claim, const struct journal_reached *reached,
			 uint64_t segment);
/* RC_OK: there is none, also after a power cut. Else it stands; trying again may help. */
int journal_claim_withdraw(struct journal_claim *claim, struct err *err);

/* The same of a directory, where nobody has opened it. */
int journal_claim_drop(const char *dir, struct err *err);

#endif
