/*
 * The "ram" section of QEMU's migration stream, as an outgoing QEMU writes it: the list of RAM
 * blocks, then pages. Big-endian.
 *
 *   item    := be64 (address | flags), flags in the low 12 bits, address a multiple of 4096; by flag:
 *     0x004 MEM_SIZE   address: bytes of all blocks together; then per block, until they add up:
 *                      u8 name length | name | be64 bytes
 *     0x008 PAGE       block | 4096 bytes         the page at `address` inside the block
 *     0x002 ZERO       block | u8 0               the same, all zeroes
 *     0x010 EOS        end of this section
 *   block   := u8 name length | name; or nothing when 0x020 CONTINUE is set too: the block of the item
 *              before, also across sections
 *
 * Source: QEMU's migration/ram.c (ram_save_setup, save_page_header, ram_load_precopy). What other
 * flags announce (XBZRLE, multifd, RDMA, compression) is off by the time a capture starts; meeting
 * it is an error that names it.
 *
 * Pure: bytes in, items out, nothing is copied.
 */
#ifndef REPLICA_RAM_STREAM_H
#define REPLICA_RAM_STREAM_H

#include "appliance/base/bytes.h"
#include "appliance/base/err.h"
#include "replica/layout.h"

enum ram_item_kind {
	RAM_ITEM_MORE,	 /* what is left is no whole item: come again with more behind it */
	RAM_ITEM_LAYOUT, /* the list of blocks is complete */
	RAM_ITEM_PAGE,
	RAM_ITEM_END, /* of this section */
};

/*
 * The longest item: flags, a block's name, a page. A reader that can show this much in one piece
 * always gets on.
 */
#define RAM_STREAM_ITEM_MAX (8 + 1 + LAYOUT_NAME_MAX + LAYOUT_PAGE)

struct ram_item {
	enum ram_item_kind kind;
	uint64_t index;	     /* of the page, as the layout numbers them */
	const uint8_t *data; /* its LAYOUT_PAGE bytes inside the given ones; NULL: all zeroes */
};

struct ram_stream {
	struct layout *layout;		  /* the caller's; filled from the list of blocks */
	const struct layout_block *block; /* that CONTINUE means */
	uint64_t unlisted;		  /* bytes of blocks that the list has still to name */
	bool listed;			  /* the list is complete */
};

/* `layout` is empty, stays the caller's and in its place. */
void ram_stream_init(struct ram_stream *stream, struct layout *layout);

/*
 * The next item of a section. Advances `in` by whole items only. RC_INVALID, RC_LIMIT or
 * RC_UNSUPPORTED: the stream is of no further use.
 */
int ram_stream_next(struct ram_stream *stream, struct cursor *in, struct ram_item *item,
		    struct err *err);

#endif
