/*
 * fanotify's reports: those that have been read, the next one, and a look ahead.
 */
#ifndef FS_WATCH_FANOTIFY_QUEUE_H
#define FS_WATCH_FANOTIFY_QUEUE_H

#include "appliance/base/buf.h"
#include "fs-watch/fanotify_event.h"

#include <stdbool.h>

struct fanotify_leaving;

struct fanotify_queue {
	int fd;
	struct buf data;
	size_t at;	       /* of `data`: what was taken ends here */
	uint64_t count, taken; /* reports that were read, and taken, ever */
	/* Where directories leave their names, in order. */
	struct fanotify_leaving *leaving;
	size_t nleaving, capacity, first;
};

void fanotify_queue_init(struct fanotify_queue *queue, int fd);

/*
 * Reads what there is, once. RC_OK; RC_STATE: nothing now; RC_LIMIT, RC_NOMEM: there is no room, what is left has to be taken first;
 * RC_INVALID, RC_IO: no more will come.
 */
int fanotify_queue_read(struct fanotify_queue *queue, struct err *err);
/* How many the kernel has. */
uint64_t fanotify_queue_waiting(const struct fanotify_queue *queue);
/* Takes the next one that was read; false: none is left. What it points to is valid until the next read. */
bool fanotify_queue_next(struct fanotify_queue *queue, struct fanotify_event *event);

/* Those not taken yet, from *at = queue->at on, without taking them. */
bool fanotify_queue_ahead(const struct fanotify_queue *queue, size_t *at,
			  struct fanotify_event *event);

/*
 * Where the directory of `key` is after what was taken, by the first of those not taken yet that renames or removes it. False: none of
 * them does. What it points to is valid until the next read.
 */
bool fanotify_queue_place(const struct fanotify_queue *queue, const struct tree_key *key,
			  struct fanotify_place *place);

void fanotify_queue_forget(struct fanotify_queue *queue); /* all that was read */
void fanotify_queue_free(struct fanotify_queue *queue);

#endif
