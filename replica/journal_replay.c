#include "replica/journal_replay.h"

#include "appliance/base/mem.h"

struct replay {
	const struct journal_found *found;
	struct image *image;
	struct journal_replayed *replayed;
	struct journal_origin origin; /* of the epoch that is open */
	bool copying;		      /* between the BASE and its WHOLE */
	bool over;		      /* the epoch that is wanted is there */
};

static int on_base(struct replay *r, const struct journal_record *record, const uint8_t *payload,
		   struct err *err)
{
	struct layout *layout;
	struct journal_base base;
	int rc;

	if (record->sequence != r->found->base)
		return RC_OK; /* a later one, which is not whole */
	layout = mem_zalloc(1, sizeof(*layout));
	if (layout == NULL)
		return err_nomem(err, "a layout");
	journal_get_base(&base, payload);
	rc = layout_decode(layout, payload + JOURNAL_BASE_BYTES,
			   record->length - JOURNAL_BASE_BYTES, err);
	if (rc == RC_OK)
		rc = image_set_layout(r->image, layout, err);
	if (rc == RC_OK)
		rc = image_restore_begin(r->image, record->epoch, base.device_state_len, err);
	mem_free(layout);
	r->replayed->origin = base.origin;
	r->copying = true;
	return rc;
}

static int on_commit(struct replay *r, const struct journal_record *record, const uint8_t *payload,
		     struct err *err)
{
	struct journal_commit commit;
	int rc;

	journal_get_commit(&commit, payload);
	rc = image_commit(r->image, commit.pages, commit.hash, commit.device_state_len, err);
	r->replayed->origin = r->origin;
	r->over = record->epoch == r->found->epoch && !r->copying;
	return rc;
}

static int visit(void *owner, const struct journal_record *record, const uint8_t *payload,
		 struct err *err)
{
	struct replay *r = owner;

	atomic_fetch_add(&r->replayed->bytes, journal_record_bytes(record->length));
	if (record->sequence < r->found->base || r->over)
		return RC_OK;
	switch (record->kind) {
	case JOURNAL_BASE:
		image_abort(r->image);
		return on_base(r, record, payload, err);
	case JOURNAL_PAGES:
		image_abort(r->image);
		return r->copying ? image_restore_pages(r->image, payload, record->length, err) :
				    RC_OK;
	case JOURNAL_WHOLE:
		image_abort(r->image);
		image_restore_end(r->image);
		r->copying = false;
		r->over = record->epoch == r->found->epoch;
		return RC_OK;
	case JOURNAL_BEGIN:
		image_abort(r->image); /* one that was given up */
		journal_get_origin(&r->origin, payload);
		return image_begin(r->image, record->epoch, err);
	case JOURNAL_BATCH:
		return image_batch(r->image, payload, record->length, err);
	case JOURNAL_COMMIT:
		return on_commit(r, record, payload, err);
	case JOURNAL_MARK:
	case JOURNAL_KINDS:
		break;
	}
	return RC_OK;
}

int journal_replay(int dir, const struct journal_found *found, struct image *image,
		   struct journal_replayed *replayed, struct err *err)
{
	struct replay r = { .found = found, .image = image, .replayed = replayed };
	struct journal_found again;
	int rc;

	replayed->epoch = 0;
	replayed->origin = (struct journal_origin){ 0 };
	atomic_store(&replayed->bytes, 0);
	if (found->base == 0)
		return RC_OK;
	rc = journal_scan(dir, visit, &r, &again, err);
	if (rc == RC_OK && (!r.over || image_epoch(image) != found->epoch))
		rc = err_set(err, RC_INVALID, "the journal ends before epoch %llu",
			     (unsigned long long)found->epoch);
	if (rc == RC_OK)
		replayed->epoch = found->epoch;
	else
		image_forget(image);
	return rc;
}
