/*
 * Where the pages of a memory image live: from page index to block. Private to image.c and image_take.c.
 */
#ifndef REPLICA_IMAGE_MAP_H
#define REPLICA_IMAGE_MAP_H

#include "replica/image.h"
#include "replica/image_block.h"

struct image_map {
	struct image_shared *shared;
	struct image_block *shared_blocks;
	size_t nshared;
	struct image_disk disks[LAYOUT_DISKS_MAX];
	struct image_block disk_blocks[LAYOUT_DISKS_MAX];
	uint32_t ndisks;
	bool reopened; /* one of the files was there before */
	int lock;      /* that they are ours; LOCK_FILE_NONE */
	char lock_path[512];
	struct layout *layout; /* NULL: not known yet */
	struct image_block private_blocks[LAYOUT_BLOCKS_MAX + 1];
	struct image_block *blocks[LAYOUT_BLOCKS_MAX + 1 +
				   LAYOUT_DISKS_MAX]; /* by the layout's numbers, of any kind */
};

/* As image_create() and image_destroy() say. */
int image_map_open(struct image_map *map, const char *dir, struct image_shared *shared,
		   size_t nshared, struct err *err);
void image_map_close(struct image_map *map, bool keep);

int image_map_disk(struct image_map *map, const struct image_disk *disk, struct err *err);
size_t image_map_places(const struct image_map *map, struct disk_place places[LAYOUT_DISKS_MAX]);
/* As disk_place_look() says. After RC_INVALID the disks have their size again, but not what was in them. */
int image_map_check_places(struct image_map *map, struct err *err);

/* Takes a layout (in place of the one that it had: private blocks are then empty). */
int image_map_layout(struct image_map *map, const struct layout *layout, struct err *err);

/* The shared block that is this block of a layout, or NULL. */
const struct image_shared *image_map_shared(const struct image_map *map,
					    const struct layout_block *block);

/* image.c's, for image_take.c */
struct image_map *image_map_of(struct image *image);
/* It holds that epoch now, when all that was written has happened. */
int image_become(struct image *image, uint64_t epoch, uint32_t device_state_len, struct err *err);

/* The block of a page, and the page's number in it. There has to be a layout. */
struct image_block *image_map_block(const struct image_map *map, uint64_t index, uint64_t *page);

#endif
