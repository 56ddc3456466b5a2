/*
 * Text of any length in which it shows when bytes are missing, come twice or in another order: lines
 * "0000000", "0000001" and so on, from the beginning again after STREAM_LINES of them.
 */
#ifndef TESTS_GUEST_STREAM_H
#define TESTS_GUEST_STREAM_H

#include <stddef.h>
#include <stdint.h>

#define STREAM_LINE 8 /* bytes */
#define STREAM_LINES 8192

/* The text from byte `position` on, as far as it lies there in one piece; its length in *len. */
const char *stream_text(uint64_t position, size_t *len);

#endif
