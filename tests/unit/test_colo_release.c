/* Letting an instance go, against a QEMU that is played: what is said of it is what QEMU said last. */
#include "replica/colo_release.h"
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

/* What the QEMU that is played does, and what came of it. */
static struct play {
	const char *migration, *status;
	const char *after_lost, *after_cont; /* run state then; NULL: no change */
	unsigned losts, conts;
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

/* `skip_at`: after so many turns 11 s pass. */
static void let_go(struct fixture *f, const struct play *how, int skip_at)
{
	struct colo_release *release;
	struct err err;
	int i;

	play = *how;
	monitor_become_ready(f);
	assert_int_equal(colo_release_create(&release, &f->loop, f->qmp, f, &err), RC_OK);
	colo_release_ready(release);
	colo_release_begin(release, on_end);
	for (i = 0; i < PATIENCE_MS && !play.ended; i++) {
		if (i == skip_at)
			clock_fixture_pass(11000);
		serve(f);
	}
	assert_true(play.ended);
	colo_release_close(release, NULL);
	for (i = 0; i < 20; i++)
		serve(f);
}

static void an_instance_that_goes_on_is_said_to_run(void **state)
{
	static const struct play how = { "colo", "colo", .after_lost = "running" };

	let_go(*state, &how, -1);
	assert_false(play.failed);
	assert_string_equal(play.end_status, "running");
	assert_false(play.continued);
	assert_int_equal(play.conts, 0);
}

static void one_that_somebody_has_paused_is_said_to_be_paused_and_stays_so(void **state)
{
	static const struct play how = { "colo", "colo", .after_lost = "paused" };

	let_go(*state, &how, -1);
	assert_false(play.failed);
	assert_string_equal(play.end_status, "paused");
	assert_int_equal(play.conts, 0);
}

static void at_the_limit_one_that_stands_in_colo_is_told_once_to_go_on(void **state)
{
	static const struct play how = { "colo", "colo", .after_lost = "colo",
					 .after_cont = "running" };

	let_go(*state, &how, 100);
	assert_int_equal(play.err.code, RC_TIMEOUT);
	assert_string_equal(play.end_status, "running");
	assert_true(play.continued);
	assert_int_equal(play.conts, 1);
}

static void one_that_qemu_leaves_standing_is_told_so_after_a_second(void **state)
{
	static const struct play how = { "completed", "colo", .after_cont = "running" };

	let_go(*state, &how, -1);
	assert_false(play.failed);
	assert_string_equal(play.end_status, "running");
	assert_true(play.continued);
	assert_int_equal(play.conts, 1);
}

static void a_migration_that_never_ends_is_given_up_and_the_state_is_told(void **state)
{
	static const struct play how = { .migration = "colo", .status = "colo" };

	let_go(*state, &how, 100);
	assert_true(play.failed);
	assert_int_equal(play.err.code, RC_TIMEOUT);
	assert_string_equal(play.end_status, "colo");
	assert_int_equal(play.conts, 1);
}

static void an_instance_that_stays_postmigrate_is_given_up_too(void **state)
{
	static const struct play how = { .migration = "completed", .status = "postmigrate" };

	let_go(*state, &how, 100);
	assert_true(play.failed);
	assert_int_equal(play.err.code, RC_TIMEOUT);
	assert_string_equal(play.end_status, "postmigrate");
	assert_true(play.conts >= 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, monitor_setup, monitor_teardown)
	const struct CMUnitTest tests[] = {
		TEST(an_instance_that_goes_on_is_said_to_run),
		TEST(one_that_somebody_has_paused_is_said_to_be_paused_and_stays_so),
		TEST(at_the_limit_one_that_stands_in_colo_is_told_once_to_go_on),
		TEST(one_that_qemu_leaves_standing_is_told_so_after_a_second),
		TEST(a_migration_that_never_ends_is_given_up_and_the_state_is_told),
		TEST(an_instance_that_stays_postmigrate_is_given_up_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
