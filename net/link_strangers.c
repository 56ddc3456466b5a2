#include "net/link_strangers.h"

#include "net/link.h"

#include <assert.h>
#include <stdbool.h>

/* Of one source, those that are not through TLS. */
static size_t crowd_of(const struct link_stranger *strangers, size_t count, uint64_t source)
{
	size_t crowd = 0, i;

	for (i = 0; i < count; i++)
		crowd += strangers[i].source == source && strangers[i].stage != LINK_STRANGER_KNOWN;
	return crowd;
}

/* The source that has the most; of two equal ones the one whose first came first. */
static uint64_t largest_source(const struct link_stranger *strangers, size_t count)
{
	size_t most = 0, crowd, i;
	uint64_t source = strangers[0].source;

	for (i = 0; i < count; i++) {
		crowd = crowd_of(strangers, count, strangers[i].source);
		if (crowd > most) {
			most = crowd;
			source = strangers[i].source;
		}
	}
	return source;
}

/*
 * Of a source's crowd: the oldest that is silent and of the older half, else the oldest; `count`:
 * it has none.
 */
static size_t least_promising(const struct link_stranger *strangers, size_t count, uint64_t source)
{
	size_t half = (crowd_of(strangers, count, source) + 1) / 2, seen = 0, first = count, i;

	for (i = 0; i < count && seen < half; i++) {
		if (strangers[i].source != source || strangers[i].stage == LINK_STRANGER_KNOWN)
			continue;
		if (strangers[i].stage == LINK_STRANGER_SILENT)
			return i;
		first = seen++ == 0 ? i : first;
	}
	return first;
}

size_t link_strangers_excess(const struct link_stranger *strangers, size_t count)
{
	size_t others = count - 1, index;
	uint64_t source;

	assert(count > 0);
	source = strangers[others].source;
	if (crowd_of(strangers, count, source) <= LINK_STRANGERS_PER_SOURCE) {
		if (count <= LINK_STRANGERS_MAX)
			return count;
		source = largest_source(strangers, others);
	}
	index = least_promising(strangers, others, source);
	/* If all of them have shown a certificate, the first. */
	return index < others ? index : 0;
}
