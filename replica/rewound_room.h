/*
 * Whether there is room for the memory of a rewound copy beside a replica, which may come to need more and must
 * not want for it: a page that is not there is its end.
 */
#ifndef REPLICA_REWOUND_ROOM_H
#define REPLICA_REWOUND_ROOM_H

#include "appliance/base/err.h"
#include "replica/image_room.h"

#include <stdint.h>

/* `memory_dir`: the replica's. `bytes`: the copy's memory. RC_LIMIT: what is needed and what is free. */
int rewound_room_check(const char *memory_dir, uint64_t bytes, struct err *err);
/*
 * The same for the image of a disk, beside the replica's at `path`, of which the copy has about as much as that has
 * storage. What else the copy writes is not bounded by this.
 */
int rewound_room_check_disk(const char *path, struct err *err);
int rewound_room_judge_disk(const char *path, uint64_t stored, uint64_t free_bytes,
			    struct err *err);

/* The same for memory: what the replica may still come to need, and what is free. */
int rewound_room_judge(const char *memory_dir, uint64_t bytes, uint64_t pending,
		       const struct image_room *room, struct err *err);

#endif
