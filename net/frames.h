/*
 * Ethernet frames on their way between the sites: the payload of the wire's FRAMES, in both
 * directions. Little-endian.
 *
 *    0  u8   port: the place of the network card in the reservation's list
 *    1  u8   flags: FRAMES_AT_ONCE, FRAMES_INPUT or 0
 *    2  u16  how many frames, 1 or more
 *    4  u32  0
 *    8  u64  number of the first one: the sender counts the frames of a port and direction from 1
 *            on, for as long as it lives
 *   16  the frames: u16 length, FRAMES_LEN_MIN to FRAMES_LEN_MAX; then its bytes, from the
 *       destination address on, without a checksum
 *
 * A payload is valid if and only if (1) the zeros are zero and no other flag nor both are set, (2) there is at least one frame, (3)
 * every length is within its limits, (4) the frames fill the payload exactly.
 *
 * Towards the standby, the header's epoch says when frames may leave: once that epoch is
 * committed; 0: at once, because nothing protects the instance. FRAMES_AT_ONCE: at once, because the
 * operator wants no output commit for this card. FRAMES_INPUT: it is a copy of what clients at the
 * primary's site have sent, for the replica; the epoch says nothing.
 */
#ifndef NET_FRAMES_H
#define NET_FRAMES_H

#include "appliance/base/buf.h"
#include "appliance/base/bytes.h"
#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAMES_HEADER ((size_t)16)
#define FRAMES_AT_ONCE 1
#define FRAMES_INPUT 2
#define FRAMES_LEN_MIN 14		      /* addresses and type */
#define FRAMES_LEN_MAX 65535		      /* what the length can say; a tap's largest is less */
#define FRAMES_PAYLOAD_MAX ((size_t)66 << 10) /* a full-sized frame always fits an empty payload */
#define FRAMES_PAYLOAD_FULL ((size_t)60 << 10) /* and no more are added beyond this */

/*
 * One payload being put together. Zero-initialise; `port`, `flags` and `next` (1 at first) are the
 * caller's.
 */
struct frames {
	struct buf payload;
	uint8_t port, flags;
	uint16_t count;
	uint64_t next; /* number of the next frame */
};

/*
 * Adds a copy of a frame; false (and nothing is added) when its length is out of bounds, there is
 * no room for it, or no memory.
 */
bool frames_add(struct frames *frames, const uint8_t *frame, size_t len);
bool frames_is_full(const struct frames *frames);
/* The same, with `flush(owner)`, which has to send and empty it, whenever there is no room. */
bool frames_put(struct frames *frames, const uint8_t *frame, size_t len, void (*flush)(void *owner),
		void *owner);
/* Writes the header; what to send is `payload`. Afterwards: frames_next(). */
void frames_finish(struct frames *frames);
/* Empty again, numbers count on. */
void frames_next(struct frames *frames);
void frames_free(struct frames *frames);

struct frames_header {
	uint8_t port, flags;
	uint16_t count;
	uint64_t first;
	const uint8_t *records; /* length and bytes of each, for frames_walk() */
	size_t len;
};

/* Checks all of it. */
int frames_read(struct frames_header *header, const uint8_t *payload, size_t len, struct err *err);

/* The next frame of records that were checked; NULL at their end. */
static inline const uint8_t *frames_walk(struct cursor *records, size_t *len)
{
	*len = cursor_le16(records);
	return records->short_read ? NULL : cursor_bytes(records, *len);
}

#endif
