#include "net/link_queue.h"

#include "appliance/base/mem.h"

#include <assert.h>
#include <string.h>

static void lane_add(struct link_lane *lane, struct link_frame *frame)
{
	*(lane->first != NULL ? lane->end : &lane->first) = frame;
	lane->end = &frame->next;
}

/* After the last COMMIT of the lane, and what followed commits before; false: it has none. */
static bool lane_add_after_commit(struct link_lane *lane, struct link_frame *frame)
{
	struct link_frame *at, *last = NULL;

	for (at = lane->first; at != NULL; at = at->next) {
		if (at->type == WIRE_COMMIT || wire_follows_commits(at->type))
			last = at;
	}
	if (last == NULL)
		return false;
	frame->after = last->after;
	frame->next = last->next;
	last->next = frame;
	if (frame->next == NULL)
		lane->end = &frame->next;
	return true;
}

static void put_in_lane(struct link_queue *queue, struct link_frame *frame)
{
	if (wire_follows_commits(frame->type) && lane_add_after_commit(&queue->ordered, frame))
		return;
	lane_add(wire_is_ordered(frame->type) ? &queue->ordered : &queue->control, frame);
}

int link_queue_add(struct link_queue *queue, const struct wire_header *header, const void *payload,
		   struct err *err)
{
	size_t len = WIRE_HEADER + header->length;
	bool traffic = header->type == WIRE_FRAMES;
	struct link_frame *frame;

	if (traffic && len > LINK_QUEUE_TRAFFIC - queue->traffic_bytes)
		return err_set(err, RC_LIMIT, "%zu bytes of traffic are waiting to be sent",
			       queue->traffic_bytes);
	if (!traffic &&
	    (queue->frames >= LINK_QUEUE_FRAMES || len > LINK_QUEUE_BYTES - queue->bytes)) {
		queue->refused_frame = true;
		return err_set(err, RC_LIMIT, "%zu frames of %zu bytes are waiting to be sent",
			       queue->frames, queue->bytes);
	}
	frame = mem_alloc(sizeof(*frame) + len);
	if (frame == NULL)
		return err_nomem(err, "a frame to send");
	frame->next = NULL;
	frame->len = len;
	wire_put_header(frame->bytes, header);
	if (header->length > 0)
		memcpy(frame->bytes + WIRE_HEADER, payload, header->length);
	frame->after = queue->batches_added;
	frame->type = header->type;
	if (traffic) {
		lane_add(&queue->traffic, frame);
		queue->traffic_bytes += len;
		return RC_OK;
	}
	put_in_lane(queue, frame);
	queue->frames++;
	queue->bytes += len;
	return RC_OK;
}

/* A frame of the bulk lane that comes before the next batch. */
static bool ordered_is_due(const struct link_queue *queue)
{
	return queue->ordered.first != NULL && queue->ordered.first->after <= queue->batches_sent;
}

/* Where the next frame is taken from; NULL: a batch goes first, or nothing waits. */
static struct link_lane *next_lane(struct link_queue *queue)
{
	if (queue->control.first != NULL)
		return &queue->control;
	if (ordered_is_due(queue))
		return &queue->ordered;
	if (queue->traffic.first != NULL &&
	    (queue->nbatches == 0 || queue->traffic_turn < LINK_QUEUE_TURN))
		return &queue->traffic;
	return NULL;
}

const struct link_frame *link_queue_first(struct link_queue *queue)
{
	const struct link_lane *lane = next_lane(queue);

	return lane != NULL ? lane->first : NULL;
}

static void remove_frame(struct link_queue *queue, struct link_lane *lane)
{
	struct link_frame *frame = lane->first;

	lane->first = frame->next;
	if (lane == &queue->traffic) {
		queue->traffic_bytes -= frame->len;
		queue->traffic_turn += frame->len;
	} else {
		queue->frames--;
		queue->bytes -= frame->len;
	}
	mem_free(frame);
}

void link_queue_remove_first(struct link_queue *queue)
{
	remove_frame(queue, next_lane(queue));
}

static bool fits(const struct link_queue *queue, size_t len)
{
	return queue->nbatches < LINK_QUEUE_BATCHES && queue->credit - queue->spent >= len;
}

bool link_queue_add_batch(struct link_queue *queue, const struct link_batch *batch)
{
	assert(batch->len > 0 && batch->len <= WIRE_BATCH_MAX);
	if (!fits(queue, batch->len)) {
		queue->refused_batch = batch->len;
		return false;
	}
	queue->batches[queue->nbatches++] = *batch;
	queue->batches_added++;
	queue->spent += batch->len;
	return true;
}

static size_t fragment_len(const struct link_queue *queue)
{
	size_t left = queue->batches[0].len - queue->offset;

	return left < WIRE_FRAGMENT_MAX ? left : WIRE_FRAGMENT_MAX;
}

bool link_queue_fragment(const struct link_queue *queue, uint8_t header[WIRE_HEADER],
			 const uint8_t **data, size_t *len)
{
	const struct link_batch *batch = &queue->batches[0];
	struct wire_header fields = { .type = WIRE_BATCH,
				      .term = batch->term,
				      .epoch = batch->epoch };

	if (queue->nbatches == 0 || ordered_is_due(queue))
		return false;
	*len = fragment_len(queue);
	*data = batch->data + queue->offset;
	fields.length = (uint32_t)*len;
	fields.more = queue->offset + *len < batch->len;
	wire_put_header(header, &fields);
	return true;
}

/* The release comes last: it may add the next batch. */
static void remove_batch(struct link_queue *queue)
{
	struct link_batch sent = queue->batches[0];

	queue->nbatches--;
	queue->batches_sent++;
	memmove(queue->batches, queue->batches + 1, queue->nbatches * sizeof(sent));
	queue->offset = 0;
	if (sent.release != NULL)
		sent.release(sent.context);
}

void link_queue_remove_fragment(struct link_queue *queue)
{
	queue->traffic_turn = 0;
	queue->offset += fragment_len(queue);
	if (queue->offset == queue->batches[0].len)
		remove_batch(queue);
}

int link_queue_credit(struct link_queue *queue, uint64_t total, struct err *err)
{
	if (total < queue->credit)
		return err_set(err, RC_INVALID, "the peer took credit back: %llu, before %llu",
			       (unsigned long long)total, (unsigned long long)queue->credit);
	queue->credit = total;
	return RC_OK;
}

bool link_queue_has_room(struct link_queue *queue)
{
	/* For frames at half of both limits only, so that it is not told for every single one. */
	bool frames = queue->refused_frame && queue->frames <= LINK_QUEUE_FRAMES / 2 &&
		      queue->bytes <= LINK_QUEUE_BYTES / 2;
	bool batches = queue->refused_batch > 0 && fits(queue, queue->refused_batch);

	if (frames)
		queue->refused_frame = false;
	if (batches)
		queue->refused_batch = 0;
	return frames || batches;
}

void link_queue_clear(struct link_queue *queue)
{
	while (queue->control.first != NULL)
		remove_frame(queue, &queue->control);
	while (queue->ordered.first != NULL)
		remove_frame(queue, &queue->ordered);
	while (queue->traffic.first != NULL)
		remove_frame(queue, &queue->traffic);
	while (queue->nbatches > 0)
		remove_batch(queue);
	memset(queue, 0, sizeof(*queue));
}
