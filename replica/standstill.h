/*
 * Who stopped the instance: its checkpoints, QEMU's leaving COLO, or somebody else (by hand, a
 * full disk). Pure; capture.c brings the events and puts the question.
 *
 * QEMU's event STOP has no reason. Checkpoints stop the instance as often as they are granted, so
 * one stop more is not theirs; but a release from COLO (by the guardian, or by whoever sends
 * x-colo-lost-heartbeat) stops the instance as well before it sets it running. Only query-status
 * tells the two apart: "colo" and then "running" is a release, "paused" is somebody's hand. Until
 * it has answered the instance counts as standing, but not as stopped by hand.
 */
#ifndef REPLICA_STANDSTILL_H
#define REPLICA_STANDSTILL_H

#include <stdbool.h>

struct standstill {
	unsigned stops; /* since COLO began, those that count as checkpoints' */
	bool stands;	/* stopped, and by no checkpoint of ours */
	bool asking, again;
	bool by_hand;	 /* an operator's `stop`, confirmed */
	char reason[96]; /* for the operator; "" until query-status has answered */
};

/* The event STOP, after `granted` checkpoints. True: ask query-status now. */
bool standstill_stop(struct standstill *standstill, unsigned granted);

/* The event RESUME. True: it stood, and goes on. */
bool standstill_resume(struct standstill *standstill);

enum standstill_news {
	STANDSTILL_NOTHING,
	STANDSTILL_ASK,	    /* put the question again */
	STANDSTILL_FOUND,   /* it is stopped indeed: standstill_reason() */
	STANDSTILL_GOES_ON, /* it runs */
};
/* What query-status said; NULL: there is no answer. */
enum standstill_news standstill_answer(struct standstill *standstill, const char *status);

/* NULL when it is not known to stand. */
const char *standstill_reason(const struct standstill *standstill);

#endif
