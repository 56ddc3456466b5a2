/*
 * Theory of operation. Two queues, one cursor:
 *
 *   waiting chunks ──(budget has room, not held)──► encoder ──► epochs, in order
 *
 *   epochs:  [batch batch batch commit] [batch batch ...
 *            ▲ acknowledged here               ▲ cursor: the next thing to send
 *
 * The pump sends from the cursor as long as the transport takes it. An acknowledgement frees epochs
 * from the front, and of a first copy, which is the front one, the standby's word that it has received
 * batches frees these; a lost connection moves the cursor back to the front. A batch that the transport
 * still holds when its epoch is freed is marked dead and freed by its release. The budget counts
 * encoded bytes, plus what chunks in the encoder may yet become, so that it cannot be overrun by
 * what is already on its way through it.
 */
#include "replica/sender.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"

#include <assert.h>

struct batch {
	struct batch *next;
	uint8_t *data;
	size_t len;
	bool in_transport;
	bool dead; /* free on release */
};

struct epoch {
	struct epoch *next;
	uint64_t number;
	enum wire_epoch kind; /* REST: the standby has the beginning of the first copy */
	bool first_copy;
	uint64_t received,
		given; /* of a first copy: batches that the standby has, that the transport was given */
	bool unkept;	       /* its sent batches are gone: it cannot be sent again */
	bool ended;	       /* `commit` is complete */
	bool begun, committed; /* sent on this connection */
	bool told;	       /* its commit has been sent, on this connection or an earlier one */
	struct wire_commit commit;
	uint64_t captured_ns;		     /* end of its capture */
	struct batch *first, *last, *cursor; /* cursor: next batch to send */
	bool cursor_at_end;		     /* every present batch is sent */
	size_t bytes;
};

/* The end of an epoch's capture: waits behind its chunks, goes through the encoder with them. */
struct mark {
	struct mark *next;
	uint64_t epoch;
	uint32_t device_state_len;
	uint64_t captured_ns, pause_ns;
};

struct sender {
	const struct sender_ops *ops;
	void *owner;
	void (*on_closed)(void *owner);
	struct encoder *encoder;
	struct delta_state *delta;
	uint64_t first_epoch, newest, acknowledged;
	size_t budget, bytes, encoding; /* encoding: chunk bytes now in the encoder */
	uint32_t unacknowledged;
	bool held, up, closing, pumping;
	bool receipts; /* of the first copy */
	struct chunk *waiting, **waiting_end;
	struct epoch *epochs, **epochs_end;
	struct mark *ends, **ends_end; /* of epochs that have chunks waiting */
};

static void fail(struct sender *sender, const struct err *err)
{
	if (!sender->closing)
		sender->ops->failed(sender->owner, err);
}

/* Epochs and batches ------------------------------------------------------------------------- */

static struct epoch *epoch_find(struct sender *sender, uint64_t number)
{
	struct epoch *epoch;

	for (epoch = sender->epochs; epoch != NULL; epoch = epoch->next) {
		if (epoch->number == number)
			return epoch;
	}
	epoch = mem_zalloc(1, sizeof(*epoch));
	if (epoch == NULL)
		return NULL;
	epoch->number = number;
	epoch->first_copy = number == sender->first_epoch;
	epoch->kind = epoch->first_copy ? WIRE_EPOCH_COPY : WIRE_EPOCH_CHECKPOINT;
	epoch->cursor_at_end = true;
	*sender->epochs_end = epoch;
	sender->epochs_end = &epoch->next;
	return epoch;
}

static void batch_free(struct batch *batch)
{
	mem_free(batch->data);
	mem_free(batch);
}

static void batch_drop(struct batch *batch)
{
	if (batch->in_transport)
		batch->dead = true;
	else
		batch_free(batch);
}

static void batch_released(void *context)
{
	struct batch *batch = context;

	batch->in_transport = false;
	if (batch->dead)
		batch_free(batch);
}

static void epoch_free(struct sender *sender, struct epoch *epoch)
{
	struct batch *batch, *next;

	for (batch = epoch->first; batch != NULL; batch = next) {
		next = batch->next;
		batch_drop(batch);
	}
	sender->bytes -= epoch->bytes;
	mem_free(epoch);
}

/* Chunks into the encoder -------------------------------------------------------------------- */

static bool has_room(const struct sender *sender)
{
	return sender->bytes + sender->encoding < sender->budget;
}

static void end_epoch(struct sender *sender)
{
	struct mark *mark = sender->ends;
	struct err err = { 0 };

	sender->ends = mark->next;
	if (sender->ends == NULL)
		sender->ends_end = &sender->ends;
	if (encoder_end_epoch(sender->encoder, mark->epoch, mark, &err) != RC_OK) {
		mem_free(mark);
		fail(sender, &err);
	}
}

static void feed_chunk(struct sender *sender)
{
	struct chunk *chunk = sender->waiting;

	sender->waiting = chunk->next;
	if (sender->waiting == NULL)
		sender->waiting_end = &sender->waiting;
	chunk->next = NULL;
	sender->encoding += CHUNK_BYTES;
	encoder_add(sender->encoder, chunk, chunk->epoch == sender->first_epoch);
}

static void feed(struct sender *sender)
{
	const struct mark *end;

	while (!sender->held && !sender->closing) {
		end = sender->ends;
		if (end != NULL && (sender->waiting == NULL || sender->waiting->epoch > end->epoch))
			end_epoch(sender);
		else if (sender->waiting != NULL && has_room(sender))
			feed_chunk(sender);
		else
			return;
	}
}

void sender_chunk(struct sender *sender, struct chunk *chunk)
{
	if (sender->closing) {
		chunk_put(chunk);
		return;
	}
	chunk->next = NULL;
	*sender->waiting_end = chunk;
	sender->waiting_end = &chunk->next;
	feed(sender);
}

void sender_epoch(struct sender *sender, const struct capture_epoch *epoch)
{
	struct err err = { 0 };
	struct mark *mark;

	if (sender->closing)
		return;
	mark = mem_zalloc(1, sizeof(*mark));
	if (mark == NULL) {
		(void)err_nomem(&err, "the end of an epoch");
		fail(sender, &err);
		return;
	}
	mark->epoch = epoch->epoch;
	mark->device_state_len = epoch->device_state_len;
	mark->captured_ns = clock_now_ns();
	mark->pause_ns = epoch->pause_ns;
	*sender->ends_end = mark;
	sender->ends_end = &mark->next;
	sender->newest = epoch->epoch;
	sender->unacknowledged++;
	feed(sender);
}

/* Out of the encoder ------------------------------------------------------------------------- */

static void pump(struct sender *sender);

static void on_batch(void *owner, uint64_t number, uint8_t *data, size_t len)
{
	struct sender *sender = owner;
	struct epoch *epoch = sender->closing ? NULL : epoch_find(sender, number);
	struct batch *batch = epoch == NULL ? NULL : mem_zalloc(1, sizeof(*batch));
	struct err err = { 0 };

	if (batch == NULL) {
		mem_free(data);
		(void)err_nomem(&err, "a batch");
		fail(sender, &err);
		return;
	}
	batch->data = data;
	batch->len = len;
	if (epoch->last != NULL)
		epoch->last->next = batch;
	else
		epoch->first = batch;
	epoch->last = batch;
	if (epoch->cursor_at_end) {
		epoch->cursor = batch;
		epoch->cursor_at_end = false;
	}
	epoch->bytes += len;
	sender->bytes += len;
	pump(sender);
}

static void on_chunk_encoded(void *owner)
{
	struct sender *sender = owner;

	sender->encoding -= CHUNK_BYTES;
	feed(sender);
}

static void on_epoch(void *owner, const struct encoder_epoch *encoded)
{
	struct sender *sender = owner;
	struct mark *mark = encoded->mark;
	struct epoch *epoch = sender->closing ? NULL : epoch_find(sender, encoded->epoch);
	struct err err = { 0 };

	if (epoch != NULL) {
		epoch->commit = (struct wire_commit){
			.batches = encoded->batches,
			.pages = encoded->pages,
			.hash = encoded->hash,
			.device_state_len = mark->device_state_len,
			.timed = true,
			.pause_ns = mark->pause_ns,
		};
		epoch->captured_ns = mark->captured_ns;
		epoch->ended = true;
	}
	mem_free(mark);
	if (epoch == NULL) {
		(void)err_nomem(&err, "an epoch");
		fail(sender, &err);
		return;
	}
	pump(sender);
}

static void on_encoder_error(void *owner, const struct err *err)
{
	fail(owner, err);
}

static const struct encoder_ops encoder_callbacks = {
	.on_batch = on_batch,
	.on_chunk = on_chunk_encoded,
	.on_epoch = on_epoch,
	.on_error = on_encoder_error,
};

/* Onto the wire ------------------------------------------------------------------------------ */

/* A batch that is not needed again: the front one. */
static void forget_sent(struct sender *sender, struct epoch *epoch, struct batch *batch)
{
	assert(epoch->first == batch);
	epoch->first = batch->next;
	if (epoch->first == NULL)
		epoch->last = NULL;
	epoch->bytes -= batch->len;
	sender->bytes -= batch->len;
	batch_drop(batch);
}

static bool pump_batches(struct sender *sender, struct epoch *epoch)
{
	struct batch *batch;

	while (!epoch->cursor_at_end) {
		batch = epoch->cursor;
		/* Set before the call: the transport may release at once. */
		batch->in_transport = true;
		if (!sender->ops->batch(sender->owner, epoch->number, batch->data, batch->len,
					batch_released, batch)) {
			batch->in_transport = false;
			return false;
		}
		epoch->cursor = batch->next;
		epoch->cursor_at_end = batch->next == NULL;
		if (epoch->first_copy && sender->receipts)
			epoch->given++;
		else if (epoch->first_copy) /* it would be the whole memory in the end */
			forget_sent(sender, epoch, batch);
	}
	return true;
}

/* True: everything of this epoch that exists has been sent. */
static bool pump_epoch(struct sender *sender, struct epoch *epoch)
{
	if (!epoch->begun) {
		if (!sender->ops->begin(sender->owner, epoch->number, epoch->kind))
			return false;
		epoch->begun = true;
	}
	if (!pump_batches(sender, epoch))
		return false;
	if (epoch->ended && !epoch->committed) {
		epoch->commit.age_ns = clock_now_ns() - epoch->captured_ns;
		if (!sender->ops->commit(sender->owner, epoch->number, &epoch->commit))
			return false;
		epoch->committed = epoch->told = true;
	}
	return epoch->committed;
}

/*
 * An epoch larger than the whole budget cannot be kept: what is sent of it is let go, so that the rest has room. Only
 * a connection lost before its acknowledgement makes that matter, and then the session starts anew.
 */
static void shed(struct sender *sender)
{
	struct epoch *epoch = sender->epochs;

	if (epoch == NULL || epoch->ended || has_room(sender) ||
	    (epoch->first_copy && sender->receipts))
		return;
	epoch->unkept = true;
	while (epoch->first != NULL && (epoch->cursor_at_end || epoch->first != epoch->cursor))
		forget_sent(sender, epoch, epoch->first);
}

static void pump(struct sender *sender)
{
	struct epoch *epoch;

	/* The transport may call back into us; one pump at a time is enough, it looks at
	 * everything. */
	if (!sender->up || sender->pumping || sender->closing)
		return;
	sender->pumping = true;
	for (epoch = sender->epochs; epoch != NULL && sender->up; epoch = epoch->next) {
		if (!pump_epoch(sender, epoch))
			break;
	}
	sender->pumping = false;
	shed(sender);
	feed(sender);
}

/* Nothing of what is kept has been sent on the new connection. */
static void send_again(struct sender *sender)
{
	struct epoch *epoch;

	for (epoch = sender->epochs; epoch != NULL; epoch = epoch->next) {
		epoch->begun = epoch->committed = false;
		epoch->cursor = epoch->first;
		epoch->cursor_at_end = epoch->first == NULL;
	}
	sender->up = true;
	pump(sender);
}

bool sender_up(struct sender *sender, uint64_t peer_epoch)
{
	const struct epoch *epoch;
	uint64_t ignored;

	if (peer_epoch + 1 < sender->first_epoch || peer_epoch > sender->newest)
		return false;
	if (peer_epoch >= sender->first_epoch && peer_epoch > sender->acknowledged)
		(void)sender_ack(sender, peer_epoch, &ignored);
	for (epoch = sender->epochs; epoch != NULL; epoch = epoch->next) {
		if (epoch->unkept || (epoch->first_copy && epoch->begun))
			return false; /* its batches are gone */
	}
	send_again(sender);
	return true;
}

void sender_down(struct sender *sender)
{
	sender->up = false;
}

/* The first copy, if it is under way and the standby may have that much of it. */
static struct epoch *received(struct sender *sender, uint64_t number, uint64_t batches)
{
	struct epoch *epoch = sender->epochs;

	if (!sender->receipts || epoch == NULL || !epoch->first_copy || epoch->number != number ||
	    batches < epoch->received || batches > epoch->given)
		return NULL;
	for (; epoch->received < batches; epoch->received++)
		forget_sent(sender, epoch, epoch->first);
	return epoch;
}

bool sender_received(struct sender *sender, uint64_t number, uint64_t batches)
{
	if (!sender->up || received(sender, number, batches) == NULL)
		return false;
	pump(sender);
	return true;
}

bool sender_resume(struct sender *sender, uint64_t number, uint64_t batches)
{
	struct epoch *epoch = sender->up || sender->held ? NULL : received(sender, number, batches);

	if (epoch == NULL)
		return false;
	epoch->given = batches;
	epoch->kind = WIRE_EPOCH_REST;
	send_again(sender);
	return true;
}

void sender_room(struct sender *sender)
{
	pump(sender);
}

bool sender_ack(struct sender *sender, uint64_t number, uint64_t *took_ns)
{
	struct epoch *epoch;
	uint64_t captured_ns = 0;

	if (number <= sender->acknowledged || number < sender->first_epoch ||
	    number > sender->newest)
		return false;
	while ((epoch = sender->epochs) != NULL && epoch->number <= number && epoch->told) {
		captured_ns = epoch->captured_ns;
		sender->acknowledged = epoch->number;
		sender->unacknowledged--;
		sender->epochs = epoch->next;
		if (sender->epochs == NULL)
			sender->epochs_end = &sender->epochs;
		epoch_free(sender, epoch);
	}
	*took_ns = clock_now_ns() - captured_ns;
	/* The front epoch is another one now: it may be the one that has to be shed. */
	if (sender->up)
		pump(sender);
	else
		feed(sender);
	return sender->acknowledged == number;
}

/* Life --------------------------------------------------------------------------------------- */

int sender_create(struct sender **out, uv_loop_t *loop, uint64_t pages, size_t cache_bytes,
		  size_t inflight_bytes, uint64_t first_epoch, bool held,
		  const struct sender_ops *ops, void *owner, struct err *err)
{
	struct sender *sender = mem_zalloc(1, sizeof(*sender));
	int rc;

	if (sender == NULL)
		return err_nomem(err, "sender");
	sender->ops = ops;
	sender->owner = owner;
	sender->budget = inflight_bytes;
	sender->first_epoch = first_epoch;
	sender->newest = sender->acknowledged = first_epoch - 1;
	sender->held = held;
	sender->waiting_end = &sender->waiting;
	sender->epochs_end = &sender->epochs;
	sender->ends_end = &sender->ends;
	rc = delta_state_create(&sender->delta, pages, cache_bytes, err);
	if (rc == RC_OK)
		rc = encoder_create(&sender->encoder, loop, sender->delta, &encoder_callbacks,
				    sender, err);
	if (rc != RC_OK) {
		delta_state_destroy(sender->delta);
		mem_free(sender);
		return rc;
	}
	*out = sender;
	return RC_OK;
}

void sender_learn(struct sender *sender, uint64_t first, const uint64_t *hashes, size_t count)
{
	delta_state_learn(sender->delta, first, hashes, count);
}

bool sender_is_held(const struct sender *sender)
{
	return sender->held;
}

void sender_expect_receipts(struct sender *sender)
{
	sender->receipts = true;
}

void sender_learned(struct sender *sender)
{
	sender->held = false;
	feed(sender);
}

void sender_query(const struct sender *sender, uint64_t now_ns, struct sender_state *state)
{
	const struct epoch *epoch = sender->epochs;

	*state = (struct sender_state){
		.newest = sender->newest,
		.acknowledged = sender->acknowledged,
		.unacknowledged = sender->unacknowledged,
		.bytes = sender->bytes,
		.full = !has_room(sender),
		.first_copy = sender->acknowledged < sender->first_epoch,
		.resumable = sender->receipts && !sender->held,
		.stats = *encoder_stats(sender->encoder),
	};
	if (epoch != NULL && !epoch->unkept && !(epoch->first_copy && epoch->begun))
		state->oldest_kept = epoch->number;
	if (epoch != NULL && epoch->ended && now_ns > epoch->captured_ns)
		state->lag_ns = now_ns - epoch->captured_ns;
}

static void on_encoder_closed(void *owner)
{
	struct sender *sender = owner;
	struct epoch *epoch;
	void (*on_closed)(void *) = sender->on_closed;
	void *closed_owner = sender->owner;

	while ((epoch = sender->epochs) != NULL) {
		sender->epochs = epoch->next;
		epoch_free(sender, epoch);
	}
	delta_state_destroy(sender->delta);
	mem_free(sender);
	if (on_closed != NULL)
		on_closed(closed_owner);
}

void sender_close(struct sender *sender, void (*on_closed)(void *owner))
{
	struct chunk *chunk;
	struct mark *mark;

	sender->closing = true;
	sender->up = false;
	sender->on_closed = on_closed;
	while ((chunk = sender->waiting) != NULL) {
		sender->waiting = chunk->next;
		chunk_put(chunk);
	}
	while ((mark = sender->ends) != NULL) {
		sender->ends = mark->next;
		mem_free(mark);
	}
	encoder_close(sender->encoder, on_encoder_closed, sender);
}
