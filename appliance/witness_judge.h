/*
 * What the witness's value means for the site that asked. No I/O: the simulator decides by it as well.
 *
 * Who serves by the witness's word is whoever wrote its value last. A value of another site with a term
 * that we have not heard from itself is its word against ours, unless an operator decides and it holds no
 * lease there. While it holds one, nobody claims.
 */
#ifndef APPLIANCE_WITNESS_JUDGE_H
#define APPLIANCE_WITNESS_JUDGE_H

#include "appliance/witness_value.h"

enum witness_verdict {
	WITNESS_OTHERS,	  /* another site serves, in the value's term */
	WITNESS_OURS,	  /* this one does, and the answer to a claim was lost; only of a look */
	WITNESS_NOTHING,  /* nothing that we do not know; only of a look */
	WITNESS_TO_CLAIM, /* with witness_next_term() */
	WITNESS_TO_WAIT,  /* not to claim: another site's lease is alive */
};

struct witness_question {
	enum witness_server server;
	const char *site;
	uint64_t own_term;
	bool claim; /* else only a look */
	bool by_operator;
};

/* `value` NULL: nobody has claimed the instance before. `held`: its lease is alive. */
enum witness_verdict witness_judge(const struct witness_question *question,
				   const struct witness_value *value, bool held);

/* Above both the own and the one seen. */
uint64_t witness_next_term(const struct witness_question *question,
			   const struct witness_value *value);

#endif
