/* A first copy whose connection is cut between any two of its batches goes on where it was, or begins anew; it is whole or nothing. */
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

#define PAGES 48
#define BATCH_PAGES 3
#define BATCHES 24 /* each page comes twice, and counts as it came last */

struct frame {
	struct frame *next;
	uint16_t type;
	enum wire_epoch kind;
	uint64_t epoch;
	struct wire_commit commit;
	size_t len;
	uint8_t data[];
};

static struct {
	uv_loop_t loop;
	struct layout layout;
	struct chunk_pool *pool;
	struct image *image;
	struct sender *sender;
	struct receiver *receiver;
	uint8_t memory[PAGES][LAYOUT_PAGE];
	uint64_t epoch; /* of the first copy */
	uint64_t committed, faults, begun_anew, rests, delivered;
	bool idle, closed, confirms;
	struct frame *frames, **end;
	char dir[SCRATCH_MAX];
} w;

static struct err err;

/* The transport: takes everything, delivers when it is told to. */

static struct frame *post(uint16_t type, uint64_t epoch, const void *data, size_t len)
{
	struct frame *frame = calloc(1, sizeof(*frame) + len);

	assert_non_null(frame);
	frame->type = type;
	frame->epoch = epoch;
	frame->len = len;
	if (len > 0)
		memcpy(frame->data, data, len);
	*w.end = frame;
	w.end = &frame->next;
	return frame;
}

static bool on_begin(void *owner, uint64_t epoch, enum wire_epoch kind)
{
	(void)owner;
	post(WIRE_EPOCH, epoch, NULL, 0)->kind = kind;
	return true;
}

static bool on_commit(void *owner, uint64_t epoch, const struct wire_commit *commit)
{
	(void)owner;
	post(WIRE_COMMIT, epoch, NULL, 0)->commit = *commit;
	return true;
}

static bool on_batch(void *owner, uint64_t epoch, const uint8_t *data, size_t len,
		     void (*release)(void *context), void *context)
{
	(void)owner;
	(void)post(WIRE_BATCH, epoch, data, len);
	release(context);
	return true;
}

static void on_failed(void *owner, const struct err *why)
{
	(void)owner;
	fail_msg("sender: %s", why->text);
}

static const struct sender_ops sender_callbacks = { on_begin, on_commit, on_batch, on_failed };

static void deliver(void)
{
	struct frame *frame = w.frames;
	uint64_t batches;
	int rc;

	w.frames = frame->next;
	if (w.frames == NULL)
		w.end = &w.frames;
	if (frame->type == WIRE_EPOCH && frame->kind == WIRE_EPOCH_REST) {
		w.rests++;
		rc = receiver_resume(w.receiver, frame->epoch, &err);
	} else if (frame->type == WIRE_EPOCH) {
		w.begun_anew++;
		rc = receiver_begin(w.receiver, frame->epoch, &(struct journal_origin){ 1, 1 },
				    frame->kind == WIRE_EPOCH_COPY, &err);
	} else if (frame->type == WIRE_BATCH) {
		w.delivered++;
		rc = receiver_batch(w.receiver, frame->data, frame->len, &err);
		if (w.confirms) {
			assert_int_equal(receiver_first_copy(w.receiver, &batches), w.epoch);
			assert_true(sender_received(w.sender, w.epoch, batches));
		}
	} else {
		rc = receiver_end(w.receiver, frame->epoch, &frame->commit, &err);
	}
	if (rc != RC_OK)
		fail_msg("receiver: %s", err.text);
	free(frame);
}

static void lose_frames(void)
{
	struct frame *frame;

	while ((frame = w.frames) != NULL) {
		w.frames = frame->next;
		free(frame);
	}
	w.end = &w.frames;
}

/* Standby */

static void on_committed(void *owner, uint64_t epoch, uint64_t took_ns)
{
	uint64_t took;

	(void)owner;
	(void)took_ns;
	for (uint64_t page = 0; page < PAGES; page++)
		assert_memory_equal(image_page(w.image, page), w.memory[page], LAYOUT_PAGE);
	w.committed = epoch;
	assert_true(sender_ack(w.sender, epoch, &took));
}

static void on_fault(void *owner, uint64_t epoch, const struct err *why)
{
	(void)owner;
	(void)epoch;
	(void)why;
	w.faults++;
}

static void on_consumed(void *owner, size_t bytes)
{
	(void)owner;
	(void)bytes;
}

static const struct receiver_ops receiver_callbacks = { on_committed, on_fault, on_consumed, NULL,
							NULL };

static void on_idle(void *owner)
{
	(void)owner;
	w.idle = true;
}

static void on_closed(void *owner)
{
	(void)owner;
	w.closed = true;
}

static void begin_standby(void)
{
	assert_int_equal(image_create(&w.image, w.dir, w.dir, NULL, 0, 1 << 20, &err), RC_OK);
	assert_int_equal(image_set_layout(w.image, &w.layout, &err), RC_OK);
	assert_int_equal(receiver_create(&w.receiver, &w.loop, w.image, NULL, &receiver_callbacks,
					 NULL, &err),
			 RC_OK);
}

static void end_standby(void)
{
	w.closed = false;
	receiver_close(w.receiver, on_closed, NULL);
	while (!w.closed)
		(void)uv_run(&w.loop, UV_RUN_ONCE);
	image_destroy(w.image, false);
}

/* Primary */

static void begin_session(void)
{
	w.epoch++;
	assert_int_equal(sender_create(&w.sender, &w.loop, w.layout.pages, 1 << 20, 64 << 20,
				       w.epoch, false, &sender_callbacks, NULL, &err),
			 RC_OK);
	sender_expect_receipts(w.sender);
	assert_true(sender_up(w.sender, w.epoch - 1));
}

static void end_session(void)
{
	w.closed = false;
	sender_close(w.sender, on_closed);
	while (!w.closed)
		(void)uv_run(&w.loop, UV_RUN_ONCE);
}

/* Each page twice, as a guest that goes on writing has it. */
static void copy_memory(void)
{
	unsigned random = (unsigned)w.epoch;

	for (unsigned i = 0; i < BATCHES; i++) {
		struct chunk *chunk = chunk_get(w.pool);

		assert_non_null(chunk);
		chunk->epoch = w.epoch;
		for (unsigned j = 0; j < BATCH_PAGES; j++) {
			const unsigned page = (i * BATCH_PAGES + j) % (BATCHES * BATCH_PAGES / 2);
			uint8_t *const room = chunk->bytes + chunk->used;

			for (unsigned k = 0; k < 64; k++)
				w.memory[page][k * 64] = (uint8_t)rand_r(&random);
			memcpy(room, w.memory[page], LAYOUT_PAGE);
			chunk->pages[chunk->npages++] =
				(struct chunk_page){ .index = page, .data = room };
			chunk->used += LAYOUT_PAGE;
		}
		sender_chunk(w.sender, chunk);
	}
	sender_epoch(w.sender, &(struct capture_epoch){ .epoch = w.epoch });
}

static void run_until_posted(size_t batches)
{
	const struct frame *frame;
	size_t there = 0;

	while (there < batches) {
		(void)uv_run(&w.loop, UV_RUN_ONCE);
		there = 0;
		for (frame = w.frames; frame != NULL; frame = frame->next)
			there += frame->type == WIRE_BATCH;
	}
}

static void run_until_committed(void)
{
	while (w.committed != w.epoch) {
		while (w.frames != NULL)
			deliver();
		(void)uv_run(&w.loop, UV_RUN_NOWAIT);
		assert_int_equal(w.faults, 0);
	}
}

static void cut(void)
{
	lose_frames();
	sender_down(w.sender);
	w.idle = false;
	receiver_keep(w.receiver, on_idle);
	while (!w.idle)
		(void)uv_run(&w.loop, UV_RUN_ONCE);
}

/* So many batches of the first copy come through, and then the connection is cut. */
static void copy_and_cut_after(unsigned batches)
{
	copy_memory();
	run_until_posted(BATCHES);
	deliver();
	for (unsigned i = 0; i < batches; i++)
		deliver();
	cut();
}

static int setup(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	w.end = &w.frames;
	w.confirms = true;
	assert_int_equal(scratch_make(w.dir, "first-copy"), 0);
	assert_int_equal(uv_loop_init(&w.loop), 0);
	assert_int_equal(layout_add(&w.layout, "pc.ram", 6, PAGES * LAYOUT_PAGE, &err), RC_OK);
	assert_int_equal(layout_finish(&w.layout, &err), RC_OK);
	assert_int_equal(chunk_pool_create(&w.pool, 64 * CHUNK_BYTES, &err), RC_OK);
	begin_standby();
	begin_session();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	end_session();
	lose_frames();
	end_standby();
	assert_int_equal(uv_run(&w.loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&w.loop), 0);
	chunk_pool_destroy(w.pool);
	assert_int_equal(rmdir(w.dir), 0);
	return 0;
}

static void again(bool has_epoch)
{
	(void)teardown(NULL);
	(void)setup(NULL);
	if (!has_epoch)
		return;
	copy_memory();
	run_until_committed();
	end_session();
	begin_session();
	w.begun_anew = w.delivered = 0;
}

/* ---- claims -------------------------------------------------------------------------------- */

static void goes_on_after(unsigned batches, bool has_epoch, bool confirms)
{
	const uint8_t junk[8] = { 0 };
	uint64_t has;

	again(has_epoch);
	w.confirms = confirms;
	copy_and_cut_after(batches);
	assert_true(receiver_has_kept(w.receiver));
	assert_int_equal(receiver_first_copy(w.receiver, &has), w.epoch);
	assert_int_equal(has, batches);
	assert_int_equal(image_epoch(w.image), has_epoch ? w.epoch - 1 : 0);
	/* Nothing is taken for a part of it that is not said to be. */
	assert_int_equal(receiver_batch(w.receiver, junk, sizeof(junk), &err), RC_INVALID);
	assert_int_equal(receiver_end(w.receiver, w.epoch, &(struct wire_commit){ .batches = has },
				      &err),
			 RC_INVALID);
	assert_int_equal(receiver_resume(w.receiver, w.epoch + 1, &err), RC_INVALID);
	/* Nor is the standby believed what cannot be. */
	assert_false(sender_resume(w.sender, w.epoch + 1, batches));
	assert_false(sender_resume(w.sender, w.epoch, BATCHES + 1));
	if (confirms && batches > 0)
		assert_false(sender_resume(w.sender, w.epoch, batches - 1));
	assert_true(sender_resume(w.sender, w.epoch, batches));
	run_until_committed();
	assert_int_equal(w.rests, 1);
	assert_int_equal(w.begun_anew, 1);
	assert_int_equal(w.delivered, BATCHES); /* each once */
}

static void it_goes_on_after_a_cut_behind_any_batch(void **unused)
{
	(void)unused;
	for (unsigned batches = 0; batches <= BATCHES; batches++)
		for (unsigned i = 0; i < 4; i++)
			goes_on_after(batches, (i & 1) != 0, (i & 2) != 0);
}

static void it_goes_on_after_a_cut_behind_every_batch(void **unused)
{
	uint64_t has;

	(void)unused;
	copy_and_cut_after(0);
	for (unsigned batches = 0; batches < BATCHES; batches++) {
		assert_int_equal(receiver_first_copy(w.receiver, &has), w.epoch);
		assert_int_equal(has, batches);
		assert_true(sender_resume(w.sender, w.epoch, has));
		w.confirms = batches % 3 != 0;
		deliver();
		deliver();
		cut();
	}
	assert_true(sender_resume(w.sender, w.epoch, BATCHES));
	run_until_committed();
	assert_int_equal(w.delivered, BATCHES);
}

static void another_session_begins_anew(void **unused)
{
	(void)unused;
	for (unsigned i = 0; i < 2; i++) {
		again(i != 0);
		copy_and_cut_after(BATCHES / 2);
		end_session();
		begin_session();
		receiver_drop(w.receiver, false, NULL); /* as with each layout */
		assert_false(receiver_has_kept(w.receiver));
		assert_true(receiver_is_idle(w.receiver));
		assert_int_equal(receiver_resume(w.receiver, w.epoch - 1, &err), RC_INVALID);
		copy_memory();
		run_until_committed();
		assert_int_equal(w.rests, 0);
	}
}

static void a_standby_that_began_anew_has_nothing_to_go_on_from(void **unused)
{
	uint64_t has;

	(void)unused;
	copy_and_cut_after(BATCHES / 2);
	end_standby();
	begin_standby();
	assert_int_equal(receiver_first_copy(w.receiver, &has), 0);
	assert_false(sender_resume(w.sender, 0, has));
	assert_false(sender_up(w.sender, w.epoch - 1));
	end_session();
	begin_session();
	copy_memory();
	run_until_committed();
	assert_int_equal(w.rests, 0);
}

static void one_that_was_committed_behind_a_cut_is_not_sent_again(void **unused)
{
	uint64_t took;

	(void)unused;
	copy_memory();
	run_until_posted(BATCHES);
	while (w.frames != NULL || w.committed != w.epoch) {
		while (w.frames != NULL)
			deliver();
		(void)uv_run(&w.loop, UV_RUN_NOWAIT);
	}
	assert_false(sender_ack(w.sender, w.epoch, &took)); /* it is, already */
	cut();
	assert_false(receiver_has_kept(w.receiver));
	assert_true(sender_up(w.sender, w.epoch));
	assert_null(w.frames);
}

static void a_spoiled_one_is_not_kept(void **unused)
{
	const uint8_t junk[8] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	uint64_t has;

	(void)unused;
	copy_memory();
	run_until_posted(BATCHES);
	deliver();
	deliver();
	assert_int_equal(receiver_batch(w.receiver, junk, sizeof(junk), &err), RC_OK);
	cut(); /* before it has been looked at, or after */
	assert_int_equal(w.faults, 1);
	assert_false(receiver_has_kept(w.receiver));
	assert_int_equal(receiver_first_copy(w.receiver, &has), 0);
	assert_int_equal(image_epoch(w.image), 0);
}

static void a_checkpoint_is_not_kept(void **unused)
{
	uint64_t has;

	(void)unused;
	copy_memory();
	run_until_committed();
	assert_int_equal(receiver_begin(w.receiver, w.epoch + 1, &(struct journal_origin){ 1, 1 },
					false, &err),
			 RC_OK);
	assert_int_equal(receiver_first_copy(w.receiver, &has), 0);
	cut();
	assert_false(receiver_has_kept(w.receiver));
	assert_true(receiver_is_idle(w.receiver));
}

static void what_is_not_confirmed_is_kept_within_the_budget(void **unused)
{
	struct sender_state state;
	unsigned random = 1;

	(void)unused;
	end_session();
	assert_int_equal(sender_create(&w.sender, &w.loop, 100000, 1 << 20, 4 << 20, w.epoch, false,
				       &sender_callbacks, NULL, &err),
			 RC_OK);
	sender_expect_receipts(w.sender);
	assert_true(sender_up(w.sender, w.epoch - 1));
	for (unsigned i = 0; i < 20; i++) {
		struct chunk *chunk = chunk_get(w.pool);

		assert_non_null(chunk);
		chunk->epoch = w.epoch;
		for (unsigned j = 0; j < 200; j++) {
			chunk->pages[j] =
				(struct chunk_page){ .index = UINT64_C(200) * i + j,
						     .data = chunk->bytes + (size_t)j * 4096 };
		}
		for (unsigned j = 0; j < 200 * 4096; j++)
			chunk->bytes[j] = (uint8_t)rand_r(&random);
		chunk->npages = 200;
		sender_chunk(w.sender, chunk);
	}
	sender_epoch(w.sender, &(struct capture_epoch){ .epoch = w.epoch });
	for (unsigned batches = 0; batches < 20; batches++) {
		run_until_posted(batches + 1);
		sender_query(w.sender, 0, &state);
		assert_true(state.resumable && state.bytes <= 5 << 20);
		assert_false(sender_received(w.sender, w.epoch, 21));
		assert_true(sender_received(w.sender, w.epoch, batches + 1));
		assert_false(sender_received(w.sender, w.epoch, batches));
	}
	sender_query(w.sender, 0, &state);
	assert_int_equal(state.bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_goes_on_after_a_cut_behind_any_batch, setup,
						teardown),
		cmocka_unit_test_setup_teardown(it_goes_on_after_a_cut_behind_every_batch, setup,
						teardown),
		cmocka_unit_test_setup_teardown(another_session_begins_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(a_standby_that_began_anew_has_nothing_to_go_on_from,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			one_that_was_committed_behind_a_cut_is_not_sent_again, setup, teardown),
		cmocka_unit_test_setup_teardown(a_spoiled_one_is_not_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(a_checkpoint_is_not_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_not_confirmed_is_kept_within_the_budget,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
