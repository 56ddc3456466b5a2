/*
 * The parser of all that a COLO primary sends. Input: a byte (so many bytes of device state follow
 * the first copy), a byte (pieces of that many bytes and one more, for the second reading), then
 * the stream. Whatever the bytes are, reading them whole and in pieces gives the same events,
 * within bounds, in an order that makes sense.
 */
#include "replica/colo_stream.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

struct reading {
	struct colo_stream *stream;
	const uint8_t *data;
	size_t shown, consumed; /* bytes */
	size_t swallow;		/* of device state, still to come */
	bool copied, ready, requested, tail;
	uint64_t events, sum;
	int rc;
};

static void check_page(const struct reading *r, const struct colo_event *event)
{
	const struct layout *layout = colo_stream_layout(r->stream);
	size_t len = event->kind == COLO_EVENT_TAIL ? event->len : LAYOUT_PAGE;

	if (event->index >= layout->pages || (!r->requested && event->index >= layout->ram_pages) ||
	    r->tail)
		abort();
	if (event->data == NULL ? event->index >= layout->ram_pages :
				  event->data < r->data || event->data + len > r->data + r->shown)
		abort();
	if (event->kind == COLO_EVENT_TAIL && (len == 0 || len >= LAYOUT_PAGE))
		abort();
}

static void check(struct reading *r, const struct colo_event *event)
{
	switch (event->kind) {
	case COLO_EVENT_PAGE:
	case COLO_EVENT_TAIL:
		check_page(r, event);
		r->tail = event->kind == COLO_EVENT_TAIL;
		break;
	case COLO_EVENT_COPIED:
		if (r->copied)
			abort();
		r->copied = true;
		break;
	case COLO_EVENT_REQUEST:
		if (!r->ready || r->requested)
			abort();
		r->requested = true;
		break;
	case COLO_EVENT_CHECKPOINT:
		if (!r->requested || event->len == 0 || event->len > LAYOUT_DEVICE_STATE_MAX)
			abort();
		r->requested = r->tail = false;
		break;
	default:
		break;
	}
}

/* Reads what is shown. False: the stream has ended with an error. */
static bool read_shown(struct reading *r)
{
	struct colo_event event;
	struct cursor in;
	struct err err;
	size_t given;

	do {
		if (r->copied && !r->ready && r->swallow == 0)
			r->ready = colo_stream_ready(r->stream);
		given = r->shown - r->consumed;
		if (r->copied && !r->ready && given > r->swallow)
			given = r->swallow;
		in = cursor_of(r->data + r->consumed, given);
		r->rc = colo_stream_next(r->stream, &in, &event, &err);
		if (r->rc != RC_OK)
			return false;
		r->consumed += given - in.left;
		if (r->copied && !r->ready)
			r->swallow -= given - in.left;
		check(r, &event);
		r->events += event.kind != COLO_EVENT_MORE;
		if (event.kind != COLO_EVENT_MORE)
			r->sum = r->sum * 31 + (uint64_t)event.kind + event.index * 8 + event.len;
	} while (event.kind != COLO_EVENT_MORE || (r->copied && !r->ready && r->swallow == 0));
	if (r->shown - r->consumed >= COLO_STREAM_ITEM_MAX)
		abort(); /* it said that this much is always enough */
	return true;
}

static struct reading read_all(const uint8_t *data, size_t len, size_t piece, size_t swallow)
{
	struct reading r = { .data = data, .swallow = swallow };
	struct err err;

	if (colo_stream_create(&r.stream, &err) != RC_OK)
		abort();
	do {
		r.shown = piece < len - r.shown ? r.shown + piece : len;
	} while (read_shown(&r) && r.shown < len);
	colo_stream_destroy(r.stream);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reading whole, pieces;

	if (size < 3)
		return 0;
	whole = read_all(data + 2, size - 2, size, data[0]);
	pieces = read_all(data + 2, size - 2, (size_t)data[1] + 1, data[0]);
	if (whole.rc != pieces.rc || whole.events != pieces.events || whole.sum != pieces.sum)
		abort();
	if (whole.rc == RC_OK && whole.consumed != pieces.consumed)
		abort();
	return 0;
}
