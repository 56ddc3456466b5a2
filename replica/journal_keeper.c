/*
 * Theory of operation
 *
 * The loop's thread appends items to a queue; the keeper's thread takes the whole queue at once, writes
 * it, and says what came of it (struct news), which an async handle brings to the loop's thread. Both
 * only meet under the mutex, and nobody holds it while the disk works.
 *
 * An item that could not be made is as bad as a record that could not be written: what follows it would
 * have no meaning. So that, too, breaks the journal.
 */
#include "replica/journal_keeper.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "replica/journal_past.h"
#include "replica/journal_start.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define SYNC_NS CLOCK_NS_PER_S /* how old what is not durable may become without `sync` */

struct item {
	struct item *next;
	enum journal_kind kind;
	uint64_t epoch, turn;
	struct journal_commit commit; /* of COMMIT, as `turn`; and: */
	bool leads;		      /* a whole base leads to it */
	bool doubt;		      /* no record: what is acknowledged from now on is not here */
	struct journal_begin begin;   /* of BEGIN */
	const uint8_t *payload;	      /* of others */
	size_t len;
	void *memory;
};

struct news {
	bool open, room, health, withdrawn, broken, bound, ended;
	uint64_t durable, whole, turn; /* epochs; 0: nothing new; the first one's turn */
	struct err error;
};

struct journal_keeper {
	char dir[JOURNAL_COPIES_MAX][JOURNAL_PATH_MAX];
	struct journal_keeper_options options;
	const struct journal_keeper_ops *ops;
	void *owner;
	uv_async_t async;
	uv_thread_t thread;
	uint64_t number;      /* of a journal that is begun */
	bool closing, broken; /* broken: as the loop's thread knows */
	void (*on_closed)(void *owner);
	void *closed_owner;
	/* of on_open; the keeper's thread does not touch them after it has said so */
	struct journal_found found;
	struct journal_replay replay;
	struct err why;
	bool complete; /* no later epoch was acknowledged */
	_Atomic uint64_t total, bytes, backlog, base_bytes;
	_Atomic uint64_t since_ns; /* it is at the same step since; 0: at none */
	atomic_bool unwanted;	   /* it is being closed */

	uv_mutex_t mutex;
	uv_cond_t wake;
	struct item *head, **tail;
	bool stop, lost; /* lost: an item could not be made; what follows is thrown away */
	struct news news;
	struct journal_health health; /* as of the last look */
	struct journal_past past;

	/* the keeper's thread */
	struct journal *journal;
	uint64_t base; /* sequence number of the BASE that has no WHOLE yet, or reading begins at */
	uint64_t last_sync_ns, unsynced, turn; /* epoch of a commit since, and its turn */
	struct journal_reached reached;	       /* behind that commit */
	uint64_t segment;		       /* its number */
	bool leads;			       /* a whole base leads to that commit */
};

/* ---- the keeper's thread ---------------------------------------------------------------------- */

/* What is not said of `news` stays as it was; of several errors the first counts. */
static void say(struct journal_keeper *k, const struct news *news)
{
	uv_mutex_lock(&k->mutex);
	k->news.open |= news->open;
	k->news.room |= news->room;
	k->news.health |= news->health;
	k->news.withdrawn |= news->withdrawn;
	k->news.ended |= news->ended;
	k->news.turn = news->durable != 0 ? news->turn : k->news.turn;
	if (news->durable != 0)
		k->news.durable = news->durable;
	if (news->whole != 0)
		k->news.whole = news->whole;
	if (news->broken && !k->news.broken) {
		k->news.broken = true;
		k->news.bound = news->bound;
		k->news.error = news->error;
	}
	uv_mutex_unlock(&k->mutex);
	(void)uv_async_send(&k->async);
}

static int on_record(void *owner, const struct journal_record *record, const uint8_t *payload,
		     struct err *err)
{
	struct journal_keeper *k = owner;
	struct journal_base base;

	if (record->kind == JOURNAL_BASE) {
		journal_get_base(&base, payload);
		if (base.instance != k->options.instance)
			return err_set(err, RC_REFUSED,
				       "this is another instance's journal; move it away");
	}
	(void)journal_past_visit(&k->past, record, payload, err);
	return k->replay.image != NULL ? journal_replay_visit(&k->replay, record, payload, err) :
					 RC_OK;
}

/* Epochs are acknowledged without it from now on; or not at all. */
static void give_up(struct journal_keeper *k, const struct err *why)
{
	struct news news = { .broken = true, .error = *why };
	struct err err;

	news.bound =
		!k->options.untouched && journal_claim_withdraw(k->options.claim, &err) != RC_OK;
	if (news.bound)
		(void)snprintf(news.error.text, sizeof(news.error.text), "%.240s; and %.240s",
			       why->text, err.text);
	journal_past_join(&k->past, NULL, NULL);
	journal_close(k->journal);
	k->journal = NULL;
	say(k, &news);
}

/* Also while the disks are waited for. */
static void look_at_health(void *owner)
{
	struct journal_keeper *k = owner;
	struct journal_health health;

	if (k->journal == NULL)
		return;
	journal_health(k->journal, &health);
	if (memcmp(&health, &k->health, sizeof(health)) == 0)
		return;
	uv_mutex_lock(&k->mutex);
	k->health = health;
	uv_mutex_unlock(&k->mutex);
	say(k, &(struct news){ .health = true });
}

/* The image is brought to what the journal holds: `why` tells where that did not do. */
static int open_and_replay(struct journal_keeper *k, const struct journal_dirs *dirs,
			   struct err *err)
{
	int rc;

	k->replay.image = k->options.image;
	k->base = journal_start_measure(dirs, 0, &k->total);
	rc = journal_open(&k->journal, &k->options.place, k->number, k->options.segment_bytes,
			  on_record, k, &k->found, err);
	if (rc == RC_OK && journal_replay_end(&k->replay, dirs, &k->found, &k->why) == RC_OK &&
	    k->replay.epoch == 0 && k->options.place.reached.sequence != 0)
		(void)err_set(&k->why, RC_STATE,
			      "what is there of it leads to no epoch: its beginning is missing");
	else if (rc != RC_OK)
		journal_replay_drop(&k->replay);
	return rc;
}

static int read_it(struct journal_keeper *k, struct err *err)
{
	const struct journal_place *place = &k->options.place;
	struct journal_dirs dirs = { 0 };
	int rc;

	if (k->options.image != NULL &&
	    journal_dirs_open(&dirs, place->dirs, place->count, err) == RC_OK)
		rc = open_and_replay(k, &dirs, err);
	else /* there is nothing to be brought back */
		rc = journal_open(&k->journal, place, k->number, k->options.segment_bytes,
				  on_record, k, &k->found, err);
	journal_dirs_close(&dirs);
	return rc;
}

/* Whether the claim goes on; if not, it is withdrawn before any epoch comes. */
static int judge_claim(struct journal_keeper *k, struct err *err)
{
	const struct journal_reached now = journal_reached(k->journal);

	k->complete = k->found.whole && k->replay.epoch != 0 &&
		      journal_claim_holds(k->options.claim, &k->found);
	if (journal_is_broken(k->journal, err))
		return (int)err->code;
	if ((k->complete && k->options.sync &&
	     journal_claim_renew(k->options.claim, &now, journal_present_segment(k->journal))) ||
	    (k->options.untouched && k->options.image == NULL))
		return RC_OK;
	return journal_claim_withdraw(k->options.claim, err);
}

static void open_it(struct journal_keeper *k)
{
	struct err err = { 0 };
	int rc = read_it(k, &err);

	if (rc == RC_OK) {
		journal_past_join(&k->past, k->journal, &k->found);
		rc = judge_claim(k, &err);
		atomic_store(&k->bytes, journal_bytes(k->journal));
		if (rc == RC_OK || k->replay.epoch != 0)
			say(k, &(struct news){ .open = true });
	}
	if (rc != RC_OK)
		give_up(k, &err);
}

static int sync_commits(struct journal_keeper *k, struct err *err)
{
	const uint64_t epoch = k->unsynced;
	int rc;

	k->last_sync_ns = clock_now_ns();
	if (epoch == 0)
		return RC_OK;
	rc = journal_sync(k->journal, err);
	k->unsynced = 0;
	if (rc == RC_OK && k->options.sync && k->leads)
		journal_claim_keep(k->options.claim, &k->reached, k->segment);
	if (rc == RC_OK)
		say(k, &(struct news){ .durable = epoch, .turn = k->turn });
	return rc;
}

/* What was before a base is history once the base is on the disk. */
static int end_base(struct journal_keeper *k, uint64_t epoch, struct err *err)
{
	int rc = journal_past_append(&k->past, JOURNAL_WHOLE, epoch, NULL, 0, err);

	atomic_store(&k->base_bytes, journal_bytes_from(k->journal, k->base));
	if (rc == RC_OK)
		say(k, &(struct news){ .whole = epoch });
	return rc;
}

static int write_item(struct journal_keeper *k, const struct item *item, struct err *err)
{
	uint8_t begin[JOURNAL_BEGIN_BYTES];
	int rc;

	if (item->doubt) {
		k->leads = false;
		rc = journal_claim_withdraw(k->options.claim, err);
		if (rc == RC_OK)
			say(k, &(struct news){ .withdrawn = true });
		return rc;
	}
	if (item->kind == JOURNAL_BEGIN) {
		journal_put_begin(begin, &item->begin);
		return journal_append(k->journal, JOURNAL_BEGIN, item->epoch, begin, sizeof(begin),
				      err);
	}
	if (item->kind == JOURNAL_COMMIT) {
		k->unsynced = item->epoch;
		k->turn = item->turn;
		k->leads = item->leads;
		rc = journal_past_commit(&k->past, item->epoch, &item->commit, err);
		k->reached = journal_reached(k->journal);
		k->segment = journal_present_segment(k->journal);
		return rc;
	}
	if (item->kind == JOURNAL_WHOLE)
		return end_base(k, item->epoch, err);
	if (item->kind == JOURNAL_BASE)
		k->base = journal_next_sequence(k->journal);
	if (item->kind == JOURNAL_BASE || item->kind == JOURNAL_MARK)
		return journal_past_append(&k->past, item->kind, item->epoch, item->payload,
					   item->len, err);
	return journal_append(k->journal, item->kind, item->epoch, item->payload,
			      (uint32_t)item->len, err);
}

static void free_item(struct journal_keeper *k, struct item *item)
{
	const uint64_t before = atomic_fetch_sub(&k->backlog, item->len);

	if (before > k->options.backlog_bytes && before - item->len <= k->options.backlog_bytes)
		say(k, &(struct news){ .room = true });
	mem_free(item->memory);
	mem_free(item);
}

static void write_items(struct journal_keeper *k, struct item *items)
{
	struct err err = { 0 };
	struct item *item;
	int rc = RC_OK;

	while (items != NULL) {
		item = items;
		items = item->next;
		atomic_store(&k->since_ns, clock_now_ns());
		if (rc == RC_OK && k->journal != NULL)
			rc = write_item(k, item, &err);
		free_item(k, item);
	}
	if (rc == RC_OK && k->journal != NULL &&
	    (k->options.sync || clock_now_ns() - k->last_sync_ns >= SYNC_NS))
		rc = sync_commits(k, &err);
	if (rc == RC_OK && k->journal != NULL)
		rc = journal_past_trim(&k->past, &err);
	atomic_store(&k->since_ns, 0);
	if (k->journal != NULL)
		atomic_store(&k->bytes, journal_bytes(k->journal));
	look_at_health(k);
	if (rc != RC_OK)
		give_up(k, &err);
}

/* What there is to be written, or NULL after a while; *lost: and something is missing behind it. False: nothing more will come. */
static bool next_items(struct journal_keeper *k, struct item **items, bool *lost)
{
	bool goes_on;

	uv_mutex_lock(&k->mutex);
	if (k->head == NULL && !k->stop && !(k->lost && k->journal != NULL))
		(void)uv_cond_timedwait(&k->wake, &k->mutex, SYNC_NS);
	*items = k->head;
	k->head = NULL;
	k->tail = &k->head;
	*lost = k->lost;
	k->options.untouched = k->options.untouched && *items == NULL && !k->lost;
	goes_on = *items != NULL || !k->stop;
	uv_mutex_unlock(&k->mutex);
	return goes_on;
}

static void run(void *arg)
{
	struct journal_keeper *k = arg;
	struct item *items;
	struct err err = { 0 };
	bool lost;

	open_it(k);
	while (next_items(k, &items, &lost)) {
		write_items(k, items);
		if (!lost || k->journal == NULL)
			continue;
		(void)err_nomem(&err, "a record of the journal");
		give_up(k, &err);
	}
	if (k->journal != NULL && sync_commits(k, &err) != RC_OK)
		say(k, &(struct news){ .broken = true, .error = err });
	journal_close(k->journal);
	say(k, &(struct news){ .ended = true });
}

/* ---- the loop's thread ------------------------------------------------------------------------- */

static void on_async_closed(uv_handle_t *handle)
{
	struct journal_keeper *k = handle->data;
	void (*on_closed)(void *) = k->on_closed;
	void *owner = k->closed_owner;

	uv_cond_destroy(&k->wake);
	uv_mutex_destroy(&k->mutex);
	journal_past_close(&k->past);
	mem_free(k);
	if (on_closed != NULL)
		on_closed(owner);
}

static void tell(struct journal_keeper *k, const struct news *news,
		 const struct journal_health *health)
{
	if (news->open)
		k->ops->on_open(k->owner, &k->found, &k->replay, k->complete, &k->why);
	if (news->health)
		k->ops->on_health(k->owner, health,
				  health->rotten != 0 &&
					  health->rotten >= journal_past_needed(&k->past));
	if (news->durable != 0 && !k->closing)
		k->ops->on_durable(k->owner, news->durable, news->turn);
	if (news->withdrawn && !k->closing)
		k->ops->on_withdrawn(k->owner);
	if (news->whole != 0 && !k->closing)
		k->ops->on_whole(k->owner, news->whole, atomic_load(&k->base_bytes));
	if (news->broken && !k->broken && !k->closing) {
		k->broken = true;
		k->ops->on_broken(k->owner, news->bound, &news->error);
	}
	if (news->room && !k->closing)
		k->ops->on_room(k->owner);
}

static void deliver(uv_async_t *async)
{
	struct journal_keeper *k = async->data;
	struct journal_health health;
	struct news news;

	uv_mutex_lock(&k->mutex);
	health = k->health;
	news = k->news;
	k->news = (struct news){ 0 };
	uv_mutex_unlock(&k->mutex);
	if (!k->closing)
		tell(k, &news, &health);
	if (!news.ended)
		return;
	(void)uv_thread_join(&k->thread);
	uv_close((uv_handle_t *)async, on_async_closed);
}

/* After an error nothing is left, not even `k`. */
static int start(struct journal_keeper *k, uv_loop_t *loop, struct err *err)
{
	const int mutex = uv_mutex_init(&k->mutex), cond = uv_cond_init(&k->wake);
	const int async = uv_async_init(loop, &k->async, deliver);

	k->async.data = k;
	if (mutex == 0 && cond == 0 && async == 0 && uv_thread_create(&k->thread, run, k) == 0)
		return RC_OK;
	if (async == 0) {
		uv_close((uv_handle_t *)&k->async, on_async_closed);
	} else {
		uv_cond_destroy(&k->wake);
		uv_mutex_destroy(&k->mutex);
		journal_past_close(&k->past);
		mem_free(k);
	}
	return err_nomem(err, "a journal's keeper");
}

static bool take_place(struct journal_keeper *k, const struct journal_place *place)
{
	bool fit = place->count > 0 && place->count <= JOURNAL_COPIES_MAX;
	unsigned i;

	for (i = 0; fit && i < place->count; i++) {
		fit = snprintf(k->dir[i], JOURNAL_PATH_MAX, "%s", place->dirs[i]) <
		      JOURNAL_PATH_MAX;
		k->options.place.dirs[i] = k->dir[i];
	}
	k->options.place.stop = &k->unwanted;
	k->options.place.on_wait = look_at_health;
	k->options.place.owner = k;
	k->options.place.reached = journal_claim_reached(k->options.claim);
	if (k->options.image == NULL && !k->options.untouched)
		k->options.place.reached.sequence = 0; /* it may be left behind */
	return fit;
}

int journal_keeper_open(struct journal_keeper **out, uv_loop_t *loop,
			const struct journal_keeper_options *options,
			const struct journal_keeper_ops *ops, void *owner, struct err *err)
{
	struct journal_keeper *k = mem_zalloc(1, sizeof(*k));
	int rc;

	if (k == NULL)
		return err_nomem(err, "a journal's keeper");
	k->options = *options;
	k->ops = ops;
	k->owner = owner;
	k->tail = &k->head;
	if (!take_place(k, &options->place) ||
	    uv_random(NULL, NULL, &k->number, sizeof(k->number), 0, NULL) != 0) {
		mem_free(k);
		return err_set(err, RC_LIMIT, "the journal's path is too long");
	}
	k->past.dir = k->dir[0];
	k->past.limits = options->history;
	rc = journal_past_open(&k->past, err);
	if (rc != RC_OK) {
		mem_free(k);
		return rc;
	}
	rc = start(k, loop, err);
	if (rc == RC_OK)
		*out = k;
	return rc;
}

static bool put(struct journal_keeper *k, const struct item *what)
{
	struct item *item = mem_alloc(sizeof(*item));

	if (item == NULL)
		mem_free(what->memory);
	else
		*item = *what;
	(void)atomic_fetch_add(&k->backlog, item != NULL ? item->len : 0);
	uv_mutex_lock(&k->mutex);
	if (item == NULL) {
		k->lost = true;
	} else if (!k->lost) {
		item->next = NULL;
		*k->tail = item;
		k->tail = &item->next;
		item = NULL;
	}
	uv_cond_signal(&k->wake);
	uv_mutex_unlock(&k->mutex);
	if (item != NULL) /* something before it is missing */
		free_item(k, item);
	return !k->lost;
}

bool journal_keeper_put(struct journal_keeper *k, enum journal_kind kind, uint64_t epoch,
			const uint8_t *payload, size_t len, void *memory)
{
	return put(k, &(struct item){ .kind = kind,
				      .epoch = epoch,
				      .payload = payload,
				      .len = len,
				      .memory = memory });
}

bool journal_keeper_begin(struct journal_keeper *k, uint64_t epoch,
			  const struct journal_begin *begin)
{
	return put(k, &(struct item){ .kind = JOURNAL_BEGIN, .epoch = epoch, .begin = *begin });
}

bool journal_keeper_commit(struct journal_keeper *k, uint64_t epoch, uint64_t turn,
			   const struct journal_commit *commit, bool leads)
{
	return put(k, &(struct item){ .kind = JOURNAL_COMMIT,
				      .epoch = epoch,
				      .turn = turn,
				      .commit = *commit,
				      .leads = leads });
}

bool journal_keeper_doubt(struct journal_keeper *k)
{
	return put(k, &(struct item){ .doubt = true });
}

void journal_keeper_history(struct journal_keeper *k,
			    void (*look)(void *owner, const struct history *history), void *owner)
{
	journal_past_look(&k->past, look, owner);
}

bool journal_keeper_pin(struct journal_keeper *k, uint64_t sequence)
{
	return journal_past_pin(&k->past, sequence);
}

bool journal_keeper_is_full(const struct journal_keeper *k)
{
	return atomic_load(&k->backlog) > k->options.backlog_bytes;
}

uint64_t journal_keeper_bytes(const struct journal_keeper *k)
{
	return atomic_load(&k->bytes);
}

uint64_t journal_keeper_backlog(const struct journal_keeper *k)
{
	return atomic_load(&k->backlog);
}

bool journal_keeper_is_silent(const struct journal_keeper *k)
{
	const uint64_t since = atomic_load(&k->since_ns), now = clock_now_ns();
	const uint64_t limit = k->options.place.silent_ms * CLOCK_NS_PER_MS;

	return limit > 0 && since != 0 && now > since && now - since > limit;
}

void journal_keeper_progress(const struct journal_keeper *k, uint64_t *done, uint64_t *total)
{
	*total = atomic_load(&k->total);
	*done = atomic_load(&k->replay.bytes);
}

void journal_keeper_close(struct journal_keeper *k, void (*on_closed)(void *owner), void *owner)
{
	k->closing = true;
	k->on_closed = on_closed;
	k->closed_owner = owner;
	atomic_store(&k->unwanted, true);
	uv_mutex_lock(&k->mutex);
	k->stop = true;
	uv_cond_signal(&k->wake);
	uv_mutex_unlock(&k->mutex);
}
