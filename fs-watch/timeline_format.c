#include "fs-watch/timeline_format.h"

#include "appliance/base/clock.h"
#include "appliance/base/utf8.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#define HEAD "{\"timeline\":1,\"sequence\":"
#define AFTER "\"after\":\""

static void put_hex(struct buf *line, const char *key, const char *text)
{
	(void)buf_printf(line, ",\"%s_hex\":\"", key);
	for (; *text != '\0'; text++)
		(void)buf_printf(line, "%02x", (unsigned char)*text);
	(void)buf_append_u8(line, '"');
}

static void put_string(struct buf *line, const char *key, const char *text)
{
	const char *at = text;
	size_t left = strlen(text), n;
	bool whole = true;

	(void)buf_printf(line, ",\"%s\":\"", key);
	for (; left > 0; at += n, left -= n) {
		n = utf8_length(at, left);
		if (n == 0) {
			(void)buf_append(line, "\xef\xbf\xbd", 3);
			whole = false;
			n = 1;
		} else if (*at == '"' || *at == '\\') {
			(void)buf_append_u8(line, '\\');
			(void)buf_append_u8(line, (uint8_t)*at);
		} else if ((unsigned char)*at < 0x20 || *at == 0x7f) {
			(void)buf_printf(line, "\\u%04x", (unsigned char)*at);
		} else {
			(void)buf_append(line, at, n);
		}
	}
	(void)buf_append_u8(line, '"');
	if (!whole)
		put_hex(line, key, text);
}

static void put_time(struct buf *line, uint64_t time_ns)
{
	const time_t seconds = (time_t)(time_ns / CLOCK_NS_PER_S);
	char when[32];
	struct tm utc;

	(void)gmtime_r(&seconds, &utc);
	(void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &utc);
	(void)buf_printf(line, "{\"time\":\"%s.%09uZ\"", when,
			 (unsigned)(time_ns % CLOCK_NS_PER_S));
}

static void put_flag(struct buf *line, const char *key, bool value)
{
	if (value)
		(void)buf_printf(line, ",\"%s\":true", key);
}

bool timeline_format_event(struct buf *line, const char *tree, const struct watch_event *event)
{
	put_time(line, event->time_ns);
	(void)buf_printf(line, ",\"kind\":\"%s\"", watch_kind_name(event->kind));
	put_string(line, "tree", tree);
	put_string(line, "path", event->path);
	if (event->from != NULL)
		put_string(line, "from", event->from);
	put_flag(line, "dir", event->is_dir);
	put_flag(line, "coalesced", event->coalesced);
	put_flag(line, "exchanged", event->exchanged);
	put_flag(line, "scanned", event->scanned);
	if (event->unseen_ms > 0)
		(void)buf_printf(line, ",\"unseen_ms\":%llu", (unsigned long long)event->unseen_ms);
	(void)buf_append_u8(line, '}');
	return !line->failed;
}

bool timeline_format_head(struct buf *line, uint64_t sequence, uint64_t after)
{
	return buf_printf(line, HEAD "%llu," AFTER "%016llx\"}", (unsigned long long)sequence,
			  (unsigned long long)after);
}

uint64_t timeline_format_sum(uint64_t before, const char *json, size_t len)
{
	return XXH64(json, len, before);
}

bool timeline_format_digits(const char *text, uint64_t *sum)
{
	static const char digits[] = "0123456789abcdef";
	const char *digit;

	*sum = 0;
	for (size_t i = 0; i < TIMELINE_DIGITS; i++) {
		digit = memchr(digits, text[i], sizeof(digits) - 1);
		if (digit == NULL)
			return false;
		*sum = *sum << 4 | (uint64_t)(digit - digits);
	}
	return true;
}

/* What the first line says of the file before. */
static bool read_head(const char *json, size_t len, uint64_t *after)
{
	const size_t tail = TIMELINE_DIGITS + strlen("\"}");

	return len > strlen(HEAD) + strlen(AFTER) + tail && memcmp(json, HEAD, strlen(HEAD)) == 0 &&
	       memcmp(json + len - tail - strlen(AFTER), AFTER, strlen(AFTER)) == 0 &&
	       timeline_format_digits(json + len - tail, after);
}

int timeline_format_check(uint64_t *sum, bool first, uint64_t *after, const char *line, size_t len,
			  struct err *err)
{
	const char *json = line + TIMELINE_DIGITS + 1;
	uint64_t told;

	if (len <= TIMELINE_DIGITS + 1 || line[TIMELINE_DIGITS] != ' ' ||
	    !timeline_format_digits(line, &told))
		return err_set(err, RC_INVALID, "no line of a timeline");
	len -= TIMELINE_DIGITS + 1;
	if (first && !read_head(json, len, after))
		return err_set(err, RC_INVALID, "it does not begin as a timeline does");
	*sum = timeline_format_sum(first ? *after : *sum, json, len);
	if (*sum != told)
		return err_set(err, RC_INVALID,
			       "its sum is not that of this line and the one before: one of them "
			       "was changed, or a line between them is missing");
	return RC_OK;
}
