/*
 * Delta: the least that has to travel so that the standby's copy of a page becomes the instance's.
 *
 * Per page, the first that applies: zero; unchanged (nothing travels); only what differs from the
 * version last sent, if a bounded cache still has it; the page itself. Of a disk's page of which only
 * some sectors are known: these, always. The pages of a chunk make
 * one batch, whose bytes are compressed together with LZ4. delta_format.h has the format, byte by
 * byte.
 *
 * A sender's delta_state knows, per page, the 64-bit hash of what the standby has (8 bytes a
 * page), and the cache.
 */
#ifndef REPLICA_DELTA_H
#define REPLICA_DELTA_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"
#include "replica/chunk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Encoded; an incompressible chunk with its table. */
#define DELTA_BATCH_MAX ((size_t)(CHUNK_BYTES + CHUNK_BYTES / 8))

struct delta_stats {
	uint64_t pages, zero, unchanged, changed, plain; /* `changed`: the difference travelled */
	uint64_t bytes_in;				 /* of all pages */
	uint64_t bytes_out;				 /* of the batches */
	uint64_t disk_out; /* of those that are of disks (encoder.h) */
};

/* Adds what `s` counted. */
void delta_stats_add(struct delta_stats *to, const struct delta_stats *s);

struct delta_state;

/*
 * `pages`: how many page indices there are (a layout's); `cache_bytes`: the budget of the cache
 * with all that it costs. It knows nothing of what the standby has, so that every page will be
 * sent.
 */
int delta_state_create(struct delta_state **state, uint64_t pages, size_t cache_bytes,
		       struct err *err);
void delta_state_destroy(struct delta_state *state);
/* Forgets what the standby has: every page is sent again. Not while a chunk is being encoded. */
void delta_state_forget(struct delta_state *state);
/*
 * The standby told the hashes of what it has (resync): count of them, from index `first`, as
 * delta_content_hash() makes them; 0: not known. What lies beyond the state's pages is ignored.
 * Not while a chunk is being encoded.
 */
void delta_state_learn(struct delta_state *state, uint64_t first, const uint64_t *hashes,
		       size_t count);

/*
 * Encodes a chunk into one batch appended to `out` (nothing is appended when no page has to
 * travel; its limit has to leave DELTA_BATCH_MAX), adds to `stats` and to *epoch_hash, the
 * order-independent sum of delta_page_hash() over the pages that travel; *sent counts them. Of a
 * page that is in the chunk twice the later one counts. Thread-safe for chunks that have no page
 * in common; `may_xor` (send differences) only where each page comes once per epoch, not in a
 * first copy or resync.
 *
 * On an error (RC_NOMEM; RC_INVALID: an index beyond the state's pages) nothing was appended or
 * added, and what the standby has of the chunk's pages counts as unknown, so that the state stays
 * true whatever the caller does about the lost pages.
 */
int delta_encode(struct delta_state *state, const struct chunk *chunk, bool may_xor,
		 struct buf *out, uint64_t *epoch_hash, uint64_t *sent, struct delta_stats *stats,
		 struct err *err);

/*
 * One batch of `count` pages as they are (1 to CHUNK_BYTES / LAYOUT_PAGE of them, each with data, their
 * indices below LAYOUT_BYTES_MAX / LAYOUT_PAGE and ascending), appended to `out` as delta_encode() does.
 * RC_NOMEM: nothing was appended.
 */
int delta_encode_plain(const struct chunk_page *pages, size_t count, struct buf *out,
		       struct err *err);

struct delta_sink {
	/*
	 * The page's present content (LAYOUT_PAGE bytes), to which a difference is applied; NULL
	 * refuses.
	 */
	const uint8_t *(*base)(void *owner, uint64_t index);
	/* The same for sectors, where whatever is there may be patched; NULL (the function, too) refuses. */
	const uint8_t *(*held)(void *owner, uint64_t index);
	/*
	 * The page's new content (LAYOUT_PAGE bytes; NULL: all zeroes), valid during the call. An
	 * error ends the decoding.
	 */
	int (*put)(void *owner, uint64_t index, const uint8_t *data, struct err *err);
	void *owner;
	uint64_t pages; /* indices are below this */
};

/*
 * Decodes and verifies one batch; adds to *epoch_hash and *received as the encoder did.
 * RC_INVALID on anything that is not a valid batch; the sink may have been given pages by then,
 * but only if the batch came as it was made (its checksum is right). Within a batch the sink sees
 * each page once, in ascending order. Thread-safe if the sink is.
 */
int delta_decode(const uint8_t *batch, size_t len, const struct delta_sink *sink,
		 uint64_t *epoch_hash, uint64_t *received, struct err *err);

/*
 * XXH64 of a page's content (data NULL: of zeroes), never 0; and that mixed with its index, as
 * summed up in an epoch's hash.
 */
uint64_t delta_content_hash(const uint8_t *data);
uint64_t delta_page_hash(uint64_t index, uint64_t content_hash);

/*
 * Gives back the working memory that no thread is using (at most 1.9 MiB for each that encodes or
 * decodes).
 */
void delta_trim(void);

#endif
