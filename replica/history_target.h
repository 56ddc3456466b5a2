/*
 * What an operator calls a moment: an epoch ("4711"), a time ("2026-11-29T04:30:00Z", "-5m"), or a mark's text.
 * Pure.
 */
#ifndef REPLICA_HISTORY_TARGET_H
#define REPLICA_HISTORY_TARGET_H

#include "replica/history.h"

/* RC_OK: a mark can have that text, and would not be taken for one of the others. */
int history_check_mark(const char *text, struct err *err);

/*
 * Times as in RFC 3339, with their zone (seconds may be left out), or back from now_ms: a number of s, m, h or d.
 * RC_INVALID: it is none, or not there, or still to come.
 */
int history_find(const struct history *history, const char *target, uint64_t now_ms,
		 struct history_place *place, struct err *err);

#endif
