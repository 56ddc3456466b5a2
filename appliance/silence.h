/*
 * Whether clients wait for an instance that may not answer, and why, in words for its operator. A
 * pure function of what happened and when: no I/O, no clock.
 *
 * A moment without the right to answer is nothing to report: a lease comes with the connection, and a
 * reconnection takes as long. What lasts is; and what comes again and again because the round trip is
 * too long for the lease, which is over, or nearly so, when it arrives.
 */
#ifndef APPLIANCE_SILENCE_H
#define APPLIANCE_SILENCE_H

#include "appliance/base/clock.h"
#include "appliance/base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define SILENCE_MOMENT_NS (2 * CLOCK_NS_PER_S)
#define SILENCE_LAPSES 3 /* so many, none a moment after the one before, are no accident */

enum silence_kind {
	SILENCE_NONE,
	SILENCE_LASTING, /* it may not answer */
	SILENCE_LATE,	 /* because leases come too late */
	SILENCE_ANOTHER, /* because by the witness's word another site serves */
	SILENCE_YIELDED, /* because the standby was ordered to take over, and does not say more */
};

/* Zero-initialise. */
struct silence {
	uint64_t since_ns; /* it may not answer since then; 0: it may */
	uint64_t last_ns;  /* when it last might not; 0: never */
	unsigned lapses;
};

struct silence_facts {
	const char *instance;
	const char *why;	/* it may not answer, as far as was said; or "" */
	uint64_t round_trip_ns; /* 0: unknown */
	uint64_t lease_ns;	/* as long as the standby grants it; 0: unknown */
	uint64_t heartbeat_ns;	/* between two leases */
	bool another;		/* the witness says that another site serves, */
	uint64_t term;		/* with this term */
	bool yielded;		/* to a standby that was ordered to take over */
};

/* To be told of every change, and now and then. */
void silence_note(struct silence *silence, bool may_answer, uint64_t now_ns);
/* As of the last note; what to tell ("": nothing) goes to text. */
enum silence_kind silence_explain(const struct silence *silence, const struct silence_facts *facts,
				  char text[ERR_TEXT_MAX]);

#endif
