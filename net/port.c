/*
 * Theory of operation
 *
 * The descriptor is watched for reading all the time, for writing while frames are queued. The
 * queue is a frame_queue whose key counts frames, so that its head can be taken alone. A port that
 * is closed from its own callback is freed when libuv has let go of it.
 *
 * A device that goes leaves its descriptor in error, and libuv, which cannot tell that from a bad
 * descriptor, stops to watch it and says so once. So there is no busy loop: the descriptor is closed
 * at once, and the timer, which otherwise looks whether the device is up, opens another one. A
 * socket's error is over when it has been read, and it is watched again; that its name was removed
 * only the timer sees.
 */
#include "net/port_internal.h"

#include "appliance/base/mem.h"
#include "net/frames.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static uint8_t buffers[PORT_BATCH][FRAMES_LEN_MAX + 1];

uint8_t *port_buffer(unsigned index)
{
	return buffers[index];
}

int port_create(struct port **out, const struct port_kind *kind, const struct port_ops *ops,
		void *owner, struct err *err)
{
	struct port *port = mem_zalloc(1, sizeof(*port));

	if (port == NULL)
		return err_nomem(err, "a port");
	port->kind = kind;
	port->ops = ops;
	port->owner = owner;
	port->fd = port->news = -1;
	port->queue.limit = PORT_QUEUE_BYTES;
	if (kind->send_merged != NULL) {
		port->merge = mem_zalloc(1, sizeof(*port->merge));
		if (port->merge == NULL) {
			mem_free(port);
			return err_nomem(err, "a port");
		}
	}
	*out = port;
	return RC_OK;
}

static void count_in(struct port *port, const struct port_frame *frames, size_t count)
{
	size_t i;

	port->counters.frames_in += count;
	for (i = 0; i < count; i++)
		port->counters.bytes_in += frames[i].len;
}

static void on_readable(struct port *port)
{
	struct port_frame frames[PORT_BATCH];
	size_t count = port->kind->receive(port, frames);

	if (count == 0)
		return;
	count_in(port, frames, count);
	port->ops->on_frames(port->owner, frames, count);
}

static void watch(struct port *port);

static bool may_leave(const struct port *port)
{
	return port->ops->may_leave == NULL || port->ops->may_leave(port->owner);
}

static bool send_now(struct port *port, const uint8_t *frame, size_t len, bool *again)
{
	int error = may_leave(port) ? port->kind->send(port, frame, len) : EPERM;

	*again = error == EAGAIN || error == ENOBUFS;
	if (error == 0) {
		port->counters.frames_out++;
		port->counters.bytes_out += len;
	} else if (!*again) {
		port->counters.dropped++;
	}
	return error == 0;
}

static void on_writable(struct port *port)
{
	const uint8_t *frame;
	bool again = false;
	size_t len;

	while (!again && (frame = frame_queue_peek(&port->queue, &len)) != NULL) {
		(void)send_now(port, frame, len, &again);
		if (!again)
			frame_queue_pop(&port->queue);
	}
	if (!again)
		watch(port);
}

static void tell(struct port *port, const char *fault)
{
	if (strcmp(port->fault, fault) == 0)
		return;
	(void)snprintf(port->fault, sizeof(port->fault), "%s", fault);
	if (port->ops->on_fault != NULL)
		port->ops->on_fault(port->owner, port->fault);
}

static void on_closed(uv_handle_t *handle)
{
	struct port *port = handle->data;

	if (--port->handles > 0 || !port->closing)
		return;
	mem_free(port->merge);
	mem_free(port);
}

static void let_go(struct port *port)
{
	if (port->fd < 0)
		return;
	uv_close((uv_handle_t *)&port->poll, on_closed);
	(void)close(port->fd);
	port->fd = -1;
}

void port_lose(struct port *port)
{
	port->counters.dropped += frame_queue_clear(&port->queue);
	let_go(port);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct port *port = poll->data;
	struct err err;

	if (status < 0 && port->kind->gone != NULL) {
		(void)port->kind->gone(port, &err);
		tell(port, err.text);
		return;
	}
	if (events & UV_WRITABLE)
		on_writable(port);
	if (!port->closing && (events & UV_READABLE || status < 0))
		on_readable(port);
	if (!port->closing && status < 0)
		watch(port);
}

static void on_look(uv_timer_t *timer)
{
	struct port *port = timer->data;
	struct err err = { 0 };

	tell(port, port->kind->look(port, &err) == RC_OK ? "" : err.text);
}

static void watch(struct port *port)
{
	int events = UV_READABLE | (port->queue.frames > 0 ? UV_WRITABLE : 0);

	(void)uv_poll_start(&port->poll, events, on_poll);
}

int port_watch(struct port *port, struct err *err)
{
	int r = uv_poll_init(port->loop, &port->poll, port->fd);

	if (r != 0)
		return err_set(err, RC_IO, "watching a port: %s", uv_strerror(r));
	port->poll.data = port;
	port->handles++;
	watch(port);
	return RC_OK;
}

int port_start(struct port *port, uv_loop_t *loop, struct err *err)
{
	int rc;

	port->loop = loop;
	rc = port_watch(port, err);
	if (rc != RC_OK)
		return rc;
	(void)uv_timer_init(loop, &port->timer);
	port->timer.data = port;
	port->handles++;
	(void)uv_timer_start(&port->timer, on_look, PORT_LOOK_MS, PORT_LOOK_MS);
	return RC_OK;
}

void port_discard(struct port *port)
{
	if (port->fd >= 0)
		(void)close(port->fd);
	mem_free(port->merge);
	mem_free(port);
}

static bool send_alone(struct port *port, const uint8_t *frame, size_t len)
{
	bool waiting = port->queue.frames > 0, again = false;

	if (!waiting && send_now(port, frame, len, &again))
		return true;
	if (!waiting && !again)
		return false;
	if (!frame_queue_add_one(&port->queue, frame, len)) {
		port->counters.dropped++;
		return false;
	}
	if (!waiting)
		watch(port);
	return true;
}

/* Sends what was merged. A large frame that is not taken at once is lost, as in a switch. */
static void send_merged(struct port *port)
{
	struct tcp_merge *merge = port->merge;

	if (merge->count == 1) {
		(void)send_alone(port, merge->bytes, merge->len);
	} else if (merge->count > 1) {
		if (!may_leave(port) || port->kind->send_merged(port, merge) != 0) {
			port->counters.dropped += merge->count;
		} else {
			port->counters.frames_out += merge->count;
			port->counters.bytes_out += merge->len;
		}
	}
	merge->count = 0;
}

bool port_send(struct port *port, const uint8_t *frame, size_t len)
{
	if (!port->corked)
		return send_alone(port, frame, len);
	if (tcp_merge_add(port->merge, frame, len))
		return true;
	send_merged(port);
	return (port->queue.frames == 0 && tcp_merge_begin(port->merge, frame, len)) ||
	       send_alone(port, frame, len);
}

void port_cork(struct port *port)
{
	port->corked = port->merge != NULL;
}

void port_uncork(struct port *port)
{
	if (port->corked)
		send_merged(port);
	port->corked = false;
}

size_t port_queued(const struct port *port)
{
	return (size_t)port->queue.frames;
}

void port_reconnect(struct port *port)
{
	if (port->kind->reconnect != NULL)
		port->kind->reconnect(port);
}

struct port_counters port_counters(const struct port *port)
{
	return port->counters;
}

const char *port_fault(const struct port *port)
{
	return port->fault;
}

void port_close(struct port *port)
{
	assert(!port->closing);
	port->closing = true;
	(void)frame_queue_clear(&port->queue);
	uv_close((uv_handle_t *)&port->timer, on_closed);
	port->kind->close(port);
	let_go(port);
}
