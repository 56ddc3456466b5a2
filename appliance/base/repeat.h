/*
 * The same said again: by something that is tried for ever and fails for the same reason. It is for
 * the log once, then after REPEAT_FIRST_NS, then after twice as long each time, REPEAT_LAST_NS at
 * most; and whenever it is something else. Numbers make no difference (an epoch, a port, free
 * space, 0x7f), unless they are part of a word ("vm2").
 */
#ifndef APPLIANCE_BASE_REPEAT_H
#define APPLIANCE_BASE_REPEAT_H

#include "appliance/base/err.h"
#include "appliance/base/log.h"

#include <stdbool.h>
#include <stdint.h>

#define REPEAT_FIRST_NS UINT64_C(60000000000)
#define REPEAT_LAST_NS UINT64_C(3600000000000)

/* Zero-initialised; and zeroed again when what failed has succeeded. */
struct repeat {
	char text[ERR_TEXT_MAX]; /* said last */
	uint64_t due_ns, wait_ns;
	unsigned unsaid; /* since then */
};

/* Whether `text` is to be said now. *unsaid: how often it was not since it was said last. */
bool repeat_is_due(struct repeat *repeat, const char *text, uint64_t now_ns, unsigned *unsaid);

/* Says it if it is due, with that number. */
void repeat_log(struct repeat *repeat, enum log_level level, const char *part, const char *text);

#endif
