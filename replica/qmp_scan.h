/*
 * Just enough of QMP's replies for the guardian, without allocating: pure, in fixed memory.
 *
 * The guardian takes over a connection in the middle, so its first bytes may be the end of a reply
 * whose beginning the agent read. An object is therefore taken to begin at a `{` that is the first
 * byte of a line: QEMU writes every reply so, also with pretty=on, where what is nested is
 * indented.
 */
#ifndef REPLICA_QMP_SCAN_H
#define REPLICA_QMP_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QMP_SCAN_OBJECT_MAX 8192 /* query-migrate in COLO fits ten times; longer is skipped */
#define QMP_SCAN_WORD_MAX 32	 /* the longest run state or migration status has 18 */

struct qmp_scan {
	char text[QMP_SCAN_OBJECT_MAX];
	size_t len;
	unsigned depth;
	bool inside, in_string, escaped, in_line, too_long;
};

void qmp_scan_init(struct qmp_scan *scan);

/*
 * Takes bytes (moving *at and *left) until an object is whole in `text` (true) or the bytes are
 * used up (false).
 */
bool qmp_scan_feed(struct qmp_scan *scan, const uint8_t **at, size_t *left);

/*
 * Members of a reply; a word that is not there, is longer than its room or has an escape in it is
 * "".
 */
struct qmp_scan_reply {
	char id[QMP_SCAN_WORD_MAX];	/* "id", if a string */
	char status[QMP_SCAN_WORD_MAX]; /* "status" of the "return" object */
	bool returned;			/* there is a "return" */
	bool failed;			/* there is an "error" */
};

void qmp_scan_reply(const char *text, size_t len, struct qmp_scan_reply *reply);

#endif
