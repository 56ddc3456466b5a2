/*
 * Theory of operation. The journal is read once: each BASE that cuts off what is before it begins the image
 * anew, another one that goes on beside the present one is left out, because both lead to the same. Only
 * at the end it is known whether the BASE that was followed is whole. If it is not, an older one may be:
 * then all is read again, and that one followed.
 *
 * An error is kept until then, as the journal itself may be fine, and has to be opened for writing.
 */
#include "replica/journal_replay.h"

#include "appliance/base/mem.h"

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
	r->origin = r->open_origin;
	r->epoch = record->epoch;
	return image_commit(r->image, commit.pages, commit.hash, commit.device_state_len, err);
}

/* What a BASE that is followed leads to. */
static int follow(struct journal_replay *r, const struct journal_record *record,
		  const uint8_t *payload, struct err *err)
{
	switch (record->kind) {
	case JOURNAL_PAGES:
		image_abort(r->image);
		return r->copying ? image_restore_pages(r->image, payload, record->length, err) :
				    RC_OK;
	case JOURNAL_WHOLE:
		image_abort(r->image);
		image_restore_end(r->image);
		r->copying = false;
		return RC_OK;
	case JOURNAL_BEGIN:
		image_abort(r->image); /* one that was given up */
		journal_get_origin(&r->open_origin, payload);
		return image_begin(r->image, record->epoch, err);
	case JOURNAL_BATCH:
		return image_batch(r->image, payload, record->length, err);
	case JOURNAL_COMMIT:
		return on_commit(r, record, payload, err);
	case JOURNAL_BASE:
	case JOURNAL_MARK:
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

	(void)err;
	(void)atomic_fetch_add(&r->bytes, journal_record_bytes(record->length));
	if (r->err.code != RC_OK || r->over)
		return RC_OK;
	if (is_over(r, record, payload))
		r->over = true;
	else if (record->kind == JOURNAL_BASE)
		(void)on_base(r, record, payload, &r->err);
	else if (r->base != 0)
		(void)follow(r, record, payload, &r->err);
	return RC_OK;
}

static int again(struct journal_replay *r, int dir, const struct journal_found *found,
		 struct err *err)
{
	struct journal_found same;

	image_forget(r->image);
	r->only = found->base;
	r->base = r->epoch = 0;
	r->err = (struct err){ 0 };
	return journal_scan(dir, journal_replay_visit, r, &same, err);
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

int journal_replay_end(struct journal_replay *r, int dir, const struct journal_found *found,
		       struct err *err)
{
	int rc = RC_OK;

	if (r->copying && found->base != 0)
		rc = again(r, dir, found, err);
	image_abort(r->image);
	if (rc == RC_OK)
		rc = judge(r, found, err);
	if (rc == RC_OK && found->base != 0)
		return RC_OK;
	r->epoch = 0;
	image_forget(r->image);
	return rc;
}
