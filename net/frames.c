#include "net/frames.h"

#include <assert.h>

bool frames_add(struct frames *frames, const uint8_t *frame, size_t len)
{
	static const uint8_t header[FRAMES_HEADER];
	struct buf *payload = &frames->payload;
	uint8_t *record;

	if (len < FRAMES_LEN_MIN || len > FRAMES_LEN_MAX || frames->count == UINT16_MAX)
		return false;
	if (payload->len > 0 && len + 2 > FRAMES_PAYLOAD_MAX - payload->len)
		return false;
	payload->limit = FRAMES_PAYLOAD_MAX;
	payload->failed = false;
	if (payload->len == 0 && !buf_append(payload, header, sizeof(header)))
		return false;
	record = buf_extend(payload, len + 2);
	if (record == NULL)
		return false;
	bytes_put_le16(record, (uint16_t)len);
	memcpy(record + 2, frame, len);
	frames->count++;
	return true;
}

bool frames_is_full(const struct frames *frames)
{
	return frames->payload.len >= FRAMES_PAYLOAD_FULL;
}

bool frames_put(struct frames *frames, const uint8_t *frame, size_t len, void (*flush)(void *owner),
		void *owner)
{
	if (frames_is_full(frames))
		flush(owner);
	if (frames_add(frames, frame, len))
		return true;
	flush(owner);
	return frames_add(frames, frame, len);
}

void frames_finish(struct frames *frames)
{
	uint8_t *header = frames->payload.data;

	assert(frames->count > 0);
	header[0] = frames->port;
	header[1] = frames->flags;
	bytes_put_le16(header + 2, frames->count);
	bytes_put_le64(header + 8, frames->next);
}

void frames_next(struct frames *frames)
{
	frames->next += frames->count;
	frames->count = 0;
	buf_reset(&frames->payload);
}

void frames_free(struct frames *frames)
{
	buf_free(&frames->payload);
}

static bool records_are_valid(struct cursor records, uint16_t count)
{
	size_t len;

	while (count-- > 0) {
		if (frames_walk(&records, &len) == NULL || len < FRAMES_LEN_MIN)
			return false;
	}
	return !records.short_read && records.left == 0;
}

int frames_read(struct frames_header *header, const uint8_t *payload, size_t len, struct err *err)
{
	struct cursor in = cursor_of(payload, len);
	uint32_t zeros;

	header->port = cursor_u8(&in);
	header->flags = cursor_u8(&in);
	header->count = cursor_le16(&in);
	zeros = cursor_le32(&in);
	header->first = cursor_le64(&in);
	header->records = in.at;
	header->len = in.left;
	if (in.short_read || header->flags > FRAMES_INPUT || zeros != 0)
		return err_set(err, RC_INVALID, "frames: a header of %zu bytes", len);
	if (header->count == 0 || header->first == 0 ||
	    header->first > UINT64_MAX - header->count || !records_are_valid(in, header->count))
		return err_set(err, RC_INVALID, "%u frames that do not fill %zu bytes",
			       header->count, header->len);
	return RC_OK;
}
