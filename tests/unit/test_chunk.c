#include "appliance/base/mem.h"
#include "replica/chunk.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct err err;
static struct chunk_pool *pool;

static void open_pool(size_t chunks)
{
	assert_int_equal(chunk_pool_create(&pool, chunks * CHUNK_BYTES, &err), RC_OK);
}

static void a_chunk_comes_empty_with_all_of_its_bytes(void **state)
{
	struct chunk *chunk;

	(void)state;
	open_pool(2);
	chunk = chunk_get(pool);
	memset(chunk->bytes, 0xaa, CHUNK_BYTES);
	chunk->npages = 7;
	chunk->used = 9;
	chunk->epoch = 11;
	chunk->next = chunk;
	chunk_put(chunk);
	chunk = chunk_get(pool);
	assert_int_equal(chunk->npages, 0);
	assert_int_equal(chunk->used, 0);
	assert_int_equal(chunk->epoch, 0);
	assert_null(chunk->next);
	chunk_put(chunk);
	chunk_pool_destroy(pool);
}

static void a_budget_below_two_chunks_gives_two(void **state)
{
	struct chunk *a, *b;

	(void)state;
	open_pool(0);
	assert_int_equal(chunk_pool_limit(pool), 2);
	a = chunk_get(pool);
	b = chunk_get(pool);
	assert_non_null(a);
	assert_non_null(b);
	assert_int_equal(chunk_pool_in_use(pool), 2);
	chunk_put(a);
	chunk_put(b);
	assert_int_equal(chunk_pool_in_use(pool), 0);
	chunk_pool_destroy(pool);
}

struct waiter {
	pthread_t thread;
	atomic_bool returned;
	struct chunk *chunk;
};

static void *wait_for_chunk(void *argument)
{
	struct waiter *w = argument;

	w->chunk = chunk_get(pool);
	atomic_store(&w->returned, true);
	return NULL;
}

static void start_waiter(struct waiter *w)
{
	*w = (struct waiter){ .returned = false };
	assert_int_equal(pthread_create(&w->thread, NULL, wait_for_chunk, w), 0);
	(void)usleep(20000);
	assert_false(atomic_load(&w->returned));
}

static void beyond_the_budget_one_waits_until_a_chunk_comes_back(void **state)
{
	struct chunk *a, *b;
	struct waiter w;

	(void)state;
	open_pool(2);
	a = chunk_get(pool);
	b = chunk_get(pool);
	start_waiter(&w);
	chunk_put(a);
	assert_int_equal(pthread_join(w.thread, NULL), 0);
	assert_ptr_equal(w.chunk, a);
	chunk_put(w.chunk);
	chunk_put(b);
	chunk_pool_destroy(pool);
}

static void closing_wakes_every_waiter_and_opening_lets_them_wait_again(void **state)
{
	struct chunk *a, *b;
	struct waiter w[2];

	(void)state;
	open_pool(2);
	a = chunk_get(pool);
	b = chunk_get(pool);
	start_waiter(&w[0]);
	start_waiter(&w[1]);
	chunk_pool_close(pool);
	assert_int_equal(pthread_join(w[0].thread, NULL), 0);
	assert_int_equal(pthread_join(w[1].thread, NULL), 0);
	assert_null(w[0].chunk);
	assert_null(w[1].chunk);
	chunk_put(a);
	assert_null(chunk_get(pool));
	chunk_pool_open(pool);
	a = chunk_get(pool);
	assert_non_null(a);
	start_waiter(&w[0]);
	chunk_put(a);
	assert_int_equal(pthread_join(w[0].thread, NULL), 0);
	chunk_put(w[0].chunk);
	chunk_put(b);
	chunk_pool_destroy(pool);
}

static void when_memory_is_short_there_is_no_chunk_but_its_place_stays(void **state)
{
	struct chunk *chunk;
	unsigned long n;

	(void)state;
	for (n = 1; n <= 3; n++) {
		fault_arm(FAULT_ALLOC, n);
		if (n == 1) {
			assert_int_equal(chunk_pool_create(&pool, 2 * CHUNK_BYTES, &err), RC_NOMEM);
			continue;
		}
		open_pool(2);
		assert_null(chunk_get(pool));
		assert_true(fault_fired(FAULT_ALLOC));
		assert_int_equal(chunk_pool_in_use(pool), 0);
		chunk = chunk_get(pool);
		assert_non_null(chunk);
		chunk_put(chunk);
		chunk_pool_destroy(pool);
	}
}

/* Gets and puts back so many; returns how many of them had to be made. */
static size_t use(size_t count)
{
	struct chunk *chunks[16];
	size_t i, made = 0;

	for (i = 0; i < count; i++) {
		fault_arm(FAULT_ALLOC, 1);
		chunks[i] = chunk_get(pool);
		if (chunks[i] == NULL) {
			fault_arm(FAULT_ALLOC, 0);
			chunks[i] = chunk_get(pool);
			made++;
		}
		assert_non_null(chunks[i]);
	}
	fault_arm(FAULT_ALLOC, 0);
	for (i = 0; i < count; i++)
		chunk_put(chunks[i]);
	return made;
}

static void chunks_are_kept_for_a_while_and_those_of_a_burst_given_back(void **state)
{
	int i;

	(void)state;
	open_pool(16);
	assert_int_equal(use(16), 16);
	assert_int_equal(use(16), 0);
	assert_int_equal(use(3), 0);
	assert_int_equal(use(12), 0);
	for (i = 0; i < 100; i++)
		assert_int_equal(use(2), 0);
	assert_int_equal(use(16), 14);
	chunk_pool_destroy(pool);
}

#define TURNS 20000

static void *take_turns(void *argument)
{
	struct chunk *chunk;
	int i;

	for (i = 0; i < TURNS; i++) {
		chunk = chunk_get(pool);
		if (chunk == NULL)
			return argument;
		chunk->npages = 1;
		chunk_put(chunk);
	}
	return NULL;
}

static void many_threads_share_few_chunks(void **state)
{
	pthread_t threads[4];
	void *failed;
	size_t i;

	(void)state;
	open_pool(2);
	for (i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_turns, &threads[i]), 0);
	for (i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	assert_int_equal(chunk_pool_in_use(pool), 0);
	chunk_pool_destroy(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_chunk_comes_empty_with_all_of_its_bytes),
		cmocka_unit_test(a_budget_below_two_chunks_gives_two),
		cmocka_unit_test(beyond_the_budget_one_waits_until_a_chunk_comes_back),
		cmocka_unit_test(closing_wakes_every_waiter_and_opening_lets_them_wait_again),
		cmocka_unit_test(when_memory_is_short_there_is_no_chunk_but_its_place_stays),
		cmocka_unit_test(chunks_are_kept_for_a_while_and_those_of_a_burst_given_back),
		cmocka_unit_test(many_threads_share_few_chunks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
