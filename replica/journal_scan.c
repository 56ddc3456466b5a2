/*
 * Theory of operation
 *
 * Segments are read in the order of their numbers, each in pieces: a window of the file is held that
 * has room for the longest record. Where a record is not valid, the rest of the journal is searched,
 * at each place where a record could begin, for one that is valid and later. A crash cannot leave such
 * a one behind: what is behind the last fdatasync() was written in the same order, by one writer, and
 * may be there in parts only; but then none of it was synced, and no segment was begun after it.
 */
#include "replica/journal_scan.h"

#include "appliance/base/bytes.h"
#include "appliance/base/mem.h"
#include "net/wire.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WINDOW ((size_t)4 << 20) /* several of the longest records */
#define SEGMENTS_MAX 65536	 /* 4 TiB of them */

struct scan {
	int dir;
	journal_visit visit;
	void *owner;
	struct journal_found *found;
	uint64_t *segments;	 /* sorted */
	size_t nsegments, first; /* the first that is read */
	/* the one that is read */
	uint64_t segment;
	int fd;
	uint8_t *window;
	uint64_t at;		/* offset of the window's first byte */
	size_t have;		/* bytes in the window */
	bool reading;		/* a segment's head has been seen */
	uint64_t next;		/* sequence number of the record that is to come */
	uint64_t open, batches; /* the epoch that is open, 0: none */
	uint64_t last;		/* committed, whatever follows from it */
	uint64_t base;		/* of the BASE that has no WHOLE yet; 0: none */
	bool cut;		/* and what was before it has ended there */
};

/* ---- segments ------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

static int note_segment(struct scan *s, uint64_t sequence, struct err *err)
{
	uint64_t *grown;

	if (s->nsegments == SEGMENTS_MAX)
		return err_set(err, RC_LIMIT, "more than %d segments", SEGMENTS_MAX);
	grown = mem_realloc(s->segments, (s->nsegments + 1) * sizeof(*grown));
	if (grown == NULL)
		return err_nomem(err, "a journal's segments");
	s->segments = grown;
	s->segments[s->nsegments++] = sequence;
	return RC_OK;
}

static int list_segments(struct scan *s, struct err *err)
{
	int fd = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = RC_OK;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	uint64_t sequence;

	if (dir == NULL) {
		rc = err_system(err, errno, "reading the journal's directory");
		if (fd >= 0)
			(void)close(fd);
		return rc;
	}
	errno = 0;
	while (rc == RC_OK && (entry = readdir(dir)) != NULL) {
		sequence = journal_segment_sequence(entry->d_name);
		if (sequence != 0)
			rc = note_segment(s, sequence, err);
	}
	if (rc == RC_OK && errno != 0)
		rc = err_system(err, errno, "reading the journal's directory");
	(void)closedir(dir);
	if (s->nsegments > 0)
		qsort(s->segments, s->nsegments, sizeof(*s->segments), by_number);
	return rc;
}

static int open_segment(struct scan *s, uint64_t sequence, struct err *err)
{
	char name[JOURNAL_NAME_BYTES];

	if (s->fd >= 0)
		(void)close(s->fd);
	journal_segment_name(name, sequence);
	s->segment = sequence;
	s->at = s->have = 0;
	s->fd = fault_here(FAULT_OPEN) ? -1 :
					 openat(s->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return s->fd >= 0 ? RC_OK : err_system(err, errno, "%s", name);
}

/* The bytes of the segment from `offset` on; *len: at most `wanted`, fewer at its end. */
static int look(struct scan *s, uint64_t offset, size_t wanted, const uint8_t **bytes, size_t *len,
		struct err *err)
{
	ssize_t got;

	*len = 0;
	if (offset < s->at || offset + wanted > s->at + s->have) {
		s->at = offset;
		s->have = 0;
		do {
			got = pread(s->fd, s->window + s->have, WINDOW - s->have,
				    (off_t)(s->at + s->have));
			if (got > 0)
				s->have += (size_t)got;
		} while ((got > 0 && s->have < WINDOW) || (got < 0 && errno == EINTR));
		if (got < 0)
			return err_system(err, errno, "segment %016llx, at %llu",
					  (unsigned long long)s->segment,
					  (unsigned long long)s->at);
	}
	*bytes = s->window + (offset - s->at);
	*len = s->have - (size_t)(offset - s->at);
	*len = *len < wanted ? *len : wanted;
	return RC_OK;
}

/* ---- what a record means ----------------------------------------------------------------------- */

static int wrong(const struct journal_record *record, const char *what, struct err *err)
{
	return err_set(err, RC_INVALID, "record %llu: %s", (unsigned long long)record->sequence,
		       what);
}

/*
 * What comes between epochs gives up one that is open. Where segments have been removed, the first records
 * may be of a base, or of epochs, whose beginning is gone: nothing follows from them.
 */
static void on_base(struct scan *s, const struct journal_record *record, const uint8_t *payload)
{
	struct journal_base base;

	journal_get_base(&base, payload);
	s->open = 0;
	s->base = record->sequence;
	s->last = record->epoch;
	s->cut = s->cut || base.cut;
	s->found->partial = true;
}

static void on_whole(struct scan *s)
{
	s->open = 0;
	if (s->base == 0)
		return;
	s->found->base = s->base;
	s->found->epoch = s->last;
	s->found->partial = s->cut = false;
	s->base = 0;
}

static int on_commit(struct scan *s, const struct journal_record *record, const uint8_t *payload,
		     struct err *err)
{
	struct journal_commit commit;

	journal_get_commit(&commit, payload);
	if (record->epoch != s->open || record->epoch <= s->last)
		return wrong(record, "commits an epoch that is not open", err);
	if (commit.batches != s->batches)
		return wrong(record, "commits an epoch with other batches", err);
	s->last = record->epoch;
	s->open = 0;
	if (!s->cut)
		s->found->epoch = record->epoch;
	return RC_OK;
}

static int understand(struct scan *s, const struct journal_record *record, const uint8_t *payload,
		      struct err *err)
{
	switch (record->kind) {
	case JOURNAL_BASE:
		on_base(s, record, payload);
		break;
	case JOURNAL_PAGES:
		s->open = 0;
		break;
	case JOURNAL_WHOLE:
		on_whole(s);
		break;
	case JOURNAL_BEGIN:
		s->open = record->epoch;
		s->batches = 0;
		break;
	case JOURNAL_BATCH:
		s->batches++;
		return record->epoch == s->open && s->open != 0 ?
			       RC_OK :
			       wrong(record, "a batch outside of its epoch", err);
	case JOURNAL_COMMIT:
		return on_commit(s, record, payload, err);
	case JOURNAL_MARK:
	case JOURNAL_HISTORY:
	case JOURNAL_KINDS:
		break;
	}
	return RC_OK;
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* *valid false: there is none at that place, for the reason in `why`. */
static int read_record(struct scan *s, uint64_t offset, struct journal_record *record,
		       const uint8_t **payload, bool *valid, struct err *why, struct err *err)
{
	const uint8_t *bytes;
	size_t len, whole;
	int rc = look(s, offset, JOURNAL_RECORD_HEAD, &bytes, &len, err);

	*valid = false;
	if (rc != RC_OK)
		return rc;
	if (len < JOURNAL_RECORD_HEAD) {
		(void)err_set(why, RC_INVALID, "a record is cut off");
		return RC_OK;
	}
	if (journal_get_record(record, s->found->journal, bytes, why) != RC_OK)
		return RC_OK;
	whole = journal_record_bytes(record->length);
	rc = look(s, offset, whole, &bytes, &len, err);
	if (rc != RC_OK)
		return rc;
	*payload = bytes + JOURNAL_RECORD_HEAD;
	if (len < whole)
		(void)err_set(why, RC_INVALID, "record %llu is cut off",
			      (unsigned long long)record->sequence);
	else
		*valid = journal_check_payload(record, *payload, why) == RC_OK;
	return RC_OK;
}

/* Whether there is a valid record at or behind `offset`, later than the one that should be there. */
static int search(struct scan *s, uint64_t offset, bool *later, struct err *err)
{
	struct journal_record record;
	const uint8_t *bytes;
	struct err why;
	size_t len;
	int rc;

	for (*later = false; !*later; offset += 8) {
		rc = look(s, offset, JOURNAL_RECORD_HEAD, &bytes, &len, err);
		if (rc != RC_OK || len < JOURNAL_RECORD_HEAD)
			return rc;
		*later = bytes_get_le16(bytes + 6) == 0 &&
			 journal_get_record(&record, s->found->journal, bytes, &why) == RC_OK &&
			 record.sequence > s->next;
	}
	return RC_OK;
}

static int damaged(const struct scan *s, uint64_t offset, const struct err *why, struct err *err)
{
	return err_set(err, RC_INVALID,
		       "the journal is damaged: segment %016llx, at %llu: %.300s, and there are "
		       "records behind it",
		       (unsigned long long)s->segment, (unsigned long long)offset, why->text);
}

/* The journal ends at `offset` of the present segment, number `i` of the list, because of `why`. */
static int end_here(struct scan *s, size_t i, uint64_t offset, const struct err *why,
		    struct err *err)
{
	const uint64_t segment = s->segment;
	bool later;
	int rc = search(s, offset, &later, err);

	while (rc == RC_OK && !later && ++i < s->nsegments) {
		rc = open_segment(s, s->segments[i], err);
		if (rc == RC_OK)
			rc = search(s, 0, &later, err);
	}
	s->segment = segment;
	return rc == RC_OK && later ? damaged(s, offset, why, err) : rc;
}

/* A head that fits what was read so far; *valid as of read_record(). */
static int read_head(struct scan *s, bool *valid, struct err *why, struct err *err)
{
	struct journal_segment head;
	const uint8_t *bytes;
	size_t len;
	int rc = look(s, 0, JOURNAL_SEGMENT_HEAD, &bytes, &len, err);

	*valid = false;
	if (rc != RC_OK)
		return rc;
	if (len < JOURNAL_SEGMENT_HEAD) {
		(void)err_set(why, RC_INVALID, "its head is cut off");
		return RC_OK;
	}
	rc = journal_get_segment(&head, bytes, why);
	if (rc == RC_UNSUPPORTED)
		return err_set(err, RC_UNSUPPORTED, "%s", why->text);
	if (rc != RC_OK)
		return RC_OK;
	if (!s->reading) {
		s->found->journal = head.journal;
		s->next = head.sequence;
		s->reading = true;
	}
	*valid = head.journal == s->found->journal && head.sequence == s->segment &&
		 head.sequence == s->next;
	if (!*valid)
		(void)err_set(why, RC_INVALID, "its head does not follow what is before it");
	return RC_OK;
}

/* Up to and with that record everything counts, if no epoch is open. */
static void note_end(struct scan *s, uint64_t offset)
{
	if (s->open != 0)
		return;
	s->found->segment = s->segment;
	s->found->end = offset;
	s->found->next_sequence = s->next;
}

static int read_records(struct scan *s, uint64_t *offset, struct err *why, struct err *err)
{
	struct journal_record record;
	const uint8_t *payload;
	size_t len;
	bool valid;
	int rc;

	why->code = RC_OK;
	while ((rc = look(s, *offset, 1, &payload, &len, err)) == RC_OK && len > 0) {
		rc = read_record(s, *offset, &record, &payload, &valid, why, err);
		if (rc == RC_OK && valid && record.sequence != s->next) {
			(void)wrong(&record, "is out of sequence", why);
			valid = false;
		}
		if (rc != RC_OK || !valid)
			return rc;
		rc = understand(s, &record, payload, err);
		if (rc == RC_OK && s->visit != NULL)
			rc = s->visit(s->owner, &record, payload, err);
		s->next++;
		s->found->records++;
		*offset += journal_record_bytes(record.length);
		if (rc != RC_OK)
			return rc;
		note_end(s, *offset);
	}
	return rc;
}

static int read_segments(struct scan *s, struct err *err)
{
	struct err why = { 0 };
	uint64_t offset;
	bool valid;
	int rc = RC_OK;
	size_t i;

	for (i = s->first; rc == RC_OK && i < s->nsegments; i++) {
		rc = open_segment(s, s->segments[i], err);
		if (rc == RC_OK)
			rc = read_head(s, &valid, &why, err);
		if (rc != RC_OK)
			return rc;
		if (!valid)
			return end_here(s, i, 0, &why, err);
		offset = JOURNAL_SEGMENT_HEAD;
		note_end(s, offset);
		rc = read_records(s, &offset, &why, err);
		if (rc == RC_OK && why.code != RC_OK)
			return end_here(s, i, offset, &why, err);
	}
	return rc;
}

/* How much there is, how much of it was read, and how much is behind the end. */
static int measure(void *owner, uint64_t sequence, uint64_t bytes, struct err *err)
{
	const struct scan *s = owner;
	struct journal_found *found = s->found;

	(void)err;
	found->segments++;
	found->bytes += bytes;
	if (s->nsegments > 0 && sequence >= s->segments[s->first])
		found->read += bytes;
	if (sequence > found->segment)
		found->torn += bytes;
	else if (sequence == found->segment)
		found->torn += bytes - found->end;
	return RC_OK;
}

static int size_of(int dir, uint64_t sequence, uint64_t *bytes, struct err *err)
{
	char name[JOURNAL_NAME_BYTES];
	struct stat info;

	*bytes = 0;
	journal_segment_name(name, sequence);
	if (fstatat(dir, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
		return err_system(err, errno, "%s", name);
	*bytes = (uint64_t)info.st_size;
	return RC_OK;
}

int journal_segments(int dir,
		     int (*note)(void *owner, uint64_t sequence, uint64_t bytes, struct err *err),
		     void *owner, struct err *err)
{
	struct scan s = { .dir = dir };
	uint64_t bytes;
	int rc = list_segments(&s, err);
	size_t i;

	for (i = 0; rc == RC_OK && i < s.nsegments; i++) {
		rc = size_of(dir, s.segments[i], &bytes, err);
		if (rc == RC_OK)
			rc = note(owner, s.segments[i], bytes, err);
	}
	mem_free(s.segments);
	return rc;
}

int journal_scan(int dir, uint64_t from, journal_visit visit, void *owner,
		 struct journal_found *found, struct err *err)
{
	struct scan s = { .dir = dir, .visit = visit, .owner = owner, .found = found, .fd = -1 };
	int rc;

	*found = (struct journal_found){ 0 };
	s.window = mem_alloc(WINDOW);
	if (s.window == NULL)
		return err_nomem(err, "reading a journal");
	rc = list_segments(&s, err);
	while (s.first + 1 < s.nsegments && s.segments[s.first + 1] <= from)
		s.first++;
	if (rc == RC_OK)
		rc = read_segments(&s, err);
	if (rc == RC_OK)
		rc = journal_segments(dir, measure, &s, err);
	found->complete = faccessat(dir, JOURNAL_COMPLETE, F_OK, 0) == 0;
	if (s.fd >= 0)
		(void)close(s.fd);
	mem_free(s.segments);
	mem_free(s.window);
	return rc;
}
