/*
 * Which policies of the two sites may be used together: a pure function.
 *
 * The rule: never two servers. While the sites cannot hear each other, at most one of them may come
 * to serve by itself.
 *
 *   takeover    without_standby   alone safe   because
 *   manual      continue          yes          the standby asks its operator
 *   manual      hold              yes
 *   automatic   hold              yes          the primary's lease has run out by then
 *   automatic   continue          with a       it lets one of them; or in gateway mode, where the
 *                                 witness      primary's frames do not get past the standby
 *
 * That an instance does not answer longer than its lease is the agent's doing; of one whose network is its
 * own, whose frames do not pass the agent, also its guardian's (guardian.h): so an agent may die, freeze or
 * be late alone. If both are killed together, or QEMU does not take the order, it may answer beside the replica.
 *
 * A primary with a witness goes on by the witness's word alone, also with "hold": so the standby has to
 * ask the same one, for its operator, too; but for gateway mode. Two different witnesses are never right,
 * also if both sites name them alike: a name can lead somewhere else from elsewhere.
 */
#ifndef APPLIANCE_SAFETY_H
#define APPLIANCE_SAFETY_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct safety {
	bool automatic; /* the standby's takeover */
	bool continues; /* the primary's without_standby */
	bool gateway;	/* every network card's clients come through the standby */
	const char *primary_witness, *standby_witness; /* by witness_place.h; empty: none */
	/* Which etcd is there (etcd_identity()); 0: not known yet. */
	uint64_t primary_identity, standby_identity;
};

/* RC_REFUSED with the rule and what to change. */
int safety_check(const struct safety *safety, struct err *err);

/* So many heartbeats in what the other end takes for a failure: two in a row may be lost or late on a link that is alive. */
#define SAFETY_HEARTBEATS 3

/* A site's link.heartbeat_ms and link.detect_ms; 0: not known, as of an older program. */
struct safety_pace {
	uint32_t heartbeat_ms, detect_ms;
};

/* The same for how often one is heard and how soon the other takes that for silence. */
int safety_check_pace(const struct safety_pace *primary, const struct safety_pace *standby,
		      struct err *err);

#endif
