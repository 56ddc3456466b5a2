/*
 * The versions of pages last sent: a fixed number of pages in memory, found by page index.
 *
 * Any thread may use it; a page's place is the caller's from page_cache_lock() to
 * page_cache_unlock(), with a few hundred other pages that share its lock. All that it costs
 * stays within the budget; memory is used as pages come.
 */
#ifndef REPLICA_PAGE_CACHE_H
#define REPLICA_PAGE_CACHE_H

#include "appliance/base/err.h"

#include <stddef.h>
#include <stdint.h>

struct page_cache;

/* With less budget than one set of pages takes (64 KiB) it holds nothing, which is not an error. */
int page_cache_create(struct page_cache **cache, size_t budget_bytes, struct err *err);
void page_cache_destroy(struct page_cache *cache);
/* Forgets every page and gives the memory back. No page may be locked. */
void page_cache_clear(struct page_cache *cache);
/* How many pages it can hold. */
size_t page_cache_pages(const struct page_cache *cache);

/*
 * Locks a page's place. The cached content (LAYOUT_PAGE bytes, the caller may rewrite it), or
 * NULL: not here.
 */
uint8_t *page_cache_lock(struct page_cache *cache, uint64_t index);
/*
 * While locked and not here: room for it, at the cost of another page; NULL when the others are
 * wanted more.
 */
uint8_t *page_cache_insert(struct page_cache *cache, uint64_t index);
/* While locked and not here: room that nobody else wants, or NULL. */
uint8_t *page_cache_fill(struct page_cache *cache, uint64_t index);
/* While locked: forgets the page, if it is here. */
void page_cache_remove(struct page_cache *cache, uint64_t index);
void page_cache_unlock(struct page_cache *cache, uint64_t index);

#endif
