/*
 * The files of a timeline (timeline.h): their names, and reading them.
 */
#ifndef FS_WATCH_TIMELINE_FILES_H
#define FS_WATCH_TIMELINE_FILES_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIMELINE_NAME_BYTES 32 /* of a file, with its NUL */

void timeline_files_name(char name[TIMELINE_NAME_BYTES], uint64_t sequence);

/* The first and the last number of those in an open directory, and how many there are; 0: none. */
int timeline_files_list(int dir, uint64_t *first, uint64_t *last, unsigned *count, struct err *err);
/* The next number from `sequence` on; 0: none. */
uint64_t timeline_files_next(int dir, uint64_t sequence);

struct timeline_file {
	uint64_t after; /* what it says of the file before */
	uint64_t sum;	/* of its last whole line */
	uint64_t lines;
	bool torn; /* the last line has no end */
};

/* Reads one from its beginning. RC_INVALID: "timeline-...: line 7: ..."; RC_IO, RC_NOMEM. */
int timeline_files_read(int dir, uint64_t sequence, struct timeline_file *file, struct err *err);

#endif
