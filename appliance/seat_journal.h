/*
 * Of an instance's configuration: whether it has a journal, and where. No I/O but a look at the directories.
 */
#ifndef APPLIANCE_SEAT_JOURNAL_H
#define APPLIANCE_SEAT_JOURNAL_H

#include "appliance/config.h"
#include "replica/journaling.h"

bool seat_journal_wanted(const struct config_instance *instance);

/* `dir`: of the only one, if the configuration names no copies; the strings stay the caller's and the configuration's. */
void seat_journal_place_of(struct journal_place *place, const struct config_instance *instance,
			   const char *dir);
bool seat_journal_exists(const struct journal_place *place);

/* After how much another copy of the image is begun. */
uint64_t seat_journal_copy_bytes(const struct config_instance *instance);

#endif
