#include "appliance/watch_line.h"

#include "appliance/base/utf8.h"
#include "fs-watch/timeline_format.h"

#include <stdio.h>

#define PATH_TEXT_MAX 4096

static void print_plain(struct buf *line, const struct watch_event *event)
{
	char path[PATH_TEXT_MAX], from[PATH_TEXT_MAX] = "";

	(void)snprintf(path, sizeof(path), "%s", *event->path != '\0' ? event->path : ".");
	utf8_make_plain(path);
	if (event->from != NULL)
		(void)snprintf(from, sizeof(from), "%s", event->from);
	utf8_make_plain(from);
	(void)buf_printf(line, "%-9s %s%s%s%s%s", watch_kind_name(event->kind), from,
			 event->from != NULL ? " -> " : "", path, event->is_dir ? "/" : "",
			 event->scanned ? "  (scanned)" : "");
	if (event->unseen_ms > 0)
		(void)buf_printf(line, "  (unseen for %llu ms)",
				 (unsigned long long)event->unseen_ms);
}

void watch_line(struct buf *line, bool json, const char *tree, bool is_container,
		const struct watch_event *event)
{
	const struct watch_event lost = {
		.kind = WATCH_LOST, .is_dir = true, .time_ns = event->time_ns, .path = ""
	};

	buf_reset(line);
	if (json) {
		(void)timeline_format_event(line, tree, event);
	} else {
		if (is_container)
			(void)buf_printf(line, "%s  ", tree);
		print_plain(line, event);
	}
	(void)buf_append_u8(line, '\n');
	if (line->failed && event->kind != WATCH_LOST) /* no memory: no half of a line */
		watch_line(line, json, tree, is_container, &lost);
}
