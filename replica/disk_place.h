/*
 * Where a replica's disk lies: a file that this process writes to by a descriptor, and that QEMU opens by its path, at its
 * activation once more. Between the two somebody may put another file there, take it away, or cut it.
 */
#ifndef REPLICA_DISK_PLACE_H
#define REPLICA_DISK_PLACE_H

#include "appliance/base/err.h"

#include <stdint.h>
#include <sys/types.h>

#define DISK_PLACE_PATH_MAX 512
#define DISK_PLACE_NAME_MAX 64

struct disk_place {
	char name[DISK_PLACE_NAME_MAX + 1], path[DISK_PLACE_PATH_MAX];
	uint64_t bytes;
	dev_t device; /* of the file that is written to */
	ino_t inode;
};

/*
 * That the path leads to that file, and that it has its size. RC_STATE: it does not, with what to do. RC_INVALID: another size, so
 * something else has written to it. Asks the file system, which may take its time.
 */
int disk_place_look(const struct disk_place *place, struct err *err);

#endif
