/*
 * The activation stream: what a QEMU that already has the instance's memory mapped must be sent so
 * that it becomes the instance.
 *
 * A QEMU migration stream with the x-ignore-shared capability: header, configuration, RAM block
 * list with the shared blocks' contents left out, the pages of the few other blocks, device state.
 * Source of the format: QEMU's docs/devel/migration, and what QEMU 7.2 to 10.0 were seen to take;
 * every byte is laid down in activation.c. Its size does not depend on the guest's memory.
 */
#ifndef REPLICA_ACTIVATION_H
#define REPLICA_ACTIVATION_H

#include "appliance/base/err.h"
#include "replica/image.h"

/*
 * Where a shared block lies inside its memory region: 0 unless several make one, as NUMA nodes and
 * memory modules do.
 */
struct activation_block {
	char name[LAYOUT_NAME_MAX + 1];
	uint64_t address;
};

/*
 * Writes the stream for the image's committed epoch into a new memfd, positioned at its start; *fd
 * is the caller's to close. `blocks`: what the QEMU to be fed says of its shared blocks
 * (hypervisor_blocks()). RC_STATE: no committed epoch, or a shared block that this QEMU does not
 * have.
 */
int activation_stream(const struct image *image, const struct activation_block *blocks,
		      size_t nblocks, int *fd, size_t *len, struct err *err);

#endif
