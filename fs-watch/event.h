/*
 * What happened in a watched directory tree.
 *
 * The events of a tree come in the order in which the kernel tells of them, and each kind whatever the kernel calls it.
 * What matters in the end is the state: should events have been lost, a `lost` comes, and then a `found` for all that may
 * have changed since; of a directory among them the list of what is in it may have.
 */
#ifndef FS_WATCH_EVENT_H
#define FS_WATCH_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tree_key;

enum watch_kind {
	WATCH_CREATE, /* a name is there: made, linked, or moved in from outside; what had it before is gone */
	WATCH_WRITE, /* its content has changed by a write or a truncation */
	WATCH_CLOSE, /* closed after writing; also the end of a writable mapping, whose stores nobody is told of */
	WATCH_ATTRIBUTE, /* mode, owner, times, extended attributes, number of links */
	WATCH_COPY_UP, /* of a container: overlayfs has made a copy of the image's; nothing has changed by that alone */
	WATCH_RENAME, /* `from` is `path` now; what had that name before is gone */
	WATCH_DELETE, /* the name is gone: removed, or moved out; of a directory all that was below it, too */
	WATCH_LOST,  /* events were; of the whole tree */
	WATCH_FOUND, /* is there, and has changed since shortly before events were lost */
	WATCH_KINDS
};

struct watch_event {
	enum watch_kind kind;
	bool is_dir;
	bool coalesced; /* one of several changes of this name that came as one: their order is a guess, the state is not */
	bool exchanged; /* the second rename of an exchange: `from` stays what the one before has made of it; what is in a directory is told again */
	bool scanned;	/* seen by a look at the tree, not as it happened */
	uint64_t
		time_ns; /* since 1970, when it was read: the kernel does not say when it happened */
	void *root;	 /* the caller's word for the tree */
	const char *path; /* from the tree's top, "" the top itself; any bytes but NUL */
	const char *from; /* of a rename, else NULL */
	uint64_t
		unseen_ms; /* of `lost`: for how long there was nobody to see; 0: events came and were lost */
	int pid;	   /* of the process that did it, if the kernel has told; 0: it has not */
	const struct tree_key *target; /* for watch_open_target(); NULL: the kernel has not told */
};

/* "create", ... */
const char *watch_kind_name(enum watch_kind kind);
/* False: there is none of that name. */
bool watch_kind_find(const char *name, enum watch_kind *kind);

#endif
