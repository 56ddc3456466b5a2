/*
 * What a standby must not forget about an instance: which standby it is, the term, and whether it
 * protected the instance or took it over in that term. 112 bytes, little-endian:
 *
 *    0  8 bytes "USTDTERM"
 *    8  u16  version of this format, 3
 *   10  u16  1: stands by; 2: took over, its replica runs, has run or was about to; 3: stands by, and
 *            epochs of the instance have been committed here; 4: a takeover was decided, and its
 *            replica has not run and will not; until an epoch is committed again
 *   12  u32  0
 *   16  u64  term, 1 to TERM_MAX
 *   24  u64  of 2 and 4: epoch that was committed when the takeover was decided (one whose commit was
 *            under way then is in the replica as well); of 3: an epoch that was committed, not each
 *            later one is written down; of 1: 0
 *   32  u64  identity: a random number, made with the first record here. By it a primary tells the
 *            standby that may take its instance over from any other, and from one that has forgotten it
 *   40  64 bytes: site of the primary whose instance that is, then zeroes; of 1: all zeroes; of 2 to 4 too
 *            where it is not known
 *  104  u64  XXH64 (seed 0) of bytes 0 to 103
 *
 * A record is valid if and only if (1) it has 112 bytes, (2) the hash is right, (3) magic and
 * version are these, (4) the u32 at 12 is 0, (5) the term is within its limits, (6) the word at 10
 * is 1 and the epoch 0, or it is 2, 3 or 4 and the epoch is not 0, (7) the identity is not 0, (8) the
 * site is printable ASCII, and only zeroes follow it.
 *
 * Versions 1 and 2 have 40 bytes, the hash of bytes 0 to 31 at 32: no identity and no site; version 1
 * has no 3 and 4 either. They are read, and written no more. An older program does not start on a record
 * of version 3: it would not know what that says.
 */
#ifndef APPLIANCE_TERM_RECORD_H
#define APPLIANCE_TERM_RECORD_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TERM_RECORD_BYTES 112
#define TERM_SITE_MAX 64	     /* WIRE_NAME_MAX */
#define TERM_MAX (UINT64_C(1) << 62) /* no number of takeovers reaches it, and adding one is safe */
#define TERM_TOLD_MAX (TERM_MAX / 2) /* taken from a peer: leaves room for all that may follow */

enum term_kind { TERM_STANDS_BY = 1, TERM_TOOK_OVER, TERM_PROTECTS, TERM_UNFINISHED };

struct term_record { /* NOLINT(clang-analyzer-optin.performance.Padding): in the order of the format */
	uint64_t term;
	enum term_kind kind;
	uint64_t epoch;	   /* 0 if and only if the kind is TERM_STANDS_BY */
	uint64_t identity; /* 0 only as read from an older version */
	char site[TERM_SITE_MAX + 1];
};

void term_record_encode(const struct term_record *record, uint8_t out[TERM_RECORD_BYTES]);

/* RC_INVALID, saying what is wrong; RC_UNSUPPORTED for another version. */
int term_record_decode(struct term_record *record, const uint8_t *in, size_t len, struct err *err);

#endif
