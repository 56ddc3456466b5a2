/*
 * Whether a standby that begins may stand by, as far as the witness tells: a standby that has lost what it
 * knew, or is new here, would grant leases while another one's replica, or its own, runs. So it looks there
 * before it is anybody's standby: before that it takes no connection, and hears of no term. A pure state
 * machine, as failover.h.
 *
 *   nothing there, or a primary, or a standby with a term that it   clear
 *   knew when it began
 *   the standby of this site, with a later term, and something is   clear: it won that term and ended before
 *   known from before                                               it was on the disk, so nothing has run
 *   a standby with a later term                                     another serves: not before that has
 *                                                                   changed, or the operator releases
 *   no answer                                                       clear where something is known from
 *                                                                   before, or a witness that is away would
 *                                                                   keep a restarted standby from its
 *                                                                   primary; else it is asked again
 *
 * Once clear it stays so. One that has taken over knows who serves, and one without a witness asks nobody:
 * then what tells is only who holds the replica's memory (clone_doubt.c), and which standby the primary
 * had (tenure.h).
 */
#ifndef APPLIANCE_DOUBT_H
#define APPLIANCE_DOUBT_H

#include "appliance/term_record.h"
#include "appliance/witness_value.h"

#include <stdbool.h>
#include <stdint.h>

#define DOUBT_LOOK_NS UINT64_C(1000000000) /* until the witness is asked again */

struct doubt {
	bool clear;
	/* Why it is not: another standby serves, or nothing is known. */
	bool another, unanswered;
	struct witness_value seen; /* of `another` */
	/* private */
	bool knows;
	uint64_t term, look_ns;
};

/* `record`: what the disk had when the process began. */
void doubt_init(struct doubt *doubt, const struct term_record *record, bool witness);
/* The witness is to be asked now: an answer or none follows. */
bool doubt_is_due(struct doubt *doubt, uint64_t now_ns);
/* What it has of the instance (NULL: nothing), and whether that is this site's. */
void doubt_seen(struct doubt *doubt, const struct witness_value *value, bool own_site);
void doubt_unanswered(struct doubt *doubt);
/* By the operator's word the other one does not serve: its term is known from now on. False: no other is. */
bool doubt_release(struct doubt *doubt);

#endif
