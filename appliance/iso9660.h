/*
 * Writes an ISO 9660 file system of some files, with their names as they are (Rock Ridge): what a configuration drive is. The
 * same files give the same bytes.
 */
#ifndef APPLIANCE_ISO9660_H
#define APPLIANCE_ISO9660_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

#define ISO9660_NAME_MAX 30 /* what every reader of the format takes */
#define ISO9660_FILES_MAX 64
#define ISO9660_LABEL_MAX 32

struct iso9660_file {
	const char *name;
	const void *data;
	size_t len;
};

/* RC_OK, or what is wrong with a name. */
int iso9660_check_name(const char *name, struct err *err);

/*
 * The whole file system into an empty buffer, whose limit the caller has set. `label`: of A-Z, 0-9 and _. RC_INVALID: a name that
 * cannot be, or two that are the same but for case and punctuation; RC_LIMIT: too many files, or more than the buffer may hold.
 */
int iso9660_write(struct buf *out, const char *label, const struct iso9660_file *files,
		  size_t count, struct err *err);

#endif
