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
#include "replica/receiver.h"
#include "replica/sender.h"

#define HASHES_PER_FRAME 8192 /* 64 KiB on the wire, 32 MiB of memory read */
#define HASHES_MS 20 /* of reading for a frame: a disk is slower, and a takeover waits for that */

struct hashes_job;

/* What is still to be told. */
struct hashes {
	bool wanted; /* false: whatever is being read is not told */
	uint64_t next;
	struct hashes_job *job; /* being read, or waiting for the link to have room */
};

/* From the first page on. */
void hashes_want(struct hashes *hashes);
/* What is being read goes nowhere. */
void hashes_end(struct hashes *hashes);

/*
 * Tells some of it, of an idle receiver's image; call it again, when the link has room, and on every tick, until not wanted. It is
 * read in a worker thread: `again` is called when there is more to tell.
 */
void hashes_tell(struct hashes *hashes, struct receiver *receiver, const struct image *image,
		 struct link *link, uint64_t term, void (*again)(void *owner), void *owner);

/* At the primary: one payload, for an instance of that many pages. */
int hashes_take(struct sender *sender, uint64_t pages, const uint8_t *payload, size_t len,
		struct err *err);

#endif
