/*
 * An event of a watched tree, or a container's, as a line for a terminal or of JSON.
 */
#ifndef APPLIANCE_WATCH_LINE_H
#define APPLIANCE_WATCH_LINE_H

#include "appliance/base/buf.h"
#include "fs-watch/event.h"

#include <stdbool.h>

/* In place of what is in `line` (of TIMELINE_LINE_MAX), with its line feed. `tree` begins a line of text only if `is_container`. */
void watch_line(struct buf *line, bool json, const char *tree, bool is_container,
		const struct watch_event *event);

#endif
