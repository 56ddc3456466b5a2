#include "fs-watch/event.h"

#include <string.h>

static const char *const names[] = {
	[WATCH_CREATE] = "create",	 [WATCH_WRITE] = "write",     [WATCH_CLOSE] = "close",
	[WATCH_ATTRIBUTE] = "attribute", [WATCH_COPY_UP] = "copy-up", [WATCH_RENAME] = "rename",
	[WATCH_DELETE] = "delete",	 [WATCH_LOST] = "lost",	      [WATCH_FOUND] = "found",
};
_Static_assert(sizeof(names) / sizeof(names[0]) == WATCH_KINDS, "each kind has a name");

const char *watch_kind_name(enum watch_kind kind)
{
	return names[kind];
}

bool watch_kind_find(const char *name, enum watch_kind *kind)
{
	for (unsigned i = 0; i < WATCH_KINDS; i++) {
		if (strcmp(names[i], name) != 0)
			continue;
		*kind = (enum watch_kind)i;
		return true;
	}
	return false;
}
