#include "appliance/base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {
	[RC_OK] = "ok",		  [RC_NOMEM] = "out of memory", [RC_IO] = "i/o",
	[RC_INVALID] = "invalid", [RC_LIMIT] = "limit",		[RC_REFUSED] = "refused",
	[RC_CLOSED] = "closed",	  [RC_TIMEOUT] = "timeout",	[RC_UNSUPPORTED] = "unsupported",
	[RC_STATE] = "state",	  [RC_CANCELLED] = "cancelled",
};
static_assert(sizeof(names) / sizeof(names[0]) == RC_COUNT, "a name for every code");

int err_set(struct err *err, enum rc code, const char *format, ...)
{
	va_list args;

	err->code = code;
	va_start(args, format);
	(void)vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	return (int)code;
}

int err_system(struct err *err, int errnum, const char *format, ...)
{
	va_list args;
	size_t used;

	err->code = RC_IO;
	va_start(args, format);
	(void)vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	used = strlen(err->text);
	(void)snprintf(err->text + used, sizeof(err->text) - used, ": %s", strerror(errnum));
	used = strlen(err->text);
	if (errnum == EACCES)
		(void)snprintf(err->text + used, sizeof(err->text) - used,
			       " (user %u may not: let it, or start understudy as another one)",
			       (unsigned)geteuid());
	return RC_IO;
}

int err_nomem(struct err *err, const char *what)
{
	return err_set(err, RC_NOMEM, "%s: out of memory", what);
}

int err_prefix(struct err *err, const char *format, ...)
{
	char rest[ERR_TEXT_MAX];
	va_list args;
	size_t used;

	memcpy(rest, err->text, sizeof(rest));
	va_start(args, format);
	(void)vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	used = strlen(err->text);
	(void)snprintf(err->text + used, sizeof(err->text) - used, "%.*s", (int)(sizeof(rest) - 1),
		       rest);
	return (int)err->code;
}

int err_append(struct err *err, const char *format, ...)
{
	size_t used = strlen(err->text);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(err->text + used, sizeof(err->text) - used, format, args);
	va_end(args);
	return (int)err->code;
}

const char *err_name(enum rc code)
{
	return (unsigned)code < RC_COUNT ? names[code] : "unknown";
}
