/* A sender without a standby: what it keeps, and what it takes for acknowledged. */
#include "replica/sender.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void on_failed(void *owner, const struct err *err)
{
	(void)owner;
	fail_msg("sender: %s", err->text);
}

struct alone {
	uv_loop_t loop;
	struct chunk_pool *pool;
	struct sender *sender;
	uint64_t committed;
	bool no_room, closed;
};

static bool alone_begin(void *owner, uint64_t epoch, enum wire_epoch kind)
{
	(void)epoch;
	(void)kind;
	return !((struct alone *)owner)->no_room;
}

static bool alone_commit(void *owner, uint64_t epoch, const struct wire_commit *commit)
{
	struct alone *a = owner;

	(void)commit;
	if (!a->no_room)
		a->committed = epoch;
	return !a->no_room;
}

static bool alone_batch(void *owner, uint64_t epoch, const uint8_t *data, size_t len,
			void (*release)(void *context), void *context)
{
	(void)owner;
	(void)epoch;
	(void)data;
	(void)len;
	release(context);
	return true;
}

static const struct sender_ops alone_callbacks = {
	.begin = alone_begin, .commit = alone_commit, .batch = alone_batch, .failed = on_failed
};

static void on_alone_closed(void *owner)
{
	((struct alone *)owner)->closed = true;
}

/* Its budget is as small as that of a session can be: 4 MiB. */
static struct alone *alone_open(void)
{
	struct alone *a = calloc(1, sizeof(*a));
	struct err err = { 0 };

	assert_int_equal(uv_loop_init(&a->loop), 0);
	assert_int_equal(chunk_pool_create(&a->pool, 16 * CHUNK_BYTES, &err), RC_OK);
	assert_int_equal(sender_create(&a->sender, &a->loop, 100000, 1 << 20, 4 << 20, 1, false,
				       &alone_callbacks, a, &err),
			 RC_OK);
	assert_true(sender_up(a->sender, 0));
	return a;
}

static void alone_close(struct alone *a)
{
	sender_close(a->sender, on_alone_closed);
	while (!a->closed)
		(void)uv_run(&a->loop, UV_RUN_ONCE);
	chunk_pool_destroy(a->pool);
	assert_int_equal(uv_loop_close(&a->loop), 0);
	free(a);
}

/* Pages that do not compress, one chunk full at most. */
static void alone_chunk(struct alone *a, uint64_t epoch, uint64_t first, unsigned count)
{
	struct chunk *chunk = chunk_get(a->pool);
	unsigned random = (unsigned)first;

	assert_non_null(chunk);
	chunk->epoch = epoch;
	chunk->npages = count;
	for (unsigned i = 0; i < count * 4096; i++)
		chunk->bytes[i] = (uint8_t)rand_r(&random);
	for (unsigned i = 0; i < count; i++)
		chunk->pages[i] = (struct chunk_page){ .index = first + i,
						       .data = chunk->bytes + (size_t)i * 4096 };
	sender_chunk(a->sender, chunk);
}

static void alone_end(struct alone *a, uint64_t epoch)
{
	sender_epoch(a->sender, &(struct capture_epoch){ .epoch = epoch });
}

static void alone_run_until_committed(struct alone *a, uint64_t epoch)
{
	while (a->committed != epoch)
		(void)uv_run(&a->loop, UV_RUN_ONCE);
}

/* Of one page; the first is acknowledged. */
static void alone_two_epochs(struct alone *a)
{
	uint64_t took;

	for (uint64_t epoch = 1; epoch <= 2; epoch++) {
		alone_chunk(a, epoch, 0, 1);
		alone_end(a, epoch);
		alone_run_until_committed(a, epoch);
		if (epoch == 1)
			assert_true(sender_ack(a->sender, epoch, &took));
	}
}

static void an_epoch_larger_than_the_budget_goes_on_when_the_one_before_is_acknowledged(
	void **unused)
{
	struct alone *a = alone_open();
	struct sender_state before, after;
	uint64_t took;

	(void)unused;
	alone_two_epochs(a);
	/* The third fills the budget; the transport takes all that there is. */
	for (unsigned i = 0; i < 10; i++)
		alone_chunk(a, 3, 1000 + UINT64_C(255) * i, 255);
	do {
		(void)uv_run(&a->loop, UV_RUN_ONCE);
		sender_query(a->sender, 0, &before);
	} while (!before.full || before.bytes < (4 << 20) - CHUNK_BYTES);
	/* Nobody else will call: the transport has room as it is. */
	assert_true(sender_ack(a->sender, 2, &took));
	sender_query(a->sender, 0, &after);
	assert_true(after.bytes < before.bytes / 2);
	alone_end(a, 3);
	alone_run_until_committed(a, 3);
	assert_true(sender_ack(a->sender, 3, &took));
	alone_close(a);
}

static void an_epoch_whose_commit_was_never_sent_cannot_be_acknowledged(void **unused)
{
	struct alone *a = alone_open();
	struct sender_state state;
	uint64_t took;

	(void)unused;
	alone_chunk(a, 1, 0, 1);
	a->no_room = true;
	alone_end(a, 1);
	do {
		(void)uv_run(&a->loop, UV_RUN_ONCE);
		sender_query(a->sender, UINT64_MAX, &state);
	} while (state.lag_ns == 0); /* it has been encoded to its end */
	assert_false(sender_ack(a->sender, 1, &took));
	a->no_room = false;
	sender_room(a->sender);
	assert_int_equal(a->committed, 1);
	assert_true(sender_ack(a->sender, 1, &took));
	alone_close(a);
}

static void an_epoch_acknowledged_by_its_successors_connection_was_sent_on_an_earlier_one(
	void **unused)
{
	struct alone *a = alone_open();
	struct sender_state state;

	(void)unused;
	alone_two_epochs(a);
	/* The second connection comes to nothing; the standby finishes what the first one brought. */
	sender_down(a->sender);
	a->no_room = true;
	assert_true(sender_up(a->sender, 1));
	sender_down(a->sender);
	assert_true(sender_up(a->sender, 2));
	sender_query(a->sender, 0, &state);
	assert_int_equal(state.acknowledged, 2);
	alone_close(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			an_epoch_larger_than_the_budget_goes_on_when_the_one_before_is_acknowledged),
		cmocka_unit_test(an_epoch_whose_commit_was_never_sent_cannot_be_acknowledged),
		cmocka_unit_test(
			an_epoch_acknowledged_by_its_successors_connection_was_sent_on_an_earlier_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
