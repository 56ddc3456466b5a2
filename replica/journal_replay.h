/*
 * Brings an image to the last epoch that a journal holds (journal_format.h, "Reading"), while the journal is
 * read for another reason anyway: what journal_open() or journal_scan() visits goes to
 * journal_replay_visit(). Then journal_replay_end() says what came of it.
 */
#ifndef REPLICA_JOURNAL_REPLAY_H
#define REPLICA_JOURNAL_REPLAY_H

#include "replica/crew.h"
#include "replica/image.h"
#include "replica/journal_scan.h"

#include <stdatomic.h>

#include <uv.h>

struct journal_replay {
	/* set by its owner, the rest to zero. The image has no epoch; its pages are overwritten. */
	struct image *image;
	/* readable by all */
	uint64_t
		epoch; /* of which the image is, after journal_replay_end(); 0: the journal holds none */
	struct journal_origin origin;
	_Atomic uint64_t bytes; /* read so far: any thread may look */
	/* private */
	uint64_t base; /* sequence number of the BASE that is followed; 0: none yet */
	uint64_t
		only; /* the one that alone is to be followed; 0: the last one. The owner may set it, too */
	struct journal_begin open;
	struct crew *crew; /* NULL: not needed yet, or not to be had */
	bool pages;	   /* what it works on are pages of the copy, else batches of an epoch */
	bool copying;	   /* the base is not whole yet */
	bool inside;	   /* an epoch is open */
	bool over;	   /* nothing more follows from `only` */
	uv_mutex_t lock;   /* of `err`, while there is a crew */
	struct err err;
};

/* As journal_visit; `owner` is a struct journal_replay. Never fails: journal_replay_end() does. */
int journal_replay_visit(void *owner, const struct journal_record *record, const uint8_t *payload,
			 struct err *err);

/*
 * `dirs`: the journal's, which is read once more if the last BASE has turned out not to be whole;
 * `found`: what was said at the end. After an error the image has no epoch. RC_REFUSED: it was made for
 * other memory. RC_INVALID: the journal cannot be what a standby wrote.
 */
int journal_replay_end(struct journal_replay *replay, const struct journal_dirs *dirs,
		       const struct journal_found *found, struct err *err);

/* Instead, in the midst of it: the image is of the epoch that was committed last. */
int journal_replay_stop(struct journal_replay *replay, struct err *err);

/* Instead of journal_replay_end(), when there is nothing to be said of the journal: the image has no epoch. */
void journal_replay_drop(struct journal_replay *replay);

#endif
