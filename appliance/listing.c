#include "appliance/listing.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"

#include <stdio.h>
#include <sys/resource.h>

#define NICE 10
#define PATH_BYTES 512
#define LEFT_NS (2 * CLOCK_NS_PER_S) /* who waits asks fifty times in a second (past_client.c) */

struct listing {
	struct journal_epochs_options options;
	char dirs[JOURNAL_COPIES_MAX][PATH_BYTES];
	uv_thread_t thread;
	uv_async_t async;
	atomic_bool cancelled;
	bool done, closing;
	uint64_t done_ns;
	void (*on_closed)(void *owner);
	void *owner;
	/* the thread's until it has ended */
	struct journal_epochs epochs;
	struct err err;
	int rc;
};

static void run(void *arg)
{
	struct listing *l = arg;

	(void)setpriority(PRIO_PROCESS, 0, NICE); /* of this thread, in Linux */
	l->rc = journal_epochs_read(&l->epochs, &l->options, &l->cancelled, &l->err);
	(void)uv_async_send(&l->async);
}

static void on_async_closed(uv_handle_t *handle)
{
	struct listing *l = handle->data;
	void (*on_closed)(void *) = l->on_closed;
	void *owner = l->owner;

	journal_epochs_free(&l->epochs);
	mem_free(l);
	if (on_closed != NULL)
		on_closed(owner);
}

static void on_done(uv_async_t *async)
{
	struct listing *l = async->data;

	if (l->done)
		return;
	l->done = true;
	l->done_ns = clock_now_ns();
	(void)uv_thread_join(&l->thread);
	if (l->closing)
		uv_close((uv_handle_t *)async, on_async_closed);
}

int listing_open(struct listing **out, uv_loop_t *loop,
		 const struct journal_epochs_options *options, struct err *err)
{
	struct listing *l = mem_zalloc(1, sizeof(*l));
	bool fit = true;
	unsigned i;

	if (l == NULL)
		return err_nomem(err, "a list of epochs");
	l->options = *options;
	for (i = 0; fit && i < options->count; i++) {
		fit = snprintf(l->dirs[i], PATH_BYTES, "%s", options->dirs[i]) < PATH_BYTES;
		l->options.dirs[i] = l->dirs[i];
	}
	l->async.data = l;
	if (!fit || uv_async_init(loop, &l->async, on_done) != 0) {
		mem_free(l);
		return err_nomem(err, "a list of epochs");
	}
	if (uv_thread_create(&l->thread, run, l) != 0) {
		uv_close((uv_handle_t *)&l->async, on_async_closed);
		return err_nomem(err, "a list of epochs");
	}
	*out = l;
	return RC_OK;
}

const struct journal_epochs *listing_result(const struct listing *l, int *rc, struct err *err)
{
	if (!l->done)
		return NULL;
	*rc = l->rc;
	*err = l->err;
	return &l->epochs;
}

bool listing_is_left(const struct listing *l)
{
	return l->done && clock_now_ns() - l->done_ns > LEFT_NS;
}

void listing_close(struct listing *l, void (*on_closed)(void *owner), void *owner)
{
	l->on_closed = on_closed;
	l->owner = owner;
	l->closing = true;
	atomic_store(&l->cancelled, true);
	if (l->done)
		uv_close((uv_handle_t *)&l->async, on_async_closed);
}
