#include "appliance/base/workers.h"

#include "appliance/base/mem.h"

#include <assert.h>
#include <stdbool.h>

struct queue {
	struct workers_job *head, **tail;
};

struct workers {
	uv_thread_t threads[WORKERS_MAX];
	unsigned nthreads;
	uv_mutex_t mutex; /* of what follows */
	uv_cond_t wanted;
	struct queue waiting, done;
	bool stop;
	/* The loop's. */
	uv_async_t async;
	unsigned open; /* jobs whose end was not told */
};

static void queue_init(struct queue *queue)
{
	queue->head = NULL;
	queue->tail = &queue->head;
}

static void put(struct queue *queue, struct workers_job *job)
{
	job->next = NULL;
	*queue->tail = job;
	queue->tail = &job->next;
}

static struct workers_job *take(struct queue *queue)
{
	struct workers_job *job = queue->head;

	if (job != NULL) {
		queue->head = job->next;
		if (queue->head == NULL)
			queue->tail = &queue->head;
	}
	return job;
}

static void run(void *arg)
{
	struct workers *workers = arg;
	struct workers_job *job;

	uv_mutex_lock(&workers->mutex);
	for (;;) {
		job = take(&workers->waiting);
		if (job == NULL && workers->stop)
			break;
		if (job == NULL) {
			uv_cond_wait(&workers->wanted, &workers->mutex);
			continue;
		}
		uv_mutex_unlock(&workers->mutex);
		job->work(job);
		uv_mutex_lock(&workers->mutex);
		put(&workers->done, job);
		(void)uv_async_send(&workers->async); /* inside: who takes the job may close us */
	}
	uv_mutex_unlock(&workers->mutex);
}

static void on_done(uv_async_t *async)
{
	struct workers *workers = async->data;
	struct workers_job *job;

	for (;;) {
		uv_mutex_lock(&workers->mutex);
		job = take(&workers->done);
		uv_mutex_unlock(&workers->mutex);
		if (job == NULL)
			return;
		if (--workers->open == 0)
			uv_unref((uv_handle_t *)async);
		job->done(job);
		if (uv_is_closing((uv_handle_t *)async))
			return;
	}
}

void workers_queue(struct workers *workers, struct workers_job *job,
		   void (*work)(struct workers_job *job), void (*done)(struct workers_job *job))
{
	job->work = work;
	job->done = done;
	if (workers->open++ == 0)
		uv_ref((uv_handle_t *)&workers->async);
	uv_mutex_lock(&workers->mutex);
	put(&workers->waiting, job);
	uv_cond_signal(&workers->wanted);
	uv_mutex_unlock(&workers->mutex);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

static void end_threads(struct workers *workers)
{
	uv_mutex_lock(&workers->mutex);
	workers->stop = true;
	uv_cond_broadcast(&workers->wanted);
	uv_mutex_unlock(&workers->mutex);
	while (workers->nthreads > 0)
		(void)uv_thread_join(&workers->threads[--workers->nthreads]);
	uv_cond_destroy(&workers->wanted);
	uv_mutex_destroy(&workers->mutex);
}

void workers_close(struct workers *workers)
{
	if (workers == NULL)
		return;
	assert(workers->open == 0);
	end_threads(workers);
	uv_close((uv_handle_t *)&workers->async, on_closed);
}

int workers_open(struct workers **out, uv_loop_t *loop, unsigned count, struct err *err)
{
	struct workers *workers = mem_zalloc(1, sizeof(*workers));

	assert(count > 0 && count <= WORKERS_MAX);
	if (workers == NULL)
		return err_nomem(err, "working threads");
	queue_init(&workers->waiting);
	queue_init(&workers->done);
	if (uv_mutex_init(&workers->mutex) != 0 || uv_cond_init(&workers->wanted) != 0 ||
	    uv_async_init(loop, &workers->async, on_done) != 0) {
		mem_free(workers); /* these fail where there is no memory at all */
		return err_nomem(err, "working threads");
	}
	workers->async.data = workers;
	uv_unref((uv_handle_t *)&workers->async);
	while (workers->nthreads < count &&
	       uv_thread_create(&workers->threads[workers->nthreads], run, workers) == 0)
		workers->nthreads++;
	if (workers->nthreads < count) {
		workers_close(workers);
		return err_nomem(err, "working threads");
	}
	*out = workers;
	return RC_OK;
}
