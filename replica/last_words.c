#include "replica/last_words.h"

#include <stdbool.h>
#include <string.h>

/* Makes room by forgetting whole lines, oldest first. */
static void keep(struct last_words *words, const char *line, size_t len)
{
	const char *newline;
	size_t gone;

	while (words->len + len + 1 > sizeof(words->kept)) {
		newline = memchr(words->kept, '\n', words->len);
		gone = newline != NULL ? (size_t)(newline + 1 - words->kept) : words->len;
		words->len -= gone;
		memmove(words->kept, words->kept + gone, words->len);
	}
	memcpy(words->kept + words->len, line, len);
	words->len += len;
	words->kept[words->len++] = '\n';
}

void last_words_add(struct last_words *words, const char *data, size_t len,
		    void (*line)(void *owner, const char *text), void *owner)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] != '\n') {
			if (words->line_len + 1 < sizeof(words->line) && data[i] != '\0')
				words->line[words->line_len++] = data[i];
			continue;
		}
		words->line[words->line_len] = '\0';
		if (words->line_len > 0) {
			keep(words, words->line, words->line_len);
			if (line != NULL)
				line(owner, words->line);
		}
		words->line_len = 0;
	}
}

/* Where the line that ends before `end` begins. */
static const char *line_before(const char *start, const char *end)
{
	const char *newline = end > start ? memrchr(start, '\n', (size_t)(end - start)) : NULL;

	return newline != NULL ? newline + 1 : start;
}

/* Puts a line in front of the text; false when it does not fit any more. */
static bool put_in_front(char *text, size_t size, const char *line, size_t len)
{
	size_t used = strlen(text), between = used > 0 ? 2 : 0;

	if (used == 0 && len >= size)
		len = size - 1;
	if (used + between + len >= size)
		return false;
	memmove(text + len + between, text, used + 1);
	memcpy(text, line, len);
	memcpy(text + len, "; ", between);
	return true;
}

static void collect(const struct last_words *words, const char *program, bool warnings, char *text,
		    size_t size)
{
	static const char warning[] = "warning: ";
	size_t skip = program != NULL ? strlen(program) : 0, len;
	const char *end = words->kept + words->len, *line;

	for (; end > words->kept; end = line) {
		const char *from;

		line = line_before(words->kept, end - 1);
		from = line;
		len = (size_t)(end - 1 - line);
		if (skip > 0 && len > skip + 2 && memcmp(line, program, skip) == 0 &&
		    memcmp(line + skip, ": ", 2) == 0) {
			from += skip + 2;
			len -= skip + 2;
		}
		if (!warnings && memmem(from, len, warning, strlen(warning)) != NULL)
			continue;
		if (!put_in_front(text, size, from, len))
			return;
	}
}

void last_words_text(const struct last_words *words, const char *program, char *text, size_t size)
{
	struct last_words all = *words;

	if (all.line_len > 0)
		keep(&all, all.line, all.line_len); /* it ended before its newline */
	*text = '\0';
	collect(&all, program, false, text, size);
	if (*text == '\0')
		collect(&all, program, true, text, size);
}
