#include "tests/unit/pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *memory)
{
	if (memory == NULL) {
		(void)fprintf(stderr, "pages: out of memory\n");
		exit(2);
	}
	return memory;
}

void pages_open(struct pages *pages, uint64_t count, uint64_t seed)
{
	pages->count = count;
	pages->random = seed * 2 + 1;
	pages->memory = must(calloc(count, LAYOUT_PAGE));
	pages->dirty = must(calloc(count, sizeof(bool)));
}

void pages_close(struct pages *pages)
{
	free(pages->memory);
	free(pages->dirty);
}

uint64_t pages_random(struct pages *pages, uint64_t below)
{
	pages->random ^= pages->random << 13;
	pages->random ^= pages->random >> 7;
	pages->random ^= pages->random << 17;
	return (pages->random >> 11) % below;
}

uint8_t *pages_at(const struct pages *pages, uint64_t index)
{
	return pages->memory + index * LAYOUT_PAGE;
}

static void fill_text(struct pages *pages, uint8_t *at, size_t len)
{
	static const char words[] = "order pending customer 2026-01-02 shipped name=null EUR 17 ";
	size_t i, from = pages_random(pages, sizeof(words) - 1);

	for (i = 0; i < len; i++)
		at[i] = (uint8_t)words[(from + i * (1 + len % 3)) % (sizeof(words) - 1)];
}

static void fill_noise(struct pages *pages, uint8_t *at, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		at[i] = (uint8_t)pages_random(pages, 256);
}

static void count_up(struct pages *pages, uint8_t *page)
{
	uint64_t counter;
	uint8_t *at = page + 8 * pages_random(pages, LAYOUT_PAGE / 8);

	memcpy(&counter, at, sizeof(counter));
	counter++;
	memcpy(at, &counter, sizeof(counter));
}

/* A byte here and there, with all distances; up to the page's edges. */
static void sprinkle(struct pages *pages, uint8_t *page)
{
	size_t step = 1 + pages_random(pages, 200), at;

	for (at = pages_random(pages, step); at < LAYOUT_PAGE; at += 1 + pages_random(pages, step))
		page[at]++;
	page[LAYOUT_PAGE - 1] ^= (uint8_t)pages_random(pages, 2);
}

static void change(struct pages *pages, uint64_t index)
{
	uint8_t *page = pages_at(pages, index);
	size_t at = pages_random(pages, LAYOUT_PAGE),
	       len = 1 + pages_random(pages, LAYOUT_PAGE - at);

	switch (pages_random(pages, 12)) {
	case 0:
		memset(page, 0, LAYOUT_PAGE);
		break;
	case 1:
		fill_noise(pages, page, LAYOUT_PAGE);
		break;
	case 2:
		fill_text(pages, page, LAYOUT_PAGE);
		break;
	case 3:
	case 4:
		fill_text(pages, page + at, len < 300 ? len : 300);
		break;
	case 5:
		sprinkle(pages, page);
		break;
	case 6:
		memcpy(page, pages_at(pages, pages_random(pages, pages->count)), LAYOUT_PAGE);
		break;
	case 7:
		memset(page + at, 0, len);
		break;
	case 8: /* written, and as it was */
		break;
	default:
		count_up(pages, page);
	}
	pages->dirty[index] = true;
}

void pages_change(struct pages *pages, uint64_t changes)
{
	uint64_t i, hot = 1 + pages->count / 8;

	for (i = 0; i < changes; i++)
		change(pages, pages_random(pages, 3) > 0 ? pages_random(pages, hot) :
							   pages_random(pages, pages->count));
}

bool pages_fill(struct pages *pages, uint64_t *at, struct chunk *chunk)
{
	static const uint8_t zeroes[LAYOUT_PAGE];

	chunk->npages = 0;
	chunk->used = 3; /* content is not aligned in a real one either */
	for (; *at < pages->count && chunk->npages < CHUNK_PAGES &&
	       chunk->used + LAYOUT_PAGE + 8 <= CHUNK_BYTES;
	     (*at)++) {
		const uint8_t *page = pages_at(pages, *at);
		uint8_t *to = chunk->bytes + chunk->used;

		if (!pages->dirty[*at])
			continue;
		pages->dirty[*at] = false;
		/* QEMU says of most zero pages that they are zero, not of all. */
		if (memcmp(page, zeroes, LAYOUT_PAGE) == 0 && *at % 4 != 0) {
			chunk->pages[chunk->npages++] = (struct chunk_page){ .index = *at };
			continue;
		}
		memcpy(to, page, LAYOUT_PAGE);
		chunk->pages[chunk->npages++] = (struct chunk_page){ .index = *at, .data = to };
		chunk->used += LAYOUT_PAGE + 8;
	}
	return chunk->npages > 0;
}
