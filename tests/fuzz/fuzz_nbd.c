/*
 * What an NBD client may send, in pieces: handshake and requests; and what they write goes, as the agent has it, into a disk store,
 * whose pages are compared with a plain disk.
 */
#include "appliance/base/buf.h"
#include "net/nbd_session.h"
#include "replica/disk_store.h"
#include "replica/layout.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define BYTES (195 * 512) /* the last page is not whole */
#define PAGES (((size_t)BYTES + LAYOUT_PAGE - 1) / LAYOUT_PAGE)
#define FIRST_PAGE 7
#define POOL (8 * CHUNK_BYTES)

static const struct nbd_export export = { .name = "d", .bytes = BYTES, .block = 4096 };
static const struct disk_extent extent = { .first = FIRST_PAGE, .bytes = BYTES };
static volatile uint8_t last;
static struct {
	struct chunk_pool *pool;
	struct disk_store *store;
	uint8_t bytes[PAGES * LAYOUT_PAGE]; /* what was written */
	uint8_t written[PAGES];		    /* a bit for each such sector */
	bool whole;			    /* nothing found no room */
} disk;

static void disk_open(bool first_copy)
{
	struct err err;

	CHECK(disk.pool != NULL || chunk_pool_create(&disk.pool, POOL, &err) == RC_OK);
	CHECK(disk_store_create(&disk.store, disk.pool, &err) == RC_OK);
	if (!first_copy)
		disk_store_cut(disk.store);
	memset(disk.bytes, 0, sizeof(disk.bytes));
	memset(disk.written, 0, sizeof(disk.written));
	disk.whole = true;
}

static void disk_write(const struct nbd_request *request)
{
	struct err err;
	uint64_t at;
	int rc = disk_store_write(disk.store, &extent, request->offset, request->data,
				  request->length, &err);

	CHECK(rc == RC_OK || rc == RC_LIMIT || rc == RC_INVALID);
	disk.whole = disk.whole && rc != RC_LIMIT;
	if (rc != RC_OK)
		return;
	if (request->data != NULL)
		memcpy(disk.bytes + request->offset, request->data, request->length);
	else
		memset(disk.bytes + request->offset, 0, request->length);
	for (at = request->offset; at < request->offset + request->length; at += CHUNK_SECTOR)
		disk.written[at / LAYOUT_PAGE] |= (uint8_t)(1 << (at % LAYOUT_PAGE / CHUNK_SECTOR));
}

/* What a page has is put where it belongs; sectors that it has not stay. */
static void page_apply(const struct chunk_page *page, uint8_t *held, uint8_t *known)
{
	const uint8_t sectors = page->sectors != 0 ? page->sectors : UINT8_MAX;
	const uint64_t at = (page->index - FIRST_PAGE) * LAYOUT_PAGE;
	size_t i;

	CHECK(page->index >= FIRST_PAGE && page->index - FIRST_PAGE < PAGES);
	known[page->index - FIRST_PAGE] |= sectors;
	for (i = 0; i < LAYOUT_PAGE / CHUNK_SECTOR; i++) {
		if ((sectors >> i & 1) == 0)
			continue;
		if (page->data != NULL)
			memcpy(held + at + i * CHUNK_SECTOR, page->data + i * CHUNK_SECTOR,
			       CHUNK_SECTOR);
		else
			memset(held + at + i * CHUNK_SECTOR, 0, CHUNK_SECTOR);
	}
}

static void disk_close(void)
{
	static uint8_t held[PAGES * LAYOUT_PAGE], known[PAGES];
	struct chunk_list chunks = { 0 };
	struct chunk *chunk;
	size_t i, j;

	memset(held, 0, sizeof(held));
	memset(known, 0, sizeof(known));
	disk_store_cut(disk.store);
	disk_store_take(disk.store, &chunks);
	while ((chunk = chunk_list_take(&chunks)) != NULL) {
		for (i = 0; i < chunk->npages; i++)
			page_apply(&chunk->pages[i], held, known);
		chunk_put(chunk);
	}
	disk_store_destroy(disk.store);
	for (i = 0; disk.whole && i < PAGES; i++) {
		CHECK((disk.written[i] & ~known[i]) == 0);
		for (j = 0; j < LAYOUT_PAGE / CHUNK_SECTOR; j++)
			CHECK((disk.written[i] >> j & 1) == 0 ||
			      memcmp(held + i * LAYOUT_PAGE + j * CHUNK_SECTOR,
				     disk.bytes + i * LAYOUT_PAGE + j * CHUNK_SECTOR,
				     CHUNK_SECTOR) == 0);
	}
}

static void answer(struct nbd_session *session, const struct nbd_request *request)
{
	static const struct nbd_extent hole = { BYTES, NBD_HOLE };

	CHECK(session->state == NBD_SERVING && request->offset <= export.bytes &&
	      request->length <= export.bytes - request->offset);
	CHECK((request->data != NULL) == (request->command == NBD_WRITE));
	if (request->command == NBD_WRITE || request->command == NBD_WRITE_ZEROES ||
	    request->command == NBD_TRIM)
		disk_write(request);
	if (request->data != NULL && request->length > 0)
		last = request->data[request->length - 1]; /* readable to its end */
	if (request->command == NBD_READ)
		nbd_put_data(&session->out, session->structured, request->cookie, request->offset,
			     NULL, request->length);
	else if (request->command == NBD_BLOCK_STATUS)
		nbd_put_extents(&session->out, request->cookie, NBD_CONTEXT_ALLOCATION, &hole, 1);
	else
		nbd_put_done(&session->out, request->cookie);
}

/* The first byte says in pieces of what size the rest arrives. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct nbd_request *request;
	struct nbd_session session;
	size_t at = 1, room, piece;
	struct err err;
	uint8_t *space;

	if (size == 0 || nbd_session_init(&session, &export, (size_t)1 << 20, &err) != RC_OK)
		return 0;
	piece = (size_t)data[0] + 1;
	disk_open((data[0] & 1) != 0);
	while (at < size && (space = nbd_session_space(&session, &room)) != NULL) {
		CHECK(room > 0 && room <= NBD_PAYLOAD_MAX + NBD_REQUEST_HEADER);
		room = room < piece ? room : piece;
		room = room < size - at ? room : size - at;
		memcpy(space, data + at, room);
		at += room;
		nbd_session_filled(&session, room);
		while (nbd_session_next(&session, &request, &err) == RC_OK && request != NULL) {
			answer(&session, request);
			if (session.out.len > 65536)
				buf_reset(&session.out);
		}
	}
	nbd_session_free(&session);
	disk_close();
	return 0;
}
