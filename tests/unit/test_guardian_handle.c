/* What an agent learns of its guardian: that it is dead, stopped or full, or could not be started. */
#include "replica/guardian.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "replica/guardian_process.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 5000 /* a test that waits longer has failed */

/* Kills it and waits until it is known to be dead. */
static void kill_it(const struct guardian *guardian)
{
	int i;

	assert_int_equal(kill(guardian_pid(guardian), SIGKILL), 0);
	for (i = 0; i < PATIENCE_MS && guardian_alive(guardian); i++)
		(void)usleep(1000);
	assert_false(guardian_alive(guardian));
}

static void a_dead_guardian_is_noticed_and_replaced(void **state)
{
	struct guardian *guardian;
	struct err err;
	pid_t first;

	(void)state;
	assert_int_equal(guardian_start(&guardian, &err), RC_OK);
	assert_true(guardian_alive(guardian));
	assert_int_equal(guardian_tend(guardian), GUARDIAN_LOOK_MS);
	first = guardian_pid(guardian);
	kill_it(guardian);
	assert_int_equal(guardian_tend(guardian), GUARDIAN_LOOK_MS);
	assert_int_not_equal(guardian_pid(guardian), first);
	assert_true(guardian_alive(guardian));
	assert_int_equal(kill(first, 0), -1);
	guardian_stop(guardian);
	guardian_stop(NULL);
}

static void one_that_dies_again_and_again_is_replaced_later_and_later(void **state)
{
	struct guardian *guardian;
	int wait_ms, i, pair[2];
	uint64_t began_ns;
	struct err err;
	unsigned slot;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(guardian_start(&guardian, &err), RC_OK);
	kill_it(guardian);
	assert_int_equal(guardian_tend(guardian), GUARDIAN_LOOK_MS);
	for (i = 0; i < 3; i++) {
		began_ns = clock_now_ns();
		kill_it(guardian);
		wait_ms = guardian_tend(guardian);
		assert_in_range(wait_ms, 1, (GUARDIAN_WAIT_MIN_MS << i) + 1);
		assert_int_equal(guardian_pid(guardian), 0);
		assert_int_equal(guardian_watch(guardian, "x", pair[0], pair[0], 0, &slot, &err),
				 RC_STATE);
		while (guardian_pid(guardian) == 0)
			(void)usleep((useconds_t)guardian_tend(guardian) * 1000);
		assert_true(guardian_alive(guardian));
		assert_true(clock_now_ns() - began_ns >=
			    ((uint64_t)GUARDIAN_WAIT_MIN_MS << i) * CLOCK_NS_PER_MS);
		assert_int_equal(guardian_watch(guardian, "x", pair[0], pair[0], 0, &slot, &err),
				 RC_OK);
	}
	close(pair[0]);
	close(pair[1]);
	kill_it(guardian);
	(void)guardian_tend(guardian);
	assert_int_equal(guardian_pid(guardian), 0);
	guardian_stop(guardian); /* while there is none */
}

static void the_wait_for_another_is_bounded(void **state)
{
	(void)state;
	assert_int_equal(guardian_wait_ms(0), 0);
	assert_int_equal(guardian_wait_ms(1), GUARDIAN_WAIT_MIN_MS);
	assert_int_equal(guardian_wait_ms(2), 2 * GUARDIAN_WAIT_MIN_MS);
	assert_int_equal(guardian_wait_ms(9), 256 * GUARDIAN_WAIT_MIN_MS);
	assert_int_equal(guardian_wait_ms(10), GUARDIAN_WAIT_MAX_MS);
	assert_int_equal(guardian_wait_ms(UINT_MAX), GUARDIAN_WAIT_MAX_MS);
	assert_int_equal(guardian_idle_ms(0), GUARDIAN_IDLE_MS);
	assert_int_equal(guardian_idle_ms(1), 2 * GUARDIAN_IDLE_MS);
	assert_int_equal(guardian_idle_ms(5), GUARDIAN_IDLE_MS_MAX);
	assert_int_equal(guardian_idle_ms(UINT_MAX), GUARDIAN_IDLE_MS_MAX);
}

/* So many looks, each after enough time to count as one. */
static void look(struct guardian *guardian, unsigned looks)
{
	while (looks-- > 0) {
		(void)usleep(GUARDIAN_LOOK_MS * 1000);
		(void)guardian_tend(guardian);
	}
}

static void one_that_is_stopped_is_ended_and_replaced(void **state)
{
	const unsigned looks = GUARDIAN_IDLE_MS / GUARDIAN_LOOK_MS;
	struct guardian *guardian;
	struct err err;
	pid_t first;
	int i;

	(void)state;
	assert_int_equal(guardian_start(&guardian, &err), RC_OK);
	first = guardian_pid(guardian);
	look(guardian, looks + 1);
	assert_int_equal(guardian_pid(guardian), first); /* it works */
	assert_int_equal(kill(first, SIGSTOP), 0);
	look(guardian, looks + 2); /* the first may still find that it worked just before */
	for (i = 0; i < PATIENCE_MS && guardian_pid(guardian) == first; i++) {
		(void)usleep(1000);
		(void)guardian_tend(guardian);
	}
	assert_int_not_equal(guardian_pid(guardian), first);
	assert_int_equal(kill(first, 0), -1);
	assert_true(guardian_alive(guardian));
	guardian_stop(guardian);
}

/* An agent that was held up itself, with its guardian, does not hold the time against it. */
static void looks_are_counted_and_not_the_time_between_them(void **state)
{
	const unsigned looks = GUARDIAN_IDLE_MS / GUARDIAN_LOOK_MS;
	struct guardian *guardian;
	struct err err;
	pid_t first;

	(void)state;
	assert_int_equal(guardian_start(&guardian, &err), RC_OK);
	first = guardian_pid(guardian);
	assert_int_equal(kill(first, SIGSTOP), 0);
	look(guardian, looks - 2);
	(void)usleep(GUARDIAN_IDLE_MS * 1000);
	(void)guardian_tend(guardian);
	(void)guardian_tend(guardian);
	assert_int_equal(guardian_pid(guardian), first);
	assert_true(guardian_alive(guardian));
	guardian_stop(guardian);
}

static void an_instance_is_watched_although_the_guardian_has_just_died(void **state)
{
	struct guardian *guardian;
	unsigned slot, other;
	struct err err;
	char names[64];
	int pair[2];

	(void)state;
	assert_int_equal(guardian_start(&guardian, &err), RC_OK);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	kill_it(guardian);
	assert_int_equal(guardian_watched(guardian, names, sizeof(names)), 0);
	assert_string_equal(names, "");
	assert_int_equal(guardian_watch(guardian, "x", pair[0], pair[0], 0, &slot, &err), RC_OK);
	assert_true(guardian_alive(guardian));
	assert_int_equal(guardian_watch(guardian, "y", pair[0], pair[0], 0, &other, &err), RC_OK);
	assert_int_equal(guardian_watched(guardian, names, sizeof(names)), 2);
	assert_string_equal(names, "x, y");
	assert_int_equal(guardian_watched(guardian, names, 3), 2);
	assert_string_equal(names, "x,");
	guardian_unwatch(guardian, slot);
	assert_int_equal(guardian_watched(guardian, names, sizeof(names)), 1);
	assert_string_equal(names, "y");
	guardian_unwatch(guardian, other);
	close(pair[0]);
	close(pair[1]);
	guardian_stop(guardian);
}

static void only_what_an_agent_started_is_a_guardian(void **state)
{
	static char name[] = GUARDIAN_PROCESS_NAME, other[] = "understudy";
	char *as_guardian[] = { name, NULL }, *as_other[] = { other, NULL };
	char *with_argument[] = { name, other, NULL };
	int stream[2], packets[2], kept = fcntl(GUARDIAN_CONTROL, F_DUPFD_CLOEXEC, 10);

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, packets), 0);
	assert_int_equal(dup2(stream[0], GUARDIAN_CONTROL), GUARDIAN_CONTROL);
	assert_false(guardian_process_is_one(1, as_guardian));
	assert_int_equal(dup2(packets[1], GUARDIAN_CONTROL), GUARDIAN_CONTROL);
	assert_false(guardian_process_is_one(1, as_other));
	assert_false(guardian_process_is_one(2, with_argument));
	assert_true(guardian_process_is_one(1, as_guardian));
	close(stream[1]);
	close(packets[0]);
	if (kept >= 0)
		(void)dup2(kept, GUARDIAN_CONTROL);
	else
		close(GUARDIAN_CONTROL);
	close(kept);
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

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dead_guardian_is_noticed_and_replaced),
		cmocka_unit_test(one_that_dies_again_and_again_is_replaced_later_and_later),
		cmocka_unit_test(the_wait_for_another_is_bounded),
		cmocka_unit_test(one_that_is_stopped_is_ended_and_replaced),
		cmocka_unit_test(looks_are_counted_and_not_the_time_between_them),
		cmocka_unit_test(an_instance_is_watched_although_the_guardian_has_just_died),
		cmocka_unit_test(only_what_an_agent_started_is_a_guardian),
		cmocka_unit_test(a_guardian_that_is_stopped_does_not_stop_the_agent),
		cmocka_unit_test(there_is_room_for_as_many_as_promised),
		cmocka_unit_test(starting_it_without_memory_is_an_error),
	};

	if (guardian_process_is_one(argc, argv))
		guardian_process_run();
	log_setup(LOG_LEVEL_ERROR, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
