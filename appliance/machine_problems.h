/*
 * What is wrong with the machine, as far as process 1 of the appliance's image knows it: a line each in a file, from which
 * whoever serves the health endpoint tells it.
 */
#ifndef APPLIANCE_MACHINE_PROBLEMS_H
#define APPLIANCE_MACHINE_PROBLEMS_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"
#include "appliance/base/log.h"

#include <stdbool.h>

#define MACHINE_PROBLEMS_MAX 16384 /* bytes of them; what comes then is on the console only */

/* Writing. They are kept in that file from now on, which begins empty; the string stays the caller's. NULL, as before: nowhere. */
void machine_problems_keep(const char *path);
/* Logs it as an error of process 1's, and keeps it, unless it is there already: until the machine ends, though it may have been mended. */
void machine_problem(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Each line of them. */
void machine_problems_add(const struct buf *lines);

/* Reading. A file that is not there has none. buf_free() in any case. */
int machine_problems_read(struct buf *lines, const char *path, struct err *err);
/* Goes through them from *at = 0; false after the last. */
bool machine_problems_next(const struct buf *lines, size_t *at, char text[LOG_LINE_MAX]);

#endif
