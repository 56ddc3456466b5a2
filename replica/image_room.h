/*
 * Whether a directory has room for a memory image. Images are sparse and a guest's zero pages take
 * nothing, so less than the whole may do, and often does for good: that is worth a line in the log.
 * Less than IMAGE_ROOM_SHARE of it never does. For image_map.c and image_block.c; image_room_look() and
 * image_room_bus_error() are for whoever has to tell an operator.
 */
#ifndef REPLICA_IMAGE_ROOM_H
#define REPLICA_IMAGE_ROOM_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Of its memory, a Linux guest fills one 64th with its page table array alone (64 bytes a page). */
#define IMAGE_ROOM_SHARE 64
/*
 * Free room below this share of what an image may still come to need is low. A guest that is left
 * alone fills its memory with what it reads, and an eighth of it goes in seconds: there is no more time
 * to be told in. With more, a directory is as whoever made it wanted it: large enough for what is used.
 */
#define IMAGE_ROOM_LOW_SHARE 8

/* What is free in a directory: what its file system has, and on a tmpfs no more than the machine has of memory. */
struct image_room {
	uint64_t bytes;	 /* UINT64_MAX: no limit is known */
	bool of_machine; /* the machine's memory is what there is less of */
};
struct image_room image_room_of(const char *path);
/* Words behind a number of MiB. */
const char *image_room_words(const struct image_room *room);

/*
 * For `bytes` of memory, `stored` of which have storage in `dir` already: RC_LIMIT, naming the
 * directory, what is needed and what is free.
 */
int image_room_check(const char *dir, uint64_t bytes, uint64_t stored, struct err *err);
/* The same with what is free; *tight: it may not be enough. */
int image_room_judge(const char *dir, uint64_t bytes, uint64_t stored,
		     const struct image_room *room, bool *tight, struct err *err);

/*
 * Of the images in `dir`, whoever fills them: RC_LIMIT with the same particulars while the room there
 * is low. Without `dir` there is nothing to say. Each directory is judged as if it were alone on its
 * file system.
 */
int image_room_look(const char *dir, struct err *err);
/* The same, of what the file system and its files say. */
bool image_room_is_low(uint64_t bytes, uint64_t stored, uint64_t free_bytes);

/*
 * Puts in front of how a process ended, by SIGBUS, that it had no page for `path` (a file of its
 * memory), and what is free there.
 */
int image_room_bus_error(const char *path, struct err *err);

/* The error of a write to `path` that failed with `errnum`, as RC_IO, with the same particulars. */
int image_room_error(const char *path, int errnum, uint64_t bytes, uint64_t stored,
		     struct err *err);

#endif
