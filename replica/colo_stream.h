/*
 * All that the primary of QEMU's COLO sends on its migration stream, as a resumable parser.
 * Big-endian.
 *
 *   stream       := be32 "QEVM" | be32 3 | section... | device state | checkpoint...
 *   section      := u8 type, then by type:
 *     7 CONFIGURATION   be32 length | the machine type's name
 *     8 COMMAND         be16 command | be16 length | data
 *                       only ENABLE_COLO (8) and SWITCHOVER_START (11), both empty
 *     1 START           be32 section id | u8 name length | name | be32 instance | be32 version |
 *                       content | footer
 *     2 PART, 3 END     be32 section id | content | footer
 *     footer            u8 0x7e | be32 section id
 *   device state := what follows the END of RAM; its length is written nowhere. QEMU then reports
 *                   migration status "colo" and sends nothing more before it is told that its secondary
 *                   is ready: that is where this part ends.
 *   checkpoint   := be32 CHECKPOINT_REQUEST (1) | be32 VMSTATE_SEND (3) | COMMAND... | END of RAM |
 *                   u8 0 | be32 VMSTATE_SIZE (4) | be64 length | that many bytes of device state
 *
 * The only sections taken are those of "ram" (ram_stream.h). Before END the guest runs; from the
 * type byte of END on it stands. Source: QEMU's migration/savevm.c and migration/colo.c.
 *
 * Pure. Page events point into the given bytes.
 */
#ifndef REPLICA_COLO_STREAM_H
#define REPLICA_COLO_STREAM_H

#include "replica/ram_stream.h"

/* What a secondary answers; be32 each. */
enum colo_message {
	COLO_CHECKPOINT_READY = 0,
	COLO_CHECKPOINT_REQUEST = 1,
	COLO_CHECKPOINT_REPLY = 2,
	COLO_VMSTATE_SEND = 3,
	COLO_VMSTATE_SIZE = 4,
	COLO_VMSTATE_RECEIVED = 5,
	COLO_VMSTATE_LOADED = 6,
};

enum colo_event_kind {
	COLO_EVENT_MORE,       /* what is left is no whole item: come again with more behind it */
	COLO_EVENT_LAYOUT,     /* the layout is known */
	COLO_EVENT_STOPPED,    /* what follows is sent while the guest stands */
	COLO_EVENT_PAGE,       /* index, data (NULL: zeroes) */
	COLO_EVENT_COPIED,     /* all of RAM; device state is swallowed until colo_stream_ready() */
	COLO_EVENT_REQUEST,    /* QEMU wants a checkpoint, and runs the guest until it is granted */
	COLO_EVENT_TAIL,       /* the device state's last page: index, data, len < LAYOUT_PAGE */
	COLO_EVENT_CHECKPOINT, /* complete; len: bytes of device state */
};

struct colo_event {
	enum colo_event_kind kind;
	uint64_t index;
	const uint8_t *data;
	size_t len;
};

/* A reader that can show this much in one piece always gets on. */
#define COLO_STREAM_ITEM_MAX RAM_STREAM_ITEM_MAX

struct colo_stream;

int colo_stream_create(struct colo_stream **stream, struct err *err);
void colo_stream_destroy(struct colo_stream *stream);

/*
 * The next event. Advances `in` by whole items only. RC_INVALID, RC_LIMIT or RC_UNSUPPORTED: this
 * is no stream of ours, and is of no further use; the text says where it happened.
 */
int colo_stream_next(struct colo_stream *stream, struct cursor *in, struct colo_event *event,
		     struct err *err);

/*
 * After COPIED, when QEMU has nothing more to send: checkpoints follow. False in any other state.
 */
bool colo_stream_ready(struct colo_stream *stream);

/* Of the LAYOUT event and later; stays with the stream. */
const struct layout *colo_stream_layout(const struct colo_stream *stream);

#endif
