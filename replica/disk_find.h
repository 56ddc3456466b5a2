/*
 * Finds a disk among what query-block tells of a QEMU. Pure.
 */
#ifndef REPLICA_DISK_FIND_H
#define REPLICA_DISK_FIND_H

#include "appliance/base/err.h"

#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>

#define DISK_NODE_MAX 31 /* of a node's name, QEMU's limit */

struct disk_found {
	char node[DISK_NODE_MAX + 1]; /* its topmost one, to be mirrored */
	uint64_t bytes;
};

/*
 * The disk that QEMU knows by `device`: the id of a -drive, the node-name of a -blockdev, or the id of the
 * device that has it. `blocks`: the reply. RC_UNSUPPORTED: there is none, or none that can be written.
 */
int disk_find(const cJSON *blocks, const char *device, struct disk_found *found, struct err *err);

/*
 * What QEMU calls the other disks that can be written, with commas between them: those that are none of
 * `found`. "": there are none.
 */
void disk_others(const cJSON *blocks, const struct disk_found *found, size_t count, char *names,
		 size_t size);

#endif
