/*
 * The end: state CHANNEL_ENDING is entered once, by the owner (channel_end()) or by an error
 * (channel_fail()). What was written and TLS's goodbye are flushed, then our direction is closed,
 * and what still comes is thrown away until the peer closes too or CHANNEL_LINGER_MS are over:
 * closing with unread bytes would make the kernel send a reset, and that can overtake our last
 * words at the peer. For the same reason a failed write is not reported before what the peer had
 * said was read.
 */
#include "net/channel_internal.h"

#include "appliance/base/mem.h"

#include <assert.h>

static void on_closed(uv_handle_t *handle)
{
	struct channel *channel = handle->data;
	const struct channel_ops *ops = channel->ops;
	void *owner = channel->owner;

	if (--channel->handles > 0)
		return;
	tls_destroy(channel->tls);
	buf_free(&channel->chunks[0].data);
	buf_free(&channel->chunks[1].data);
	mem_free(channel->input);
	mem_free(channel);
	if (ops != NULL)
		ops->on_gone(owner);
}

void channel_close(struct channel *channel)
{
	if (channel->state == CHANNEL_CLOSING)
		return;
	channel->state = CHANNEL_CLOSING;
	uv_close((uv_handle_t *)&channel->tcp, on_closed);
	uv_close((uv_handle_t *)&channel->linger, on_closed);
	uv_close((uv_handle_t *)&channel->wake, on_closed);
}

static void on_shut(uv_shutdown_t *request, int status)
{
	struct channel *channel = request->data;

	channel->shut = true;
	if (status != 0 || channel->peer_ended)
		channel_close(channel);
}

/*
 * Everything handed over: close our direction. The peer's end, if it did not come yet, or the
 * timer does the rest.
 */
void channel_go_on_ending(struct channel *channel)
{
	struct err ignored;

	if (channel->shutting)
		return;
	if (channel_flush(channel, &ignored) != RC_OK || channel->broken.code != RC_OK) {
		channel_close(channel);
		return;
	}
	if (tls_output(channel->tls)->len > 0)
		return; /* both chunks are busy: on_written() comes back here */
	channel->shutting = true;
	if (uv_shutdown(&channel->shutdown, (uv_stream_t *)&channel->tcp, on_shut) != 0)
		channel_close(channel);
}

static void begin_ending(struct channel *channel)
{
	bool connected = channel->state != CHANNEL_CONNECTING;

	channel->state = CHANNEL_ENDING;
	(void)uv_idle_stop(&channel->wake);
	if (!connected) {
		channel_close(channel);
		return;
	}
	tls_shutdown(channel->tls);
	(void)uv_timer_start(&channel->linger, channel_on_linger, CHANNEL_LINGER_MS, 0);
	channel_go_on_ending(channel);
}

void channel_fail(struct channel *channel, struct err *err)
{
	assert(channel->state < CHANNEL_ENDING);
	begin_ending(channel);
	(void)err_prefix(err, "%s: ", channel->address);
	channel->ops->on_end(channel->owner, err);
}

void channel_end(struct channel *channel)
{
	if (channel->state < CHANNEL_ENDING)
		begin_ending(channel);
}

void channel_on_linger(uv_timer_t *timer)
{
	struct channel *channel = timer->data;
	struct err err = channel->broken;

	if (channel->state < CHANNEL_ENDING)
		channel_fail(channel, &err);
	channel_close(channel);
}
