/*
 * Keeping an instance standing, against a QEMU that is played: it takes `stop` inside a checkpoint
 * and runs on afterwards, as the real one does.
 */
#include "appliance/restraint.h"

#include "appliance/base/log.h"
#include "tests/unit/clock_fixture.h"
#include "tests/unit/qmp_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct play {
	const char *status;
	unsigned
		checkpoint; /* commands until it goes on by itself: a checkpoint is over, or `cont` */
	unsigned refusals; /* of `cont` */
	unsigned stops, conts, freed, stood;
	struct restraint *restraint;
} play;

static void resume(struct fixture *f)
{
	play.status = "running";
	monitor_say(f, "{\"event\": \"RESUME\", \"timestamp\": {\"seconds\": 1, "
		       "\"microseconds\": 0}}\r\n");
	restraint_event(play.restraint, "RESUME",
			NULL); /* the fixture's own callback only notes it */
}

static void answer(struct fixture *f, const char *command, const char *id)
{
	bool refused = false;
	char text[128];

	if (play.checkpoint > 0 && --play.checkpoint == 0)
		resume(f);
	if (strcmp(command, "stop") == 0) {
		play.stops++;
		if (strcmp(play.status, "running") == 0)
			play.status = "paused";
	} else if (strcmp(command, "cont") == 0) {
		play.conts++;
		assert_string_not_equal(play.status, "colo"); /* its memory is being read */
		refused = play.refusals > 0;
		play.refusals -= refused;
		play.status = refused ? play.status : "running";
	}
	if (refused)
		(void)snprintf(text, sizeof(text),
			       "{\"error\": {\"class\": \"GenericError\", \"desc\": \"not "
			       "finalized\"}, \"id\": %s}\r\n",
			       id);
	else if (strcmp(command, "query-status") == 0)
		(void)snprintf(text, sizeof(text),
			       "{\"return\": {\"status\": \"%s\"}, \"id\": %s}\r\n", play.status,
			       id);
	else
		(void)snprintf(text, sizeof(text), "{\"return\": {}, \"id\": %s}\r\n", id);
	monitor_say(f, text);
}

static void serve(struct fixture *f, int turns)
{
	char command[64], id[16], *end;

	while (turns-- > 0) {
		clock_fixture_pass(1);
		monitor_turn(f);
		monitor_hear(f);
		while ((end = memchr(f->heard, '\n', f->heard_len)) != NULL) {
			*end = '\0';
			assert_int_equal(sscanf(f->heard,
						"{\"execute\":\"%63[^\"]\",\"id\":%15[0-9]",
						command, id),
					 2);
			f->heard_len -= (size_t)(end + 1 - f->heard);
			memmove(f->heard, end + 1, f->heard_len);
			answer(f, command, id);
		}
	}
}

#define TURNS 60

static void on_free(void *owner)
{
	(void)owner;
	assert_string_not_equal(play.status, "paused");
	assert_false(restraint_has_stopped(play.restraint));
	play.freed++;
}

static void on_stands(void *owner)
{
	(void)owner;
	assert_string_equal(play.status, "paused");
	assert_true(restraint_stands(play.restraint));
	play.stood++;
}

static void begin(struct fixture *f, const char *status)
{
	static const struct restraint_ops ops = { on_free, on_stands };
	struct err err;

	play = (struct play){ .status = status };
	monitor_become_ready(f);
	assert_int_equal(restraint_open(&play.restraint, &f->loop, "protect test", NULL, "vm1",
					&ops, NULL, &err),
			 RC_OK);
	restraint_attach(play.restraint, f->qmp);
}

static void end(struct fixture *f)
{
	restraint_close(play.restraint);
	serve(f, TURNS);
}

static void one_that_may_run_is_left_alone(void **state)
{
	begin(*state, "running");
	serve(*state, TURNS);
	restraint_event(play.restraint, "RESUME", NULL);
	serve(*state, TURNS);
	assert_int_equal(play.stops + play.conts + play.stood, 0);
	assert_false(restraint_stands(play.restraint));
	end(*state);
}

static void it_stands_while_it_may_not_and_goes_on_afterwards(void **state)
{
	begin(*state, "running");
	restraint_set(play.restraint, RESTRAINT_STAND);
	assert_true(restraint_is_stopping(play.restraint));
	serve(*state, TURNS);
	assert_string_equal(play.status, "paused");
	assert_false(restraint_is_stopping(play.restraint));
	assert_true(restraint_has_stopped(play.restraint));
	assert_true(restraint_stands(play.restraint));
	assert_int_equal(play.stood, 1);
	restraint_set(play.restraint, RESTRAINT_RUN);
	assert_false(restraint_stands(play.restraint));
	assert_false(restraint_is_stopping(play.restraint));
	serve(*state, TURNS);
	assert_false(restraint_has_stopped(play.restraint));
	assert_string_equal(play.status, "running");
	assert_int_equal(play.conts, 1);
	assert_int_equal(play.freed, 1);
	end(*state);
}

static void one_that_qemu_does_not_let_run_yet_is_told_again(void **state)
{
	begin(*state, "running");
	restraint_set(play.restraint, RESTRAINT_STAND);
	serve(*state, TURNS);
	play.refusals = 3;
	restraint_set(play.restraint, RESTRAINT_RUN);
	serve(*state, TURNS);
	assert_string_equal(play.status, "running");
	assert_int_equal(play.conts, 4);
	assert_int_equal(play.freed, 1);
	assert_false(restraint_has_stopped(play.restraint));
	end(*state);
}

static void a_checkpoint_does_not_set_it_free(void **state)
{
	unsigned commands;

	for (commands = 1; commands < 12; commands++) {
		begin(*state, "colo");
		play.checkpoint = commands;
		restraint_set(play.restraint, RESTRAINT_STAND);
		serve(*state, 4 * TURNS);
		assert_string_equal(play.status, "paused");
		assert_int_equal(play.checkpoint, 0);
		restraint_set(play.restraint, RESTRAINT_RUN);
		serve(*state, TURNS);
		assert_string_equal(play.status, "running");
		end(*state);
		assert_int_equal(monitor_teardown(state), 0);
		assert_int_equal(monitor_setup(state), 0);
	}
}

static void whoever_sets_it_running_it_is_paused_again(void **state)
{
	int i;

	begin(*state, "running");
	restraint_set(play.restraint, RESTRAINT_STAND);
	for (i = 0; i < 5; i++) {
		serve(*state, i == 3 ? 1 : TURNS); /* also in the middle of a round */
		resume(*state);
		assert_false(restraint_stands(play.restraint));
	}
	serve(*state, TURNS);
	assert_string_equal(play.status, "paused");
	end(*state);
}

static void what_its_operator_stopped_stays_stopped(void **state)
{
	begin(*state, "paused");
	restraint_set(play.restraint, RESTRAINT_STAND);
	serve(*state, TURNS);
	assert_true(restraint_stands(play.restraint));
	assert_false(restraint_has_stopped(play.restraint));
	restraint_set(play.restraint, RESTRAINT_RUN);
	serve(*state, TURNS);
	assert_int_equal(play.conts, 0);
	end(*state);
}

static void one_that_its_operator_sets_running_meanwhile_runs_afterwards(void **state)
{
	unsigned commands;

	for (commands = 1; commands <= 3; commands++) { /* of one round */
		begin(*state, "paused");
		play.checkpoint = commands;
		restraint_set(play.restraint, RESTRAINT_STAND);
		serve(*state, TURNS);
		assert_string_equal(play.status, "paused");
		restraint_set(play.restraint, RESTRAINT_RUN);
		serve(*state, TURNS);
		assert_string_equal(play.status, "running");
		end(*state);
		assert_int_equal(monitor_teardown(state), 0);
		assert_int_equal(monitor_setup(state), 0);
	}
}

static void a_right_that_comes_back_at_once_finds_it_running(void **state)
{
	int turns;

	for (turns = 0; turns < 10; turns++) {
		begin(*state, "running");
		restraint_set(play.restraint, RESTRAINT_STAND);
		serve(*state, turns);
		restraint_set(play.restraint, RESTRAINT_RUN);
		serve(*state, TURNS);
		assert_string_equal(play.status, "running");
		end(*state);
		assert_int_equal(monitor_teardown(state), 0);
		assert_int_equal(monitor_setup(state), 0);
	}
}

static void a_right_that_comes_back_inside_a_checkpoint_waits_for_its_end(void **state)
{
	int turns;

	for (turns = 0; turns < 12; turns++) {
		begin(*state, "colo");
		play.checkpoint = 10;
		restraint_set(play.restraint, RESTRAINT_STAND);
		serve(*state, turns);
		restraint_set(play.restraint, RESTRAINT_RUN);
		serve(*state, TURNS);
		if (play.checkpoint > 0)
			resume(*state); /* no command of ours was needed */
		assert_string_equal(play.status, "running");
		end(*state);
		assert_int_equal(monitor_teardown(state), 0);
		assert_int_equal(monitor_setup(state), 0);
	}
}

static void one_that_is_kept_is_its_operator_s_afterwards(void **state)
{
	begin(*state, "running");
	restraint_set(play.restraint, RESTRAINT_STAND);
	serve(*state, TURNS);
	restraint_set(play.restraint, RESTRAINT_KEEP);
	serve(*state, TURNS);
	restraint_set(play.restraint, RESTRAINT_STAND);
	serve(*state, TURNS);
	restraint_set(play.restraint, RESTRAINT_RUN);
	serve(*state, TURNS);
	assert_string_equal(play.status, "paused");
	assert_int_equal(play.conts, 0);
	end(*state);
}

/* Let go of by its operator inside of a checkpoint: that it runs for a moment behind that is nobody's wish. */
static void one_that_is_kept_and_never_stood_is_its_operator_s_as_well(void **state)
{
	begin(*state, "colo");
	restraint_set(play.restraint, RESTRAINT_KEEP);
	restraint_set(play.restraint, RESTRAINT_STAND);
	play.checkpoint = 4;
	serve(*state, TURNS);
	assert_string_equal(play.status, "paused");
	assert_true(restraint_stands(play.restraint));
	restraint_set(play.restraint, RESTRAINT_RUN);
	serve(*state, TURNS);
	assert_string_equal(play.status, "paused");
	assert_int_equal(play.conts, 0);
	end(*state);
}

static void a_new_qemu_owes_nothing_to_the_old_one(void **state)
{
	struct fixture *f = *state;

	begin(f, "running");
	restraint_set(play.restraint, RESTRAINT_STAND);
	serve(f, TURNS);
	restraint_attach(play.restraint, NULL);
	assert_false(restraint_stands(play.restraint)); /* nobody can see it */
	restraint_set(play.restraint, RESTRAINT_RUN);
	serve(f, TURNS);
	assert_int_equal(play.conts, 0);
	restraint_set(play.restraint, RESTRAINT_STAND);
	play.status = "running"; /* the other one */
	play.stops = 0;
	restraint_attach(play.restraint, f->qmp);
	serve(f, TURNS);
	assert_string_equal(play.status, "paused");
	assert_true(play.stops > 0);
	end(f);
}

/* As qmp.c has it: what query-status said before the guardian's `stop`. */
static void guardian_stops(struct fixture *f)
{
	cJSON *data = cJSON_CreateObject();

	assert_non_null(cJSON_AddStringToObject(data, "status", play.status));
	if (strcmp(play.status, "running") == 0)
		play.status = "paused";
	restraint_event(play.restraint, QMP_GUARDIAN_EVENT, data);
	cJSON_Delete(data);
	serve(f, TURNS);
}

static void what_the_guardian_has_paused_is_as_if_this_had(void **state)
{
	begin(*state, "running");
	guardian_stops(*state); /* a lease that came late, but came */
	assert_string_equal(play.status, "running");
	restraint_set(play.restraint, RESTRAINT_STAND);
	guardian_stops(*state);
	guardian_stops(*state); /* again, when it stands */
	assert_string_equal(play.status, "paused");
	restraint_set(play.restraint, RESTRAINT_RUN);
	serve(*state, TURNS);
	assert_string_equal(play.status, "running");
	end(*state);
}

static void what_stood_before_the_guardian_came_stays_so(void **state)
{
	begin(*state, "paused");
	guardian_stops(*state);
	restraint_set(play.restraint, RESTRAINT_STAND);
	guardian_stops(*state);
	restraint_set(play.restraint, RESTRAINT_RUN);
	serve(*state, TURNS);
	assert_string_equal(play.status, "paused");
	assert_int_equal(play.conts, 0);
	end(*state);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, monitor_setup, monitor_teardown)
	const struct CMUnitTest tests[] = {
		TEST(one_that_may_run_is_left_alone),
		TEST(it_stands_while_it_may_not_and_goes_on_afterwards),
		TEST(one_that_qemu_does_not_let_run_yet_is_told_again),
		TEST(a_checkpoint_does_not_set_it_free),
		TEST(whoever_sets_it_running_it_is_paused_again),
		TEST(what_its_operator_stopped_stays_stopped),
		TEST(one_that_its_operator_sets_running_meanwhile_runs_afterwards),
		TEST(a_right_that_comes_back_at_once_finds_it_running),
		TEST(a_right_that_comes_back_inside_a_checkpoint_waits_for_its_end),
		TEST(one_that_is_kept_is_its_operator_s_afterwards),
		TEST(one_that_is_kept_and_never_stood_is_its_operator_s_as_well),
		TEST(a_new_qemu_owes_nothing_to_the_old_one),
		TEST(what_the_guardian_has_paused_is_as_if_this_had),
		TEST(what_stood_before_the_guardian_came_stays_so),
	};

	log_setup(LOG_LEVEL_COUNT, false); /* what is logged here is wanted */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
