#include "fs-watch/timeline_files.h"

#include "appliance/base/buf.h"
#include "fs-watch/timeline_format.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BEFORE "timeline-"
#define BEHIND ".log"
#define READ_BYTES ((size_t)64 << 10)

void timeline_files_name(char name[TIMELINE_NAME_BYTES], uint64_t sequence)
{
	(void)snprintf(name, TIMELINE_NAME_BYTES, BEFORE "%016" PRIx64 BEHIND, sequence);
}

/* 0: it is another file's. */
static uint64_t sequence_of(const char *name)
{
	char again[TIMELINE_NAME_BYTES];
	uint64_t sequence;

	if (strlen(name) != strlen(BEFORE) + TIMELINE_DIGITS + strlen(BEHIND) ||
	    !timeline_format_digits(name + strlen(BEFORE), &sequence))
		return 0;
	timeline_files_name(again, sequence);
	return strcmp(again, name) == 0 ? sequence : 0;
}

static DIR *open_again(int dir)
{
	const int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;

	if (stream == NULL && fd >= 0)
		(void)close(fd);
	return stream;
}

int timeline_files_list(int dir, uint64_t *first, uint64_t *last, unsigned *count, struct err *err)
{
	DIR *stream = open_again(dir);
	const struct dirent *entry;
	uint64_t sequence;

	*first = *last = *count = 0;
	if (stream == NULL)
		return err_system(err, errno, "the timeline's directory");
	while ((entry = readdir(stream)) != NULL) {
		sequence = sequence_of(entry->d_name);
		if (sequence == 0)
			continue;
		*first = *first == 0 || sequence < *first ? sequence : *first;
		*last = sequence > *last ? sequence : *last;
		(*count)++;
	}
	(void)closedir(stream);
	return RC_OK;
}

uint64_t timeline_files_next(int dir, uint64_t sequence)
{
	DIR *stream = open_again(dir);
	const struct dirent *entry;
	uint64_t next = 0, found;

	if (stream == NULL)
		return 0;
	while ((entry = readdir(stream)) != NULL) {
		found = sequence_of(entry->d_name);
		if (found >= sequence && (next == 0 || found < next))
			next = found;
	}
	(void)closedir(stream);
	return next;
}

/* The whole lines at the front of `data`, which go. */
static int take_lines(struct timeline_file *file, struct buf *data, struct err *err)
{
	const char *start = (const char *)data->data, *end;
	size_t left = data->len;

	while (left > 0 && (end = memchr(start, '\n', left)) != NULL) {
		if (timeline_format_check(&file->sum, file->lines == 0, &file->after, start,
					  (size_t)(end - start), err) != RC_OK)
			return err_prefix(err, "line %" PRIu64 ": ", file->lines + 1);
		file->lines++;
		left -= (size_t)(end + 1 - start);
		start = end + 1;
	}
	buf_consume(data, data->len - left);
	return RC_OK;
}

static int read_lines(int fd, struct timeline_file *file, struct err *err)
{
	struct buf data = { .limit = TIMELINE_LINE_MAX + READ_BYTES };
	uint8_t *room;
	ssize_t n = 1;
	int rc = RC_OK;

	while (rc == RC_OK && n > 0) {
		if (data.len > TIMELINE_LINE_MAX) {
			rc = err_set(err, RC_INVALID, "line %" PRIu64 ": it is too long",
				     file->lines + 1);
			break;
		}
		room = buf_extend(&data, READ_BYTES);
		if (room == NULL) {
			rc = err_nomem(err, "a timeline's lines");
			break;
		}
		n = read(fd, room, READ_BYTES);
		data.len -= READ_BYTES - (n > 0 ? (size_t)n : 0);
		rc = n < 0 ? err_system(err, errno, "reading") : take_lines(file, &data, err);
	}
	file->torn = data.len > 0;
	buf_free(&data);
	return rc;
}

int timeline_files_read(int dir, uint64_t sequence, struct timeline_file *file, struct err *err)
{
	char name[TIMELINE_NAME_BYTES];
	int fd, rc;

	*file = (struct timeline_file){ 0 };
	timeline_files_name(name, sequence);
	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_system(err, errno, "%s", name);
	rc = read_lines(fd, file, err);
	(void)close(fd);
	return rc == RC_OK ? RC_OK : err_prefix(err, "%s: ", name);
}
