/*
 * Theory of operation. The journal is scanned from the base's segment on, and what is read is replayed as after a
 * crash (journal_replay.h), until the epoch has been committed, or the next one would be too late: then the scan is
 * ended by its visitor. So what is written at the journal's end meanwhile is never reached. A crew that decodes
 * inherits the thread's priority.
 */
#include "replica/rewind.h"

#include "appliance/base/bytes.h"
#include "appliance/base/mem.h"
#include "replica/journal_replay.h"
#include "replica/journal_start.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>

#define NICE 10
#define PATH_BYTES 512

struct rewind {
	char dir[JOURNAL_COPIES_MAX][PATH_BYTES];
	unsigned ndirs;
	struct history_place place;
	void (*done)(void *owner, uint64_t epoch, uint64_t ms, const struct err *result);
	void *owner;
	uv_async_t async;
	uv_thread_t thread;
	struct journal_replay replay;
	_Atomic uint64_t total;
	atomic_bool cancelled;
	bool told, closing;
	void (*on_closed)(void *owner);
	void *closed_owner;
	/* the thread's until it has ended */
	bool reached, gone; /* the epoch is there; the base is not, any more */
	uint64_t ms;	    /* of the epoch that was committed last */
	struct err result;
};

/* ---- the thread ------------------------------------------------------------------------------- */

/* The record commits an epoch that is too late. */
static bool is_behind(const struct rewind *r, const struct journal_record *record, uint64_t time_ms)
{
	return !r->replay.copying &&
	       (record->epoch > r->place.epoch || time_ms > r->place.until_ms);
}

static int visit(void *owner, const struct journal_record *record, const uint8_t *payload,
		 struct err *err)
{
	struct journal_commit commit = { 0 };
	struct rewind *r = owner;

	if (atomic_load(&r->cancelled))
		return err_set(err, RC_CANCELLED, "it is not wanted any more");
	r->gone = r->replay.base == 0 && record->sequence > r->place.base;
	if (r->gone)
		return err_set(err, RC_IO, "what leads to it is not in the journal any more");
	if (record->kind == JOURNAL_COMMIT)
		journal_get_commit(&commit, payload);
	if (record->kind == JOURNAL_HISTORY &&
	    r->replay.copying) /* of the epoch that the base begins with */
		r->ms = bytes_get_le64(payload);
	r->reached = record->kind == JOURNAL_COMMIT && r->replay.base != 0 &&
		     is_behind(r, record, commit.time_ms);
	if (!r->reached) {
		(void)journal_replay_visit(&r->replay, record, payload, err);
		r->ms = record->kind == JOURNAL_COMMIT ? commit.time_ms : r->ms;
		r->reached = !r->replay.copying && r->replay.base == r->place.base &&
			     r->replay.epoch >= r->place.epoch;
	}
	/* The scan ends with an error only. */
	return r->reached || r->replay.over ? err_set(err, RC_CANCELLED, "it is there") : RC_OK;
}

static int read_it(struct rewind *r, const struct journal_dirs *dirs, struct err *err)
{
	struct journal_found found;
	int rc;

	r->replay.only = r->place.base;
	(void)journal_start_measure(dirs, r->place.base, &r->total);
	rc = journal_scan(dirs, r->place.base, visit, r, &found, err);
	if (r->reached || r->replay.over)
		return journal_replay_stop(&r->replay, err);
	journal_replay_drop(&r->replay);
	return rc != RC_OK ? rc :
			     err_set(err, RC_INVALID, "the journal ends before epoch %llu",
				     (unsigned long long)r->place.epoch);
}

static void run(void *arg)
{
	const char *paths[JOURNAL_COPIES_MAX];
	struct rewind *r = arg;
	struct journal_dirs dirs;
	struct err err;
	unsigned i;
	int rc;

	(void)setpriority(PRIO_PROCESS, 0, NICE); /* of this thread, in Linux */
	for (i = 0; i < r->ndirs; i++)
		paths[i] = r->dir[i];
	rc = journal_dirs_open(&dirs, paths, r->ndirs, &err);
	if (rc == RC_OK) {
		dirs.journal = r->place.journal;
		rc = read_it(r, &dirs, &err);
		if (rc != RC_OK)
			(void)err_prefix(&err, "%s: ", r->dir[0]);
	}
	journal_dirs_close(&dirs);
	if (rc != RC_OK)
		r->result = err;
	(void)uv_async_send(&r->async);
}

/* ---- the loop's thread -------------------------------------------------------------------------- */

static void on_async_closed(uv_handle_t *handle)
{
	struct rewind *r = handle->data;
	void (*on_closed)(void *) = r->on_closed;
	void *owner = r->closed_owner;

	mem_free(r);
	if (on_closed != NULL)
		on_closed(owner);
}

static void deliver(uv_async_t *async)
{
	struct rewind *r = async->data;

	if (r->told)
		return;
	r->told = true;
	(void)uv_thread_join(&r->thread);
	if (r->closing)
		uv_close((uv_handle_t *)async, on_async_closed);
	else
		r->done(r->owner, r->result.code == RC_OK ? r->replay.epoch : 0, r->ms, &r->result);
}

static bool take_dirs(struct rewind *r, const struct rewind_options *options)
{
	bool fit = options->ndirs <= JOURNAL_COPIES_MAX;

	for (; fit && r->ndirs < options->ndirs; r->ndirs++)
		fit = snprintf(r->dir[r->ndirs], PATH_BYTES, "%s", options->dirs[r->ndirs]) <
		      PATH_BYTES;
	return fit;
}

int rewind_open(struct rewind **out, uv_loop_t *loop, const struct rewind_options *options,
		void (*done)(void *owner, uint64_t epoch, uint64_t ms, const struct err *result),
		void *owner, struct err *err)
{
	struct rewind *r = mem_zalloc(1, sizeof(*r));

	if (r == NULL)
		return err_nomem(err, "reading a journal");
	r->place = options->place;
	r->replay.image = options->image;
	r->done = done;
	r->owner = owner;
	r->async.data = r;
	if (!take_dirs(r, options) || uv_async_init(loop, &r->async, deliver) != 0) {
		mem_free(r);
		return err_nomem(err, "reading a journal");
	}
	if (uv_thread_create(&r->thread, run, r) != 0) {
		uv_close((uv_handle_t *)&r->async, on_async_closed);
		return err_nomem(err, "reading a journal");
	}
	*out = r;
	return RC_OK;
}

void rewind_progress(const struct rewind *r, uint64_t *done, uint64_t *total)
{
	*done = atomic_load(&r->replay.bytes);
	*total = atomic_load(&r->total);
}

void rewind_close(struct rewind *r, void (*on_closed)(void *owner), void *owner)
{
	r->on_closed = on_closed;
	r->closed_owner = owner;
	r->closing = true;
	atomic_store(&r->cancelled, true);
	if (r->told)
		uv_close((uv_handle_t *)&r->async, on_async_closed);
}
