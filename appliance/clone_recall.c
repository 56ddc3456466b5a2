/*
 * What an earlier life has left in the journal becomes this one's epoch.
 *
 * If copies of the journal are missing then, that may be an older epoch than was acknowledged, or none. When they are there again, the
 * journal is read once more, as if this process began only now: but only if nothing has come of what was read before. So not while a
 * primary is connected, or an earlier epoch is read, and not once a takeover has been tried, by which the term has grown.
 */
#include "appliance/clone_internal.h"

#include "appliance/base/log.h"

#include <stdio.h>

void clone_on_restored(void *owner, uint64_t epoch, const struct journal_origin *origin,
		       bool behind, const struct err *why)
{
	struct clone *c = owner;
	struct failover_update update;

	seat_restored(c->seat);
	c->recalled_term = c->failover.term;
	*c->unread = '\0';
	if (why->code != RC_OK) {
		(void)snprintf(c->unread, sizeof(c->unread),
			       "the journal does not bring the replica back: %.440s", why->text);
		log_error(c->part, "%s", c->unread);
	}
	if (epoch == 0)
		return;
	/* Clients know what came of a later term: but for one with which nothing was ever brought to life here. */
	if (origin->term < c->failover.term && c->record.kind != TERM_UNFINISHED) {
		(void)snprintf(
			c->unread, sizeof(c->unread),
			"epoch %llu in the journal is of term %llu, and term %llu came after it: it is not "
			"brought back",
			(unsigned long long)epoch, (unsigned long long)origin->term,
			(unsigned long long)c->failover.term);
		log_warn(c->part, "%s", c->unread);
		image_forget(seat_image(c->seat));
		return;
	}
	c->session = c->pending_session = origin->session;
	clone_decide_event(c,
			   (struct failover_event){ .type = FAILOVER_RECOVERED,
						    .epoch = epoch,
						    .behind = behind ||
							      origin->term + 1 < c->failover.term },
			   &update);
}

void clone_on_more(void *owner)
{
	struct clone *c = owner;

	c->more = true;
}

/* In these states what was read is all that there is, and nobody has done anything with it. */
static bool is_unused(const struct clone *c)
{
	return (c->failover.state == FAILOVER_UNATTENDED ||
		aftermath_stands(&c->record, &c->failover)) &&
	       c->failover.term == c->recalled_term && !seat_is_restoring(c->seat);
}

void clone_recall_tick(struct clone *c)
{
	if (!c->more || !is_unused(c) || c->link != NULL || c->draining || c->stopping ||
	    c->rewound != NULL || c->rewound_closing || c->survivor != NULL)
		return;
	c->more = false;
	log_info(c->part, "the copies of the journal are back: it is read once more");
	if (c->failover.epoch > 0)
		clone_on_forgotten(c);
	seat_restore(c->seat);
}

const char *clone_recall_problem(const struct clone *c)
{
	if (c->more && is_unused(c))
		return "copies of the journal are back, and may hold later epochs: they are read "
		       "once no primary is connected and no earlier epoch runs";
	if (c->more && c->failover.state == FAILOVER_UNATTENDED)
		return "copies of the journal are back, and may hold later epochs: to have them read, "
		       "restart the standby";
	return aftermath_stands(&c->record, &c->failover) ? c->unread : "";
}
