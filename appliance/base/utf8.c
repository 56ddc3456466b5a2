#include "appliance/base/utf8.h"

#include <stdint.h>
#include <string.h>

size_t utf8_length(const char *text, size_t len)
{
	unsigned char first = len > 0 ? (unsigned char)text[0] : 0,
		      second = len > 1 ? (unsigned char)text[1] : 0;
	size_t length;

	if (first < 0x80)
		return 1;
	if (first < 0xc2 || first > 0xf4)
		return 0;
	if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
	    (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
		return 0;
	length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	for (size_t i = 1; i < length; i++) {
		if (i >= len || ((unsigned char)text[i] & 0xc0) != 0x80)
			return 0;
	}
	return length;
}

/* The character that these bytes, a whole sequence, stand for. */
static uint32_t character(const char *text, size_t length)
{
	uint32_t code = (unsigned char)text[0];

	if (length > 1)
		code &= 0x7fU >> length;
	for (size_t i = 1; i < length; i++)
		code = code << 6 | ((unsigned char)text[i] & 0x3f);
	return code;
}

static bool is_plain(uint32_t code)
{
	static const struct {
		uint32_t first, last;
	} ranges[] = {
		{ 0, 0x1f },	    { 0x7f, 0x9f }, { 0x61c, 0x61c }, /* Arabic letter mark */
		{ 0x200e, 0x200f },				      /* marks of direction */
		{ 0x2028, 0x202e }, /* separators, embeddings, overrides */
		{ 0x2066, 0x2069 }, /* isolates */
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		if (code >= ranges[i].first && code <= ranges[i].last)
			return false;
	}
	return true;
}

bool utf8_is_plain(const char *text)
{
	size_t left = strlen(text), length;

	for (; left > 0; text += length, left -= length) {
		length = utf8_length(text, left);
		if (length == 0 || !is_plain(character(text, length)))
			return false;
	}
	return true;
}

void utf8_make_plain(char *text)
{
	size_t left = strlen(text), length;
	char *to = text;

	while (left > 0) {
		length = utf8_length(text, left);
		if (length > 0 && is_plain(character(text, length))) {
			memmove(to, text, length);
			to += length;
		} else {
			*to++ = '?';
			length += length == 0;
		}
		text += length;
		left -= length;
	}
	*to = '\0';
}
