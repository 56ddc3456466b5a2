#include "appliance/seat_journal.h"

#include <unistd.h>

#define HISTORY_STEPS 8
#define HISTORY_STEP_MIN (UINT64_C(16) << 20) /* smaller ones say little more and are much work */

bool seat_journal_wanted(const struct config_instance *instance)
{
	return instance->durability == CONFIG_DURABLE_JOURNAL || instance->journal_dir != NULL ||
	       instance->journal_copies != NULL || instance->history_mib > 0;
}

void seat_journal_place_of(struct journal_place *place, const struct config_instance *instance,
			   const char *dir)
{
	char *const *copies = instance->journal_copies;

	*place = (struct journal_place){ .dirs = { dir },
					 .count = 1,
					 .quorum = instance->journal_quorum,
					 .silent_ms = JOURNALING_SILENT_MS,
					 .scrub_ms = JOURNALING_SCRUB_MS,
					 .retry_ms = JOURNALING_COPY_RETRY_MS };
	if (copies == NULL)
		return;
	for (place->count = 0; copies[place->count] != NULL; place->count++)
		place->dirs[place->count] = copies[place->count];
}

bool seat_journal_exists(const struct journal_place *place)
{
	unsigned i;

	for (i = 0; i < place->count; i++) {
		if (access(place->dirs[i], F_OK) == 0)
			return true;
	}
	return false;
}

/* A history goes copy by copy: in eighths of it, if that is less than a recovery asks for. */
uint64_t seat_journal_copy_bytes(const struct config_instance *instance)
{
	const uint64_t step = ((uint64_t)instance->history_mib << 20) / HISTORY_STEPS;

	if (step == 0 || step > JOURNALING_COPY_BYTES)
		return JOURNALING_COPY_BYTES;
	return step > HISTORY_STEP_MIN ? step : HISTORY_STEP_MIN;
}
