/*
 * A disk's pages in a block target of QEMU's (an NBD export, a Ceph RBD image): the replica's own QEMU has it open, and
 * exports it by NBD over a unix socket until it is activated. Private to image_disk.c and image.c.
 */
#ifndef REPLICA_IMAGE_TARGET_H
#define REPLICA_IMAGE_TARGET_H

#include "replica/image_block.h"

/* For block->disk. `block` has its pages, bytes and the path by which errors name it. */
int image_target_open(struct image_block *block, const char *socket, const char *export,
		      struct err *err);

extern const struct image_disk_ops image_target_ops;

/*
 * What the target has for that page now, from any thread. RC_STATE: it is not connected, or somebody is at it, who may wait.
 */
int image_target_peek(struct image_block *block, uint64_t page, uint8_t *room, struct err *err);

/*
 * From the loop's thread, at any moment. That QEMU has ended: true, what was written may be lost with it. And: whoever waits for
 * it, or for the target, shall give up, for good.
 */
bool image_target_lost(struct image_block *block);
void image_target_give_up(struct image_block *block);

#endif
