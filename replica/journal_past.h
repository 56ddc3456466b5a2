/*
 * The past that a keeper's journal holds: an index of it (history.h), and what of it goes. The keeper's thread
 * writes; other threads look.
 */
#ifndef REPLICA_JOURNAL_PAST_H
#define REPLICA_JOURNAL_PAST_H

#include "replica/history.h"
#include "replica/journal.h"

#include <uv.h>

struct journal_past {
	/* set by its owner, before journal_past_open() */
	const char *dir; /* for the log */
	struct history_limits limits;
	/* private */
	uv_mutex_t lock;
	struct history history;
	struct journal *journal; /* NULL: not open */
	uint64_t pinned;
	bool cramped; /* history went for want of room, and that was told */
};

int journal_past_open(struct journal_past *past, struct err *err);
void journal_past_close(struct journal_past *past);

/* ---- the keeper's thread */

/* A journal_visit; `owner` is a struct journal_past. What cannot be is told in the log. */
int journal_past_visit(void *owner, const struct journal_record *record, const uint8_t *payload,
		       struct err *err);
/* The journal is open, and what was found in it: from now on a full disk takes from its past. NULL: it is not any more. */
void journal_past_join(struct journal_past *past, struct journal *journal,
		       const struct journal_found *found);

/*
 * Appends a record (BASE, MARK, WHOLE, COMMIT) and notes it: a BASE with the HISTORY that belongs behind it, a WHOLE and a MARK
 * synced. `commit`: of a COMMIT.
 */
int journal_past_append(struct journal_past *past, enum journal_kind kind, uint64_t epoch,
			const uint8_t *payload, size_t len, struct err *err);
int journal_past_commit(struct journal_past *past, uint64_t epoch,
			const struct journal_commit *commit, struct err *err);

/* Removes what is beyond the limits. */
int journal_past_trim(struct journal_past *past, struct err *err);

/* ---- any thread */

void journal_past_look(struct journal_past *past,
		       void (*look)(void *owner, const struct history *history), void *owner);
/* Number of the BASE that a recovery begins with; 0: there is none. */
uint64_t journal_past_needed(struct journal_past *past);
/* As journal_keeper_pin(). */
bool journal_past_pin(struct journal_past *past, uint64_t sequence);

#endif
