/*
 * The memory of one block of the replica: a file that QEMU maps too, or private memory. Private
 * to image.c.
 *
 * A block knows which of its pages ever held anything. The others are zero, take no memory, and
 * are never touched: reading a hole of a mapped file would fill it.
 */
#ifndef REPLICA_IMAGE_BLOCK_H
#define REPLICA_IMAGE_BLOCK_H

#include "appliance/base/err.h"
#include "replica/layout.h"

#include <stdbool.h>
#include <stdint.h>

struct image_block {
	uint64_t pages;
	uint8_t *map;	     /* all of it; holes read as zeroes */
	uint64_t *populated; /* a bit each page; accessed atomically */
	int fd;		     /* -1: private */
	char *path;	     /* of the file; NULL: private */
	bool huge;	     /* on hugetlbfs */
};

/*
 * Makes the file at `path`, or takes it over (*existed) when it is there with the right size;
 * of another size, or on hugetlbfs, it is of no use and made anew. RC_REFUSED when it is not a file
 * of ours. Nobody else may use it: image_map.c has the lock.
 */
int image_block_open(struct image_block *block, const char *path, uint64_t pages, bool *existed,
		     struct err *err);
/* Private memory, all zeroes. */
int image_block_private(struct image_block *block, uint64_t pages, struct err *err);
/* Unmaps and closes; the file stays. */
void image_block_close(struct image_block *block);

/* Bytes of it that have storage. */
uint64_t image_block_stored(const struct image_block *block);

/* LAYOUT_PAGE bytes, or NULL: the page is all zeroes. */
const uint8_t *image_block_page(const struct image_block *block, uint64_t page);

/* These may run in several threads for different pages. */

/* Makes sure that image_block_write() of a page cannot fail: gets its storage. Content stays. */
int image_block_reserve(struct image_block *block, uint64_t page, struct err *err);
int image_block_write(struct image_block *block, uint64_t page, const uint8_t *data,
		      struct err *err);
/* `count` pages become zero; longer runs give their memory back. */
void image_block_zero(struct image_block *block, uint64_t page, uint64_t count);

#endif
