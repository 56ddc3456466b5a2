/* --by of the verbs that watch. */
#ifndef APPLIANCE_WATCH_WAY_H
#define APPLIANCE_WATCH_WAY_H

#include "fs-watch/watch.h"

#include <stdbool.h>

/* "auto", "fanotify", "inotify". False: it is another. */
bool watch_way_read(const char *text, enum watch_way *way);

#endif
