/*
 * The payload of FRAMES, as a peer may send it: read, walked, kept and given out again.
 */
#include "net/frame_queue.h"
#include "net/frames.h"

#include <assert.h>
#include <stdint.h>

static size_t seen;
static volatile uint8_t last;

static void emit(void *owner, const uint8_t *frame, size_t len)
{
	(void)owner;
	assert(len >= FRAMES_LEN_MIN && len <= FRAMES_LEN_MAX);
	last = frame[len - 1]; /* readable to its end */
	seen++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct frame_queue queue = { .limit = (size_t)1 << 20 };
	struct frames_header header;
	struct err err;

	if (frames_read(&header, data, size, &err) != RC_OK)
		return 0;
	seen = 0;
	if (frame_queue_add(&queue, 1, header.records, header.len, header.count)) {
		frame_queue_take(&queue, 1, emit, NULL);
		assert(seen == header.count);
	}
	return 0;
}
