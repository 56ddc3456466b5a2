/*
 * Where the directory of a file handle is: asked of the kernel, step by step up to one that is known, and remembered.
 */
#ifndef FS_WATCH_FANOTIFY_PLACE_H
#define FS_WATCH_FANOTIFY_PLACE_H

#include "fs-watch/tree.h"

#include <limits.h>

/* A file system that is marked. */
struct fanotify_fs {
	struct fanotify_fs *next;
	uint8_t fsid[8];
	int fd; /* a directory of it, open for reading: open_by_handle_at() wants one */
	unsigned roots;
};

/* Of an open directory, its key. False, and errno: its file system has no handles, or none that fit. */
bool fanotify_place_key(struct tree_key *key, const uint8_t fsid[8], int fd);

/* The directory of that handle, O_PATH; -1 and errno. */
int fanotify_place_open(const struct fanotify_fs *fs, const struct tree_key *key);

/*
 * Finds out where the directory of `key` is, and puts it there: below a top, outside, or, if it is gone, aside as unknown. NULL:
 * no memory.
 */
struct tree_dir *fanotify_place_find(struct tree *tree, const struct fanotify_fs *fs,
				     const struct tree_key *key);

#endif
