#include "appliance/witness_judge.h"

#include <string.h>

enum witness_verdict witness_judge(const struct witness_question *question,
				   const struct witness_value *value, bool held)
{
	const bool ours = value != NULL && value->server == question->server &&
			  strcmp(value->site, question->site) == 0;
	const bool theirs = value != NULL && !ours;

	if (theirs && value->term > question->own_term && (!question->by_operator || held))
		return WITNESS_OTHERS;
	if (question->claim)
		return theirs && held ? WITNESS_TO_WAIT : WITNESS_TO_CLAIM;
	return ours && value->term >= question->own_term ? WITNESS_OURS : WITNESS_NOTHING;
}

uint64_t witness_next_term(const struct witness_question *question,
			   const struct witness_value *value)
{
	const uint64_t seen = value != NULL ? value->term : 0;

	return (seen > question->own_term ? seen : question->own_term) + 1;
}
