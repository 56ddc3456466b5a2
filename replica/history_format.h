/*
 * The payload of a journal's HISTORY record: what of the journal was before the BASE that it follows, as
 * history.h has it, so that nobody has to read that to know. Bytes only. Little-endian.
 *
 *    0  u64  ms since 1970 when the record's epoch was committed, as nearly as is known
 *    8  u32  bases
 *   12  u32  marks
 *
 * For each base, 56 bytes: u64 sequence of BASE, u64 of WHOLE, u64 first epoch, u64 its ms, u64 last epoch,
 * u64 its ms, u64 flags (bit 0: cut; the others are 0).
 *
 * For each mark: u64 sequence, u64 epoch, u64 ms, u16 length of its text, the text.
 *
 * It is valid if and only if there is nothing behind that, sequences rise (of BASE, its WHOLE, the next BASE; of marks) up to that
 * of the BASE that it follows, no base's last epoch is before its first, texts are as in MARK, and all are within the limits of
 * history.h.
 */
#ifndef REPLICA_HISTORY_FORMAT_H
#define REPLICA_HISTORY_FORMAT_H

#include "appliance/base/buf.h"
#include "replica/history.h"

#define HISTORY_HEAD_BYTES ((size_t)16)
#define HISTORY_BASE_BYTES ((size_t)56)
#define HISTORY_MARK_BYTES ((size_t)26) /* before its text */

/* False: no memory. */
bool history_put(const struct history *history, uint64_t ms, struct buf *out);
/* Bases and marks into an empty history, *ms. RC_INVALID, RC_NOMEM: it is empty then. */
int history_get(struct history *history, uint64_t *ms, const uint8_t *payload, size_t len,
		struct err *err);

#endif
