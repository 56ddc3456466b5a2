/* What an agent learns of its guardian: that it is dead, stopped or full, or could not be started. */
#include "replica/guardian.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "replica/guardian_process.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 5000 /* a test that waits longer has failed */

static void a_dead_guardian_is_noticed(void **state)
{
	struct guardian *guardian;
	struct err err;
	unsigned slot;
	int i, pair[2];

	(void)state;
	assert_int_equal(guardian_start(&guardian, &err), RC_OK);
	assert_true(guardian_alive(guardian));
	assert_int_equal(kill(guardian_pid(guardian), SIGKILL), 0);
	for (i = 0; i < PATIENCE_MS && guardian_alive(guardian); i++)
		(void)usleep(1000);
	assert_false(guardian_alive(guardian));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(guardian_watch(guardian, "x", pair[0], pair[0], 0, &slot, &err), RC_IO);
	close(pair[0]);
	close(pair[1]);
	guardian_stop(guardian);
	guardian_stop(NULL);
}

static void a_guardian_that_is_stopped_does_not_stop_the_agent(void **state)
{
	struct guardian *guardian;
	struct err err;
	unsigned slot;
	int pair[2], i;

	(void)state;
	assert_int_equal(guardian_start(&guardian, &err), RC_OK);
	(void)usleep(20000);
	assert_int_equal(kill(guardian_pid(guardian), SIGSTOP), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	for (i = 0; i < 10000; i++) {
		if (guardian_watch(guardian, "x", pair[0], pair[0], 0, &slot, &err) != RC_OK)
			break;
		guardian_unwatch(guardian, slot);
	}
	assert_true(i < 10000);
	close(pair[0]);
	close(pair[1]);
	guardian_stop(guardian);
}

static void there_is_room_for_as_many_as_promised(void **state)
{
	unsigned slot, seen[GUARDIAN_INSTANCES_MAX] = { 0 };
	struct guardian *guardian;
	struct err err;
	int pair[2], i, rc;

	(void)state;
	assert_int_equal(guardian_start(&guardian, &err), RC_OK);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	for (i = 0; i < GUARDIAN_INSTANCES_MAX;) {
		rc = guardian_watch(guardian, "x", pair[0], pair[0], 0, &slot, &err);
		if (rc != RC_OK) { /* its queue is full for the moment */
			(void)usleep(1000);
			continue;
		}
		assert_in_range(slot, 0, GUARDIAN_INSTANCES_MAX - 1);
		seen[slot]++;
		i++;
	}
	for (i = 0; i < GUARDIAN_INSTANCES_MAX; i++)
		assert_int_equal(seen[i], 1);
	assert_int_equal(guardian_watch(guardian, "x", pair[0], pair[0], 0, &slot, &err), RC_LIMIT);
	close(pair[0]);
	close(pair[1]);
	guardian_stop(guardian);
}

static void starting_it_without_memory_is_an_error(void **state)
{
	struct guardian *guardian;
	struct err err;

	(void)state;
	fault_arm(FAULT_ALLOC, 1);
	assert_int_equal(guardian_start(&guardian, &err), RC_NOMEM);
	fault_arm(FAULT_ALLOC, 0);
	assert_null(guardian);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dead_guardian_is_noticed),
		cmocka_unit_test(a_guardian_that_is_stopped_does_not_stop_the_agent),
		cmocka_unit_test(there_is_room_for_as_many_as_promised),
		cmocka_unit_test(starting_it_without_memory_is_an_error),
	};

	log_setup(LOG_LEVEL_ERROR, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
