#include "appliance/session_internal.h"

#include "appliance/base/clock.h"

/* The replica stays at the last epoch before the stop, which is worth as much as it was. */
static void standing_status(const struct session *session, struct status_instance *status)
{
	const char *why = session->capture != NULL ? capture_standing(session->capture) : NULL;

	if (why == NULL || !status->healthy)
		return;
	status->healthy = false;
	status->reason = why;
}

void session_status(const struct session *session, struct status_instance *status)
{
	uint64_t end_ns = session->copied_ns != 0 ? session->copied_ns : clock_now_ns();
	struct sender_state state;

	session_query(session, &state);
	status->epoch = (double)state.acknowledged;
	status->epochs = (double)(state.newest >= session->options.first_epoch ?
					  state.newest - session->options.first_epoch + 1 :
					  0);
	status->lag_ms = clock_ms(state.lag_ns);
	status->lag_bytes = (double)state.bytes;
	status->interval_ms = clock_ms(epoch_interval_ns(&session->pacer));
	status->pages = (double)state.stats.pages;
	status->unchanged_pages = (double)state.stats.unchanged;
	status->wire_bytes = (double)state.stats.bytes_out;
	if (session->options.instance->ndisks > 0)
		status->disk_wire_bytes = (double)state.stats.disk_out;
	if (state.stats.bytes_in > 0)
		status->wire_ratio = (double)state.stats.bytes_out / (double)state.stats.bytes_in;
	if (session->pauses.count > 0) {
		status->pause_last_ms = clock_ms(session->last_pause_ns);
		status->pause_median_ms = status_percentile(&session->pauses, 0.5);
		status->pause_p99_ms = status_percentile(&session->pauses, 0.99);
	}
	status->copy_total_bytes = (double)session->copy_total;
	status->copy_done_bytes =
		(double)(session->copied_ns != 0 ? session->copy_total : session->copy_done);
	if (end_ns > session->opened_ns && session->copy_total > 0)
		status->copy_mib_s = status->copy_done_bytes / 1048576.0 /
				     (clock_ms(end_ns - session->opened_ns) / 1000.0);
	status->disks = session->disks.capture;
	status->ndisks = session->options.instance->ndisks;
	standing_status(session, status);
}
