/*
 * A chunk is made when none is free, kept when it comes back, because the guest stands still
 * while one is being filled and fresh memory is filled at half the speed. What was kept and not
 * needed is given back slowly: each time the pool falls idle (after every checkpoint) it may keep
 * as many as were used at the busiest moment since it was idle last, or a little less than it
 * kept before, whichever is more.
 */
#include "replica/chunk.h"

#include "appliance/base/mem.h"

#include <assert.h>
#include <pthread.h>

/* What is kept shrinks by a sixteenth each time: 64 chunks are gone after about 60 checkpoints. */
#define KEEP_DECAY 16

struct chunk_pool {
	pthread_mutex_t lock;
	pthread_cond_t came_back; /* a chunk is free, or the pool was closed */
	struct chunk *free;
	size_t limit, in_use, nfree; /* chunks */
	size_t peak;		     /* most in use since the pool was idle last */
	size_t keep;		     /* free and used ones together, while idle */
	bool closed;
};

int chunk_pool_create(struct chunk_pool **out, size_t budget_bytes, struct err *err)
{
	struct chunk_pool *pool = mem_zalloc(1, sizeof(*pool));

	if (pool == NULL)
		return err_nomem(err, "staging buffers");
	pool->limit = budget_bytes / CHUNK_BYTES < 2 ? 2 : budget_bytes / CHUNK_BYTES;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->came_back, NULL);
	*out = pool;
	return RC_OK;
}

static void chunk_free(struct chunk *chunk)
{
	if (chunk == NULL)
		return;
	mem_free(chunk->bytes);
	mem_free(chunk);
}

static struct chunk *chunk_make(void)
{
	struct chunk *chunk = mem_alloc(sizeof(*chunk));

	if (chunk == NULL)
		return NULL;
	chunk->bytes = mem_alloc(CHUNK_BYTES);
	if (chunk->bytes == NULL) {
		mem_free(chunk);
		return NULL;
	}
	return chunk;
}

static void put_back(struct chunk_pool *pool, struct chunk *chunk);

static struct chunk *get(struct chunk_pool *pool, bool wait)
{
	struct chunk *chunk = NULL;
	bool make = false, has_room;

	pthread_mutex_lock(&pool->lock);
	while (wait && !pool->closed && pool->free == NULL && pool->in_use == pool->limit)
		pthread_cond_wait(&pool->came_back, &pool->lock);
	has_room = pool->free != NULL || pool->in_use < pool->limit;
	if (!pool->closed && has_room) {
		chunk = pool->free;
		make = chunk == NULL;
		if (!make) {
			pool->free = chunk->next;
			pool->nfree--;
		}
		pool->in_use++; /* also the place of the one that is about to be made */
		if (pool->in_use > pool->peak)
			pool->peak = pool->in_use;
	}
	pthread_mutex_unlock(&pool->lock);
	if (make) {
		chunk = chunk_make();
		if (chunk == NULL)
			put_back(pool, NULL);
	}
	if (chunk != NULL) {
		chunk->pool = pool;
		chunk->next = NULL;
		chunk->epoch = 0;
		chunk->disk = false;
		chunk->npages = 0;
		chunk->used = 0;
	}
	return chunk;
}

struct chunk *chunk_get(struct chunk_pool *pool)
{
	return get(pool, true);
}

struct chunk *chunk_try(struct chunk_pool *pool)
{
	return get(pool, false);
}

/* The chunks that an idle pool should not keep; the lock is held. */
static struct chunk *take_surplus(struct chunk_pool *pool)
{
	struct chunk *surplus = NULL;
	size_t less = pool->keep - (pool->keep + KEEP_DECAY - 1) / KEEP_DECAY;

	pool->keep = pool->peak > less ? pool->peak : less;
	pool->peak = 0;
	while (pool->nfree > pool->keep) {
		struct chunk *chunk = pool->free;

		pool->free = chunk->next;
		pool->nfree--;
		chunk->next = surplus;
		surplus = chunk;
	}
	return surplus;
}

/* `chunk` NULL: the place of one that could not be made. */
static void put_back(struct chunk_pool *pool, struct chunk *chunk)
{
	struct chunk *surplus = NULL;

	pthread_mutex_lock(&pool->lock);
	assert(pool->in_use > 0);
	pool->in_use--;
	if (chunk != NULL) {
		chunk->next = pool->free;
		pool->free = chunk;
		pool->nfree++;
	}
	if (pool->in_use == 0)
		surplus = take_surplus(pool);
	pthread_cond_signal(&pool->came_back);
	pthread_mutex_unlock(&pool->lock);
	while (surplus != NULL) {
		struct chunk *next = surplus->next;

		chunk_free(surplus);
		surplus = next;
	}
}

void chunk_put(struct chunk *chunk)
{
	put_back(chunk->pool, chunk);
}

void chunk_pool_close(struct chunk_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->closed = true;
	pthread_cond_broadcast(&pool->came_back);
	pthread_mutex_unlock(&pool->lock);
}

void chunk_pool_open(struct chunk_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->closed = false;
	pthread_mutex_unlock(&pool->lock);
}

size_t chunk_pool_limit(const struct chunk_pool *pool)
{
	return pool->limit;
}

size_t chunk_pool_in_use(struct chunk_pool *pool)
{
	size_t in_use;

	pthread_mutex_lock(&pool->lock);
	in_use = pool->in_use;
	pthread_mutex_unlock(&pool->lock);
	return in_use;
}

void chunk_pool_destroy(struct chunk_pool *pool)
{
	if (pool == NULL)
		return;
	assert(pool->in_use == 0);
	while (pool->free != NULL) {
		struct chunk *next = pool->free->next;

		chunk_free(pool->free);
		pool->free = next;
	}
	pthread_cond_destroy(&pool->came_back);
	pthread_mutex_destroy(&pool->lock);
	mem_free(pool);
}
