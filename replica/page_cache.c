/*
 * A set-associative cache: a page index is hashed to a set of WAYS pages and is in one of them or
 * nowhere. That costs 5 bytes a page, needs no chains to keep right when pages go, and lets sets
 * share a few locks.
 *
 * Which page of a full set goes: every page has a small count of how often it was found. A
 * newcomer begins with none and takes the place of a page that has none; when there is no such
 * page, every count of the set is lowered by one and the newcomer is turned away. So pages that
 * come once, a file being written or memory being swept, pass through without displacing what
 * changes again and again.
 */
#include "replica/page_cache.h"

#include "appliance/base/mem.h"
#include "replica/layout.h"

#include <pthread.h>
#include <sys/mman.h>

#define WAYS 16	    /* the fuller a hashed set is, the nearer to a cache that looks everywhere */
#define LOCKS 64    /* far more than there are worker threads, so that they seldom meet */
#define FOUND_MAX 3 /* a page found this often outlives as many rounds of newcomers */
/* 4 TiB of pages: a bound that keeps the arithmetic in range. */
#define SETS_MAX (UINT32_C(1) << 26)

struct set {
	uint32_t page[WAYS]; /* index + 1; 0: free. Indices are below 2^31 (layout.h) */
	uint8_t found[WAYS];
	uint8_t hand; /* where the search for a place goes on */
};

struct page_cache {
	uint32_t nsets;
	uint8_t *data;	  /* WAYS pages a set */
	struct set *sets; /* behind them */
	pthread_mutex_t locks[LOCKS];
};

#define SET_BYTES (sizeof(struct set) + WAYS * LAYOUT_PAGE)

int page_cache_create(struct page_cache **out, size_t budget_bytes, struct err *err)
{
	struct page_cache *cache = mem_zalloc(1, sizeof(*cache));
	size_t nsets = budget_bytes / SET_BYTES, i;

	if (cache == NULL)
		return err_nomem(err, "page cache");
	cache->nsets = nsets < SETS_MAX ? (uint32_t)nsets : SETS_MAX;
	if (cache->nsets > 0) {
		void *memory = fault_here(FAULT_ALLOC) ?
				       MAP_FAILED :
				       mmap(NULL, cache->nsets * SET_BYTES, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (memory == MAP_FAILED) {
			mem_free(cache);
			return err_nomem(err, "page cache");
		}
		cache->data = memory;
		cache->sets = (void *)(cache->data + cache->nsets * (WAYS * LAYOUT_PAGE));
	}
	for (i = 0; i < LOCKS; i++)
		pthread_mutex_init(&cache->locks[i], NULL);
	*out = cache;
	return RC_OK;
}

void page_cache_destroy(struct page_cache *cache)
{
	size_t i;

	if (cache == NULL)
		return;
	for (i = 0; i < LOCKS; i++)
		pthread_mutex_destroy(&cache->locks[i]);
	if (cache->nsets > 0)
		munmap(cache->data, cache->nsets * SET_BYTES);
	mem_free(cache);
}

void page_cache_clear(struct page_cache *cache)
{
	if (cache->nsets > 0)
		madvise(cache->data, cache->nsets * SET_BYTES,
			MADV_DONTNEED); /* reads as zeroes from now on */
}

size_t page_cache_pages(const struct page_cache *cache)
{
	return (size_t)cache->nsets * WAYS;
}

static uint32_t set_of(const struct page_cache *cache, uint64_t index)
{
	uint32_t hash = (uint32_t)((index * UINT64_C(0x9E3779B97F4A7C15)) >> 32);

	return (uint32_t)(((uint64_t)hash * cache->nsets) >> 32);
}

static uint8_t *page_at(const struct page_cache *cache, uint32_t set, uint32_t way)
{
	return cache->data + ((size_t)set * WAYS + way) * LAYOUT_PAGE;
}

static uint32_t way_of(const struct set *set, uint64_t index)
{
	uint32_t way;

	for (way = 0; way < WAYS && set->page[way] != (uint32_t)index + 1; way++)
		;
	return way;
}

uint8_t *page_cache_lock(struct page_cache *cache, uint64_t index)
{
	uint32_t at, way;
	struct set *set;

	if (cache->nsets == 0)
		return NULL;
	at = set_of(cache, index);
	set = &cache->sets[at];
	pthread_mutex_lock(&cache->locks[at % LOCKS]);
	way = way_of(set, index);
	if (way == WAYS)
		return NULL;
	if (set->found[way] < FOUND_MAX)
		set->found[way]++;
	return page_at(cache, at, way);
}

void page_cache_unlock(struct page_cache *cache, uint64_t index)
{
	if (cache->nsets > 0)
		pthread_mutex_unlock(&cache->locks[set_of(cache, index) % LOCKS]);
}

uint8_t *page_cache_insert(struct page_cache *cache, uint64_t index)
{
	uint32_t at, i;
	struct set *set;

	if (cache->nsets == 0)
		return NULL;
	at = set_of(cache, index);
	set = &cache->sets[at];
	for (i = 0; i < WAYS; i++) {
		uint32_t way = (set->hand + i) % WAYS;

		if (set->page[way] == 0 || set->found[way] == 0) {
			set->page[way] = (uint32_t)index + 1;
			set->found[way] = 0;
			set->hand = (uint8_t)((way + 1) % WAYS);
			return page_at(cache, at, way);
		}
	}
	for (i = 0; i < WAYS; i++)
		set->found[i]--;
	return NULL;
}

void page_cache_remove(struct page_cache *cache, uint64_t index)
{
	struct set *set;
	uint32_t way;

	if (cache->nsets == 0)
		return;
	set = &cache->sets[set_of(cache, index)];
	way = way_of(set, index);
	if (way < WAYS)
		set->page[way] = 0;
}
