#include "appliance/aftermath.h"

#include <stdio.h>
#include <string.h>

/* A takeover was decided, and nothing has been committed since. */
static bool unfinished(const struct term_record *was, const struct failover *failover)
{
	return (was->kind == TERM_TOOK_OVER || was->kind == TERM_UNFINISHED) &&
	       failover->state != FAILOVER_PROTECTED && failover->state != FAILOVER_SUSPECT;
}

struct term_record aftermath_record(const struct term_record *was, const struct failover *failover,
				    const char *site, bool released)
{
	struct term_record record = {
		.term = failover->term,
		.kind = TERM_STANDS_BY,
		.epoch = failover->epoch,
		.identity = was->identity,
	};

	if (failover_has_served(failover) || failover->state == FAILOVER_TAKING_OVER ||
	    failover->state == FAILOVER_RETURNING || failover->state == FAILOVER_FAILED) {
		record.kind =
			TERM_TOOK_OVER; /* or may have: clients may know more than the primary */
		if (failover->back_to != 0)
			record.epoch = failover->back_to;
	} else if (failover->epoch > 0 && !unfinished(was, failover)) {
		record.kind = TERM_PROTECTS;
	} else if (!released && was->kind != TERM_STANDS_BY) {
		/* Took over, and is not any more: its QEMU was found to have run nothing. */
		record.kind = unfinished(was, failover) ? TERM_UNFINISHED : was->kind;
		record.epoch = was->epoch;
	}
	if (record.kind != TERM_STANDS_BY)
		(void)snprintf(record.site, sizeof(record.site), "%s", site);
	return record;
}

bool aftermath_differs(const struct term_record *a, const struct term_record *b)
{
	return a->term != b->term || a->kind != b->kind || strcmp(a->site, b->site) != 0;
}

bool aftermath_stands(const struct term_record *record, const struct failover *failover)
{
	return failover->epoch == 0 && record->kind != TERM_STANDS_BY;
}

void aftermath_text(const struct term_record *record, char text[AFTERMATH_TEXT_MAX])
{
	const unsigned long long epoch = record->epoch, term = record->term;

	if (record->kind == TERM_PROTECTS)
		(void)snprintf(
			text, AFTERMATH_TEXT_MAX,
			"the instance was protected here (epoch %llu or later, term %llu) and is not now: there is "
			"nothing to take over until a primary protects it again (only what differs travels); if none "
			"will, `understudy release`",
			epoch, term);
	else
		(void)snprintf(
			text, AFTERMATH_TEXT_MAX,
			"a takeover from epoch %llu with term %llu was decided here and no replica came of it; it "
			"cannot be tried again. A primary whose instance runs protects it again; else start the "
			"instance from its disks and `understudy release`",
			epoch, term);
}
