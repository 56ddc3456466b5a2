/*
 * What the ways of watching have in common: watch.c (the trees, which way, telling), watch_fanotify.c, fanotify_place.c, watch_inotify.c.
 */
#ifndef FS_WATCH_WATCH_INTERNAL_H
#define FS_WATCH_WATCH_INTERNAL_H

#include "appliance/base/buf.h"
#include "fs-watch/tree.h"
#include "fs-watch/watch.h"

#include <sys/stat.h>

struct watch_fanotify;
struct watch_inotify;

struct watch_root {
	struct watch_root *next;
	void *root; /* the caller's word */
	char *path; /* without links, as it was when it was added */
	int fd;	    /* open */
	enum watch_way way;
};

struct watch {
	uv_loop_t *loop;
	const struct watch_ops *ops;
	void *owner;
	enum watch_way way;
	struct watch_root *roots;
	struct watch_fanotify *fanotify;
	struct watch_inotify *inotify;
	struct buf path, from;
	const struct tree_key *target; /* of what is being told, if it is known; and who did it */
	int pid;
	unsigned open; /* handles of the loop */
	bool closing;
	void (*on_closed)(void *owner);
	void *closed_owner;
};

/* ---- watch.c --------------------------------------------------------------------------------- */

struct watch_flags {
	bool is_dir, coalesced, exchanged, scanned;
};

uint64_t watch_now_ns(void);
/* `name` in `dir`, which is inside; of a rename `from_name` in `from_dir`, else NULL. Without memory: as if events were lost. */
void watch_tell(struct watch *watch, enum watch_kind kind, struct watch_flags flags,
		const struct tree_dir *dir, const char *name, const struct tree_dir *from_dir,
		const char *from_name);
/* The same by a path. */
void watch_tell_path(struct watch *watch, enum watch_kind kind, struct watch_flags flags,
		     void *root, const char *path);
/*
 * Events of a tree were lost at `since_ns` (since 1970; 0: nobody knows what was told wrongly) or later: tells of that, and of all that has changed since. `entry` and
 * `tag` as scan()'s, NULL for none, see everything first.
 */
struct scan_entry;
void watch_rescan(struct watch *watch, const struct watch_root *root, uint64_t since_ns, void *tag,
		  bool (*entry)(void *owner, struct scan_entry *entry), void *owner);
/* NULL: it is not watched any more. */
const struct watch_root *watch_root_of(const struct watch *watch, const void *root);
/* It tells no more by that way. */
void watch_failed(struct watch *watch, const struct err *err);
/* All there was has been told. */
void watch_idle(struct watch *watch);
/* A handle of the loop has been closed. */
void watch_handle_closed(struct watch *watch);

/* ---- the ways. RC_UNSUPPORTED: not here; nothing was changed ---------------------------------- */

int watch_fanotify_open(struct watch_fanotify **fanotify, struct watch *watch, struct err *err);
int watch_fanotify_add(struct watch_fanotify *fanotify, struct watch_root *root, struct err *err);
void watch_fanotify_read_all(struct watch_fanotify *fanotify);
int watch_fanotify_open_target(const struct watch_fanotify *fanotify, const struct tree_key *key);
void watch_fanotify_remove(struct watch_fanotify *fanotify, const struct watch_root *root);
void watch_fanotify_close(struct watch_fanotify *fanotify);

int watch_inotify_open(struct watch_inotify **inotify, struct watch *watch, struct err *err);
int watch_inotify_add(struct watch_inotify *inotify, struct watch_root *root, struct err *err);
void watch_inotify_read_all(struct watch_inotify *inotify);
void watch_inotify_remove(struct watch_inotify *inotify, const struct watch_root *root);
void watch_inotify_close(struct watch_inotify *inotify);

#endif
