/*
 * inotify's events (inotify(7)), those that have been read: the next one, and a look ahead.
 */
#ifndef FS_WATCH_INOTIFY_QUEUE_H
#define FS_WATCH_INOTIFY_QUEUE_H

#include "appliance/base/buf.h"
#include "fs-watch/tree.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/inotify.h>

struct inotify_queue {
	int fd;
	struct buf data;
	size_t at;	  /* of `data`: what was taken ends here */
	uint64_t read;	  /* bytes, ever */
	unsigned leaving; /* events in there by which directories leave their names */
};

void inotify_queue_init(struct inotify_queue *queue, int fd);
/* False: there is nothing to read now, or no room. */
bool inotify_queue_read(struct inotify_queue *queue);
/*
 * Takes the next event that was read; NULL: none is left. It is valid until the next call of any of these; `at` is where it
 * stays for those below, until the next one is taken.
 */
const struct inotify_event *inotify_queue_next(struct inotify_queue *queue, size_t *at);
const struct inotify_event *inotify_queue_event(const struct inotify_queue *queue, size_t at);
/* What was taken, and what the kernel has, as counted by `read`. */
uint64_t inotify_queue_taken(const struct inotify_queue *queue);
uint64_t inotify_queue_end(const struct inotify_queue *queue);

/*
 * The second half of the rename whose first is at `at`: reads all there is, and waits a moment (5 ms) that the kernel may need between the
 * two. 0: there is none. inotify_queue_cancel(): it is not taken any more; _both(): nor the other half of it.
 */
size_t inotify_queue_other_half(struct inotify_queue *queue, size_t at);
void inotify_queue_cancel(struct inotify_queue *queue, size_t at);
void inotify_queue_cancel_both(struct inotify_queue *queue, size_t at);
/* Reads what has happened until now, and in a moment (1 ms): what is changed is told of a little later. */
void inotify_queue_wait(struct inotify_queue *queue);

/*
 * The first half of the rename that goes back from where the one at `at`, whose other half is at `other`, has gone to, if that is the next
 * that has happened to either name. 0: there is none.
 */
size_t inotify_queue_back(const struct inotify_queue *queue, size_t at, size_t other);
/* Of what was read and not taken something is of that name. */
bool inotify_queue_mentions(const struct inotify_queue *queue, int watch, const char *name);

/*
 * Whether anything that has happened until now, but was not taken, has taken its name away from directory `name` in `dir`, or from
 * one above: then another one may have it.
 */
bool inotify_queue_leaves(struct inotify_queue *queue, const struct tree_dir *dir,
			  const char *name);

void inotify_queue_forget(struct inotify_queue *queue); /* all that was read */
void inotify_queue_free(struct inotify_queue *queue);

/* The key of a watch, and back. */
struct tree_key inotify_queue_key(int watch);
int inotify_queue_watch(const struct tree_dir *dir);

#endif
