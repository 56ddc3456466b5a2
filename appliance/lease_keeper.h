/*
 * Keeps a primary's right to let its instance answer: feeds tenure.c with the standby's leases, the
 * witness's answers and the passing of time, and tells when the right comes and goes.
 */
#ifndef APPLIANCE_LEASE_KEEPER_H
#define APPLIANCE_LEASE_KEEPER_H

#include "appliance/base/err.h"
#include "appliance/claimant.h"
#include "appliance/tenure.h"
#include "net/link.h"

#include <uv.h>

struct lease_keeper;

struct lease_keeper_ops {
	/*
	 * It may answer from now on, or not any more; why. At a lease's end, not before. Also when
	 * it answered alone and goes on by the standby's word.
	 */
	void (*on_right)(void *owner, bool may_serve, const char *reason);
	/* Until when it may, as of tenure_until_ns(), whenever that changes; before on_right. */
	void (*on_lease)(void *owner, uint64_t until_ns);
	/*
	 * The term is another one now. `untold`: by the witness's word, be it that this site is about to
	 * answer alone, or of a claim whose answer was lost; the standby has to be told before anything
	 * else. Its leases count only in that term.
	 */
	void (*on_term)(void *owner, uint64_t term, bool untold);
};

struct lease_keeper_options {
	bool hold; /* without the standby the instance is silent */
	uint32_t
		period_ms; /* the link is asked for a longer lease; a heartbeat's interval will do */
	uint64_t term;
	struct etcd *etcd;	     /* NULL: no witness */
	const char *instance, *site; /* have to stay */
	uint32_t ttl_s;
};

int lease_keeper_open(struct lease_keeper **keeper, uv_loop_t *loop,
		      const struct lease_keeper_options *options,
		      const struct lease_keeper_ops *ops, void *owner, struct err *err);

/* Whose leases count; may be NULL. */
void lease_keeper_link(struct lease_keeper *keeper, const struct link *link);
/* The standby takes over from that term by its operator's order, if this site stands still. */
void lease_keeper_yield(struct lease_keeper *keeper, uint64_t term);
/* The standby serves that term. */
void lease_keeper_supersede(struct lease_keeper *keeper, uint64_t term);
/* The standby at the link could take over from now on; whether one may be given the instance (tenure.h). */
void lease_keeper_seated(struct lease_keeper *keeper);
bool lease_keeper_takes(const struct lease_keeper *keeper, uint64_t standby);
/* The operator lets go, of the standby too. */
void lease_keeper_release(struct lease_keeper *keeper, uint64_t term);

/*
 * Whether there is an instance that could answer; at first there is none. Without one the witness is not
 * asked, and what it has given is given back.
 */
void lease_keeper_instance(struct lease_keeper *keeper, bool there);

/* As of tenure_until_ns(). */
uint64_t lease_keeper_until_ns(const struct lease_keeper *keeper);
/* To be asked before anything leaves. */
bool lease_keeper_may_serve(const struct lease_keeper *keeper);
/* Also without a word of the standby; and if so, by the witness's. */
bool lease_keeper_is_free(const struct lease_keeper *keeper);
bool lease_keeper_is_alone(const struct lease_keeper *keeper);
/* It has yielded, and the standby has not said since what became of that. */
bool lease_keeper_has_yielded(const struct lease_keeper *keeper);
/* Another site serves, by its own word or the witness's. */
bool lease_keeper_is_superseded(const struct lease_keeper *keeper);
const char *lease_keeper_state(const struct lease_keeper *keeper);
/* Why it may answer or may not, as last heard; "": nothing was. */
const char *lease_keeper_reason(const struct lease_keeper *keeper);
/* What is left of the lease in force, in ms; negative: none is needed. */
double lease_keeper_left_ms(const struct lease_keeper *keeper);

void lease_keeper_close(struct lease_keeper *keeper, void (*on_closed)(void *owner), void *owner);

#endif
