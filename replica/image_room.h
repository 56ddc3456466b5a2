/*
 * Whether a directory has room for a memory image. Images are sparse and a guest's zero pages take
 * nothing, so less than the whole may do: that is worth a warning. Less than IMAGE_ROOM_SHARE of it
 * never does. Private to image_map.c and image_block.c.
 */
#ifndef REPLICA_IMAGE_ROOM_H
#define REPLICA_IMAGE_ROOM_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Of its memory, a Linux guest fills one 64th with its page table array alone (64 bytes a page). */
#define IMAGE_ROOM_SHARE 64

/*
 * For `bytes` of memory, `stored` of which have storage in `dir` already: RC_LIMIT, naming the
 * directory, what is needed and what is free.
 */
int image_room_check(const char *dir, uint64_t bytes, uint64_t stored, struct err *err);
/* The same with `free_bytes` for what the file system says; *tight: it may not be enough. */
int image_room_judge(const char *dir, uint64_t bytes, uint64_t stored, uint64_t free_bytes,
		     bool *tight, struct err *err);

/* The error of a write to `path` that failed with `errnum`, as RC_IO, with the same particulars. */
int image_room_error(const char *path, int errnum, uint64_t bytes, uint64_t stored,
		     struct err *err);

#endif
