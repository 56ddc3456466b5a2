/*
 * Keeps the record of term_record.h for one instance on the disk: DIR/term, read once at the start,
 * replaced as a whole by a worker thread (files_replace()), so that a slow disk does not stop the
 * loop.
 *
 * A file that is there and not valid is an error: guessing a lower term could make two servers, and
 * so is a directory that others could put another one into, and a link in its place. The message names the file and what an
 * operator can do.
 */
#ifndef APPLIANCE_TERM_STORE_H
#define APPLIANCE_TERM_STORE_H

#include "appliance/term_record.h"

#include <uv.h>

struct term_store;

/*
 * Reads `dir`/term, or makes it (term 1, standing by, an identity) where there is none: what cannot be written
 * is known before it matters. on_kept is called from the loop after each attempt, with RC_OK once
 * `record` is on the disk.
 */
int term_store_open(struct term_store **store, uv_loop_t *loop, const char *dir,
		    struct term_record *record,
		    void (*on_kept)(void *owner, const struct term_record *record,
				    const struct err *result),
		    void *owner, struct err *err);

/*
 * What term_store_open() would say, without making anything that stays; RC_OK as well where `dir`
 * is not there.
 */
int term_store_look(const char *dir, struct err *err);

/*
 * Keeps `record`; on_kept follows, never before this returns. While another one is being written
 * it waits, and one that waits already is replaced: only the newest counts.
 */
void term_store_keep(struct term_store *store, const struct term_record *record);

/*
 * Looks whether the next record could be kept, without writing: `dir` is there, is what it was at the
 * opening, and may be written to. If not, on_kept follows with `record` NULL and why; if so, nothing
 * does. A disk without room is known from writing alone.
 */
void term_store_try(struct term_store *store);

/*
 * What was to be kept is kept first, without on_kept; frees, then calls on_closed (may be NULL), at
 * once if there is nothing to write.
 */
void term_store_close(struct term_store *store, void (*on_closed)(void *owner), void *owner);

#endif
