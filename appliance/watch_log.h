/*
 * --log of `understudy watch`: a timeline (fs-watch/timeline.h), and checking one.
 */
#ifndef APPLIANCE_WATCH_LOG_H
#define APPLIANCE_WATCH_LOG_H

#include "appliance/base/err.h"
#include "fs-watch/timeline.h"

#include <stdbool.h>

#define WATCH_LOG_FILES 16 /* without --log-files */

/* `tree` is what is watched, or NULL: RC_INVALID if the log is in there. The timeline is to be closed also after an error. */
int watch_log_open(struct timeline **timeline, const char *log, unsigned files, const char *tree,
		   struct err *err);
/* --log-files. False: it is no number that can be. */
bool watch_log_read_files(const char *text, unsigned *files);
/* Checks the log, and says what is there; an exit status. */
int watch_log_verify(const char *log);

#endif
