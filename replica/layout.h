/*
 * The layout of an instance: which RAM blocks its QEMU has, in the order of its migration stream, what
 * a warm QEMU has to be told so that it takes them over, and the disks that are protected with it.
 *
 * Everything else in replica/ names a page by one number, its index: blocks follow one another
 * without gaps. After the last RAM block comes a block of our own, the device state of the epoch, and
 * then the disks, a block each, so that one way of hashing, comparing, compressing and applying serves
 * them all.
 *
 * Encoded form (little-endian), sent once per capture session:
 *   u32 magic "LAY2" | u32 ram section id | u32 ram instance | u32 ram version |
 *   u32 configuration length | configuration (of the stream's configuration section: machine
 *   type) |
 *   u32 number of blocks | per block: u8 name length | name | u64 bytes |
 *   u32 number of disks | per disk: the same
 * Valid if and only if lengths fit exactly, there is a block, names are unique among blocks and among
 * disks, not empty and of printable ASCII, sizes are multiples of 4096 above zero, and the sum with the
 * device state stays within LAYOUT_BYTES_MAX. The device-state block is not part of it: both ends add it.
 * A disk whose size is not a multiple of 4096 is rounded up; what lies beyond its end is zero.
 *
 * "LAY1" was the same without disks.
 */
#ifndef REPLICA_LAYOUT_H
#define REPLICA_LAYOUT_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAYOUT_PAGE ((size_t)4096)
#define LAYOUT_BLOCKS_MAX 128 /* a libvirt guest with many NICs has about 40 */
#define LAYOUT_DISKS_MAX 16   /* CONFIG_DISKS_MAX */
#define LAYOUT_NAME_MAX 255   /* the stream's length byte */
/* 8 TiB, device state included: page indices stay below 2^31. */
#define LAYOUT_BYTES_MAX (UINT64_C(1) << 43)
#define LAYOUT_CONFIGURATION_MAX 256 /* a machine type's name */
/* Seen: 16 KiB to 1 MiB; video memory is a RAM block, not this. */
#define LAYOUT_DEVICE_STATE_MAX ((size_t)64 << 20)
#define LAYOUT_DEVICE_STATE_NAME "understudy/device-state"

struct layout_block {
	char name[LAYOUT_NAME_MAX + 1];
	uint64_t first; /* index of its first page */
	uint64_t pages;
};

struct layout {
	/* RAM blocks, the device state, disks */
	struct layout_block blocks[LAYOUT_BLOCKS_MAX + 1 + LAYOUT_DISKS_MAX];
	uint32_t ram_blocks, disks;
	uint64_t ram_pages;		     /* first index of the device state */
	uint64_t pages;			     /* all of them, device state and disks included */
	uint32_t section, instance, version; /* of the stream's "ram" section */
	uint8_t configuration[LAYOUT_CONFIGURATION_MAX];
	uint32_t configuration_len;
};

/*
 * Adds a RAM block after those present (zero-initialise the layout before the first); call
 * layout_finish() after the last one. RC_INVALID or RC_LIMIT when the block breaks a rule above;
 * the layout is then as before.
 */
int layout_add(struct layout *layout, const char *name, size_t name_len, uint64_t bytes,
	       struct err *err);

/*
 * Adds the device-state block and the totals: the layout is complete but for disks, which come after
 * this.
 */
int layout_finish(struct layout *layout, struct err *err);

/* As layout_add(), of a finished layout; `bytes` is rounded up to whole pages. */
int layout_add_disk(struct layout *layout, const char *name, size_t name_len, uint64_t bytes,
		    struct err *err);

/* All blocks, device state and disks included. */
static inline uint32_t layout_count(const struct layout *layout)
{
	return layout->ram_blocks + 1 + layout->disks;
}

/* Disk number i of layout->disks. */
static inline const struct layout_block *layout_disk(const struct layout *layout, uint32_t i)
{
	return &layout->blocks[layout->ram_blocks + 1 + i];
}

/* The RAM block of that name, or NULL. */
const struct layout_block *layout_find(const struct layout *layout, const char *name,
				       size_t name_len);

/* The block of whatever kind that holds a page index below layout->pages. */
const struct layout_block *layout_block_of(const struct layout *layout, uint64_t page);

/* The same blocks in the same order, the same machine. */
bool layout_equal(const struct layout *a, const struct layout *b);

/*
 * Appends the encoded form (failure as struct buf tells); and reads it, RC_INVALID or RC_LIMIT
 * for what is not valid.
 */
void layout_encode(const struct layout *layout, struct buf *out);
int layout_decode(struct layout *layout, const uint8_t *data, size_t len, struct err *err);

#endif
