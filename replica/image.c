/*
 * An epoch's life here: image_begin() → image_batch() ... → image_commit() or image_abort().
 *
 * With a committed epoch, batches are decoded into staging. image_commit() then goes through
 * these steps, the first three of which can fail and change nothing that can be seen:
 *   1. every batch was decoded; count and hash of the pages are what the primary states; the
 *      device state fits its block; QEMU would find the disks where they are written to
 *   2. what was spilled to a file comes back as it was
 *   3. every page that will hold something has storage (a tmpfs can be full)
 *   4. the pages are copied; the epoch is committed.
 * If reading the spill file fails in step 4 after it succeeded in step 2, or a disk cannot be written although
 * its pages have storage, the image is a mixture:
 * then it has no committed epoch any more, rather than a wrong one, and the primary has to resync.
 *
 * Without a committed epoch, batches go straight to the blocks; step 1 decides whether that made
 * an epoch. Differences are then refused: there is nothing that they could be applied to.
 */
#include "replica/image.h"

#include "appliance/base/lock_file.h"
#include "appliance/base/mem.h"
#include "replica/delta.h"
#include "replica/image_apart.h"
#include "replica/image_map.h"
#include "replica/image_target.h"
#include "replica/staging.h"
#include "replica/zero_page.h"

#include <inttypes.h>
#include <stdatomic.h>

#include <uv.h>

struct image {
	struct image_map map;
	struct staging *staging;
	_Atomic uint64_t
		epoch; /* committed; 0: none. The loop's thread asks while a worker commits */
	uint64_t open; /* being received; 0: none */
	uint32_t device_state_len;
	_Atomic uint64_t received, hash; /* of the open epoch */
	atomic_bool failed;		 /* a batch was lost: the open epoch cannot be committed */
	atomic_bool doubtful; /* a disk's writes may be lost: there is no epoch any more */
	uv_mutex_t still;     /* its layout does not change while a piece is copied out */
	bool restoring; /* not all pages are there: they are not what an epoch was made against */
};

/* ---- making it ----------------------------------------------------------------------------- */

int image_create(struct image **out, const char *dir, const char *spill_dir,
		 struct image_shared *shared, size_t nshared, size_t staging_bytes, struct err *err)
{
	struct image *image = mem_zalloc(1, sizeof(*image));
	int rc;

	if (image == NULL)
		return err_nomem(err, "memory image");
	if (uv_mutex_init(&image->still) != 0) {
		mem_free(image);
		return err_nomem(err, "memory image");
	}
	rc = image_map_open(&image->map, dir, shared, nshared, err);
	if (rc == RC_OK)
		rc = staging_create(&image->staging, staging_bytes, spill_dir, err);
	if (rc != RC_OK)
		image_destroy(image, true);
	else
		*out = image;
	return rc;
}

void image_destroy(struct image *image, bool keep)
{
	if (image == NULL)
		return;
	image_map_close(&image->map, keep);
	staging_destroy(image->staging);
	uv_mutex_destroy(&image->still);
	mem_free(image);
}

int image_lock(const struct image *image)
{
	return image->map.lock;
}

void image_held_by(const struct image *image, pid_t pid)
{
	lock_file_name(image->map.lock, pid);
}

int image_add_disk(struct image *image, const struct image_disk *disk, struct err *err)
{
	return image_map_disk(&image->map, disk, err);
}

size_t image_disk_places(const struct image *image, struct disk_place places[LAYOUT_DISKS_MAX])
{
	return image_map_places(&image->map, places);
}

int image_set_layout(struct image *image, const struct layout *layout, struct err *err)
{
	int rc;

	if (atomic_load(&image->doubtful))
		image_forget(image);
	if (image->map.layout != NULL && layout_equal(image->map.layout, layout))
		return RC_OK;
	if (image->epoch > 0 || image->open > 0)
		return err_set(
			err, RC_STATE,
			"memory image: another layout, while it holds an epoch of the former");
	uv_mutex_lock(&image->still);
	rc = image_map_layout(&image->map, layout, err);
	uv_mutex_unlock(&image->still);
	return rc;
}

/* ---- looking at it ------------------------------------------------------------------------- */

const struct layout *image_layout(const struct image *image)
{
	return image->map.layout;
}

uint64_t image_epoch(const struct image *image)
{
	return atomic_load(&image->doubtful) ? 0 : image->epoch;
}

bool image_was_reopened(const struct image *image)
{
	return image->map.reopened;
}

bool image_is_shared(const struct image *image, const struct layout_block *block)
{
	return image_map_shared(&image->map, block) != NULL;
}

uint32_t image_device_state_len(const struct image *image)
{
	return image->device_state_len;
}

uint64_t image_staged(const struct image *image)
{
	return staging_bytes(image->staging);
}

/* *content NULL: all zeroes. */
static int content_of(const struct image *image, uint64_t index, uint8_t *room,
		      const uint8_t **content, struct err *err)
{
	uint64_t page;
	struct image_block *block = image_map_block(&image->map, index, &page);

	return image_block_read(block, page, room, content, err);
}

int image_read(const struct image *image, uint64_t index, uint8_t *room, const uint8_t **content,
	       struct err *err)
{
	int rc = content_of(image, index, room, content, err);

	if (rc == RC_OK && *content == NULL)
		*content = zero_page;
	return rc;
}

const uint8_t *image_page(const struct image *image, uint64_t index)
{
	uint64_t page;
	const struct image_block *block = image_map_block(&image->map, index, &page);
	const uint8_t *content = image_block_page(block, page);

	return content != NULL ? content : zero_page;
}

void image_hashes(const struct image *image, uint64_t first, size_t count, uint64_t *hashes)
{
	uint64_t zero_hash = delta_content_hash(NULL);
	uint8_t room[LAYOUT_PAGE];
	const uint8_t *content;
	struct err unread;
	size_t i;

	for (i = 0; i < count; i++) {
		if (content_of(image, first + i, room, &content, &unread) != RC_OK)
			hashes[i] = 0; /* not known: it travels */
		else
			hashes[i] = content != NULL ? delta_content_hash(content) : zero_hash;
	}
}

void image_prefetch(const struct image *image, uint64_t first, uint64_t count)
{
	const uint64_t end =
		first + count < image->map.layout->pages ? first + count : image->map.layout->pages;
	struct image_block *block;
	uint64_t page, part;

	for (; first < end; first += part) {
		block = image_map_block(&image->map, first, &page);
		part = block->pages - page < end - first ? block->pages - page : end - first;
		if (block->disk != NULL)
			block->disk->prefetch(block, page, part);
	}
}

/* ---- writing pages: at once, or at the commit ---------------------------------------------- */

/* Zero pages are collected into runs, of which longer ones give memory back. */
struct writer {
	struct image *image;
	uint64_t zero_first, zero_count;
	struct err unread; /* a page that was to be read, and why it could not be */
};

static int flush_zeroes(struct writer *w, struct err *err)
{
	int rc = RC_OK;

	while (rc == RC_OK && w->zero_count > 0) {
		uint64_t page, count;
		struct image_block *block = image_map_block(&w->image->map, w->zero_first, &page);

		count = block->pages - page < w->zero_count ? block->pages - page : w->zero_count;
		rc = image_block_zero(block, page, count, err);
		w->zero_first += count;
		w->zero_count -= count;
	}
	return rc;
}

static int write_page(void *owner, uint64_t index, const uint8_t *data, struct err *err)
{
	struct writer *w = owner;
	struct image_block *block;
	uint64_t page;
	int rc = RC_OK;

	if (w->zero_count > 0 && (data != NULL || index != w->zero_first + w->zero_count))
		rc = flush_zeroes(w, err);
	if (rc != RC_OK)
		return rc;
	if (data == NULL) {
		if (w->zero_count++ == 0)
			w->zero_first = index;
		return RC_OK;
	}
	block = image_map_block(&w->image->map, index, &page);
	return image_block_write(block, page, data, err);
}

static int reserve_page(void *owner, uint64_t index, const uint8_t *data, struct err *err)
{
	struct image *image = owner;
	struct image_block *block;
	uint64_t page;

	if (data == NULL)
		return RC_OK;
	block = image_map_block(&image->map, index, &page);
	return image_block_reserve(block, page, err);
}

static int stage_page(void *owner, uint64_t index, const uint8_t *data, struct err *err)
{
	const struct writer *w = owner;

	return staging_put(w->image->staging, index, data, err);
}

static const uint8_t *committed_page(void *owner, uint64_t index)
{
	static _Thread_local uint8_t room[LAYOUT_PAGE];
	const uint8_t *content;
	struct writer *w = owner;

	return image_read(w->image, index, room, &content, &w->unread) == RC_OK ? content : NULL;
}

/* In an epoch that brings all anew a page may have come before. */
static const uint8_t *staged_page(void *owner, uint64_t index)
{
	static _Thread_local uint8_t room[LAYOUT_PAGE];
	const struct writer *w = owner;
	const uint8_t *content;

	return staging_get(w->image->staging, index, room, &content) ? content :
								       committed_page(owner, index);
}

static const uint8_t *no_page(void *owner, uint64_t index)
{
	(void)owner;
	(void)index;
	return NULL;
}

/* All that was written to disks has happened. */
static int settle(struct image *image, bool durable, struct err *err)
{
	int rc = RC_OK;

	for (uint32_t i = 0; rc == RC_OK && i < image->map.ndisks; i++)
		rc = image_block_settle(&image->map.disk_blocks[i], durable, err);
	return rc;
}

/* ---- an epoch ------------------------------------------------------------------------------ */

static void end_epoch(struct image *image)
{
	staging_reset(image->staging);
	image->open = 0;
}

static int lost_with_qemu(struct err *err)
{
	return err_set(err, RC_IO,
		       "QEMU ended with writes to a disk's target that were not durable yet");
}

int image_begin(struct image *image, uint64_t epoch, struct err *err)
{
	if (image->map.layout == NULL)
		return err_set(err, RC_STATE, "memory image: epoch %" PRIu64 " before a layout",
			       epoch);
	if (image->open > 0)
		return err_set(err, RC_STATE,
			       "memory image: epoch %" PRIu64 " while %" PRIu64 " is not complete",
			       epoch, image->open);
	if (atomic_load(&image->doubtful)) {
		image_forget(image);
		return lost_with_qemu(err);
	}
	if (epoch <= image->epoch)
		return err_set(err, RC_INVALID, "memory image: epoch %" PRIu64 " after %" PRIu64,
			       epoch, image->epoch);
	image->open = epoch;
	atomic_store(&image->received, 0);
	atomic_store(&image->hash, 0);
	atomic_store(&image->failed, false);
	return RC_OK;
}

static int decode(struct image *image, bool at_once, const uint8_t *batch, size_t len,
		  uint64_t *hash, uint64_t *received, struct err *err)
{
	struct writer writer = { .image = image };
	struct delta_sink direct = {
		.base = no_page, .held = committed_page, .put = write_page, .owner = &writer
	};
	struct delta_sink staged = {
		.base = committed_page, .held = staged_page, .put = stage_page, .owner = &writer
	};
	struct delta_sink *sink = at_once ? &direct : &staged;
	int rc;

	sink->pages = image->map.layout->pages;
	rc = delta_decode(batch, len, sink, hash, received, err);
	if (rc != RC_OK && writer.unread.code != RC_OK) { /* that is why */
		*err = writer.unread;
		return (int)err->code;
	}
	if (rc == RC_OK)
		rc = flush_zeroes(&writer, err);
	return rc == RC_OK && at_once ? settle(image, false, err) : rc;
}

int image_batch(struct image *image, const uint8_t *batch, size_t len, struct err *err)
{
	uint64_t hash = 0, received = 0;
	int rc;

	if (image->open == 0)
		return err_set(err, RC_STATE, "memory image: a batch outside of an epoch");
	rc = decode(image, image->epoch == 0 && !image->restoring, batch, len, &hash, &received,
		    err);
	if (rc != RC_OK) {
		atomic_store(&image->failed, true);
		return err_prefix(err, "epoch %" PRIu64 ": ", image->open);
	}
	atomic_fetch_add(&image->received, received);
	atomic_fetch_add(&image->hash, hash);
	return RC_OK;
}

static int check_sums(const struct image *image, uint64_t pages, uint64_t hash,
		      uint32_t device_state_len, struct err *err)
{
	if (atomic_load(&image->failed))
		return err_set(err, RC_STATE, "a batch was lost");
	if (atomic_load(&image->received) != pages)
		return err_set(err, RC_INVALID, "%" PRIu64 " pages came, %" PRIu64 " were sent",
			       atomic_load(&image->received), pages);
	if (atomic_load(&image->hash) != hash && !image->restoring)
		return err_set(err, RC_INVALID, "its pages are not those that were sent");
	if (device_state_len > LAYOUT_DEVICE_STATE_MAX)
		return err_set(err, RC_LIMIT, "a device state of %" PRIu32 " bytes",
			       device_state_len);
	return RC_OK;
}

static int apply(struct image *image, struct err *err)
{
	struct writer writer = { .image = image };
	int rc;

	rc = staging_verify(image->staging, err);
	if (rc == RC_OK)
		rc = staging_each_index(image->staging, reserve_page, image, err);
	if (rc != RC_OK)
		return rc;
	rc = staging_each(image->staging, write_page, &writer, err);
	if (rc == RC_OK)
		rc = flush_zeroes(&writer, err);
	if (rc == RC_OK)
		rc = settle(image, true, err);
	if (rc == RC_OK && atomic_load(&image->doubtful))
		rc = lost_with_qemu(err);
	if (rc != RC_OK) {
		image_forget(image);
		err_prefix(err, "the image is lost, a resync is needed: ");
	}
	return rc;
}

static int check_places(struct image *image, struct err *err)
{
	const int rc = image_map_check_places(&image->map, err);

	if (rc == RC_INVALID)
		image_forget(image);
	return rc;
}

int image_commit(struct image *image, uint64_t pages, uint64_t hash, uint32_t device_state_len,
		 struct err *err)
{
	uint64_t epoch = image->open;
	int rc;

	if (epoch == 0)
		return err_set(err, RC_STATE, "memory image: a commit outside of an epoch");
	rc = check_sums(image, pages, hash, device_state_len, err);
	if (rc == RC_OK)
		rc = check_places(image, err);
	if (rc == RC_OK)
		rc = apply(image, err);
	if (rc == RC_OK) {
		image->epoch = epoch;
		image->device_state_len = device_state_len;
	}
	end_epoch(image);
	return rc == RC_OK ? RC_OK : err_prefix(err, "epoch %" PRIu64 ": ", epoch);
}

void image_abort(struct image *image)
{
	if (image->open > 0)
		end_epoch(image);
}

void image_forget(struct image *image)
{
	image_abort(image);
	image->restoring = false;
	image->epoch = 0;
	image->device_state_len = 0;
	atomic_store(&image->doubtful, false);
}

bool image_disks_lost(struct image *image)
{
	for (uint32_t i = 0; i < image->map.ndisks; i++) {
		if (image->map.disk_blocks[i].target != NULL &&
		    image_target_lost(&image->map.disk_blocks[i]))
			atomic_store(&image->doubtful, true);
	}
	return atomic_load(&image->doubtful);
}

int image_disks_apart(struct image *image, struct err *err)
{
	struct image_block *blocks[LAYOUT_DISKS_MAX];
	const char *names[LAYOUT_DISKS_MAX];

	for (uint32_t i = 0; i < image->map.ndisks; i++) {
		blocks[i] = &image->map.disk_blocks[i];
		names[i] = image->map.disks[i].name;
	}
	return image_apart_look(blocks, names, image->map.ndisks, err);
}

void image_give_up(struct image *image)
{
	for (uint32_t i = 0; i < image->map.ndisks; i++) {
		if (image->map.disk_blocks[i].target != NULL)
			image_target_give_up(&image->map.disk_blocks[i]);
	}
}

struct image_map *image_map_of(struct image *image)
{
	return &image->map;
}

int image_become(struct image *image, uint64_t epoch, uint32_t device_state_len, struct err *err)
{
	int rc = settle(image, true, err);

	if (rc == RC_OK && atomic_load(&image->doubtful))
		rc = lost_with_qemu(err);
	if (rc != RC_OK)
		return rc;
	image->epoch = epoch;
	image->device_state_len = device_state_len;
	return RC_OK;
}

/* ---- copying it out, and back ---------------------------------------------------------------- */

#define DUMP_PAGES (CHUNK_BYTES / LAYOUT_PAGE)
#define DUMP_LOOKS \
	65536 /* pages that are looked at in one piece: a few milliseconds when all are zero */

/* `rooms`: DUMP_PAGES pages. */
static int dump(const struct image *image, uint64_t *next, uint8_t *rooms, struct buf *out,
		struct err *err)
{
	struct chunk_page pages[DUMP_PAGES];
	const uint64_t last = image->map.layout->pages;
	uint64_t at = *next;
	size_t count = 0;
	int rc = RC_OK;

	for (; rc == RC_OK && at < last && at < *next + DUMP_LOOKS && count < DUMP_PAGES; at++) {
		pages[count].index = at;
		rc = content_of(image, at, rooms + count * LAYOUT_PAGE, &pages[count].data, err);
		count += pages[count].data != NULL && !zero_page_is(pages[count].data);
	}
	if (rc == RC_OK && count > 0)
		rc = delta_encode_plain(pages, count, out, err);
	if (rc == RC_OK)
		*next = at;
	return rc;
}

int image_dump(struct image *image, uint64_t *next, struct buf *out, struct err *err)
{
	uint8_t *rooms = mem_alloc(DUMP_PAGES * LAYOUT_PAGE);
	int rc;

	if (rooms == NULL)
		return err_nomem(err, "copying an image");
	uv_mutex_lock(&image->still);
	rc = dump(image, next, rooms, out, err);
	uv_mutex_unlock(&image->still);
	mem_free(rooms);
	return rc;
}

int image_restore_begin(struct image *image, uint64_t epoch, uint32_t device_state_len,
			struct err *err)
{
	struct writer all = { .image = image };

	if (image->map.layout == NULL || image->open > 0)
		return err_set(err, RC_STATE, "memory image: brought back inside an epoch");
	if (device_state_len > LAYOUT_DEVICE_STATE_MAX)
		return err_set(err, RC_INVALID, "memory image: a device state of %" PRIu32 " bytes",
			       device_state_len);
	all.zero_count = image->map.layout->pages;
	if (flush_zeroes(&all, err) != RC_OK || settle(image, false, err) != RC_OK)
		return (int)err->code;
	image->epoch = epoch;
	image->device_state_len = device_state_len;
	image->restoring = true;
	return RC_OK;
}

int image_restore_pages(struct image *image, const uint8_t *batch, size_t len, struct err *err)
{
	uint64_t hash = 0, received = 0;

	if (!image->restoring || image->open > 0)
		return err_set(err, RC_STATE, "memory image: pages of a copy inside an epoch");
	return decode(image, true, batch, len, &hash, &received, err);
}

void image_restore_end(struct image *image)
{
	image->restoring = false;
}
