/*
 * The RAM section parser. Input: a byte (pieces of that many bytes and one more, for the second
 * reading), then sections one after the other. Whatever the bytes are, reading them whole and in
 * pieces gives the same items, within bounds.
 */
#include "replica/ram_stream.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

static struct layout layout;

struct reading {
	uint64_t items, sum, consumed;
	int rc;
};

static void check(const struct ram_stream *stream, const struct ram_item *item, const uint8_t *data,
		  size_t len)
{
	if (item->kind == RAM_ITEM_LAYOUT && (!stream->listed || layout.pages <= layout.ram_pages))
		abort();
	if (item->kind != RAM_ITEM_PAGE)
		return;
	if (item->index >= layout.ram_pages)
		abort();
	if (item->data != NULL && (item->data < data || item->data + LAYOUT_PAGE > data + len))
		abort();
}

static struct reading read_all(const uint8_t *data, size_t len, size_t piece)
{
	struct reading reading = { 0 };
	struct ram_stream stream;
	struct ram_item item;
	struct cursor in;
	struct err err;
	size_t shown = 0;

	layout = (struct layout){ 0 };
	ram_stream_init(&stream, &layout);
	do {
		shown = piece < len - shown ? shown + piece : len;
		do {
			in = cursor_of(data + reading.consumed, shown - reading.consumed);
			reading.rc = ram_stream_next(&stream, &in, &item, &err);
			if (reading.rc != RC_OK)
				return reading;
			if (in.left > shown - reading.consumed)
				abort();
			check(&stream, &item, data, shown);
			reading.consumed = shown - in.left;
			if (item.kind == RAM_ITEM_MORE)
				break;
			reading.items++;
			reading.sum = reading.sum * 31 + item.index * 2 + (item.data != NULL) +
				      (uint64_t)item.kind;
		} while (true);
		if (shown - reading.consumed >= RAM_STREAM_ITEM_MAX)
			abort(); /* it said that this much is always enough */
	} while (shown < len);
	return reading;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reading whole, pieces;

	if (size < 2)
		return 0;
	whole = read_all(data + 1, size - 1, size);
	pieces = read_all(data + 1, size - 1, (size_t)data[0] + 1);
	if (whole.rc != pieces.rc || whole.items != pieces.items || whole.sum != pieces.sum)
		abort();
	if (whole.rc == RC_OK && whole.consumed != pieces.consumed)
		abort();
	return 0;
}
