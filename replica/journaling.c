#include "replica/journaling.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/base/repeat.h"
#include "replica/delta.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define RETRY_DOUBLINGS 6 /* a copy that fails half-way costs the disk each time */
#define BACK_DOUBLINGS 2  /* an operator mounts a disk, and looks whether that helps */
#define COPY_FACTOR 2 /* of epochs for one copy: what a recovery reads stays below three copies */
#define PIECES_MAX 4  /* of the copy, between two epochs: some milliseconds of work */

enum state { OPENING, BARE, COPYING, BASED, BROKEN };
/* Of the claim, while the journal does not lead to the image: may be there, is being withdrawn, is not there. */
enum claim { STANDS, LEAVES, GONE };

static const char *const state_names[] = {
	[OPENING] = "opening", [BARE] = "bare",	    [COPYING] = "copying",
	[BASED] = "based",     [BROKEN] = "broken",
};

struct journaling {
	struct journaling_options options;
	uv_loop_t *loop;
	struct image *image;
	const struct journaling_ops *ops;
	void *owner;
	struct journal_keeper *keeper;
	struct journal_claim claim; /* the keeper's, if there is one */
	uv_timer_t retry;
	struct repeat said;
	struct err problem;
	struct journal_health health;
	char lacking[ERR_TEXT_MAX]; /* what a copy is; "" */
	char silence[ERR_TEXT_MAX]; /* what is told of the only one whose disk does not answer */
	enum state state;
	unsigned failures;
	uint64_t epoch, durable;      /* committed, on stable storage */
	struct journal_origin origin; /* of the last commit */
	uint64_t open;		      /* epoch whose records are put; 0: none */
	struct journal_origin open_origin;
	/* the copy that is made, or the last one */
	uint64_t next;	 /* page */
	uint64_t whole;	 /* epoch at its end */
	unsigned pieces; /* since the last commit */
	int piece_rc;
	struct buf piece;
	uint64_t base_bytes, since_base; /* its size, and that of the epochs since its beginning */
	bool copying, short_of_memory;
	enum claim claimed;
	uint64_t turns; /* commits so far */
	bool anew;	/* what a recovery needs is rotten: a copy is due at once */
	bool bound;	/* the claim could not be withdrawn */
	bool first;	/* nothing was opened before */
	bool untouched; /* the keeper's: as its options say */
	bool complete;	/* what it has brought back is all that there ever was */
	bool partial; /* it is not, nothing was committed, and what could not be read may be there later */
	bool restoring, keeper_closing, closing;
	unsigned open_parts;
	void (*on_closed)(void *owner);
	void *closed_owner;
};

static void on_retry(uv_timer_t *timer);
static void check_closed(struct journaling *j);

/* ---- giving records to the keeper ------------------------------------------------------------- */

static bool writes(const struct journaling *j)
{
	return j->state == COPYING || j->state == BASED;
}

static bool put_base(struct journaling *j, bool cut)
{
	uint8_t head[JOURNAL_BASE_BYTES];
	struct buf payload = { 0 };

	journal_put_base(head, &(struct journal_base){
				       .origin = j->origin,
				       .device_state_len = image_device_state_len(j->image),
				       .cut = cut,
				       .instance = journal_instance(j->options.instance),
			       });
	(void)buf_append(&payload, head, sizeof(head));
	layout_encode(image_layout(j->image), &payload);
	if (payload.failed) {
		buf_free(&payload);
		return false; /* the next commit tries again */
	}
	(void)journal_keeper_put(j->keeper, JOURNAL_BASE, j->epoch, payload.data, payload.len,
				 payload.data);
	return true;
}

/* Behind a commit, where one is due. */
static void begin_copy(struct journaling *j)
{
	const uint64_t due = COPY_FACTOR * j->base_bytes > j->options.copy_bytes ?
				     COPY_FACTOR * j->base_bytes :
				     j->options.copy_bytes;

	if (j->copying ||
	    (j->state != BARE && !(j->state == BASED && (j->since_base >= due || j->anew))))
		return;
	if (!put_base(j, j->state == BARE))
		return;
	if (j->state == BARE)
		j->state = COPYING;
	j->copying = true;
	j->anew = false;
	j->next = j->since_base = 0;
}

void journaling_cut(struct journaling *j)
{
	if (!writes(j))
		return;
	if (j->state == BASED)
		j->claimed = STANDS;
	j->state = BARE;
	j->copying = false;
	j->open = 0;
}

void journaling_begin(struct journaling *j, uint64_t epoch, const struct journal_begin *begin)
{
	if (image_epoch(j->image) == 0)
		journaling_cut(j);
	j->open = writes(j) ? epoch : 0;
	j->open_origin = begin->origin;
	if (j->open != 0)
		(void)journal_keeper_begin(j->keeper, epoch, begin);
}

void journaling_batch(struct journaling *j, uint64_t epoch, const uint8_t *batch, size_t len,
		      void *memory)
{
	if (!writes(j) || j->open != epoch) {
		mem_free(memory);
		return;
	}
	j->since_base += len;
	(void)journal_keeper_put(j->keeper, JOURNAL_BATCH, epoch, batch, len, memory);
}

/* What is acknowledged from now on is not in the journal. Should that be lost, they wait for the end of the journal. */
static bool is_withdrawn(struct journaling *j)
{
	if (j->claimed == STANDS && journal_keeper_doubt(j->keeper))
		j->claimed = LEAVES;
	return j->claimed == GONE;
}

/* The keeper has ended without: what is acknowledged from now on is in no journal. */
static void withdraw(struct journaling *j)
{
	j->partial = false;
	if (!j->bound)
		j->bound = journal_claim_withdraw(&j->claim, &j->problem) != RC_OK;
}

/* Of this life: the journal is wanted now, not when its disks may be back. */
static void on_first_commit(struct journaling *j)
{
	if (j->state != BROKEN)
		return;
	withdraw(j);
	j->failures = 1;
	if (!j->keeper_closing)
		(void)uv_timer_start(&j->retry, on_retry, j->options.retry_ms, 0);
}

enum journaling_counts journaling_commit(struct journaling *j, uint64_t epoch,
					 const struct journal_commit *commit, uint64_t *turn,
					 struct err *err)
{
	struct journal_commit record = *commit;
	const bool leads = j->state == BASED;
	struct timespec now;
	bool waits = false;

	*turn = ++j->turns;
	if (j->turns == 1)
		on_first_commit(j);
	j->epoch = epoch;
	j->origin = j->open_origin;
	j->pieces = 0;
	j->short_of_memory = false;
	if (writes(j) && j->open == epoch) {
		(void)clock_gettime(CLOCK_REALTIME, &now);
		record.time_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
		/* If it is lost, it waits for the end of the journal. */
		waits = !journal_keeper_commit(j->keeper, epoch, *turn, &record, leads) || leads;
	} else {
		journaling_cut(j); /* an epoch is missing */
	}
	if (j->state == OPENING)
		waits = j->first || j->untouched; /* others go on without a claim */
	else if (j->state != BASED && j->state != BROKEN)
		waits = !is_withdrawn(j) || waits;
	j->open = 0;
	begin_copy(j);
	if (!j->bound)
		return waits && j->options.durable ? JOURNALING_LATER : JOURNALING_NOW;
	*err = j->problem;
	return JOURNALING_NEVER;
}

/* ---- a copy of the image ---------------------------------------------------------------------- */

/* The image is what the last epoch made it. */
static bool is_ours(const struct journaling *j)
{
	return image_epoch(j->image) == j->epoch;
}

bool journaling_is_full(const struct journaling *j)
{
	return writes(j) && journal_keeper_is_full(j->keeper);
}

bool journaling_wants_copy(const struct journaling *j, bool others_wait)
{
	return j->copying && writes(j) && j->open == 0 && is_ours(j) && !j->short_of_memory &&
	       (!others_wait || j->pieces < PIECES_MAX) &&
	       journal_keeper_backlog(j->keeper) < j->options.copy_backlog;
}

void journaling_copy(struct journaling *j)
{
	struct err err;

	j->piece_rc = image_dump(j->image, &j->next, &j->piece, &err);
}

void journaling_copied(struct journaling *j)
{
	struct buf piece = j->piece;

	j->piece = (struct buf){ .limit = DELTA_BATCH_MAX };
	if (!is_ours(j))
		journaling_cut(j);
	if (!j->copying || !writes(j) || piece.len == 0)
		buf_free(&piece);
	else
		(void)journal_keeper_put(j->keeper, JOURNAL_PAGES, j->epoch, piece.data, piece.len,
					 piece.data);
	if (!j->copying || !writes(j))
		return;
	j->pieces++;
	j->short_of_memory = j->piece_rc != RC_OK; /* until the next commit */
	if (!j->short_of_memory && j->next >= image_layout(j->image)->pages) {
		j->copying = false;
		j->whole = j->epoch;
		(void)journal_keeper_put(j->keeper, JOURNAL_WHOLE, j->epoch, NULL, 0, NULL);
	}
}

/* ---- what the keeper says --------------------------------------------------------------------- */

static void on_open(void *owner, const struct journal_found *found,
		    const struct journal_replay *replay, bool complete, const struct err *why)
{
	const bool restored = replay->epoch != 0;
	struct journaling *j = owner;

	if (found->torn > 0)
		log_info(j->options.part,
			 "journal: %llu bytes of an epoch that was not committed were "
			 "cut off",
			 (unsigned long long)found->torn);
	j->state = restored ? BASED : BARE;
	j->base_bytes = j->since_base = found->read / 2;
	j->claimed = restored || j->untouched ? STANDS : GONE; /* by the keeper */
	if (restored) {
		j->origin = replay->origin;
		j->epoch = replay->epoch;
	}
	if (j->problem.code != RC_OK)
		(void)err_set(
			&j->problem, RC_STATE,
			"the journal is open again; until a copy of the image is written to it, "
			"epochs are acknowledged from memory");
	j->complete |= complete;
	j->bound = j->first = false;
	if (j->turns == 0 || restored || is_withdrawn(j))
		j->ops->on_settled(j->owner, UINT64_MAX);
	if (j->restoring)
		j->ops->on_restored(j->owner, replay->epoch, &replay->origin, !complete, why);
	else if (j->partial && j->turns == 0)
		j->ops->on_more(j->owner);
	j->restoring = false;
}

static void on_durable(void *owner, uint64_t epoch, uint64_t turn)
{
	struct journaling *j = owner;

	if (j->state == BASED)
		j->durable = epoch;
	j->ops->on_settled(j->owner, turn);
}

/* Before there is another copy that leads to the image: nobody waits for the disk then. */
static void on_withdrawn(void *owner)
{
	struct journaling *j = owner;

	if (j->claimed != LEAVES)
		return;
	j->claimed = GONE;
	j->ops->on_settled(j->owner, UINT64_MAX);
}

static void on_whole(void *owner, uint64_t epoch, uint64_t bytes)
{
	struct journaling *j = owner;

	j->base_bytes = bytes;
	if (j->state != COPYING || j->copying || j->whole != epoch)
		return; /* of a copy that was cut off meanwhile, or one more */
	j->state = BASED;
	j->failures = 0;
	j->said = (struct repeat){ 0 };
	j->problem = (struct err){ 0 };
	log_info(j->options.part,
		 "journal: what it holds is enough to bring the replica back (%llu MiB)",
		 (unsigned long long)(bytes >> 20));
}

static void on_health(void *owner, const struct journal_health *health, bool needed)
{
	struct journaling *j = owner;
	unsigned i = 0;

	j->health = *health;
	j->lacking[0] = '\0';
	j->anew = needed && !j->copying;
	if (health->rotten != 0)
		(void)snprintf(j->lacking, sizeof(j->lacking), "the journal is damaged: %.300s; %s",
			       health->rot,
			       needed ? "another copy of the image is being written" :
					"what it leads to cannot be rewound to");
	while (i < health->count && health->copy[i].state == JOURNAL_COPY_GOOD)
		i++;
	if (i < health->count && health->count > 1 &&
	    (health->rotten == 0 || health->good < health->quorum))
		(void)snprintf(
			j->lacking, sizeof(j->lacking),
			"%sa copy of the journal is %s: %.250s; %u of %u are good, %u have to be",
			health->good < health->quorum ? "no epoch is acknowledged: " : "",
			health->copy[i].state == JOURNAL_COPY_FAILED ? "lost" : "being repaired",
			*health->copy[i].why != '\0' ? health->copy[i].why : health->copy[i].path,
			health->good, health->count, health->quorum);
	if (j->lacking[0] == '\0' && health->unmended[0] != '\0')
		(void)snprintf(j->lacking, sizeof(j->lacking),
			       "a copy of the journal is damaged: %.400s", health->unmended);
}

static void on_room(void *owner)
{
	struct journaling *j = owner;

	j->ops->on_room(j->owner);
}

static void on_keeper_closed(void *owner)
{
	struct journaling *j = owner;

	j->keeper = NULL;
	j->keeper_closing = false;
	if (j->closing) {
		check_closed(j);
		return;
	}
	/* Where nothing is protected meanwhile it is not put off. */
	(void)uv_timer_start(&j->retry, on_retry,
			     j->options.retry_ms << (j->bound ? 0 : j->failures), 0);
	j->failures += j->failures < (j->partial ? BACK_DOUBLINGS : RETRY_DOUBLINGS);
}

static void broken(struct journaling *j, const struct err *err)
{
	const char *remedy = err->code == RC_INVALID ?
				     "; put good files in place of it, or move the journal away" :
				     "";
	char text[ERR_TEXT_MAX];

	(void)err_set(&j->problem, err->code, "%.400s%s", err->text, remedy);
	j->partial = j->untouched && !j->complete;
	if (j->turns > 0)
		withdraw(j);
	else if (j->partial && !j->bound)
		(void)err_set(&j->problem, err->code,
			      "%.380s%s; when that is mended the journal is read again", err->text,
			      remedy);
	(void)snprintf(text, sizeof(text), "%.300s; until %s", err->text,
		       j->bound ?
			       "that can be removed, no epoch is acknowledged" :
			       "the journal can be written, epochs are acknowledged from memory");
	repeat_log(&j->said, LOG_LEVEL_ERROR, j->options.part, text);
	j->state = BROKEN;
	j->claimed = STANDS;
	j->copying = false;
	j->open = 0;
	if (j->restoring)
		j->ops->on_restored(j->owner, 0, &j->origin, true, &j->problem);
	j->restoring = j->first = false;
	if (j->bound)
		j->ops->on_refused(j->owner, &j->problem);
	else
		j->ops->on_settled(j->owner, UINT64_MAX);
	j->ops->on_room(j->owner);
}

static void on_broken(void *owner, bool bound, const struct err *err)
{
	struct journaling *j = owner;

	j->bound = bound;
	j->keeper_closing = true;
	journal_keeper_close(j->keeper, on_keeper_closed, j);
	broken(j, err);
}

static const struct journal_keeper_ops keeper_callbacks = {
	.on_open = on_open,
	.on_durable = on_durable,
	.on_withdrawn = on_withdrawn,
	.on_whole = on_whole,
	.on_health = on_health,
	.on_room = on_room,
	.on_broken = on_broken,
};

/* ---- life -------------------------------------------------------------------------------------- */

static int open_keeper(struct journaling *j, struct err *err)
{
	struct journal_keeper_options options = {
		.place = j->options.place,
		.claim = &j->claim,
		.image = j->restoring ? j->image : NULL,
		.instance = journal_instance(j->options.instance),
		.segment_bytes = j->options.segment_bytes,
		.backlog_bytes = j->options.backlog_bytes,
		.sync = j->options.durable,
		.history = j->options.history,
	};

	options.place.patient = j->failures > 0; /* nobody waits for it then */
	options.untouched = j->untouched =
		j->turns == 0 && j->options.restore && j->options.durable;
	j->state = OPENING;
	return journal_keeper_open(&j->keeper, j->loop, &options, &keeper_callbacks, j, err);
}

static void on_retry(uv_timer_t *timer)
{
	struct journaling *j = timer->data;
	struct err err;

	if (open_keeper(j, &err) == RC_OK)
		return;
	j->keeper = NULL;
	broken(j, &err);
	on_keeper_closed(j);
}

int journaling_open(struct journaling **out, uv_loop_t *loop, struct image *image,
		    const struct journaling_options *options, const struct journaling_ops *ops,
		    void *owner, struct err *err)
{
	struct journaling *j = mem_zalloc(1, sizeof(*j));
	int rc;

	if (j == NULL)
		return err_nomem(err, "journaling");
	j->options = *options;
	j->loop = loop;
	j->image = image;
	j->ops = ops;
	j->owner = owner;
	j->restoring = options->restore;
	j->first = true;
	(void)snprintf(j->silence, sizeof(j->silence),
		       "no epoch is acknowledged: %.300s: this disk does not answer",
		       options->place.dirs[0]);
	rc = journal_claim_open(&j->claim, options->claim_dir, err);
	if (rc == RC_OK)
		rc = open_keeper(j, err);
	if (rc != RC_OK) {
		journal_claim_close(&j->claim);
		mem_free(j);
		return rc;
	}
	(void)uv_timer_init(loop, &j->retry);
	j->retry.data = j;
	j->piece.limit = DELTA_BATCH_MAX;
	*out = j;
	return RC_OK;
}

/* ---- the past ---------------------------------------------------------------------------------- */

int journaling_mark(struct journaling *j, const char *text, uint64_t *epoch, struct err *err)
{
	const size_t len = strlen(text);
	char *payload;

	if (j->state != BASED || j->epoch == 0)
		return err_set(err, RC_STATE,
			       "the journal is %s: nothing in it leads to the present epoch",
			       state_names[j->state]);
	payload = mem_strndup(text, len);
	if (payload == NULL)
		return err_nomem(err, "a mark");
	*epoch = j->epoch;
	return journal_keeper_put(j->keeper, JOURNAL_MARK, j->epoch, (const uint8_t *)payload, len,
				  payload) ?
		       RC_OK :
		       err_nomem(err, "a mark");
}

bool journaling_history(struct journaling *j,
			void (*look)(void *owner, const struct history *history), void *owner)
{
	const bool open = j->keeper != NULL && !j->keeper_closing && j->state != OPENING;

	if (open)
		journal_keeper_history(j->keeper, look, owner);
	return open;
}

bool journaling_pin(struct journaling *j, uint64_t sequence)
{
	return j->keeper != NULL && journal_keeper_pin(j->keeper, sequence);
}

/* ---- the end ----------------------------------------------------------------------------------- */

void journaling_status(const struct journaling *j, struct journaling_status *status)
{
	const bool silent =
		j->keeper != NULL && j->health.count < 2 && journal_keeper_is_silent(j->keeper);

	*status = (struct journaling_status){
		.state = state_names[j->state],
		.problem = j->problem.code != RC_OK ? j->problem.text :
			   silent		    ? j->silence :
						      j->lacking,
		.health = &j->health,
		.durable = j->state == BASED && j->options.durable && !silent &&
			   (j->health.count < 2 || j->health.good >= j->health.quorum),
		.epoch = j->durable,
	};
	if (j->keeper == NULL)
		return;
	status->bytes = journal_keeper_bytes(j->keeper);
	status->backlog = journal_keeper_backlog(j->keeper);
	if (j->state == OPENING)
		journal_keeper_progress(j->keeper, &status->done, &status->total);
}

static void check_closed(struct journaling *j)
{
	void (*on_closed)(void *) = j->on_closed;
	void *owner = j->closed_owner;

	if (--j->open_parts > 0)
		return;
	journal_claim_close(&j->claim);
	buf_free(&j->piece);
	mem_free(j);
	on_closed(owner);
}

static void on_timer_closed(uv_handle_t *handle)
{
	check_closed(handle->data);
}

void journaling_close(struct journaling *j, void (*on_closed)(void *owner), void *owner)
{
	j->closing = true;
	j->on_closed = on_closed;
	j->closed_owner = owner;
	j->open_parts = 1 + (j->keeper != NULL);
	if (j->keeper != NULL && !j->keeper_closing)
		journal_keeper_close(j->keeper, on_keeper_closed, j);
	uv_close((uv_handle_t *)&j->retry, on_timer_closed);
}
