/*
 * Frames out of a stream of plain bytes, by the rules of wire.h; no I/O. The caller asks where the
 * next bytes belong, puts them there (so that they are not copied a second time) and tells how
 * many they were.
 *
 * Bounded: one frame that is not a batch (its type's limit) and one batch (WIRE_BATCH_MAX) at a
 * time. Before the peer's HELLO nothing larger than a HELLO or a REFUSE is taken.
 */
#ifndef NET_FRAME_READER_H
#define NET_FRAME_READER_H

#include "net/wire.h"

struct frame_reader {
	/* private */
	uint8_t sender;
	bool greeted, in_payload, batch_open;
	size_t have;
	uint8_t head[WIRE_HEADER];
	struct wire_header header, batch_header;
	struct buf frame, batch;
};

/* `sender`: the peer's role (enum wire_role). */
void frame_reader_init(struct frame_reader *reader, uint8_t sender);
void frame_reader_free(struct frame_reader *reader);

/* Where the next bytes go and how many at most (at least 1). */
uint8_t *frame_reader_space(struct frame_reader *reader, size_t *room);

/*
 * `got` bytes (at most the room told) were put there. *header is NULL as long as nothing is
 * complete, else a frame (a whole batch: its length in all), whose payload is valid until the next
 * call. An error is final.
 */
int frame_reader_filled(struct frame_reader *reader, size_t got, const struct wire_header **header,
			const uint8_t **payload, struct err *err);

/* Bytes of an unfinished frame or batch have come: the end of the stream now would cut it. */
bool frame_reader_is_inside(const struct frame_reader *reader);

#endif
