#include "replica/colo_staging.h"

#include <assert.h>
#include <string.h>

static void start_chunk(const struct colo_staging *staging, struct chunk *chunk)
{
	chunk->next = NULL;
	chunk->npages = 0;
	chunk->used = 0;
	chunk->epoch = staging->epoch;
}

static int get(struct colo_staging *staging, bool held, struct chunk **chunk, struct err *err)
{
	*chunk = held ? chunk_list_take(&staging->ready) : NULL;
	if (*chunk == NULL && staging->kept.count > 0)
		colo_outbox_chunks(staging->outbox,
				   &staging->kept); /* so that they can come back */
	if (*chunk == NULL)
		*chunk = chunk_get(staging->pool);
	if (*chunk == NULL)
		return err_nomem(err, "staging chunk");
	start_chunk(staging, *chunk);
	return RC_OK;
}

int colo_staging_begin(struct colo_staging *staging, struct err *err)
{
	return get(staging, false, &staging->chunk, err);
}

size_t colo_staging_ready_max(const struct chunk_pool *pool)
{
	size_t limit = chunk_pool_limit(pool);

	return limit / 2 < limit - 2 ? limit / 2 : limit - 2;
}

int colo_staging_prepare(struct colo_staging *staging, size_t count, struct err *err)
{
	struct chunk *chunk;

	if (staging->kept.count > 0)
		colo_outbox_chunks(staging->outbox, &staging->kept);
	while (staging->ready.count > count)
		chunk_put(chunk_list_take(&staging->ready));
	while (staging->ready.count < count) {
		chunk = chunk_get(staging->pool);
		if (chunk == NULL)
			return err_nomem(err, "staging chunk");
		chunk_list_add(&staging->ready, chunk);
	}
	return RC_OK;
}

int colo_staging_next(struct colo_staging *staging, bool held, struct err *err)
{
	struct chunk *old = staging->chunk, *chunk = old;
	size_t rest = old->used - staging->parsed;
	int rc;

	if (old->npages > 0) {
		rc = get(staging, held, &chunk, err);
		if (rc != RC_OK)
			return rc;
	}
	memmove(chunk->bytes, old->bytes + staging->parsed, rest);
	chunk->used = rest;
	staging->parsed = 0;
	staging->chunk = chunk;
	if (chunk == old)
		return RC_OK;
	old->used -= rest;
	staging->filled++;
	chunk_list_add(&staging->kept, old);
	if (!held)
		colo_outbox_chunks(staging->outbox, &staging->kept);
	return RC_OK;
}

int colo_staging_add_tail(struct colo_staging *staging, uint64_t index, size_t len, struct err *err)
{
	size_t start = staging->parsed - len;
	int rc;

	assert(staging->chunk->used == staging->parsed);
	if (CHUNK_BYTES - start < LAYOUT_PAGE) {
		staging->parsed = start;
		rc = colo_staging_next(staging, true, err);
		if (rc != RC_OK)
			return rc;
		start = 0;
	}
	memset(staging->chunk->bytes + start + len, 0, LAYOUT_PAGE - len);
	staging->parsed = staging->chunk->used = start + LAYOUT_PAGE;
	colo_staging_add(staging, index, staging->chunk->bytes + start);
	return RC_OK;
}

int colo_staging_end_epoch(struct colo_staging *staging, const struct capture_epoch *epoch,
			   struct err *err)
{
	int rc = RC_OK;

	if (staging->chunk->npages > 0) {
		chunk_list_add(&staging->kept, staging->chunk);
		staging->chunk = NULL;
		staging->filled++;
	}
	colo_outbox_epoch(staging->outbox, &staging->kept, epoch);
	staging->epoch = epoch->epoch + 1;
	staging->parsed = 0;
	if (staging->chunk == NULL)
		rc = get(staging, false, &staging->chunk, err);
	else
		start_chunk(staging, staging->chunk);
	return rc;
}

void colo_staging_end(struct colo_staging *staging)
{
	if (staging->chunk != NULL)
		chunk_put(staging->chunk);
	staging->chunk = NULL;
	chunk_list_return(&staging->ready);
	chunk_list_return(&staging->kept);
}
