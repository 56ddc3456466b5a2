/*
 * Theory of operation. What is kept is looked at after each writing, and now and then: history_keep_from()
 * decides. When the disk is full, the oldest base goes, and the same is written again, until only what a
 * recovery needs is left: the last base that is known to be on the disk with its WHOLE, which is why a WHOLE is noted
 * only when it has been synced.
 */
#include "replica/journal_past.h"

#include "appliance/base/buf.h"
#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "replica/history_format.h"

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / CLOCK_NS_PER_MS;
}

int journal_past_open(struct journal_past *past, struct err *err)
{
	return uv_mutex_init(&past->lock) == 0 ? RC_OK : err_nomem(err, "a journal's history");
}

void journal_past_close(struct journal_past *past)
{
	history_free(&past->history);
	uv_mutex_destroy(&past->lock);
}

/* ---- what comes in ------------------------------------------------------------------------------ */

static int note(struct journal_past *past, enum journal_kind kind, uint64_t sequence,
		uint64_t epoch, const uint8_t *payload, size_t len, struct err *err)
{
	int rc;

	uv_mutex_lock(&past->lock);
	rc = history_note(&past->history, kind, sequence, epoch, payload, len, err);
	uv_mutex_unlock(&past->lock);
	return rc;
}

/* What a recovery needs does not depend on it. */
int journal_past_visit(void *owner, const struct journal_record *record, const uint8_t *payload,
		       struct err *err)
{
	struct journal_past *past = owner;

	if (note(past, record->kind, record->sequence, record->epoch, payload, record->length,
		 err) != RC_OK)
		log_warn("journal", "%s: record %llu: %s; what is before it cannot be rewound to",
			 past->dir, (unsigned long long)record->sequence, err->text);
	return RC_OK;
}

static int append(struct journal_past *past, enum journal_kind kind, uint64_t epoch,
		  const uint8_t *payload, size_t len, bool sync, struct err *err)
{
	const uint64_t sequence = journal_next_sequence(past->journal);
	int rc = journal_append(past->journal, kind, epoch, payload, (uint32_t)len, err);

	if (rc == RC_OK && sync)
		rc = journal_sync(past->journal, err);
	return rc == RC_OK ? note(past, kind, sequence, epoch, payload, len, err) : rc;
}

static int append_history(struct journal_past *past, uint64_t epoch, struct err *err)
{
	const struct history *history = &past->history;
	struct buf payload = { .limit = JOURNAL_HISTORY_MAX };
	/* If the epoch's commit is not here, it was a moment ago. */
	const uint64_t ms = history->ms != 0 ? history->ms : now_ms();
	int rc = history_put(history, ms, &payload) ? RC_OK : err_nomem(err, "a journal's history");

	if (rc == RC_OK)
		rc = append(past, JOURNAL_HISTORY, epoch, payload.data, payload.len, false, err);
	buf_free(&payload);
	return rc;
}

int journal_past_append(struct journal_past *past, enum journal_kind kind, uint64_t epoch,
			const uint8_t *payload, size_t len, struct err *err)
{
	const bool sync = kind == JOURNAL_WHOLE || kind == JOURNAL_MARK;
	int rc = append(past, kind, epoch, payload, len, sync, err);

	past->cramped = past->cramped && kind != JOURNAL_WHOLE;
	return rc == RC_OK && kind == JOURNAL_BASE ? append_history(past, epoch, err) : rc;
}

int journal_past_commit(struct journal_past *past, uint64_t epoch,
			const struct journal_commit *commit, struct err *err)
{
	const uint64_t sequence = journal_next_sequence(past->journal);
	uint8_t payload[JOURNAL_COMMIT_BYTES];
	int rc = journal_commit(past->journal, epoch, commit, err);

	journal_put_commit(payload, commit);
	return rc == RC_OK ?
		       note(past, JOURNAL_COMMIT, sequence, epoch, payload, sizeof(payload), err) :
		       rc;
}

/* ---- what goes ---------------------------------------------------------------------------------- */

static void drop_before(struct journal_past *past, uint64_t sequence)
{
	uv_mutex_lock(&past->lock);
	history_drop(&past->history, sequence);
	uv_mutex_unlock(&past->lock);
}

static uint64_t bytes_from(const void *owner, uint64_t sequence)
{
	return journal_bytes_from(owner, sequence);
}

int journal_past_trim(struct journal_past *past, struct err *err)
{
	unsigned removed;
	uint64_t from;

	uv_mutex_lock(&past->lock);
	from = history_keep_from(&past->history, &past->limits, now_ms(), past->pinned, bytes_from,
				 past->journal);
	history_drop(&past->history, from);
	uv_mutex_unlock(&past->lock);
	if (from <= journal_first_sequence(past->journal))
		return RC_OK;
	return journal_trim(past->journal, from, &removed, err);
}

static bool make_room(void *owner)
{
	struct journal_past *past = owner;
	const struct history *history = &past->history;
	char until[HISTORY_TIME_MAX] = "";
	unsigned removed = 0;
	struct err err;

	while (history->nbases > 1 && removed == 0) {
		drop_before(past, history->bases[1].sequence);
		history_print_time(until, history->bases[0].first_ms);
		if (journal_trim(past->journal, history->bases[0].sequence, &removed, &err) !=
		    RC_OK)
			return false;
	}
	if (removed > 0 && !past->cramped)
		log_warn("journal", "%s: the disk is full: the history before %s is given up",
			 past->dir, until);
	past->cramped = past->cramped || removed > 0;
	return removed > 0;
}

void journal_past_join(struct journal_past *past, struct journal *journal,
		       const struct journal_found *found)
{
	past->journal = journal;
	if (journal == NULL)
		return;
	uv_mutex_lock(&past->lock);
	past->history.journal = found->journal;
	history_end(&past->history, found->next_sequence);
	history_drop(&past->history, journal_first_sequence(journal));
	uv_mutex_unlock(&past->lock);
	journal_set_room(journal, make_room, past);
}

/* ---- who looks ---------------------------------------------------------------------------------- */

void journal_past_look(struct journal_past *past,
		       void (*look)(void *owner, const struct history *history), void *owner)
{
	uv_mutex_lock(&past->lock);
	look(owner, &past->history);
	uv_mutex_unlock(&past->lock);
}

uint64_t journal_past_needed(struct journal_past *past)
{
	const struct history *history = &past->history;
	uint64_t sequence;

	uv_mutex_lock(&past->lock);
	sequence = history->nbases > 0 ? history->bases[history->nbases - 1].sequence : 0;
	uv_mutex_unlock(&past->lock);
	return sequence;
}

bool journal_past_pin(struct journal_past *past, uint64_t sequence)
{
	const struct history *history = &past->history;
	bool there;
	size_t i;

	uv_mutex_lock(&past->lock);
	for (i = 0; i < history->nbases && history->bases[i].sequence != sequence; i++)
		;
	there = i < history->nbases;
	past->pinned = there ? sequence : 0;
	uv_mutex_unlock(&past->lock);
	return there;
}
