#include "appliance/epoch_figures.h"

#include "appliance/base/clock.h"
#include "replica/layout.h"

#include <string.h>

void epoch_figures_session(struct epoch_figures *figures)
{
	memset(figures->pending, 0, sizeof(figures->pending));
	figures->open_bytes = figures->wire_bytes = figures->pages = 0;
}

void epoch_figures_batch(struct epoch_figures *figures, size_t len)
{
	figures->open_bytes += len;
}

/* What a peer says of its times is bounded by nothing: a capture before our clock began is at 0. */
static uint64_t before(uint64_t now_ns, uint64_t age_ns)
{
	return age_ns < now_ns ? now_ns - age_ns : 0;
}

void epoch_figures_end(struct epoch_figures *figures, uint64_t epoch,
		       const struct wire_commit *commit, uint64_t now_ns, uint64_t round_trip_ns)
{
	struct epoch_figure *figure = &figures->pending[figures->next++ % EPOCH_FIGURES_PENDING];

	*figure = (struct epoch_figure){
		.epoch = epoch,
		.captured_ns = before(before(now_ns, round_trip_ns / 2), commit->age_ns),
		.pause_ns = commit->pause_ns,
		.timed = commit->timed,
	};
	figures->wire_bytes += figures->open_bytes;
	figures->pages += commit->pages;
	figures->open_bytes = 0;
}

void epoch_figures_committed(struct epoch_figures *figures, uint64_t epoch)
{
	struct epoch_figure *figure;

	figures->last = (struct epoch_figure){ 0 };
	for (figure = figures->pending; figure < figures->pending + EPOCH_FIGURES_PENDING;
	     figure++) {
		if (figure->epoch != epoch)
			continue;
		figures->last = *figure;
		if (figure->timed && figure->pause_ns > 0) /* a first copy pauses nothing */
			status_pause(&figures->pauses, figure->pause_ns);
		figure->epoch = 0;
	}
}

void epoch_figures_forget(struct epoch_figures *figures)
{
	figures->last = (struct epoch_figure){ 0 };
}

void epoch_figures_status(const struct epoch_figures *figures, uint64_t now_ns,
			  struct status_instance *status)
{
	if (figures->last.timed && now_ns >= figures->last.captured_ns)
		status->lag_ms = clock_ms(now_ns - figures->last.captured_ns);
	if (figures->pauses.count > 0) {
		status->pause_last_ms =
			clock_ms(figures->pauses.ns[(figures->pauses.count - 1) % STATUS_PAUSES]);
		status->pause_median_ms = status_percentile(&figures->pauses, 0.5);
		status->pause_p99_ms = status_percentile(&figures->pauses, 0.99);
	}
	if (figures->pages == 0)
		return;
	status->wire_bytes = (double)figures->wire_bytes;
	status->pages = (double)figures->pages;
	status->wire_ratio = status->wire_bytes / (status->pages * LAYOUT_PAGE);
}
