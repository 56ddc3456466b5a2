/* Letting an instance go, against a QEMU that is played: what is said of it is what QEMU said last. */
#include "replica/colo_release.h"

#include "appliance/base/log.h"
#include "tests/unit/clock_fixture.h"
#include "tests/unit/qmp_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* What the QEMU that is played does, and what came of it. */
static struct play {
	const char *migration, *status;
	const char *after_lost, *after_cont; /* run state then; NULL: no change */
	unsigned losts, conts;
	struct colo_release *release;
	bool ended, failed;
	struct err err;
	char end_status[32];
	bool continued;
} play;

static void on_end(void *owner, const struct colo_release_end *end)
{
	(void)owner;
	play.ended = true;
	play.failed = end->err != NULL;
	if (end->err != NULL)
		play.err = *end->err;
	(void)snprintf(play.end_status, sizeof(play.end_status), "%s", end->status);
	play.continued = end->continued;
}

static void answer(struct fixture *f, const char *command, const char *id)
{
	const char *status = strcmp(command, "query-migrate") == 0 ? play.migration :
			     strcmp(command, "query-status") == 0  ? play.status :
								     NULL;
	char text[128];

	if (status != NULL)
		(void)snprintf(text, sizeof(text),
			       "{\"return\": {\"status\": \"%s\"}, \"id\": %s}\r\n", status, id);
	else
		(void)snprintf(text, sizeof(text), "{\"return\": {}, \"id\": %s}\r\n", id);
	if (strcmp(command, "x-colo-lost-heartbeat") == 0 && play.losts++ == 0 &&
	    play.after_lost != NULL) {
		play.migration = "completed";
		play.status = play.after_lost;
	} else if (strcmp(command, "cont") == 0 && play.conts++ == 0 && play.after_cont != NULL) {
		play.status = play.after_cont;
	}
	monitor_say(f, text);
}

static void serve(struct fixture *f)
{
	char command[64], id[16], *end;

	monitor_turn(f);
	monitor_hear(f);
	while ((end = memchr(f->heard, '\n', f->heard_len)) != NULL) {
		*end = '\0';
		assert_int_equal(sscanf(f->heard, "{\"execute\":\"%63[^\"]\",\"id\":%15[0-9]",
					command, id),
				 2);
		f->heard_len -= (size_t)(end + 1 - f->heard);
		memmove(f->heard, end + 1, f->heard_len);
		answer(f, command, id);
	}
}

static void begin(struct fixture *f, const struct play *how)
{
	struct err err;

	play = *how;
	monitor_become_ready(f);
	assert_int_equal(colo_release_create(&play.release, &f->loop, f->qmp, "capture test", f,
					     &err),
			 RC_OK);
	colo_release_ready(play.release);
	colo_release_begin(play.release, on_end);
}

/* Turns in which QEMU answers, each with so much more time. */
static void serve_for(struct fixture *f, int turns, uint64_t ms)
{
	while (turns-- > 0) {
		clock_fixture_pass(ms);
		serve(f);
	}
}

/* Time in which QEMU does nothing; what is sent to it waits. */
static void stand_still(struct fixture *f, int seconds)
{
	while (seconds-- > 0) {
		clock_fixture_pass(1000);
		monitor_turn(f);
	}
}

static void close_it(struct fixture *f)
{
	colo_release_close(play.release, NULL);
	serve_for(f, 20, 0);
}

static void end_well(struct fixture *f)
{
	int i;

	for (i = 0; i < PATIENCE_MS && !play.ended; i++)
		serve(f);
	assert_true(play.ended);
	assert_null(colo_release_waits(play.release));
	close_it(f);
}

/* Longer than COLO_RELEASE_MS, in steps that are no silence. */
#define LATE_TURNS 15
#define LATE_MS 900

static void an_instance_that_goes_on_is_said_to_run(void **state)
{
	static const struct play how = { "colo", "colo", .after_lost = "running" };

	begin(*state, &how);
	end_well(*state);
	assert_false(play.failed);
	assert_string_equal(play.end_status, "running");
	assert_false(play.continued);
	assert_int_equal(play.conts, 0);
}

static void one_that_somebody_has_paused_is_said_to_be_paused_and_stays_so(void **state)
{
	static const struct play how = { "colo", "colo", .after_lost = "paused" };

	begin(*state, &how);
	end_well(*state);
	assert_false(play.failed);
	assert_string_equal(play.end_status, "paused");
	assert_int_equal(play.conts, 0);
}

static void one_that_qemu_leaves_standing_is_told_so_after_a_second(void **state)
{
	static const struct play how = { "completed", "colo", .after_cont = "running" };

	begin(*state, &how);
	end_well(*state);
	assert_false(play.failed);
	assert_string_equal(play.end_status, "running");
	assert_true(play.continued);
	assert_int_equal(play.conts, 1);
}

static void at_the_limit_one_that_stands_is_told_once_to_go_on(void **state)
{
	static const struct play how = { "colo", "colo", .after_lost = "colo",
					 .after_cont = "running" };

	begin(*state, &how);
	serve_for(*state, LATE_TURNS, LATE_MS);
	end_well(*state);
	assert_string_equal(play.end_status, "running");
	assert_true(play.continued);
	assert_int_equal(play.conts, 1);
}

static void a_migration_that_does_not_end_is_given_up_only_while_the_instance_runs(void **state)
{
	static const struct play how = { .migration = "active", .status = "running" };

	begin(*state, &how);
	serve_for(*state, LATE_TURNS, LATE_MS);
	end_well(*state);
	assert_true(play.failed);
	assert_int_equal(play.err.code, RC_TIMEOUT);
	assert_string_equal(play.end_status, "running");
	assert_int_equal(play.conts, 0);
}

static void one_that_stands_is_never_given_up_but_told_less_often(void **state)
{
	static const struct play how = { .migration = "colo", .status = "colo" };
	struct fixture *f = *state;
	unsigned losts;

	begin(f, &how);
	serve_for(f, LATE_TURNS, LATE_MS);
	assert_non_null(colo_release_waits(play.release));
	losts = play.losts;
	serve_for(f, 3600 * 1000 / LATE_MS, LATE_MS);
	assert_false(play.ended);
	assert_in_range(play.losts - losts, 600, 3700); /* about one a second */
	assert_int_equal(play.conts, 1);
	play.after_lost = "running";
	play.losts = 0;
	serve_for(f, LATE_TURNS, LATE_MS);
	end_well(f);
	assert_false(play.failed);
	assert_string_equal(play.end_status, "running");
}

static void an_instance_that_stays_postmigrate_is_told_until_it_goes_on(void **state)
{
	static const struct play how = { .migration = "completed", .status = "postmigrate" };
	struct fixture *f = *state;

	begin(f, &how);
	serve_for(f, LATE_TURNS, LATE_MS);
	assert_false(play.ended);
	assert_true(play.conts > 1);
	play.conts = 0;
	play.after_cont = "running";
	serve_for(f, LATE_TURNS, LATE_MS);
	end_well(f);
	assert_false(play.failed);
	assert_string_equal(play.end_status, "running");
}

static void a_qemu_that_answers_nothing_for_minutes_is_waited_for(void **state)
{
	static const struct play how = { "colo", "colo", .after_lost = "running" };
	struct fixture *f = *state;

	begin(f, &how);
	monitor_turn(f);
	assert_null(colo_release_waits(play.release));
	stand_still(f, 600);
	assert_false(play.ended);
	assert_non_null(strstr(colo_release_waits(play.release), "does not answer"));
	end_well(f);
	assert_false(play.failed);
	assert_string_equal(play.end_status, "running");
	assert_int_equal(play.conts, 0); /* its silence is not held against it */
}

static void the_limits_count_from_when_it_answers(void **state)
{
	static const struct play how = { .migration = "active", .status = "running" };
	struct fixture *f = *state;

	begin(f, &how);
	serve_for(f, 10, 10);
	stand_still(f, 60);
	serve_for(f, 200, 10);
	assert_false(play.ended);
	play.migration = "failed";
	end_well(f);
	assert_false(play.failed);
}

static void a_connection_that_is_lost_ends_it(void **state)
{
	static const struct play how = { .migration = "colo", .status = "colo" };
	struct fixture *f = *state;
	int i;

	begin(f, &how);
	stand_still(f, 30);
	assert_int_equal(shutdown(f->peer, SHUT_RDWR), 0);
	for (i = 0; i < PATIENCE_MS && !play.ended; i++)
		monitor_turn(f);
	assert_true(play.ended);
	assert_int_equal(play.err.code, RC_CLOSED);
	colo_release_close(play.release, NULL);
	for (i = 0; i < 20; i++)
		monitor_turn(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, monitor_setup, monitor_teardown)
	const struct CMUnitTest tests[] = {
		TEST(an_instance_that_goes_on_is_said_to_run),
		TEST(one_that_somebody_has_paused_is_said_to_be_paused_and_stays_so),
		TEST(one_that_qemu_leaves_standing_is_told_so_after_a_second),
		TEST(at_the_limit_one_that_stands_is_told_once_to_go_on),
		TEST(a_migration_that_does_not_end_is_given_up_only_while_the_instance_runs),
		TEST(one_that_stands_is_never_given_up_but_told_less_often),
		TEST(an_instance_that_stays_postmigrate_is_told_until_it_goes_on),
		TEST(a_qemu_that_answers_nothing_for_minutes_is_waited_for),
		TEST(the_limits_count_from_when_it_answers),
		TEST(a_connection_that_is_lost_ends_it),
	};

	log_setup(LOG_LEVEL_COUNT, false); /* what is logged here is wanted */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
