/*
 * What a standby knows of the epochs that it gets, for its status: how old its replica is, how long
 * the instance stood for each, how many bytes came for how many pages. Pure: time is told.
 *
 * When an epoch was captured it says itself, by its age at the moment it was sent; half a round trip
 * is added for its way. What it waited in TCP is not known: the replica is as old as that or older.
 */
#ifndef APPLIANCE_EPOCH_FIGURES_H
#define APPLIANCE_EPOCH_FIGURES_H

#include "appliance/status.h"
#include "net/wire.h"

#define EPOCH_FIGURES_PENDING 32 /* epochs received and not committed: EPOCH_PIPELINE and some */

struct epoch_figures {
	struct epoch_figure {
		uint64_t epoch; /* 0: none */
		uint64_t captured_ns, pause_ns;
		bool timed;
	} pending[EPOCH_FIGURES_PENDING], last; /* last: committed */
	unsigned next;
	struct status_pauses pauses;
	uint64_t open_bytes;	    /* of the epoch that comes in */
	uint64_t wire_bytes, pages; /* of whole ones, in this session */
};

/* Another session begins: what came of the last one does not count. */
void epoch_figures_session(struct epoch_figures *figures);
/* Of one epoch, in their order. `now_ns`: when its COMMIT came. */
void epoch_figures_batch(struct epoch_figures *figures, size_t len);
void epoch_figures_end(struct epoch_figures *figures, uint64_t epoch,
		       const struct wire_commit *commit, uint64_t now_ns, uint64_t round_trip_ns);
void epoch_figures_committed(struct epoch_figures *figures, uint64_t epoch);
/* There is no committed epoch any more. */
void epoch_figures_forget(struct epoch_figures *figures);

/* lag_ms, pauses, wire_bytes, pages, wire_ratio; what is not known is left as it is. */
void epoch_figures_status(const struct epoch_figures *figures, uint64_t now_ns,
			  struct status_instance *status);

#endif
