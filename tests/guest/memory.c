/* See memory.h for what these regions are for. Nothing here changes while it is being checked. */
#include "tests/guest/memory.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096
#define WORDS_PER_PAGE (PAGE / sizeof(uint64_t))
#define WORDS_PER_WRITE 8 /* a cache line */
#define SUM_FACTOR UINT64_C(0x9e3779b97f4a7c15)

static uint64_t *words; /* the working set */
static size_t word_count;
static uint64_t generation, sum;
static uint64_t random_state = UINT64_C(0x2545f4914f6cdd1d);

static uint8_t *region; /* the oracle's; NULL if it was not started */
static size_t region_pages, region_at;
static uint64_t region_pass;

static void *map(uint64_t mib)
{
	void *at =
		mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		give_up("%llu MiB of memory", (unsigned long long)mib);
	return at;
}

/* xorshift64*: any generator of full period will do. */
static uint64_t random_next(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * UINT64_C(0x2545f4914f6cdd1d);
}

static void set_word(size_t index, uint64_t value)
{
	sum += (value - words[index]) * (2 * index + 1) * SUM_FACTOR;
	words[index] = value;
}

/* A mixture as programs have it: of four pages, one holds small numbers, one repeats a text, one is
 * random, and one is touched but zero. */
void memory_fill(uint64_t mib)
{
	static const char text[] = "GET /index.html HTTP/1.1 200 OK ";

	words = map(mib);
	word_count = (size_t)(mib << 20) / sizeof(uint64_t);
	for (size_t i = 0; i < word_count; i++) {
		uint64_t value = 0;

		switch (i / WORDS_PER_PAGE % 4) {
		case 0:
			value = i;
			break;
		case 1:
			memcpy(&value, text + i % 4 * sizeof(value), sizeof(value));
			break;
		case 2:
			value = random_next();
			break;
		default:
			break;
		}
		set_word(i, value);
	}
}

/* One write: a cache line somewhere in a random page. */
void memory_dirty(uint64_t pages)
{
	size_t lines = word_count / WORDS_PER_WRITE;

	for (; lines > 0 && pages > 0; pages--) {
		size_t first = (size_t)(random_next() % lines) * WORDS_PER_WRITE;

		for (size_t i = 0; i < WORDS_PER_WRITE; i++)
			set_word(first + i, random_next());
		generation++;
	}
}

int memory_sum_answer(char *to, size_t size)
{
	uint64_t fresh = 0;

	for (size_t i = 0; i < word_count; i++)
		fresh += words[i] * (2 * i + 1) * SUM_FACTOR;
	if (fresh == sum)
		return snprintf(to, size, "%llu %016llx ok\n", (unsigned long long)generation,
				(unsigned long long)fresh);
	return snprintf(to, size, "%llu %016llx bad %016llx\n", (unsigned long long)generation,
			(unsigned long long)fresh, (unsigned long long)sum);
}

void memory_oracle_start(uint64_t mib)
{
	region = map(mib);
	region_pages = (size_t)(mib << 20) / PAGE;
	memory_oracle_advance(region_pages); /* so that every page is there */
}

void memory_oracle_advance(uint64_t pages)
{
	if (region_pages == 0)
		return;
	while (pages-- > 0) {
		region[region_at * PAGE]++;
		if (++region_at == region_pages) {
			region_at = 0;
			region_pass++;
		}
	}
}

/* What a page's byte is when all is well. */
static uint8_t wanted_at(size_t page)
{
	return (uint8_t)(region_pass + (page < region_at ? 1 : 0));
}

int memory_oracle_answer(char *to, size_t size)
{
	size_t edges = 0, bad = 0, first_bad = 0;

	if (region == NULL)
		return snprintf(to, size, "error not in mode oracle\n");
	for (size_t i = 0; i < region_pages; i++) {
		if (i > 0 && region[i * PAGE] != region[(i - 1) * PAGE])
			edges++;
		if (region[i * PAGE] != wanted_at(i) && bad++ == 0)
			first_bad = i;
	}
	if (bad == 0)
		return snprintf(to, size, "ok edges=%zu value=%u pass=%llu at=%zu\n", edges,
				(unsigned)wanted_at(region_at), (unsigned long long)region_pass,
				region_at);
	return snprintf(to, size, "torn edges=%zu bad=%zu page=%zu value=%u wanted=%u\n", edges,
			bad, first_bad, (unsigned)region[first_bad * PAGE],
			(unsigned)wanted_at(first_bad));
}
