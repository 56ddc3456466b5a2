/*
 * When the next checkpoint is taken: a pure function of what the last ones cost.
 *
 * The interval aims at `target`, and grows (up to `max`) so that
 *  - the instance is held for at most a tenth of the time (EPOCH_HOLD_SHARE of the smoothed pause),
 * and
 *  - epochs are not made faster than the standby commits them: an interval is no shorter than the
 * smoothed time from the end of one capture to its acknowledgement, divided by the epochs that may
 * be on their way (EPOCH_PIPELINE). It comes back towards the target as soon as they allow. While
 * EPOCH_PIPELINE epochs are unacknowledged or the budget is full no checkpoint is taken at all: the
 * instance runs on and its changes merge into the next epoch (QEMU's own dirty log keeps the latest
 * version of each page). On demand the next checkpoint is taken at once, but not sooner than `min`
 * after the last.
 */
#ifndef APPLIANCE_EPOCH_H
#define APPLIANCE_EPOCH_H

#include <stdbool.h>
#include <stdint.h>

#define EPOCH_HOLD_SHARE 10 /* interval >= this many pauses */
#define EPOCH_PIPELINE 16   /* epochs on their way: covers a 50 ms link at the shortest interval */

struct epoch_pacer {
	uint64_t target_ns, min_ns, max_ns; /* set by the caller */
	/* private */
	uint64_t pause_ns, commit_ns; /* smoothed */
	uint64_t captured_ns;	      /* end of the last capture, 0: none yet */
	uint64_t wanted_ns;	      /* since when one is wanted on demand, 0: none */
};

/* A capture ended at now_ns and held the instance for pause_ns. */
void epoch_captured(struct epoch_pacer *pacer, uint64_t now_ns, uint64_t pause_ns);
/* An epoch was acknowledged, took_ns after the end of its capture. */
void epoch_committed(struct epoch_pacer *pacer, uint64_t took_ns);
/* Somebody waits for the next commit (held output). */
void epoch_demand(struct epoch_pacer *pacer, uint64_t now_ns);

/* The present interval. */
uint64_t epoch_interval_ns(const struct epoch_pacer *pacer);

/* When to take the next checkpoint: a time (now_ns or earlier: at once), or UINT64_MAX: not before
 * an acknowledgement. */
uint64_t epoch_due_ns(const struct epoch_pacer *pacer, uint32_t unacknowledged, bool budget_full);

/* What to do about an instance after a connection with its standby was made (or made again). */
enum epoch_plan {
	EPOCH_PLAN_CONTINUE, /* the standby has our session: send what it lacks and go on */
	EPOCH_PLAN_RESYNC,   /* it has an image of this instance: a first copy, of what differs by
				hash */
	EPOCH_PLAN_COPY	     /* it has nothing: a first copy */
};

/* own_session 0: no capture is running. `oldest_kept`: the first epoch that could be sent again (0:
 * none is kept). */
enum epoch_plan epoch_plan(uint64_t own_session, uint64_t oldest_kept, uint64_t newest,
			   uint64_t peer_session, uint64_t peer_epoch);

#endif
