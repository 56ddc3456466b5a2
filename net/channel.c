/*
 * Bytes in: libuv reads up to CHANNEL_INPUT into `input`, mbedtls decrypts from there into where
 * the owner wants the plain text. Everything read is used up before the callback returns, so
 * nothing piles up here.
 *
 * Bytes out: tls_write() adds ciphertext to the TLS connection's output buffer. channel_flush()
 * hands that buffer's memory to libuv as a chunk and leaves an empty one of another chunk in its
 * place: no copy. There are two chunks, so that something urgent can follow what the socket did
 * not take at once; an owner that keeps the rules of channel_is_idle() and channel_is_writable()
 * bounds what is in them.
 *
 * How it begins is in channel_open.c, how it ends in channel_end.c.
 */
#include "net/channel_internal.h"

#include <string.h>

/* ---- out ---- */

static void on_written(uv_write_t *request, int status);

static struct channel_chunk *free_chunk(struct channel *channel)
{
	if (!channel->chunks[0].busy)
		return &channel->chunks[0];
	return channel->chunks[1].busy ? NULL : &channel->chunks[1];
}

/* Hands the ciphertext to the socket, if a chunk is free for it; else on_written() does. */
int channel_flush(struct channel *channel, struct err *err)
{
	struct buf *output = tls_output(channel->tls);
	struct channel_chunk *chunk = free_chunk(channel);
	struct buf taken;
	uv_buf_t vector;
	int r;

	if (output->len == 0 || chunk == NULL || channel->broken.code != RC_OK)
		return RC_OK;
	taken = *output;
	*output = chunk->data;
	chunk->data = taken;
	vector = uv_buf_init((char *)chunk->data.data, (unsigned)chunk->data.len);
	r = uv_write(&chunk->request, (uv_stream_t *)&channel->tcp, &vector, 1, on_written);
	if (r != 0) {
		buf_reset(&chunk->data);
		return err_set(err, RC_IO, "write: %s", uv_strerror(r));
	}
	chunk->busy = true;
	return RC_OK;
}

/* Calls one of the owner's functions if the channel is open, and sends what it wrote. */
static void call(struct channel *channel, int (*function)(void *owner, struct err *err))
{
	struct err err;
	int rc = RC_OK;

	if (channel->state == CHANNEL_OPEN)
		rc = function(channel->owner, &err);
	/* An error's last words (a REFUSE frame) leave in channel_fail(). */
	if (rc == RC_OK && channel->state == CHANNEL_OPEN)
		rc = channel_flush(channel, &err);
	if (rc != RC_OK && channel->state == CHANNEL_OPEN)
		channel_fail(channel, &err);
}

static void on_written(uv_write_t *request, int status)
{
	struct channel_chunk *chunk = request->data;
	struct channel *channel = chunk->channel;
	struct err err;

	chunk->busy = false;
	if (status == 0)
		channel->sent += chunk->data.len;
	buf_reset(&chunk->data);
	if (channel->state == CHANNEL_CLOSING)
		return;
	if (channel->state == CHANNEL_ENDING) {
		channel_go_on_ending(channel);
		return;
	}
	if (status != 0) {
		/*
		 * What the peer said before it went away says more: channel_on_read() ends this,
		 * or the timer.
		 */
		(void)err_set(&channel->broken, RC_CLOSED, "write: %s", uv_strerror(status));
		(void)uv_timer_start(&channel->linger, channel_on_linger, CHANNEL_LINGER_MS, 0);
		return;
	}
	if (channel_flush(channel, &err) != RC_OK) {
		channel_fail(channel, &err);
		return;
	}
	if (channel_is_writable(channel))
		call(channel, channel->ops->on_output);
}

static void on_wake(uv_idle_t *handle)
{
	struct channel *channel = handle->data;

	(void)uv_idle_stop(handle);
	if (channel_is_writable(channel))
		call(channel, channel->ops->on_output);
}

/* ---- in ---- */

void channel_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct channel *channel = handle->data;
	uv_metrics_t metrics = { 0 };

	(void)suggested;
	(void)uv_metrics_info(handle->loop, &metrics);
	if (metrics.loop_count != channel->turn) {
		channel->turn = metrics.loop_count;
		channel->burst = 0;
	}
	/* No room makes libuv go on with others; it comes back in its next turn. */
	*out = uv_buf_init((char *)channel->input,
			   channel->burst < CHANNEL_BURST ? (unsigned)CHANNEL_INPUT : 0);
}

int channel_handshake(struct channel *channel, struct err *err)
{
	bool done = false;
	int rc;

	rc = tls_step(channel->tls, &done, err);
	if (rc == RC_OK && done) {
		channel->state = CHANNEL_OPEN;
		rc = channel->ops->on_open(channel->owner, err);
	}
	return rc;
}

static void take(struct channel *channel, size_t len)
{
	struct err err;
	int rc;

	channel->received += len;
	channel->burst += len;
	rc = tls_feed(channel->tls, channel->input, len, &err);
	if (rc == RC_OK && channel->state == CHANNEL_HANDSHAKE)
		rc = channel_handshake(channel, &err);
	if (rc == RC_OK && channel->state == CHANNEL_OPEN)
		rc = channel->ops->on_input(channel->owner, &err);
	if (rc == RC_OK && channel->state < CHANNEL_ENDING)
		rc = channel_flush(channel, &err);
	if (rc != RC_OK && channel->state < CHANNEL_ENDING)
		channel_fail(channel, &err);
}

void channel_on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *unused)
{
	struct channel *channel = stream->data;
	struct err err;

	(void)unused;
	if (len == 0 || len == UV_ENOBUFS)
		return;
	if (len > 0) {
		if (channel->state < CHANNEL_ENDING)
			take(channel, (size_t)len);
		return;
	}
	channel->peer_ended = true;
	if (channel->state >= CHANNEL_ENDING) {
		if (channel->shut || len != UV_EOF)
			channel_close(channel);
		return;
	}
	if (channel->broken.code != RC_OK)
		err = channel->broken;
	else if (len != UV_EOF)
		(void)err_set(&err, RC_CLOSED, "%s", uv_strerror((int)len));
	else
		(void)err_set(&err, RC_CLOSED, "the peer closed the connection%s",
			      channel->state == CHANNEL_HANDSHAKE ? " during the TLS handshake" :
								    "");
	channel_fail(channel, &err);
}

/* ---- for the owner ---- */

int channel_read(struct channel *channel, uint8_t *out, size_t size, size_t *got, struct err *err)
{
	return tls_read(channel->tls, out, size, got, err);
}

int channel_write(struct channel *channel, const uint8_t *data, size_t len, struct err *err)
{
	return tls_write(channel->tls, data, len, err);
}

size_t channel_unsent(const struct channel *channel)
{
	return tls_output(channel->tls)->len;
}

bool channel_is_idle(const struct channel *channel)
{
	return !channel->chunks[0].busy && !channel->chunks[1].busy;
}

bool channel_is_writable(const struct channel *channel)
{
	return channel->state == CHANNEL_OPEN && channel->broken.code == RC_OK &&
	       !(channel->chunks[0].busy && channel->chunks[1].busy);
}

void channel_wake(struct channel *channel)
{
	if (channel->state == CHANNEL_OPEN)
		(void)uv_idle_start(&channel->wake, on_wake);
}

const char *channel_address(const struct channel *channel)
{
	return channel->address;
}

const char *channel_peer_name(const struct channel *channel)
{
	return tls_peer_name(channel->tls);
}

const char *channel_cipher(const struct channel *channel)
{
	return tls_cipher(channel->tls);
}

const char *channel_stage(const struct channel *channel)
{
	switch (channel->state) {
	case CHANNEL_CONNECTING:
		return "connecting";
	case CHANNEL_HANDSHAKE:
		return "in the TLS handshake";
	default:
		return "open";
	}
}

bool channel_is_open(const struct channel *channel)
{
	return channel->state == CHANNEL_OPEN;
}

uint64_t channel_source(const struct channel *channel)
{
	return channel->source;
}

uint64_t channel_records(const struct channel *channel)
{
	return tls_records(channel->tls);
}

uint64_t channel_sent(const struct channel *channel)
{
	return channel->sent;
}

uint64_t channel_received(const struct channel *channel)
{
	return channel->received;
}
