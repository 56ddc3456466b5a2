/*
 * "did you mean ...?": of the words that would have been right, the one nearest to what was
 * written.
 */
#ifndef APPLIANCE_BASE_NEAR_MISS_H
#define APPLIANCE_BASE_NEAR_MISS_H

#define NEAR_MISS_WORD_MAX 64 /* longer words are no misspelling of ours */

struct near_miss {
	const char *word;
	const char *best; /* NULL: nothing offered so far is near enough */
	unsigned distance;
};

/*
 * How many letters have to be changed, put in, taken out or swapped with their neighbour to make
 * one of the other.
 */
unsigned near_miss_distance(const char *one, const char *other);

/* Begins a search for what `word` may have meant. The words offered have to outlive it. */
struct near_miss near_miss_of(const char *word);
void near_miss_offer(struct near_miss *miss, const char *candidate);

#endif
