#include "appliance/base/near_miss.h"

#include <stddef.h>
#include <string.h>

#define FAR_AWAY (NEAR_MISS_WORD_MAX + 1)

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* The optimal string alignment distance, of which only three rows of the matrix are kept. */
unsigned near_miss_distance(const char *one, const char *other)
{
	unsigned rows[3][NEAR_MISS_WORD_MAX + 1];
	unsigned *before = rows[0], *above = rows[1], *row = rows[2], *spare;
	size_t height = strnlen(one, FAR_AWAY), width = strnlen(other, FAR_AWAY);

	if (height > NEAR_MISS_WORD_MAX || width > NEAR_MISS_WORD_MAX)
		return FAR_AWAY;
	for (size_t x = 0; x <= width; x++)
		above[x] = (unsigned)x;
	for (size_t y = 1; y <= height; y++) {
		row[0] = (unsigned)y;
		for (size_t x = 1; x <= width; x++) {
			row[x] = above[x - 1] + (one[y - 1] != other[x - 1]);
			row[x] = least(row[x], least(above[x], row[x - 1]) + 1);
			if (y > 1 && x > 1 && one[y - 1] == other[x - 2] &&
			    one[y - 2] == other[x - 1])
				row[x] = least(row[x], before[x - 2] + 1);
		}
		spare = before;
		before = above;
		above = row;
		row = spare;
	}
	return above[width];
}

struct near_miss near_miss_of(const char *word)
{
	/* A third of the letters may be wrong; beyond that, a suggestion is a guess. */
	unsigned tolerance = (unsigned)(strnlen(word, FAR_AWAY) + 2) / 3;

	return (struct near_miss){ .word = word, .distance = tolerance + 1 };
}

void near_miss_offer(struct near_miss *miss, const char *candidate)
{
	unsigned distance = near_miss_distance(miss->word, candidate);

	if (distance < miss->distance) {
		miss->distance = distance;
		miss->best = candidate;
	}
}
