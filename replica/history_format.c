#include "replica/history_format.h"

#include "appliance/base/bytes.h"
#include "appliance/base/mem.h"

#include <assert.h>
#include <string.h>

static_assert(HISTORY_HEAD_BYTES + HISTORY_BASES_MAX * HISTORY_BASE_BYTES +
			      HISTORY_MARKS_MAX * (HISTORY_MARK_BYTES + JOURNAL_MARK_MAX) <=
		      JOURNAL_HISTORY_MAX,
	      "all that is kept fits into a record");

static void put_base(const struct history_base *base, struct buf *out)
{
	(void)buf_append_le64(out, base->sequence);
	(void)buf_append_le64(out, base->whole);
	(void)buf_append_le64(out, base->first);
	(void)buf_append_le64(out, base->first_ms);
	(void)buf_append_le64(out, base->last);
	(void)buf_append_le64(out, base->last_ms);
	(void)buf_append_le64(out, base->cut ? 1 : 0);
}

static void put_mark(const struct history_mark *mark, struct buf *out)
{
	const size_t len = strlen(mark->text);

	(void)buf_append_le64(out, mark->sequence);
	(void)buf_append_le64(out, mark->epoch);
	(void)buf_append_le64(out, mark->ms);
	(void)buf_append_le16(out, (uint16_t)len);
	(void)buf_append(out, mark->text, len);
}

bool history_put(const struct history *h, uint64_t ms, struct buf *out)
{
	size_t i;

	(void)buf_append_le64(out, ms);
	(void)buf_append_le32(out, (uint32_t)h->nbases);
	(void)buf_append_le32(out, (uint32_t)h->nmarks);
	for (i = 0; i < h->nbases; i++)
		put_base(&h->bases[i], out);
	for (i = 0; i < h->nmarks; i++)
		put_mark(&h->marks[i], out);
	return !out->failed;
}

static bool get_base(struct history_base *base, struct cursor *c, uint64_t after)
{
	uint64_t flags;

	base->sequence = cursor_le64(c);
	base->whole = cursor_le64(c);
	base->first = cursor_le64(c);
	base->first_ms = cursor_le64(c);
	base->last = cursor_le64(c);
	base->last_ms = cursor_le64(c);
	flags = cursor_le64(c);
	base->cut = flags == 1;
	return !c->short_read && flags <= 1 && base->sequence > after &&
	       base->whole > base->sequence && base->last >= base->first;
}

static bool get_mark(struct history_mark *mark, struct cursor *c, uint64_t after)
{
	const uint8_t *text;
	uint16_t len;

	mark->sequence = cursor_le64(c);
	mark->epoch = cursor_le64(c);
	mark->ms = cursor_le64(c);
	len = cursor_le16(c);
	text = len > 0 && len <= JOURNAL_MARK_MAX ? cursor_bytes(c, len) : NULL;
	if (text == NULL || mark->sequence <= after || memchr(text, '\0', len) != NULL)
		return false;
	memcpy(mark->text, text, len);
	mark->text[len] = '\0';
	return true;
}

static bool get_all(struct history *h, uint32_t bases, uint32_t marks, struct cursor *c)
{
	uint64_t after = 0;

	for (; h->nbases < bases; after = h->bases[h->nbases++].whole) {
		if (!get_base(&h->bases[h->nbases], c, after))
			return false;
	}
	for (after = 0; h->nmarks < marks; after = h->marks[h->nmarks++].sequence) {
		if (!get_mark(&h->marks[h->nmarks], c, after))
			return false;
	}
	return c->left == 0;
}

int history_get(struct history *h, uint64_t *ms, const uint8_t *payload, size_t len,
		struct err *err)
{
	struct cursor c = cursor_of(payload, len);
	uint32_t bases, marks;

	*ms = cursor_le64(&c);
	bases = cursor_le32(&c);
	marks = cursor_le32(&c);
	if (c.short_read || bases > HISTORY_BASES_MAX || marks > HISTORY_MARKS_MAX)
		return err_set(err, RC_INVALID, "a history of %u bases and %u marks", bases, marks);
	h->bases = mem_zalloc(HISTORY_BASES_MAX, sizeof(*h->bases));
	h->marks = mem_zalloc(HISTORY_MARKS_MAX, sizeof(*h->marks));
	if (h->bases == NULL || h->marks == NULL) {
		history_free(h);
		return err_nomem(err, "a journal's history");
	}
	if (get_all(h, bases, marks, &c))
		return RC_OK;
	history_free(h);
	return err_set(err, RC_INVALID, "a history that cannot be");
}
