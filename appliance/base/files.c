/*
 * Replacing a file, in this order:
 *   1. the bytes go to NAME.tmp
 *   2. fsync of it: before the rename, so that the name never stands for a file without its bytes
 *   3. rename to NAME: the old content is gone, the new one is there whole
 *   4. fsync of the directory: the rename itself is on the disk
 */
#include "appliance/base/files.h"

#include "appliance/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_LENGTH_MAX 600 /* a configured directory has at most 400 here, a name some 80 */

int files_make_dir(const char *path, struct err *err)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return err_system(err, errno, "%s", path);
	return RC_OK;
}

/* Reading ------------------------------------------------------------------------------------ */

static int read_whole(int fd, const char *path, uint8_t *data, size_t size, size_t *len,
		      struct err *err)
{
	uint8_t beyond;
	ssize_t r;

	for (*len = 0;; *len += (size_t)r) {
		do
			r = *len < size ? read(fd, data + *len, size - *len) : read(fd, &beyond, 1);
		while (r < 0 && errno == EINTR);
		if (r < 0)
			return err_system(err, errno, "%s", path);
		if (r == 0)
			return RC_OK;
		if (*len == size)
			return err_set(err, RC_LIMIT, "%s: has more than %zu bytes", path, size);
	}
}

int files_read(const char *path, void *data, size_t size, size_t *len, bool *there, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	int rc;

	*len = 0;
	*there = fd >= 0 || errno != ENOENT;
	if (fd < 0)
		return *there ? err_system(err, errno, "%s", path) : RC_OK;
	if (fstat(fd, &st) != 0)
		rc = err_system(err, errno, "%s", path);
	else if (!S_ISREG(st.st_mode))
		rc = err_set(err, RC_REFUSED, "%s: is no regular file", path);
	else
		rc = read_whole(fd, path, data, size, len, err);
	(void)close(fd);
	return rc;
}

/* Writing ------------------------------------------------------------------------------------ */

static int write_whole(int fd, const char *path, const uint8_t *data, size_t len, struct err *err)
{
	size_t done;
	ssize_t r;

	for (done = 0; done < len; done += (size_t)r) {
		do {
			r = -1;
			errno = ENOSPC;
			if (!fault_here(FAULT_WRITE))
				r = write(fd, data + done, len - done);
		} while (r < 0 && errno == EINTR);
		if (r < 0)
			return err_system(err, errno, "%s: writing", path);
	}
	errno = EIO;
	if (fault_here(FAULT_FSYNC) || fsync(fd) != 0)
		return err_system(err, errno, "%s: fsync", path);
	return RC_OK;
}

static int open_new(const char *path, int flags, int *fd, struct err *err)
{
	errno = EACCES;
	*fd = fault_here(FAULT_OPEN) ?
		      -1 :
		      open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	return *fd >= 0 ? RC_OK : err_system(err, errno, "%s", path);
}

static int sync_dir(const char *dir, struct err *err)
{
	int fd, rc;

	rc = open_new(dir, O_RDONLY | O_DIRECTORY, &fd, err);
	if (rc != RC_OK)
		return rc;
	errno = EIO;
	if (fault_here(FAULT_FSYNC) || fsync(fd) != 0)
		rc = err_system(err, errno, "%s: fsync", dir);
	(void)close(fd);
	return rc;
}

int files_replace(const char *dir, const char *name, const void *data, size_t len, struct err *err)
{
	char path[PATH_LENGTH_MAX], temporary[PATH_LENGTH_MAX];
	int fd, n, rc;

	n = snprintf(temporary, sizeof(temporary), "%s/%s.tmp", dir, name);
	if (n < 0 || (size_t)n >= sizeof(temporary))
		return err_set(err, RC_LIMIT, "%.200s: the path is too long", dir);
	(void)snprintf(path, sizeof(path), "%.*s", n - (int)sizeof(".tmp") + 1, temporary);
	rc = open_new(temporary, O_WRONLY | O_CREAT | O_TRUNC, &fd, err);
	if (rc != RC_OK)
		return rc;
	rc = write_whole(fd, temporary, data, len, err);
	(void)close(fd);
	errno = EIO;
	if (rc == RC_OK && (fault_here(FAULT_RENAME) || rename(temporary, path) != 0))
		rc = err_system(err, errno, "%s: rename", path);
	if (rc != RC_OK)
		(void)unlink(temporary);
	return rc == RC_OK ? sync_dir(dir, err) : rc;
}

int files_try(const char *dir, bool keep, struct err *err)
{
	static const uint8_t byte = 0;
	char path[PATH_LENGTH_MAX];
	int fd, n, rc = RC_OK;

	n = snprintf(path, sizeof(path), "%s/.try-XXXXXX", dir);
	if (n < 0 || (size_t)n >= sizeof(path))
		return err_set(err, RC_LIMIT, "%.200s: the path is too long", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return err_system(err, errno, "%s: making a file there", dir);
	if (keep)
		rc = write_whole(fd, dir, &byte, sizeof(byte), err);
	(void)close(fd);
	(void)unlink(path);
	return rc;
}
