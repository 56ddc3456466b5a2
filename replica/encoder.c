/*
 * Chunks are numbered as they come. `delivered` <= `started` <= `added`: those between the first
 * two are being encoded or wait for an earlier one, each in its place of a ring of JOBS_MAX jobs,
 * so that order needs no sorting and the results that wait are bounded; the others are a list.
 * The end of an epoch is a mark that knows how many chunks came before it: no chunk beyond it is
 * started before all of those are delivered.
 *
 * One function, pump(), moves everything on; it is called whenever something has changed.
 */
#include "replica/encoder.h"

#include "appliance/base/mem.h"

#include <assert.h>
#include <string.h>

#define JOBS_MAX 4 /* libuv's worker threads: one more would only wait */

struct job {
	uv_work_t work;
	struct encoder *encoder;
	struct chunk *chunk; /* returned once it is encoded */
	uint64_t epoch;
	bool first_copy, disk, done;
	/* result */
	struct buf out;
	uint64_t hash, sent;
	struct delta_stats stats;
	int rc;
	struct err err;
};

struct mark {
	struct mark *next;
	uint64_t after; /* so many chunks were added before it */
	uint64_t epoch;
	void *mark;
};

struct encoder {
	uv_loop_t *loop;
	struct delta_state *state;
	const struct encoder_ops *ops;
	void *owner;
	struct chunk *waiting, **waiting_end; /* added, not started */
	struct mark *marks, **marks_end;
	uint64_t added, started, delivered; /* chunks */
	unsigned running;
	bool alone; /* what runs is a chunk of a first copy */
	struct job jobs[JOBS_MAX];
	struct encoder_epoch sums; /* of what was delivered since the last mark */
	struct delta_stats stats;
	bool pumping, failed, closing;
	uv_work_t close_work;
	void (*on_closed)(void *owner);
	void *closed_owner;
};

static void pump(struct encoder *encoder);

int encoder_create(struct encoder **out, uv_loop_t *loop, struct delta_state *state,
		   const struct encoder_ops *ops, void *owner, struct err *err)
{
	struct encoder *encoder = mem_zalloc(1, sizeof(*encoder));

	if (encoder == NULL)
		return err_nomem(err, "encoder");
	encoder->loop = loop;
	encoder->state = state;
	encoder->ops = ops;
	encoder->owner = owner;
	encoder->waiting_end = &encoder->waiting;
	encoder->marks_end = &encoder->marks;
	*out = encoder;
	return RC_OK;
}

void encoder_add(struct encoder *encoder, struct chunk *chunk, bool first_copy)
{
	assert(!encoder->closing);
	chunk->next = NULL;
	chunk->first_copy = first_copy;
	*encoder->waiting_end = chunk;
	encoder->waiting_end = &chunk->next;
	encoder->added++;
	pump(encoder);
}

int encoder_end_epoch(struct encoder *encoder, uint64_t epoch, void *mark, struct err *err)
{
	struct mark *m = mem_alloc(sizeof(*m));

	assert(!encoder->closing);
	if (m == NULL)
		return err_nomem(err, "encoder");
	*m = (struct mark){ .after = encoder->added, .epoch = epoch, .mark = mark };
	*encoder->marks_end = m;
	encoder->marks_end = &m->next;
	pump(encoder);
	return RC_OK;
}

/* ---- one chunk, in the order in which it happens ------------------------------------------- */

static struct chunk *take_waiting(struct encoder *encoder)
{
	struct chunk *chunk = encoder->waiting;

	encoder->waiting = chunk->next;
	if (encoder->waiting == NULL)
		encoder->waiting_end = &encoder->waiting;
	return chunk;
}

static void encode(uv_work_t *work)
{
	struct job *job = work->data;
	struct encoder *encoder = job->encoder;

	job->rc = delta_encode(encoder->state, job->chunk, !job->first_copy, &job->out, &job->hash,
			       &job->sent, &job->stats, &job->err);
	chunk_put(job->chunk);
	job->chunk = NULL;
}

static void encoded(uv_work_t *work, int status)
{
	struct job *job = work->data;

	assert(status == 0); /* nobody cancels */
	(void)status;
	job->done = true;
	job->encoder->running--;
	pump(job->encoder);
}

/* Starts the next chunk, if it may be now. */
static bool start(struct encoder *encoder)
{
	struct chunk *chunk = encoder->waiting;
	struct job *job = &encoder->jobs[encoder->started % JOBS_MAX];

	if (chunk == NULL || encoder->closing || encoder->failed ||
	    encoder->started - encoder->delivered == JOBS_MAX)
		return false;
	if (encoder->marks != NULL && encoder->started == encoder->marks->after)
		return false;
	if (encoder->running > 0 && (encoder->alone || chunk->first_copy))
		return false;
	*job = (struct job){ .encoder = encoder,
			     .chunk = take_waiting(encoder),
			     .epoch = chunk->epoch,
			     .first_copy = chunk->first_copy,
			     .disk = chunk->disk,
			     .out = { .limit = DELTA_BATCH_MAX } };
	job->work.data = job;
	encoder->alone = job->first_copy;
	encoder->started++;
	encoder->running++;
	(void)uv_queue_work(encoder->loop, &job->work, encode,
			    encoded); /* fails only without a function */
	return true;
}

/* The batch, in memory of its own size; a batch is made in room for what it might have been. */
static uint8_t *take_batch(struct job *job, size_t *len)
{
	uint8_t *data = mem_realloc(job->out.data, job->out.len);

	if (data == NULL)
		data = job->out.data;
	*len = job->out.len;
	job->out = (struct buf){ 0 };
	return data;
}

static void fail(struct encoder *encoder, const struct err *err)
{
	encoder->failed = true;
	encoder->ops->on_error(encoder->owner, err);
}

static void deliver_batch(struct encoder *encoder, struct job *job)
{
	uint8_t *data;
	size_t len;

	encoder->sums.pages += job->sent;
	encoder->sums.hash += job->hash;
	encoder->sums.bytes += job->out.len;
	delta_stats_add(&encoder->stats, &job->stats);
	encoder->stats.disk_out += job->disk ? job->stats.bytes_out : 0;
	if (job->out.len == 0)
		return;
	encoder->sums.batches++;
	data = take_batch(job, &len);
	encoder->ops->on_batch(encoder->owner, job->epoch, data, len);
}

/* Hands out the result that is next in order, if it is there. */
static bool deliver(struct encoder *encoder)
{
	struct job *job = &encoder->jobs[encoder->delivered % JOBS_MAX];

	if (encoder->delivered == encoder->started || !job->done)
		return false;
	encoder->delivered++;
	if (!encoder->failed && job->rc == RC_OK)
		deliver_batch(encoder, job);
	else if (!encoder->failed)
		fail(encoder, &job->err);
	buf_free(&job->out);
	if (!encoder->closing)
		encoder->ops->on_chunk(encoder->owner);
	return true;
}

static struct mark *take_mark(struct encoder *encoder)
{
	struct mark *mark = encoder->marks;

	encoder->marks = mark->next;
	if (encoder->marks == NULL)
		encoder->marks_end = &encoder->marks;
	return mark;
}

static bool deliver_mark(struct encoder *encoder)
{
	struct encoder_epoch epoch = encoder->sums;
	struct mark *mark;

	if (encoder->marks == NULL || encoder->marks->after != encoder->delivered ||
	    encoder->failed)
		return false;
	mark = take_mark(encoder);
	epoch.epoch = mark->epoch;
	epoch.mark = mark->mark;
	mem_free(mark);
	encoder->sums = (struct encoder_epoch){ 0 };
	encoder->ops->on_epoch(encoder->owner, &epoch);
	return true;
}

/* ---- the end ------------------------------------------------------------------------------- */

/* What will never be encoded. */
static void drop(struct encoder *encoder)
{
	while (encoder->waiting != NULL) {
		chunk_put(take_waiting(encoder));
		if (!encoder->closing)
			encoder->ops->on_chunk(encoder->owner);
	}
	while (encoder->marks != NULL) {
		struct mark *mark = take_mark(encoder);

		mem_free(mark->mark);
		mem_free(mark);
	}
}

static void finish_close(struct encoder *encoder)
{
	void (*on_closed)(void *) = encoder->on_closed;
	void *owner = encoder->closed_owner;
	size_t i;

	drop(encoder);
	for (i = 0; i < JOBS_MAX; i++)
		buf_free(&encoder->jobs[i].out);
	mem_free(encoder);
	if (on_closed != NULL)
		on_closed(owner);
}

static void pump(struct encoder *encoder)
{
	if (encoder->pumping)
		return; /* called from a callback below: the loop there goes on */
	encoder->pumping = true;
	while (!encoder->closing && (deliver(encoder) || deliver_mark(encoder) || start(encoder)))
		;
	if (encoder->failed && !encoder->closing)
		drop(encoder);
	encoder->pumping = false;
	if (encoder->closing && encoder->running == 0 && encoder->close_work.data == NULL)
		finish_close(encoder);
}

static void nothing(uv_work_t *work)
{
	(void)work;
}

static void nothing_done(uv_work_t *work, int status)
{
	(void)status;
	finish_close(work->data);
}

void encoder_close(struct encoder *encoder, void (*on_closed)(void *owner), void *owner)
{
	assert(!encoder->closing);
	encoder->closing = true;
	encoder->on_closed = on_closed;
	encoder->closed_owner = owner;
	drop(encoder);
	if (encoder->running ==
	    0) { /* a trip through the loop, so that on_closed does not come from within */
		encoder->close_work.data = encoder;
		(void)uv_queue_work(encoder->loop, &encoder->close_work, nothing, nothing_done);
	}
}

const struct delta_stats *encoder_stats(const struct encoder *encoder)
{
	return &encoder->stats;
}
