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

#endif
