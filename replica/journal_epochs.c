/*
 * Theory of operation. From the segment of the first base on, from head to head: a payload is skipped, so what is read does not grow with
 * the bytes of epochs; from the copy that has the segment, and from another one where that has no record. What a base leads to begins with the epoch that was committed last before its WHOLE; between a BASE that cuts the
 * past off and its WHOLE nothing can be brought back, nor before the first WHOLE that is read.
 *
 * The list is a ring while it is filled, if the last ones are wanted.
 */
#include "replica/journal_epochs.h"

#include "appliance/base/bytes.h"
#include "appliance/base/mem.h"
#include "replica/history_format.h"

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
	const struct journal_dirs *dirs;
	uint64_t journal;
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

/* From *at on, up to the end of the file, of what counts of it, or of the span. */
static int walk_file(struct walk *w, int fd, const struct journal_entry *entry, uint64_t *at,
		     struct err *err)
{
	uint8_t payload[JOURNAL_COMMIT_BYTES];
	struct journal_record record;
	struct stat st;

	if (fstat(fd, &st) != 0)
		return err_system(err, errno, "its size");
	while (!w->past && *at < (uint64_t)st.st_size) {
		if (atomic_load(w->cancelled))
			return err_set(err, RC_CANCELLED, "it is not wanted any more");
		if (!read_record(fd, w->journal, *at, (uint64_t)st.st_size, &record, payload))
			return err_set(err, RC_INVALID, "at %llu: no record",
				       (unsigned long long)*at);
		if (record.sequence >= entry->bound)
			return RC_OK;
		note(w, &record, payload);
		*at += journal_record_bytes(record.length);
	}
	return w->past || *at >= entry->bytes ? RC_OK : err_set(err, RC_INVALID, "it is cut off");
}

/* Where one copy has no record, the next one is read on. */
static int walk_segment(struct walk *w, const struct journal_entry *entry, struct err *err)
{
	uint64_t at = JOURNAL_SEGMENT_HEAD;
	char name[JOURNAL_NAME_BYTES];
	int fd, rc = err_set(err, RC_INVALID, "its head is damaged");
	unsigned i;

	journal_segment_name(name, entry->sequence);
	for (i = 0; i < w->dirs->count; i++) {
		if (entry->headless || (entry->where >> i & 1) == 0)
			continue;
		fd = openat(w->dirs->fd[i], name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		rc = fd < 0 ? err_system(err, errno, "opening it") :
			      walk_file(w, fd, entry, &at, err);
		if (fd >= 0)
			(void)close(fd);
		if (rc == RC_OK || rc == RC_CANCELLED)
			break;
	}
	return rc == RC_OK ? rc : err_prefix(err, "%s: ", name);
}

/* Only what begins with the base, or behind it. The last segment is written to. */
static int walk_segments(struct walk *w, const struct journal_list *list, struct err *err)
{
	const uint64_t base = w->options->from.base;
	int rc = RC_OK;
	size_t i = 0;

	if (list->count == 0 || list->entries[0].sequence > base)
		return err_set(err, RC_IO, "that has just been given up");
	while (i + 1 < list->count && list->entries[i + 1].sequence <= base)
		i++;
	for (; rc == RC_OK && !w->past && i < list->count; i++) {
		rc = walk_segment(w, &list->entries[i], err);
		if (rc != RC_CANCELLED && i + 1 == list->count)
			rc = RC_OK;
	}
	return rc;
}

static int walk_copies(struct walk *w, const struct journal_dirs *dirs, struct err *err)
{
	uint64_t numbers[JOURNAL_COPIES_MAX];
	struct journal_list list = { 0 };
	int rc = RC_OK;

	w->dirs = dirs;
	if (!journal_list_elect(dirs, numbers, &w->journal))
		rc = err_set(err, RC_REFUSED, "the copies are of different journals");
	if (rc == RC_OK)
		rc = journal_list_read(&list, dirs, w->journal, err);
	if (rc == RC_OK)
		rc = walk_segments(w, &list, err);
	journal_list_free(&list);
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
	struct journal_dirs dirs;
	int rc = journal_dirs_open(&dirs, options->dirs, options->count, err);

	*epochs = (struct journal_epochs){ .list = mem_zalloc(options->limit + 1,
							      sizeof(*epochs->list)) };
	if (rc == RC_OK && epochs->list == NULL)
		rc = err_nomem(err, "a list of epochs");
	dirs.journal = options->from.journal;
	if (rc == RC_OK)
		rc = walk_copies(&w, &dirs, err);
	if (rc == RC_OK)
		rc = straighten(&w, err);
	journal_dirs_close(&dirs);
	if (rc != RC_OK) {
		journal_epochs_free(epochs);
		(void)err_prefix(err, "%s: ", options->dirs[0]);
	}
	return rc;
}

void journal_epochs_free(struct journal_epochs *epochs)
{
	mem_free(epochs->list);
	*epochs = (struct journal_epochs){ 0 };
}
