/*
 * Theory of operation
 *
 * Segments are read in the order of their numbers, each in pieces: a window of the file is held that
 * has room for the longest record. Where a record is not valid in any copy, the rest of the journal is searched,
 * at each place where a record could begin, for one that is valid and later. A crash leaves such a one behind in one case: the
 * kernel writes back blocks of a file in any order, so of what was not synced some may be missing before others that are
 * there. Nothing was acknowledged behind the first that is missing. Such a hole is told from rot by its zeroes, is in the last
 * segment (a segment is begun after the one before it was synced), and is not before what is known to have been acknowledged.
 */
#include "replica/journal_scan.h"

#include "appliance/base/bytes.h"
#include "appliance/base/mem.h"
#include "net/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define WINDOW ((size_t)4 << 20) /* several of the longest records */
#define BLOCK 1024		 /* the smallest that a file system keeps bytes of a file in */

struct scan {
	const struct journal_dirs *dirs;
	journal_visit visit;
	void *owner;
	struct journal_found *found;
	struct journal_list list;
	size_t first; /* the first that is read */
	const struct journal_reached *reached;
	/* the one that is read, and where */
	const struct journal_entry *entry;
	unsigned dir,
		left; /* in that directory; others that have it, and were not tried at this place */
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
	bool unread;		/* a copy could not be read */
};

/* ---- segments ------------------------------------------------------------------------------- */

/* In another directory than before; false: there is none, `err` says why if one cannot be opened. */
static bool open_elsewhere(struct scan *s, struct err *err)
{
	char name[JOURNAL_NAME_BYTES];
	unsigned i;

	journal_segment_name(name, s->entry->sequence);
	for (i = 0; i < s->dirs->count; i++) {
		if ((s->left >> i & 1) == 0)
			continue;
		s->left &= ~(1U << i);
		s->dir = i;
		if (s->fd >= 0)
			(void)close(s->fd);
		s->at = s->have = 0;
		s->fd = fault_here(FAULT_OPEN) ?
				-1 :
				openat(s->dirs->fd[i], name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (s->fd >= 0)
			return true;
		(void)err_system(err, errno, "%s", name);
		s->unread = true;
	}
	return false;
}

static int open_segment(struct scan *s, const struct journal_entry *entry, struct err *err)
{
	s->entry = entry;
	s->left = entry->where;
	err->code = RC_OK;
	return open_elsewhere(s, err) ? RC_OK : (int)err->code;
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
					  (unsigned long long)s->entry->sequence,
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

/* A segment gets its name with its head on stable storage: no crash leaves another one. */
static int beheaded(const struct scan *s, const struct err *why, struct err *err)
{
	return err_set(err, RC_INVALID, "the journal is damaged: segment %016llx: %.300s",
		       (unsigned long long)s->entry->sequence, why->text);
}

static int damaged(const struct scan *s, uint64_t offset, const struct err *why, struct err *err)
{
	return err_set(err, RC_INVALID,
		       "the journal is damaged: segment %016llx, at %llu: %.300s, and there are "
		       "records behind it",
		       (unsigned long long)s->entry->sequence, (unsigned long long)offset,
		       why->text);
}

static bool has_zeroes(const uint8_t *bytes, size_t len)
{
	size_t i = 0;

	while (i < len && bytes[i] == 0)
		i++;
	return i == len;
}

/* Whether blocks are missing of the record at `offset`, or behind what of its block was synced. */
static int is_hole(struct scan *s, uint64_t offset, bool *hole, struct err *err)
{
	size_t wanted = JOURNAL_RECORD_HEAD, at = 0, len, piece;
	struct journal_record record;
	const uint8_t *bytes;
	struct err why;
	int rc = look(s, offset, wanted, &bytes, &len, err);

	*hole = false;
	if (rc == RC_OK && len == wanted &&
	    journal_get_record(&record, s->found->journal, bytes, &why) == RC_OK)
		wanted = journal_record_bytes(record.length);
	if (rc == RC_OK)
		rc = look(s, offset, wanted + BLOCK, &bytes, &len, err);
	for (; rc == RC_OK && !*hole && at < wanted && at < len; at += piece) {
		piece = BLOCK - (size_t)((offset + at) % BLOCK);
		*hole = has_zeroes(bytes + at, piece < len - at ? piece : len - at);
	}
	return rc;
}

/* In one copy, from where a record should be that is not valid. */
static int search_copy(struct scan *s, uint64_t offset, bool may_lack, bool *later, struct err *err)
{
	bool hole = false;
	int rc = may_lack ? is_hole(s, offset, &hole, err) : RC_OK;

	if (rc == RC_OK && !hole)
		rc = search(s, offset, later, err);
	s->unread = s->unread || rc != RC_OK;
	return rc;
}

/* In each copy that has the segment. One that cannot be read has to be the only one to matter. */
static int search_copies(struct scan *s, uint64_t offset, bool may_lack, bool *later,
			 struct err *err)
{
	int rc = open_segment(s, s->entry, err);

	*later = false;
	if (rc == RC_OK)
		rc = search_copy(s, offset, may_lack, later, err);
	while (!*later && open_elsewhere(s, err))
		rc = search_copy(s, offset, may_lack, later, err);
	return s->dirs->count > 1 ? RC_OK : rc;
}

/* The record that should come is known to have been there. */
static bool is_known(const struct scan *s)
{
	return s->reached != NULL && s->reached->journal == s->found->journal &&
	       s->next < s->reached->sequence;
}

/* The journal ends at `offset` of the present segment because of `why`. */
static int end_here(struct scan *s, uint64_t offset, const struct err *why, struct err *err)
{
	const struct journal_entry *here = s->entry;
	const struct journal_entry *behind = s->list.entries + s->list.count;
	const bool may_lack = here + 1 == behind && !is_known(s);
	bool later = false;
	int rc = RC_OK;

	for (; rc == RC_OK && !later && s->entry < behind; s->entry++)
		rc = search_copies(s, s->entry == here ? offset : 0, may_lack, &later, err);
	s->entry = here;
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
	*valid = head.journal == s->found->journal && head.sequence == s->entry->sequence &&
		 head.opening == s->entry->opening && head.sequence == s->next;
	if (!*valid)
		(void)err_set(why, RC_INVALID, "its head does not follow what is before it");
	return RC_OK;
}

/* Up to and with that record everything counts, if no epoch is open. */
static void note_end(struct scan *s, uint64_t offset)
{
	if (s->open != 0)
		return;
	s->found->segment = s->entry->sequence;
	s->found->opening = s->entry->opening;
	s->found->end = offset;
	s->found->next_sequence = s->next;
}

/* The record at *offset; *end: there is none, which is where this segment may end, or `why`. */
static int read_one(struct scan *s, uint64_t *offset, bool *end, struct err *why, struct err *err)
{
	struct journal_record record;
	const uint8_t *payload;
	size_t len;
	bool valid;
	int rc = look(s, *offset, 1, &payload, &len, err);

	why->code = RC_OK;
	*end = rc != RC_OK || len == 0;
	if (*end)
		return rc;
	rc = read_record(s, *offset, &record, &payload, &valid, why, err);
	if (rc == RC_OK && valid && record.sequence != s->next) {
		(void)wrong(&record, "is out of sequence", why);
		valid = false;
	}
	*end = rc != RC_OK || !valid;
	if (*end)
		return rc;
	rc = understand(s, &record, payload, err);
	if (rc == RC_OK && s->visit != NULL)
		rc = s->visit(s->owner, &record, payload, err);
	s->next++;
	s->found->records++;
	*offset += journal_record_bytes(record.length);
	if (rc == RC_OK)
		note_end(s, *offset);
	return rc;
}

/*
 * As far as any copy has it: where one ends earlier, is rotten or cannot be read, another one is read on. *why of those that
 * can be read, if there are any; and else of several, too: one that cannot be is as one that is missing.
 */
static int read_records(struct scan *s, uint64_t *offset, struct err *why, struct err *err)
{
	struct err first = { 0 }, unread = { 0 }, none;
	uint64_t failed = 0; /* where these are of */
	bool end = false, read = false;
	int rc = RC_OK;

	while (s->next < s->entry->bound) {
		rc = read_one(s, offset, &end, why, err);
		if (!end && rc != RC_OK) /* what it means, or its visitor */
			return rc;
		if (!end)
			continue;
		if (failed != *offset) { /* all the others may do here */
			first = unread = (struct err){ 0 };
			read = false;
			s->left = s->entry->where & ~(1U << s->dir);
		}
		failed = *offset;
		if (rc != RC_OK)
			unread = *err;
		else if (first.code == RC_OK)
			first = *why;
		read = read || rc == RC_OK;
		s->unread = s->unread || rc != RC_OK;
		if (!open_elsewhere(s, &none))
			break;
	}
	if (end)
		*why = read ? first : unread;
	return read || s->dirs->count > 1 ? RC_OK : rc;
}

static int read_segment(struct scan *s, const struct journal_entry *entry, bool *ended,
			struct err *err)
{
	struct err why = { 0 }, none;
	uint64_t offset = 0;
	bool valid = false;
	int rc = open_segment(s, entry, err);

	if (rc == RC_OK)
		rc = read_head(s, &valid, &why, err);
	while ((rc != RC_OK || !valid) && open_elsewhere(s, &none)) {
		s->unread = s->unread || rc == RC_IO;
		rc = read_head(s, &valid, &why, err);
	}
	if (rc == RC_OK && valid) {
		offset = JOURNAL_SEGMENT_HEAD;
		note_end(s, offset);
		rc = read_records(s, &offset, &why, err);
		if (rc == RC_OK && why.code == RC_OK)
			return RC_OK;
	}
	*ended = true;
	if (rc == RC_IO && s->reading && s->dirs->count > 1) { /* as if it were not there */
		s->unread = true;
		why = *err;
		return end_here(s, 0, &why, err);
	}
	if (rc != RC_OK)
		return rc;
	return offset > 0 ? end_here(s, offset, &why, err) : beheaded(s, &why, err);
}

static int read_segments(struct scan *s, struct err *err)
{
	bool ended = false;
	int rc = RC_OK;
	size_t i;

	for (i = s->first; rc == RC_OK && !ended && i < s->list.count; i++) {
		/* The last one, of an opening that came to nothing, before the end of an earlier one. */
		if (!s->list.entries[i].records && !s->list.entries[i].headless && s->reading &&
		    s->list.entries[i].sequence != s->next)
			break;
		/*
		 * Of a copy that was away, and would not count anyway; or of a later opening, and what is read instead
		 * does not count.
		 */
		if (s->list.entries[i].headless && s->reading && s->dirs->count > 1 &&
		    s->list.entries[i].sequence < s->next) {
			s->unread = true;
			continue;
		}
		rc = read_segment(s, &s->list.entries[i], &ended, err);
	}
	return rc;
}

/* How much there is, how much of it was read, and how much is behind the end. */
static void measure(const struct scan *s)
{
	struct journal_found *found = s->found;
	size_t i;

	for (i = 0; i < s->list.count; i++) {
		const struct journal_entry *entry = &s->list.entries[i];

		found->segments++;
		found->bytes += entry->bytes;
		if (i >= s->first)
			found->read += entry->bytes;
		if (entry->sequence > found->segment)
			found->torn += entry->bytes;
		else if (entry->sequence == found->segment)
			found->torn += entry->bytes - found->end;
	}
}

int journal_segments(int dir,
		     int (*note)(void *owner, uint64_t sequence, uint64_t bytes, struct err *err),
		     void *owner, struct err *err)
{
	struct journal_list list;
	int rc = journal_list_files(&list, dir, err);
	size_t i;

	if (rc != RC_OK)
		return rc;
	for (i = 0; rc == RC_OK && i < list.count; i++)
		rc = note(owner, list.entries[i].sequence, list.entries[i].bytes, err);
	journal_list_free(&list);
	return rc;
}

int journal_scan_list(const struct journal_dirs *dirs, const struct journal_list *list,
		      uint64_t from, const struct journal_reached *reached, journal_visit visit,
		      void *owner, struct journal_found *found, struct err *err)
{
	struct scan s = { .dirs = dirs,
			  .list = *list,
			  .reached = reached,
			  .visit = visit,
			  .owner = owner,
			  .found = found,
			  .fd = -1 };
	int rc;

	*found = (struct journal_found){ 0 };
	s.window = mem_alloc(WINDOW);
	if (s.window == NULL)
		return err_nomem(err, "reading a journal");
	while (s.first + 1 < s.list.count && s.list.entries[s.first + 1].sequence <= from)
		s.first++;
	rc = read_segments(&s, err);
	measure(&s);
	found->whole = !s.unread && list->unread == 0;
	if (s.fd >= 0)
		(void)close(s.fd);
	mem_free(s.window);
	return rc;
}

int journal_scan(const struct journal_dirs *dirs, uint64_t from, journal_visit visit, void *owner,
		 struct journal_found *found, struct err *err)
{
	uint64_t numbers[JOURNAL_COPIES_MAX], number = 0;
	struct journal_list list;
	int rc;

	*found = (struct journal_found){ 0 };
	if (dirs->count > 1 && !journal_list_elect(dirs, numbers, &number))
		return err_set(err, RC_REFUSED, "the copies are of different journals");
	rc = journal_list_read(&list, dirs, number, err);
	if (rc == RC_OK)
		rc = journal_scan_list(dirs, &list, from, NULL, visit, owner, found, err);
	journal_list_free(&list);
	return rc;
}
