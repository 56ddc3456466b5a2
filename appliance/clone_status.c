/*
 * What a clone says of itself: the state is failover.c's; what else is wrong, or will be, comes before it.
 */
#include "appliance/clone_internal.h"

#include "appliance/base/clock.h"

#define OUTDATED_MOMENT_NS \
	(2 * CLOCK_NS_PER_S) /* it is for an epoch or two after each first copy */

/* A primary is there, and what it tried last has failed. In later states something else matters more. */
static bool has_trouble(const struct clone *c)
{
	return *c->trouble != '\0' && c->failover.state <= FAILOVER_SUSPECT;
}

/* A takeover would fail once, and cost the time until another QEMU is warm. */
static bool is_stuck(const struct clone *c)
{
	return c->failover.epoch > 0 && c->failover.state <= FAILOVER_SUSPECT &&
	       seat_is_silent(c->seat);
}

/* There is an epoch, and nothing that it could be brought to life in. Later states say more. */
static bool is_cold(const struct clone *c)
{
	return c->failover.epoch > 0 && c->failover.state <= FAILOVER_SUSPECT &&
	       !seat_is_warm(c->seat);
}

/* Why clients would not reach the replica; "": they would. */
static const char *fault_of(const struct clone *c)
{
	const char *fault = c->gateway != NULL ? gateway_fault(c->gateway) : "";

	return *fault != '\0' ? fault : virtual_addresses_fault(c->addresses);
}

/* In other states there is something that matters more. */
static bool is_cramped(const struct clone *c)
{
	return *c->cramped != '\0' &&
	       (c->failover.state <= FAILOVER_SUSPECT || c->failover.state == FAILOVER_SERVING);
}

/* A takeover would fail, or what runs is in files that nobody will find. */
static bool is_misplaced(const struct clone *c)
{
	return *c->disks.problem != '\0';
}

/* The primary is heard, and what clients know is not here: were it silent, only the operator would act. */
static bool is_outdated(const struct clone *c)
{
	return c->failover.state <= FAILOVER_SUSPECT && c->failover.outdated;
}

/* Why epochs are acknowledged from memory although there is a journal; "": they are not. */
static const char *journal_problem(const struct clone *c)
{
	struct journaling_status journal;

	return seat_journal(c->seat, &journal) ? journal.problem : "";
}

/* Nothing for an operator to do. */
static bool needs_nobody(const struct clone *c)
{
	if (is_outdated(c) && clock_now_ns() - c->outdated_ns > OUTDATED_MOMENT_NS)
		return false;
	if (clone_in_doubt(c) || has_trouble(c) || c->silent || c->store_broken || is_stuck(c) ||
	    is_cramped(c) || is_misplaced(c) || *fault_of(c) != '\0' || *journal_problem(c) != '\0')
		return false;
	switch (c->failover.state) {
	case FAILOVER_UNATTENDED:
	case FAILOVER_FAILED:
	case FAILOVER_RETURNING:
	case FAILOVER_LOST:
		return false;
	case FAILOVER_SERVING:
	case FAILOVER_CLAIMING:
	case FAILOVER_TAKING_OVER:
		return true;
	default:
		return c->failover.epoch > 0 ? seat_is_warm(c->seat) :
					       !aftermath_stands(&c->record, &c->failover);
	}
}

static void frames_status(const struct gateway *gateway, struct status_instance *status)
{
	struct gateway_counters counters = gateway_counters(gateway);

	status->frames_from_clients = (double)counters.from_clients;
	status->frames_to_clients = (double)counters.to_clients;
	status->frames_held = (double)counters.held;
	status->frames_dropped = (double)counters.dropped;
	status->frames_replayed = (double)counters.replayed;
	status->frames_refused = (double)counters.refused;
	status->nnics = gateway_cards(gateway, &status->nics);
}

static void journal_status(const struct clone *c, struct status_instance *status)
{
	struct journaling_status journal;

	if (!seat_journal(c->seat, &journal))
		return;
	status->journal = journal.state;
	status->journal_problem = journal.problem;
	status->journal_durable = journal.durable;
	status->journal_health = journal.health;
	status->journal_epoch = (double)journal.epoch;
	status->journal_bytes = (double)journal.bytes;
	status->journal_backlog = (double)journal.backlog;
	if (journal.total > 0) {
		status->journal_read = (double)journal.done;
		status->journal_total = (double)journal.total;
	}
}

/* What is decided to be done here, and what is lost with it, is for the operator: before the disks that may still change it. */
static bool is_said_first(const struct clone *c)
{
	return c->failover.state == FAILOVER_UNATTENDED ||
	       aftermath_stands(&c->record, &c->failover);
}

/* Of all that there is to say, what an operator should hear first. */
static const char *reason_of(const struct clone *c)
{
	const char *fault = fault_of(c), *journal = journal_problem(c);

	if (clone_in_doubt(c))
		return c->doubt_text;
	if (c->silent)
		return survivor_silence(c->survivor);
	if (c->store_broken)
		return c->store_error;
	if (is_misplaced(c))
		return c->disks.problem;
	if (has_trouble(c))
		return c->trouble;
	if (*fault != '\0')
		return fault;
	if (is_cold(c))
		return *c->unseated != '\0' ?
			       c->unseated :
			       "no warm QEMU, so there can be no takeover: one is being started";
	if (is_stuck(c))
		return "the warm QEMU does not answer";
	if (is_cramped(c))
		return c->cramped;
	if (is_outdated(c))
		return "the instance answered without us: clients know more than the epoch here, "
		       "until the next one is committed";
	return *journal != '\0' && !is_said_first(c) ? journal : c->reason;
}

static const char *besides(const struct clone *c)
{
	const char *journal = journal_problem(c), *recall = clone_recall_problem(c);

	if (reason_of(c) != c->reason)
		return "";
	return *journal != '\0' && is_said_first(c) && !c->more ? journal : recall;
}

void clone_status(const struct clone *c, struct status_instance *status)
{
	const enum failover_state state = c->failover.state;
	const char *fault = fault_of(c);

	status_clear(status, c->instance->name);
	status->state = failover_state_name(state);
	status->healthy = needs_nobody(c);
	status->reason = reason_of(c);
	status->besides = besides(c);
	status->protected_now = (state == FAILOVER_PROTECTED || state == FAILOVER_SUSPECT) &&
				!c->failover.outdated && seat_is_warm(c->seat) && !has_trouble(c) &&
				!c->store_broken && !is_misplaced(c) && *fault == '\0';
	status->outdated = c->failover.outdated;
	status->term = (double)c->failover.term;
	status->epoch = (double)c->failover.epoch;
	status->suspicion = failover_suspicion(&c->failover, clock_now_ns());
	if (seat_receiver(c->seat) != NULL)
		status->lag_bytes = (double)receiver_queued(seat_receiver(c->seat));
	status->hypervisor =
		c->survivor != NULL ? survivor_state(c->survivor) : seat_hypervisor(c->seat);
	if (c->link != NULL) {
		status->link = c->link;
		status->peer = link_peer(c->link);
	}
	if (c->gateway != NULL)
		frames_status(c->gateway, status);
	if (!failover_has_served(&c->failover)) /* what runs here now is no copy */
		epoch_figures_status(&c->figures, clock_now_ns(), status);
	status->addresses = c->addresses;
	journal_status(c, status);
	clone_past_status(c, status);
	if (c->activate_ns > 0) {
		status->detect_ms = clock_ms(c->failover.silent_ns);
		status->activate_ms = clock_ms(c->activate_ns);
		status->resumed_epoch = (double)c->resumed_epoch;
	}
}
