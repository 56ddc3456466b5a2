/*
 * Reads a journal (journal_format.h) from a segment to its end, checks every byte of that, and
 * tells what it holds. Of several copies each record is read from one where it is good. Blocking; changes
 * nothing.
 */
#ifndef REPLICA_JOURNAL_SCAN_H
#define REPLICA_JOURNAL_SCAN_H

#include "replica/journal_format.h"
#include "replica/journal_list.h"

#include <stdbool.h>

/*
 * A journal was on stable storage up to the record before that number (0: nobody knows how far), in a segment of that opening, in
 * `quorum` of its `copies`. Of which nothing is known, all zero.
 */
struct journal_reached {
	uint64_t journal, sequence, opening;
	unsigned copies, quorum;
};

/* What was found. All zero: there is no journal. */
struct journal_found {
	uint64_t journal;
	uint64_t epoch; /* the last that can be brought back, if there is a base */
	uint64_t base;	/* sequence number of the last BASE that has its WHOLE; 0: none */
	bool partial;	/* a later one has not, or there is only that */
	bool whole;	/* all there was could be read, and fewer copies than had it are missing */
	unsigned
		missing; /* copies that were away, or do not hold what they held (journal_open()) */
	uint64_t next_sequence;	  /* of the record that is to be written next */
	uint64_t segment;	  /* in which the end is, by its first sequence number; 0: none */
	uint64_t opening;	  /* of that segment */
	uint64_t end;		  /* offset there behind what counts */
	uint64_t torn;		  /* bytes behind that, in this and later segments */
	uint64_t bytes, segments; /* of all */
	uint64_t read, records;	  /* bytes of the segments that were read; records in them */
};

/*
 * Each record in its sequence, also of epochs that turn out to have no COMMIT; `payload` until the call
 * ends. An error ends the scan with it. May be NULL.
 */
typedef int (*journal_visit)(void *owner, const struct journal_record *record,
			     const uint8_t *payload, struct err *err);

/*
 * `from`: from the segment on that this record is in, or would be (0: the first). RC_INVALID:
 * damaged, and where; what `found` says then is what was read before. RC_IO: a file cannot be read; of several copies: in
 * none. What only one has that cannot be read is as what is not there.
 */
int journal_scan(const struct journal_dirs *dirs, uint64_t from, journal_visit visit, void *owner,
		 struct journal_found *found, struct err *err);
/* The same with what journal_list_read() has said; `reached`: what is damaged if it is not there (NULL: not known). */
int journal_scan_list(const struct journal_dirs *dirs, const struct journal_list *list,
		      uint64_t from, const struct journal_reached *reached, journal_visit visit,
		      void *owner, struct journal_found *found, struct err *err);

/* The segments in the order of their numbers, with their sizes; an error of `note` ends it. */
int journal_segments(int dir,
		     int (*note)(void *owner, uint64_t sequence, uint64_t bytes, struct err *err),
		     void *owner, struct err *err);

#endif
