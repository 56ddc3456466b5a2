#include "appliance/base/bytes.h"
#include "appliance/base/mem.h"
#include "net/link_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct err err;
static unsigned released;

static void release(void *context)
{
	(void)context;
	released++;
}

static int add(struct link_queue *queue, uint16_t type, size_t len)
{
	static const uint8_t bytes[WIRE_JSON_MAX];
	const struct wire_header header = { .length = (uint32_t)len,
					    .type = type,
					    .epoch = queue->frames };

	return link_queue_add(queue, &header, bytes, &err);
}

static bool add_batch(struct link_queue *queue, size_t len)
{
	static const uint8_t bytes[WIRE_BATCH_MAX];
	const struct link_batch batch = {
		.data = bytes, .len = len, .term = 3, .epoch = 4, .release = release
	};

	return link_queue_add_batch(queue, &batch);
}

static void frames_leave_in_the_order_they_came(void **state)
{
	struct link_queue queue = { 0 };
	struct wire_header header;
	uint64_t i;

	(void)state;
	for (i = 0; i < 10; i++)
		assert_int_equal(add(&queue, WIRE_ACK, 8), RC_OK);
	for (i = 0; i < 10; i++) {
		assert_int_equal(link_queue_first(&queue)->len, WIRE_HEADER + 8);
		assert_int_equal(wire_get_header(&header, link_queue_first(&queue)->bytes, &err),
				 RC_OK);
		assert_true(header.epoch == i);
		link_queue_remove_first(&queue);
	}
	assert_null(link_queue_first(&queue));
	assert_int_equal(queue.frames + queue.bytes, 0);
}

static void the_number_of_frames_is_bounded_and_room_is_told_once(void **state)
{
	struct link_queue queue = { 0 };

	(void)state;
	while (add(&queue, WIRE_ACK, 8) == RC_OK)
		assert_true(queue.frames <= LINK_QUEUE_FRAMES);
	assert_int_equal(err.code, RC_LIMIT);
	assert_int_equal(queue.frames, LINK_QUEUE_FRAMES);
	while (queue.frames > LINK_QUEUE_FRAMES / 2) {
		assert_false(link_queue_has_room(&queue));
		link_queue_remove_first(&queue);
	}
	assert_true(link_queue_has_room(&queue));
	assert_false(link_queue_has_room(&queue));
	link_queue_clear(&queue);
}

static void the_bytes_of_frames_are_bounded(void **state)
{
	struct link_queue queue = { 0 };

	(void)state;
	while (add(&queue, WIRE_RESERVE, WIRE_JSON_MAX) == RC_OK)
		assert_true(queue.bytes <= LINK_QUEUE_BYTES);
	assert_int_equal(err.code, RC_LIMIT);
	assert_true(queue.frames < LINK_QUEUE_FRAMES);
	while (queue.bytes > LINK_QUEUE_BYTES / 2) {
		assert_false(link_queue_has_room(&queue));
		link_queue_remove_first(&queue);
	}
	assert_true(link_queue_has_room(&queue));
	link_queue_clear(&queue);
}

static void bulk_needs_credit(void **state)
{
	struct link_queue queue = { 0 };

	(void)state;
	assert_false(add_batch(&queue, 100));
	assert_false(link_queue_has_room(&queue));
	assert_int_equal(link_queue_credit(&queue, 99, &err), RC_OK);
	assert_false(link_queue_has_room(&queue));
	assert_int_equal(link_queue_credit(&queue, 150, &err), RC_OK);
	assert_true(link_queue_has_room(&queue));
	assert_true(add_batch(&queue, 100));
	assert_false(add_batch(&queue, 51));
	assert_true(add_batch(&queue, 50));
	assert_int_equal(link_queue_credit(&queue, 149, &err), RC_INVALID);
	link_queue_clear(&queue);
}

static void two_batches_are_taken_and_each_is_released_once_when_sent(void **state)
{
	struct link_queue queue = { 0 };
	uint8_t head[WIRE_HEADER];
	struct wire_header header;
	const uint8_t *data;
	size_t len, sum = 0;
	unsigned fragments = 0;

	(void)state;
	released = 0;
	assert_int_equal(link_queue_credit(&queue, UINT64_MAX, &err), RC_OK);
	assert_true(add_batch(&queue, WIRE_FRAGMENT_MAX * 2 + 5));
	assert_true(add_batch(&queue, WIRE_FRAGMENT_MAX));
	assert_false(add_batch(&queue, 1));
	while (link_queue_fragment(&queue, head, &data, &len)) {
		assert_int_equal(wire_get_header(&header, head, &err), RC_OK);
		assert_int_equal(header.length, len);
		assert_true(header.term == 3 && header.epoch == 4);
		assert_int_equal(header.more, fragments < 2);
		sum += len;
		link_queue_remove_fragment(&queue);
		fragments++;
		assert_int_equal(released, (fragments >= 3) + (fragments >= 4));
		assert_int_equal(link_queue_has_room(&queue), fragments == 3);
	}
	assert_int_equal(fragments, 4);
	assert_int_equal(sum, WIRE_FRAGMENT_MAX * 3 + 5);
	link_queue_clear(&queue);
	assert_int_equal(released, 2);
}

/* What leaves next: a frame's type, or WIRE_BATCH, or 0. It is taken away. */
static uint16_t next_type(struct link_queue *queue)
{
	const struct link_frame *frame = link_queue_first(queue);
	uint8_t head[WIRE_HEADER];
	struct wire_header header;
	const uint8_t *data;
	size_t len;

	if (frame != NULL) {
		assert_int_equal(wire_get_header(&header, frame->bytes, &err), RC_OK);
		link_queue_remove_first(queue);
		return header.type;
	}
	if (!link_queue_fragment(queue, head, &data, &len))
		return 0;
	link_queue_remove_fragment(queue);
	return WIRE_BATCH;
}

static void frames_of_an_epoch_keep_their_place_among_its_batches_and_others_go_ahead(void **state)
{
	static const uint16_t expected[] = { WIRE_RESERVE, WIRE_EPOCH, WIRE_BATCH, WIRE_BATCH,
					     WIRE_COMMIT,  WIRE_EPOCH, WIRE_BATCH, WIRE_COMMIT,
					     WIRE_LAYOUT,  0 };
	struct link_queue queue = { 0 };
	size_t i;

	(void)state;
	assert_int_equal(link_queue_credit(&queue, UINT64_MAX, &err), RC_OK);
	assert_int_equal(add(&queue, WIRE_EPOCH, 1), RC_OK);
	assert_true(add_batch(&queue, WIRE_FRAGMENT_MAX + 1)); /* two fragments */
	assert_int_equal(add(&queue, WIRE_COMMIT, 32), RC_OK);
	assert_int_equal(add(&queue, WIRE_EPOCH, 1), RC_OK);
	assert_true(add_batch(&queue, 100));
	assert_int_equal(add(&queue, WIRE_COMMIT, 32), RC_OK);
	assert_int_equal(add(&queue, WIRE_LAYOUT, 100), RC_OK);
	assert_int_equal(add(&queue, WIRE_RESERVE, 10), RC_OK);
	for (i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		assert_int_equal(next_type(&queue), expected[i]);
	assert_int_equal(queue.frames + queue.bytes, 0);
	link_queue_clear(&queue);
}

/* Types to add, WIRE_BATCH among them, up to a 0; then what leaves, up to a 0. */
static void expect_order(const uint16_t *added, const uint16_t *expected)
{
	struct link_queue queue = { 0 };

	assert_int_equal(link_queue_credit(&queue, UINT64_MAX, &err), RC_OK);
	for (; *added != 0; added++) {
		if (*added == WIRE_BATCH)
			assert_true(add_batch(&queue, 100));
		else
			assert_int_equal(add(&queue, *added, wire_payload_min(*added)), RC_OK);
	}
	do
		assert_int_equal(next_type(&queue), *expected);
	while (*expected++ != 0);
	assert_int_equal(queue.frames + queue.bytes, 0);
	link_queue_clear(&queue);
}

static void the_end_of_an_instance_does_not_overtake_a_commit(void **state)
{
	static const uint16_t whole[] = { WIRE_EPOCH, WIRE_BATCH,    WIRE_COMMIT,
					  WIRE_ACK,   WIRE_INSTANCE, 0 };
	static const uint16_t whole_leaves[] = { WIRE_ACK,    WIRE_EPOCH,    WIRE_BATCH,
						 WIRE_COMMIT, WIRE_INSTANCE, 0 };
	static const uint16_t two[] = { WIRE_EPOCH, WIRE_BATCH,	 WIRE_COMMIT,	WIRE_EPOCH,
					WIRE_BATCH, WIRE_COMMIT, WIRE_INSTANCE, 0 };

	(void)state;
	expect_order(whole, whole_leaves);
	expect_order(two, two);
}

static void the_end_of_an_instance_overtakes_half_an_epoch(void **state)
{
	static const uint16_t half[] = { WIRE_EPOCH, WIRE_BATCH, WIRE_BATCH, WIRE_INSTANCE, 0 };
	static const uint16_t half_leaves[] = { WIRE_INSTANCE, WIRE_EPOCH, WIRE_BATCH, WIRE_BATCH,
						0 };
	static const uint16_t both[] = { WIRE_EPOCH,	WIRE_BATCH,  WIRE_COMMIT,
					 WIRE_EPOCH,	WIRE_BATCH,  WIRE_INSTANCE,
					 WIRE_INSTANCE, WIRE_LAYOUT, 0 };
	static const uint16_t both_leave[] = { WIRE_EPOCH,    WIRE_BATCH,    WIRE_COMMIT,
					       WIRE_INSTANCE, WIRE_INSTANCE, WIRE_EPOCH,
					       WIRE_BATCH,    WIRE_LAYOUT,   0 };

	(void)state;
	expect_order(half, half_leaves);
	expect_order(both, both_leave);
}

static void several_ends_keep_their_order_and_what_comes_later_follows(void **state)
{
	struct link_queue queue = { 0 };
	struct wire_header header;
	uint64_t i;

	(void)state;
	assert_int_equal(add(&queue, WIRE_COMMIT, 32), RC_OK); /* 0 */
	for (i = 1; i < 4; i++)
		assert_int_equal(add(&queue, WIRE_INSTANCE, 10), RC_OK);
	assert_int_equal(add(&queue, WIRE_EPOCH, 1), RC_OK); /* 4: the lane's end is found */
	for (i = 0; i < 5; i++) {
		assert_int_equal(wire_get_header(&header, link_queue_first(&queue)->bytes, &err),
				 RC_OK);
		assert_true(header.epoch == i);
		link_queue_remove_first(&queue);
	}
	assert_null(link_queue_first(&queue));
}

static void a_batch_waits_for_the_frame_before_it(void **state)
{
	struct link_queue queue = { 0 };
	uint8_t head[WIRE_HEADER];
	const uint8_t *data;
	size_t len;

	(void)state;
	assert_int_equal(link_queue_credit(&queue, 1000, &err), RC_OK);
	assert_int_equal(add(&queue, WIRE_EPOCH, 1), RC_OK);
	assert_true(add_batch(&queue, 100));
	assert_false(link_queue_fragment(&queue, head, &data, &len));
	link_queue_remove_first(&queue);
	assert_true(link_queue_fragment(&queue, head, &data, &len));
	link_queue_clear(&queue);
}

static void clearing_releases_what_was_not_sent(void **state)
{
	struct link_queue queue = { 0 };

	(void)state;
	released = 0;
	assert_int_equal(link_queue_credit(&queue, 1 << 20, &err), RC_OK);
	assert_true(add_batch(&queue, 1000));
	assert_true(add_batch(&queue, 1000));
	assert_int_equal(add(&queue, WIRE_ACK, 8), RC_OK);
	link_queue_clear(&queue);
	assert_int_equal(released, 2);
	assert_false(add_batch(&queue, 1));
}

static void without_memory_a_frame_is_not_taken(void **state)
{
	struct link_queue queue = { 0 };

	(void)state;
	fault_arm(FAULT_ALLOC, 1);
	assert_int_equal(add(&queue, WIRE_ACK, 8), RC_NOMEM);
	assert_int_equal(queue.frames + queue.bytes, 0);
	assert_int_equal(add(&queue, WIRE_ACK, 8), RC_OK);
	link_queue_clear(&queue);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_leave_in_the_order_they_came),
		cmocka_unit_test(the_number_of_frames_is_bounded_and_room_is_told_once),
		cmocka_unit_test(the_bytes_of_frames_are_bounded),
		cmocka_unit_test(bulk_needs_credit),
		cmocka_unit_test(two_batches_are_taken_and_each_is_released_once_when_sent),
		cmocka_unit_test(
			frames_of_an_epoch_keep_their_place_among_its_batches_and_others_go_ahead),
		cmocka_unit_test(the_end_of_an_instance_does_not_overtake_a_commit),
		cmocka_unit_test(the_end_of_an_instance_overtakes_half_an_epoch),
		cmocka_unit_test(several_ends_keep_their_order_and_what_comes_later_follows),
		cmocka_unit_test(a_batch_waits_for_the_frame_before_it),
		cmocka_unit_test(clearing_releases_what_was_not_sent),
		cmocka_unit_test(without_memory_a_frame_is_not_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
