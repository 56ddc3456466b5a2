#include "appliance/watch_way.h"

#include <string.h>

bool watch_way_read(const char *text, enum watch_way *way)
{
	static const char *const names[] = { "auto", "fanotify", "inotify" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0) {
			*way = (enum watch_way)i;
			return true;
		}
	}
	return false;
}
