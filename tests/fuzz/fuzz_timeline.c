/*
 * Lines of a timeline, and events of any names: what is written is accepted, and not when a byte of it is another one; what is
 * read does no harm.
 */
#include "fs-watch/timeline_format.h"

#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>

static void append_line(struct buf *line, uint64_t *sum, const struct buf *json)
{
	char digits[TIMELINE_DIGITS + 2];

	*sum = timeline_format_sum(*sum, (const char *)json->data, json->len);
	(void)snprintf(digits, sizeof(digits), "%016llx ", (unsigned long long)*sum);
	CHECK(buf_append(line, digits, TIMELINE_DIGITS + 1) &&
	      buf_append(line, json->data, json->len));
}

/* The input is names, and says which byte to change. */
static void write_and_spoil(const char *path, const char *from, uint64_t time_ns, uint8_t spoil)
{
	const struct watch_event event = { .kind = WATCH_RENAME,
					   .time_ns = time_ns,
					   .is_dir = (spoil & 1) != 0,
					   .coalesced = (spoil & 2) != 0,
					   .path = path,
					   .from = from };
	struct buf json = { .limit = TIMELINE_LINE_MAX }, line = { .limit = TIMELINE_LINE_MAX };
	uint64_t sum = time_ns, read, after;
	struct err err;

	CHECK(timeline_format_head(&json, 7, sum));
	append_line(&line, &sum, &json);
	CHECK(timeline_format_check(&read, true, &after, (const char *)line.data, line.len, &err) ==
	      RC_OK);
	CHECK(read == sum && after == time_ns);
	buf_reset(&json);
	buf_reset(&line);
	CHECK(timeline_format_event(&json, from, &event));
	CHECK(memchr(json.data, '\n', json.len) == NULL && json.data[json.len - 1] == '}');
	append_line(&line, &sum, &json);
	CHECK(timeline_format_check(&read, false, NULL, (const char *)line.data, line.len, &err) ==
	      RC_OK);
	CHECK(read == sum);
	line.data[spoil % line.len] ^= 1;
	read = time_ns;
	CHECK(timeline_format_check(&read, false, NULL, (const char *)line.data, line.len, &err) !=
	      RC_OK);
	buf_free(&json);
	buf_free(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[512], from[512];
	uint64_t sum = 0, time_ns, after;
	struct err err;

	(void)timeline_format_check(&sum, false, NULL, (const char *)data, size, &err);
	(void)timeline_format_check(&sum, true, &after, (const char *)data, size, &err);
	if (size < sizeof(time_ns) + 1)
		return 0;
	memcpy(&time_ns, data, sizeof(time_ns));
	data += sizeof(time_ns);
	size -= sizeof(time_ns);
	(void)snprintf(path, sizeof(path), "%.*s", (int)(size / 2), (const char *)data);
	(void)snprintf(from, sizeof(from), "%.*s", (int)(size - size / 2),
		       (const char *)data + size / 2);
	write_and_spoil(path, from, time_ns, data[0]);
	return 0;
}
