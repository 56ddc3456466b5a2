/*
 * Theory of operation. Epochs count to the base before them from its WHOLE on, also while another copy is made
 * beside them, until that one is whole, or until a BASE cuts off what is before it. So each epoch that can be brought
 * back belongs to one base, but for those at whose commit a copy was whole, which the newer one begins with.
 */
#include "replica/history.h"

#include "appliance/base/mem.h"
#include "replica/history_format.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MS_PER_S 1000

void history_free(struct history *h)
{
	mem_free(h->bases);
	mem_free(h->marks);
	*h = (struct history){ 0 };
}

/* ---- what comes in ------------------------------------------------------------------------------ */

static int make_ready(struct history *h, struct err *err)
{
	if (h->bases == NULL)
		h->bases = mem_zalloc(HISTORY_BASES_MAX, sizeof(*h->bases));
	if (h->marks == NULL)
		h->marks = mem_zalloc(HISTORY_MARKS_MAX, sizeof(*h->marks));
	return h->bases != NULL && h->marks != NULL ? RC_OK : err_nomem(err, "a journal's history");
}

static void drop_bases(struct history *h, size_t count)
{
	size_t marks = 0;

	h->nbases -= count;
	memmove(h->bases, h->bases + count, h->nbases * sizeof(*h->bases));
	while (marks < h->nmarks && h->nbases > 0 && h->marks[marks].sequence < h->bases[0].whole)
		marks++;
	h->nmarks -= marks;
	memmove(h->marks, h->marks + marks, h->nmarks * sizeof(*h->marks));
}

static void on_base(struct history *h, uint64_t sequence, uint64_t epoch, const uint8_t *payload)
{
	struct journal_base base;

	journal_get_base(&base, payload);
	h->began = sequence;
	h->began_cut = base.cut;
	h->covered = h->covered && !base.cut;
	if (h->epoch != epoch)
		h->ms = 0;
	h->epoch = epoch;
}

static void on_whole(struct history *h, uint64_t sequence)
{
	if (h->began == 0)
		return;
	if (h->nbases == HISTORY_BASES_MAX)
		drop_bases(h, 1);
	h->bases[h->nbases++] = (struct history_base){
		.sequence = h->began,
		.whole = sequence,
		.first = h->epoch,
		.first_ms = h->ms,
		.last = h->epoch,
		.last_ms = h->ms,
		.cut = h->began_cut,
	};
	h->covered = true;
	h->began = 0;
}

static void on_commit(struct history *h, uint64_t epoch, const uint8_t *payload)
{
	struct journal_commit commit;

	journal_get_commit(&commit, payload);
	h->epoch = epoch;
	h->ms = commit.time_ms;
	if (!h->covered)
		return;
	h->bases[h->nbases - 1].last = epoch;
	h->bases[h->nbases - 1].last_ms = commit.time_ms;
}

static void on_mark(struct history *h, uint64_t sequence, uint64_t epoch, const uint8_t *payload,
		    size_t len)
{
	struct history_mark *mark;

	if (h->nmarks == HISTORY_MARKS_MAX)
		memmove(h->marks, h->marks + 1, --h->nmarks * sizeof(*h->marks));
	mark = &h->marks[h->nmarks++];
	*mark = (struct history_mark){ .sequence = sequence, .epoch = epoch, .ms = h->ms };
	memcpy(mark->text, payload, len);
}

static bool is_before(const struct history *before, uint64_t sequence)
{
	return (before->nbases == 0 || before->bases[before->nbases - 1].whole < sequence) &&
	       (before->nmarks == 0 || before->marks[before->nmarks - 1].sequence < sequence);
}

/* Of what is before the first BASE that was read; what was read itself is known better. */
static int on_history(struct history *h, const uint8_t *payload, size_t len, struct err *err)
{
	struct history before = { 0 };
	uint64_t ms;
	int rc = history_get(&before, &ms, payload, len, err);

	if (rc == RC_OK && !is_before(&before, h->began))
		rc = err_set(err, RC_INVALID, "a history of what is to come");
	if (rc != RC_OK) {
		history_free(&before);
		return rc;
	}
	if (h->ms == 0)
		h->ms = ms;
	if (h->nbases == 0) {
		memcpy(h->bases, before.bases, before.nbases * sizeof(*h->bases));
		memcpy(h->marks, before.marks, before.nmarks * sizeof(*h->marks));
		h->nbases = before.nbases;
		h->nmarks = before.nmarks;
		h->covered = h->nbases > 0 && !h->began_cut;
	}
	history_free(&before);
	return RC_OK;
}

int history_note(struct history *h, enum journal_kind kind, uint64_t sequence, uint64_t epoch,
		 const uint8_t *payload, size_t len, struct err *err)
{
	int rc = make_ready(h, err);

	if (rc != RC_OK)
		return rc;
	switch (kind) {
	case JOURNAL_BASE:
		on_base(h, sequence, epoch, payload);
		break;
	case JOURNAL_WHOLE:
		on_whole(h, sequence);
		break;
	case JOURNAL_COMMIT:
		on_commit(h, epoch, payload);
		break;
	case JOURNAL_MARK:
		on_mark(h, sequence, epoch, payload, len);
		break;
	case JOURNAL_HISTORY:
		return on_history(h, payload, len, err);
	case JOURNAL_PAGES:
	case JOURNAL_BEGIN:
	case JOURNAL_BATCH:
	case JOURNAL_KINDS:
		break;
	}
	return RC_OK;
}

void history_end(struct history *h, uint64_t sequence)
{
	while (h->nmarks > 0 && h->marks[h->nmarks - 1].sequence >= sequence)
		h->nmarks--;
}

/* ---- what goes ---------------------------------------------------------------------------------- */

void history_drop(struct history *h, uint64_t sequence)
{
	size_t count = 0;

	while (count + 1 < h->nbases && h->bases[count].sequence < sequence)
		count++;
	if (count > 0)
		drop_bases(h, count);
}

uint64_t history_keep_from(const struct history *h, const struct history_limits *limits,
			   uint64_t now_ms, uint64_t pinned,
			   uint64_t (*bytes_from)(const void *owner, uint64_t sequence),
			   const void *owner)
{
	const uint64_t since_ms = limits->ms > 0 && limits->ms < now_ms ? now_ms - limits->ms : 0;
	uint64_t needed;
	size_t i;

	if (h->nbases == 0)
		return 0;
	needed = bytes_from(owner, h->bases[h->nbases - 1].sequence);
	for (i = 0; i + 1 < h->nbases; i++) {
		if (pinned != 0 && h->bases[i].sequence >= pinned)
			break;
		/* What it leads to, and the next one does not, is older than that one's first epoch. */
		if (bytes_from(owner, h->bases[i].sequence) - needed <= limits->bytes &&
		    h->bases[i + 1].first_ms >= since_ms)
			break;
	}
	return h->bases[i].sequence;
}

/* ---- what is looked for ------------------------------------------------------------------------- */

void history_print_time(char out[HISTORY_TIME_MAX], uint64_t ms)
{
	const time_t seconds = (time_t)(ms / MS_PER_S);
	struct tm tm;

	(void)snprintf(out, HISTORY_TIME_MAX, "?");
	if (ms / MS_PER_S <= UINT32_MAX && gmtime_r(&seconds, &tm) != NULL)
		(void)snprintf(out, HISTORY_TIME_MAX, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
			       (unsigned)(tm.tm_year + 1900) % 10000U,
			       (unsigned)(tm.tm_mon + 1) % 100U, (unsigned)tm.tm_mday % 100U,
			       (unsigned)tm.tm_hour % 100U, (unsigned)tm.tm_min % 100U,
			       (unsigned)tm.tm_sec % 100U, (unsigned)(ms % MS_PER_S));
}

/* The newest base before that record which leads to the epoch. */
static const struct history_base *base_of(const struct history *h, uint64_t epoch, uint64_t before)
{
	size_t i;

	for (i = h->nbases; i > 0; i--) {
		const struct history_base *base = &h->bases[i - 1];

		if (epoch != 0 && base->whole < before && base->first <= epoch &&
		    epoch <= base->last)
			return base;
	}
	return NULL;
}

static int say_oldest(const struct history *h, const char *what, struct err *err)
{
	char first[HISTORY_TIME_MAX], last[HISTORY_TIME_MAX];

	if (h->nbases == 0)
		return err_set(err, RC_INVALID,
			       "%s: the journal holds nothing yet that could be brought back",
			       what);
	history_print_time(first, h->bases[0].first_ms);
	history_print_time(last, h->bases[h->nbases - 1].last_ms);
	return err_set(err, RC_INVALID,
		       "%s is not in the journal, which begins with epoch %llu (%s) and ends with "
		       "%llu (%s); 'understudy history' shows it",
		       what, (unsigned long long)h->bases[0].first, first,
		       (unsigned long long)h->bases[h->nbases - 1].last, last);
}

int history_find_epoch(const struct history *h, uint64_t epoch, struct history_place *place,
		       struct err *err)
{
	const struct history_base *base = base_of(h, epoch, UINT64_MAX);
	char what[40];

	if (base != NULL) {
		*place = (struct history_place){ base->sequence, epoch, UINT64_MAX, h->journal };
		return RC_OK;
	}
	(void)snprintf(what, sizeof(what), "epoch %llu", (unsigned long long)epoch);
	return say_oldest(h, what, err);
}

int history_find_time(const struct history *h, uint64_t ms, struct history_place *place,
		      struct err *err)
{
	char what[HISTORY_TIME_MAX];
	size_t i;

	for (i = h->nbases; i > 0; i--) {
		const struct history_base *base = &h->bases[i - 1];

		if (base->first != 0 && base->first_ms != 0 && base->first_ms <= ms) {
			*place = (struct history_place){ base->sequence, base->last, ms,
							 h->journal };
			return RC_OK;
		}
	}
	history_print_time(what, ms);
	return say_oldest(h, what, err);
}

int history_find_mark(const struct history *h, const char *text, struct history_place *place,
		      struct err *err)
{
	const struct history_base *base;
	char what[JOURNAL_MARK_MAX + 16];
	size_t i;

	for (i = h->nmarks; i > 0; i--) {
		const struct history_mark *mark = &h->marks[i - 1];

		if (strcmp(mark->text, text) != 0)
			continue;
		base = base_of(h, mark->epoch, mark->sequence);
		if (base != NULL) {
			*place = (struct history_place){ base->sequence, mark->epoch, UINT64_MAX,
							 h->journal };
			return RC_OK;
		}
	}
	(void)snprintf(what, sizeof(what), "a mark \"%s\"", text);
	return say_oldest(h, what, err);
}
