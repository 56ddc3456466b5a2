/*
 * Brings an image to an epoch of a journal's past, while the journal is written to: reads it from a base on, in
 * a thread of its own and with less than its share of the processors, for what goes on beside it matters more.
 */
#ifndef REPLICA_REWIND_H
#define REPLICA_REWIND_H

#include "replica/history.h"
#include "replica/image.h"

#include <uv.h>

struct rewind;

struct rewind_options {
	const char *const *dirs; /* the journal's, where its copies are */
	unsigned ndirs;
	struct image *image; /* nobody else's until `done` */
	struct history_place place;
};

/*
 * `done` is called once, from the loop: RC_OK, and the image is of `epoch`, committed at `ms` (0: not known); or RC_CANCELLED, or why
 * not, and it is of none. What the past has lost meanwhile (a full disk) is RC_IO.
 */
int rewind_open(struct rewind **rewind, uv_loop_t *loop, const struct rewind_options *options,
		void (*done)(void *owner, uint64_t epoch, uint64_t ms, const struct err *result),
		void *owner, struct err *err);

/* Bytes read so far; at most `total` will be. */
void rewind_progress(const struct rewind *rewind, uint64_t *done, uint64_t *total);

/* Cancels it if it is not done, in which case `done` does not come any more; frees, then calls on_closed. */
void rewind_close(struct rewind *rewind, void (*on_closed)(void *owner), void *owner);

#endif
