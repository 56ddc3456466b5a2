/*
 * Whether a warm QEMU's RAM blocks can take an instance's layout. Found out before it matters: a
 * block that is missing or of another size (a device added to the instance after its start, an
 * option ROM of another firmware package) would otherwise show at activation.
 */
#ifndef REPLICA_RAM_BLOCKS_H
#define REPLICA_RAM_BLOCKS_H

#include "appliance/base/err.h"
#include "replica/layout.h"
#include "replica/qmp.h"

/*
 * The verdict over the table of QEMU's "info ramblock": RC_OK, or RC_UNSUPPORTED naming the block.
 * Blocks that only QEMU has do not count. Pure.
 */
int ram_blocks_check(const char *table, const struct layout *layout, struct err *err);

/*
 * Asks a QEMU. `done` is called once, from the loop, unless the connection is lost or closed
 * before. The layout is copied.
 */
int ram_blocks_ask(struct qmp *qmp, const struct layout *layout,
		   void (*done)(void *owner, const struct err *result), void *owner,
		   struct err *err);

#endif
