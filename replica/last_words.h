/*
 * What a child process said last on its standard error: bounded, cut into lines, fit for one line
 * of ours. Pure.
 */
#ifndef REPLICA_LAST_WORDS_H
#define REPLICA_LAST_WORDS_H

#include <stddef.h>

#define LAST_WORDS_MAX ((size_t)2 << 10)  /* QEMU's longest complaints are some hundred bytes */
#define LAST_WORDS_LINE_MAX ((size_t)512) /* longer lines are cut */

struct last_words {
	char kept[LAST_WORDS_MAX]; /* whole lines, newest last, each with its newline */
	size_t len;
	char line[LAST_WORDS_LINE_MAX]; /* the one that is not complete yet */
	size_t line_len;
};

/*
 * Takes what was read; calls `line` (may be NULL) for each line that became complete, without its
 * newline.
 */
void last_words_add(struct last_words *words, const char *data, size_t len,
		    void (*line)(void *owner, const char *text), void *owner);

/*
 * The last lines that are not warnings (or the last warnings, if there is nothing else) joined by
 * "; ", newest last, as many as fit. `program` (may be NULL): its name before a line is left out.
 * Empty when nothing was said.
 */
void last_words_text(const struct last_words *words, const char *program, char *text, size_t size);

#endif
