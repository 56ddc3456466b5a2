/*
 * The form of a delta batch, byte by byte (little-endian), and the small pieces that write and
 * read it. Private to delta_*.c.
 *
 *    0  8 bytes "USDELTA1"
 *    8  u64  XXH64 (seed 0) of everything from byte 16 to the end
 *   16  u32  pages, 1 to CHUNK_PAGES
 *   20  u32  control: bytes, 1 to DELTA_CONTROL_MAX
 *   24  u32  control: bytes in the batch. As many: it is there as it is; fewer: as one LZ4 block
 *   28  u32  content: bytes, 0 to CHUNK_BYTES
 *   32  u32  content: bytes in the batch, as with control
 *   36  control, content
 *
 * Control, once decompressed, is a sequence of `pages` entries. Numbers in it are LEB128: 7 bits
 * a byte, lowest first, the highest bit set on every byte but the last. An entry begins with a
 * number: its lowest 2 bits are the kind, the rest is how far the page's index lies beyond the
 * previous page's, less one (the first page's: beyond -1).
 *   kind 0  the page is all zeroes
 *   kind 1  the page is the next 4096 bytes of content
 *   kind 2  the page is as it was, but for runs. Each is a number, the bytes that stay after the
 *           previous run (or the page's start), and a number, twice the bytes that are replaced by
 *           the next bytes of content, plus 1 if this is the page's last run
 *   kind 3  the page is as it was, but for sectors: a byte follows with a bit for each of its eight
 *           sectors of 512 bytes, lowest first; those set are the next bytes of content. The sender
 *           does not know the rest: for the epoch's hash the page counts by what travels,
 *           XXH64 of these bytes with that byte as the seed
 *
 * A batch is valid if and only if
 *   (1) its length is 36 and what the header says is in it, and at most DELTA_BATCH_MAX,
 *   (2) the first 8 bytes and the checksum are right,
 *   (3) the header's numbers are within the limits above,
 *   (4) an LZ4 block decompresses to exactly the bytes stated,
 *   (5) control holds `pages` entries and not a byte more, no number in it is longer than
 *       DELTA_NUMBER_MAX bytes, a kind 3's byte is neither 0 nor 255,
 *   (6) every index is below the receiver's number of pages,
 *   (7) a run replaces at least one byte and ends within the page,
 *   (8) the pages and runs take exactly all of content.
 *
 * Why two streams: the guest's bytes compress better without lengths between them (recorded
 * guests: 1 to 18 % smaller). Why the new bytes and not their XOR: programs write text and
 * tables, whose XOR with what was there is noise to LZ4 (2 to 19 % larger).
 */
#ifndef REPLICA_DELTA_FORMAT_H
#define REPLICA_DELTA_FORMAT_H

#include "appliance/base/bytes.h"
#include "appliance/base/err.h"
#include "replica/chunk.h"
#include "replica/layout.h"

#include <lz4.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DELTA_HEADER ((size_t)36)
#define DELTA_CHECKED 16   /* where the checksum's reach begins */
#define DELTA_NUMBER_MAX 5 /* bytes; an index below 2^31 and its kind fit */
#define DELTA_GAP 4	   /* fewer equal bytes than these do not end a run; see delta_diff.c */
#define DELTA_DENSE 3072   /* a page of which more bytes differ travels whole: as short, faster */
#define DELTA_SLACK 8	   /* bytes behind content that delta_diff_write() may spoil */

/* The most runs in a page: a byte that differs, a gap, and so on. */
#define DELTA_RUNS_MAX ((LAYOUT_PAGE + DELTA_GAP) / (DELTA_GAP + 1))
/* At most so many pages have content; a run's two numbers take at most 2 bytes each. */
#define DELTA_CONTENT_PAGES (CHUNK_BYTES / LAYOUT_PAGE)
#define DELTA_CONTROL_MAX \
	(CHUNK_PAGES * DELTA_NUMBER_MAX + DELTA_CONTENT_PAGES * DELTA_RUNS_MAX * 4)

enum delta_kind { DELTA_ZERO, DELTA_PLAIN, DELTA_CHANGED, DELTA_SECTORS };

struct delta_header {
	uint32_t pages;
	uint32_t control, control_stored;
	uint32_t content, content_stored;
};

/* Writes a header in front of the two parts that are already behind it. */
void delta_format_seal(uint8_t *batch, const struct delta_header *header);
/* Only the checksum anew, of a batch of `len` bytes (at least DELTA_HEADER). */
void delta_format_reseal(uint8_t *batch, size_t len);
/* Conditions (1) to (3). */
int delta_format_open(struct delta_header *header, const uint8_t *batch, size_t len,
		      struct err *err);

/* A number, written at `to`; returns where the next byte goes. */
static inline uint8_t *delta_put_number(uint8_t *to, uint64_t value)
{
	while (value >= 0x80) {
		*to++ = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	*to++ = (uint8_t)value;
	return to;
}

/* Reads a number; sets short_read when there is none, or one that is too long. */
static inline uint64_t delta_get_number(struct cursor *c)
{
	uint64_t value = 0;
	unsigned i;

	for (i = 0; i < DELTA_NUMBER_MAX && i < c->left; i++) {
		value |= (uint64_t)(c->at[i] & 0x7f) << (7 * i);
		if (c->at[i] < 0x80) {
			c->at += i + 1;
			c->left -= i + 1;
			return value;
		}
	}
	c->short_read = true;
	return 0;
}

/* Which bytes of two pages differ, a bit each. */
struct delta_diff {
	uint64_t differ[LAYOUT_PAGE / 64];
};

/* Returns how many bytes differ. */
unsigned delta_diff(struct delta_diff *diff, const uint8_t *page, const uint8_t *old);
/* Writes the runs of a page (at least one byte differs) and their new bytes; moves both ends on. */
void delta_diff_write(const struct delta_diff *diff, const uint8_t *page, uint8_t **control,
		      uint8_t **content);
/*
 * Reads runs and replaces bytes of `page`; false when they are not valid (condition 7), or
 * content is too short.
 */
bool delta_diff_read(uint8_t page[LAYOUT_PAGE], struct cursor *control, struct cursor *content);

/* Of sectors that are the next bytes of content, as summed up like delta_content_hash(). */
uint64_t delta_sectors_hash(uint8_t sectors, const uint8_t *content);
static inline size_t delta_sectors_bytes(uint8_t sectors)
{
	return (size_t)__builtin_popcount(sectors) * CHUNK_SECTOR;
}

/* What one thread needs to encode or decode a batch; see delta_scratch.c. */
struct delta_scratch {
	struct delta_scratch *next;
	LZ4_stream_t lz4; /* initialised; LZ4_compress_fast_extState_fastReset() keeps it so */
	uint64_t order[CHUNK_PAGES]; /* encoding: page index and place in the chunk */
	uint8_t page[LAYOUT_PAGE];   /* decoding: a page being put together */
	uint8_t content[CHUNK_BYTES + DELTA_SLACK];
	uint8_t control[DELTA_CONTROL_MAX];
};

struct delta_scratch *delta_scratch_get(void); /* NULL: no memory */
void delta_scratch_put(struct delta_scratch *scratch);

#endif
