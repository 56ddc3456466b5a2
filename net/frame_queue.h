/*
 * Frames that are kept for a while, in their order, each under a key that never falls: the epoch
 * before whose commit they must not leave, or the number up to which the other side has to have
 * them. Bounded in bytes; what it cannot take is the caller's to count.
 */
#ifndef NET_FRAME_QUEUE_H
#define NET_FRAME_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct frame_block;

/* Zero-initialise, set `limit`; frame_queue_clear() releases. */
struct frame_queue {
	struct frame_block *first, **end;
	size_t bytes, limit; /* records and what it takes to keep them */
	uint64_t frames;
	uint64_t newest; /* key since the last frame_queue_clear() */
};

/*
 * A copy of records as frames_read() gives them. False: no room or no memory. A key lower than the
 * last one counts as that one.
 */
bool frame_queue_add(struct frame_queue *queue, uint64_t key, const uint8_t *records, size_t len,
		     uint16_t count);

/*
 * Takes out all that has a key up to `key`, in order; `emit` (NULL: nobody wants them) gets each
 * frame.
 */
void frame_queue_take(struct frame_queue *queue, uint64_t key,
		      void (*emit)(void *owner, const uint8_t *frame, size_t len), void *owner);

/*
 * One frame at a time: adds one under the newest key; the first one's bytes (NULL: empty), which
 * stay until frame_queue_pop() takes it out. Not for queues that have blocks of several.
 */
bool frame_queue_add_one(struct frame_queue *queue, const uint8_t *frame, size_t len);
const uint8_t *frame_queue_peek(const struct frame_queue *queue, size_t *len);
void frame_queue_pop(struct frame_queue *queue);

/* The oldest key, UINT64_MAX when empty. */
uint64_t frame_queue_oldest(const struct frame_queue *queue);

/* Forgets everything; how many frames that were. */
uint64_t frame_queue_clear(struct frame_queue *queue);

#endif
