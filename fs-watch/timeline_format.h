/*
 * An event as a line of JSON, and the lines of a timeline's files.
 *
 * The line, without its end:
 *   {"time":"2026-11-29T14:00:00.123456789Z","kind":"create","tree":"/srv","path":"a/b","dir":true,...}
 * `from` comes with a rename; `dir`, `coalesced`, `exchanged` and `scanned` only when true, `unseen_ms` with a `lost` that has it. `path` is from the tree's top. One that is not UTF-8 has U+FFFD
 * for each byte that is none, and beside it "path_hex" with all of its bytes; the same of `from`.
 *
 * A file's line: 16 hexadecimal digits, a space, the JSON, a line feed. The digits are the JSON's XXH64, with that of the line before
 * as its seed, so that a line that is changed, left out or put in is found. A file begins with
 *   {"timeline":1,"sequence":7,"after":"0123456789abcdef"}
 * whose `after` is the sum of the last line of the file before (zeros: there was none), and its seed.
 */
#ifndef FS_WATCH_TIMELINE_FORMAT_H
#define FS_WATCH_TIMELINE_FORMAT_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"
#include "fs-watch/event.h"

#define TIMELINE_DIGITS 16
/* Two paths of 1 MiB (deep ones can be made, step by step), each byte as \u00xx and in hex. */
#define TIMELINE_LINE_MAX (((size_t)16 << 20) + ((size_t)64 << 10))

/* Appends the JSON of an event of the tree that is called `tree`. False: no memory, or past the limit. */
bool timeline_format_event(struct buf *line, const char *tree, const struct watch_event *event);
bool timeline_format_head(struct buf *line, uint64_t sequence, uint64_t after);

/* Reads TIMELINE_DIGITS of them; false: those are none. */
bool timeline_format_digits(const char *text, uint64_t *value);
/* The sum of a JSON text that follows a line of sum `before`. */
uint64_t timeline_format_sum(uint64_t before, const char *json, size_t len);

/*
 * Checks a file's next line (without its end), and moves *sum on from that of the line before; of the `first` line *sum is not read, and *after
 * becomes what it says of the file before. RC_INVALID with what is wrong.
 */
int timeline_format_check(uint64_t *sum, bool first, uint64_t *after, const char *line, size_t len,
			  struct err *err);

#endif
