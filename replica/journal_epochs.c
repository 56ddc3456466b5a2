/*
 * Theory of operation. From the segment of the first base on, from head to head: a payload is skipped, so what is read does not grow with
 * the bytes of epochs. What a base leads to begins with the epoch that was committed last before its WHOLE; between a BASE that cuts the
 * past off and its WHOLE nothing can be brought back, nor before the first WHOLE that is read.
 *
 * The list is a ring while it is filled, if the last ones are wanted.
 */
#include "replica/journal_epochs.h"

#include "appliance/base/bytes.h"
#include "appliance/base/mem.h"
#include "replica/history_format.h"
#include "replica/journal_scan.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static_assert(HISTORY_HEAD_BYTES <= JOURNAL_COMMIT_BYTES &&
		      JOURNAL_BASE_BYTES <= JOURNAL_COMMIT_BYTES,
	      "the longest that is looked at");

struct walk {
	const struct journal_epochs_options *options;
	const atomic_bool *cancelled;
	struct journal_epochs *out;
	size_t head;		   /* of the ring */
	bool covered, past;	   /* epochs can be brought back; `to` is behind */
	bool begun;		   /* `from` is */
	uint64_t base;		   /* BASE whose WHOLE is waited for; 0: none */
	uint64_t sequence;	   /* of the newest BASE */
	uint64_t bytes;		   /* since the last COMMIT */
	struct journal_epoch last; /* committed last */
	/* segments */
	uint64_t *segments;
	size_t nsegments;
};

/* ---- what is listed ------------------------------------------------------------------------------ */

/* Numbers may begin anew with another base: a place is compared with what its base leads to. */
static bool is_before(const struct walk *w, const struct journal_epoch *e)
{
	const struct history_place *from = &w->options->from;

	if (w->begun)
		return false;
	return from->until_ms != UINT64_MAX ? e->ms < from->until_ms : e->epoch < from->epoch;
}

static bool is_behind(const struct walk *w, const struct journal_epoch *e)
{
	const struct history_place *to = &w->options->to;

	return w->sequence >= to->base && (e->epoch > to->epoch || e->ms > to->until_ms);
}

static void list(struct walk *w, const struct journal_epoch *e)
{
	struct journal_epochs *out = w->out;

	if (w->past || is_before(w, e))
		return;
	w->past = is_behind(w, e);
	if (w->past)
		return;
	w->begun = true;
	if (out->count < w->options->limit) {
		out->list[out->count++] = *e;
	} else if (w->options->newest) {
		out->list[w->head++ % out->count] = *e;
		out->earlier = true;
	} else {
		out->later = w->past = true;
	}
}

static void note(struct walk *w, const struct journal_record *record, const uint8_t *payload)
{
	struct journal_commit commit;
	struct journal_base base;

	w->bytes += JOURNAL_RECORD_HEAD + record->length;
	switch (record->kind) {
	case JOURNAL_BASE:
		journal_get_base(&base, payload);
		w->covered = w->covered && !base.cut;
		w->base = w->sequence = record->sequence;
		if (w->last.epoch == 0)
			w->last.epoch = record->epoch;
		break;
	case JOURNAL_HISTORY: /* when that was committed */
		if (w->last.ms == 0)
			w->last.ms = bytes_get_le64(payload);
		break;
	case JOURNAL_WHOLE:
		if (w->base != 0 && !w->covered && w->last.epoch != 0)
			list(w, &w->last);
		w->covered = w->covered || w->base != 0;
		w->base = 0;
		break;
	case JOURNAL_BEGIN:
		w->bytes = JOURNAL_RECORD_HEAD + record->length;
		break;
	case JOURNAL_COMMIT:
		journal_get_commit(&commit, payload);
		w->last = (struct journal_epoch){ record->epoch, commit.time_ms, commit.pages,
						  w->bytes };
		if (w->covered)
			list(w, &w->last);
		break;
	default:
		break;
	}
}

/* ---- reading ------------------------------------------------------------------------------------- */

static int add_segment(void *owner, uint64_t sequence, uint64_t bytes, struct err *err)
{
	struct walk *w = owner;
	uint64_t *grown = mem_realloc(w->segments, (w->nsegments + 1) * sizeof(*grown));

	(void)bytes;
	if (grown == NULL)
		return err_nomem(err, "a journal's segments");
	w->segments = grown;
	/* Only what begins with the base, or behind it. */
	if (w->nsegments == 1 && sequence <= w->options->from.base)
		w->nsegments = 0;
	w->segments[w->nsegments++] = sequence;
	return RC_OK;
}

static bool read_at(int fd, void *data, size_t len, uint64_t at)
{
	return pread(fd, data, len, (off_t)at) == (ssize_t)len;
}

/* False: the segment has no valid record there. */
static bool read_record(int fd, uint64_t journal, uint64_t at, uint64_t size,
			struct journal_record *record, uint8_t payload[JOURNAL_COMMIT_BYTES])
{
	uint8_t head[JOURNAL_RECORD_HEAD];
	struct err err;
	size_t want;

	if (!read_at(fd, head, sizeof(head), at) ||
	    journal_get_record(record, journal, head, &err) != RC_OK ||
	    at + journal_record_bytes(record->length) > size)
		return false;
	want = record->kind == JOURNAL_COMMIT  ? JOURNAL_COMMIT_BYTES :
	       record->kind == JOURNAL_BASE    ? JOURNAL_BASE_BYTES :
	       record->kind == JOURNAL_HISTORY ? HISTORY_HEAD_BYTES :
						 0;
	if (!read_at(fd, payload, want, at + sizeof(head)))
		return false;
	return record->kind != JOURNAL_COMMIT ||
	       journal_check_payload(record, payload, &err) == RC_OK;
}

static int walk_segment(struct walk *w, int fd, bool last, struct err *err)
{
	uint8_t head[JOURNAL_SEGMENT_HEAD], payload[JOURNAL_COMMIT_BYTES];
	struct journal_segment segment;
	struct journal_record record;
	uint64_t at = sizeof(head);
	struct stat st;
	int rc;

	if (fstat(fd, &st) != 0 || !read_at(fd, head, sizeof(head), 0))
		return last ? RC_OK : err_set(err, RC_IO, "it is too short");
	rc = journal_get_segment(&segment, head, err);
	if (rc != RC_OK)
		return last ? RC_OK : rc;
	while (!w->past && at < (uint64_t)st.st_size) {
		if (atomic_load(w->cancelled))
			return err_set(err, RC_CANCELLED, "it is not wanted any more");
		if (!read_record(fd, segment.journal, at, (uint64_t)st.st_size, &record, payload))
			return last ? RC_OK :
				      err_set(err, RC_INVALID, "at %llu: no record",
					      (unsigned long long)at);
		note(w, &record, payload);
		at += journal_record_bytes(record.length);
	}
	return RC_OK;
}

static int walk_segments(struct walk *w, int dir, struct err *err)
{
	char name[JOURNAL_NAME_BYTES];
	int rc = journal_segments(dir, add_segment, w, err), fd;
	size_t i;

	if (rc == RC_OK && (w->nsegments == 0 || w->segments[0] > w->options->from.base))
		return err_set(err, RC_IO, "that has just been given up");
	for (i = 0; rc == RC_OK && !w->past && i < w->nsegments; i++) {
		journal_segment_name(name, w->segments[i]);
		fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		rc = fd < 0 ? err_system(err, errno, "opening it") :
			      walk_segment(w, fd, i + 1 == w->nsegments, err);
		if (fd >= 0)
			(void)close(fd);
		if (rc != RC_OK)
			(void)err_prefix(err, "%s: ", name);
	}
	return rc;
}

/* The oldest first. */
static int straighten(struct walk *w, struct err *err)
{
	const size_t count = w->out->count, head = count > 0 ? w->head % count : 0;
	struct journal_epoch *list;

	if (head == 0)
		return RC_OK;
	list = mem_alloc(count * sizeof(*list));
	if (list == NULL)
		return err_nomem(err, "a list of epochs");
	memcpy(list, w->out->list + head, (count - head) * sizeof(*list));
	memcpy(list + count - head, w->out->list, head * sizeof(*list));
	mem_free(w->out->list);
	w->out->list = list;
	return RC_OK;
}

int journal_epochs_read(struct journal_epochs *epochs, const struct journal_epochs_options *options,
			const atomic_bool *cancelled, struct err *err)
{
	struct walk w = { .options = options, .cancelled = cancelled, .out = epochs };
	int dir = open(options->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = dir < 0 ? err_system(err, errno, "opening it") : RC_OK;

	*epochs = (struct journal_epochs){ .list = mem_zalloc(options->limit + 1,
							      sizeof(*epochs->list)) };
	if (rc == RC_OK && epochs->list == NULL)
		rc = err_nomem(err, "a list of epochs");
	if (rc == RC_OK)
		rc = walk_segments(&w, dir, err);
	if (rc == RC_OK)
		rc = straighten(&w, err);
	if (dir >= 0)
		(void)close(dir);
	mem_free(w.segments);
	if (rc != RC_OK) {
		journal_epochs_free(epochs);
		(void)err_prefix(err, "%s: ", options->dir);
	}
	return rc;
}

void journal_epochs_free(struct journal_epochs *epochs)
{
	mem_free(epochs->list);
	*epochs = (struct journal_epochs){ 0 };
}
