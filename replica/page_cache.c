/*
 * A set-associative cache: a page index is hashed to a set of WAYS pages and is in one of them or
 * nowhere. That costs 6 bytes a page, needs no chains to keep right when pages go, and lets sets
 * share a few locks.
 *
 * Every page has a count: 0 if it only fills room that nobody wanted, 1 if it was wanted once,
 * more for each time that it was found again. A newcomer takes a free place or that of a page
 * with count 0. In a set without such a place one newcomer in ADMIT is admitted, by chance: it
 * takes the place of a page with count 1; when there is none, every count of the set is lowered
 * by one and the newcomer is turned away as well. So pages that come once, a file being written
 * or memory being swept, pass without displacing what changes again and again; and a working set
 * that is larger than the cache finds nearly as many of its pages as fit, where a cache that
 * takes every newcomer would find none. On recorded guests that makes batches up to a third
 * smaller with a cache half as large as it should be, for up to 2 % more with an ample one (ADMIT
 * 4 against 1; 8 is no better).
 */
#include "replica/page_cache.h"

#include "appliance/base/mem.h"
#include "replica/layout.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>

#define WAYS 16	 /* the fuller a hashed set is, the nearer to a cache that looks everywhere */
#define LOCKS 64 /* far more than there are worker threads, so that they seldom meet */
#define ADMIT 4
#define COUNT_MAX 4 /* a page found this often outlives as many rounds of newcomers */
/* 4 TiB of pages: a bound that keeps the arithmetic in range. */
#define SETS_MAX (UINT32_C(1) << 26)

struct set {
	uint32_t page[WAYS]; /* index + 1; 0: free. Indices are below 2^31 (layout.h) */
	uint8_t count[WAYS];
	uint8_t hand;	 /* where the search for a place goes on */
	uint32_t random; /* who is admitted */
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
	if (set->count[way] == 0)
		set->count[way] = 1;
	if (set->count[way] < COUNT_MAX)
		set->count[way]++;
	return page_at(cache, at, way);
}

void page_cache_unlock(struct page_cache *cache, uint64_t index)
{
	if (cache->nsets > 0)
		pthread_mutex_unlock(&cache->locks[set_of(cache, index) % LOCKS]);
}

/* The next place whose count is at most that, free ones first; WAYS: none. */
static uint32_t place_in(const struct set *set, uint8_t count)
{
	uint32_t i, way, place = WAYS;

	for (i = 0; i < WAYS; i++) {
		way = (set->hand + i) % WAYS;
		if (set->page[way] == 0)
			return way;
		if (set->count[way] <= count && place == WAYS)
			place = way;
	}
	return place;
}

static uint8_t *place(struct page_cache *cache, uint32_t at, uint32_t way, uint64_t index,
		      uint8_t count)
{
	struct set *set = &cache->sets[at];

	set->page[way] = (uint32_t)index + 1;
	set->count[way] = count;
	set->hand = (uint8_t)((way + 1) % WAYS);
	return page_at(cache, at, way);
}

static bool is_admitted(struct set *set)
{
	set->random = set->random * 1103515245 + 12345;
	return (set->random >> 16) % ADMIT == 0;
}

uint8_t *page_cache_insert(struct page_cache *cache, uint64_t index)
{
	uint32_t at, way, i;
	struct set *set;

	if (cache->nsets == 0)
		return NULL;
	at = set_of(cache, index);
	set = &cache->sets[at];
	way = place_in(set, 0);
	if (way == WAYS) {
		if (!is_admitted(set))
			return NULL;
		way = place_in(set, 1);
	}
	if (way < WAYS)
		return place(cache, at, way, index, 1);
	for (i = 0; i < WAYS; i++)
		set->count[i]--;
	return NULL;
}

uint8_t *page_cache_fill(struct page_cache *cache, uint64_t index)
{
	uint32_t at, way;

	if (cache->nsets == 0)
		return NULL;
	at = set_of(cache, index);
	way = place_in(&cache->sets[at], 0);
	if (way == WAYS || cache->sets[at].page[way] != 0)
		return NULL;
	return place(cache, at, way, index, 0);
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
