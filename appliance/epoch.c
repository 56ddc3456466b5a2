#include "appliance/epoch.h"

/* An eighth of each new value: settles within about twenty epochs, forgets one outlier as fast. */
static uint64_t smoothed(uint64_t old, uint64_t latest)
{
	return old == 0 ? latest : old - old / 8 + latest / 8;
}

void epoch_captured(struct epoch_pacer *pacer, uint64_t now_ns, uint64_t pause_ns)
{
	pacer->pause_ns = smoothed(pacer->pause_ns, pause_ns);
	pacer->captured_ns = now_ns;
	pacer->wanted_ns = 0;
}

void epoch_committed(struct epoch_pacer *pacer, uint64_t took_ns)
{
	pacer->commit_ns = smoothed(pacer->commit_ns, took_ns);
}

void epoch_demand(struct epoch_pacer *pacer, uint64_t now_ns)
{
	if (pacer->wanted_ns == 0)
		pacer->wanted_ns = now_ns;
}

uint64_t epoch_interval_ns(const struct epoch_pacer *pacer)
{
	uint64_t interval = pacer->target_ns;

	if (pacer->pause_ns * EPOCH_HOLD_SHARE > interval)
		interval = pacer->pause_ns * EPOCH_HOLD_SHARE;
	if (pacer->commit_ns / EPOCH_PIPELINE > interval)
		interval = pacer->commit_ns / EPOCH_PIPELINE;
	if (interval < pacer->min_ns)
		interval = pacer->min_ns;
	return interval > pacer->max_ns ? pacer->max_ns : interval;
}

uint64_t epoch_due_ns(const struct epoch_pacer *pacer, uint32_t unacknowledged, bool budget_full)
{
	uint64_t interval;

	if (unacknowledged >= EPOCH_PIPELINE || budget_full)
		return UINT64_MAX;
	if (pacer->captured_ns == 0)
		return 0;
	interval = pacer->wanted_ns != 0 ? pacer->min_ns : epoch_interval_ns(pacer);
	return pacer->captured_ns + interval;
}

enum epoch_plan epoch_plan(uint64_t own_session, uint64_t oldest_kept, uint64_t newest,
			   uint64_t peer_session, uint64_t peer_epoch)
{
	if (peer_session == 0)
		return EPOCH_PLAN_COPY;
	if (own_session == 0 || own_session != peer_session || peer_epoch == 0)
		return EPOCH_PLAN_RESYNC;
	if (peer_epoch == newest ||
	    (oldest_kept != 0 && oldest_kept <= peer_epoch + 1 && peer_epoch < newest))
		return EPOCH_PLAN_CONTINUE;
	return EPOCH_PLAN_RESYNC;
}
