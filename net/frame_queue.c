#include "net/frame_queue.h"

#include "appliance/base/mem.h"
#include "net/frames.h"

#include <assert.h>
#include <string.h>

struct frame_block {
	struct frame_block *next;
	uint64_t key;
	size_t len;
	uint16_t count;
	uint8_t records[];
};

static struct frame_block *append(struct frame_queue *queue, uint64_t key, size_t len,
				  uint16_t count)
{
	size_t size = sizeof(struct frame_block) + len;
	struct frame_block *block;

	if (queue->bytes > queue->limit || size > queue->limit - queue->bytes)
		return NULL;
	block = mem_alloc(size);
	if (block == NULL)
		return NULL;
	queue->newest = key > queue->newest ? key : queue->newest;
	*block = (struct frame_block){ .key = queue->newest, .len = len, .count = count };
	*(queue->first != NULL ? queue->end : &queue->first) = block;
	queue->end = &block->next;
	queue->bytes += size;
	queue->frames += count;
	return block;
}

bool frame_queue_add(struct frame_queue *queue, uint64_t key, const uint8_t *records, size_t len,
		     uint16_t count)
{
	struct frame_block *block = append(queue, key, len, count);

	if (block != NULL)
		memcpy(block->records, records, len);
	return block != NULL;
}

bool frame_queue_add_one(struct frame_queue *queue, const uint8_t *frame, size_t len)
{
	struct frame_block *block = append(queue, 0, len + 2, 1);

	if (block != NULL) {
		bytes_put_le16(block->records, (uint16_t)len);
		memcpy(block->records + 2, frame, len);
	}
	return block != NULL;
}

const uint8_t *frame_queue_peek(const struct frame_queue *queue, size_t *len)
{
	struct cursor records;

	if (queue->first == NULL)
		return NULL;
	records = cursor_of(queue->first->records, queue->first->len);
	return frames_walk(&records, len);
}

static void remove_first(struct frame_queue *queue)
{
	struct frame_block *block = queue->first;

	queue->first = block->next;
	queue->bytes -= sizeof(*block) + block->len;
	queue->frames -= block->count;
	mem_free(block);
}

void frame_queue_pop(struct frame_queue *queue)
{
	assert(queue->first != NULL && queue->first->count == 1);
	remove_first(queue);
}

static void emit_all(const struct frame_block *block,
		     void (*emit)(void *owner, const uint8_t *frame, size_t len), void *owner)
{
	struct cursor records = cursor_of(block->records, block->len);
	const uint8_t *frame;
	size_t len;

	while ((frame = frames_walk(&records, &len)) != NULL)
		emit(owner, frame, len);
}

void frame_queue_take(struct frame_queue *queue, uint64_t key,
		      void (*emit)(void *owner, const uint8_t *frame, size_t len), void *owner)
{
	while (queue->first != NULL && queue->first->key <= key) {
		if (emit != NULL)
			emit_all(queue->first, emit, owner);
		remove_first(queue);
	}
}

uint64_t frame_queue_oldest(const struct frame_queue *queue)
{
	return queue->first != NULL ? queue->first->key : UINT64_MAX;
}

uint64_t frame_queue_clear(struct frame_queue *queue)
{
	uint64_t frames = queue->frames;

	frame_queue_take(queue, UINT64_MAX, NULL, NULL);
	queue->newest = 0;
	return frames;
}
