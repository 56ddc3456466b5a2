/*
 * What the files of the channel share: channel.c (bytes in and out), channel_open.c,
 * channel_end.c.
 */
#ifndef NET_CHANNEL_INTERNAL_H
#define NET_CHANNEL_INTERNAL_H

#include "net/channel.h"

enum channel_state {
	CHANNEL_CONNECTING,
	CHANNEL_HANDSHAKE,
	CHANNEL_OPEN,
	CHANNEL_ENDING,
	CHANNEL_CLOSING
};

struct channel_chunk {
	uv_write_t request;
	struct channel *channel;
	struct buf data;
	bool busy;
};

struct channel {
	uv_tcp_t tcp;
	uv_timer_t linger;
	uv_idle_t wake;
	uv_connect_t connect;
	uv_shutdown_t shutdown;
	unsigned handles;    /* open ones of the first three */
	bool shutting, shut; /* uv_shutdown() was called, has finished */
	bool peer_ended;     /* nothing more will come */
	enum channel_state state;

	const struct channel_ops *ops; /* NULL: never handed out */
	void *owner;
	struct channel_options options;
	struct tls *tls;
	struct channel_chunk chunks[2];
	struct err broken; /* a write failed; code RC_OK: none did */
	uint64_t sent, received;
	uint64_t turn; /* of the loop, in which `burst` bytes were read */
	size_t burst;
	char address[ADDRESS_TEXT_MAX];
	uint64_t source;
	uint8_t *input;
};

/* ---- channel.c ---- */

void channel_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out);
void channel_on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *unused);
/* Goes on with TLS's handshake, and tells the owner when it is done. */
int channel_handshake(struct channel *channel, struct err *err);
/* Hands the ciphertext to the socket, if a chunk is free for it; else it is done when one is. */
int channel_flush(struct channel *channel, struct err *err);

/* ---- channel_end.c ---- */

/* An error ends the channel; the owner is told. */
void channel_fail(struct channel *channel, struct err *err);
/* Something left while ending. */
void channel_go_on_ending(struct channel *channel);
void channel_on_linger(uv_timer_t *timer);

#endif
