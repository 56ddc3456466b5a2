#include "appliance/doubt.h"

void doubt_init(struct doubt *doubt, const struct term_record *record, bool witness)
{
	*doubt = (struct doubt){
		.clear = !witness || record->kind == TERM_TOOK_OVER,
		.knows = record->kind != TERM_STANDS_BY || record->term > 1,
		.term = record->term,
	};
}

bool doubt_is_due(struct doubt *doubt, uint64_t now_ns)
{
	if (doubt->clear || now_ns < doubt->look_ns)
		return false;
	doubt->look_ns = now_ns + DOUBT_LOOK_NS;
	return true;
}

void doubt_seen(struct doubt *doubt, const struct witness_value *value, bool own_site)
{
	if (doubt->clear)
		return;
	doubt->unanswered = false;
	doubt->another = value != NULL && value->server == WITNESS_STANDBY &&
			 value->term > doubt->term && !(own_site && doubt->knows);
	doubt->clear = !doubt->another;
	if (doubt->another)
		doubt->seen = *value;
}

void doubt_unanswered(struct doubt *doubt)
{
	/* What was seen before may still be so. */
	doubt->clear |= doubt->knows && !doubt->another;
	doubt->unanswered = !doubt->clear;
}

bool doubt_release(struct doubt *doubt)
{
	if (doubt->clear || !doubt->another)
		return false;
	doubt->clear = true;
	doubt->another = false;
	return true;
}
