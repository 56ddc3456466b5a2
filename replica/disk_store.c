/*
 * A table finds the page's place among the chunks of the open epoch: open addressing, at most half
 * full, emptied by each cut: one that has grown changes places with a small one, because the instance stands
 * meanwhile. In the first copy a full chunk leaves it, so that a page which comes again
 * is a new one, in a later chunk.
 *
 * A page that is all zeroes costs no bytes of a chunk. If it is written again it moves to where there are
 * some: a chunk's pages point into its own bytes only.
 */
#include "replica/disk_store.h"

#include "appliance/base/mem.h"
#include "replica/layout.h"

#include <pthread.h>
#include <string.h>

#define TABLE_MIN 1024
#define SECTORS (LAYOUT_PAGE / CHUNK_SECTOR)
#define ALL ((uint8_t)UINT8_MAX)

_Static_assert(SECTORS == 8, "a page's sectors are the bits of a byte");

struct place {
	struct chunk *chunk; /* NULL: free */
	uint64_t index;
	uint32_t slot;
};

struct disk_store {
	pthread_mutex_t lock;
	struct chunk_pool *pool;
	struct place *table;
	struct place *spare,
		*old;	   /* empty, of the least size; grown, to be freed: each may be NULL */
	size_t size, used; /* places */
	struct chunk *current;
	struct chunk_list open; /* without the current one */
	struct chunk_list done; /* to be taken */
	bool copying;		/* no cut yet */
};

/* ---- the table ------------------------------------------------------------------------------ */

static size_t home_of(const struct disk_store *store, uint64_t index)
{
	return (size_t)((index * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (store->size - 1);
}

/* The page's place, or the free one for it. */
static struct place *find(const struct disk_store *store, uint64_t index)
{
	size_t at = home_of(store, index);

	while (store->table[at].chunk != NULL && store->table[at].index != index)
		at = (at + 1) & (store->size - 1);
	return &store->table[at];
}

static bool grow(struct disk_store *store)
{
	struct disk_store larger = { .size = store->size * 2 };
	size_t i;

	larger.table = mem_zalloc(larger.size, sizeof(*larger.table));
	if (larger.table == NULL)
		return false;
	for (i = 0; i < store->size; i++)
		if (store->table[i].chunk != NULL)
			*find(&larger, store->table[i].index) = store->table[i];
	mem_free(store->table);
	store->table = larger.table;
	store->size = larger.size;
	return true;
}

static void forget_all(struct disk_store *store)
{
	if (store->used > 0)
		memset(store->table, 0, store->size * sizeof(*store->table));
	store->used = 0;
}

/* ---- chunks --------------------------------------------------------------------------------- */

static void put_aside(struct disk_store *store)
{
	if (store->current == NULL)
		return;
	chunk_list_add(store->copying ? &store->done : &store->open, store->current);
	store->current = NULL;
	if (store->copying)
		forget_all(store);
}

/* The current chunk has room for a page, with bytes if `data`. */
static int make_room(struct disk_store *store, bool data, struct err *err)
{
	const struct chunk *chunk = store->current;

	if (chunk != NULL &&
	    (chunk->npages == CHUNK_PAGES || (data && CHUNK_BYTES - chunk->used < LAYOUT_PAGE)))
		put_aside(store);
	if (store->current == NULL)
		store->current = chunk_try(store->pool);
	if (store->current == NULL)
		return err_set(err, RC_LIMIT,
			       "more was written to the disks than there is room for "
			       "(budget.disk_mib)");
	store->current->disk = true;
	if (store->used * 2 >= store->size && !grow(store))
		return err_nomem(err, "disk writes");
	return RC_OK;
}

/* A place of the page's in the current chunk; its bytes are not set. */
static void add_page(struct disk_store *store, uint64_t index, bool data)
{
	struct chunk *chunk = store->current;
	struct place *place = find(store, index);
	struct chunk_page *page = &chunk->pages[chunk->npages];

	if (place->chunk == NULL)
		store->used++;
	*place = (struct place){ .chunk = chunk, .index = index, .slot = chunk->npages++ };
	*page = (struct chunk_page){ .index = index };
	if (!data)
		return;
	page->data = chunk->bytes + chunk->used;
	chunk->used += LAYOUT_PAGE;
}

/* The page leaves its chunk, whose last one takes its slot; its place in the table stays. */
static void take_out(struct disk_store *store, const struct place *place)
{
	struct chunk *chunk = place->chunk;
	const uint32_t last = --chunk->npages;

	if (place->slot == last)
		return;
	chunk->pages[place->slot] = chunk->pages[last];
	find(store, chunk->pages[last].index)->slot = place->slot;
}

/* ---- pages ---------------------------------------------------------------------------------- */

static uint8_t *bytes_of(const struct place *place)
{
	const struct chunk_page *page = &place->chunk->pages[place->slot];

	return place->chunk->bytes + (page->data - place->chunk->bytes);
}

/* The page has bytes: what is known of it stays. */
static int with_bytes(struct disk_store *store, uint64_t index, struct chunk_page **page,
		      uint8_t **bytes, bool *known, struct err *err)
{
	struct place *place = find(store, index);
	bool was_zero = place->chunk != NULL && place->chunk->pages[place->slot].data == NULL;
	int rc = RC_OK;

	*known = place->chunk != NULL;
	if (place->chunk == NULL || was_zero)
		rc = make_room(store, true, err);
	if (rc != RC_OK)
		return rc;
	place = find(store, index); /* it may have gone, or moved */
	*known = place->chunk != NULL;
	if (place->chunk == NULL || was_zero) {
		if (place->chunk != NULL)
			take_out(store, place);
		add_page(store, index, true);
		place = find(store, index);
	}
	*bytes = bytes_of(place);
	*page = &place->chunk->pages[place->slot];
	if (was_zero && *known)
		memset(*bytes, 0, LAYOUT_PAGE);
	return RC_OK;
}

/* Sectors of one page: `mask`, from `data` (NULL: zeroes), which begins with the first of them. */
static int put_sectors(struct disk_store *store, uint64_t index, uint8_t mask, size_t at,
		       size_t len, const uint8_t *data, struct err *err)
{
	struct chunk_page *page;
	uint8_t *bytes;
	bool known;
	int rc = with_bytes(store, index, &page, &bytes, &known, err);

	if (rc != RC_OK)
		return rc;
	if (data != NULL)
		memcpy(bytes + at, data, len);
	else
		memset(bytes + at, 0, len);
	if (known && page->sectors == 0)
		return RC_OK; /* all of it was known */
	page->sectors |= mask;
	if (page->sectors == ALL)
		page->sectors = 0;
	return RC_OK;
}

static int put_zero(struct disk_store *store, uint64_t index, struct err *err)
{
	struct place *place = find(store, index);
	int rc;

	if (place->chunk != NULL && place->chunk->pages[place->slot].data != NULL) {
		memset(bytes_of(place), 0, LAYOUT_PAGE);
		place->chunk->pages[place->slot].sectors = 0;
		return RC_OK;
	}
	if (place->chunk != NULL)
		return RC_OK;
	rc = make_room(store, false, err);
	if (rc == RC_OK)
		add_page(store, index, false);
	return rc;
}

/* The bits of [at, at + len). */
static uint8_t mask_of(size_t at, size_t len)
{
	return (uint8_t)(((1U << (len / CHUNK_SECTOR)) - 1) << (at / CHUNK_SECTOR));
}

/* One page's part; `beyond`: of its end, what lies behind the disk's. */
static int put_page(struct disk_store *store, uint64_t index, size_t at, size_t len, size_t beyond,
		    const uint8_t *data, struct err *err)
{
	int rc;

	if (data == NULL && at == 0 && len + beyond == LAYOUT_PAGE)
		return put_zero(store, index, err);
	rc = put_sectors(store, index, mask_of(at, len), at, len, data, err);
	if (rc == RC_OK && beyond > 0)
		rc = put_sectors(store, index, mask_of(LAYOUT_PAGE - beyond, beyond),
				 LAYOUT_PAGE - beyond, beyond, NULL, err);
	return rc;
}

int disk_store_write(struct disk_store *store, const struct disk_extent *disk, uint64_t offset,
		     const uint8_t *data, uint64_t len, struct err *err)
{
	int rc = RC_OK;

	if (offset % CHUNK_SECTOR != 0 || len % CHUNK_SECTOR != 0 || offset > disk->bytes ||
	    len > disk->bytes - offset)
		return err_set(err, RC_INVALID, "a write to a disk that is not of whole sectors");
	pthread_mutex_lock(&store->lock);
	while (rc == RC_OK && len > 0) {
		const uint64_t page = offset / LAYOUT_PAGE;
		const size_t at = offset % LAYOUT_PAGE, room = LAYOUT_PAGE - at;
		const size_t part = len < room ? (size_t)len : room;
		const uint64_t end = (page + 1) * LAYOUT_PAGE;

		rc = put_page(store, disk->first + page, at, part,
			      end > disk->bytes ? (size_t)(end - disk->bytes) : 0, data, err);
		offset += part;
		len -= part;
		data = data != NULL ? data + part : NULL;
	}
	pthread_mutex_unlock(&store->lock);
	return rc;
}

/* ---- epochs --------------------------------------------------------------------------------- */

static void change_tables(struct disk_store *store)
{
	if (store->size == TABLE_MIN || store->spare == NULL) {
		forget_all(store);
		return;
	}
	store->old = store->table;
	store->table = store->spare;
	store->spare = NULL;
	store->size = TABLE_MIN;
	store->used = 0;
}

void disk_store_cut(struct disk_store *store)
{
	pthread_mutex_lock(&store->lock);
	put_aside(store);
	store->copying = false;
	chunk_list_move(&store->done, &store->open);
	change_tables(store);
	pthread_mutex_unlock(&store->lock);
}

bool disk_store_has_full(struct disk_store *store)
{
	bool full;

	pthread_mutex_lock(&store->lock);
	full = store->done.first != NULL;
	pthread_mutex_unlock(&store->lock);
	return full;
}

void disk_store_take(struct disk_store *store, struct chunk_list *chunks)
{
	struct place *old;

	pthread_mutex_lock(&store->lock);
	chunk_list_move(chunks, &store->done);
	old = store->old;
	store->old = NULL;
	if (store->spare == NULL)
		store->spare = mem_zalloc(TABLE_MIN, sizeof(*store->spare)); /* or none */
	pthread_mutex_unlock(&store->lock);
	mem_free(old);
}

int disk_store_create(struct disk_store **out, struct chunk_pool *pool, struct err *err)
{
	struct disk_store *store = mem_zalloc(1, sizeof(*store));

	if (store == NULL)
		return err_nomem(err, "disk writes");
	store->size = TABLE_MIN;
	store->table = mem_zalloc(store->size, sizeof(*store->table));
	if (store->table == NULL) {
		mem_free(store);
		return err_nomem(err, "disk writes");
	}
	store->pool = pool;
	store->copying = true;
	pthread_mutex_init(&store->lock, NULL);
	*out = store;
	return RC_OK;
}

void disk_store_destroy(struct disk_store *store)
{
	if (store == NULL)
		return;
	put_aside(store);
	chunk_list_return(&store->open);
	chunk_list_return(&store->done);
	pthread_mutex_destroy(&store->lock);
	mem_free(store->old);
	mem_free(store->spare);
	mem_free(store->table);
	mem_free(store);
}
