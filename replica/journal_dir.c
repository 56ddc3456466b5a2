#include "replica/journal_dir.h"

#include "appliance/base/files.h"
#include "appliance/base/lock_file.h"
#include "appliance/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_NAME "lock"

int journal_dir_init(struct journal_dir *d, const char *path, struct err *err)
{
	*d = (struct journal_dir){ .fd = -1, .lock = LOCK_FILE_NONE, .segment = -1 };
	if (snprintf(d->path, sizeof(d->path), "%s", path) >= (int)sizeof(d->path))
		return err_set(err, RC_LIMIT, "the journal's path is too long");
	return RC_OK;
}

static int prefixed(const struct journal_dir *d, struct err *err)
{
	char name[FILES_CLIP + 1];

	files_clip(name, d->path);
	return err_prefix(err, "%s: ", name);
}

static int failed(const struct journal_dir *d, const char *what, struct err *err)
{
	(void)err_system(err, errno, "%s", what);
	return prefixed(d, err);
}

static int take_lock(struct journal_dir *d, struct err *err)
{
	char path[JOURNAL_PATH_MAX + sizeof(LOCK_NAME) + 1];
	pid_t holder;
	int rc;

	(void)snprintf(path, sizeof(path), "%s/" LOCK_NAME, d->path);
	rc = lock_file_take(path, &d->lock, &holder, err);
	if (rc != RC_STATE)
		return rc;
	(void)err_set(err, RC_REFUSED, "process %d has this journal open", (int)holder);
	return prefixed(d, err);
}

int journal_dir_open(struct journal_dir *d, struct err *err)
{
	int rc = files_make_dir(d->path, err);

	if (rc != RC_OK)
		return rc;
	d->fd = fault_here(FAULT_OPEN) ? -1 : open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = d->fd >= 0 ? take_lock(d, err) : failed(d, "opening it", err);
	if (rc != RC_OK) {
		journal_dir_close(d);
		return rc;
	}
	(void)unlinkat(d->fd, JOURNAL_BEGUN, 0);
	(void)unlinkat(d->fd, JOURNAL_COPIED, 0);
	(void)unlinkat(d->fd, JOURNAL_REPLACED, 0);
	return RC_OK;
}

void journal_dir_close(struct journal_dir *d)
{
	if (d->segment >= 0)
		(void)close(d->segment);
	if (d->fd >= 0)
		(void)close(d->fd);
	lock_file_let_go(d->lock);
	d->segment = d->fd = -1;
	d->lock = LOCK_FILE_NONE;
}

/* ---- writing ---------------------------------------------------------------------------------- */

/* What failed for want of room, as errno says, may be tried again. */
static bool has_made_room(const struct journal_dir *d)
{
	const int reason = errno;
	const bool made = reason == ENOSPC && d->make_room != NULL && d->make_room(d->owner);

	errno = reason;
	return made;
}

static int open_file(struct journal_dir *d, const char *name, int flags, struct err *err)
{
	if (d->segment >= 0)
		(void)close(d->segment);
	do {
		errno = EACCES;
		d->segment = fault_here(FAULT_OPEN) ?
				     -1 :
				     openat(d->fd, name, flags | O_WRONLY | O_CLOEXEC | O_NOFOLLOW,
					    0600);
	} while (d->segment < 0 && has_made_room(d));
	return d->segment >= 0 ? RC_OK : failed(d, name, err);
}

int journal_dir_write(struct journal_dir *d, const uint8_t *data, size_t len, struct err *err)
{
	size_t done = 0;
	ssize_t r;

	while (done < len) {
		r = -1;
		errno = ENOSPC;
		if (!fault_here(FAULT_WRITE))
			r = write(d->segment, data + done, fault_clip(len - done));
		if (r < 0 && (errno == EINTR || has_made_room(d)))
			continue;
		if (r < 0)
			return failed(d, "writing to a segment", err);
		done += (size_t)r;
		d->bytes += (size_t)r;
	}
	return RC_OK;
}

static int sync_file(const struct journal_dir *d, int fd, const char *what, struct err *err)
{
	errno = EIO;
	if (!fault_here(FAULT_FSYNC) && fdatasync(fd) == 0)
		return RC_OK;
	(void)err_system(err, errno, "%s: fdatasync", what);
	return prefixed(d, err);
}

static bool is_same(const struct stat *one, const struct stat *other)
{
	return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

/*
 * A file system that was unmounted or a directory that was moved would take all that is written, and nobody would find it. Nor
 * what is written behind the end of a file that somebody has cut off.
 */
int journal_dir_look(const struct journal_dir *d, struct err *err)
{
	struct stat ours, there;

	if (fstat(d->fd, &ours) != 0 || stat(d->path, &there) != 0 || !is_same(&ours, &there))
		(void)err_set(err, RC_IO,
			      "the directory has been removed, or another one is there");
	else if (fstat(d->segment, &ours) != 0 ||
		 fstatat(d->fd, d->name, &there, AT_SYMLINK_NOFOLLOW) != 0 ||
		 !is_same(&ours, &there))
		(void)err_set(err, RC_IO, "%s has been removed, or another one is there", d->name);
	else if ((uint64_t)ours.st_size != d->bytes)
		(void)err_set(err, RC_IO, "%s has %llu bytes, and %llu were written to it", d->name,
			      (unsigned long long)ours.st_size, (unsigned long long)d->bytes);
	else
		return RC_OK;
	return prefixed(d, err);
}

int journal_dir_sync(struct journal_dir *d, struct err *err)
{
	int rc = sync_file(d, d->segment, d->name, err);

	return rc == RC_OK ? journal_dir_look(d, err) : rc;
}

int journal_dir_sync_names(struct journal_dir *d, struct err *err)
{
	return sync_file(d, d->fd, "the directory", err);
}

int journal_dir_begin(struct journal_dir *d, uint64_t sequence,
		      const uint8_t head[JOURNAL_SEGMENT_HEAD], struct err *err)
{
	char name[JOURNAL_NAME_BYTES];
	int rc;

	journal_segment_name(name, sequence);
	journal_segment_name(d->name, sequence);
	d->bytes = 0;
	rc = open_file(d, JOURNAL_BEGUN, O_APPEND | O_CREAT | O_TRUNC, err);
	if (rc == RC_OK)
		rc = journal_dir_write(d, head, JOURNAL_SEGMENT_HEAD, err);
	if (rc == RC_OK)
		rc = sync_file(d, d->segment, name, err);
	errno = EIO;
	if (rc == RC_OK &&
	    (fault_here(FAULT_RENAME) || renameat(d->fd, JOURNAL_BEGUN, d->fd, name) != 0))
		rc = failed(d, name, err);
	return rc == RC_OK ? journal_dir_sync_names(d, err) : rc;
}

int journal_dir_resume(struct journal_dir *d, uint64_t sequence, struct err *err)
{
	struct stat st = { 0 };
	int rc;

	journal_segment_name(d->name, sequence);
	rc = open_file(d, d->name, O_APPEND, err);
	if (rc == RC_OK && fstat(d->segment, &st) != 0)
		rc = failed(d, d->name, err);
	d->bytes = (uint64_t)st.st_size;
	return rc;
}

int journal_dir_cut(struct journal_dir *d, uint64_t sequence, uint64_t bytes, struct err *err)
{
	int rc = journal_dir_resume(d, sequence, err);

	if (rc == RC_OK && d->bytes > bytes) {
		if (ftruncate(d->segment, (off_t)bytes) != 0)
			rc = failed(d, "cutting off what is torn", err);
		d->bytes = bytes;
	}
	return rc == RC_OK ? journal_dir_sync(d, err) : rc;
}

/* ---- names ------------------------------------------------------------------------------------ */

int journal_dir_remove(struct journal_dir *d, uint64_t sequence, struct err *err)
{
	char name[JOURNAL_NAME_BYTES];

	journal_segment_name(name, sequence);
	return unlinkat(d->fd, name, 0) == 0 || errno == ENOENT ? RC_OK : failed(d, name, err);
}

int journal_dir_mark(struct journal_dir *d, const char *name, bool there, struct err *err)
{
	int fd = -1;

	errno = EACCES;
	if (!there) {
		if (unlinkat(d->fd, name, 0) != 0)
			return errno == ENOENT ? RC_OK : failed(d, name, err);
	} else if (!fault_here(FAULT_OPEN)) {
		fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	}
	if (there && fd < 0)
		return failed(d, name, err);
	if (fd >= 0)
		(void)close(fd);
	return journal_dir_sync_names(d, err);
}
