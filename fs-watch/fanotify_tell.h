/*
 * What is told of fanotify's reports. watch_fanotify.c has the reading, and where directories are.
 */
#ifndef FS_WATCH_FANOTIFY_TELL_H
#define FS_WATCH_FANOTIFY_TELL_H

#include "fs-watch/fanotify_place.h"
#include "fs-watch/fanotify_queue.h"
#include "fs-watch/told.h"
#include "fs-watch/watch_internal.h"

#include <linux/fanotify.h>

#define FANOTIFY_MASK                                                                       \
	(FAN_CREATE | FAN_MODIFY | FAN_CLOSE_WRITE | FAN_ATTRIB | FAN_DELETE | FAN_RENAME | \
	 FAN_ONDIR)

#define FANOTIFY_RENAMES 8

struct watch_fanotify {
	struct watch *watch;
	struct tree *tree;
	struct fanotify_fs *systems;
	int32_t pid;
	uv_poll_t poll;
	struct fanotify_queue queue;
	struct told told;
	struct buf removed; /* keys of directories whose removal is told of once all was read */
	struct fanotify_event renames[FANOTIFY_RENAMES]; /* the last ones; their names are gone */
	size_t renamed;
	uint64_t drained_ns; /* since 1970: all before had been read */
	bool lost;
	bool gave_up; /* waiting for what tells of a removal, since then */
	struct err failed;
};

/* ---- watch_fanotify.c ------------------------------------------------------------------------ */

/* NULL: none of its file systems is marked. */
const struct fanotify_fs *fanotify_system_of(const struct watch_fanotify *f,
					     const struct tree_key *key);
/* What has happened until now can be looked through. */
void fanotify_read_all(struct watch_fanotify *f);
/* NULL: it is not in a tree. */
struct tree_dir *fanotify_inside(struct watch_fanotify *f, const struct tree_key *key);
struct tree_dir *fanotify_put_outside(struct watch_fanotify *f, const struct tree_key *key);

/* ---- fanotify_tell.c ------------------------------------------------------------------------- */

void fanotify_tell(struct watch_fanotify *f, const struct fanotify_event *event);
/* Tells of the removals that were kept back, of all below `top`, NULL for everything. */
void fanotify_tell_removed(struct watch_fanotify *f, const struct tree_dir *top);
/* A directory is in a tree by this name, and what is in it was never told. */
void fanotify_tell_contents(struct watch_fanotify *f, const struct tree_dir *dir, const char *name);

/* ---- fanotify_settle.c ----------------------------------------------------------------------- */

/*
 * All there was has been told. What is in doubt is compared with what is there, and put right if it differs and no report is to come.
 * RC_OK: more has been read meanwhile; RC_STATE: no.
 */
int fanotify_settle(struct watch_fanotify *f);

#endif
