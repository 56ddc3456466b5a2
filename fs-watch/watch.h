/*
 * Every change below a directory, from outside, told as it happens (event.h).
 *
 * By fanotify's marks on whole file systems where the kernel and our rights allow it (Linux 5.17, CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH,
 * a file system with handles): no set-up per directory and no limit to the queue. Else by inotify: a watch for each directory, and a look
 * into each new one. The events are the same.
 *
 * A tree ends where another file system is mounted. What this process does itself is not told of by fanotify; by inotify it is.
 */
#ifndef FS_WATCH_WATCH_H
#define FS_WATCH_WATCH_H

#include "appliance/base/err.h"
#include "fs-watch/event.h"

#include <uv.h>

struct watch;

enum watch_way { WATCH_BY_ITSELF, WATCH_FANOTIFY, WATCH_INOTIFY };

struct watch_ops {
	void (*on_event)(void *owner, const struct watch_event *event);
	/* No more events come of what is watched that way: close it. */
	void (*on_failed)(void *owner, const struct err *err);
	/* NULL, or: all that had happened has been told, for now. */
	void (*on_idle)(void *owner);
};

int watch_open(struct watch **watch, uv_loop_t *loop, enum watch_way way,
	       const struct watch_ops *ops, void *owner, struct err *err);

/*
 * What changes below `dir` after this has returned is told, with `root` (not NULL) in each event. RC_INVALID: it is no directory, or in,
 * or around, one that is watched.
 */
int watch_add(struct watch *watch, const char *dir, void *root, struct err *err);
/* What is told from now on is not of it. Neither this nor watch_add() from inside on_event(). */
void watch_remove(struct watch *watch, const void *root);
/* All that has happened until now is told of before it returns. Not from inside a callback. */
void watch_read_all(struct watch *watch);

/*
 * From inside on_event(): who has, or had, the name of the event, opened with O_PATH, whatever it is called by now; the caller's to close.
 * -1: it is gone, or nobody has told who it is (event->target).
 */
int watch_open_target(const struct watch *watch, const struct watch_event *event);

/* "fanotify", "inotify"; NULL: it is not watched. */
const char *watch_way_of(const struct watch *watch, const void *root);

/* Frees it in the loop; NULL is fine. No callback from here on, but `on_closed`, if any, at its end. */
void watch_close(struct watch *watch, void (*on_closed)(void *owner), void *owner);

#endif
