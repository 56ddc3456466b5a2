/*
 * What we read and make in the file system. Every open, write, fsync and rename of files_replace() can be
 * made to fail by a test (mem.h).
 */
#ifndef APPLIANCE_BASE_FILES_H
#define APPLIANCE_BASE_FILES_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

/* A directory of our own (mode 0700); fine if it is there already. */
int files_make_dir(const char *path, struct err *err);

/*
 * Whether only we (and root) can put other files in place of those in a directory, which `st`
 * describes; else RC_REFUSED with what to change.
 */
int files_check_own_dir(const char *path, const struct stat *st, struct err *err);

/* The end of a path, for messages: they have ERR_TEXT_MAX bytes in all, and paths share beginnings. */
#define FILES_CLIP 160
void files_clip(char out[FILES_CLIP + 1], const char *path);

/* Whether one path is the other, or below it: by their text, both without links and without a slash at the end. */
bool files_contains(const char *outer, const char *inner);

enum files_how {
	FILES_PLAIN = 0,
	FILES_SECRET =
		1, /* a private key: ours or root's, for nobody else to use; else RC_REFUSED */
	FILES_NO_LINK = 2, /* not what a symbolic link points to */
};

/*
 * A whole regular file of at most out->limit bytes (else RC_LIMIT) into an empty buffer; `path` is
 * relative to the directory `dir` (AT_FDCWD: the current one), `how` an or of files_how. Never
 * waits: a pipe or a device is RC_REFUSED. A NUL that is not counted follows the text. The error
 * begins with the path, clipped.
 */
int files_read(struct buf *out, int dir, const char *path, unsigned how, struct err *err);
/*
 * The same of what is open, whatever it is, up to its end: a pipe, or a file of the kernel's, which does not say how long it is.
 * Waits. No NUL follows.
 */
int files_read_open(struct buf *out, int fd, const char *name, struct err *err);
/* Wipes and releases what was read as FILES_SECRET, also after a failure. */
void files_free_secret(struct buf *secret);

/*
 * Makes `dir`/`name` (mode 0600) have these bytes, whole or not at all, also when the machine
 * fails at any moment. RC_OK: they are on the disk. After an error the old content stands, or, if
 * only the last step failed (making the new name durable), perhaps the new one. Blocks.
 */
int files_replace(const char *dir, const char *name, const void *data, size_t len, struct err *err);

/*
 * Whether files can be made in a directory, and if `keep` whether they can be kept: makes one,
 * writes to it, removes it. (hugetlbfs has files, but nothing can be written to them.) *full: not,
 * and for no other reason than that there is no room.
 */
int files_try(const char *dir, bool keep, bool *full, struct err *err);

#endif
