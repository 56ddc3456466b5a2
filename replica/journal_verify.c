#include "replica/journal_verify.h"

#include "appliance/base/mem.h"
#include "replica/journal_list.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WINDOW ((size_t)4 << 20)  /* the longest record, and more */
#define PIECE ((size_t)256 << 10) /* is read at once */

struct reading {
	const struct journal_verify *how;
	const struct journal_file *file;
	int fd[JOURNAL_COPIES_MAX]; /* the segment in each directory where it can be opened */
	unsigned sources, source;   /* how many; the one that is read */
	int to;			    /* -1: nowhere */
	uint8_t *window;
	uint64_t at;	   /* of the window's first byte */
	size_t used, have; /* bytes of it that are checked; that are there */
	uint64_t next;	   /* sequence number to come */
	bool wrote;
};

static int rotten(const struct reading *r, const char *what, struct err *err)
{
	return err_set(err, RC_INVALID, "segment %016llx, at %llu: %s",
		       (unsigned long long)r->file->sequence, (unsigned long long)r->at + r->used,
		       what);
}

static int put(struct reading *r, size_t len, struct err *err)
{
	size_t done = 0;
	ssize_t n;

	for (; r->to >= 0 && done < len; done += (size_t)n) {
		do {
			n = -1;
			errno = ENOSPC;
			if (!fault_here(FAULT_WRITE))
				n = write(r->to, r->window + done, fault_clip(len - done));
		} while (n < 0 && errno == EINTR);
		if (n < 0) {
			r->wrote = true;
			return err_system(err, errno, "copying a segment");
		}
	}
	return RC_OK;
}

/* What was checked makes room for more. */
static int shift(struct reading *r, struct err *err)
{
	int rc = put(r, r->used, err);

	memmove(r->window, r->window + r->used, r->have - r->used);
	r->at += r->used;
	r->have -= r->used;
	r->used = 0;
	return rc;
}

/* So many bytes behind those that are checked are in the window. */
static int want(struct reading *r, size_t wanted, struct err *err)
{
	const struct journal_verify *how = r->how;
	uint64_t left;
	size_t piece;
	ssize_t n;
	int rc;

	if (r->at + r->used + wanted > r->file->bytes)
		return rotten(r, "it is cut off", err);
	if (r->used + wanted > WINDOW && (rc = shift(r, err)) != RC_OK)
		return rc;
	while (r->have < r->used + wanted) {
		left = r->file->bytes - r->at - r->have;
		piece = WINDOW - r->have < PIECE ? WINDOW - r->have : PIECE;
		piece = left < piece ? (size_t)left : piece;
		n = pread(r->fd[r->source], r->window + r->have, piece, (off_t)(r->at + r->have));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_system(err, errno, "segment %016llx, at %llu",
					  (unsigned long long)r->file->sequence,
					  (unsigned long long)r->at + r->have);
		if (n == 0)
			return rotten(r, "it is cut off", err);
		r->have += (size_t)n;
		if (how->pace != NULL && !how->pace(how->owner, (uint64_t)n))
			return err_set(err, RC_CANCELLED, "it was stopped");
	}
	return RC_OK;
}

static int check_head(struct reading *r, struct err *err)
{
	struct journal_segment head;
	struct err why;
	int rc = want(r, JOURNAL_SEGMENT_HEAD, err);

	if (rc != RC_OK)
		return rc;
	if (journal_get_segment(&head, r->window, &why) != RC_OK)
		return rotten(r, why.text, err);
	if (head.journal != r->how->journal || head.sequence != r->file->sequence ||
	    head.opening != r->file->opening)
		return rotten(r, "its head is another one's", err);
	r->used = JOURNAL_SEGMENT_HEAD;
	r->next = head.sequence;
	return RC_OK;
}

/* Nothing else covers what is between records. */
static bool is_padded(const uint8_t *record, uint32_t length, size_t whole)
{
	size_t i = JOURNAL_RECORD_HEAD + length;

	while (i < whole && record[i] == 0)
		i++;
	return i == whole;
}

static int check_record(struct reading *r, struct err *err)
{
	struct journal_record record;
	struct err why;
	size_t whole;
	int rc = want(r, JOURNAL_RECORD_HEAD, err);

	if (rc != RC_OK)
		return rc;
	if (journal_get_record(&record, r->how->journal, r->window + r->used, &why) != RC_OK)
		return rotten(r, why.text, err);
	if (record.sequence != r->next)
		return rotten(r, "a record is out of sequence", err);
	whole = journal_record_bytes(record.length);
	rc = want(r, whole, err);
	if (rc != RC_OK)
		return rc;
	if (journal_check_payload(&record, r->window + r->used + JOURNAL_RECORD_HEAD, &why) !=
	    RC_OK)
		return rotten(r, why.text, err);
	if (!is_padded(r->window + r->used, record.length, whole))
		return rotten(r, "there is something between two records", err);
	r->used += whole;
	r->next++;
	return RC_OK;
}

/* In whichever directory that piece is good. */
static int check_any(struct reading *r, int (*check)(struct reading *r, struct err *err),
		     struct err *err)
{
	unsigned tried = 0;
	int rc;

	do {
		rc = check(r, err);
		if (rc == RC_OK || r->wrote || (rc != RC_INVALID && rc != RC_IO))
			return rc;
		r->source = (r->source + 1) % r->sources;
		r->have = r->used;
	} while (++tried < r->sources);
	return rc;
}

static int check(struct reading *r, uint64_t next, struct err *err)
{
	int rc = check_any(r, check_head, err);

	while (rc == RC_OK && r->at + r->used < r->file->bytes)
		rc = check_any(r, check_record, err);
	if (rc == RC_OK && next != 0 && r->next != next)
		rc = rotten(r, "records are missing at its end", err);
	return rc == RC_OK ? shift(r, err) : rc;
}

static int open_one(struct reading *r, int dir, struct err *err)
{
	char name[JOURNAL_NAME_BYTES];
	int fd;

	journal_segment_name(name, r->file->sequence);
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT)
		return err_set(err, RC_INVALID, "segment %016llx is lost",
			       (unsigned long long)r->file->sequence);
	if (fd < 0)
		return err_system(err, errno, "%s", name);
	journal_file_ask_disk(fd);
	r->fd[r->sources++] = fd;
	return RC_OK;
}

static int check_file(struct reading *r, const struct journal_dirs *dirs, uint64_t next,
		      struct err *err)
{
	int rc = err_set(err, RC_INVALID, "no copy is there");
	unsigned i;

	for (i = 0; i < dirs->count; i++) {
		if (dirs->fd[i] >= 0)
			rc = open_one(r, dirs->fd[i], err);
	}
	if (r->sources == 0)
		return rc;
	r->window = mem_alloc(WINDOW);
	rc = r->window != NULL ? check(r, next, err) : err_nomem(err, "checking a journal");
	mem_free(r->window);
	for (i = 0; i < r->sources; i++)
		(void)close(r->fd[i]);
	return rc;
}

int journal_verify(const struct journal_verify *how, int dir, const struct journal_file *file,
		   uint64_t next, struct err *err)
{
	const struct journal_dirs one = { .fd = { dir }, .count = 1 };
	struct reading r = { .how = how, .file = file, .to = -1 };

	return check_file(&r, &one, next, err);
}

/* The copy is on the disk before it has the segment's name. */
static int name_it(const struct reading *r, int dir, const char *as, struct err *err)
{
	char name[JOURNAL_NAME_BYTES];

	journal_segment_name(name, r->file->sequence);
	errno = EIO;
	if (fault_here(FAULT_FSYNC) || fdatasync(r->to) != 0)
		return err_system(err, errno, "%s: fdatasync", name);
	errno = EIO;
	if (fault_here(FAULT_RENAME) || renameat(dir, as, dir, name) != 0)
		return err_system(err, errno, "%s: renaming it", name);
	return RC_OK;
}

int journal_copy_segment(const struct journal_verify *how, const struct journal_dirs *from, int to,
			 const struct journal_file *file, const char *as, bool *wrote,
			 struct err *err)
{
	struct reading r = { .how = how, .file = file };
	int rc;

	*wrote = true;
	errno = EACCES;
	r.to = fault_here(FAULT_OPEN) ?
		       -1 :
		       openat(to, as, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (r.to < 0)
		return err_system(err, errno, "%s", as);
	rc = check_file(&r, from, 0, err);
	*wrote = r.wrote;
	if (rc == RC_OK) {
		*wrote = true;
		rc = name_it(&r, to, as, err);
	}
	(void)close(r.to);
	if (rc != RC_OK)
		(void)unlinkat(to, as, 0);
	return rc;
}
