#include "replica/zero_page.h"

#include <stddef.h>
#include <string.h>

const uint8_t zero_page[LAYOUT_PAGE];

bool zero_page_is(const uint8_t *page)
{
	uint64_t word, any = 0;
	size_t at;

	for (at = 0; at < LAYOUT_PAGE && any == 0; at += sizeof(word)) {
		memcpy(&word, page + at, sizeof(word));
		any |= word;
	}
	return any == 0;
}
