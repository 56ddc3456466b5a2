/*
 * Theory of operation. The last page of a disk, which hardly anything is ever kept in, gets a mark of random bytes, is looked at through
 * each other disk of that many bytes, and gets back what was in it. One at a time in this process: two that mark the same
 * page at once would each see the other's mark.
 *
 * The image holds no epoch: if its process ends in between, what was marked differs from the instance's page, and travels. Of
 * another instance, if it is hit, one page is wrong for some milliseconds, in place of all of it for ever.
 */
#include "replica/image_apart.h"

#include "replica/image_target.h"

#include <pthread.h>
#include <string.h>

#include <uv.h>

static pthread_mutex_t looking = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lock =
	PTHREAD_MUTEX_INITIALIZER; /* of the list: nobody closes one meanwhile */
static struct image_block *list;

void image_apart_join(struct image_block *block)
{
	(void)pthread_mutex_lock(&lock);
	block->listed = list;
	list = block;
	(void)pthread_mutex_unlock(&lock);
}

void image_apart_leave(struct image_block *block)
{
	struct image_block **at = &list;

	(void)pthread_mutex_lock(&lock);
	while (*at != NULL && *at != block)
		at = &(*at)->listed;
	if (*at != NULL)
		*at = block->listed;
	(void)pthread_mutex_unlock(&lock);
}

/* Two files are two, or their locks would have told (image_disk.c). */
static bool may_be_one(const struct image_block *one, const struct image_block *other)
{
	return one != other && one->bytes == other->bytes &&
	       (one->target != NULL || other->target != NULL);
}

static bool has_to_be_looked_at(const struct image_block *block)
{
	const struct image_block *other;

	(void)pthread_mutex_lock(&lock);
	for (other = list; other != NULL && !may_be_one(block, other);)
		other = other->listed;
	(void)pthread_mutex_unlock(&lock);
	return other != NULL;
}

static bool shows(struct image_block *block, uint64_t page, const uint8_t *mark, size_t len)
{
	uint8_t room[LAYOUT_PAGE];
	struct err err;
	int rc = block->target != NULL ? image_target_peek(block, page, room, &err) :
					 block->disk->read(block, page, room, &err);

	return rc == RC_OK && memcmp(room, mark, len) == 0;
}

/* The first in which the mark is seen; NULL: none. *own: its number among `blocks`, or `count`. */
static bool find(struct image_block *const *blocks, size_t count, const struct image_block *marked,
		 const uint8_t *mark, size_t len, size_t *own)
{
	const uint64_t page = marked->pages - 1;
	struct image_block *other;

	(void)pthread_mutex_lock(&lock);
	for (other = list; other != NULL; other = other->listed) {
		if (may_be_one(marked, other) && shows(other, page, mark, len))
			break;
	}
	for (*own = 0; *own < count && blocks[*own] != other;)
		++*own;
	(void)pthread_mutex_unlock(&lock);
	return other != NULL;
}

static int put(struct image_block *block, const uint8_t *content, struct err *err)
{
	int rc = block->disk->write(block, block->pages - 1, content, err);

	return rc == RC_OK ? image_block_settle(block, true, err) : rc;
}

static int look(struct image_block *const *blocks, const char *const *names, size_t count, size_t i,
		struct err *err)
{
	struct image_block *block = blocks[i];
	const size_t tail = (size_t)(block->bytes - (block->pages - 1) * LAYOUT_PAGE);
	uint8_t before[LAYOUT_PAGE], mark[LAYOUT_PAGE];
	size_t own = count;
	bool found;
	int rc = block->disk->read(block, block->pages - 1, before, err);

	memset(mark, 0, sizeof(mark));
	if (rc == RC_OK && uv_random(NULL, NULL, mark, tail, 0, NULL) != 0)
		rc = err_set(err, RC_IO, "no random number");
	if (rc == RC_OK)
		rc = put(block, mark, err);
	if (rc != RC_OK)
		return rc;
	found = find(blocks, count, block, mark, tail, &own);
	rc = put(block, before, err);
	if (!found || rc != RC_OK)
		return rc;
	return own < count ?
		       err_set(err, RC_REFUSED,
			       "what is written to it is in disk \"%s\", too: they are one store by "
			       "two names: give each disk a target, or a file, of its own",
			       names[own]) :
		       err_set(err, RC_REFUSED,
			       "what is written to it is in a disk of another instance, too: they are "
			       "one store by two names: give each disk a target, or a file, of its own");
}

int image_apart_look(struct image_block *const *blocks, const char *const *names, size_t count,
		     struct err *err)
{
	int rc = RC_OK;
	size_t i;

	for (i = 0; rc == RC_OK && i < count; i++)
		rc = blocks[i]->disk->ready != NULL ? blocks[i]->disk->ready(blocks[i], err) :
						      RC_OK;
	(void)pthread_mutex_lock(&looking);
	for (i = 0; rc == RC_OK && i < count; i++) {
		if (!has_to_be_looked_at(blocks[i]))
			continue;
		rc = look(blocks, names, count, i, err);
		if (rc != RC_OK)
			(void)err_prefix(err, "disk \"%s\": ", names[i]);
	}
	(void)pthread_mutex_unlock(&looking);
	return rc;
}
