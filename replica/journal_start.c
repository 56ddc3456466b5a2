/*
 * Theory of operation. Each segment's first record is looked at, the newest one's first. Where it is a BASE,
 * its records are followed, from head to head, until its WHOLE. This only says where to begin: whoever reads
 * from there on checks every byte.
 */
#include "replica/journal_start.h"

#include "appliance/base/mem.h"
#include "replica/journal_scan.h"

#include <fcntl.h>
#include <unistd.h>

struct start {
	int dir, fd;
	uint64_t *segments;
	size_t count;
	uint64_t journal; /* of the newest segment that has a head */
	bool known;
	uint64_t next; /* sequence number of the record to come */
	uint64_t offset;
};

static int note(void *owner, uint64_t sequence, uint64_t bytes, struct err *err)
{
	struct start *s = owner;
	uint64_t *grown = mem_realloc(s->segments, (s->count + 1) * sizeof(*grown));

	(void)bytes;
	if (grown == NULL)
		return err_nomem(err, "a journal's segments");
	s->segments = grown;
	s->segments[s->count++] = sequence;
	return RC_OK;
}

/* Segment number `i` of the list, up to its first record. */
static bool enter(struct start *s, size_t i)
{
	uint8_t bytes[JOURNAL_SEGMENT_HEAD];
	struct journal_segment head;
	char name[JOURNAL_NAME_BYTES];
	struct err err;

	if (s->fd >= 0)
		(void)close(s->fd);
	journal_segment_name(name, s->segments[i]);
	s->fd = openat(s->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (s->fd < 0 || pread(s->fd, bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes) ||
	    journal_get_segment(&head, bytes, &err) != RC_OK || head.sequence != s->segments[i])
		return false;
	if (!s->known)
		s->journal = head.journal;
	s->known = true;
	s->offset = JOURNAL_SEGMENT_HEAD;
	s->next = head.sequence;
	return head.journal == s->journal;
}

/* *end: the segment has no other one. */
static bool next_record(struct start *s, struct journal_record *record, bool *end)
{
	uint8_t bytes[JOURNAL_RECORD_HEAD];
	ssize_t got = pread(s->fd, bytes, sizeof(bytes), (off_t)s->offset);
	struct err err;

	*end = got == 0;
	if (got != (ssize_t)sizeof(bytes) ||
	    journal_get_record(record, s->journal, bytes, &err) != RC_OK ||
	    record->sequence != s->next)
		return false;
	s->offset += journal_record_bytes(record->length);
	s->next++;
	return true;
}

/* Whether segment number `i` begins with a BASE that has its WHOLE. */
static bool is_whole(struct start *s, size_t i)
{
	struct journal_record record;
	uint64_t next;
	bool end;

	if (!enter(s, i) || !next_record(s, &record, &end) || record.kind != JOURNAL_BASE)
		return false;
	do {
		while (next_record(s, &record, &end)) {
			if (record.kind == JOURNAL_BASE || record.kind == JOURNAL_WHOLE)
				return record.kind == JOURNAL_WHOLE;
		}
		next = s->next;
	} while (end && ++i < s->count && s->segments[i] == next && enter(s, i));
	return false;
}

uint64_t journal_start(int dir)
{
	struct start s = { .dir = dir, .fd = -1 };
	struct err err;
	uint64_t found = 0;
	size_t i;

	if (journal_segments(dir, note, &s, &err) != RC_OK)
		s.count = 0;
	for (i = s.count; i > 0 && found == 0; i--)
		found = is_whole(&s, i - 1) ? s.segments[i - 1] : 0;
	if (s.fd >= 0)
		(void)close(s.fd);
	mem_free(s.segments);
	return found;
}

struct measure {
	uint64_t base;
	_Atomic uint64_t *total;
};

static int add_bytes(void *owner, uint64_t sequence, uint64_t bytes, struct err *err)
{
	const struct measure *m = owner;

	(void)err;
	if (sequence >= m->base)
		(void)atomic_fetch_add(m->total, bytes);
	return RC_OK;
}

uint64_t journal_start_measure(const struct journal_dirs *dirs, uint64_t base,
			       _Atomic uint64_t *total)
{
	struct measure m = { base, total };
	struct err err;
	unsigned i;

	for (i = 0; i < dirs->count && atomic_load(total) == 0; i++) {
		if (dirs->fd[i] < 0)
			continue;
		m.base = base != 0 ? base : journal_start(dirs->fd[i]);
		(void)journal_segments(dirs->fd[i], add_bytes, &m, &err);
	}
	return m.base;
}
