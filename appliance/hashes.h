/*
 * Page hashes for a resync: the standby tells what its image holds, the primary then sends only
 * what differs.
 *
 * HASHES payload: u64 index of the first page, u32 count, u32 1 in the last frame (else 0),
 * u64 hashes[count] as image_hashes() makes them. Little-endian.
 */
#ifndef APPLIANCE_HASHES_H
#define APPLIANCE_HASHES_H

#include "net/link.h"
#include "replica/image.h"
#include "replica/sender.h"

#define HASHES_PER_FRAME 8192 /* 64 KiB on the wire, 32 MiB of memory read */
#define HASHES_FRAMES_AT_ONCE 4
#define HASHES_MS 20 /* of the loop's time at once: a disk is read; heartbeats go out in between */

/* What is still to be told. */
struct hashes {
	bool wanted;
	uint64_t next;
};

/* Tells some of it; call it again, on every tick and when the link has room, until not wanted. */
void hashes_tell(struct hashes *hashes, const struct image *image, struct link *link,
		 uint64_t term);

/* At the primary: one payload, for an instance of that many pages. */
int hashes_take(struct sender *sender, uint64_t pages, const uint8_t *payload, size_t len,
		struct err *err);

#endif
