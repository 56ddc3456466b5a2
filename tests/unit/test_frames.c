#include "appliance/base/mem.h"
#include "net/frame_queue.h"
#include "net/frames.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct err err;
static uint8_t bytes[FRAMES_LEN_MAX];

static void what_is_put_together_is_read_again(void **state)
{
	struct frames frames = { .port = 3, .flags = FRAMES_AT_ONCE, .next = 41 };
	struct frames_header header;
	struct cursor records;
	const uint8_t *frame;
	size_t len;

	(void)state;
	bytes[0] = 7;
	assert_true(frames_add(&frames, bytes, FRAMES_LEN_MIN));
	assert_true(frames_add(&frames, bytes, 1514));
	frames_finish(&frames);
	assert_int_equal(frames_read(&header, frames.payload.data, frames.payload.len, &err),
			 RC_OK);
	assert_int_equal(header.port, 3);
	assert_int_equal(header.flags, FRAMES_AT_ONCE);
	assert_int_equal(header.count, 2);
	assert_true(header.first == 41);
	records = cursor_of(header.records, header.len);
	frame = frames_walk(&records, &len);
	assert_non_null(frame);
	assert_int_equal(len, FRAMES_LEN_MIN);
	assert_int_equal(frame[0], 7);
	assert_non_null(frames_walk(&records, &len));
	assert_int_equal(len, 1514);
	assert_null(frames_walk(&records, &len));
	frames_next(&frames);
	assert_true(frames.next == 43);
	assert_int_equal(frames.count, 0);
	frames_free(&frames);
}

static void the_longest_frame_fits_an_empty_payload_and_no_other_one(void **state)
{
	struct frames frames = { .next = 1 };

	(void)state;
	assert_false(frames_add(&frames, bytes, FRAMES_LEN_MIN - 1));
	assert_true(frames_add(&frames, bytes, FRAMES_LEN_MAX));
	assert_true(frames_is_full(&frames));
	assert_false(frames_add(&frames, bytes, FRAMES_LEN_MAX));
	assert_int_equal(frames.count, 1);
	assert_true(frames.payload.len <= FRAMES_PAYLOAD_MAX);
	frames_free(&frames);
}

static void no_memory_loses_the_frame_and_nothing_else(void **state)
{
	struct frames frames = { .next = 1 };

	(void)state;
	fault_arm(FAULT_ALLOC, 1);
	assert_false(frames_add(&frames, bytes, 100));
	assert_true(fault_fired(FAULT_ALLOC));
	assert_true(frames_add(&frames, bytes, 100));
	assert_int_equal(frames.count, 1);
	frames_free(&frames);
}

/* One frame of 14 bytes, then what makes it wrong. */
static void every_wrong_field_is_refused(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} wrong[] = {
		{ 1, 3 },   /* flags that contradict each other */
		{ 1, 4 },   /* one that there is none of */
		{ 2, 0 },   /* no frame */
		{ 2, 2 },   /* one too many */
		{ 4, 1 },   /* not zero */
		{ 8, 0 },   /* number 0 */
		{ 16, 13 }, /* too short */
		{ 16, 15 }, /* longer than the payload */
	};
	struct frames frames = { .next = 1 };
	struct frames_header header;
	uint8_t copy[64];
	size_t i, len;

	(void)state;
	assert_true(frames_add(&frames, bytes, FRAMES_LEN_MIN));
	frames_finish(&frames);
	len = frames.payload.len;
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		memcpy(copy, frames.payload.data, len);
		copy[wrong[i].at] = wrong[i].value;
		assert_int_equal(frames_read(&header, copy, len, &err), RC_INVALID);
	}
	for (i = 0; i < len; i++)
		assert_int_equal(frames_read(&header, frames.payload.data, i, &err), RC_INVALID);
	frames_free(&frames);
}

/* The queue ---------------------------------------------------------------------------------- */

static unsigned emitted;
static uint8_t last;

static void emit(void *owner, const uint8_t *frame, size_t len)
{
	(void)owner;
	(void)len;
	emitted++;
	assert_true(frame[0] >= last); /* in order */
	last = frame[0];
}

static bool add(struct frame_queue *queue, uint64_t key, uint8_t first, uint16_t count)
{
	uint8_t records[10 * (2 + FRAMES_LEN_MIN)] = { 0 };
	uint16_t i;

	for (i = 0; i < count; i++) {
		bytes_put_le16(records + i * (2 + FRAMES_LEN_MIN), FRAMES_LEN_MIN);
		records[i * (2 + FRAMES_LEN_MIN) + 2] = (uint8_t)(first + i);
	}
	return frame_queue_add(queue, key, records, (size_t)count * (2 + FRAMES_LEN_MIN), count);
}

static void frames_leave_in_order_up_to_the_key(void **state)
{
	struct frame_queue queue = { .limit = 10000 };

	(void)state;
	emitted = last = 0;
	assert_true(add(&queue, 5, 1, 2));
	assert_true(add(&queue, 6, 3, 3));
	assert_true(add(&queue, 6, 6, 1));
	assert_true(add(&queue, 9, 7, 1));
	assert_true(frame_queue_oldest(&queue) == 5);
	frame_queue_take(&queue, 4, emit, NULL);
	assert_int_equal(emitted, 0);
	frame_queue_take(&queue, 6, emit, NULL);
	assert_int_equal(emitted, 6);
	assert_int_equal(queue.frames, 1);
	assert_true(frame_queue_clear(&queue) == 1);
	assert_int_equal(queue.bytes, 0);
	assert_true(frame_queue_oldest(&queue) == UINT64_MAX);
}

static void a_key_that_falls_waits_for_those_before_it(void **state)
{
	struct frame_queue queue = { .limit = 10000 };

	(void)state;
	emitted = last = 0;
	assert_true(add(&queue, 8, 1, 1));
	assert_true(add(&queue, 3, 2, 1));
	frame_queue_take(&queue, 7, emit, NULL);
	assert_int_equal(emitted, 0);
	frame_queue_take(&queue, 8, emit, NULL);
	assert_int_equal(emitted, 2);
	/* Forgotten with what was in it: another session may count from below. */
	(void)frame_queue_clear(&queue);
	assert_true(add(&queue, 1, 3, 1));
	frame_queue_take(&queue, 1, emit, NULL);
	assert_int_equal(emitted, 3);
}

static void a_full_queue_says_no_and_keeps_what_it_has(void **state)
{
	struct frame_queue queue = { .limit = 300 };
	unsigned taken = 0;

	(void)state;
	while (add(&queue, taken, 1, 1) && taken < 100)
		taken++;
	assert_in_range(taken, 2, 20);
	assert_int_equal(queue.frames, taken);
	assert_true(queue.bytes <= queue.limit);
	emitted = last = 0;
	frame_queue_take(&queue, 0, emit, NULL);
	assert_true(add(&queue, 100, 1, 1));
	fault_arm(FAULT_ALLOC, 1);
	frame_queue_take(&queue, UINT64_MAX, emit, NULL);
	assert_false(add(&queue, 101, 1, 1));
	assert_int_equal(queue.frames + queue.bytes, 0);
}

static void single_frames_come_out_one_by_one(void **state)
{
	struct frame_queue queue = { .limit = 10000 };
	const uint8_t *frame;
	size_t len;

	(void)state;
	assert_null(frame_queue_peek(&queue, &len));
	bytes[0] = 1;
	assert_true(frame_queue_add_one(&queue, bytes, 60));
	bytes[0] = 2;
	assert_true(frame_queue_add_one(&queue, bytes, 61));
	frame = frame_queue_peek(&queue, &len);
	assert_int_equal(frame[0], 1);
	assert_int_equal(len, 60);
	frame_queue_pop(&queue);
	frame = frame_queue_peek(&queue, &len);
	assert_int_equal(frame[0], 2);
	assert_int_equal(len, 61);
	frame_queue_pop(&queue);
	assert_int_equal(queue.frames + queue.bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_put_together_is_read_again),
		cmocka_unit_test(the_longest_frame_fits_an_empty_payload_and_no_other_one),
		cmocka_unit_test(no_memory_loses_the_frame_and_nothing_else),
		cmocka_unit_test(every_wrong_field_is_refused),
		cmocka_unit_test(frames_leave_in_order_up_to_the_key),
		cmocka_unit_test(a_key_that_falls_waits_for_those_before_it),
		cmocka_unit_test(a_full_queue_says_no_and_keeps_what_it_has),
		cmocka_unit_test(single_frames_come_out_one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
