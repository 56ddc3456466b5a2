/*
 * Shared blocks have their files from image_map_open() on, because QEMU is started before the
 * instance's layout is known; private ones are made with the layout. A shared block's number in
 * `shared` and a layout block's number are different things.
 *
 * DIR/.lock is held before any file is looked at, and for as long as anybody has one mapped: the
 * QEMU that does inherits the descriptor. So a replica that serves is safe from a standby that knows
 * nothing of it, also when the process that brought it to life is gone.
 */
#include "replica/image_map.h"

#include "appliance/base/files.h"
#include "appliance/base/lock_file.h"
#include "appliance/base/mem.h"
#include "replica/image_room.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * Blocks that QEMU does not share are ROMs and video memory. More than this is guest RAM that
 * should have been shared.
 */
#define PRIVATE_MAX (UINT64_C(2) << 30)

/* The file's path: the block's name with what is not plain in a file name as %XX. */
static int make_path(struct image_shared *shared, const char *dir, struct err *err)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
	char file[3 * sizeof(shared->name)], *to = file;
	const char *at;
	int n;

	for (at = shared->name; *at != '\0'; at++) {
		if (strchr(plain, *at) != NULL || (*at == '.' && at > shared->name))
			*to++ = *at;
		else
			to += snprintf(to, 4, "%%%02x", (unsigned)(unsigned char)*at);
	}
	*to = '\0';
	n = snprintf(shared->path, sizeof(shared->path), "%s/%s", dir, file);
	if (n < 0 || (size_t)n >= sizeof(shared->path))
		return err_set(err, RC_LIMIT,
			       "memory image: the path of block \"%s\" in %s is too long",
			       shared->name, dir);
	return RC_OK;
}

static int take_lock(struct image_map *map, const char *dir, struct err *err)
{
	char where[FILES_CLIP + 1], who[32] = "another process";
	pid_t holder;
	int n, rc;

	/* No block's file has this name: make_path() lets none begin with a dot. */
	n = snprintf(map->lock_path, sizeof(map->lock_path), "%s/" IMAGE_LOCK, dir);
	if (n < 0 || (size_t)n >= sizeof(map->lock_path))
		return err_set(err, RC_LIMIT, "memory image: the path of %.200s is too long", dir);
	rc = lock_file_take(map->lock_path, &map->lock, &holder, err);
	if (rc != RC_STATE)
		return rc;
	files_clip(where, dir);
	if (holder > 0)
		(void)snprintf(who, sizeof(who), "process %d", (int)holder);
	return err_set(
		err, RC_REFUSED,
		"memory_dir: %s: in use by %s as the memory of a replica, which would be written "
		"over; if that replica is not wanted, end the process, else give this standby a "
		"memory_dir of its own",
		where, who);
}

static int open_shared(struct image_map *map, const char *dir, struct image_shared *shared,
		       size_t i, struct err *err)
{
	uint64_t pages = shared->bytes / LAYOUT_PAGE;
	bool existed = false;
	int rc;

	if (shared->name[0] == '\0' || pages == 0 || shared->bytes % LAYOUT_PAGE != 0 ||
	    shared->bytes > LAYOUT_BYTES_MAX)
		return err_set(err, RC_INVALID, "memory image: block \"%s\" of %" PRIu64 " bytes",
			       shared->name, shared->bytes);
	rc = make_path(shared, dir, err);
	if (rc == RC_OK)
		rc = image_block_open(&map->shared_blocks[i], shared->path, pages, &existed, err);
	if (existed)
		map->reopened = true;
	map->shared[i] = *shared;
	return rc;
}

static int check_room(const struct image_map *map, const char *dir, struct err *err)
{
	uint64_t bytes = 0, stored = 0;
	size_t i;

	for (i = 0; i < map->nshared; i++) {
		bytes += map->shared[i].bytes;
		stored += image_block_stored(&map->shared_blocks[i]);
	}
	return image_room_check(dir, bytes, stored, err);
}

int image_map_open(struct image_map *map, const char *dir, struct image_shared *shared,
		   size_t nshared, struct err *err)
{
	size_t i;
	int rc;

	*map = (struct image_map){ .lock = LOCK_FILE_NONE };
	map->shared = mem_zalloc(nshared, sizeof(*map->shared));
	map->shared_blocks = mem_zalloc(nshared, sizeof(*map->shared_blocks));
	if (map->shared == NULL || map->shared_blocks == NULL) {
		image_map_close(map, true);
		return err_nomem(err, "memory image");
	}
	rc = take_lock(map, dir, err);
	for (i = 0; rc == RC_OK && i < nshared; i++) {
		rc = open_shared(map, dir, &shared[i], i, err);
		if (rc == RC_OK)
			map->nshared++;
	}
	if (rc == RC_OK)
		rc = check_room(map, dir, err);
	if (rc != RC_OK)
		image_map_close(map, true);
	return rc;
}

int image_map_disk(struct image_map *map, const struct image_disk *disk, struct err *err)
{
	bool existed = false;
	int rc;

	if (map->ndisks == LAYOUT_DISKS_MAX)
		return err_set(err, RC_LIMIT, "more than %d disks", LAYOUT_DISKS_MAX);
	if (disk->bytes == 0 || disk->bytes > LAYOUT_BYTES_MAX)
		return err_set(err, RC_INVALID, "disk \"%s\" of %" PRIu64 " bytes", disk->name,
			       disk->bytes);
	rc = image_block_disk(&map->disk_blocks[map->ndisks], disk, &existed, err);
	if (rc != RC_OK)
		return err_prefix(err, "disk \"%s\": ", disk->name);
	map->disks[map->ndisks++] = *disk;
	map->reopened = map->reopened || existed;
	return RC_OK;
}

size_t image_map_places(const struct image_map *map, struct disk_place places[LAYOUT_DISKS_MAX])
{
	size_t count = 0;

	for (uint32_t i = 0; i < map->ndisks; i++) {
		const struct image_block *block = &map->disk_blocks[i];
		struct disk_place *place = &places[count];

		if (block->fd < 0)
			continue;
		*place = (struct disk_place){ .bytes = block->bytes,
					      .device = block->device,
					      .inode = block->inode };
		memcpy(place->name, map->disks[i].name, sizeof(place->name));
		memcpy(place->path, map->disks[i].path, sizeof(place->path));
		count++;
	}
	return count;
}

int image_map_check_places(struct image_map *map, struct err *err)
{
	struct disk_place places[LAYOUT_DISKS_MAX];
	const size_t count = image_map_places(map, places);
	int rc = RC_OK;

	for (size_t i = 0; i < count && rc == RC_OK; i++)
		rc = disk_place_look(&places[i], err);
	if (rc != RC_INVALID)
		return rc;
	for (uint32_t i = 0; i < map->ndisks; i++)
		image_block_resize(&map->disk_blocks[i]);
	return err_prefix(err, "the image is lost: ");
}

static void drop_layout(struct image_map *map)
{
	uint32_t i;

	for (i = 0; map->layout != NULL && i <= map->layout->ram_blocks; i++)
		if (map->blocks[i] == &map->private_blocks[i])
			image_block_close(&map->private_blocks[i]);
	memset(map->blocks, 0, sizeof(map->blocks));
	mem_free(map->layout);
	map->layout = NULL;
}

void image_map_close(struct image_map *map, bool keep)
{
	size_t i;

	drop_layout(map);
	for (i = 0; i < map->nshared; i++) {
		if (!keep)
			(void)unlink(map->shared[i].path);
		image_block_close(&map->shared_blocks[i]);
	}
	if (!keep && map->lock != LOCK_FILE_NONE)
		(void)unlink(map->lock_path);
	lock_file_let_go(map->lock); /* after the blocks */
	mem_free(map->shared);
	mem_free(map->shared_blocks);
	for (i = 0; i < map->ndisks; i++)
		image_block_close(&map->disk_blocks[i]);
	*map = (struct image_map){ .lock = LOCK_FILE_NONE };
}

const struct image_shared *image_map_shared(const struct image_map *map,
					    const struct layout_block *block)
{
	size_t i;

	for (i = 0; i < map->nshared; i++)
		if (strcmp(map->shared[i].name, block->name) == 0)
			return &map->shared[i];
	return NULL;
}

static int check_disks(const struct image_map *map, const struct layout *layout, struct err *err)
{
	bool same = map->ndisks == layout->disks;
	uint32_t i;

	for (i = 0; same && i < map->ndisks; i++)
		same = strcmp(layout_disk(layout, i)->name, map->disks[i].name) == 0 &&
		       layout_disk(layout, i)->pages == map->disk_blocks[i].pages;
	return same ? RC_OK :
		      err_set(err, RC_REFUSED, "the instance's disks are not those reserved");
}

/* Every shared block is in the layout with its size, and what is left is not too much. */
static int check_layout(const struct image_map *map, const struct layout *layout, struct err *err)
{
	uint64_t private_bytes = 0, shared_blocks = 0;
	uint32_t i;

	for (i = 0; i < layout->ram_blocks; i++) {
		const struct layout_block *block = &layout->blocks[i];
		const struct image_shared *shared = image_map_shared(map, block);

		if (shared == NULL) {
			private_bytes += block->pages * LAYOUT_PAGE;
			continue;
		}
		shared_blocks++;
		if (shared->bytes != block->pages * LAYOUT_PAGE)
			return err_set(err, RC_REFUSED,
				       "memory image: block \"%s\" has %" PRIu64 " bytes, %" PRIu64
				       " were reserved",
				       block->name, block->pages * LAYOUT_PAGE, shared->bytes);
	}
	if (shared_blocks != map->nshared)
		return err_set(err, RC_REFUSED,
			       "memory image: the instance has not all of the %zu blocks reserved",
			       map->nshared);
	if (private_bytes > PRIVATE_MAX)
		return err_set(err, RC_LIMIT,
			       "memory image: %" PRIu64 " bytes of memory that cannot be shared",
			       private_bytes);
	return check_disks(map, layout, err);
}

static int make_blocks(struct image_map *map, struct err *err)
{
	const struct layout *layout = map->layout;
	uint32_t i;
	int rc = RC_OK;

	for (i = 0; rc == RC_OK && i <= layout->ram_blocks; i++) {
		const struct image_shared *shared =
			i < layout->ram_blocks ? image_map_shared(map, &layout->blocks[i]) : NULL;

		if (shared != NULL) {
			map->blocks[i] = &map->shared_blocks[shared - map->shared];
			continue;
		}
		rc = image_block_private(&map->private_blocks[i], layout->blocks[i].pages, err);
		if (rc == RC_OK)
			map->blocks[i] = &map->private_blocks[i];
	}
	for (i = 0; i < layout->disks; i++)
		map->blocks[layout->ram_blocks + 1 + i] = &map->disk_blocks[i];
	return rc;
}

int image_map_layout(struct image_map *map, const struct layout *layout, struct err *err)
{
	struct layout *copy;
	int rc;

	rc = check_layout(map, layout, err);
	if (rc != RC_OK)
		return rc;
	copy = mem_alloc(sizeof(*copy));
	if (copy == NULL)
		return err_nomem(err, "memory image");
	*copy = *layout;
	drop_layout(map);
	map->layout = copy;
	rc = make_blocks(map, err);
	if (rc != RC_OK)
		drop_layout(map);
	return rc;
}

struct image_block *image_map_block(const struct image_map *map, uint64_t index, uint64_t *page)
{
	const struct layout_block *block = layout_block_of(map->layout, index);

	*page = index - block->first;
	return map->blocks[block - map->layout->blocks];
}
