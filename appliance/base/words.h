/*
 * Whether a word is one of a list.
 */
#ifndef APPLIANCE_BASE_WORDS_H
#define APPLIANCE_BASE_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline bool words_have(const char *const *words, size_t count, const char *word)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(word, words[i]) == 0)
			return true;
	}
	return false;
}
/* Of an array. */
#define WORDS_ONE_OF(word, words) words_have(words, sizeof(words) / sizeof((words)[0]), word)

#endif
