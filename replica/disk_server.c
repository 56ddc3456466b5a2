/*
 * Theory of operation
 *
 * The thread runs a loop with the NBD servers and nothing else. What it has to say (chunks are full, a write
 * could not be kept) wakes the owner's loop (`news`), which asks. A failure is there to be asked for before
 * the write is answered: so whoever asks after the instance has been stopped knows of all that came before.
 *
 * Nothing here waits for the owner's loop but a write of the first copy that finds the pool nearly full: the
 * loop has not had its turn since it was half full, in which it would have told the mirror to pause.
 *
 * At its end the servers are closed by their own thread, which is joined by the owner's loop.
 */
#include "replica/disk_server.h"

#include "appliance/base/mem.h"
#include "net/nbd_server.h"
#include "replica/disk_job.h"
#include "replica/layout.h"

#include <assert.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Of the pool, in eighths: more than the loop lets it become. */
#define NEARLY_FULL 6

struct disk {
	struct disk_server *server;
	const char *name;
	struct disk_extent extent;
	struct nbd_server *nbd;
	/* Under the lock. */
	unsigned connection; /* the mirror's number; 0: it has ended */
	int fd;		     /* its */
};

struct disk_server {
	struct disk_store *store;
	struct chunk_pool *pool;
	void (*on_news)(void *owner);
	void *owner;
	struct disk disks[LAYOUT_DISKS_MAX];
	size_t ndisks;
	uv_loop_t loop; /* the thread's */
	uv_thread_t thread;
	uv_async_t stop;
	uv_async_t news; /* of the owner's loop */
	atomic_bool keep, copying, ended;
	bool started;
	void (*on_closed)(void *owner);
	/* Shared. */
	uv_mutex_t lock;
	uv_cond_t paced;
	unsigned turns; /* of the loop */
	bool failed, stopping;
	struct err err;
};

/* ---- what QEMU writes: the thread's --------------------------------------------------------- */

static bool is_nearly_full(const struct disk_server *server)
{
	return chunk_pool_in_use(server->pool) * 8 > chunk_pool_limit(server->pool) * NEARLY_FULL;
}

static void wait_for_loop(struct disk_server *server)
{
	unsigned turns;

	uv_mutex_lock(&server->lock);
	turns = server->turns;
	while (server->turns == turns && !server->stopping)
		uv_cond_wait(&server->paced, &server->lock);
	uv_mutex_unlock(&server->lock);
}

static void fail(struct disk_server *server, const struct err *err)
{
	atomic_store(&server->keep, false);
	uv_mutex_lock(&server->lock);
	if (!server->failed)
		server->err = *err;
	server->failed = true;
	uv_mutex_unlock(&server->lock);
	(void)uv_async_send(&server->news);
}

static enum nbd_error keep(struct disk *disk, uint64_t offset, const uint8_t *data, uint64_t len)
{
	struct disk_server *server = disk->server;
	struct err err;

	if (!atomic_load(&server->keep))
		return NBD_OK; /* into nothing */
	if (disk_store_write(server->store, &disk->extent, offset, data, len, &err) != RC_OK) {
		(void)err_prefix(&err, "disk %s: ", disk->name);
		fail(server, &err);
		return NBD_OK;
	}
	if (disk_store_has_full(server->store))
		(void)uv_async_send(&server->news);
	if (atomic_load(&server->copying) && is_nearly_full(server))
		wait_for_loop(server);
	return NBD_OK;
}

static enum nbd_error on_write(void *owner, uint64_t offset, const uint8_t *data, uint32_t len)
{
	return keep(owner, offset, data, len);
}

static enum nbd_error on_zero(void *owner, uint64_t offset, uint32_t len, bool hole)
{
	(void)hole;
	return keep(owner, offset, NULL, len);
}

/* A mirror does not read its target. */
static enum nbd_error on_read(void *owner, uint64_t offset, uint8_t *to, uint32_t len)
{
	(void)owner;
	(void)offset;
	memset(to, 0, len);
	return NBD_EIO;
}

/* What is here is the epoch's; the standby makes it durable with that. */
static enum nbd_error on_flush(void *owner)
{
	(void)owner;
	return NBD_OK;
}

static uint32_t on_extent(void *owner, uint64_t offset, uint32_t len, uint32_t *flags)
{
	(void)owner;
	(void)offset;
	*flags = 0;
	return len;
}

static void on_connection(void *owner, unsigned number, int fd)
{
	struct disk *disk = owner;

	uv_mutex_lock(&disk->server->lock);
	disk->connection = fd >= 0 ? number : 0;
	disk->fd = fd;
	uv_mutex_unlock(&disk->server->lock);
}

static const struct nbd_server_ops server_callbacks = {
	.read = on_read,
	.write = on_write,
	.zero = on_zero,
	.flush = on_flush,
	.extent = on_extent,
	.connection = on_connection,
};

static void run(void *arg)
{
	struct disk_server *server = arg;

	(void)uv_run(&server->loop, UV_RUN_DEFAULT);
	atomic_store(&server->ended, true);
	(void)uv_async_send(&server->news);
}

static void on_stop(uv_async_t *stop)
{
	struct disk_server *server = stop->data;
	size_t i;

	for (i = 0; i < server->ndisks; i++)
		nbd_server_close(server->disks[i].nbd, NULL);
	uv_close((uv_handle_t *)stop, NULL);
}

/* ---- life: the owner's ---------------------------------------------------------------------- */

static void on_news_closed(uv_handle_t *handle)
{
	struct disk_server *server = handle->data;
	void (*on_closed)(void *) = server->on_closed;
	void *owner = server->owner;

	uv_cond_destroy(&server->paced);
	uv_mutex_destroy(&server->lock);
	mem_free(server);
	if (on_closed != NULL)
		on_closed(owner);
}

static void tell_news(uv_async_t *news)
{
	struct disk_server *server = news->data;

	if (!server->stopping) {
		server->on_news(server->owner);
	} else if (atomic_load(&server->ended)) {
		(void)uv_thread_join(&server->thread);
		(void)uv_loop_close(&server->loop);
		uv_close((uv_handle_t *)news, on_news_closed);
	}
}

/* The loop of the thread, and what the two share. */
static int open_loop(struct disk_server *server, uv_loop_t *owners)
{
	int r = uv_loop_init(&server->loop);

	if (r != 0)
		return r;
	r = uv_async_init(&server->loop, &server->stop, on_stop);
	if (r == 0)
		r = uv_mutex_init(&server->lock);
	if (r != 0)
		goto no_lock;
	r = uv_cond_init(&server->paced);
	if (r != 0)
		goto no_cond;
	r = uv_async_init(owners, &server->news, tell_news);
	if (r == 0)
		return 0;
	uv_cond_destroy(&server->paced);
no_cond:
	uv_mutex_destroy(&server->lock);
no_lock:
	if (server->stop.type == UV_ASYNC)
		uv_close((uv_handle_t *)&server->stop, NULL);
	(void)uv_run(&server->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&server->loop);
	return r;
}

int disk_server_create(struct disk_server **out, uv_loop_t *loop, struct disk_store *store,
		       struct chunk_pool *pool, void (*on_news)(void *owner), void *owner,
		       struct err *err)
{
	struct disk_server *server = mem_zalloc(1, sizeof(*server));
	int r;

	if (server == NULL)
		return err_nomem(err, "a disk server");
	r = open_loop(server, loop);
	if (r != 0) {
		mem_free(server);
		return err_set(err, RC_IO, "disk server: %s", uv_strerror(r));
	}
	server->store = store;
	server->pool = pool;
	server->on_news = on_news;
	server->owner = owner;
	server->stop.data = server;
	server->news.data = server;
	*out = server;
	return RC_OK;
}

int disk_server_add(struct disk_server *server, const char *name, const char *socket,
		    const struct disk_extent *extent, struct err *err)
{
	struct nbd_export export = { .bytes = extent->bytes, .block = LAYOUT_PAGE };
	struct disk *disk = &server->disks[server->ndisks];

	assert(!server->started && server->ndisks < LAYOUT_DISKS_MAX);
	(void)snprintf(export.name, sizeof(export.name), "%s", DISK_JOB_EXPORT);
	*disk = (struct disk){ .server = server, .name = name, .extent = *extent, .fd = -1 };
	if (nbd_server_open(&disk->nbd, &server->loop, socket, &export, &server_callbacks, disk,
			    err) != RC_OK)
		return err_prefix(err, "disk %s: ", name);
	server->ndisks++;
	return RC_OK;
}

int disk_server_start(struct disk_server *server, struct err *err)
{
	const int r = uv_thread_create(&server->thread, run, server);

	if (r != 0)
		return err_set(err, RC_IO, "disk server: a thread: %s", uv_strerror(r));
	server->started = true;
	return RC_OK;
}

void disk_server_keep(struct disk_server *server, bool keep)
{
	atomic_store(&server->keep, keep);
}

bool disk_server_failed(struct disk_server *server, struct err *err)
{
	bool failed;

	uv_mutex_lock(&server->lock);
	failed = server->failed;
	*err = server->err;
	uv_mutex_unlock(&server->lock);
	return failed;
}

void disk_server_paced(struct disk_server *server, bool copying)
{
	atomic_store(&server->copying, copying);
	uv_mutex_lock(&server->lock);
	server->turns++;
	uv_cond_signal(&server->paced);
	uv_mutex_unlock(&server->lock);
}

unsigned disk_server_connection(struct disk_server *server, size_t disk, unsigned known, int *fd)
{
	const struct disk *d = &server->disks[disk];
	unsigned number;

	*fd = -1;
	uv_mutex_lock(&server->lock);
	number = d->connection;
	if (number != 0 && number != known)
		*fd = fcntl(d->fd, F_DUPFD_CLOEXEC, 0);
	uv_mutex_unlock(&server->lock);
	return number;
}

void disk_server_close(struct disk_server *server, void (*on_closed)(void *owner))
{
	server->on_closed = on_closed;
	atomic_store(&server->keep, false);
	uv_mutex_lock(&server->lock);
	server->stopping = true;
	uv_cond_signal(&server->paced);
	uv_mutex_unlock(&server->lock);
	if (server->started) {
		(void)uv_async_send(&server->stop);
		return;
	}
	on_stop(&server->stop); /* here, as there is no thread */
	(void)uv_run(&server->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&server->loop);
	uv_close((uv_handle_t *)&server->news, on_news_closed);
}
