/*
 * Theory of operation. Lines are collected and written in one go. What could not be written whole is cut off again and left out, the sum goes
 * on from the last line that is there, and the next line that can be written says how many there are not. A file whose end could not
 * be cut off is torn; another one follows it.
 */
#include "fs-watch/timeline.h"

#include "appliance/base/buf.h"
#include "appliance/base/files.h"
#include "appliance/base/mem.h"
#include "fs-watch/timeline_files.h"
#include "fs-watch/timeline_format.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COLLECT_BYTES ((size_t)256 << 10)

struct timeline {
	char *path;
	int dir, fd; /* fd -1: the next file is made when there is something to write */
	struct timeline_limits limits;
	uint64_t sequence; /* of the last file that was made */
	uint64_t bytes;	   /* in it */
	uint64_t sum, written_sum;
	struct buf line, lines;
	uint64_t nlines;   /* in `lines` */
	uint64_t left_out; /* not told of yet */
};

static void free_timeline(struct timeline *t)
{
	if (t->dir >= 0)
		(void)close(t->dir);
	buf_free(&t->line);
	buf_free(&t->lines);
	mem_free(t->path);
	mem_free(t);
}

/* ---- files ----------------------------------------------------------------------------------- */

static int trim(struct timeline *t, struct err *err)
{
	char name[TIMELINE_NAME_BYTES];
	uint64_t first, last;
	unsigned count;
	int rc = timeline_files_list(t->dir, &first, &last, &count, err);

	while (rc == RC_OK && count > t->limits.files) {
		timeline_files_name(name, first);
		if (unlinkat(t->dir, name, 0) != 0)
			return err_system(err, errno, "%.200s/%s", t->path, name);
		rc = timeline_files_list(t->dir, &first, &last, &count, err);
	}
	return rc;
}

static int write_all(const struct timeline *t, const uint8_t *data, size_t len, struct err *err)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		errno = ENOSPC;
		n = fault_here(FAULT_WRITE) ? -1 :
					      write(t->fd, data + done, fault_clip(len - done));
		if (n <= 0)
			return err_system(err, errno, "%.200s", t->path);
		done += (size_t)n;
	}
	return RC_OK;
}

/* What is in `line`, as a line of the file, behind `lines`. */
static bool put_line(struct timeline *t)
{
	const uint64_t sum = timeline_format_sum(t->sum, (const char *)t->line.data, t->line.len);
	const size_t before = t->lines.len;

	if (!buf_printf(&t->lines, "%016" PRIx64 " ", sum) ||
	    !buf_append(&t->lines, t->line.data, t->line.len) || !buf_append_u8(&t->lines, '\n')) {
		t->lines.len = before;
		t->lines.failed = false;
		return false;
	}
	t->sum = sum;
	return true;
}

static int end_file(struct timeline *t, struct err *err)
{
	int rc = RC_OK;

	if (t->fd >= 0 && (fault_here(FAULT_FSYNC) || fdatasync(t->fd) != 0))
		rc = err_system(err, errno, "%.200s", t->path);
	if (t->fd >= 0)
		(void)close(t->fd);
	t->fd = -1;
	return rc;
}

/* What waits is not in the file, and will not be. */
static void leave_out(struct timeline *t)
{
	struct err err;

	t->left_out += t->nlines;
	t->nlines = 0;
	t->sum = t->written_sum;
	buf_reset(&t->lines);
	if (t->fd >= 0 && ftruncate(t->fd, (off_t)t->bytes) != 0)
		(void)end_file(t, &err); /* torn; and what has been kept counts */
}

/* Nothing waits to be written. Its own first line is written at once. */
static int next_file(struct timeline *t, struct err *err)
{
	char name[TIMELINE_NAME_BYTES];
	struct err ended;
	int rc;

	timeline_files_name(name, ++t->sequence);
	t->fd = fault_here(FAULT_OPEN) ?
			-1 :
			openat(t->dir, name, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC,
			       0600);
	if (t->fd < 0)
		return err_system(err, errno, "%.200s/%s", t->path, name);
	t->bytes = 0;
	buf_reset(&t->line);
	t->sum = t->written_sum;
	rc = timeline_format_head(&t->line, t->sequence, t->sum) && put_line(t) ?
		     timeline_flush(t, err) :
		     err_nomem(err, "a timeline's first line");
	if (rc == RC_OK)
		return trim(t, err);
	(void)unlinkat(t->dir, name, 0);
	leave_out(t);
	(void)end_file(t, &ended);
	return rc;
}

/* ---- lines ----------------------------------------------------------------------------------- */

int timeline_flush(struct timeline *t, struct err *err)
{
	if (t->lines.len == 0)
		return RC_OK;
	if (write_all(t, t->lines.data, t->lines.len, err) != RC_OK) {
		leave_out(t);
		return (int)err->code;
	}
	t->bytes += t->lines.len;
	t->written_sum = t->sum;
	t->nlines = 0;
	buf_reset(&t->lines);
	return t->bytes >= t->limits.file_bytes ? end_file(t, err) : RC_OK;
}

static bool tell_left_out(struct timeline *t)
{
	buf_reset(&t->line);
	if (t->left_out > 0 &&
	    (!buf_printf(&t->line, "{\"left_out\":%" PRIu64 "}", t->left_out) || !put_line(t)))
		return false;
	t->left_out = 0;
	return true;
}

int timeline_add(struct timeline *t, const char *tree, const struct watch_event *event,
		 struct err *err)
{
	int rc = t->fd < 0 ? next_file(t, err) : RC_OK;
	bool added = rc == RC_OK && tell_left_out(t);

	buf_reset(&t->line);
	added = added && timeline_format_event(&t->line, tree, event) && put_line(t);
	t->line.failed = false;
	if (!added) {
		t->left_out++;
		return rc != RC_OK ? rc : err_nomem(err, "a timeline's line");
	}
	t->nlines++;
	return t->lines.len >= COLLECT_BYTES ? timeline_flush(t, err) : RC_OK;
}

/* ---- the timeline ---------------------------------------------------------------------------- */

/*
 * Where the files of an earlier process end: the last may be torn in its first line. One that is damaged is not continued, and says so when it
 * is verified.
 */
static int find_end(struct timeline *t, struct err *err)
{
	struct timeline_file file = { 0 };
	uint64_t first, at;
	unsigned count;
	int rc = timeline_files_list(t->dir, &first, &t->sequence, &count, err);

	for (at = t->sequence; rc == RC_OK && count > 0 && at >= first && file.lines == 0; at--) {
		if (timeline_files_read(t->dir, at, &file, err) != RC_OK)
			break;
		t->sum = t->written_sum = file.sum;
	}
	return rc;
}

int timeline_open(struct timeline **out, const char *dir, const struct timeline_limits *limits,
		  struct err *err)
{
	struct timeline *t = mem_zalloc(1, sizeof(*t));
	int rc;

	if (t == NULL)
		return err_nomem(err, "a timeline");
	*t = (struct timeline){ .dir = -1,
				.fd = -1,
				.limits = *limits,
				.path = mem_strdup(dir),
				.line.limit = TIMELINE_LINE_MAX,
				.lines.limit = COLLECT_BYTES + 2 * TIMELINE_LINE_MAX };
	rc = t->path != NULL ? files_make_dir(dir, err) : err_nomem(err, "a path");
	if (rc == RC_OK) {
		t->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		rc = t->dir >= 0 ? find_end(t, err) : err_system(err, errno, "%.200s", dir);
	}
	if (rc == RC_OK)
		*out = t;
	else
		free_timeline(t);
	return rc;
}

int timeline_close(struct timeline *t, struct err *err)
{
	int rc, ended;

	if (t == NULL)
		return RC_OK;
	rc = timeline_flush(t, err);
	ended = end_file(t, err);
	free_timeline(t);
	return rc != RC_OK ? rc : ended;
}

/* Of the file that is read after one whose last line has the sum `before`; the oldest follows what is gone. */
static int check_follows(const struct timeline_file *file, uint64_t sequence, uint64_t before,
			 struct err *err)
{
	char name[TIMELINE_NAME_BYTES];

	timeline_files_name(name, sequence);
	if (file->lines > 0 && file->after != before)
		return err_set(err, RC_INVALID, "%s: it does not follow the file before", name);
	return RC_OK;
}

static int verify(int dir, struct timeline_found *found, struct err *err)
{
	struct timeline_file file;
	uint64_t sequence = timeline_files_next(dir, 1), before = 0;
	int rc = RC_OK;

	while (rc == RC_OK && sequence != 0) {
		rc = timeline_files_read(dir, sequence, &file, err);
		if (rc == RC_OK && found->files > 0)
			rc = check_follows(&file, sequence, before, err);
		if (file.lines > 0)
			before = file.sum;
		found->files++;
		found->lines += file.lines;
		found->torn = found->torn || file.torn;
		sequence = timeline_files_next(dir, sequence + 1);
	}
	return rc;
}

int timeline_verify(const char *dir, struct timeline_found *found, struct err *err)
{
	const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc;

	*found = (struct timeline_found){ 0 };
	if (fd < 0)
		return err_system(err, errno, "%.200s", dir);
	rc = verify(fd, found, err);
	(void)close(fd);
	return rc;
}
