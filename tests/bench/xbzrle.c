#include "tests/bench/xbzrle.h"

#include "replica/layout.h"

#include <stdbool.h>
#include <string.h>

static uint8_t *put_leb(uint8_t *to, size_t value)
{
	while (value >= 0x80) {
		*to++ = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	*to++ = (uint8_t)value;
	return to;
}

static const uint8_t *get_leb(const uint8_t *from, size_t *value)
{
	unsigned shift = 0;

	*value = 0;
	do
		*value |= (size_t)(*from & 0x7f) << shift, shift += 7;
	while (*from++ >= 0x80);
	return from;
}

/* How far two pages are equal (or, `equal` false, differ in every byte) from `at` on. */
static size_t same_until(const uint8_t *new, const uint8_t *old, size_t at, bool equal)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;

	while (at % 8 != 0 && at < LAYOUT_PAGE && (new[at] == old[at]) == equal)
		at++;
	while (at % 8 == 0 && at < LAYOUT_PAGE) {
		uint64_t a, b, x;

		memcpy(&a, new + at, 8);
		memcpy(&b, old + at, 8);
		x = a ^ b;
		if (equal ? x != 0 : ((x - ones) & ~x & highs) != 0)
			break;
		at += 8;
	}
	while (at < LAYOUT_PAGE && (new[at] == old[at]) == equal)
		at++;
	return at;
}

size_t xbzrle_encode(const uint8_t *new, const uint8_t *old, uint8_t *to)
{
	uint8_t *out = to;
	size_t at = 0, end;

	while (at < LAYOUT_PAGE) {
		end = same_until(new, old, at, true);
		if (end == LAYOUT_PAGE)
			return (size_t)(out - to);
		if (out - to + 4 > (ptrdiff_t)LAYOUT_PAGE)
			return LAYOUT_PAGE + 1;
		out = put_leb(out, end - at);
		at = end;
		end = same_until(new, old, at, false);
		if ((size_t)(out - to) + 2 + (end - at) > LAYOUT_PAGE)
			return LAYOUT_PAGE + 1;
		out = put_leb(out, end - at);
		memcpy(out, new + at, end - at);
		out += end - at;
		at = end;
	}
	return (size_t)(out - to);
}

void xbzrle_decode(const uint8_t *from, size_t len, uint8_t *page)
{
	const uint8_t *end = from + len;
	size_t at = 0, n;

	while (from < end) {
		from = get_leb(from, &n);
		at += n;
		from = get_leb(from, &n);
		memcpy(page + at, from, n);
		from += n;
		at += n;
	}
}
