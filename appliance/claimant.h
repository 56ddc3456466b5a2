/*
 * Asks the witness for one site and one instance, so that a single answer comes: reads what is
 * there, judges it (witness_judge.h), claims from it, and looks again where somebody was faster. Who has
 * to wait for another site's lease there gets no answer: it ends by itself.
 */
#ifndef APPLIANCE_CLAIMANT_H
#define APPLIANCE_CLAIMANT_H

#include "appliance/witness.h"

struct claimant;

enum claimant_answer {
	CLAIMANT_WON,	    /* `term` is this site's */
	CLAIMANT_LOST,	    /* it is the other's */
	CLAIMANT_NOBODY,    /* of a look: nothing there that we do not know */
	CLAIMANT_UNANSWERED /* a claim may have been won all the same */
};

struct claimant_ops {
	void (*on_answer)(void *owner, enum claimant_answer answer, uint64_t term);
	/* The lease that was won is over, or etcd has it no more: others may serve now. */
	void (*on_lost)(void *owner); /* may be NULL, of who claims without one */
};

struct claimant_options {
	struct etcd *etcd;
	const char *instance, *site; /* have to stay */
	enum witness_server server;
	uint32_t ttl_s;
};

int claimant_open(struct claimant **claimant, uv_loop_t *loop,
		  const struct claimant_options *options, const struct claimant_ops *ops,
		  void *owner, struct err *err);

/*
 * Wants a term above own_term, with a lease or without; or only wants to know. One at a time: asked
 * while an answer is outstanding, nothing happens, and that answer counts; but a look becomes a claim.
 */
void claimant_claim(struct claimant *claimant, uint64_t own_term, bool leased, bool by_operator);
void claimant_look(struct claimant *claimant, uint64_t own_term);

/* What the witness said last, as of the answer that is given. */
const struct witness_view *claimant_view(const struct claimant *claimant);

/* Until when the lease that was won surely lasts, kept alive meanwhile; 0: none is held. */
uint64_t claimant_until_ns(const struct claimant *claimant);
void claimant_release(struct claimant *claimant);
/* As witness_rest(). */
void claimant_rest(struct claimant *claimant);

/* on_closed (may be NULL) follows; no answer. */
void claimant_close(struct claimant *claimant, void (*on_closed)(void *owner), void *owner);

#endif
