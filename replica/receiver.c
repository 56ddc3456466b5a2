/*
 * Theory of operation. A queue of messages and a pump that starts what may start:
 *
 *   begin     waits until nothing runs, then opens the epoch in the image
 *   batch     starts a job when its kind of epoch allows another one (a first copy: one at a time)
 *   end       waits until nothing runs, then commits in a job of its own; with a journal it may have
 *             to wait after that until it is on the disk
 *
 * Between two epochs, when the journal wants it, a job copies a piece of the image. A job that reads it for the owner runs
 * beside what there is; nothing begins or ends before it is over. Half a first copy may be kept between two connections: its
 * batches came in order, each once, and so does the rest.
 *
 * A fault drops the epoch and turns the receiver deaf until receiver_drop() is through: what follows it cannot be applied.
 */
#include "replica/receiver.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "appliance/base/workers.h"

#include <string.h>

#define JOBS_MAX 4	   /* threads: a disk, or its target, may hold them for long */
#define MESSAGES_MAX 65536 /* a window of small batches; messages cost memory beyond their bytes */
#define EPOCH_MAX (UINT64_C(1) << 62) /* later ones can still be counted */

enum kind { BEGIN, BATCH, END, COPY, ASIDE };

struct message {
	struct message *next;
	struct receiver *receiver;
	struct workers_job job;
	enum kind kind;
	uint64_t epoch, arrived_ns, turn;
	struct journal_origin origin;
	bool first_copy;
	struct wire_commit commit;
	struct receiver_aside aside;
	struct err err;
	size_t len;
	uint8_t batch[];
};

struct receiver {
	struct workers *workers;
	struct image *image;
	const struct receiver_ops *ops;
	void *owner;
	void (*on_closed)(void *owner);
	void *closed_owner;
	void (*on_idle)(void *owner);
	struct message *head, **tail;
	size_t queued, messages;
	unsigned running;
	bool serial;   /* the open epoch's batches go one by one */
	bool deaf;     /* after a fault */
	bool dropping; /* receiver_drop() was called and is not through */
	bool closing, pumping;
	bool hurry; /* and does not wait for the journal; until the next epoch the image may be running */
	struct journaling *journal;		     /* NULL: none */
	struct message *unsettled, **last_unsettled; /* ends whose epochs are in the image only */
	bool copying, is_aside;			     /* a job is, and one of receiver_aside() */
	/* What arrives: the open epoch as the peer sees it (0: none), its batches so far. */
	uint64_t open_epoch, open_batches;
	bool first_copy, kept; /* it is a first copy's; it waits for receiver_resume() */
	/* The image has an epoch open. */
	bool image_open;
};

static struct message *message_new(struct receiver *receiver, enum kind kind, uint64_t epoch,
				   size_t len)
{
	struct message *message = mem_alloc(sizeof(*message) + len);

	if (message != NULL) {
		receiver->messages++;
		*message = (struct message){
			.receiver = receiver, .kind = kind, .epoch = epoch, .len = len
		};
	}
	return message;
}

/* A message is no longer queued: its bytes go back to the credit. */
static void give_back(struct receiver *receiver, size_t len)
{
	receiver->queued -= len;
	receiver->messages--;
	if (len > 0 && !receiver->closing)
		receiver->ops->on_consumed(receiver->owner, len);
}

static void message_done(struct message *message)
{
	struct receiver *receiver = message->receiver;
	const size_t len = message->kind == BATCH ? message->len : 0;

	mem_free(message);
	give_back(receiver, len);
}

/* The same of a batch that was decoded: the journal keeps its bytes. */
static void batch_done(struct message *message)
{
	struct receiver *receiver = message->receiver;
	const size_t len = message->len;

	journaling_batch(receiver->journal, message->epoch, message->batch, len, message);
	give_back(receiver, len);
}

static struct message *pop(struct receiver *receiver)
{
	struct message *message = receiver->head;

	receiver->head = message->next;
	if (receiver->head == NULL)
		receiver->tail = &receiver->head;
	return message;
}

static void fault(struct receiver *receiver, uint64_t epoch, const struct err *err)
{
	if (receiver->deaf)
		return;
	receiver->deaf = true;
	if (!receiver->closing)
		receiver->ops->on_fault(receiver->owner, epoch, err);
}

static void pump(struct receiver *receiver);

static void run(struct workers_job *job)
{
	struct message *message = job->owner;
	const struct wire_commit *commit = &message->commit;

	if (message->kind == COPY)
		journaling_copy(message->receiver->journal);
	else if (message->kind == ASIDE)
		message->aside.work(message->aside.owner, message->receiver->image);
	else if (message->kind == BATCH)
		(void)image_batch(message->receiver->image, message->batch, message->len,
				  &message->err);
	else
		(void)image_commit(message->receiver->image, commit->pages, commit->hash,
				   commit->device_state_len, &message->err);
}

static void tell_committed(struct receiver *receiver, struct message *end)
{
	if (!receiver->closing)
		receiver->ops->on_committed(receiver->owner, end->epoch,
					    clock_now_ns() - end->arrived_ns);
	message_done(end);
}

static void committed(struct receiver *receiver, struct message *end)
{
	const struct journal_commit record = {
		.batches = end->commit.batches,
		.pages = end->commit.pages,
		.hash = end->commit.hash,
		.device_state_len = end->commit.device_state_len,
	};
	const enum journaling_counts counts =
		receiver->journal == NULL ? JOURNALING_NOW :
					    journaling_commit(receiver->journal, end->epoch,
							      &record, &end->turn, &end->err);

	if (counts == JOURNALING_NOW) {
		tell_committed(receiver, end);
		return;
	}
	if (counts == JOURNALING_NEVER) {
		fault(receiver, end->epoch, &end->err);
		message_done(end);
		return;
	}
	end->next = NULL;
	*receiver->last_unsettled = end;
	receiver->last_unsettled = &end->next;
}

static struct message *pop_unsettled(struct receiver *receiver)
{
	struct message *end = receiver->unsettled;

	receiver->unsettled = end->next;
	if (receiver->unsettled == NULL)
		receiver->last_unsettled = &receiver->unsettled;
	return end;
}

static void on_settled(void *owner, uint64_t turn)
{
	struct receiver *receiver = owner;

	while (receiver->unsettled != NULL && receiver->unsettled->turn <= turn)
		tell_committed(receiver, pop_unsettled(receiver));
	pump(receiver);
}

void receiver_forget(struct receiver *receiver)
{
	while (receiver->unsettled != NULL)
		message_done(pop_unsettled(receiver));
	pump(receiver);
}

/* They are in the image, and nobody is told. */
static void on_refused(void *owner, const struct err *err)
{
	const struct receiver *receiver = owner;

	if (receiver->unsettled != NULL)
		fault(owner, receiver->unsettled->epoch, err);
	receiver_forget(owner);
}

static void ran(struct workers_job *job)
{
	struct message *message = job->owner;
	struct receiver *receiver = message->receiver;
	const bool well = message->err.code == RC_OK;

	if (message->kind == END)
		receiver->image_open = false;
	if (message->err.code != RC_OK)
		fault(receiver, message->epoch, &message->err);
	if (message->kind == COPY) {
		receiver->copying = false;
		journaling_copied(receiver->journal);
		message_done(message);
	} else if (message->kind == ASIDE) {
		receiver->is_aside = false;
		message->aside.done(message->aside.owner);
		message_done(message);
	} else if (message->kind == END && well) {
		committed(receiver, message);
	} else if (message->kind == BATCH && well && receiver->journal != NULL) {
		batch_done(message);
	} else {
		message_done(message);
	}
	receiver->running--; /* only now: a callback that closes us must find a job running */
	pump(receiver);
}

static void start(struct receiver *receiver, struct message *message)
{
	message->job.owner = message;
	receiver->running++;
	workers_queue(receiver->workers, &message->job, run, ran);
}

/* Also when a message is about to begin an epoch. */
static bool start_copy(struct receiver *receiver)
{
	struct message *copy;

	if (receiver->journal == NULL || receiver->running > 0 || receiver->image_open ||
	    receiver->closing || receiver->dropping || receiver->hurry ||
	    !journaling_wants_copy(receiver->journal, receiver->head != NULL))
		return false;
	copy = message_new(receiver, COPY, 0, 0);
	if (copy == NULL)
		return false;
	receiver->copying = true;
	start(receiver, copy);
	return true;
}

static void begin(struct receiver *receiver, struct message *message)
{
	receiver->hurry = receiver->hurry && receiver->dropping; /* this one came before that */
	/* Into an image without an epoch, whatever the peer says of it. */
	receiver->serial = message->first_copy || image_epoch(receiver->image) == 0;
	if (image_begin(receiver->image, message->epoch, &message->err) != RC_OK) {
		fault(receiver, message->epoch, &message->err);
	} else {
		receiver->image_open = true;
		if (receiver->journal != NULL)
			journaling_begin(receiver->journal, message->epoch,
					 &(struct journal_begin){ message->origin,
								  receiver->serial });
	}
	message_done(message);
}

/* Starts the message at the head if it may; false: not now. */
static bool step(struct receiver *receiver)
{
	struct message *message = receiver->head;

	if (receiver->deaf) {
		message_done(pop(receiver));
		return true;
	}
	if (receiver->running >= (message->kind == BATCH && !receiver->serial ? JOBS_MAX : 1))
		return false;
	if (message->kind == BATCH && receiver->journal != NULL && !receiver->dropping &&
	    journaling_is_full(receiver->journal))
		return false;
	if (message->kind == BEGIN && start_copy(receiver))
		return false;
	(void)pop(receiver);
	if (message->kind == BEGIN)
		begin(receiver, message);
	else
		start(receiver, message);
	return true;
}

static void finish_close(void *closing)
{
	struct receiver *receiver = closing;
	void (*on_closed)(void *) = receiver->on_closed;
	void *owner = receiver->closed_owner;

	workers_close(receiver->workers);
	mem_free(receiver);
	if (on_closed != NULL)
		on_closed(owner);
}

/* Removes the messages of the epoch whose end did not arrive: the last ones of the queue. */
static void cut_open_epoch(struct receiver *receiver)
{
	struct message **at = &receiver->head, *message;

	while (*at != NULL && (*at)->epoch != receiver->open_epoch)
		at = &(*at)->next;
	message = *at;
	*at = NULL;
	receiver->tail = at;
	while (message != NULL) {
		struct message *next = message->next;

		message_done(message);
		message = next;
	}
	receiver->open_epoch = 0;
	receiver->kept = false;
}

/* Nothing is queued and nothing runs. */
static void idle(struct receiver *receiver)
{
	void (*on_idle)(void *) = receiver->on_idle;

	if (receiver->kept && receiver->deaf)
		cut_open_epoch(receiver); /* it cannot go on */
	if (receiver->image_open && receiver->open_epoch == 0) {
		/* Dropped half-way, or a fault: nothing more of this epoch will come. */
		image_abort(receiver->image);
		receiver->image_open = false;
	}
	if (receiver->dropping && !receiver->closing &&
	    (receiver->hurry || receiver->unsettled == NULL)) {
		receiver->dropping = false;
		receiver->deaf = false;
		receiver->on_idle = NULL;
		receiver->pumping = true; /* should it close us, that waits until we are back */
		if (on_idle != NULL)
			on_idle(receiver->owner);
		receiver->pumping = false;
	}
	if (!receiver->closing) {
		(void)start_copy(receiver);
	} else if (receiver->running == 0) {
		receiver->pumping = true; /* for good */
		on_settled(receiver, UINT64_MAX);
		if (receiver->journal != NULL)
			journaling_close(receiver->journal, finish_close, receiver);
		else
			finish_close(receiver);
	}
}

static void pump(struct receiver *receiver)
{
	if (receiver->pumping)
		return; /* called back from below: the pump that runs sees what there is */
	receiver->pumping = true;
	while (receiver->head != NULL && step(receiver))
		;
	receiver->pumping = false;
	if (receiver->head == NULL && receiver->running == 0)
		idle(receiver);
}

static void push(struct receiver *receiver, struct message *message)
{
	*receiver->tail = message;
	receiver->tail = &message->next;
	pump(receiver);
}

int receiver_begin(struct receiver *receiver, uint64_t epoch, const struct journal_origin *origin,
		   bool first_copy, struct err *err)
{
	struct message *message;

	if (receiver->open_epoch != 0)
		return err_set(err, RC_INVALID, "epoch %llu begins inside epoch %llu",
			       (unsigned long long)epoch, (unsigned long long)receiver->open_epoch);
	if (epoch == 0 || epoch > EPOCH_MAX)
		return err_set(err, RC_INVALID, "an epoch numbered %llu",
			       (unsigned long long)epoch);
	if (receiver->messages >= MESSAGES_MAX)
		return err_set(err, RC_LIMIT, "more than %d messages are waiting", MESSAGES_MAX);
	message = message_new(receiver, BEGIN, epoch, 0);
	if (message == NULL)
		return err_nomem(err, "an epoch");
	message->first_copy = first_copy;
	message->origin = *origin;
	receiver->open_epoch = epoch;
	receiver->open_batches = 0;
	receiver->first_copy = first_copy;
	push(receiver, message);
	return RC_OK;
}

int receiver_resume(struct receiver *receiver, uint64_t epoch, struct err *err)
{
	if (!receiver->kept || receiver->open_epoch != epoch || receiver->dropping)
		return err_set(err, RC_INVALID, "the rest of an epoch that was not kept");
	receiver->kept = false;
	return RC_OK;
}

int receiver_batch(struct receiver *receiver, const uint8_t *batch, size_t len, struct err *err)
{
	struct message *message;

	if (receiver->open_epoch == 0 || receiver->kept)
		return err_set(err, RC_INVALID, "a batch outside of an epoch");
	if (receiver->messages >= MESSAGES_MAX)
		return err_set(err, RC_LIMIT, "more than %d messages are waiting", MESSAGES_MAX);
	message = message_new(receiver, BATCH, receiver->open_epoch, len);
	if (message == NULL)
		return err_nomem(err, "a batch");
	memcpy(message->batch, batch, len);
	receiver->open_batches++;
	receiver->queued += len;
	push(receiver, message);
	return RC_OK;
}

int receiver_end(struct receiver *receiver, uint64_t epoch, const struct wire_commit *commit,
		 struct err *err)
{
	struct message *message;

	if (epoch == 0 || epoch != receiver->open_epoch || receiver->kept)
		return err_set(err, RC_INVALID, "commit of epoch %llu inside epoch %llu",
			       (unsigned long long)epoch, (unsigned long long)receiver->open_epoch);
	if (commit->batches != receiver->open_batches)
		return err_set(err, RC_INVALID, "epoch %llu has %llu batches, its commit says %llu",
			       (unsigned long long)epoch,
			       (unsigned long long)receiver->open_batches,
			       (unsigned long long)commit->batches);
	message = message_new(receiver, END, epoch, 0);
	if (message == NULL)
		return err_nomem(err, "a commit");
	message->commit = *commit;
	message->arrived_ns = clock_now_ns();
	receiver->open_epoch = 0;
	push(receiver, message);
	return RC_OK;
}

int receiver_aside(struct receiver *receiver, const struct receiver_aside *aside, struct err *err)
{
	struct message *message;

	if (receiver->closing || receiver->dropping || receiver->is_aside)
		return err_set(err, RC_STATE, "the image cannot be read now");
	message = message_new(receiver, ASIDE, 0, 0);
	if (message == NULL)
		return err_nomem(err, "a job");
	message->aside = *aside;
	receiver->is_aside = true;
	start(receiver, message);
	return RC_OK;
}

static void let_go(struct receiver *receiver, bool keep, bool hurry, void (*on_idle)(void *owner))
{
	receiver->kept = keep;
	if (receiver->open_epoch != 0 && !keep)
		cut_open_epoch(receiver);
	receiver->on_idle = on_idle;
	receiver->dropping = true;
	receiver->hurry = hurry;
	pump(receiver);
}

void receiver_drop(struct receiver *receiver, bool hurry, void (*on_idle)(void *owner))
{
	let_go(receiver, false, hurry, on_idle);
}

void receiver_keep(struct receiver *receiver, void (*on_idle)(void *owner))
{
	let_go(receiver, receiver->open_epoch != 0 && receiver->first_copy && !receiver->deaf,
	       false, on_idle);
}

bool receiver_has_kept(const struct receiver *receiver)
{
	return receiver->kept;
}

uint64_t receiver_first_copy(const struct receiver *receiver, uint64_t *batches)
{
	*batches = receiver->open_batches;
	return receiver->first_copy ? receiver->open_epoch : 0;
}

bool receiver_is_idle(const struct receiver *receiver)
{
	return receiver->head == NULL && receiver->open_epoch == 0 &&
	       receiver->running == (unsigned)receiver->copying + (unsigned)receiver->is_aside;
}

size_t receiver_queued(const struct receiver *receiver)
{
	return receiver->queued;
}

struct journaling *receiver_journal(const struct receiver *receiver)
{
	return receiver->journal;
}

void receiver_close(struct receiver *receiver, void (*on_closed)(void *owner), void *owner)
{
	if (receiver->closing)
		return;
	receiver->closing = true;
	receiver->on_closed = on_closed;
	receiver->closed_owner = owner;
	receiver->deaf = true;
	receiver->open_epoch = 0;
	pump(receiver);
}

/* ---- life -------------------------------------------------------------------------------------- */

static void on_restored(void *owner, uint64_t epoch, const struct journal_origin *origin,
			bool behind, const struct err *why)
{
	const struct receiver *receiver = owner;

	receiver->ops->on_restored(receiver->owner, epoch, origin, behind, why);
}

static void on_more(void *owner)
{
	const struct receiver *receiver = owner;

	receiver->ops->on_more(receiver->owner);
}

static void on_room(void *owner)
{
	pump(owner);
}

static const struct journaling_ops journal_callbacks = { on_restored, on_settled, on_more,
							 on_refused, on_room };

int receiver_create(struct receiver **out, uv_loop_t *loop, struct image *image,
		    const struct journaling_options *journal, const struct receiver_ops *ops,
		    void *owner, struct err *err)
{
	struct receiver *receiver = mem_zalloc(1, sizeof(*receiver));
	int rc;

	if (receiver == NULL)
		return err_nomem(err, "receiver");
	receiver->image = image;
	receiver->ops = ops;
	receiver->owner = owner;
	receiver->tail = &receiver->head;
	receiver->last_unsettled = &receiver->unsettled;
	rc = workers_open(&receiver->workers, loop, JOBS_MAX, err);
	if (rc == RC_OK && journal != NULL)
		rc = journaling_open(&receiver->journal, loop, image, journal, &journal_callbacks,
				     receiver, err);
	if (rc == RC_OK) {
		*out = receiver;
		return RC_OK;
	}
	workers_close(receiver->workers);
	mem_free(receiver);
	return rc;
}
