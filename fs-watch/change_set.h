/*
 * What has changed in a tree between two epochs, each thing once: events become operations on names and paths whose state is to be sent. No I/O.
 *
 * Who has the tree of the epoch before applies the operations in their order, each of which is one that a file system has, and then gives each
 * path that is listed the state that it has at the end of the epoch. What was made and removed, or written a thousand times, costs
 * nothing, or once; a directory that was renamed takes all that is below it along.
 */
#ifndef FS_WATCH_CHANGE_SET_H
#define FS_WATCH_CHANGE_SET_H

#include "fs-watch/event.h"

#include <stdbool.h>
#include <stddef.h>

struct change_set;

enum change_op_kind {
	CHANGE_MAKE_DIR, /* `path` is a directory; it may be there */
	CHANGE_MOVE,	 /* `from` is `path` now, in place of what was there */
	CHANGE_REMOVE	 /* `path` and all below it is gone; it need not be there */
};

struct change_op {
	enum change_op_kind kind;
	const char *path, *from;
};

/* Of a path, an or of these. */
enum change_what {
	CHANGE_ATTRIBUTES = 1, /* owner, mode, times, extended attributes */
	CHANGE_CONTENT = 2,    /* what is in a file */
	CHANGE_NEW = 4	       /* there was none of it before: whatever has the name is replaced */
};

/* NULL: no memory. */
struct change_set *change_set_open(void);
void change_set_close(struct change_set *set);

/* Without memory, and of events that were lost, the whole tree is to be looked at. */
void change_set_add(struct change_set *set, const struct watch_event *event);
/* Nothing has changed yet: the next epoch begins. */
void change_set_clear(struct change_set *set);

bool change_set_is_empty(const struct change_set *set);
/* Whether what follows is not all of it. */
bool change_set_is_whole_tree(const struct change_set *set);

/* The operations, in their order; valid until the set changes. */
size_t change_set_ops(const struct change_set *set);
struct change_op change_set_op(const struct change_set *set, size_t number);
/*
 * Each path with what has changed of it, directories before what is in them. `path` is valid during the call. False: no memory, not
 * all were told.
 */
bool change_set_each(const struct change_set *set,
		     void (*each)(void *owner, const char *path, unsigned what), void *owner);

#endif
