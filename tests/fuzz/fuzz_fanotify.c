/*
 * Reports as a kernel may write them, or not: what is parsed lies within them, is as long as it says, and ends; the next one begins where
 * this one says.
 */
#include "fs-watch/fanotify_event.h"

#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_place(const struct fanotify_place *place, const uint8_t *data, size_t size)
{
	const uint8_t *name;
	size_t len;

	if (!place->there)
		return;
	(void)fanotify_key_handle(&place->dir, &len);
	CHECK(place->dir.len <= TREE_KEY_MAX && len < place->dir.len);
	name = (const uint8_t *)place->name;
	if (*name == '\0')
		return;
	CHECK(name > data && name < data + size);
	CHECK(memchr(name, '\0', (size_t)(data + size - name)) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fanotify_event event;
	struct err err;
	size_t used;

	while (size > 0 && fanotify_event_parse(&event, &used, data, size, &err) == RC_OK) {
		CHECK(used > 0 && used <= size);
		check_place(&event.at, data, used);
		check_place(&event.from, data, used);
		CHECK(!event.has_target || event.target.len <= TREE_KEY_MAX);
		data += used;
		size -= used;
	}
	return 0;
}
