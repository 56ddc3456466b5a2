/*
 * fanotify's reports, as the kernel writes them: fanotify(7), <linux/fanotify.h>. No I/O.
 *
 * A report is a `struct fanotify_event_metadata` (24 bytes; event_len of which the first four bytes are; mask at 8), then information
 * records, each with a head of four bytes (type, pad, length), the file system's number (8 bytes), a file handle (handle_bytes,
 * handle_type, the handle), and of a directory's record, the name in it with a NUL. A group of FAN_REPORT_DFID_NAME_TARGET gives
 * each event the directory and name, and of those that make, move or remove a name also the handle of what has that name.
 */
#ifndef FS_WATCH_FANOTIFY_EVENT_H
#define FS_WATCH_FANOTIFY_EVENT_H

#include "appliance/base/err.h"
#include "fs-watch/tree.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A name in a directory. The key begins as fanotify_key() would make it. */
struct fanotify_place {
	bool there;
	struct tree_key dir;
	const char *name; /* "": the directory itself */
};

struct fanotify_event {
	uint64_t mask;
	int32_t pid;		    /* who did it */
	struct fanotify_place at;   /* where, and of a rename where to */
	struct fanotify_place from; /* of a rename */
	bool has_target;
	struct tree_key target; /* who has, or had, the name */
};

/*
 * The first of the `len` bytes that were read; it points into them. *used: how many it took. RC_INVALID: it is not what is
 * written above.
 */
int fanotify_event_parse(struct fanotify_event *event, size_t *used, const uint8_t *data,
			 size_t len, struct err *err);

/* The key of a handle (`type`, `bytes` of `len`) in the file system of number `fsid`. False: it is too long. */
bool fanotify_key(struct tree_key *key, const uint8_t fsid[8], int32_t type, const uint8_t *bytes,
		  size_t len);
/* The parts of such a key, for open_by_handle_at(). */
int32_t fanotify_key_type(const struct tree_key *key);
const uint8_t *fanotify_key_handle(const struct tree_key *key, size_t *len);

#endif
