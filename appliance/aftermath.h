/*
 * What a standby keeps on its disk about an instance, as it follows from the decision; and what an
 * operator has to be told when that is all that is left. Pure, as failover.h.
 *
 * The device state, and all memory that QEMU does not share, are in the standby's process alone. So
 * a standby that starts again has nothing to take over from but what a journal brings back, whatever it had before: it has to say
 * so, or the instance would count as protected. It does until an epoch is committed or the operator
 * releases. That a takeover was decided and nothing came of it is kept until an epoch is committed, too: by that the next life knows
 * that an epoch of a former term is not older than what clients were told.
 */
#ifndef APPLIANCE_AFTERMATH_H
#define APPLIANCE_AFTERMATH_H

#include "appliance/failover.h"
#include "appliance/term_record.h"

#define AFTERMATH_TEXT_MAX 320

/*
 * The record that should be on the disk, after the one that is there or was to be. `site`: of the primary
 * whose instance was committed here last; `released`: the operator has let go.
 */
struct term_record aftermath_record(const struct term_record *was, const struct failover *failover,
				    const char *site, bool released);
/* Whether the disk has to be told: a later epoch alone is not worth it. */
bool aftermath_differs(const struct term_record *a, const struct term_record *b);

/* Nothing can be taken over here, although the instance was protected here or taken over. */
bool aftermath_stands(const struct term_record *record, const struct failover *failover);
/* Then: what was, and what can be done. */
void aftermath_text(const struct term_record *record, char text[AFTERMATH_TEXT_MAX]);

#endif
