/* What an NBD client may send, in pieces: handshake and requests. */
#include "appliance/base/buf.h"
#include "net/nbd_session.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static const struct nbd_export export = { .name = "d", .bytes = 100000, .block = 4096 };
static volatile uint8_t last;

static void answer(struct nbd_session *session, const struct nbd_request *request)
{
	static const struct nbd_extent extent = { 100000, NBD_HOLE };

	CHECK(session->state == NBD_SERVING && request->offset <= export.bytes &&
	      request->length <= export.bytes - request->offset);
	CHECK((request->data != NULL) == (request->command == NBD_WRITE));
	if (request->data != NULL && request->length > 0)
		last = request->data[request->length - 1]; /* readable to its end */
	if (request->command == NBD_READ)
		nbd_put_data(&session->out, session->structured, request->cookie, request->offset,
			     NULL, request->length);
	else if (request->command == NBD_BLOCK_STATUS)
		nbd_put_extents(&session->out, request->cookie, NBD_CONTEXT_ALLOCATION, &extent, 1);
	else
		nbd_put_done(&session->out, request->cookie);
}

/* The first byte says in pieces of what size the rest arrives. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct nbd_request *request;
	struct nbd_session session;
	size_t at = 1, room, piece;
	struct err err;
	uint8_t *space;

	if (size == 0 || nbd_session_init(&session, &export, (size_t)1 << 20, &err) != RC_OK)
		return 0;
	piece = (size_t)data[0] + 1;
	while (at < size && (space = nbd_session_space(&session, &room)) != NULL) {
		CHECK(room > 0 && room <= NBD_PAYLOAD_MAX + NBD_REQUEST_HEADER);
		room = room < piece ? room : piece;
		room = room < size - at ? room : size - at;
		memcpy(space, data + at, room);
		at += room;
		nbd_session_filled(&session, room);
		while (nbd_session_next(&session, &request, &err) == RC_OK && request != NULL) {
			answer(&session, request);
			if (session.out.len > 65536)
				buf_reset(&session.out);
		}
	}
	nbd_session_free(&session);
	return 0;
}
