/*
 * The replica of an earlier life: what is told of a QEMU that runs, waits, is being brought to
 * life, does not answer, has ended. The QEMU is a process of the test's own that speaks as much QMP
 * as is asked of it; the real one is in tests/system/test_restart.py.
 */
#include "appliance/base/mem.h"
#include "replica/survivor.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000
#define NOT_TOLD -1

struct seeker {
	uv_loop_t loop;
	char dir[SCRATCH_MAX], path[SCRATCH_MAX + 16];
	pid_t peer;
	int input; /* what keeps a process waiting that only has a name */
	struct survivor *survivor;
	int found, founds, ends, closes;
};

/* The peer ----------------------------------------------------------------------------------- */

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(fd, 1) != 0)
		_exit(1);
	return fd;
}

/* Answers one connection; `status` of query-status; `migrations` of query-migrate, one after the
 * other and the last for ever. */
static void talk(int fd, const char *status, const char *const *migrations)
{
	FILE *in = fdopen(fd, "r");
	char line[512];
	const char *id;

	(void)dprintf(fd, "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n");
	while (in != NULL && fgets(line, sizeof(line), in) != NULL) {
		id = strstr(line, "\"id\":");
		if (strstr(line, "query-status") != NULL)
			(void)dprintf(fd, "{\"return\": {\"status\": \"%s\"}, %.20s\r\n", status,
				      id);
		else if (strstr(line, "query-migrate") != NULL)
			(void)dprintf(fd, "{\"return\": {%s}, %.20s\r\n", *migrations, id);
		else
			(void)dprintf(fd, "{\"return\": {}, %.20s\r\n", id);
		if (strstr(line, "query-migrate") != NULL && migrations[1] != NULL) {
			migrations++;
			if (migrations[1] == NULL)
				status = "running";
		}
	}
	if (in != NULL)
		(void)fclose(in);
}

/* A peer that listens when this returns; deaf: it says nothing until it gets SIGUSR1. */
static void start_peer(struct seeker *s, const char *status, const char *const *migrations,
		       bool deaf)
{
	sigset_t usr1;
	int ready[2], fd, signum;
	char byte;

	assert_int_equal(pipe(ready), 0);
	s->peer = fork();
	assert_true(s->peer >= 0);
	if (s->peer == 0) {
		(void)sigemptyset(&usr1);
		(void)sigaddset(&usr1, SIGUSR1);
		(void)sigprocmask(SIG_BLOCK, &usr1, NULL);
		(void)signal(SIGPIPE, SIG_IGN);
		fd = listen_at(s->path);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		if (deaf)
			(void)sigwait(&usr1, &signum);
		for (;;)
			talk(accept(fd, NULL, NULL), status, migrations);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
	(void)close(ready[1]);
}

static void end_peer(struct seeker *s)
{
	assert_int_equal(kill(s->peer, SIGKILL), 0);
	assert_int_equal(waitpid(s->peer, NULL, 0), s->peer);
	s->peer = 0;
}

/* The owner ---------------------------------------------------------------------------------- */

static void on_closed(void *owner)
{
	struct seeker *s = owner;

	s->survivor = NULL;
	s->closes++;
}

static void on_found(void *owner, enum survivor_kind kind)
{
	struct seeker *s = owner;

	s->found = (int)kind;
	s->founds++;
}

static void on_ended(void *owner)
{
	((struct seeker *)owner)->ends++;
}

static const struct survivor_ops callbacks = { on_found, on_ended };

static void seek(struct seeker *s)
{
	struct err err;

	assert_int_equal(
		survivor_seek(&s->survivor, &s->loop, "test", s->path, &callbacks, s, &err), RC_OK);
}

/* Until *counter is `value`. */
static void await(struct seeker *s, const int *counter, int value)
{
	int i;

	for (i = 0; i < PATIENCE_MS && *counter != value; i++) {
		(void)uv_run(&s->loop, UV_RUN_NOWAIT);
		(void)usleep(1000);
	}
	assert_int_equal(*counter, value);
}

static int setup(void **state)
{
	struct seeker *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->found = NOT_TOLD;
	assert_int_equal(scratch_make(s->dir, "survivor"), 0);
	(void)snprintf(s->path, sizeof(s->path), "%s/qmp", s->dir);
	assert_int_equal(uv_loop_init(&s->loop), 0);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct seeker *s = *state;

	if (s->survivor != NULL) {
		survivor_close(s->survivor, on_closed);
		survivor_close(s->survivor, on_closed);
		await(s, &s->closes, 1);
	}
	(void)uv_run(&s->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&s->loop), 0);
	if (s->peer > 0)
		end_peer(s);
	if (s->input > 0)
		(void)close(s->input);
	(void)unlink(s->path);
	assert_int_equal(rmdir(s->dir), 0);
	free(s);
	return 0;
}

/* Claims ------------------------------------------------------------------------------------- */

static const char *const nothing[] = { "", NULL };

static void one_that_runs_is_found_and_its_end_is_told(void **state)
{
	struct seeker *s = *state;

	start_peer(s, "running", nothing, false);
	seek(s);
	await(s, &s->founds, 1);
	assert_int_equal(s->found, SURVIVOR_RUNS);
	assert_int_equal(survivor_pid(s->survivor), s->peer);
	assert_string_equal(survivor_state(s->survivor), "running");
	assert_int_equal(s->ends, 0);
	end_peer(s);
	await(s, &s->ends, 1);
	assert_int_equal(s->founds, 1);
}

static void one_that_is_paused_holds_the_instance_as_well(void **state)
{
	struct seeker *s = *state;

	start_peer(s, "paused", nothing, false);
	seek(s);
	await(s, &s->founds, 1);
	assert_int_equal(s->found, SURVIVOR_RUNS);
	assert_string_equal(survivor_state(s->survivor), "paused");
}

static void letting_go_of_it_does_not_end_it(void **state)
{
	struct seeker *s = *state;

	start_peer(s, "running", nothing, false);
	seek(s);
	await(s, &s->founds, 1);
	survivor_close(s->survivor, on_closed);
	await(s, &s->closes, 1);
	assert_int_equal(kill(s->peer, 0), 0);
	assert_int_equal(waitpid(s->peer, NULL, WNOHANG), 0);
}

static void one_that_waits_for_its_memory_was_never_brought_to_life(void **state)
{
	struct seeker *s = *state;

	start_peer(s, "inmigrate", nothing, false);
	seek(s);
	await(s, &s->founds, 1);
	assert_int_equal(s->found, SURVIVOR_WAITS);
}

static void one_that_is_being_brought_to_life_is_waited_for(void **state)
{
	static const char *const stages[] = { "\"status\": \"setup\"", "\"status\": \"active\"",
					      "\"status\": \"completed\"", NULL };
	struct seeker *s = *state;

	start_peer(s, "inmigrate", stages, false);
	seek(s);
	await(s, &s->founds, 1);
	assert_int_equal(s->found, SURVIVOR_RUNS);
}

static void nobody_there_is_told_as_that(void **state)
{
	struct seeker *s = *state;

	seek(s);
	await(s, &s->founds, 1);
	assert_int_equal(s->found, SURVIVOR_NONE);
}

static void the_name_of_a_socket_whose_owner_died_is_nobody(void **state)
{
	struct seeker *s = *state;

	start_peer(s, "running", nothing, false);
	end_peer(s);
	assert_int_equal(access(s->path, F_OK), 0);
	seek(s);
	await(s, &s->founds, 1);
	assert_int_equal(s->found, SURVIVOR_NONE);
}

static void one_that_does_not_answer_is_there_until_it_answers(void **state)
{
	struct seeker *s = *state;

	start_peer(s, "running", nothing, true);
	seek(s);
	await(s, &s->founds, 1);
	assert_int_equal(s->found, SURVIVOR_SILENT);
	assert_string_equal(survivor_state(s->survivor), "silent");
	assert_int_equal(kill(s->peer, SIGUSR1), 0);
	await(s, &s->founds, 2);
	assert_int_equal(s->found, SURVIVOR_RUNS);
	end_peer(s);
	await(s, &s->ends, 1);
}

/* A process with the arguments of the replica's QEMU. */
static void start_unnamed(struct seeker *s)
{
	static char shell[] = "/bin/sh", c[] = "-c", wait[] = "echo; read x",
		    incoming[] = "-incoming", defer[] = "defer", qmp[] = "-qmp";
	char value[sizeof(s->path) + 32];
	char *args[] = { shell, c, wait, qmp, qmp, value, incoming, defer, NULL };
	int ready[2], input[2];
	char byte;

	(void)snprintf(value, sizeof(value), "unix:%s,server=on,wait=off", s->path);
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(input), 0);
	s->peer = fork();
	assert_true(s->peer >= 0);
	if (s->peer == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)dup2(input[0], 0);
		(void)dup2(ready[1], 1);
		(void)execv(shell, args);
		_exit(127);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	s->input = input[1];
	(void)close(input[0]);
	(void)close(ready[0]);
	(void)close(ready[1]);
}

static void one_whose_socket_was_removed_is_silent_until_it_ends(void **state)
{
	struct seeker *s = *state;

	start_unnamed(s);
	seek(s);
	await(s, &s->founds, 1);
	assert_int_equal(s->found, SURVIVOR_SILENT);
	assert_int_equal(survivor_pid(s->survivor), s->peer);
	assert_string_equal(survivor_state(s->survivor), "silent");
	assert_non_null(strstr(survivor_silence(s->survivor), "its QMP socket is gone"));
	assert_int_equal(s->ends, 0);
	end_peer(s);
	await(s, &s->ends, 1);
	assert_int_equal(s->founds, 1);
}

static void one_with_another_socket_is_nobody(void **state)
{
	struct seeker *s = *state;

	start_unnamed(s);
	s->path[strlen(s->path) - 1] = 'x';
	seek(s);
	await(s, &s->founds, 1);
	assert_int_equal(s->found, SURVIVOR_NONE);
}

static void one_that_cannot_be_looked_for_is_not_given_up(void **state)
{
	struct seeker *s = *state;
	int i;

	start_unnamed(s);
	seek(s);
	fault_arm(FAULT_ALLOC, 1); /* of qmp_connect(): that is tried again */
	for (i = 0; i < 3; i++)
		(void)uv_run(&s->loop, UV_RUN_NOWAIT);
	assert_int_equal(s->founds, 0);
	fault_arm(FAULT_ALLOC, 0);
	await(s, &s->founds, 1);
	assert_int_equal(s->found, SURVIVOR_SILENT);
}

static void one_that_does_not_answer_and_ends_has_ended(void **state)
{
	struct seeker *s = *state;

	start_peer(s, "running", nothing, true);
	seek(s);
	await(s, &s->founds, 1);
	assert_int_equal(s->found, SURVIVOR_SILENT);
	end_peer(s);
	await(s, &s->ends, 1);
}

static void it_can_be_let_go_at_any_moment(void **state)
{
	struct seeker *s = *state;
	int turns, i;

	start_peer(s, "running", nothing, false);
	for (turns = 0; turns < 12; turns++) {
		s->closes = 0;
		seek(s);
		for (i = 0; i < turns; i++) {
			(void)uv_run(&s->loop, UV_RUN_NOWAIT);
			(void)usleep(300);
		}
		survivor_close(s->survivor, on_closed);
		await(s, &s->closes, 1);
	}
}

static void without_memory_it_says_so(void **state)
{
	struct seeker *s = *state;
	unsigned long n;
	struct err err;
	int rc = RC_NOMEM;

	for (n = 1; n <= 2; n++) {
		fault_arm(FAULT_ALLOC, n);
		rc = survivor_seek(&s->survivor, &s->loop, "test", s->path, &callbacks, s, &err);
		assert_int_equal(rc, RC_NOMEM);
	}
	fault_arm(FAULT_ALLOC, 0);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CLAIM(one_that_runs_is_found_and_its_end_is_told),
		CLAIM(one_that_is_paused_holds_the_instance_as_well),
		CLAIM(letting_go_of_it_does_not_end_it),
		CLAIM(one_that_waits_for_its_memory_was_never_brought_to_life),
		CLAIM(one_that_is_being_brought_to_life_is_waited_for),
		CLAIM(nobody_there_is_told_as_that),
		CLAIM(the_name_of_a_socket_whose_owner_died_is_nobody),
		CLAIM(one_that_does_not_answer_is_there_until_it_answers),
		CLAIM(one_that_does_not_answer_and_ends_has_ended),
		CLAIM(one_whose_socket_was_removed_is_silent_until_it_ends),
		CLAIM(one_with_another_socket_is_nobody),
		CLAIM(one_that_cannot_be_looked_for_is_not_given_up),
		CLAIM(it_can_be_let_go_at_any_moment),
		CLAIM(without_memory_it_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
