#include "net/frame_reader.h"

#include <assert.h>
#include <string.h>

void frame_reader_init(struct frame_reader *reader, uint8_t sender)
{
	memset(reader, 0, sizeof(*reader));
	reader->sender = sender;
	reader->frame.limit = WIRE_JSON_MAX;
	reader->batch.limit = WIRE_BATCH_MAX;
}

void frame_reader_free(struct frame_reader *reader)
{
	buf_free(&reader->frame);
	buf_free(&reader->batch);
}

bool frame_reader_is_inside(const struct frame_reader *reader)
{
	return reader->have > 0 || reader->in_payload || reader->batch_open;
}

/* Where the present frame's payload is put together. */
static struct buf *target(struct frame_reader *reader)
{
	return reader->header.type == WIRE_BATCH ? &reader->batch : &reader->frame;
}

uint8_t *frame_reader_space(struct frame_reader *reader, size_t *room)
{
	struct buf *to = target(reader);

	if (!reader->in_payload) {
		*room = WIRE_HEADER - reader->have;
		return reader->head + reader->have;
	}
	*room = reader->header.length - reader->have;
	return to->data + to->len - *room;
}

static int begin_fragment(struct frame_reader *reader, struct err *err)
{
	const struct wire_header *now = &reader->header;
	const struct wire_header *first = &reader->batch_header;

	if (!reader->batch_open) {
		buf_reset(&reader->batch);
		reader->batch_header = *now;
	} else if (now->term != first->term || now->epoch != first->epoch) {
		return err_set(err, RC_INVALID,
			       "a batch of epoch %llu began inside one of epoch %llu",
			       (unsigned long long)now->epoch, (unsigned long long)first->epoch);
	}
	if (now->length > WIRE_BATCH_MAX - reader->batch.len)
		return err_set(err, RC_LIMIT, "a batch of more than %zu bytes", WIRE_BATCH_MAX);
	/* The whole of it at once: growing step by step would copy what has come already. */
	if (reader->batch.capacity == 0) {
		if (buf_extend(&reader->batch, WIRE_BATCH_MAX) == NULL)
			return err_nomem(err, "a batch");
		buf_reset(&reader->batch);
	}
	reader->batch_open = true;
	return RC_OK;
}

/* The header is there: may this frame come now, and is there room for its payload? */
static int begin_payload(struct frame_reader *reader, struct err *err)
{
	struct wire_header *header = &reader->header;
	struct buf *to;
	int rc;

	rc = wire_get_header(header, reader->head, err);
	if (rc != RC_OK)
		return rc;
	if (header->type != WIRE_REFUSE && (header->type == WIRE_HELLO) == reader->greeted)
		return err_set(err, RC_INVALID, "%s frame %s", wire_type_name(header->type),
			       reader->greeted ? "after the first" : "before hello");
	if (!wire_allowed(reader->sender, header->type))
		return err_set(err, RC_INVALID, "%s frame from a %s, which does not send it",
			       wire_type_name(header->type),
			       reader->sender == WIRE_ROLE_PRIMARY ? "primary" : "standby");
	if (header->type == WIRE_HELLO)
		reader->greeted = true;
	if (header->type == WIRE_BATCH) {
		rc = begin_fragment(reader, err);
		if (rc != RC_OK)
			return rc;
	} else {
		buf_reset(&reader->frame);
	}
	to = target(reader);
	if (header->length > 0 && buf_extend(to, header->length) == NULL)
		return err_nomem(err, "a frame");
	reader->in_payload = true;
	reader->have = 0;
	return RC_OK;
}

int frame_reader_filled(struct frame_reader *reader, size_t got, const struct wire_header **header,
			const uint8_t **payload, struct err *err)
{
	int rc;

	*header = NULL;
	*payload = NULL;
	reader->have += got;
	if (!reader->in_payload) {
		assert(reader->have <= WIRE_HEADER);
		if (reader->have < WIRE_HEADER)
			return RC_OK;
		rc = begin_payload(reader, err);
		if (rc != RC_OK)
			return rc;
	}
	assert(reader->have <= reader->header.length);
	if (reader->have < reader->header.length)
		return RC_OK;
	reader->in_payload = false;
	reader->have = 0;
	if (reader->header.more)
		return RC_OK;
	if (reader->header.type == WIRE_BATCH) {
		reader->batch_open = false;
		reader->header.length = (uint32_t)reader->batch.len;
	}
	*header = &reader->header;
	*payload = target(reader)->data;
	return RC_OK;
}
