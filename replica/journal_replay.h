/*
 * Brings an image to the last epoch that a journal holds (journal_format.h, "Reading"). Blocking: seconds
 * for each GiB.
 */
#ifndef REPLICA_JOURNAL_REPLAY_H
#define REPLICA_JOURNAL_REPLAY_H

#include "replica/image.h"
#include "replica/journal_scan.h"

#include <stdatomic.h>

struct journal_replayed {
	uint64_t epoch; /* of which the image is now; 0: the journal holds none */
	struct journal_origin origin;
	_Atomic uint64_t bytes; /* read so far, of found->bytes: any thread may look */
};

/*
 * `dir`: the journal's directory, open; `found`: what journal_scan() said of it, since when it was not
 * changed. The image has no epoch; its pages are overwritten. After an error it has none either.
 * RC_REFUSED: it was made for other memory. RC_INVALID: the journal cannot be what a standby wrote.
 */
int journal_replay(int dir, const struct journal_found *found, struct image *image,
		   struct journal_replayed *replayed, struct err *err);

#endif
