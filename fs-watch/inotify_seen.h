/*
 * What is known of directories that were looked into while changes of them were in the queue: of each name whether it was told of, by the
 * look or by an event, and whether its creation is still to come as an event. No I/O.
 *
 * A name that was made and removed before the look has events, and was never told of; one that the look found may have an event, too.
 */
#ifndef FS_WATCH_INOTIFY_SEEN_H
#define FS_WATCH_INOTIFY_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inotify_seen {
	uint64_t *slots; /* hashes; 0: empty */
	size_t nslots, count;
};

/* A directory, by its watch, that is looked into; and a name that is found in it. Without memory an event may be told twice. */
void inotify_seen_dir(struct inotify_seen *seen, int dir);
void inotify_seen_found(struct inotify_seen *seen, int dir, const char *name);
/* An event says that the name was made. False: it was told of, by the look. */
bool inotify_seen_made(struct inotify_seen *seen, int dir, const char *name);
/* An event says that the name is gone. False: it was never told of. */
bool inotify_seen_gone(struct inotify_seen *seen, int dir, const char *name);

/* All of which there are events has been read; releases its memory. */
void inotify_seen_forget(struct inotify_seen *seen);

#endif
