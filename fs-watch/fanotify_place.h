/*
 * Where a directory is now, by its file handle, as the kernel says.
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

/* Of `name` in an open directory, whatever it is. False, and errno. */
bool fanotify_place_child(struct tree_key *key, const uint8_t fsid[8], int fd, const char *name);

/* The directory of that handle, O_PATH; -1 and errno. */
int fanotify_place_open(const struct fanotify_fs *fs, const struct tree_key *key);

enum fanotify_place_now {
	FANOTIFY_PLACE_GONE,  /* it was removed */
	FANOTIFY_PLACE_TOP,   /* its file system's, or its mount's */
	FANOTIFY_PLACE_BELOW, /* it is in `parent` as `name` */
};

/* Of an open directory. */
enum fanotify_place_now fanotify_place_now(const struct fanotify_fs *fs, int fd,
					   struct tree_key *parent, char name[NAME_MAX + 1]);

#endif
