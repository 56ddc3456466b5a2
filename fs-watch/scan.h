/*
 * A look at all that is in a directory tree, however deep, on its file system. Each directory comes before what is in it. What
 * comes and goes meanwhile may be seen or not.
 */
#ifndef FS_WATCH_SCAN_H
#define FS_WATCH_SCAN_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <sys/stat.h>

struct scan_entry {
	int dir_fd;	  /* open, of the directory that it is in */
	const char *name; /* in there */
	const char *path; /* from where the scan began, behind `prefix` */
	int fd;		  /* of a directory: open, O_PATH; else -1 */
	struct stat st;
	void *dir_tag; /* the `tag` of the directory that it is in */
	void *tag;     /* of a directory: set by entry(), for what is in it */
};

/*
 * Tells of everything below the directory `fd`. `prefix` is what their paths begin with: "" or a path without a slash at its
 * end; `tag` is the directory's own. `entry` returns whether to go into a directory. RC_LIMIT: too deep, RC_IO, RC_NOMEM: what follows is not told of.
 */
int scan(int fd, const char *prefix, void *tag,
	 bool (*entry)(void *owner, struct scan_entry *entry), void *owner, struct err *err);

#endif
