/*
 * The log: one line an event on standard error, UTC time with milliseconds, level, part, text.
 *
 *   2026-01-02T03:04:05.678Z  warn   link: peer 192.0.2.7: certificate has expired
 *
 * Lines are written with one write(2), so that processes and threads do not mix theirs. Nothing waits
 * for whoever reads them, unless it was told to: while nobody does, they are dropped, and counted in the
 * next one. Colours only on a terminal; `log_setup(.., true)` gives a JSON object per line instead. Control
 * characters from outside (a peer's error text, a guest's name) are replaced, so that nobody can
 * forge a line.
 */
#ifndef APPLIANCE_BASE_LOG_H
#define APPLIANCE_BASE_LOG_H

#include <stdbool.h>

enum log_level {
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARN,
	LOG_LEVEL_ERROR,
	LOG_LEVEL_COUNT
};

#define LOG_LINE_MAX \
	1024 /* longer lines are cut: atomic on a pipe (PIPE_BUF is 4096) even when escaped */

/* Lines below `least` are dropped; `json` chooses the form. Before the first call: info, text. */
void log_setup(enum log_level least, bool json);
/* What it was given, for a process that shall log alike. */
void log_settings(enum log_level *least, bool *json);

/* How long a line waits for somebody to read it; 0 before the first call. For a process whose lines matter more than its time. */
void log_wait(int ms);
/* Each line goes to this descriptor as well, which never blocks; what cannot be written is left out there. -1: to none, as at the start. */
void log_copy(int fd);

/* `part` names the module ("link", "capture vm1"). */
void log_write(enum log_level level, const char *part, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define log_debug(part, ...) log_write(LOG_LEVEL_DEBUG, part, __VA_ARGS__)
#define log_info(part, ...) log_write(LOG_LEVEL_INFO, part, __VA_ARGS__)
#define log_warn(part, ...) log_write(LOG_LEVEL_WARN, part, __VA_ARGS__)
#define log_error(part, ...) log_write(LOG_LEVEL_ERROR, part, __VA_ARGS__)

#endif
