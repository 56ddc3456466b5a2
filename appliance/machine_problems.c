#include "appliance/machine_problems.h"

#include "appliance/base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PART "init" /* of the log */

static const char *kept_at;

/* ---- reading ------------------------------------------------------------------------------------- */

int machine_problems_read(struct buf *lines, const char *path, struct err *err)
{
	*lines = (struct buf){ .limit = MACHINE_PROBLEMS_MAX };
	if (access(path, F_OK) != 0)
		return RC_OK;
	return files_read(lines, AT_FDCWD, path, FILES_PLAIN, err);
}

bool machine_problems_next(const struct buf *lines, size_t *at, char text[LOG_LINE_MAX])
{
	const size_t left = lines->len - *at;
	const char *line, *end;
	size_t len = left;

	if (left == 0)
		return false;
	line = (const char *)lines->data + *at;
	end = memchr(line, '\n', left);
	if (end != NULL)
		len = (size_t)(end - line);
	*at += end != NULL ? len + 1 : len;
	(void)snprintf(text, LOG_LINE_MAX, "%.*s", (int)len, line);
	return true;
}

/* ---- writing ------------------------------------------------------------------------------------- */

static bool is_there(const struct buf *lines, const char *text)
{
	char line[LOG_LINE_MAX];
	size_t at = 0;

	while (machine_problems_next(lines, &at, line)) {
		if (strcmp(line, text) == 0)
			return true;
	}
	return false;
}

/* With one write(), so that nobody reads half of a line. */
static int keep(const char *text, struct err *err)
{
	char line[LOG_LINE_MAX + 1];
	struct buf lines;
	int rc = machine_problems_read(&lines, kept_at, err), fd;
	const int len = snprintf(line, sizeof(line), "%s\n", text);

	if (rc == RC_OK && lines.len + (size_t)len > MACHINE_PROBLEMS_MAX)
		rc = err_set(err, RC_LIMIT, "%s: there are too many", kept_at);
	if (rc == RC_OK && !is_there(&lines, text)) {
		fd = open(kept_at, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (fd < 0 || write(fd, line, (size_t)len) != len)
			rc = err_system(err, errno, "%s", kept_at);
		if (fd >= 0)
			(void)close(fd);
	}
	buf_free(&lines);
	return rc;
}

void machine_problems_keep(const char *path)
{
	kept_at = path;
	if (path != NULL)
		(void)unlink(path);
}

void machine_problem(const char *format, ...)
{
	char text[LOG_LINE_MAX];
	struct err err;
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *at = text; *at != '\0'; at++) {
		if ((unsigned char)*at < ' ')
			*at = ' ';
	}
	log_error(PART, "%s", text);
	if (kept_at != NULL && keep(text, &err) != RC_OK)
		log_error(PART, "%s", err.text);
}

void machine_problems_add(const struct buf *lines)
{
	char text[LOG_LINE_MAX];
	size_t at = 0;

	while (machine_problems_next(lines, &at, text))
		machine_problem("%s", text);
}
