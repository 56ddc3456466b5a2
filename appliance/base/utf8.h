/*
 * Text from elsewhere (a file, a peer, a server) on its way to a terminal or a log.
 *
 * Plain is what a terminal shows rather than obeys: UTF-8 without control characters (U+0000 to
 * U+001F, U+007F, U+0080 to U+009F, of which U+009B begins a sequence as ESC does), line and paragraph
 * separators, and those that turn the direction of what follows, so that it reads otherwise than it
 * is. Bytes that are no UTF-8 are not plain: some terminals take them for the second group.
 */
#ifndef APPLIANCE_BASE_UTF8_H
#define APPLIANCE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The length of the sequence that begins `text`, of whose bytes `len` are left, or 0: none does.
 * Overlong forms, surrogates and what is past U+10FFFF are none.
 */
size_t utf8_length(const char *text, size_t len);

bool utf8_is_plain(const char *text);

/* In place: a question mark for each character, or byte of no UTF-8, that is not plain. */
void utf8_make_plain(char *text);

#endif
