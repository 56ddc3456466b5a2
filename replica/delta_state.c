/*
 * The table of hashes is memory that the system gives page by page as it is written, 8 bytes for
 * a page of the guest's; forgetting gives it back. The hashes are written by whichever thread
 * encodes the page (a page is in one chunk at a time).
 */
#include "replica/delta_state.h"

#include "appliance/base/mem.h"
#include "replica/layout.h"

#include <sys/mman.h>

int delta_state_create(struct delta_state **out, uint64_t pages, size_t cache_bytes,
		       struct err *err)
{
	struct delta_state *state;
	int rc;

	if (pages == 0 || pages > LAYOUT_BYTES_MAX / LAYOUT_PAGE)
		return err_set(err, RC_LIMIT, "delta state: %llu pages", (unsigned long long)pages);
	state = mem_zalloc(1, sizeof(*state));
	if (state == NULL)
		return err_nomem(err, "delta state");
	state->pages = pages;
	state->zero_hash = delta_content_hash(NULL);
	state->hashes = fault_here(FAULT_ALLOC) ?
				MAP_FAILED :
				mmap(NULL, pages * sizeof(*state->hashes), PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (state->hashes == MAP_FAILED) {
		mem_free(state);
		return err_nomem(err, "delta state: page hashes");
	}
	rc = page_cache_create(&state->cache, cache_bytes, err);
	if (rc != RC_OK) {
		delta_state_destroy(state);
		return err_prefix(err, "delta state: ");
	}
	*out = state;
	return RC_OK;
}

void delta_state_destroy(struct delta_state *state)
{
	if (state == NULL)
		return;
	page_cache_destroy(state->cache);
	munmap(state->hashes, state->pages * sizeof(*state->hashes));
	mem_free(state);
}

void delta_state_forget(struct delta_state *state)
{
	madvise(state->hashes, state->pages * sizeof(*state->hashes),
		MADV_DONTNEED); /* reads as zeroes from now on */
	page_cache_clear(state->cache);
}

void delta_state_learn(struct delta_state *state, uint64_t first, const uint64_t *hashes,
		       size_t count)
{
	uint64_t room = first < state->pages ? state->pages - first : 0;
	uint64_t i;

	for (i = 0; i < count && i < room; i++) {
		if (state->hashes[first + i] == hashes[i])
			continue;
		state->hashes[first + i] = hashes[i];
		page_cache_lock(state->cache, first + i);
		page_cache_remove(state->cache, first + i);
		page_cache_unlock(state->cache, first + i);
	}
}
