/*
 * Theory of operation
 *
 * Records are gathered and written in large pieces, always behind what was written before. The order in
 * which things become durable is journal_format.h's; each step here that can fail ends the writing.
 */
#include "replica/journal.h"

#include "appliance/base/buf.h"
#include "appliance/base/files.h"
#include "appliance/base/lock_file.h"
#include "appliance/base/mem.h"
#include "replica/journal_start.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GATHERED ((size_t)1 << 20)		    /* that much is written at once */
#define GATHERED_MAX (GATHERED + ((size_t)2 << 20)) /* and the longest record */
#define LOCK_NAME "lock"
#define LOCK_PATH_MAX 4096

struct segment {
	uint64_t sequence, bytes; /* of its first record; that it has */
};

struct journal {
	int dir, lock, fd;
	uint64_t number, segment_bytes;
	struct segment *segments; /* in their order; the last one is written to */
	size_t nsegments;
	uint64_t next; /* sequence number to come */
	struct buf gathered;
	struct err broken;
	bool (*make_room)(void *owner); /* NULL: nobody can */
	void *room_owner;
};

/* ---- the disk --------------------------------------------------------------------------------- */

static int fails(struct journal *j, const struct err *err)
{
	if (j->broken.code == RC_OK)
		j->broken = *err;
	return (int)err->code;
}

static int refuse(const struct journal *j, struct err *err)
{
	return err_set(err, RC_STATE, "the journal cannot be written to since: %.300s",
		       j->broken.text);
}

static uint64_t present(const struct journal *j)
{
	return j->segments[j->nsegments - 1].sequence;
}

static int sync_file(struct journal *j, int fd, const char *what, struct err *err)
{
	errno = EIO;
	if (!fault_here(FAULT_FSYNC) && fdatasync(fd) == 0)
		return RC_OK;
	(void)err_system(err, errno, "journal: %s: fdatasync", what);
	return fails(j, err);
}

/* What failed for want of room, as errno says, may be tried again. */
static bool has_made_room(const struct journal *j)
{
	const int reason = errno;
	const bool made = reason == ENOSPC && j->make_room != NULL && j->make_room(j->room_owner);

	errno = reason;
	return made;
}

static int write_all(struct journal *j, const uint8_t *data, size_t len, struct err *err)
{
	size_t done = 0;
	ssize_t r;

	while (done < len) {
		r = -1;
		errno = ENOSPC;
		if (!fault_here(FAULT_WRITE))
			r = write(j->fd, data + done, len - done);
		if (r < 0 && (errno == EINTR || has_made_room(j)))
			continue;
		if (r < 0) {
			(void)err_system(err, errno, "journal: segment %016llx: writing",
					 (unsigned long long)present(j));
			return fails(j, err);
		}
		done += (size_t)r;
	}
	j->segments[j->nsegments - 1].bytes += len;
	return RC_OK;
}

static int flush(struct journal *j, struct err *err)
{
	int rc = write_all(j, j->gathered.data, j->gathered.len, err);

	buf_reset(&j->gathered);
	return rc;
}

static int note_segment(struct journal *j, uint64_t sequence, uint64_t bytes, struct err *err)
{
	struct segment *grown = mem_realloc(j->segments, (j->nsegments + 1) * sizeof(*grown));

	if (grown == NULL)
		return err_nomem(err, "a journal's segments");
	j->segments = grown;
	j->segments[j->nsegments++] = (struct segment){ sequence, bytes };
	return RC_OK;
}

static int open_file(struct journal *j, const char *name, int flags, struct err *err)
{
	if (j->fd >= 0)
		(void)close(j->fd);
	do {
		errno = EACCES;
		j->fd = fault_here(FAULT_OPEN) ?
				-1 :
				openat(j->dir, name, flags | O_WRONLY | O_CLOEXEC | O_NOFOLLOW,
				       0600);
	} while (j->fd < 0 && has_made_room(j));
	return j->fd >= 0 ? RC_OK : err_system(err, errno, "journal: %s", name);
}

/* What it holds counts only from its second sync on, that of the directory. */
static int begin_segment(struct journal *j, struct err *err)
{
	uint8_t head[JOURNAL_SEGMENT_HEAD];
	char name[JOURNAL_NAME_BYTES];
	int rc;

	journal_segment_name(name, j->next);
	journal_put_segment(head,
			    &(struct journal_segment){ .journal = j->number, .sequence = j->next });
	rc = open_file(j, name, O_APPEND | O_CREAT | O_EXCL, err);
	if (rc == RC_OK)
		rc = note_segment(j, j->next, 0, err);
	if (rc == RC_OK)
		rc = write_all(j, head, sizeof(head), err);
	if (rc == RC_OK)
		rc = sync_file(j, j->fd, name, err);
	if (rc == RC_OK)
		rc = sync_file(j, j->dir, "its directory", err);
	return rc == RC_OK ? RC_OK : fails(j, err);
}

/* ---- opening ---------------------------------------------------------------------------------- */

static int remove_segment(struct journal *j, uint64_t sequence, struct err *err)
{
	char name[JOURNAL_NAME_BYTES];

	journal_segment_name(name, sequence);
	return unlinkat(j->dir, name, 0) == 0 ? RC_OK : err_system(err, errno, "journal: %s", name);
}

/* Behind the end: from the last segment backwards, so that at no moment something is missing between. */
static int cut_tail(struct journal *j, const struct journal_found *found, struct err *err)
{
	char name[JOURNAL_NAME_BYTES];
	int rc = RC_OK;

	while (rc == RC_OK && j->nsegments > 0 && present(j) > found->segment) {
		rc = remove_segment(j, present(j), err);
		j->nsegments -= rc == RC_OK;
	}
	if (rc != RC_OK || j->nsegments == 0)
		return rc;
	journal_segment_name(name, present(j));
	rc = open_file(j, name, O_APPEND, err);
	if (rc == RC_OK && j->segments[j->nsegments - 1].bytes > found->end &&
	    ftruncate(j->fd, (off_t)found->end) != 0)
		rc = err_system(err, errno, "journal: %s: cutting off what is torn", name);
	if (rc == RC_OK)
		rc = sync_file(j, j->fd, name, err);
	j->segments[j->nsegments - 1].bytes = found->end;
	return rc == RC_OK ? sync_file(j, j->dir, "its directory", err) : rc;
}

static int note_found(void *owner, uint64_t sequence, uint64_t bytes, struct err *err)
{
	return note_segment(owner, sequence, bytes, err);
}

static int take_lock(struct journal *j, const char *dir, struct err *err)
{
	char path[LOCK_PATH_MAX];
	pid_t holder;
	int rc;

	if (snprintf(path, sizeof(path), "%s/" LOCK_NAME, dir) >= (int)sizeof(path))
		return err_set(err, RC_LIMIT, "the path is too long");
	rc = lock_file_take(path, &j->lock, &holder, err);
	return rc == RC_STATE ?
		       err_set(err, RC_REFUSED, "process %d has this journal open", (int)holder) :
		       rc;
}

static int open_journal(struct journal *j, journal_visit visit, void *owner,
			struct journal_found *found, struct err *err)
{
	int rc = journal_scan(j->dir, journal_start(j->dir), visit, owner, found, err);

	if (rc == RC_OK)
		rc = journal_segments(j->dir, note_found, j, err);
	if (rc == RC_OK)
		rc = cut_tail(j, found, err);
	if (rc != RC_OK)
		return rc;
	if (j->nsegments == 0) {
		*found = (struct journal_found){ .torn = found->torn, .complete = found->complete };
		found->journal = j->number;
		found->next_sequence = 1;
	}
	j->number = found->journal;
	j->next = found->next_sequence;
	return j->nsegments == 0 ? begin_segment(j, err) : RC_OK;
}

int journal_open(struct journal **out, const char *dir, uint64_t number, uint64_t segment_bytes,
		 journal_visit visit, void *owner, struct journal_found *found, struct err *err)
{
	struct journal *j;
	int rc = files_make_dir(dir, err);

	if (rc != RC_OK)
		return rc;
	j = mem_zalloc(1, sizeof(*j));
	if (j == NULL)
		return err_nomem(err, "a journal");
	*j = (struct journal){ .dir = -1,
			       .lock = LOCK_FILE_NONE,
			       .fd = -1,
			       .number = number,
			       .segment_bytes = segment_bytes };
	j->gathered.limit = GATHERED_MAX;
	j->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = j->dir >= 0 ? take_lock(j, dir, err) : err_system(err, errno, "opening it");
	if (rc == RC_OK)
		rc = open_journal(j, visit, owner, found, err);
	if (rc != RC_OK) {
		journal_close(j);
		return err_prefix(err, "%s: ", dir);
	}
	*out = j;
	return RC_OK;
}

void journal_set_room(struct journal *j, bool (*make_room)(void *owner), void *owner)
{
	j->make_room = make_room;
	j->room_owner = owner;
}

void journal_close(struct journal *j)
{
	if (j == NULL)
		return;
	if (j->fd >= 0)
		(void)close(j->fd);
	if (j->dir >= 0)
		(void)close(j->dir);
	lock_file_let_go(j->lock);
	buf_free(&j->gathered);
	mem_free(j->segments);
	mem_free(j);
}

/* ---- writing ---------------------------------------------------------------------------------- */

/* Whether a record of that kind begins something that a segment need not share with what is before. */
static bool begins(enum journal_kind kind)
{
	return kind != JOURNAL_BATCH && kind != JOURNAL_COMMIT;
}

/* Where reading may begin there is a segment's beginning. */
static bool needs_segment(const struct journal *j, enum journal_kind kind)
{
	const uint64_t bytes = j->segments[j->nsegments - 1].bytes + j->gathered.len;

	return (begins(kind) && bytes >= j->segment_bytes) ||
	       (kind == JOURNAL_BASE && bytes > JOURNAL_SEGMENT_HEAD);
}

static int gather(struct journal *j, struct journal_record *record, const uint8_t *payload,
		  struct err *err)
{
	static const uint8_t zeroes[8];
	const size_t whole = journal_record_bytes(record->length);
	uint8_t head[JOURNAL_RECORD_HEAD];

	journal_put_record(head, j->number, record, payload);
	(void)buf_append(&j->gathered, head, sizeof(head));
	(void)buf_append(&j->gathered, payload, record->length);
	(void)buf_append(&j->gathered, zeroes, whole - sizeof(head) - record->length);
	if (j->gathered.failed) {
		(void)err_nomem(err, "a record of the journal");
		return fails(j, err);
	}
	j->next++;
	return j->gathered.len >= GATHERED ? flush(j, err) : RC_OK;
}

int journal_append(struct journal *j, enum journal_kind kind, uint64_t epoch,
		   const uint8_t *payload, uint32_t len, struct err *err)
{
	struct journal_record record = { .kind = kind, .length = len, .epoch = epoch };
	int rc = RC_OK;

	if (j->broken.code != RC_OK)
		return refuse(j, err);
	if (needs_segment(j, kind)) {
		rc = flush(j, err);
		if (rc == RC_OK)
			rc = sync_file(j, j->fd, "a full segment", err);
		if (rc == RC_OK)
			rc = begin_segment(j, err);
	}
	record.sequence = j->next;
	return rc == RC_OK ? gather(j, &record, payload, err) : rc;
}

int journal_commit(struct journal *j, uint64_t epoch, const struct journal_commit *commit,
		   bool durable, struct err *err)
{
	struct journal_record record = { .kind = JOURNAL_COMMIT,
					 .length = JOURNAL_COMMIT_BYTES,
					 .epoch = epoch };
	uint8_t payload[JOURNAL_COMMIT_BYTES];
	int rc;

	if (j->broken.code != RC_OK)
		return refuse(j, err);
	journal_put_commit(payload, commit);
	record.sequence = j->next;
	rc = gather(j, &record, payload, err);
	if (rc == RC_OK)
		rc = flush(j, err);
	return rc == RC_OK && durable ? sync_file(j, j->fd, "an epoch", err) : rc;
}

int journal_sync(struct journal *j, struct err *err)
{
	int rc;

	if (j->broken.code != RC_OK)
		return refuse(j, err);
	rc = flush(j, err);
	return rc == RC_OK ? sync_file(j, j->fd, "its end", err) : rc;
}

int journal_set_complete(struct journal *j, bool complete, struct err *err)
{
	int fd = -1;

	errno = EACCES;
	if (!complete) {
		if (unlinkat(j->dir, JOURNAL_COMPLETE, 0) != 0)
			return errno == ENOENT ? RC_OK : err_system(err, errno, JOURNAL_COMPLETE);
	} else if (!fault_here(FAULT_OPEN)) {
		fd = openat(j->dir, JOURNAL_COMPLETE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	}
	if (complete && fd < 0) {
		(void)err_system(err, errno, "journal: " JOURNAL_COMPLETE);
		return fails(j, err);
	}
	if (fd >= 0)
		(void)close(fd);
	return sync_file(j, j->dir, "its directory", err);
}

int journal_trim(struct journal *j, uint64_t sequence, unsigned *removed, struct err *err)
{
	size_t gone = 0;
	int rc = RC_OK;

	/* From the oldest on: what is left is whole at every moment. */
	while (rc == RC_OK && gone + 1 < j->nsegments &&
	       j->segments[gone + 1].sequence <= sequence) {
		rc = remove_segment(j, j->segments[gone].sequence, err);
		gone += rc == RC_OK;
	}
	j->nsegments -= gone;
	memmove(j->segments, j->segments + gone, j->nsegments * sizeof(*j->segments));
	*removed = (unsigned)gone;
	/* Only then is there room, with some file systems. */
	return rc == RC_OK && gone > 0 ? sync_file(j, j->dir, "its directory", err) : rc;
}

uint64_t journal_next_sequence(const struct journal *j)
{
	return j->next;
}

uint64_t journal_first_sequence(const struct journal *j)
{
	return j->segments[0].sequence;
}

uint64_t journal_bytes_from(const struct journal *j, uint64_t sequence)
{
	uint64_t bytes = 0;
	size_t i;

	for (i = j->nsegments; i > 0; i--) {
		bytes += j->segments[i - 1].bytes;
		if (j->segments[i - 1].sequence <= sequence)
			break;
	}
	return bytes;
}

uint64_t journal_bytes(const struct journal *j)
{
	return journal_bytes_from(j, 0);
}
