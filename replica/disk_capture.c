/*
 * Theory of operation
 *
 *   CLEARING   what an agent that is gone left in this QEMU, or a session that could not wait, is wound up
 *   COPYING    a mirror for each disk (blockdev-mirror, copy-mode write-blocking) into a server of ours:
 *              all that is on it, and what is written meanwhile
 *   MIRRORED   BLOCK_JOB_READY of each has come: QEMU finishes a write of the guest's when ours is answered,
 *              which is at once, and a checkpoint's stop waits for those that are under way
 *   ENDING     the mirrors are wound up, and when they are gone their nodes and servers go
 *
 * The guest's writes are never waited for, so nothing but memory may be between them and their answer:
 * where there is none left, the capture is lost, and what comes is answered and dropped. What fills that
 * memory in the first copy is the mirror's own reading of the disk; it is told to pause, and to go on, by
 * how much of it is in use, while the guest's writes go on. Requests of either kind look the same here, so
 * it cannot be done by answering late. They are taken in by a thread of their own (disk_server.h).
 *
 * A mirror must not end while a write of the guest's is under way. QEMU (looked up in 10.0, block/mirror.c)
 * frees what such a write comes back to when a mirror fails or is cancelled before it is ready: the guest
 * dies of that. When it is ready, a cancellation lets writes finish first. So an error of the target's only
 * stops it (on-target-error=stop), which is what it sees when this process dies: the guest's writes go
 * on without the target; one that freezes is cut off by the guardian. And a mirror is wound up by letting
 * it become ready, into nothing, and then cancelling it. An agent that cannot wait for that leaves it to the
 * next one, at the same socket: QEMU connects there by itself.
 *
 * The target's node does not take discards (discard=ignore): with them QEMU would begin the copy by
 * zeroing the whole target, and every page would travel. The guest's would not come here anyway: they end in
 * the mirror's own filter above the disk, which is never open with "unmap" (test_nbd_server.c shows it).
 * Nor do its flushes, which go to the disk alone: of a synced write there is one request here.
 */
#include "replica/disk_capture.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "replica/guardian.h"
#include "replica/disk_job.h"
#include "replica/disk_server.h"
#include "replica/layout.h"
#include "replica/qmp.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TICK_MS 20
#define ASK_TICKS 10   /* between two questions of how far the copy is */
#define GONE_TICKS 100 /* for the mirrors to be wound up; then it is left to who comes next */
#define STUCK_TICKS \
	500 /* a mirror that is to be wound up and does not get on for so long will not */
/* Of the pool, where the copy pauses and goes on: what is under way then (DISK_JOB_BUFFER) has room. */
#define PAUSE_SHARE 2
#define RESUME_SHARE 4

enum state { CLEARING, COPYING, MIRRORED, ENDING };

struct disk {
	struct disk_capture_disk is;
	uint64_t done;
	bool begun, ready;
	unsigned guarded; /* the number of the connection that the guardian watches; 0: none */
	unsigned slot;
};

struct disk_capture {
	struct qmp *qmp;
	const struct disk_capture_ops *ops;
	void *owner;
	const char *part;
	struct chunk_pool *pool;
	uint64_t copy_bytes_s;
	struct guardian *guardian;
	uint32_t freeze_limit_ms;
	struct disk_store *store;
	struct disk_server *server;
	struct disk disks[LAYOUT_DISKS_MAX];
	size_t ndisks;
	enum state state;
	uv_timer_t tick;
	unsigned ticks, moved;		    /* moved: when what is being cleared got on last */
	uint64_t cleared;		    /* bytes, at that time */
	unsigned replies;		    /* commands without one */
	bool asking, paused, lost, removed; /* removed: the nodes, or so they were told */
	bool busy;			    /* jobs of ours are known to be there */
	unsigned handles;
	void (*on_closed)(void *owner);
};

static void lose(struct disk_capture *capture, const struct err *err)
{
	if (capture->lost || capture->state == ENDING)
		return;
	capture->lost = true;
	disk_server_keep(capture->server, false);
	capture->ops->on_lost(capture->owner, err);
}

/* ---- what QEMU writes ----------------------------------------------------------------------- */

static void hand_on(struct disk_capture *capture)
{
	struct chunk_list full = { 0 };
	struct chunk *chunk;

	disk_store_take(capture->store, &full);
	while ((chunk = chunk_list_take(&full)) != NULL)
		capture->ops->on_chunk(capture->owner, chunk);
}

/* ---- commands ------------------------------------------------------------------------------- */

static void next_step(struct disk_capture *capture);

static void count_reply(struct disk_capture *capture)
{
	if (--capture->replies == 0)
		next_step(capture);
}

/* Of a command whose failure says nothing new. */
static void on_any(void *owner, const cJSON *reply, const struct err *err)
{
	(void)reply;
	(void)err;
	count_reply(owner);
}

static void on_needed(void *owner, const cJSON *reply, const struct err *error)
{
	struct disk_capture *capture = owner;
	struct err err;

	if (reply == NULL) {
		err = *error;
		(void)err_prefix(&err, "disks: ");
		lose(capture, &err);
	}
	count_reply(capture);
}

static void tell(struct disk_capture *capture, const char *command, cJSON *arguments,
		 qmp_reply_cb cb)
{
	struct err err = { 0 };

	capture->replies++;
	if (arguments == NULL)
		(void)err_nomem(&err, "a QMP command");
	else if (qmp_execute(capture->qmp, command, arguments, cb, capture, &err) == RC_OK)
		return;
	capture->replies--;
	if (capture->state == ENDING)
		capture->busy = false; /* nobody can be told any more */
	else if (cb == on_needed)
		lose(capture, &err);
}

/* The mirror's own reading pauses and goes on by what is in use. */
static void pause_or_resume(struct disk_capture *capture)
{
	const size_t used = chunk_pool_in_use(capture->pool);
	const size_t limit = chunk_pool_limit(capture->pool);
	const bool pause = used > (capture->paused ? limit / RESUME_SHARE : limit / PAUSE_SHARE);
	size_t i;

	if (capture->state != COPYING || pause == capture->paused)
		return;
	capture->paused = pause;
	for (i = 0; i < capture->ndisks; i++)
		if (!capture->disks[i].ready)
			tell(capture, pause ? "block-job-pause" : "block-job-resume",
			     disk_job_named(i), on_any);
}

static void pace(struct disk_capture *capture)
{
	pause_or_resume(capture);
	disk_server_paced(capture->server, capture->state == COPYING);
}

static void lose_if_failed(struct disk_capture *capture)
{
	struct err err;

	if (disk_server_failed(capture->server, &err))
		lose(capture, &err);
}

static void on_news(void *owner)
{
	struct disk_capture *capture = owner;

	lose_if_failed(capture);
	if (capture->lost || capture->state == ENDING)
		return;
	hand_on(capture);
	pace(capture);
}

/* ---- if this process freezes ------------------------------------------------------------------ */

static void unguard(struct disk_capture *capture, struct disk *disk)
{
	if (disk->guarded > 0)
		guardian_unwatch(capture->guardian, disk->slot);
	disk->guarded = 0;
}

/* With each tick: that we live. In vain without a guardian; there is another one soon. */
static void guard(struct disk_capture *capture, size_t i)
{
	struct disk *disk = &capture->disks[i];
	struct err err;
	unsigned newest;
	int fd;

	newest = disk_server_connection(capture->server, i, disk->guarded, &fd);
	if (disk->guarded > 0 && disk->guarded != newest)
		unguard(capture, disk);
	if (fd >= 0 && guardian_watch_socket(capture->guardian, capture->part, fd,
					     capture->freeze_limit_ms, &disk->slot, &err) == RC_OK)
		disk->guarded = newest;
	if (fd >= 0)
		(void)close(fd);
	if (disk->guarded > 0)
		guardian_hold(capture->guardian, disk->slot, true);
}

/* ---- how far the jobs are ------------------------------------------------------------------- */

static void wind_up(struct disk_capture *capture, const struct disk_job_state *job)
{
	if (job->paused)
		tell(capture, "block-job-resume", disk_job_named(job->disk), on_any);
	else if (job->ready)
		tell(capture, "block-job-cancel", disk_job_named(job->disk), on_any);
}

/* Of what an earlier session left: it has to get on. */
static void watch_clearing(struct disk_capture *capture, uint64_t done)
{
	struct err err;

	if (done != capture->cleared || capture->moved == 0) {
		capture->cleared = done;
		capture->moved = capture->ticks;
	} else if (capture->ticks - capture->moved > STUCK_TICKS) {
		(void)err_set(&err, RC_TIMEOUT,
			      "disks: a mirror that an earlier agent left in QEMU (us-mirror-...) "
			      "cannot be ended: it does not reach this agent's socket, or its disk "
			      "cannot be read");
		lose(capture, &err);
	}
}

static void on_jobs(void *owner, const cJSON *reply, const struct err *err)
{
	struct disk_capture *capture = owner;
	struct disk_job_state job;
	const cJSON *item;
	uint64_t done = 0;

	capture->asking = false;
	capture->busy = false;
	cJSON_ArrayForEach(item, reply) {
		if (!disk_job_read(item, &job))
			continue;
		capture->busy = true;
		done += job.done;
		if (job.disk < capture->ndisks && capture->disks[job.disk].begun)
			capture->disks[job.disk].done = job.done;
		if (capture->state == CLEARING || capture->state == ENDING)
			wind_up(capture, &job);
	}
	if (err != NULL && capture->state == CLEARING)
		lose(capture, err);
	else if (capture->state == CLEARING && capture->busy)
		watch_clearing(capture, done);
	count_reply(capture);
}

static void ask(struct disk_capture *capture)
{
	if (capture->asking)
		return;
	capture->asking = true;
	tell(capture, "query-block-jobs", cJSON_CreateObject(), on_jobs);
	if (capture->replies == 0)
		capture->asking = false;
}

/* ---- one step after the other --------------------------------------------------------------- */

static void remove_nodes(struct disk_capture *capture, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		tell(capture, "blockdev-del", disk_job_node(i), on_any);
}

static void begin_copy(struct disk_capture *capture)
{
	size_t i;

	capture->state = COPYING;
	disk_server_keep(capture->server, true);
	disk_server_paced(capture->server, true);
	remove_nodes(capture, LAYOUT_DISKS_MAX); /* in vain, mostly */
	for (i = 0; i < capture->ndisks; i++) {
		struct disk *disk = &capture->disks[i];

		tell(capture, "blockdev-add", disk_job_target(i, disk->is.socket), on_needed);
		tell(capture, "blockdev-mirror",
		     disk_job_mirror(i, disk->is.node, capture->copy_bytes_s), on_needed);
		disk->begun = true;
	}
}

static void free_capture(struct disk_capture *capture)
{
	void (*on_closed)(void *) = capture->on_closed;
	void *owner = capture->owner;

	disk_store_destroy(capture->store);
	mem_free(capture);
	if (on_closed != NULL)
		on_closed(owner);
}

static void handle_closed(struct disk_capture *capture)
{
	if (--capture->handles == 0)
		free_capture(capture);
}

static void on_server_closed(void *owner)
{
	handle_closed(owner);
}

static void on_tick_closed(uv_handle_t *handle)
{
	handle_closed(handle->data);
}

static void close_handles(struct disk_capture *capture)
{
	size_t i;

	capture->handles = 1;
	for (i = 0; i < capture->ndisks; i++)
		unguard(capture, &capture->disks[i]);
	if (capture->server != NULL) {
		capture->handles++;
		disk_server_close(capture->server, on_server_closed);
	}
	uv_close((uv_handle_t *)&capture->tick, on_tick_closed);
}

/* Each time all commands have been answered, and with each tick. */
static void next_step(struct disk_capture *capture)
{
	if (uv_is_closing((uv_handle_t *)&capture->tick))
		return;
	if (capture->state == CLEARING && !capture->lost && capture->ticks > 0 && !capture->busy)
		begin_copy(capture);
	if (capture->state != ENDING || capture->replies > 0)
		return;
	if (!capture->busy || capture->ticks >= GONE_TICKS) {
		if (!capture->removed) {
			capture->removed = true;
			remove_nodes(capture, capture->ndisks);
		}
		if (capture->replies == 0)
			close_handles(capture);
	}
}

static void on_tick(uv_timer_t *timer)
{
	struct disk_capture *capture = timer->data;

	size_t i;

	capture->ticks++;
	for (i = 0; capture->guardian != NULL && i < capture->ndisks; i++)
		guard(capture, i);
	pace(capture);
	if (capture->state == CLEARING || (capture->state == ENDING && capture->busy) ||
	    (capture->state == COPYING && capture->ticks % ASK_TICKS == 0))
		ask(capture);
	if (capture->replies == 0)
		next_step(capture);
}

/* ---- events --------------------------------------------------------------------------------- */

static void on_job_ready(struct disk_capture *capture, size_t disk)
{
	size_t i;

	capture->disks[disk].ready = true;
	capture->disks[disk].done = capture->disks[disk].is.extent.bytes;
	log_info(capture->part, "disk %s is mirrored", capture->disks[disk].is.name);
	for (i = 0; i < capture->ndisks; i++)
		if (!capture->disks[i].ready)
			return;
	capture->state = MIRRORED;
	capture->ops->on_ready(capture->owner);
}

void disk_capture_event(struct disk_capture *capture, const char *name, const cJSON *data)
{
	char why[ERR_TEXT_MAX];
	struct err err;
	size_t disk;

	if (!disk_job_event(data, &disk, why, sizeof(why)) || disk >= capture->ndisks ||
	    capture->state == CLEARING || capture->state == ENDING)
		return;
	if (strcmp(name, "BLOCK_JOB_READY") == 0) {
		on_job_ready(capture, disk);
	} else if (strcmp(name, "BLOCK_JOB_ERROR") == 0) {
		(void)err_set(&err, RC_IO,
			      "disk %s: QEMU's mirror of it stands: an error of its %s",
			      capture->disks[disk].is.name,
			      disk_job_is_reading(data) ? "disk" : "target");
		lose(capture, &err);
	} else if (strcmp(name, "BLOCK_JOB_COMPLETED") == 0 ||
		   strcmp(name, "BLOCK_JOB_CANCELLED") == 0) {
		(void)err_set(&err, RC_CLOSED, "disk %s: QEMU's mirror of it has ended%s%.300s",
			      capture->disks[disk].is.name, *why != '\0' ? ": " : "", why);
		lose(capture, &err);
	}
}

/* ---- life ----------------------------------------------------------------------------------- */

void disk_capture_cut(struct disk_capture *capture)
{
	disk_store_cut(capture->store);
}

bool disk_capture_take(struct disk_capture *capture, struct chunk_list *chunks)
{
	lose_if_failed(capture);
	if (capture->lost || capture->state == ENDING)
		return false;
	disk_store_take(capture->store, chunks);
	return true;
}

void disk_capture_query(const struct disk_capture *capture, size_t disk,
			struct disk_capture_state *state)
{
	const struct disk *d = &capture->disks[disk];

	*state = (struct disk_capture_state){
		.name = d->is.name,
		.bytes = d->is.extent.bytes,
		.done = d->done,
		.mirrored = d->ready,
	};
}

static int open_all(struct disk_capture *capture, uv_loop_t *loop,
		    const struct disk_capture_options *options, struct err *err)
{
	int rc = disk_store_create(&capture->store, options->pool, err);

	if (rc == RC_OK)
		rc = disk_server_create(&capture->server, loop, capture->store, options->pool,
					on_news, capture, err);
	for (; rc == RC_OK && capture->ndisks < options->ndisks; capture->ndisks++) {
		struct disk *disk = &capture->disks[capture->ndisks];

		disk->is = options->disks[capture->ndisks];
		rc = disk_server_add(capture->server, disk->is.name, disk->is.socket,
				     &disk->is.extent, err);
	}
	return rc == RC_OK ? disk_server_start(capture->server, err) : rc;
}

int disk_capture_open(struct disk_capture **out, uv_loop_t *loop, struct qmp *qmp,
		      const struct disk_capture_options *options,
		      const struct disk_capture_ops *ops, void *owner, struct err *err)
{
	struct disk_capture *capture = mem_zalloc(1, sizeof(*capture));
	int rc;

	assert(options->ndisks > 0 && options->ndisks <= LAYOUT_DISKS_MAX);
	if (capture == NULL)
		return err_nomem(err, "disk capture");
	capture->qmp = qmp;
	capture->ops = ops;
	capture->owner = owner;
	capture->part = options->part;
	capture->pool = options->pool;
	capture->copy_bytes_s = options->copy_bytes_s;
	capture->guardian = options->guardian;
	capture->freeze_limit_ms = options->freeze_limit_ms;
	capture->busy = true; /* until QEMU says otherwise */
	(void)uv_timer_init(loop, &capture->tick);
	capture->tick.data = capture;
	rc = open_all(capture, loop, options, err);
	if (rc != RC_OK) {
		capture->state = ENDING;
		close_handles(capture);
		return rc;
	}
	(void)uv_timer_start(&capture->tick, on_tick, 0, TICK_MS);
	*out = capture;
	return RC_OK;
}

void disk_capture_close(struct disk_capture *capture, void (*on_closed)(void *owner))
{
	if (capture->state == ENDING)
		return;
	capture->on_closed = on_closed;
	capture->busy = capture->disks[0].begun;
	capture->state = ENDING;
	capture->ticks = 0;
}
