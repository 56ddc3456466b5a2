/*
 * Writes a journal on a thread of its own, so that a slow disk makes nobody wait but those who ask to be
 * told when an epoch is on stable storage. All functions are the loop thread's.
 *
 * What is given is written in the order in which it is given. Commits that have piled up are made durable
 * by one sync.
 */
#ifndef REPLICA_JOURNAL_KEEPER_H
#define REPLICA_JOURNAL_KEEPER_H

#include "replica/history.h"
#include "replica/image.h"
#include "replica/journal.h"
#include "replica/journal_claim.h"
#include "replica/journal_replay.h"

#include <uv.h>

struct journal_keeper;

struct journal_keeper_ops {
	/*
	 * Once, after journal_keeper_open(): the journal is open for writing. `found`: what is in it;
	 * `replay`: what the image is now, if one was given, and `why` not if it is not what the journal
	 * holds. `complete`: no later epoch was acknowledged (journal_claim.h); if it is not, or no image was given, the
	 * claim has been withdrawn, but if all is `untouched` and no image was given.
	 */
	void (*on_open)(void *owner, const struct journal_found *found,
			const struct journal_replay *replay, bool complete, const struct err *why);
	/* Every commit up to and with that turn, which is that epoch's, is on stable storage. */
	void (*on_durable)(void *owner, uint64_t epoch, uint64_t turn);
	/* As journal_keeper_doubt() has asked for: there is no claim, also after a power cut. */
	void (*on_withdrawn)(void *owner);
	/* The base that ended at that epoch is on stable storage, with what epochs came between: so many
	 * bytes. What was before it is history, of which as much is kept as the limits allow. */
	void (*on_whole)(void *owner, uint64_t epoch, uint64_t bytes);
	/* How its copies are, when that has changed. `needed`: a recovery would come upon rot in them. */
	void (*on_health)(void *owner, const struct journal_health *health, bool needed);
	/* The backlog is below the limit again. */
	void (*on_room)(void *owner);
	/*
	 * It cannot be opened, or not be written to any more: the last call of all. What was given and
	 * is not durable may be lost; what is given is thrown away. `bound`: the claim could not be withdrawn, and nothing
	 * may be acknowledged. `untouched`: it was not withdrawn; now it is the owner's.
	 */
	void (*on_broken)(void *owner, bool bound, const struct err *err);
};

struct journal_keeper_options {
	struct journal_place place;  /* `stop`, `reached` and `on_wait` are the keeper's */
	struct journal_claim *claim; /* the keeper's while it is open */
	uint64_t instance;	     /* journal_instance() of whose it is */
	struct image *image;	     /* to be brought to what the journal holds; NULL: none */
	uint64_t segment_bytes;	     /* JOURNAL_SEGMENT_BYTES */
	size_t backlog_bytes;	     /* what may wait for the disk */
	bool sync; /* each commit; else now and then, and on_durable follows then */
	/* Nothing was acknowledged since the claim was made: it is left as it is until something is given, whatever cannot be opened. */
	bool untouched;
	struct history_limits history;
};

/* `image` must not be touched before on_open or on_broken. */
int journal_keeper_open(struct journal_keeper **keeper, uv_loop_t *loop,
			const struct journal_keeper_options *options,
			const struct journal_keeper_ops *ops, void *owner, struct err *err);

/*
 * A record, but BEGIN and COMMIT. `memory`, in which `payload` lies, is the keeper's from now on, also after false (no memory:
 * on_broken follows).
 */
bool journal_keeper_put(struct journal_keeper *keeper, enum journal_kind kind, uint64_t epoch,
			const uint8_t *payload, size_t len, void *memory);
bool journal_keeper_begin(struct journal_keeper *keeper, uint64_t epoch,
			  const struct journal_begin *begin);
/* `turn` grows from one to the next; `leads`: a base that is whole leads to it. */
bool journal_keeper_commit(struct journal_keeper *keeper, uint64_t epoch, uint64_t turn,
			   const struct journal_commit *commit, bool leads);
/*
 * What of the past the journal holds, while `look` runs. An epoch that it tells of is in the files, if not
 * on stable storage.
 */
void journal_keeper_history(struct journal_keeper *keeper,
			    void (*look)(void *owner, const struct history *history), void *owner);
/*
 * From that BASE on nothing is removed because of its age, or the size of what is kept; but for a full disk. False: there is
 * none of that number (any more), and nothing is pinned.
 */
bool journal_keeper_pin(struct journal_keeper *keeper, uint64_t sequence);

/* What is acknowledged behind on_withdrawn need not be in the journal. */
bool journal_keeper_doubt(struct journal_keeper *keeper);
/* More is taken; but who can wait should, until on_room. */
bool journal_keeper_is_full(const struct journal_keeper *keeper);

/* Bytes on the disk, and those that wait for it. */
uint64_t journal_keeper_bytes(const struct journal_keeper *keeper);
uint64_t journal_keeper_backlog(const struct journal_keeper *keeper);
/* It has been at the same step for place.silent_ms: its disk, or those of the quorum, do not answer. */
bool journal_keeper_is_silent(const struct journal_keeper *keeper);
/* Of the replay that on_open ends: bytes read so far, and in all (0: not known yet). */
void journal_keeper_progress(const struct journal_keeper *keeper, uint64_t *done, uint64_t *total);

/* What was given is still written; frees, then calls on_closed(owner), and nothing else any more. */
void journal_keeper_close(struct journal_keeper *keeper, void (*on_closed)(void *owner),
			  void *owner);

#endif
