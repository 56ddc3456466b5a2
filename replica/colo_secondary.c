/*
 * Theory of operation
 *
 * One thread reads the socket into chunks (colo_staging.h) and lets colo_stream.c point at the
 * pages in them. Where it waits, and what ends that when colo_secondary_stop() is called:
 *
 *   in the first copy, in a checkpoint   recv()        the socket is shut down
 *   for a chunk, at any time             chunk_get()   the pool is closed meanwhile
 *   draining, between checkpoints,       poll()        on the socket, and an eventfd with commands
 *   after the layout, for colo_secondary_go()
 *
 * Draining follows the end of RAM in the first copy. The device state that comes then has no
 * length; but once QEMU's status is "colo" it has been sent, so the thread reads until the socket
 * is empty and answers READY. Before that QEMU sends nothing more.
 *
 * While the guest stands nothing is given to the loop and no memory is asked for: chunks for as
 * much as the last checkpoint needed and some more are taken before REPLY, where waiting only
 * delays the checkpoint. RECEIVED and LOADED go out in one send. A checkpoint that outgrows its
 * chunks waits for the pool; the owner looks at colo_secondary_held_ns() to bound that.
 *
 * At the end of the first copy it is QEMU that decides when the guest stands. The thread may be far
 * behind then, waiting for chunks at the speed of a slow link; the loop hears of it by an event
 * (colo_secondary_standing()), and what is still to be read goes into chunks kept for that.
 */
#include "replica/colo_secondary.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "replica/colo_outbox.h"
#include "replica/colo_staging.h"
#include "replica/colo_stream.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Chunks: 64 MiB take some 50 ms to copy, as long as a guest should ever stand. */
#define RESERVE_MAX 64

static_assert(CHUNK_BYTES >= 2 * COLO_STREAM_ITEM_MAX,
	      "a chunk takes the piece of an item and the rest of it");

enum command { COMMAND_ENTERED = 1, COMMAND_CHECKPOINT = 2, COMMAND_STOP = 4, COMMAND_GO = 8 };

struct colo_secondary {
	/* Set once. */
	struct colo_secondary_options options;
	struct chunk_pool *pool;
	struct colo_outbox *outbox;
	void *owner;
	int wake; /* eventfd: `commands` has changed */
	uv_thread_t thread;
	struct colo_stream *stream; /* the thread's; its layout is anybody's after on_layout */

	/* Shared. */
	atomic_uint commands;
	atomic_uint granted;
	_Atomic uint64_t held_since_ns; /* 0: not held */
	/* The thread's until the guest stands at the end of the first copy, then the pool's. */
	struct chunk *_Atomic nudge;

	/* The thread's. */
	struct colo_staging staging;
	bool draining, entered;
	struct capture_epoch epoch;
	struct err err;

	/* The loop's. */
	bool stopped;
	void (*on_closed)(void *owner);
};

/* ---- holding the instance ------------------------------------------------------------------ */

static bool is_held(const struct colo_secondary *secondary)
{
	return atomic_load(&secondary->held_since_ns) != 0;
}

/* By the thread; and by the loop before the thread can know, at the end of the first copy. */
static void hold(struct colo_secondary *secondary, bool held)
{
	uint64_t since = 0;

	if (held &&
	    !atomic_compare_exchange_strong(&secondary->held_since_ns, &since, clock_now_ns()))
		return;
	if (!held)
		atomic_store(&secondary->held_since_ns, 0);
	if (secondary->options.hold != NULL)
		secondary->options.hold(secondary->owner, held);
}

/* ---- the loop's side ----------------------------------------------------------------------- */

static void command(struct colo_secondary *secondary, unsigned which)
{
	uint64_t one = 1;

	atomic_fetch_or(&secondary->commands, which);
	if (write(secondary->wake, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN); /* the counter is full, so the thread wakes anyway */
}

void colo_secondary_entered(struct colo_secondary *secondary)
{
	command(secondary, COMMAND_ENTERED);
}

/* The thread may be waiting for a chunk just then; with this one it gets on to those kept ready. */
static void give_nudge(struct colo_secondary *secondary)
{
	struct chunk *nudge = atomic_exchange(&secondary->nudge, NULL);

	if (nudge != NULL)
		chunk_put(nudge);
}

void colo_secondary_standing(struct colo_secondary *secondary)
{
	hold(secondary, true);
	give_nudge(secondary);
}

void colo_secondary_go(struct colo_secondary *secondary)
{
	command(secondary, COMMAND_GO);
}

void colo_secondary_checkpoint(struct colo_secondary *secondary)
{
	command(secondary, COMMAND_CHECKPOINT);
}

uint64_t colo_secondary_held_ns(const struct colo_secondary *secondary)
{
	uint64_t since = atomic_load(&secondary->held_since_ns), now = clock_now_ns();

	return since != 0 && now > since ? now - since : 0;
}

unsigned colo_secondary_granted(const struct colo_secondary *secondary)
{
	return atomic_load(&secondary->granted);
}

size_t colo_secondary_reserve(const struct chunk_pool *pool)
{
	size_t most = colo_staging_ready_max(pool);

	return most < RESERVE_MAX ? most : RESERVE_MAX;
}

/* ---- the socket ---------------------------------------------------------------------------- */

static int send_messages(struct colo_secondary *secondary, const uint32_t *messages, size_t count,
			 struct err *err)
{
	uint8_t bytes[2 * sizeof(uint32_t)];
	size_t len = count * sizeof(uint32_t), i;
	ssize_t r;

	assert(len <= sizeof(bytes));
	for (i = 0; i < count; i++)
		bytes_put_be32(bytes + i * sizeof(uint32_t), messages[i]);
	do {
		r = send(secondary->options.fd, bytes, len, MSG_NOSIGNAL);
	} while (r < 0 && errno == EINTR);
	if (r == (ssize_t)len)
		return RC_OK;
	if (r < 0 && errno != EPIPE && errno != ECONNRESET)
		return err_system(err, errno, "answering QEMU");
	return err_set(err, RC_CLOSED, "QEMU has closed its migration stream");
}

/*
 * Appends to the current chunk, which has room. *got is 0 if MSG_DONTWAIT was given and nothing is
 * there.
 */
static int receive(struct colo_secondary *secondary, int flags, size_t *got, struct err *err)
{
	struct chunk *chunk = secondary->staging.chunk;
	ssize_t r;

	assert(chunk->used < CHUNK_BYTES);
	*got = 0;
	do {
		r = recv(secondary->options.fd, chunk->bytes + chunk->used,
			 CHUNK_BYTES - chunk->used, flags);
	} while (r < 0 && errno == EINTR);
	if (r > 0) {
		*got = (size_t)r;
		chunk->used += *got;
		return RC_OK;
	}
	if (atomic_load(&secondary->commands) & COMMAND_STOP)
		return err_set(err, RC_CANCELLED, "stopped");
	if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && (flags & MSG_DONTWAIT))
		return RC_OK;
	if (r == 0 || errno == ECONNRESET)
		return err_set(err, RC_CLOSED, "QEMU has closed its migration stream");
	return err_system(err, errno, "reading QEMU's migration stream");
}

/* Waits for bytes, the other end's close, or a command; *commands are taken. */
static int wait_any(struct colo_secondary *secondary, unsigned *commands, bool *readable,
		    struct err *err)
{
	struct pollfd fds[2] = { { .fd = secondary->options.fd, .events = POLLIN },
				 { .fd = secondary->wake, .events = POLLIN } };
	uint64_t count;
	int r;

	do {
		r = poll(fds, 2, -1);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return err_system(err, errno, "waiting for QEMU");
	if (fds[1].revents != 0 && read(secondary->wake, &count, sizeof(count)) < 0 &&
	    errno != EAGAIN)
		return err_system(err, errno, "waiting for a command");
	*readable = fds[0].revents != 0;
	*commands = atomic_fetch_and(&secondary->commands,
				     ~(unsigned)(COMMAND_ENTERED | COMMAND_CHECKPOINT));
	if (*commands & COMMAND_STOP)
		return err_set(err, RC_CANCELLED, "stopped");
	return RC_OK;
}

/* ---- what happens on the stream ------------------------------------------------------------ */

/*
 * All of RAM is here and QEMU sends the device state. When it has entered COLO nothing follows
 * before READY.
 */
static int drain(struct colo_secondary *secondary, struct err *err)
{
	static const uint32_t ready[] = { COLO_CHECKPOINT_READY };
	unsigned commands = 0;
	bool readable;
	size_t got = 0;
	int rc = RC_OK;

	if (!secondary->entered)
		rc = wait_any(secondary, &commands, &readable, err);
	if (commands & COMMAND_ENTERED)
		secondary->entered = true;
	if (rc == RC_OK)
		rc = receive(secondary, MSG_DONTWAIT, &got, err);
	if (rc != RC_OK || got > 0 || !secondary->entered)
		return rc;
	secondary->draining = false;
	give_nudge(secondary);
	if (!colo_stream_ready(secondary->stream))
		return err_set(err, RC_STATE, "QEMU has entered COLO before the end of RAM");
	rc = send_messages(secondary, ready, 1, err);
	hold(secondary, false);
	return rc;
}

/*
 * QEMU waits meanwhile with what it has to send, as for a slow link; the guest runs. That it hangs up is
 * noticed.
 */
static int await_go(struct colo_secondary *secondary, struct err *err)
{
	struct pollfd fds[2] = { { .fd = secondary->options.fd, .events = POLLRDHUP },
				 { .fd = secondary->wake, .events = POLLIN } };
	unsigned commands = 0;
	uint64_t count;
	int r;

	while ((commands & (COMMAND_GO | COMMAND_STOP)) == 0) {
		r = poll(fds, 2, -1);
		if (r < 0 && errno != EINTR)
			return err_system(err, errno, "waiting for a command");
		if (r > 0 && fds[1].revents != 0 &&
		    read(secondary->wake, &count, sizeof(count)) < 0 && errno != EAGAIN)
			return err_system(err, errno, "waiting for a command");
		commands = atomic_load(&secondary->commands);
		if (r > 0 && fds[0].revents != 0 && (commands & COMMAND_STOP) == 0)
			return err_set(err, RC_CLOSED, "QEMU has closed its migration stream");
	}
	return commands & COMMAND_STOP ? err_set(err, RC_CANCELLED, "stopped") : RC_OK;
}

static int on_more(struct colo_secondary *secondary, struct err *err)
{
	struct colo_staging *staging = &secondary->staging;
	size_t got;
	int rc;

	if (staging->chunk->npages == 0 && staging->parsed == staging->chunk->used)
		staging->parsed = staging->chunk->used = 0;
	if (staging->chunk->used == CHUNK_BYTES) {
		rc = colo_staging_next(staging, is_held(secondary), err);
		if (rc != RC_OK)
			return rc;
	}
	return secondary->draining ? drain(secondary, err) : receive(secondary, 0, &got, err);
}

/* QEMU is to wait for us now. */
static int nothing_behind(const struct colo_secondary *secondary, const char *what, struct err *err)
{
	if (secondary->staging.chunk->used == secondary->staging.parsed)
		return RC_OK;
	return err_set(err, RC_INVALID, "QEMU's stream goes on behind %s", what);
}

static int on_tail(struct colo_secondary *secondary, const struct colo_event *event,
		   struct err *err)
{
	int rc = nothing_behind(secondary, "a checkpoint", err);

	if (rc != RC_OK)
		return rc;
	secondary->epoch.pages++;
	return colo_staging_add_tail(&secondary->staging, event->index, event->len, err);
}

/* QEMU has asked for a checkpoint and runs the guest: waits for the loop's word. */
static int await_word(struct colo_secondary *secondary, struct err *err)
{
	unsigned commands = 0;
	bool readable;
	size_t got = 0;
	int rc = RC_OK;

	colo_outbox_request(secondary->outbox);
	while (rc == RC_OK && got == 0 && !(commands & COMMAND_CHECKPOINT)) {
		rc = wait_any(secondary, &commands, &readable, err);
		if (rc == RC_OK && readable)
			rc = receive(secondary, MSG_DONTWAIT, &got, err);
	}
	return rc;
}

/* Lets QEMU begin a checkpoint. The first one needs no word: it ends the first copy. */
static int on_request(struct colo_secondary *secondary, struct err *err)
{
	static const uint32_t reply[] = { COLO_CHECKPOINT_REPLY };
	size_t most = colo_staging_ready_max(secondary->pool);
	size_t wanted = secondary->staging.filled + secondary->staging.filled / 4 + 1;
	int rc = nothing_behind(secondary, "the request for a checkpoint", err);

	if (rc == RC_OK && secondary->epoch.epoch != secondary->options.first_epoch) {
		rc = await_word(secondary, err);
		if (rc == RC_OK)
			rc = nothing_behind(secondary, "the request for a checkpoint", err);
	}
	if (rc == RC_OK)
		rc = colo_staging_prepare(&secondary->staging, wanted < most ? wanted : most, err);
	if (rc != RC_OK)
		return rc;
	secondary->staging.filled = 0;
	hold(secondary, true);
	if (secondary->options.hooks.freeze != NULL)
		secondary->options.hooks.freeze(secondary->options.hooks.owner);
	atomic_fetch_add(&secondary->granted, 1);
	return send_messages(secondary, reply, 1, err);
}

static int on_checkpoint(struct colo_secondary *secondary, const struct colo_event *event,
			 struct err *err)
{
	static const uint32_t loaded[] = { COLO_VMSTATE_RECEIVED, COLO_VMSTATE_LOADED };
	const struct capture_hooks *hooks = &secondary->options.hooks;
	int rc = nothing_behind(secondary, "a checkpoint", err);

	if (rc == RC_OK && hooks->may_thaw != NULL && !hooks->may_thaw(hooks->owner))
		rc = err_set(err, RC_STATE,
			     "the instance may not run any more, which was in a checkpoint");
	if (rc == RC_OK && hooks->thaw != NULL)
		hooks->thaw(hooks->owner, secondary->epoch.epoch + 1);
	if (rc == RC_OK)
		rc = send_messages(secondary, loaded, 2, err);
	if (rc != RC_OK)
		return rc;
	secondary->epoch.pause_ns = colo_secondary_held_ns(secondary);
	hold(secondary, false);

	secondary->epoch.device_state_len = (uint32_t)event->len;
	rc = colo_staging_end_epoch(&secondary->staging, &secondary->epoch, err);
	secondary->epoch = (struct capture_epoch){ .epoch = secondary->staging.epoch };
	return rc;
}

static int on_event(struct colo_secondary *secondary, const struct colo_event *event,
		    struct err *err)
{
	switch (event->kind) {
	case COLO_EVENT_MORE:
		return on_more(secondary, err);
	case COLO_EVENT_LAYOUT:
		colo_outbox_layout(secondary->outbox, colo_stream_layout(secondary->stream));
		return secondary->options.wait ? await_go(secondary, err) : RC_OK;
	case COLO_EVENT_STOPPED:
		hold(secondary, true);
		return RC_OK;
	case COLO_EVENT_PAGE:
		colo_staging_add(&secondary->staging, event->index, event->data);
		secondary->epoch.pages++;
		return RC_OK;
	case COLO_EVENT_COPIED:
		secondary->draining = true;
		return RC_OK;
	case COLO_EVENT_REQUEST:
		return on_request(secondary, err);
	case COLO_EVENT_TAIL:
		return on_tail(secondary, event, err);
	case COLO_EVENT_CHECKPOINT:
		return on_checkpoint(secondary, event, err);
	}
	return RC_OK;
}

/* The first chunk, and those for the end of the first copy. */
static int get_chunks(struct colo_secondary *secondary, struct err *err)
{
	struct colo_staging *staging = &secondary->staging;
	int rc = colo_staging_begin(staging, err);

	if (rc == RC_OK)
		rc = colo_staging_prepare(staging, colo_secondary_reserve(secondary->pool), err);
	if (rc == RC_OK)
		atomic_store(&secondary->nudge, chunk_list_take(&staging->ready));
	return rc;
}

static int read_stream(struct colo_secondary *secondary, struct err *err)
{
	struct colo_staging *staging = &secondary->staging;
	int rc = get_chunks(secondary, err);
	struct colo_event event;
	struct cursor in;

	while (rc == RC_OK) {
		if (staging->chunk->npages == CHUNK_PAGES) {
			rc = colo_staging_next(staging, is_held(secondary), err);
			if (rc != RC_OK)
				break;
		}
		in = cursor_of(staging->chunk->bytes + staging->parsed,
			       staging->chunk->used - staging->parsed);
		rc = colo_stream_next(secondary->stream, &in, &event, err);
		if (rc != RC_OK)
			break;
		staging->parsed = staging->chunk->used - in.left;
		rc = on_event(secondary, &event, err);
	}
	return rc;
}

static void run(void *arg)
{
	struct colo_secondary *secondary = arg;

	(void)pthread_setname_np(pthread_self(), "capture");
	if (read_stream(secondary, &secondary->err) != RC_CANCELLED)
		colo_outbox_ended(secondary->outbox, &secondary->err);
}

/* ---- life ---------------------------------------------------------------------------------- */

static void free_secondary(struct colo_secondary *secondary)
{
	if (secondary->wake >= 0)
		(void)close(secondary->wake);
	colo_stream_destroy(secondary->stream);
	mem_free(secondary);
}

static void on_outbox_closed(void *owner)
{
	struct colo_secondary *secondary = owner;
	void (*on_closed)(void *owner) = secondary->on_closed;
	void *closed = secondary->owner;

	free_secondary(secondary);
	if (on_closed != NULL)
		on_closed(closed);
}

static int start(struct colo_secondary *secondary, uv_loop_t *loop,
		 const struct colo_secondary_ops *ops, struct err *err)
{
	int rc, r;

	secondary->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (secondary->wake < 0)
		return err_system(err, errno, "eventfd");
	rc = colo_stream_create(&secondary->stream, err);
	if (rc != RC_OK)
		return rc;
	rc = colo_outbox_create(&secondary->outbox, loop, ops, secondary->owner, err);
	if (rc != RC_OK)
		return rc;
	secondary->staging.pool = secondary->pool;
	secondary->staging.outbox = secondary->outbox;
	secondary->staging.epoch = secondary->options.first_epoch;
	r = uv_thread_create(&secondary->thread, run, secondary);
	if (r == 0)
		return RC_OK;
	colo_outbox_close(secondary->outbox, NULL, NULL);
	return err_set(err, RC_IO, "capture thread: %s", uv_strerror(r));
}

int colo_secondary_start(struct colo_secondary **out, uv_loop_t *loop, struct chunk_pool *pool,
			 const struct colo_secondary_options *options,
			 const struct colo_secondary_ops *ops, void *owner, struct err *err)
{
	struct colo_secondary *secondary = mem_zalloc(1, sizeof(*secondary));
	int rc;

	if (secondary == NULL)
		return err_nomem(err, "COLO secondary");
	secondary->options = *options;
	secondary->pool = pool;
	secondary->owner = owner;
	secondary->epoch.epoch = options->first_epoch;
	rc = start(secondary, loop, ops, err);
	if (rc != RC_OK)
		free_secondary(secondary);
	else
		*out = secondary;
	return rc;
}

void colo_secondary_stop(struct colo_secondary *secondary)
{
	if (secondary->stopped)
		return;
	secondary->stopped = true;
	colo_outbox_mute(secondary->outbox);
	command(secondary, COMMAND_STOP);
	(void)shutdown(secondary->options.fd, SHUT_RDWR);
	chunk_pool_close(secondary->pool);
	(void)uv_thread_join(&secondary->thread);
	chunk_pool_open(secondary->pool);

	give_nudge(secondary);
	colo_staging_end(&secondary->staging);
	(void)close(secondary->options.fd);
}

void colo_secondary_close(struct colo_secondary *secondary, void (*on_closed)(void *owner))
{
	assert(secondary->stopped);
	secondary->on_closed = on_closed;
	colo_outbox_close(secondary->outbox, on_outbox_closed, secondary);
}
