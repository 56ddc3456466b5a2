#include "appliance/base/log.h"

#include "appliance/base/utf8.h"

#include <assert.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct {
	const char *name;
	const char *colour;
} levels[] = {
	[LOG_LEVEL_DEBUG] = { "debug", "\033[2m" },
	[LOG_LEVEL_INFO] = { "info", "" },
	[LOG_LEVEL_WARN] = { "warn", "\033[33m" },
	[LOG_LEVEL_ERROR] = { "error", "\033[31m" },
};
static_assert(sizeof(levels) / sizeof(levels[0]) == LOG_LEVEL_COUNT, "a name for every level");

static enum log_level least_level = LOG_LEVEL_INFO;
static bool as_json;
static int wait_ms;
static int copy = -1;
static bool deaf; /* nobody read the last line in time: the next one does not wait */

void log_setup(enum log_level least, bool json)
{
	least_level = least;
	as_json = json;
}

void log_settings(enum log_level *least, bool *json)
{
	*least = least_level;
	*json = as_json;
}

void log_copy(int fd)
{
	copy = fd;
}

void log_wait(int ms)
{
	wait_ms = ms;
	deaf = false;
}

static void escape_json(char *out, size_t size, const char *text)
{
	size_t used = 0;

	for (; *text != '\0' && used + 3 < size; text++) {
		if (*text == '"' || *text == '\\')
			out[used++] = '\\';
		out[used++] = *text;
	}
	out[used] = '\0';
}

/*
 * Whether a line would be written at once, or after the wait: a pipe or a socket that can be written to has room for
 * PIPE_BUF bytes. (Of two threads that find the last room one may wait.) An error is write()'s to say.
 */
static bool is_read(void)
{
	struct pollfd descriptor = { .fd = STDERR_FILENO, .events = POLLOUT };

	deaf = poll(&descriptor, 1, deaf ? 0 : wait_ms) == 0;
	return !deaf;
}

/* Lines that nobody was there to read; told with the next that somebody may read. */
static atomic_uint unread;

static void tell_unread(char text[LOG_LINE_MAX])
{
	const unsigned count = atomic_exchange(&unread, 0);
	const size_t len = strlen(text);

	if (count > 0)
		(void)snprintf(text + len, LOG_LINE_MAX - len,
			       " (%u lines before this one are lost: nobody read them)", count);
}

void log_write(enum log_level level, const char *part, const char *format, ...)
{
	char text[LOG_LINE_MAX], escaped[2 * LOG_LINE_MAX], line[3 * LOG_LINE_MAX], when[32];
	const char *colour, *off;
	struct timespec now;
	struct tm utc;
	va_list args;
	bool read;
	int len;

	if (level < least_level)
		return;
	read = is_read();
	if (!read)
		(void)atomic_fetch_add(&unread, 1);
	if (!read && copy < 0)
		return;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (read)
		tell_unread(text);
	/* Nothing that a terminal would obey and nothing that would end the line. */
	utf8_make_plain(text);

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &utc);
	(void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &utc);
	if (as_json) {
		escape_json(escaped, sizeof(escaped), text);
		len = snprintf(
			line, sizeof(line),
			"{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"part\":\"%s\",\"text\":\"%s\"}\n",
			when, now.tv_nsec / 1000000, levels[level].name, part, escaped);
	} else {
		colour = isatty(STDERR_FILENO) ? levels[level].colour : "";
		off = *colour != '\0' ? "\033[0m" : "";
		len = snprintf(line, sizeof(line), "%s%s.%03ldZ  %-5s  %s: %s%s\n", colour, when,
			       now.tv_nsec / 1000000, levels[level].name, part, text, off);
	}
	if (len > 0 && copy >= 0)
		(void)!write(copy, line, (size_t)len);
	if (read && len > 0 && write(STDERR_FILENO, line, (size_t)len) < 0)
		return; /* there is no better place to say so */
}
