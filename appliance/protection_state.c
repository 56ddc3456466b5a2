#include "appliance/protection_state.h"

#include "appliance/protection_internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

const struct protection_state_row protection_states[] = {
	[PROTECTION_CONNECTING] = { "connecting", false, LOG_LEVEL_INFO },
	[PROTECTION_REFUSED] = { "refused", false, LOG_LEVEL_WARN },
	[PROTECTION_WAITING] = { "waiting", false, LOG_LEVEL_INFO },
	[PROTECTION_RESERVING] = { "reserving", true, LOG_LEVEL_INFO },
	[PROTECTION_COPYING] = { "copying", true, LOG_LEVEL_INFO },
	[PROTECTION_PROTECTED] = { "protected", true, LOG_LEVEL_INFO },
	[PROTECTION_CATCHING_UP] = { "catching-up", true, LOG_LEVEL_INFO },
	[PROTECTION_UNPROTECTED] = { "unprotected", false, LOG_LEVEL_WARN },
	[PROTECTION_ENDED] = { "ended", true, LOG_LEVEL_INFO },
	[PROTECTION_CRASHED] = { "crashed", false, LOG_LEVEL_ERROR },
	[PROTECTION_SUPERSEDED] = { "superseded", false, LOG_LEVEL_WARN },
};
static_assert(sizeof(protection_states) / sizeof(protection_states[0]) == PROTECTION_STATES,
	      "a row for every state");

__attribute__((format(printf, 3, 0))) static void become(struct protection *p,
							 enum protection_state state,
							 const char *format, va_list args)
{
	(void)vsnprintf(p->reason, sizeof(p->reason), format, args);
	p->state = state;
	if (state == PROTECTION_PROTECTED)
		p->said = (struct repeat){ 0 };
}

/* What leads to another attempt is no news while they fail. */
static enum log_level level_of(const struct protection *p)
{
	const bool on_the_way = p->state == PROTECTION_WAITING || p->state == PROTECTION_RESERVING;

	return on_the_way && *p->trouble != '\0' ? LOG_LEVEL_DEBUG :
						   protection_states[p->state].level;
}

void protection_enter(struct protection *p, enum protection_state state, const char *format, ...)
{
	enum protection_state old = p->state;
	va_list args;

	va_start(args, format);
	become(p, state, format, args);
	va_end(args);
	if (state != old || *p->reason != '\0')
		log_write(level_of(p), p->part, "%s%s%s", protection_states[state].name,
			  *p->reason != '\0' ? ": " : "", p->reason);
}

void protection_warn(struct protection *p, enum protection_state state, const char *format, ...)
{
	char line[ERR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	become(p, state, format, args);
	va_end(args);
	(void)snprintf(line, sizeof(line), "%s: %.480s", protection_states[state].name, p->reason);
	repeat_log(&p->said, LOG_LEVEL_WARN, p->part, line);
}

void protection_failed(struct protection *p, enum protection_state state, uint64_t retry_ms,
		       const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(p->trouble, sizeof(p->trouble), format, args);
	va_end(args);
	protection_warn(p, state, "%s", p->trouble);
	p->cooling = true;
	protection_retry_in(p, retry_ms);
}
