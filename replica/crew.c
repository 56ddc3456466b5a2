#include "replica/crew.h"

#include "appliance/base/mem.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include <uv.h>

#define THREADS_MAX 4 /* as many as decode what a primary sends */

enum state { FREE, FULL, TAKEN };

struct piece {
	enum state state;
	size_t len;
	uint8_t *data;
};

struct crew {
	void (*work)(void *owner, const uint8_t *data, size_t len);
	void *owner;
	size_t most;
	uv_thread_t threads[THREADS_MAX];
	unsigned nthreads;
	uv_mutex_t mutex;
	uv_cond_t full, free; /* there is a piece to be done; one is done */
	bool stop;
	struct piece pieces[2 * THREADS_MAX]; /* one is read while each thread has one */
	unsigned npieces, busy;
};

static struct piece *find(struct crew *crew, enum state state)
{
	for (unsigned i = 0; i < crew->npieces; i++) {
		if (crew->pieces[i].state == state)
			return &crew->pieces[i];
	}
	return NULL;
}

static void run(void *arg)
{
	struct crew *crew = arg;
	struct piece *piece;

	uv_mutex_lock(&crew->mutex);
	for (;;) {
		piece = find(crew, FULL);
		if (piece == NULL && crew->stop)
			break;
		if (piece == NULL) {
			uv_cond_wait(&crew->full, &crew->mutex);
			continue;
		}
		piece->state = TAKEN;
		uv_mutex_unlock(&crew->mutex);
		crew->work(crew->owner, piece->data, piece->len);
		uv_mutex_lock(&crew->mutex);
		piece->state = FREE;
		crew->busy--;
		uv_cond_signal(&crew->free);
	}
	uv_mutex_unlock(&crew->mutex);
}

void crew_put(struct crew *crew, const uint8_t *data, size_t len)
{
	struct piece *piece;

	assert(len <= crew->most);
	uv_mutex_lock(&crew->mutex);
	while ((piece = find(crew, FREE)) == NULL)
		uv_cond_wait(&crew->free, &crew->mutex);
	piece->state = TAKEN; /* nobody else fills or takes it */
	crew->busy++;
	uv_mutex_unlock(&crew->mutex);
	memcpy(piece->data, data, len);
	uv_mutex_lock(&crew->mutex);
	piece->len = len;
	piece->state = FULL;
	uv_cond_signal(&crew->full);
	uv_mutex_unlock(&crew->mutex);
}

void crew_wait(struct crew *crew)
{
	uv_mutex_lock(&crew->mutex);
	while (crew->busy > 0)
		uv_cond_wait(&crew->free, &crew->mutex);
	uv_mutex_unlock(&crew->mutex);
}

void crew_close(struct crew *crew)
{
	if (crew == NULL)
		return;
	uv_mutex_lock(&crew->mutex);
	crew->stop = true;
	uv_cond_broadcast(&crew->full);
	uv_mutex_unlock(&crew->mutex);
	while (crew->nthreads > 0)
		(void)uv_thread_join(&crew->threads[--crew->nthreads]);
	while (crew->npieces > 0)
		mem_free(crew->pieces[--crew->npieces].data);
	uv_cond_destroy(&crew->free);
	uv_cond_destroy(&crew->full);
	uv_mutex_destroy(&crew->mutex);
	mem_free(crew);
}

/* At least one thread, and a piece for it to have and one to be filled; what is more is welcome. */
static int fill(struct crew *crew, struct err *err)
{
	const unsigned wanted = uv_available_parallelism();

	while (crew->npieces < sizeof(crew->pieces) / sizeof(crew->pieces[0])) {
		crew->pieces[crew->npieces].data = mem_alloc(crew->most);
		if (crew->pieces[crew->npieces].data == NULL)
			break;
		crew->npieces++;
	}
	while (crew->nthreads < THREADS_MAX && crew->nthreads < wanted &&
	       uv_thread_create(&crew->threads[crew->nthreads], run, crew) == 0)
		crew->nthreads++;
	return crew->npieces >= 2 && crew->nthreads > 0 ? RC_OK : err_nomem(err, "working threads");
}

int crew_open(struct crew **out, size_t most,
	      void (*work)(void *owner, const uint8_t *data, size_t len), void *owner,
	      struct err *err)
{
	struct crew *crew = mem_zalloc(1, sizeof(*crew));
	int rc;

	if (crew == NULL)
		return err_nomem(err, "working threads");
	crew->work = work;
	crew->owner = owner;
	crew->most = most;
	if (uv_mutex_init(&crew->mutex) != 0 || uv_cond_init(&crew->full) != 0 ||
	    uv_cond_init(&crew->free) != 0) {
		mem_free(crew); /* these fail where there is no memory at all */
		return err_nomem(err, "working threads");
	}
	rc = fill(crew, err);
	if (rc == RC_OK)
		*out = crew;
	else
		crew_close(crew);
	return rc;
}
