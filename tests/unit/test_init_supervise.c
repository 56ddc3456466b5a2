/*
 * The loop of process 1, as process 1 of a namespace, where a shell script is the standby. The namespace's end says how the machine would
 * have ended: SIGINT is off, SIGHUP is a restart.
 */
#include "appliance/init_supervise.h"

#include "appliance/restart.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define WITHIN_MS 60000 /* on a busy machine */
#define PATH_BYTES (SCRATCH_MAX + 32)

static char dir[SCRATCH_MAX];
static struct init_watchdog watchdog;
static const char *helper;	 /* of the next one; NULL: none */
static const char *trouble_does; /* in shell */
static pid_t outer,
	init; /* who is in the namespace of all, and process 1 of the other, as seen from here */

static const char *path_of(const char *name)
{
	static char path[PATH_BYTES];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void write_file(const char *name, mode_t mode, const char *text)
{
	const int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(close(fd), 0);
}

/* What the script has written. */
static const char *told(void)
{
	static char text[8192];
	FILE *file = fopen(path_of("log"), "re");
	size_t n = 0;

	if (file != NULL) {
		n = fread(text, 1, sizeof(text) - 1, file);
		(void)fclose(file);
	}
	text[n] = '\0';
	return text;
}

static unsigned times(const char *line)
{
	unsigned count = 0;

	for (const char *at = told(); (at = strstr(at, line)) != NULL; at += strlen(line))
		count++;
	return count;
}

static void wait_until_told(const char *line, unsigned count)
{
	for (unsigned ms = 0; times(line) < count; ms += 5) {
		if (ms > WITHIN_MS)
			fail_msg("no \"%s\" in: %s", line, told());
		(void)usleep(5000);
	}
}

/* `standby`: what the standby does, in shell; $n: how often it has been started. */
static void prepare(const char *standby)
{
	char script[2048];

	(void)snprintf(script, sizeof(script),
		       "#!/bin/sh\n"
		       "dir=%s\n"
		       "echo \"$*\" >>$dir/log\n"
		       "n=$(grep -c '^standby' $dir/log)\n"
		       "rest() { while :; do sleep 1 & wait $!; done; }\n"
		       "case $1 in\n"
		       "standby) %s ;;\n"
		       "trouble) %s ;;\n"
		       "helper) [ $(grep -c '^helper' $dir/log) = 1 ] || rest ;;\n"
		       "esac\n",
		       dir, standby, trouble_does);
	write_file("log", 0600, "");
	write_file("program", 0700, script);
}

static void on_ended(void)
{
	const int fd = open(path_of("log"), O_WRONLY | O_APPEND | O_CLOEXEC);

	if (write(fd, "all ended\n", 10) == 10)
		(void)close(fd);
}

/* Whether the script's directory has a disk, and it is not what a disk of theirs is not to be. */
static int try_disk(void *owner, struct err *err)
{
	struct stat st;

	if (stat(owner, &st) != 0)
		return err_set(err, RC_STATE, "there is no data disk");
	return st.st_size == 0 ? RC_OK : err_set(err, RC_STATE, "the data disk is a foreign one");
}

/* In a namespace where nobody else is: it would end them. */
static void be_init(const char *trouble)
{
	char disk[PATH_BYTES];
	char program[PATH_BYTES];
	struct init_ears ears;
	const struct init_service service = { .ears = &ears,
					      .program = program,
					      .config = "config.json",
					      .problems = "problems",
					      .helper = helper,
					      .http = "127.0.0.1:1",
					      .trouble = trouble,
					      .try_again = trouble != NULL ? try_disk : NULL,
					      .owner = disk,
					      .watchdog = &watchdog,
					      .on_ended = on_ended };

	(void)snprintf(program, sizeof(program), "%s/program", dir);
	(void)snprintf(disk, sizeof(disk), "%s/disk", dir);
	init_watchdog_open(&watchdog, NULL, 0);
	init_supervise_hear(&ears);
	if (getpid() == 1)
		init_supervise(&service);
	_exit(1);
}

/* Skips the test where there are no namespaces. */
static void begin(const char *trouble)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	outer = fork();
	assert_true(outer >= 0);
	if (outer == 0) {
		pid_t pid = -1;
		int status = 0;

		if (unshare((getuid() != 0 ? CLONE_NEWUSER : 0) | CLONE_NEWPID | CLONE_NEWNS) == 0)
			pid = fork();
		if (pid == 0)
			be_init(trouble);
		if (write(ends[1], &pid, sizeof(pid)) != (ssize_t)sizeof(pid) || pid < 0)
			_exit(1);
		(void)waitpid(pid, &status, 0);
		_exit(WIFSIGNALED(status) ? WTERMSIG(status) : 255);
	}
	assert_int_equal(read(ends[0], &init, sizeof(init)), sizeof(init));
	(void)close(ends[0]);
	(void)close(ends[1]);
	if (init < 0) {
		(void)waitpid(outer, NULL, 0);
		outer = 0;
		print_message("no process namespaces: root, or user namespaces, are needed\n");
		skip();
	}
}

/* With which signal the namespace has ended. */
static int end_of_all(void)
{
	int status;

	assert_int_equal(waitpid(outer, &status, 0), outer);
	outer = 0;
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void a_standby_that_crashes_is_started_again_and_what_it_left_behind_lives_on(void **state)
{
	(void)state;
	prepare("if [ $n = 1 ]; then sleep 1000 & echo $! >$dir/left; kill -SEGV $$; fi\n"
		"kill -0 $(cat $dir/left) && echo lives >>$dir/log; trap 'exit 0' TERM; rest");
	begin(NULL);
	wait_until_told("lives", 1);
	assert_int_equal(times("standby --config config.json"), 2);
	assert_int_equal(times("trouble"), 0);
	assert_int_equal(kill(init, SIGTERM), 0);
	assert_int_equal(end_of_all(), SIGINT);
}

static void who_has_no_parent_any_more_is_reaped(void **state)
{
	(void)state;
	prepare("(sleep 0.1 & echo $! >$dir/left); left=$(cat $dir/left)\n"
		"while kill -0 $left; do sleep 0.1; done; echo gone >>$dir/log; rest");
	begin(NULL);
	wait_until_told("gone", 1);
	assert_int_equal(kill(init, SIGTERM), 0);
	assert_int_equal(end_of_all(), SIGINT);
}

static void who_is_to_run_beside_the_standby_is_started_again_without_it(void **state)
{
	(void)state;
	prepare("rest");
	helper = "helper";
	begin(NULL);
	wait_until_told("helper --config config.json", 2);
	wait_until_told("standby --config config.json", 1);
	assert_int_equal(times("standby"), 1);
	assert_int_equal(kill(init, SIGTERM), 0);
	assert_int_equal(end_of_all(), SIGINT);
}

static void one_that_crashes_over_and_over_is_told_by_the_health_endpoint(void **state)
{
	(void)state;
	prepare("exit 3");
	begin(NULL);
	wait_until_told("trouble --reason the standby ended with status 3, over and over", 1);
	assert_int_equal(times(" --http 127.0.0.1:1 --config config.json"), 1);
	assert_true(times("standby --config") > 3);
	/* And it is tried again, in place of the endpoint. */
	wait_until_told("trouble", 2);
	assert_int_equal(kill(init, SIGTERM), 0);
	assert_int_equal(end_of_all(), SIGINT);
}

/* That may be minutes later. */
static void an_endpoint_that_could_not_be_one_is_tried_again_before_the_standby_is(void **state)
{
	unsigned started = 0;
	const char *second;

	(void)state;
	trouble_does = "[ $(grep -c '^trouble' $dir/log) = 1 ] || rest";
	prepare("exit 3");
	begin(NULL);
	wait_until_told("\ntrouble", 2);
	second = strstr(strstr(told(), "\ntrouble") + 1, "\ntrouble");
	for (const char *at = told(); at < second; at = strchr(at, '\n') + 1)
		started += strncmp(at, "standby", 7) == 0;
	assert_int_equal(started, RESTART_TRIES + 1); /* as often as before the first */
	assert_int_equal(kill(init, SIGTERM), 0);
	assert_int_equal(end_of_all(), SIGINT);
}

static void what_keeps_the_standby_from_being_started_is_told_until_it_is_over(void **state)
{
	(void)state;
	prepare("rest");
	begin("there is no data disk");
	wait_until_told(
		"trouble --reason there is no data disk --http 127.0.0.1:1 --problems problems\n",
		1);
	assert_int_equal(times("standby"), 0);
	write_file("disk", 0600, "x");
	wait_until_told("trouble --reason the data disk is a foreign one", 1);
	assert_int_equal(times("trouble"), 2); /* each reason once, while it is one */
	write_file("disk", 0600, "");
	wait_until_told("standby --config config.json --problems problems", 1);
	assert_int_equal(kill(init, SIGTERM), 0);
	assert_int_equal(end_of_all(), SIGINT);
}

static void at_the_end_the_standby_has_ended_before_others_are_told(void **state)
{
	(void)state;
	prepare("(trap 'echo other told >>$dir/log; exit 0' TERM; echo ready >>$dir/log; rest) &\n"
		"trap 'sleep 0.3; echo standby ended >>$dir/log; exit 0' TERM; echo ready >>$dir/log; rest");
	begin(NULL);
	wait_until_told("ready", 2);
	assert_int_equal(kill(init, SIGINT), 0); /* as Ctrl-Alt-Del */
	assert_int_equal(end_of_all(), SIGHUP);
	assert_non_null(strstr(told(), "standby ended\nother told\nall ended\n"));
}

static int set_up(void **state)
{
	(void)state;
	helper = NULL;
	trouble_does = "rest";
	return scratch_make(dir, "supervise");
}

static int tear_down(void **state)
{
	static const char *const names[] = { "log", "program", "left", "disk" };

	(void)state;
	if (outer > 0) { /* a test has failed: the namespace ends with its process 1 */
		(void)kill(init, SIGKILL);
		(void)waitpid(outer, NULL, 0);
		outer = 0;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)unlink(path_of(names[i]));
	return rmdir(dir);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_standby_that_crashes_is_started_again_and_what_it_left_behind_lives_on),
		TEST(who_has_no_parent_any_more_is_reaped),
		TEST(who_is_to_run_beside_the_standby_is_started_again_without_it),
		TEST(one_that_crashes_over_and_over_is_told_by_the_health_endpoint),
		TEST(an_endpoint_that_could_not_be_one_is_tried_again_before_the_standby_is),
		TEST(what_keeps_the_standby_from_being_started_is_told_until_it_is_over),
		TEST(at_the_end_the_standby_has_ended_before_others_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
