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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_LENGTH_MAX 600 /* a configured directory has at most 400 here, a name some 80 */

int files_make_dir(const char *path, struct err *err)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return err_system(err, errno, "%s", path);
	return RC_OK;
}

int files_check_own_dir(const char *path, const struct stat *st, struct err *err)
{
	char name[FILES_CLIP + 1];

	files_clip(name, path);
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return err_set(err, RC_REFUSED,
			       "%s: this directory belongs to another user (uid %u), who could "
			       "exchange what is in it; chown it to who runs this",
			       name, (unsigned)st->st_uid);
	if ((st->st_mode & 0022) != 0)
		return err_set(err, RC_REFUSED,
			       "%s: others may write to this directory (mode %04o) and could "
			       "exchange what is in it; chmod 700 it",
			       name, (unsigned)st->st_mode & 07777);
	return RC_OK;
}

void files_clip(char out[FILES_CLIP + 1], const char *path)
{
	size_t len = strlen(path);

	if (len <= FILES_CLIP)
		(void)snprintf(out, FILES_CLIP + 1, "%s", path);
	else
		(void)snprintf(out, FILES_CLIP + 1, "...%s", path + len - (FILES_CLIP - 3));
}

bool files_contains(const char *outer, const char *inner)
{
	const size_t len = strcmp(outer, "/") == 0 ? 0 : strlen(outer);

	return strncmp(outer, inner, len) == 0 && (inner[len] == '/' || inner[len] == '\0');
}

/* Reading ------------------------------------------------------------------------------------ */

static int check_private(const char *path, const struct stat *st, struct err *err)
{
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return err_set(err, RC_REFUSED,
			       "%s: belongs to another user (uid %u); chown it to who runs this",
			       path, (unsigned)st->st_uid);
	if ((st->st_mode & 0077) != 0)
		return err_set(err, RC_REFUSED,
			       "%s: others than its owner may use it (mode %04o); chmod 600 it",
			       path, (unsigned)st->st_mode & 07777);
	return RC_OK;
}

/* A file that grows meanwhile is read as far as it went; one that shrinks is an error. */
static int read_whole(struct buf *out, int fd, const char *path, size_t size, struct err *err)
{
	size_t limit = out->limit, done = 0;
	ssize_t r = 1;

	if (size > limit)
		return err_set(err, RC_LIMIT, "%s: longer than %zu bytes", path, limit);
	out->limit = size + 1;
	if (buf_extend(out, size + 1) == NULL)
		return err_nomem(err, path);
	out->limit = limit;
	while (done < size && r > 0) {
		r = read(fd, out->data + done, size - done);
		if (r < 0)
			return err_system(err, errno, "%s", path);
		done += (size_t)r;
	}
	if (done < size)
		return err_set(err, RC_IO, "%s: became shorter while it was read", path);
	out->data[size] = '\0';
	out->len = size;
	return RC_OK;
}

int files_read(struct buf *out, int dir, const char *path, unsigned how, struct err *err)
{
	int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, fd, rc = RC_OK;
	char name[FILES_CLIP + 1];
	struct stat st = { 0 };

	files_clip(name, path);
	fd = openat(dir, path, (how & FILES_NO_LINK) != 0 ? flags | O_NOFOLLOW : flags);
	if (fd < 0 || fstat(fd, &st) != 0)
		rc = err_system(err, errno, "%s", name);
	else if (!S_ISREG(st.st_mode))
		rc = err_set(err, RC_REFUSED, "%s: is no regular file", name);
	else if ((how & FILES_SECRET) != 0)
		rc = check_private(name, &st, err);
	if (rc == RC_OK)
		rc = read_whole(out, fd, name, (size_t)st.st_size, err);
	if (fd >= 0)
		(void)close(fd);
	return rc;
}

int files_read_open(struct buf *out, int fd, const char *name, struct err *err)
{
	uint8_t piece[4096];
	int rc = RC_OK;
	ssize_t r;

	do {
		r = read(fd, piece, sizeof(piece));
		if (r > 0 && (size_t)r > out->limit - out->len)
			rc = err_set(err, RC_LIMIT, "%s: longer than %zu bytes", name, out->limit);
		else if (r > 0 && !buf_append(out, piece, (size_t)r))
			rc = err_nomem(err, name);
		else if (r < 0 && errno != EINTR)
			rc = err_system(err, errno, "%s", name);
	} while (rc == RC_OK && r != 0);
	explicit_bzero(piece, sizeof(piece)); /* it may be a secret */
	return rc;
}

void files_free_secret(struct buf *secret)
{
	if (secret->data != NULL)
		explicit_bzero(secret->data, secret->capacity);
	buf_free(secret);
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

static bool no_room(int errnum)
{
	return errnum == ENOSPC || errnum == EDQUOT;
}

int files_try(const char *dir, bool keep, bool *full, struct err *err)
{
	static const uint8_t byte = 0;
	char path[PATH_LENGTH_MAX];
	int fd, n, rc = RC_OK;

	*full = false;
	n = snprintf(path, sizeof(path), "%s/.try-XXXXXX", dir);
	if (n < 0 || (size_t)n >= sizeof(path))
		return err_set(err, RC_LIMIT, "%.200s: the path is too long", dir);
	fd = mkostemp(path, O_CLOEXEC);
	*full = fd < 0 && no_room(errno);
	if (fd < 0)
		return err_system(err, errno, "%s: making a file there", dir);
	if (keep)
		rc = write_whole(fd, dir, &byte, sizeof(byte), err);
	*full = rc != RC_OK && no_room(errno); /* the write's or the fsync's: nothing came after */
	(void)close(fd);
	(void)unlink(path);
	return rc;
}
