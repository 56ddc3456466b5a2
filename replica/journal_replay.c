/*
 * Theory of operation. The journal is read once: each BASE that cuts off what is before it begins the image
 * anew, another one that goes on beside the present one is left out, because both lead to the same. Only
 * at the end it is known whether the BASE that was followed is whole. If it is not, an older one may be:
 * then all is read again, and that one followed.
 *
 * Batches are decoded side by side by a crew, where that makes no difference: pages of a copy are in it
 * once, those of an epoch unless its BEGIN says otherwise. Whatever else is done waits for the crew.
 *
 * An error is kept until then, as the journal itself may be fine, and has to be opened for writing.
 */
#include "replica/journal_replay.h"

#include "appliance/base/mem.h"
#include "replica/delta.h"

/* ---- decoding side by side ---------------------------------------------------------------------- */

static void decode(void *owner, const uint8_t *batch, size_t len)
{
	struct journal_replay *r = owner;
	struct err err;
	int rc = r->pages ? image_restore_pages(r->image, batch, len, &err) :
			    image_batch(r->image, batch, len, &err);

	if (rc == RC_OK)
		return;
	uv_mutex_lock(&r->lock);
	if (r->err.code == RC_OK)
		r->err = err;
	uv_mutex_unlock(&r->lock);
}

static void wait_for_crew(struct journal_replay *r)
{
	if (r->crew != NULL)
		crew_wait(r->crew);
}

static bool have_crew(struct journal_replay *r)
{
	struct err err;

	if (r->crew == NULL && uv_mutex_init(&r->lock) == 0 &&
	    crew_open(&r->crew, DELTA_BATCH_MAX, decode, r, &err) != RC_OK) {
		uv_mutex_destroy(&r->lock);
		r->crew = NULL;
	}
	return r->crew != NULL;
}

static void end_crew(struct journal_replay *r)
{
	if (r->crew == NULL)
		return;
	crew_close(r->crew);
	uv_mutex_destroy(&r->lock);
	r->crew = NULL;
}

static int on_batch(struct journal_replay *r, bool pages, const uint8_t *batch, size_t len,
		    struct err *err)
{
	if ((pages || !r->open.serial) && have_crew(r)) {
		if (pages != r->pages)
			crew_wait(r->crew);
		r->pages = pages;
		crew_put(r->crew, batch, len);
		return RC_OK;
	}
	wait_for_crew(r);
	return pages ? image_restore_pages(r->image, batch, len, err) :
		       image_batch(r->image, batch, len, err);
}

/* ---- what a record means ------------------------------------------------------------------------ */

static int on_base(struct journal_replay *r, const struct journal_record *record,
		   const uint8_t *payload, struct err *err)
{
	struct layout *layout;
	struct journal_base base;
	int rc;

	journal_get_base(&base, payload);
	if (r->only != 0 ? record->sequence != r->only : r->base != 0 && !base.cut)
		return RC_OK;
	layout = mem_zalloc(1, sizeof(*layout));
	if (layout == NULL)
		return err_nomem(err, "a layout");
	rc = layout_decode(layout, payload + JOURNAL_BASE_BYTES,
			   record->length - JOURNAL_BASE_BYTES, err);
	image_forget(r->image);
	if (rc == RC_OK)
		rc = image_set_layout(r->image, layout, err);
	if (rc == RC_OK)
		rc = image_restore_begin(r->image, record->epoch, base.device_state_len, err);
	mem_free(layout);
	r->base = record->sequence;
	r->origin = base.origin;
	r->epoch = record->epoch;
	r->copying = true;
	return rc;
}

static int on_commit(struct journal_replay *r, const struct journal_record *record,
		     const uint8_t *payload, struct err *err)
{
	struct journal_commit commit;

	journal_get_commit(&commit, payload);
	r->origin = r->open.origin;
	r->epoch = record->epoch;
	r->inside = false;
	return image_commit(r->image, commit.pages, commit.hash, commit.device_state_len, err);
}

/* An epoch that has no COMMIT. */
static void give_up(struct journal_replay *r)
{
	image_abort(r->image);
	r->inside = false;
}

/* What a BASE that is followed leads to. */
static int follow(struct journal_replay *r, const struct journal_record *record,
		  const uint8_t *payload, struct err *err)
{
	switch (record->kind) {
	case JOURNAL_PAGES:
		if (r->inside) {
			wait_for_crew(r);
			give_up(r);
		}
		return r->copying ? on_batch(r, true, payload, record->length, err) : RC_OK;
	case JOURNAL_WHOLE:
		give_up(r);
		image_restore_end(r->image);
		r->copying = false;
		return RC_OK;
	case JOURNAL_BEGIN:
		give_up(r);
		r->inside = true;
		journal_get_begin(&r->open, payload);
		return image_begin(r->image, record->epoch, err);
	case JOURNAL_BATCH:
		return on_batch(r, false, payload, record->length, err);
	case JOURNAL_COMMIT:
		return on_commit(r, record, payload, err);
	case JOURNAL_BASE:
	case JOURNAL_MARK:
	case JOURNAL_HISTORY:
	case JOURNAL_KINDS:
		break;
	}
	return RC_OK;
}

static bool is_over(const struct journal_replay *r, const struct journal_record *record,
		    const uint8_t *payload)
{
	struct journal_base base;

	if (r->only == 0 || r->base == 0 || record->kind != JOURNAL_BASE)
		return false;
	journal_get_base(&base, payload);
	return base.cut && record->sequence > r->only;
}

int journal_replay_visit(void *owner, const struct journal_record *record, const uint8_t *payload,
			 struct err *err)
{
	struct journal_replay *r = owner;
	const bool batch = record->kind == JOURNAL_PAGES || record->kind == JOURNAL_BATCH;
	struct err failed = { 0 };

	(void)err;
	(void)atomic_fetch_add(&r->bytes, journal_record_bytes(record->length));
	if (r->over)
		return RC_OK;
	if (!batch)
		wait_for_crew(r);
	if (is_over(r, record, payload))
		r->over = true;
	else if (record->kind == JOURNAL_BASE)
		(void)on_base(r, record, payload, &failed);
	else if (r->base != 0)
		(void)follow(r, record, payload, &failed);
	if (failed.code != RC_OK) {
		wait_for_crew(r);
		r->err = r->err.code == RC_OK ? failed : r->err;
		r->over = true;
	}
	return RC_OK;
}

static int again(struct journal_replay *r, const struct journal_dirs *dirs,
		 const struct journal_found *found, struct err *err)
{
	struct journal_dirs ours = *dirs;
	struct journal_found same;

	image_forget(r->image);
	r->only = found->base;
	r->base = r->epoch = 0;
	r->copying = r->inside = false;
	r->err = (struct err){ 0 };
	r->over = false;
	ours.journal = found->journal;
	return journal_scan(&ours, found->base, journal_replay_visit, r, &same, err);
}

static int judge(const struct journal_replay *r, const struct journal_found *found, struct err *err)
{
	if (found->base == 0)
		return RC_OK;
	if (r->err.code != RC_OK) {
		*err = r->err;
		return (int)err->code;
	}
	if (r->copying || r->epoch != found->epoch)
		return err_set(err, RC_INVALID, "the journal ends before epoch %llu",
			       (unsigned long long)found->epoch);
	return RC_OK;
}

int journal_replay_end(struct journal_replay *r, const struct journal_dirs *dirs,
		       const struct journal_found *found, struct err *err)
{
	int rc = RC_OK;

	wait_for_crew(r);
	if (r->copying && found->base != 0)
		rc = again(r, dirs, found, err);
	wait_for_crew(r);
	image_abort(r->image);
	if (rc == RC_OK)
		rc = judge(r, found, err);
	if (rc != RC_OK || found->base == 0)
		journal_replay_drop(r);
	else
		end_crew(r);
	return rc;
}

int journal_replay_stop(struct journal_replay *r, struct err *err)
{
	wait_for_crew(r);
	image_abort(r->image);
	if (r->err.code == RC_OK && (r->base == 0 || r->copying))
		(void)err_set(&r->err, RC_INVALID, "the copy of the image is not whole");
	if (r->err.code == RC_OK) {
		end_crew(r);
		return RC_OK;
	}
	*err = r->err;
	journal_replay_drop(r);
	return (int)err->code;
}

void journal_replay_drop(struct journal_replay *r)
{
	end_crew(r);
	r->epoch = 0;
	image_forget(r->image);
}
