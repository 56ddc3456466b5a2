#include "appliance/watch_log.h"

#include "appliance/base/files.h"
#include "appliance/options.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES (UINT64_C(16) << 20)

/* It would tell of itself: by inotify our own changes are told, too. */
static int check_apart(const char *log_dir, const char *tree_dir, struct err *err)
{
	char tree[PATH_MAX], log[PATH_MAX];

	if (realpath(tree_dir, tree) == NULL || realpath(log_dir, log) == NULL)
		return err_system(err, errno, "%.200s", log_dir);
	if (!files_contains(tree, log))
		return RC_OK;
	return err_set(err, RC_INVALID, "--log %.200s: it is in the tree that is watched", log_dir);
}

int watch_log_open(struct timeline **timeline, const char *log, unsigned files, const char *tree,
		   struct err *err)
{
	const struct timeline_limits limits = { .file_bytes = FILE_BYTES, .files = files };
	const int rc = timeline_open(timeline, log, &limits, err);

	return rc == RC_OK && tree != NULL ? check_apart(log, tree, err) : rc;
}

bool watch_log_read_files(const char *text, unsigned *files)
{
	const size_t digits = strspn(text, "0123456789");

	*files = digits > 0 && digits < 5 && text[digits] == '\0' ?
			 (unsigned)strtoul(text, NULL, 10) :
			 0;
	return *files > 0 && *files <= TIMELINE_FILES_MAX;
}

int watch_log_verify(const char *log)
{
	struct timeline_found found;
	struct err err;

	if (timeline_verify(log, &found, &err) != RC_OK)
		return options_failed(err.text);
	(void)printf("%u files, %llu lines%s\n", found.files, (unsigned long long)found.lines,
		     found.torn ? "; a file ends within a line: who wrote it was ended" : "");
	return EXIT_FINE;
}
