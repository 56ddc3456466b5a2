/*
 * What we make in the file system. Every open, write, fsync and rename of files_replace() can be
 * made to fail by a test (mem.h).
 */
#ifndef APPLIANCE_BASE_FILES_H
#define APPLIANCE_BASE_FILES_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A directory of our own (mode 0700); fine if it is there already. */
int files_make_dir(const char *path, struct err *err);

/*
 * Reads a small file whole: at most `size` bytes, else RC_LIMIT. *there false: there is none (and
 * RC_OK). Anything but a regular file is refused.
 */
int files_read(const char *path, void *data, size_t size, size_t *len, bool *there,
	       struct err *err);

/*
 * Makes `dir`/`name` (mode 0600) have these bytes, whole or not at all, also when the machine
 * fails at any moment. RC_OK: they are on the disk. After an error the old content stands, or, if
 * only the last step failed (making the new name durable), perhaps the new one. Blocks.
 */
int files_replace(const char *dir, const char *name, const void *data, size_t len, struct err *err);

/*
 * Whether files can be made in a directory, and if `keep` whether they can be kept: makes one,
 * writes to it, removes it. (hugetlbfs has files, but nothing can be written to them.)
 */
int files_try(const char *dir, bool keep, struct err *err);

#endif
