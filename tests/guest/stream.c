#include "tests/guest/stream.h"

#include <stdio.h>

const char *stream_text(uint64_t position, size_t *len)
{
	static char text[STREAM_LINE * STREAM_LINES + 1];
	size_t at = (size_t)(position % (STREAM_LINE * STREAM_LINES));

	if (text[0] == '\0') {
		for (unsigned i = 0; i < STREAM_LINES; i++)
			(void)snprintf(text + (size_t)i * STREAM_LINE, STREAM_LINE + 1, "%07u\n",
				       i);
	}
	*len = STREAM_LINE * STREAM_LINES - at;
	return text + at;
}
