/*
 * What a link still has to send, in three lanes. Control frames: copied, first come first served,
 * ahead of everything else. Traffic: the instance's and its clients' own frames (WIRE_FRAMES),
 * copied, in turns with the bulk lane, LINK_QUEUE_TURN bytes each. The bulk lane: batches, lent and
 * sent in fragments, and the frames whose place among the batches matters (wire_is_ordered()). A
 * frame that follows commits (wire_follows_commits()) goes into the bulk lane right behind the last
 * COMMIT there; when there is none, it is a control frame. No I/O.
 *
 * Bounded: LINK_QUEUE_FRAMES and LINK_QUEUE_BYTES of control, LINK_QUEUE_TRAFFIC of traffic, two
 * batches. Bulk also needs the peer's credit, which counts all bulk payload since the connection
 * began.
 */
#ifndef NET_LINK_QUEUE_H
#define NET_LINK_QUEUE_H

#include "net/wire.h"

#define LINK_QUEUE_FRAMES 4096
#define LINK_QUEUE_BYTES \
	((size_t)8 << 20) /* the page hashes of 4 GiB, or 32 of the largest frames */
#define LINK_QUEUE_TRAFFIC ((size_t)2 << 20) /* 16 ms of a gigabit; a longer queue is only delay */
#define LINK_QUEUE_TURN WIRE_FRAGMENT_MAX
#define LINK_QUEUE_BATCHES 2 /* one being sent and the next */

struct link_frame {
	struct link_frame *next;
	uint64_t after; /* in the bulk lane: goes out when that many batches have */
	uint16_t type;
	size_t len;
	uint8_t bytes[]; /* header and payload, as they are sent */
};

struct link_batch {
	const uint8_t *data;
	size_t len;
	uint64_t term, epoch;
	void (*release)(void *context);
	void *context;
};

struct link_lane {
	struct link_frame *first, **end;
};

/* Zero-initialise; link_queue_clear() releases. */
struct link_queue {
	struct link_lane control, ordered, traffic;
	size_t frames, bytes;		    /* of control and ordered */
	size_t traffic_bytes, traffic_turn; /* waiting; sent since the last fragment */
	uint64_t batches_added, batches_sent;
	struct link_batch batches[LINK_QUEUE_BATCHES];
	unsigned nbatches;
	size_t offset; /* of the first batch: what is sent of it */
	uint64_t credit, spent;
	bool refused_frame;   /* said no to a frame, */
	size_t refused_batch; /* to a batch of this size: who asked wants to hear of room */
};

/* RC_LIMIT when full (link_queue_has_room() will tell), RC_NOMEM. The payload is copied. */
int link_queue_add(struct link_queue *queue, const struct wire_header *header, const void *payload,
		   struct err *err);
/* The next frame that may go out now or NULL; and: it was sent. */
const struct link_frame *link_queue_first(struct link_queue *queue);
void link_queue_remove_first(struct link_queue *queue);

/*
 * False: no credit for it, or no place. Taken: batch->release is called when it was sent, or by
 * link_queue_clear().
 */
bool link_queue_add_batch(struct link_queue *queue, const struct link_batch *batch);
/*
 * The next fragment, its header encoded; false when there is none, or a frame comes first. And: it
 * was sent.
 */
bool link_queue_fragment(const struct link_queue *queue, uint8_t header[WIRE_HEADER],
			 const uint8_t **data, size_t *len);
void link_queue_remove_fragment(struct link_queue *queue);

/* The peer's credit is now that much in all; RC_INVALID if that is less than before. */
int link_queue_credit(struct link_queue *queue, uint64_t total, struct err *err);

/* Once after every refusal, when what was refused would be taken. */
bool link_queue_has_room(struct link_queue *queue);

/* Forgets everything; nothing is left to release. */
void link_queue_clear(struct link_queue *queue);

#endif
