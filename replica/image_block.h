/*
 * The pages of one block of the replica: a file that QEMU maps too, private memory, or a disk image
 * (image_disk.c). Private to image.c and image_take.c.
 *
 * A block knows which of its pages ever held anything. The others are zero, take no memory, and
 * are never touched: reading a hole of a mapped file would fill it.
 */
#ifndef REPLICA_IMAGE_BLOCK_H
#define REPLICA_IMAGE_BLOCK_H

#include "replica/image.h"

#include <stdbool.h>
#include <stdint.h>

struct image_block;

/*
 * What keeps a disk's pages: a file (image_disk.c), or a block target (image_target.c). Functions that may be NULL: ready,
 * settle, close. RC_IO, with what it is.
 */
struct image_disk_ops {
	/* It is there, and image_block_holds() was called for what is in it. Waits. */
	int (*ready)(struct image_block *block, struct err *err);
	/* The last page may go beyond the disk's end, where it is zeroes. */
	int (*read)(struct image_block *block, uint64_t page, uint8_t *room, struct err *err);
	/* They may not have happened before settle(), which tells then if they cannot. */
	int (*write)(struct image_block *block, uint64_t page, const uint8_t *data,
		     struct err *err);
	/* *punched: they have no storage any more. */
	int (*zero)(struct image_block *block, uint64_t page, uint64_t count, bool *punched,
		    struct err *err);
	/* Gets storage for a page that has none. */
	int (*reserve)(struct image_block *block, uint64_t page, struct err *err);
	void (*prefetch)(struct image_block *block, uint64_t page, uint64_t count);
	/* `durable`: they are to become so, which is not waited for. */
	int (*settle)(struct image_block *block, bool durable, struct err *err);
	void (*close)(struct image_block *block);
};

struct image_block {
	uint64_t pages;
	uint8_t *map;	     /* all of it; holes read as zeroes; NULL: a disk */
	uint64_t bytes;	     /* of a disk, whose end need not be a page's */
	uint64_t *populated; /* a bit each page; accessed atomically */
	int fd;		     /* -1: private */
	dev_t device;	     /* of a disk's file, */
	ino_t inode;	     /* which its path led to */
	char *path;	     /* of the file, or what a target is called; NULL: private */
	bool huge;	     /* on hugetlbfs */
	const struct image_disk_ops *disk; /* NULL: memory */
	void *target;			   /* image_target.c's */
	struct image_block *listed;	   /* image_apart.c's */
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
/*
 * A raw disk image at disk->path, made sparse when it is not there; *existed: it was. RC_REFUSED when it is
 * no file, has another size, or another program has it open for writing, as QEMU does it. Or a target, which is not
 * looked for yet.
 */
int image_block_disk(struct image_block *block, const struct image_disk *disk, bool *existed,
		     struct err *err);
/* Unmaps and closes; the file stays. */
void image_block_close(struct image_block *block);

/* Bytes of it that have storage. */
uint64_t image_block_stored(const struct image_block *block);

/* LAYOUT_PAGE bytes, or NULL: the page is all zeroes. Not of a disk. */
const uint8_t *image_block_page(const struct image_block *block, uint64_t page);
/* The same of any block: *content is in it, or in `room` (LAYOUT_PAGE bytes). RC_IO. */
int image_block_read(struct image_block *block, uint64_t page, uint8_t *room,
		     const uint8_t **content, struct err *err);

/* These may run in several threads for different pages. */

/*
 * Makes sure that image_block_write() of a page cannot fail, but of a disk that is broken: gets its
 * storage. Content stays.
 */
int image_block_reserve(struct image_block *block, uint64_t page, struct err *err);
int image_block_write(struct image_block *block, uint64_t page, const uint8_t *data,
		      struct err *err);
/* `count` pages become zero; longer runs give their memory back. RC_IO of a disk only. */
int image_block_zero(struct image_block *block, uint64_t page, uint64_t count, struct err *err);

/* Of a disk's file: to its own size; what was beyond it is zeroes or gone. */
void image_block_resize(struct image_block *block);
/* Of a disk: all that was written has happened. */
int image_block_settle(struct image_block *block, bool durable, struct err *err);
/* That page may hold something. */
void image_block_holds(struct image_block *block, uint64_t page);

/* image_disk.c, for image_block.c */

int image_disk_open(struct image_block *block, bool *existed, struct err *err);

#endif
