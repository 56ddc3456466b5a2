/*
 * Sender and receiver face to face, with a transport that loses its connection at random moments: the standby's image is at every commit, byte for byte,
 * what the instance was at that epoch, and in the end nothing is missing.
 */
#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "replica/receiver.h"
#include "replica/sender.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGES 96
#define EPOCHS 60
#define STATE_LEN 5000 /* two pages of device state */

enum frame_kind { FRAME_BEGIN, FRAME_BATCH, FRAME_COMMIT };

struct frame {
	struct frame *next;
	enum frame_kind kind;
	uint64_t epoch;
	enum wire_epoch copy;
	struct wire_commit commit;
	size_t len;
	uint8_t data[];
};

struct world {
	uv_loop_t loop;
	unsigned random;
	struct layout layout;
	struct chunk_pool *pool;
	struct image *image;
	struct sender *sender;
	struct receiver *receiver;
	uint8_t memory[PAGES + 2][4096];  /* the instance: RAM and device state */
	uint8_t (*then)[PAGES + 2][4096]; /* it, per epoch */
	uint64_t captured;		  /* last epoch */
	uint64_t first_epoch;		  /* of the session */
	uint64_t commits, committed, sessions, resumed;
	bool receipts; /* the standby tells what it has received of a first copy */
	bool up, quiet, sender_closed, receiver_closed;
	struct frame *frames, **frames_end; /* on the wire */
	char dir[SCRATCH_MAX];
};

static unsigned dice(struct world *w, unsigned sides)
{
	return (unsigned)rand_r(&w->random) % sides;
}

/* Transport ---------------------------------------------------------------------------------- */

static bool post(struct world *w, enum frame_kind kind, uint64_t epoch, const void *data,
		 size_t len, struct frame **posted)
{
	struct frame *frame;

	if (dice(w, 5) == 0)
		return false; /* no room now */
	frame = calloc(1, sizeof(*frame) + len);
	assert_non_null(frame);
	frame->kind = kind;
	frame->epoch = epoch;
	frame->len = len;
	if (len > 0)
		memcpy(frame->data, data, len);
	*w->frames_end = frame;
	w->frames_end = &frame->next;
	*posted = frame;
	return true;
}

static bool on_begin(void *owner, uint64_t epoch, enum wire_epoch kind)
{
	struct frame *frame;
	bool sent = post(owner, FRAME_BEGIN, epoch, NULL, 0, &frame);

	if (sent)
		frame->copy = kind;
	return sent;
}

static bool on_commit(void *owner, uint64_t epoch, const struct wire_commit *commit)
{
	struct frame *frame;
	bool sent = post(owner, FRAME_COMMIT, epoch, NULL, 0, &frame);

	if (sent)
		frame->commit = *commit;
	return sent;
}

static bool on_batch(void *owner, uint64_t epoch, const uint8_t *data, size_t len,
		     void (*release)(void *context), void *context)
{
	struct frame *frame;
	bool sent = post(owner, FRAME_BATCH, epoch, data, len, &frame);

	if (sent)
		release(context);
	return sent;
}

static void on_failed(void *owner, const struct err *err)
{
	(void)owner;
	fail_msg("sender: %s", err->text);
}

static const struct sender_ops sender_callbacks = {
	.begin = on_begin, .commit = on_commit, .batch = on_batch, .failed = on_failed
};

static void deliver_one(struct world *w)
{
	struct frame *frame = w->frames;
	struct err err = { 0 };
	uint64_t batches;
	int rc = RC_OK;

	w->frames = frame->next;
	if (w->frames == NULL)
		w->frames_end = &w->frames;
	if (frame->kind == FRAME_BEGIN && frame->copy == WIRE_EPOCH_REST) {
		rc = receiver_resume(w->receiver, frame->epoch, &err);
		w->resumed++;
	} else if (frame->kind == FRAME_BEGIN) {
		rc = receiver_begin(w->receiver, frame->epoch, &(struct journal_origin){ 1, 1 },
				    frame->copy == WIRE_EPOCH_COPY, &err);
	} else if (frame->kind == FRAME_BATCH) {
		rc = receiver_batch(w->receiver, frame->data, frame->len, &err);
		if (receiver_first_copy(w->receiver, &batches) != 0 && w->receipts &&
		    dice(w, 3) > 0)
			assert_true(sender_received(w->sender, frame->epoch, batches));
	} else {
		rc = receiver_end(w->receiver, frame->epoch, &frame->commit, &err);
	}
	if (rc != RC_OK)
		fail_msg("receiver: %s", err.text);
	free(frame);
}

static void lose_frames(struct world *w)
{
	struct frame *frame;

	while ((frame = w->frames) != NULL) {
		w->frames = frame->next;
		free(frame);
	}
	w->frames_end = &w->frames;
}

/* Standby ------------------------------------------------------------------------------------ */

static void on_committed(void *owner, uint64_t epoch, uint64_t took_ns)
{
	struct world *w = owner;
	uint64_t page, took;

	(void)took_ns;
	for (page = 0; page < PAGES + 2; page++) {
		if (memcmp(image_page(w->image, page), w->then[epoch][page], 4096) != 0)
			fail_msg("page %llu differs at epoch %llu", (unsigned long long)page,
				 (unsigned long long)epoch);
	}
	w->commits++;
	w->committed = epoch;
	if (w->up && w->sender != NULL && dice(w, 4) != 0) /* else the acknowledgement is lost */
		(void)sender_ack(w->sender, epoch, &took);
}

static void on_fault(void *owner, uint64_t epoch, const struct err *err)
{
	(void)owner;
	fail_msg("fault at epoch %llu: %s", (unsigned long long)epoch, err->text);
}

static void on_consumed(void *owner, size_t bytes)
{
	(void)owner;
	assert_true(bytes > 0);
}

static const struct receiver_ops receiver_callbacks = { on_committed, on_fault, on_consumed, NULL,
							NULL };

static void on_quiet(void *owner)
{
	((struct world *)owner)->quiet = true;
}

static void disconnect(struct world *w)
{
	if (!w->up)
		return;
	w->up = false;
	lose_frames(w);
	sender_down(w->sender);
	w->quiet = false;
	receiver_keep(w->receiver, on_quiet);
}

/* Primary ------------------------------------------------------------------------------------ */

static void capture_pages(struct world *w, uint64_t epoch, bool all)
{
	struct chunk *chunk = chunk_get(w->pool);
	uint64_t page;

	assert_non_null(chunk);
	chunk->epoch = epoch;
	for (page = 0; page < PAGES + 2; page++) {
		bool changed = memcmp(w->memory[page], w->then[epoch - 1][page], 4096) != 0;

		if (!all && !changed && dice(w, 10) != 0)
			continue; /* some unchanged pages come along, as from a dirty log */
		memcpy(chunk->bytes + chunk->used, w->memory[page], 4096);
		chunk->pages[chunk->npages++] =
			(struct chunk_page){ .index = page, .data = chunk->bytes + chunk->used };
		chunk->used += 4096;
		if (dice(w, 12) == 0) {
			sender_chunk(w->sender, chunk);
			chunk = chunk_get(w->pool);
			assert_non_null(chunk);
			chunk->epoch = epoch;
		}
	}
	sender_chunk(w->sender, chunk);
}

static void capture(struct world *w)
{
	struct capture_epoch epoch = { .epoch = w->captured + 1, .device_state_len = STATE_LEN };
	unsigned n = dice(w, 30), page;

	while (n-- > 0) {
		page = dice(w, PAGES + 2);
		if (dice(w, 8) == 0)
			memset(w->memory[page], 0, 4096);
		else
			w->memory[page][dice(w, page == PAGES + 1 ? STATE_LEN - 4096 : 4096)] =
				(uint8_t)dice(w, 256);
	}
	memcpy(w->then[epoch.epoch], w->memory, sizeof(w->memory));
	capture_pages(w, epoch.epoch, epoch.epoch == w->first_epoch);
	w->captured++;
	sender_epoch(w->sender, &epoch);
}

static void open_session(struct world *w)
{
	struct err err = { 0 };

	w->first_epoch = w->captured + 1;
	w->sessions++;
	assert_int_equal(sender_create(&w->sender, &w->loop, w->layout.pages, 1 << 20, 1 << 20,
				       w->first_epoch, false, &sender_callbacks, w, &err),
			 RC_OK);
	if (w->receipts)
		sender_expect_receipts(w->sender);
}

static void on_sender_closed(void *owner)
{
	((struct world *)owner)->sender_closed = true;
}

static void close_sender(struct world *w)
{
	w->sender_closed = false;
	sender_close(w->sender, on_sender_closed);
	w->sender = NULL;
	while (!w->sender_closed)
		(void)uv_run(&w->loop, UV_RUN_ONCE);
}

static void connect_again(struct world *w)
{
	uint64_t kept, batches;

	if (w->up)
		return;
	while (!w->quiet)
		(void)uv_run(&w->loop, UV_RUN_ONCE);
	w->up = true;
	kept = receiver_has_kept(w->receiver) ? receiver_first_copy(w->receiver, &batches) : 0;
	if (kept != 0 && sender_resume(w->sender, kept, batches))
		return;
	if (sender_up(w->sender, image_epoch(w->image) >= w->first_epoch ? image_epoch(w->image) :
									   w->first_epoch - 1))
		return;
	/* Lost in the first copy: another session. */
	w->up = false;
	close_sender(w);
	open_session(w);
	receiver_drop(w->receiver, false, NULL);
	w->up = true;
	assert_true(sender_up(w->sender, w->first_epoch - 1));
}

static void play(struct world *w)
{
	struct sender_state state;
	uint64_t end_ns;
	unsigned n;

	open_session(w);
	w->quiet = true;
	connect_again(w);
	while (w->captured < EPOCHS) {
		switch (dice(w, 8)) {
		case 0:
		case 1:
			sender_query(w->sender, 0, &state);
			if (state.unacknowledged < 8)
				capture(w);
			break;
		case 2:
			if (dice(w, 3) == 0)
				disconnect(w);
			break;
		case 3:
			connect_again(w);
			break;
		case 4:
			(void)uv_run(&w->loop, UV_RUN_NOWAIT);
			break;
		default:
			for (n = dice(w, 6); n > 0 && w->frames != NULL; n--)
				deliver_one(w);
			if (w->up)
				sender_room(w->sender);
			(void)uv_run(&w->loop, UV_RUN_ONCE);
		}
	}
	/* A session whose first copy was lost at the very end starts once more. */
	end_ns = clock_now_ns() + 60 * CLOCK_NS_PER_S;
	while (clock_now_ns() < end_ns) {
		connect_again(w);
		if (w->captured < w->first_epoch)
			capture(w);
		sender_room(w->sender);
		while (w->frames != NULL)
			deliver_one(w);
		(void)uv_run(&w->loop, UV_RUN_NOWAIT);
		if (w->committed == w->captured)
			return;
	}
	fail_msg("epoch %llu never came, the image is at %llu", (unsigned long long)w->captured,
		 (unsigned long long)image_epoch(w->image));
}

static void on_receiver_closed(void *owner)
{
	((struct world *)owner)->receiver_closed = true;
}

static void run_seed(unsigned seed, bool receipts, uint64_t *sessions, uint64_t *resumed)
{
	struct world *w = calloc(1, sizeof(*w));
	struct err err = { 0 };

	assert_non_null(w);
	w->random = seed;
	w->receipts = receipts;
	w->then = calloc(EPOCHS * 2 + 2, sizeof(*w->then));
	assert_non_null(w->then);
	w->frames_end = &w->frames;
	assert_int_equal(scratch_make(w->dir, "sender"), 0);
	assert_int_equal(uv_loop_init(&w->loop), 0);
	assert_int_equal(layout_add(&w->layout, "pc.ram", 6, PAGES * 4096, &err), RC_OK);
	assert_int_equal(layout_finish(&w->layout, &err), RC_OK);
	assert_int_equal(chunk_pool_create(&w->pool, 256 * CHUNK_BYTES, &err), RC_OK);
	assert_int_equal(image_create(&w->image, w->dir, w->dir, NULL, 0, 1 << 20, &err), RC_OK);
	assert_int_equal(image_set_layout(w->image, &w->layout, &err), RC_OK);
	assert_int_equal(receiver_create(&w->receiver, &w->loop, w->image, NULL,
					 &receiver_callbacks, w, &err),
			 RC_OK);

	play(w);
	assert_true(w->commits > 0);
	*sessions += w->sessions;
	*resumed += w->resumed;

	close_sender(w);
	lose_frames(w);
	receiver_close(w->receiver, on_receiver_closed, w);
	while (!w->receiver_closed)
		(void)uv_run(&w->loop, UV_RUN_ONCE);
	assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	image_destroy(w->image, false);
	chunk_pool_destroy(w->pool);
	assert_int_equal(rmdir(w->dir), 0);
	free(w->then);
	free(w);
}

static void every_commit_is_the_instance_at_that_epoch_whatever_the_connection_does(void **unused)
{
	uint64_t sessions = 0, resumed = 0, sessions_kept = 0;
	unsigned seed;

	(void)unused;
	for (seed = 1; seed <= 40; seed++)
		run_seed(seed, false, &sessions, &resumed);
	assert_int_equal(resumed, 0);
	for (seed = 1; seed <= 40; seed++)
		run_seed(seed, true, &sessions_kept, &resumed);
	assert_true(resumed > 0 && sessions_kept < sessions);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			every_commit_is_the_instance_at_that_epoch_whatever_the_connection_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
