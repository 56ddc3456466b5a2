/*
 * Why through the replica's QEMU: it has all the drivers, it has the target open (some let themselves be opened once only), and
 * when it is activated, nothing has to be opened, or handed over. It stops exporting, which takes less than a
 * millisecond, and goes on with what its own node has seen.
 *
 * Connected when the first page is asked for, and again after the connection was lost: a QEMU that ended is started
 * again. With the connection comes what of the target is zero; whoever asks for a page waits for that.
 *
 * Writes are pipelined, and neighbours sent as one; settle() waits for them. At the end of an epoch a flush is sent after
 * them, which nobody waits for: so what an epoch brought is durable at the target a moment later, and what that would
 * lose until then is known (`written`, `flushed`). If QEMU ends with such writes, it may have taken them with it, and so may a
 * target: then the image is lost, and a resync brings it back.
 *
 * A write without an answer may be carried out at any later time: QEMU, which waits for a server that hangs, does not forget it with
 * the connection that it came by, nor does it keep the order between two connections. So a client that failed is kept
 * until each of its writes has an answer, or QEMU has ended, and no other is opened before that: the target fails. What a server
 * still does for a QEMU that has ended is its own affair, as it is for whoever uses it.
 *
 * A target that loses what it has answered and not flushed, and is there again before the flush comes, is not
 * noticed.
 */
#include "replica/image_target.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "net/nbd_client.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#define CONNECT_MS 30000 /* for QEMU to be there: it is started again after a second */
/* The same if it has not been there yet: after a power cut, say, the store comes late. */
#define FIRST_MS 600000
#define ANSWER_MS 30000		 /* a target that is slower than that is as good as gone */
#define AGAIN_NS 20000000	 /* between two tries to connect */
#define FAILED_NS CLOCK_NS_PER_S /* nothing is tried for so long after a failure */
#define RUN_PAGES 64		 /* neighbours that are written, or read ahead, as one */
#define ZERO_PAGES ((uint64_t)8192)

struct image_target {
	uv_mutex_t lock; /* of all but what is atomic */
	struct nbd_client *client;
	struct nbd_client *former; /* it failed, and what it was told may still be carried out */
	char *socket, *export;
	atomic_bool give_up;
	bool was_there;
	_Atomic uint64_t written, flushed; /* counts of writes: made; known to be durable */
	uint64_t flush_at;		   /* what the open flush covers */
	bool flushing;
	uint64_t run, run_pages; /* not sent yet */
	uint8_t *run_data;
	struct err why; /* it failed, at */
	uint64_t failed_ns;
	uint64_t window, window_pages, next; /* read ahead; the page that would follow */
	uint8_t *window_data;
};

static uint64_t length_of(const struct image_block *block, uint64_t page, uint64_t count)
{
	const uint64_t left = block->bytes - page * LAYOUT_PAGE;

	return left < count * LAYOUT_PAGE ? left : count * LAYOUT_PAGE;
}

/* ---- the connection -------------------------------------------------------------------------- */

static void disconnect(struct image_target *target)
{
	nbd_client_close(target->client);
	nbd_client_close(target->former);
	target->client = target->former = NULL;
	target->flushing = false;
	target->run_pages = target->window_pages = 0;
}

/* The client is of no use any more. */
static void set_aside(struct image_target *target)
{
	struct nbd_client *former = target->client;

	target->client = NULL;
	disconnect(target); /* there is no former one while there is a client */
	target->former = former;
}

/* What a former client was told is over, so that it cannot come after what the next one writes. */
static bool is_over(struct image_target *target)
{
	if (target->former != NULL && nbd_client_is_quiet(target->former)) {
		nbd_client_close(target->former);
		target->former = NULL;
	}
	return target->former == NULL;
}

/* The connection is of no use any more: what is in doubt is found out anew with the next one. */
static int failed(const struct image_block *block, struct err *err)
{
	struct image_target *target = block->target;

	set_aside(target);
	if (err->code != RC_CANCELLED)
		err->code = RC_IO;
	(void)err_prefix(err, "%s: ", block->path);
	target->why = *err;
	target->failed_ns = clock_now_ns();
	return (int)err->code;
}

static void on_data(void *owner, uint64_t offset, uint64_t len)
{
	struct image_block *block = owner;
	uint64_t page;

	for (page = offset / LAYOUT_PAGE; page * LAYOUT_PAGE < offset + len; page++)
		image_block_holds(block, page);
}

static int try_to_connect(struct image_block *block, struct err *err)
{
	struct image_target *target = block->target;
	const struct nbd_client_options options = { .socket = target->socket,
						    .name = target->export,
						    .timeout_ms = ANSWER_MS,
						    .cancel = &target->give_up };
	int rc = nbd_client_open(&target->client, &options, err);

	if (rc == RC_OK && nbd_client_bytes(target->client) != block->bytes)
		rc = err_set(err, RC_REFUSED, "has %" PRIu64 " bytes, the instance's disk %" PRIu64,
			     nbd_client_bytes(target->client), block->bytes);
	return rc == RC_OK ?
		       nbd_client_extents(target->client, 0, block->bytes, on_data, block, err) :
		       rc;
}

static int connect_to(struct image_block *block, struct err *err)
{
	const struct timespec pause = { .tv_nsec = AGAIN_NS };
	struct image_target *target = block->target;
	const uint64_t until_ns =
		clock_now_ns() + (target->was_there ? CONNECT_MS : FIRST_MS) * CLOCK_NS_PER_MS;
	int rc;

	if (target->client != NULL)
		return RC_OK;
	if (target->failed_ns != 0 && clock_now_ns() - target->failed_ns < FAILED_NS) {
		*err = target->why; /* thousands of pages may be asked for */
		return (int)err->code;
	}
	if (!is_over(target))
		return err_set(err, RC_IO, "%s: what it was told to write has no answer yet",
			       block->path);
	for (;;) {
		rc = try_to_connect(block, err);
		target->was_there = target->was_there || rc != RC_CLOSED;
		if (rc == RC_OK)
			return RC_OK;
		disconnect(target);
		if (rc != RC_CLOSED || clock_now_ns() > until_ns)
			return failed(block, err);
		if (atomic_load(&target->give_up)) {
			(void)err_set(err, RC_CANCELLED, "given up");
			return failed(block, err);
		}
		(void)nanosleep(&pause, NULL);
	}
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool overlaps(uint64_t first, uint64_t count, uint64_t other, uint64_t others)
{
	return first < other + others && other < first + count;
}

static int send_run(struct image_block *block, struct err *err)
{
	struct image_target *target = block->target;
	const uint64_t count = target->run_pages;

	target->run_pages = 0;
	if (count == 0)
		return RC_OK;
	return nbd_client_write(target->client, target->run * LAYOUT_PAGE, target->run_data,
				(size_t)length_of(block, target->run, count), err);
}

static int add_to_run(struct image_block *block, uint64_t page, const uint8_t *data,
		      struct err *err)
{
	struct image_target *target = block->target;
	int rc = RC_OK;

	if (target->run_pages == RUN_PAGES || page != target->run + target->run_pages)
		rc = send_run(block, err);
	if (rc != RC_OK)
		return rc;
	if (target->run_pages == 0)
		target->run = page;
	memcpy(target->run_data + target->run_pages * LAYOUT_PAGE, data, LAYOUT_PAGE);
	target->run_pages++;
	return RC_OK;
}

static void will_change(struct image_target *target, uint64_t page, uint64_t count)
{
	atomic_fetch_add(&target->written, 1);
	if (overlaps(page, count, target->window, target->window_pages))
		target->window_pages = 0;
}

static int target_write(struct image_block *block, uint64_t page, const uint8_t *data,
			struct err *err)
{
	struct image_target *target = block->target;
	int rc;

	uv_mutex_lock(&target->lock);
	rc = connect_to(block, err);
	if (rc == RC_OK) {
		will_change(target, page, 1);
		rc = add_to_run(block, page, data, err);
		if (rc != RC_OK)
			(void)failed(block, err);
	}
	uv_mutex_unlock(&target->lock);
	return rc;
}

static int target_zero(struct image_block *block, uint64_t page, uint64_t count, bool *punched,
		       struct err *err)
{
	struct image_target *target = block->target;
	uint64_t part;
	int rc;

	uv_mutex_lock(&target->lock);
	rc = connect_to(block, err);
	if (rc == RC_OK) {
		will_change(target, page, count);
		rc = send_run(block, err);
		for (; rc == RC_OK && count > 0; page += part, count -= part) {
			part = count < ZERO_PAGES ? count : ZERO_PAGES;
			rc = nbd_client_zero(target->client, page * LAYOUT_PAGE,
					     (size_t)length_of(block, page, part), err);
		}
		if (rc != RC_OK)
			(void)failed(block, err);
	}
	uv_mutex_unlock(&target->lock);
	*punched = rc == RC_OK;
	return rc;
}

/* A target tells that it is full when it is written to, and not before. */
static int target_reserve(struct image_block *block, uint64_t page, struct err *err)
{
	(void)block;
	(void)page;
	(void)err;
	return RC_OK;
}

/* What the open flush has made durable, if it is answered; one that failed nothing, and the next use of the client tells of it. */
static void look_at_flush(struct image_target *target)
{
	if (!target->flushing || nbd_client_is_flushing(target->client))
		return;
	target->flushing = false;
	if (!nbd_client_is_broken(target->client))
		atomic_store(&target->flushed, target->flush_at);
}

static int flush(struct image_target *target, struct err *err)
{
	look_at_flush(target);
	if (target->flushing || atomic_load(&target->flushed) == atomic_load(&target->written))
		return RC_OK;
	target->flush_at = atomic_load(&target->written);
	target->flushing = true;
	return nbd_client_flush(target->client, err);
}

static int target_settle(struct image_block *block, bool durable, struct err *err)
{
	struct image_target *target = block->target;
	int rc = RC_OK;

	uv_mutex_lock(&target->lock);
	if (target->client != NULL) {
		rc = send_run(block, err);
		if (rc == RC_OK)
			rc = nbd_client_settle(target->client, err);
		if (rc == RC_OK && durable)
			rc = flush(target, err);
		if (rc != RC_OK)
			(void)failed(block, err);
	}
	uv_mutex_unlock(&target->lock);
	return rc;
}

/* ---- reading --------------------------------------------------------------------------------- */

static int fill_window(struct image_block *block, uint64_t page, struct err *err)
{
	struct image_target *target = block->target;
	const bool in_order = page == target->next;
	const uint64_t left = block->pages - page;
	const uint64_t count = !in_order ? 1 : left < RUN_PAGES ? left : RUN_PAGES;
	const uint64_t len = length_of(block, page, count);
	int rc = send_run(block, err);

	target->window_pages = 0;
	memset(target->window_data + (count - 1) * LAYOUT_PAGE, 0, LAYOUT_PAGE);
	if (rc == RC_OK)
		rc = nbd_client_read(target->client, page * LAYOUT_PAGE, target->window_data,
				     (size_t)len, err);
	if (rc == RC_OK) {
		target->window = page;
		target->window_pages = count;
	}
	return rc;
}

static int target_read(struct image_block *block, uint64_t page, uint8_t *room, struct err *err)
{
	struct image_target *target = block->target;
	int rc;

	uv_mutex_lock(&target->lock);
	rc = connect_to(block, err);
	if (rc == RC_OK && !overlaps(page, 1, target->window, target->window_pages)) {
		rc = fill_window(block, page, err);
		if (rc != RC_OK)
			(void)failed(block, err);
	}
	if (rc == RC_OK)
		memcpy(room, target->window_data + (page - target->window) * LAYOUT_PAGE,
		       LAYOUT_PAGE);
	target->next = page + 1;
	uv_mutex_unlock(&target->lock);
	return rc;
}

int image_target_peek(struct image_block *block, uint64_t page, uint8_t *room, struct err *err)
{
	struct image_target *target = block->target;
	int rc = RC_STATE;

	if (uv_mutex_trylock(&target->lock) != 0)
		return err_set(err, RC_STATE, "%s: is in use", block->path);
	if (target->client == NULL) {
		(void)err_set(err, RC_STATE, "%s: is not connected", block->path);
	} else {
		target->window_pages = 0;
		rc = fill_window(block, page, err);
		if (rc != RC_OK)
			(void)failed(block, err);
	}
	if (rc == RC_OK)
		memcpy(room, target->window_data + (page - target->window) * LAYOUT_PAGE,
		       LAYOUT_PAGE);
	uv_mutex_unlock(&target->lock);
	return rc;
}

static int target_ready(struct image_block *block, struct err *err)
{
	struct image_target *target = block->target;
	int rc;

	uv_mutex_lock(&target->lock);
	rc = connect_to(block, err);
	uv_mutex_unlock(&target->lock);
	return rc;
}

static void target_prefetch(struct image_block *block, uint64_t page, uint64_t count)
{
	(void)block;
	(void)page;
	(void)count;
}

/* ---- life ------------------------------------------------------------------------------------ */

bool image_target_lost(struct image_block *block)
{
	struct image_target *target = block->target;
	bool lost;

	/* Somebody is at it: what he writes now is lost, and he will be told. */
	if (uv_mutex_trylock(&target->lock) != 0)
		return atomic_load(&target->flushed) != atomic_load(&target->written);
	if (target->client != NULL)
		look_at_flush(target);
	disconnect(target);
	target->failed_ns = 0; /* that was of the former one */
	lost = atomic_load(&target->flushed) != atomic_load(&target->written);
	atomic_store(&target->flushed, atomic_load(&target->written));
	uv_mutex_unlock(&target->lock);
	return lost;
}

void image_target_give_up(struct image_block *block)
{
	atomic_store(&((struct image_target *)block->target)->give_up, true);
}

static void target_close(struct image_block *block)
{
	struct image_target *target = block->target;

	disconnect(target);
	uv_mutex_destroy(&target->lock);
	mem_free(target->socket);
	mem_free(target->export);
	mem_free(target->run_data);
	mem_free(target->window_data);
	mem_free(target);
	block->target = NULL;
}

int image_target_open(struct image_block *block, const char *socket, const char *export,
		      struct err *err)
{
	struct image_target *target = mem_zalloc(1, sizeof(*target));

	if (target == NULL || uv_mutex_init(&target->lock) != 0) {
		mem_free(target);
		return err_nomem(err, "a disk's target");
	}
	target->socket = mem_strdup(socket);
	target->export = mem_strdup(export);
	target->run_data = mem_alloc(RUN_PAGES * LAYOUT_PAGE);
	target->window_data = mem_alloc(RUN_PAGES * LAYOUT_PAGE);
	block->target = target;
	block->disk = &image_target_ops;
	if (target->socket == NULL || target->export == NULL || target->run_data == NULL ||
	    target->window_data == NULL)
		return err_nomem(err, "a disk's target"); /* image_block_close() */
	return RC_OK;
}

const struct image_disk_ops image_target_ops = {
	.ready = target_ready,
	.read = target_read,
	.write = target_write,
	.reserve = target_reserve,
	.zero = target_zero,
	.prefetch = target_prefetch,
	.settle = target_settle,
	.close = target_close,
};
