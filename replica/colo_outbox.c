#include "replica/colo_outbox.h"

#include "appliance/base/mem.h"
#include "replica/colo_secondary.h"

#include <assert.h>

struct contents {
	const struct layout *layout;
	struct chunk_list chunks;
	bool epoch_done, request, ended;
	struct capture_epoch epoch;
	struct err err;
};

struct colo_outbox {
	const struct colo_secondary_ops *ops;
	void *owner;
	uv_async_t async;
	uv_mutex_t lock;
	struct contents contents; /* under the lock */
	bool muted;
	void (*on_closed)(void *owner);
	void *on_closed_owner;
};

static struct contents take_all(struct colo_outbox *outbox)
{
	struct contents all;

	uv_mutex_lock(&outbox->lock);
	all = outbox->contents;
	outbox->contents = (struct contents){ 0 };
	uv_mutex_unlock(&outbox->lock);
	return all;
}

static void deliver(uv_async_t *async)
{
	struct colo_outbox *outbox = async->data;
	struct contents all = take_all(outbox);
	struct chunk *chunk;

	if (all.layout != NULL && !outbox->muted)
		outbox->ops->on_layout(outbox->owner, all.layout);
	while (!outbox->muted && (chunk = chunk_list_take(&all.chunks)) != NULL)
		outbox->ops->on_chunk(outbox->owner, chunk);
	if (all.epoch_done && !outbox->muted)
		outbox->ops->on_epoch(outbox->owner, &all.epoch);
	if (all.request && !outbox->muted)
		outbox->ops->on_request(outbox->owner);
	if (all.ended && !outbox->muted)
		outbox->ops->on_ended(outbox->owner, &all.err);
	chunk_list_return(&all.chunks);
}

int colo_outbox_create(struct colo_outbox **out, uv_loop_t *loop,
		       const struct colo_secondary_ops *ops, void *owner, struct err *err)
{
	struct colo_outbox *outbox = mem_zalloc(1, sizeof(*outbox));
	int r;

	if (outbox == NULL)
		return err_nomem(err, "capture outbox");
	outbox->ops = ops;
	outbox->owner = owner;
	r = uv_mutex_init(&outbox->lock);
	if (r != 0) {
		mem_free(outbox);
		return err_set(err, RC_IO, "capture outbox: %s", uv_strerror(r));
	}
	r = uv_async_init(loop, &outbox->async, deliver);
	if (r != 0) {
		uv_mutex_destroy(&outbox->lock);
		mem_free(outbox);
		return err_set(err, RC_IO, "capture outbox: %s", uv_strerror(r));
	}
	outbox->async.data = outbox;
	*out = outbox;
	return RC_OK;
}

void colo_outbox_layout(struct colo_outbox *outbox, const struct layout *layout)
{
	uv_mutex_lock(&outbox->lock);
	outbox->contents.layout = layout;
	uv_mutex_unlock(&outbox->lock);
	(void)uv_async_send(&outbox->async);
}

void colo_outbox_chunks(struct colo_outbox *outbox, struct chunk_list *chunks)
{
	uv_mutex_lock(&outbox->lock);
	chunk_list_move(&outbox->contents.chunks, chunks);
	uv_mutex_unlock(&outbox->lock);
	(void)uv_async_send(&outbox->async);
}

void colo_outbox_epoch(struct colo_outbox *outbox, struct chunk_list *chunks,
		       const struct capture_epoch *epoch)
{
	uv_mutex_lock(&outbox->lock);
	assert(!outbox->contents.epoch_done);
	chunk_list_move(&outbox->contents.chunks, chunks);
	outbox->contents.epoch_done = true;
	outbox->contents.epoch = *epoch;
	uv_mutex_unlock(&outbox->lock);
	(void)uv_async_send(&outbox->async);
}

void colo_outbox_request(struct colo_outbox *outbox)
{
	uv_mutex_lock(&outbox->lock);
	outbox->contents.request = true;
	uv_mutex_unlock(&outbox->lock);
	(void)uv_async_send(&outbox->async);
}

void colo_outbox_ended(struct colo_outbox *outbox, const struct err *err)
{
	uv_mutex_lock(&outbox->lock);
	outbox->contents.ended = true;
	outbox->contents.err = *err;
	uv_mutex_unlock(&outbox->lock);
	(void)uv_async_send(&outbox->async);
}

void colo_outbox_mute(struct colo_outbox *outbox)
{
	outbox->muted = true;
}

static void on_async_closed(uv_handle_t *handle)
{
	struct colo_outbox *outbox = handle->data;
	void (*on_closed)(void *owner) = outbox->on_closed;
	void *owner = outbox->on_closed_owner;
	struct contents rest = take_all(outbox);

	chunk_list_return(&rest.chunks);
	uv_mutex_destroy(&outbox->lock);
	mem_free(outbox);
	if (on_closed != NULL)
		on_closed(owner);
}

void colo_outbox_close(struct colo_outbox *outbox, void (*on_closed)(void *owner), void *owner)
{
	outbox->muted = true;
	outbox->on_closed = on_closed;
	outbox->on_closed_owner = owner;
	uv_close((uv_handle_t *)&outbox->async, on_async_closed);
}
