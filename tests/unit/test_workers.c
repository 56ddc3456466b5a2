/* Threads of one owner: nobody else waits for their work. */
#include "appliance/base/workers.h"

#include "appliance/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#define JOBS 200

static uv_loop_t loop;
static uv_sem_t held;
static struct err err;
static unsigned ended;
static struct workers *workers;

static int setup(void **state)
{
	(void)state;
	ended = 0;
	workers = NULL;
	return uv_loop_init(&loop) != 0 || uv_sem_init(&held, 0) != 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	uv_sem_destroy(&held);
	return uv_loop_close(&loop);
}

static void hang(struct workers_job *job)
{
	(void)job;
	uv_sem_wait(&held);
}

static void count(struct workers_job *job)
{
	*(bool *)job->owner = true;
}

static void on_done(struct workers_job *job)
{
	(void)job;
	ended++;
}

/* As an owner does whose end waited for that. */
static void on_last(struct workers_job *job)
{
	on_done(job);
	workers_close(workers);
	workers = NULL;
}

static void every_job_is_done_once_and_the_loop_runs_until_then(void **state)
{
	static struct workers_job jobs[JOBS];
	static bool worked[JOBS];

	(void)state;
	assert_int_equal(workers_open(&workers, &loop, WORKERS_MAX, &err), RC_OK);
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0); /* nothing to wait for */
	for (size_t i = 0; i < JOBS; i++) {
		jobs[i].owner = &worked[i];
		workers_queue(workers, &jobs[i], count, on_done);
	}
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(ended, JOBS);
	for (size_t i = 0; i < JOBS; i++)
		assert_true(worked[i]);
	workers_queue(workers, &jobs[0], count, on_last);
}

static void others_go_on_while_one_hangs(void **state)
{
	struct workers_job hung[2] = { { 0 } }, job = { 0 };
	struct workers *others;
	bool worked = false;

	(void)state;
	assert_int_equal(workers_open(&workers, &loop, 1, &err), RC_OK);
	assert_int_equal(workers_open(&others, &loop, 1, &err), RC_OK);
	workers_queue(workers, &hung[0], hang, on_done);
	workers_queue(workers, &hung[1], hang, on_done);
	job.owner = &worked;
	workers_queue(others, &job, count, on_done);
	while (ended == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_true(worked);
	uv_sem_post(&held);
	uv_sem_post(&held);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(ended, 3);
	workers_close(workers);
	workers_close(others);
}

static void without_memory_there_are_none(void **state)
{
	(void)state;
	fault_arm(FAULT_ALLOC, 1);
	assert_int_equal(workers_open(&workers, &loop, 1, &err), RC_NOMEM);
	fault_arm(FAULT_ALLOC, 0);
	assert_null(workers);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(every_job_is_done_once_and_the_loop_runs_until_then),
		TEST(others_go_on_while_one_hangs),
		TEST(without_memory_there_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
