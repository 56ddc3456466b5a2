/*
 * A timeline: events kept in files of a directory, `timeline-SEQUENCE.log` (16 hexadecimal digits), whose lines timeline_format.h describes.
 *
 * A file that has reached its size is followed by the next one; the oldest are removed when there are too many. Each process begins a file of
 * its own, so that nothing is ever written behind what may be torn. Written by timeline_flush(), and brought to stable storage at the
 * end of each file and of the timeline, and not before: it is a log.
 */
#ifndef FS_WATCH_TIMELINE_H
#define FS_WATCH_TIMELINE_H

#include "appliance/base/err.h"
#include "fs-watch/event.h"

#include <stdbool.h>
#include <stdint.h>

#define TIMELINE_FILES_MAX 1000

struct timeline;

struct timeline_limits {
	uint64_t file_bytes; /* a file that has as many is followed by another */
	unsigned files; /* at most, the one that is written included; 1 to TIMELINE_FILES_MAX */
};

/* Makes the directory (its parent exists) if it is not there. */
int timeline_open(struct timeline **timeline, const char *dir, const struct timeline_limits *limits,
		  struct err *err);
/*
 * An event of the tree that is called `tree`. After an error this one, and what else was not written, is
 * left out, which a line of the file tells as soon as there can be one: {"left_out":N}.
 */
int timeline_add(struct timeline *timeline, const char *tree, const struct watch_event *event,
		 struct err *err);
/* What was added is in the file. */
int timeline_flush(struct timeline *timeline, struct err *err);
/* Flushes, syncs, and frees it; NULL is fine. */
int timeline_close(struct timeline *timeline, struct err *err);

struct timeline_found {
	unsigned files;
	uint64_t lines;
	bool torn; /* the last line of a file has no end: who wrote it was ended */
};

/*
 * Reads all files of a directory, and that each follows the one before. RC_INVALID: "timeline-...: line 7: ..."; RC_IO.
 */
int timeline_verify(const char *dir, struct timeline_found *found, struct err *err);

#endif
