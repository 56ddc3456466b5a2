/*
 * That the disks of a replica are stores of their own: two targets, or a target and a file, may be one and the same by other
 * names (an export by two hosts' names, an export of the file, a store's alias), which no name tells. What is written
 * through one of them is looked for in all the others of this process: this image's, and those of other instances.
 *
 * Blocking. Of a disk of another instance that is not connected, or that its own QEMU has, nothing is known here; and of one that is held
 * up nothing is waited for: that instance's own look, or the configuration's check (config_twice.h), has to find it.
 */
#ifndef REPLICA_IMAGE_APART_H
#define REPLICA_IMAGE_APART_H

#include "replica/image_block.h"

/* Disks that are looked into: image_block.c's. */
void image_apart_join(struct image_block *block);
void image_apart_leave(struct image_block *block);

/*
 * For image_disks_apart(): `blocks` are an image's, called `names`, and hold no epoch. Their targets can be reached. RC_REFUSED: which are one
 * store. RC_IO, RC_CANCELLED: one could not be written or read; all hold what they held, but for one that failed.
 */
int image_apart_look(struct image_block *const *blocks, const char *const *names, size_t count,
		     struct err *err);

#endif
