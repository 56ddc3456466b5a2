/*
 * Everything of the wire that a peer can write. Byte 0 chooses: a payload's decoder, or a stream
 * of frames from one of the roles. What is accepted must encode to the same bytes; a stream must
 * give the same frames however it is cut.
 */
#include "net/frame_reader.h"
#include "net/wire.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void same(const struct buf *out, const uint8_t *data, size_t size)
{
	CHECK(out->len == size && memcmp(out->data, data, size) == 0);
}

static void payloads(const uint8_t *data, size_t size)
{
	struct wire_heartbeat heartbeat;
	struct wire_commit commit;
	struct wire_hello hello;
	struct wire_header header;
	char text[WIRE_TEXT_MAX + 1];
	uint8_t head[WIRE_HEADER];
	uint64_t number;
	uint16_t code;
	struct err err;
	struct buf out = { 0 };

	if (wire_get_hello(&hello, data, size, &err) == RC_OK) {
		CHECK(wire_put_hello(&out, &hello));
		same(&out, data, size);
		(void)wire_check_versions(&hello, &hello, &err);
		buf_reset(&out);
	}
	if (wire_get_commit(&commit, data, size, &err) == RC_OK) {
		CHECK(wire_put_commit(&out, &commit));
		same(&out, data, size);
		buf_reset(&out);
	}
	if (wire_get_heartbeat(&heartbeat, data, size, &err) == RC_OK) {
		CHECK(wire_put_heartbeat(&out, &heartbeat));
		same(&out, data, size);
		buf_reset(&out);
	}
	if (wire_get_reason(&code, text, data, size, &err) == RC_OK) {
		CHECK(strlen(text) == size - 2);
		(void)wire_reason_text(code);
	}
	(void)wire_get_u64(&number, data, size, &err);
	if (size >= WIRE_HEADER && wire_get_header(&header, data, &err) == RC_OK) {
		wire_put_header(head, &header);
		CHECK(memcmp(head, data, WIRE_HEADER) == 0);
		CHECK(header.length <= wire_payload_max(header.type));
	}
	buf_free(&out);
}

/* A number that depends on every frame and on where the stream broke. */
static uint64_t stream(const uint8_t *data, size_t size, uint8_t role, size_t piece)
{
	const struct wire_header *header;
	const uint8_t *payload;
	struct frame_reader reader;
	struct err err;
	uint64_t sum = 1;
	size_t room, i;
	uint8_t *to;
	int rc = RC_OK;

	frame_reader_init(&reader, role);
	while (size > 0 && rc == RC_OK) {
		to = frame_reader_space(&reader, &room);
		CHECK(room > 0);
		room = room < piece ? room : piece;
		room = room < size ? room : size;
		memcpy(to, data, room);
		data += room;
		size -= room;
		rc = frame_reader_filled(&reader, room, &header, &payload, &err);
		if (rc != RC_OK || header == NULL)
			continue;
		CHECK(wire_allowed(role, header->type));
		CHECK(header->length <= WIRE_BATCH_MAX);
		sum = sum * 31 + header->type;
		for (i = 0; i < header->length; i++)
			sum = sum * 31 + payload[i];
	}
	sum = sum * 31 + (uint64_t)rc + (frame_reader_is_inside(&reader) ? 7 : 0);
	frame_reader_free(&reader);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t role;

	if (size == 0)
		return 0;
	if (data[0] == 0) {
		payloads(data + 1, size - 1);
		return 0;
	}
	role = data[0] % 2 == 0 ? WIRE_ROLE_STANDBY : WIRE_ROLE_PRIMARY;
	CHECK(stream(data + 1, size - 1, role, SIZE_MAX) == stream(data + 1, size - 1, role, 5));
	return 0;
}
