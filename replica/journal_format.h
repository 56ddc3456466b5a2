/*
 * The journal: the epochs of one instance as they came in, on the standby's disk. Bytes only, no I/O
 * (journal.h has that). Little-endian.
 *
 * A journal is a directory of segments, files that are written once, from the beginning to the end.
 * (No sequence number nor opening that is read is above 2^62.) A segment's name is the sequence number of its first record, 16 hexadecimal digits, and
 * ".journal". It begins with 64 bytes:
 *    0  8 bytes "USTDJRNL"
 *    8  u16  version of this format, 3
 *   10  6 bytes 0
 *   16  u64  journal: a random number, the same in all segments
 *   24  u64  sequence number of the first record
 *   32  u64  opening: grows each time the journal is opened for writing
 *   40  16 bytes 0
 *   56  u64  XXH64 (seed 0) of bytes 0 to 55
 *
 * Records follow, each 40 bytes, its payload, and 0 to 7 zeroes up to a multiple of 8:
 *    0  u32  payload length, within the kind's limits
 *    4  u16  kind (enum journal_kind)
 *    6  u16  0
 *    8  u64  sequence number: that of the record before plus 1, also across segments
 *   16  u64  epoch; of BASE, PAGES, WHOLE and MARK the one that was committed last, 0: none yet
 *   24  u64  XXH64 (seed 0) of the payload
 *   32  u64  XXH64 (seed: the journal's number) of bytes 0 to 31
 *
 * Payloads:
 *   BASE    u64 session, u64 term (of the epoch that was committed last), u32 device state length, u32
 *           flags, then the layout (layout.h): a copy of the whole image begins, which is all zeroes but for what follows up to WHOLE. Flag bit 0: what
 *           is before it ends there, because the image was replaced or nothing was written for a time;
 *           else the epochs that follow continue that, too. The other bits are 0. u64 XXH64 (seed 0) of the
 *           instance's name is between them and the layout
 *   PAGES   one delta batch (delta_format.h) without differences: pages as they are in the record's
 *           epoch, the one that was committed last. Not inside of an epoch
 *   WHOLE   nothing; every page that is not zero was in PAGES since BASE, or in an epoch
 *   BEGIN   u64 session, u64 term: who the epoch comes from; u64 flags, bit 0: a page may be in more than
 *           one of its batches, which are done one after the other. The other bits are 0
 *   BATCH   one delta batch
 *   COMMIT  u64 batches, u64 pages, u64 hash, u32 device state length, u32 0: as in the primary's
 *           COMMIT (wire.h); u64 ms since 1970 when it was written
 *   MARK    text of the operator's
 *   HISTORY what of the journal is before the BASE that it follows, see history_format.h
 *
 * Reading. From a BASE that has its WHOLE, everything is done in the order in which it is written: PAGES
 * at once, an epoch at its COMMIT. A page that an epoch changes before its PAGES have come is wrong
 * until then, so the sums of epochs count only from WHOLE on. That is how the image is copied while
 * epochs go on, and no page is kept twice. A BASE is the first record of its segment, so that reading can
 * begin there; older segments are history, for who wants an earlier epoch.
 *
 * Order on the disk. The records of an epoch are written, then its COMMIT, then fdatasync(); only when
 * that has returned may the epoch be acknowledged. A new segment is written and synced with its head,
 * then its directory is synced, and only then is a record written to it that counts. A segment is
 * removed only when a BASE behind it has its WHOLE on stable storage, the oldest one first.
 *
 * Whether epochs behind the last one here were acknowledged is not the journal's to say: journal_claim.h. A file
 * "repairing" beside the segments says that this copy is being filled from another one, and may lack what it had.
 *
 * Openings. Whoever opens a journal for writing begins a segment, with an opening number that is higher than any it
 * has seen. Where there are several copies of the journal (journal_copies.h), a copy that was away may have segments, and
 * ends of segments, of an earlier opening that never counted. So: of segments with one sequence number those of the highest opening
 * count; and none of an earlier opening, nor records of it, from the first segment of a later one on in which something was
 * written behind the head. A segment is begun under a temporary name, and its rename replaces what there is of that number.
 *
 * What a journal holds after a crash: of each epoch, that its records from BEGIN to COMMIT are valid,
 * complete, and in sequence. The first record that is not valid ends it. Bytes behind are a torn
 * tail, if no valid record of this journal with a later sequence number is anywhere behind; or if it is in the last segment,
 * at a hole: from the record's beginning on to the end of a block, or in one of the later blocks that it is in, there is
 * nothing but zeroes. (Blocks that were not synced are written back in any order.) Else, or if more than what is before the
 * hole is known to have been acknowledged, the journal is damaged, which a crash does not do.
 */
#ifndef REPLICA_JOURNAL_FORMAT_H
#define REPLICA_JOURNAL_FORMAT_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_SEGMENT_HEAD ((size_t)64)
#define JOURNAL_RECORD_HEAD ((size_t)40)
#define JOURNAL_COMMIT_BYTES ((size_t)40)
#define JOURNAL_BASE_BYTES ((size_t)32) /* before the layout */
#define JOURNAL_BEGIN_BYTES ((size_t)24)
/* Sequence numbers and openings above that are never reached; what counts on from one has to fit. */
#define JOURNAL_NUMBER_MAX (UINT64_C(1) << 62)
#define JOURNAL_MARK_MAX 200 /* a sentence */
#define JOURNAL_HISTORY_MAX ((size_t)256 << 10)
#define JOURNAL_NAME_BYTES 25 /* of a segment's name, with its NUL */

enum journal_kind {
	JOURNAL_BASE = 1,
	JOURNAL_PAGES,
	JOURNAL_WHOLE,
	JOURNAL_BEGIN,
	JOURNAL_BATCH,
	JOURNAL_COMMIT,
	JOURNAL_MARK,
	JOURNAL_HISTORY,
	JOURNAL_KINDS
};

struct journal_segment {
	uint64_t journal, sequence, opening;
};

struct journal_record {
	enum journal_kind kind;
	uint32_t length; /* of the payload */
	uint64_t sequence, epoch, payload_hash;
};

/* Of an epoch: the capture session that made it, and who served then. */
struct journal_origin {
	uint64_t session, term;
};

struct journal_begin {
	struct journal_origin origin;
	bool serial; /* flag bit 0 */
};

/* BASE, without its layout. */
struct journal_base {
	struct journal_origin origin;
	uint32_t device_state_len;
	bool cut;	   /* flag bit 0 */
	uint64_t instance; /* journal_instance() */
};

struct journal_commit {
	uint64_t batches, pages, hash;
	uint32_t device_state_len;
	uint64_t time_ms;
};

void journal_put_segment(uint8_t out[JOURNAL_SEGMENT_HEAD], const struct journal_segment *segment);
/* RC_INVALID, saying what is wrong; RC_UNSUPPORTED for another version. */
int journal_get_segment(struct journal_segment *segment, const uint8_t in[JOURNAL_SEGMENT_HEAD],
			struct err *err);

/* `out` gets the head; the payload is hashed (NULL: there is none). */
void journal_put_record(uint8_t out[JOURNAL_RECORD_HEAD], uint64_t journal,
			struct journal_record *record, const uint8_t *payload);
/* RC_INVALID: it is no record of that journal, or not one that may be. */
int journal_get_record(struct journal_record *record, uint64_t journal,
		       const uint8_t in[JOURNAL_RECORD_HEAD], struct err *err);
/* Whether that is the record's payload. */
int journal_check_payload(const struct journal_record *record, const uint8_t *payload,
			  struct err *err);

/* Bytes that a record takes with its head and its padding. */
size_t journal_record_bytes(uint32_t length);

/* What stands for an instance's name. */
uint64_t journal_instance(const char *name);
void journal_put_base(uint8_t out[JOURNAL_BASE_BYTES], const struct journal_base *base);
void journal_get_base(struct journal_base *base, const uint8_t in[JOURNAL_BASE_BYTES]);
void journal_put_begin(uint8_t out[JOURNAL_BEGIN_BYTES], const struct journal_begin *begin);
void journal_get_begin(struct journal_begin *begin, const uint8_t in[JOURNAL_BEGIN_BYTES]);
void journal_put_commit(uint8_t out[JOURNAL_COMMIT_BYTES], const struct journal_commit *commit);
void journal_get_commit(struct journal_commit *commit, const uint8_t in[JOURNAL_COMMIT_BYTES]);

void journal_segment_name(char out[JOURNAL_NAME_BYTES], uint64_t sequence);
/* 0: that is not a segment's name. */
uint64_t journal_segment_sequence(const char *name);

#endif
