/*
 * A warm QEMU that is given a stream runs, or says why not. The stream comes from a QEMU as well:
 * one whose memory is a file migrates with x-ignore-shared, which is what activation.c writes (its
 * bytes are checked in test_activation.c, the whole way from a protected guest in the system tests).
 */
#include "tests/unit/hypervisor_fixture.h"

#include "appliance/base/clock.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A QEMU of the test's own, asked over a plain blocking socket ------------------------------- */

struct source {
	pid_t pid;
	FILE *qmp;
};

static void ask(const struct source *source, const char *command, const char *expected, char *line,
		size_t size)
{
	if (command != NULL)
		assert_true(dprintf(fileno(source->qmp), "%s\n", command) > 0);
	do
		assert_non_null(fgets(line, (int)size, source->qmp));
	while (strstr(line, expected) == NULL);
}

static void tell(const struct source *source, const char *command)
{
	char line[8192];

	ask(source, command, "\"return\"", line, sizeof(line));
}

static FILE *connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = -1;

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	for (int i = 0; i < PATIENCE_S * 100; i++) {
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_true(fd >= 0);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			return fdopen(fd, "r");
		(void)close(fd);
		(void)usleep(10000);
	}
	fail_msg("no QMP at %s", path);
	return NULL;
}

/* Runs a machine with the first backend's file as its memory. */
static void source_start(struct source *source, const char *qmp_path)
{
	char object[256], qmp[160], greeting[1024];

	(void)snprintf(object, sizeof(object),
		       "memory-backend-file,id=pc.ram,size=16M,share=on,mem-path=%s",
		       warm.spec.backends[0].path);
	(void)snprintf(qmp, sizeof(qmp), "unix:%s,server=on,wait=off", qmp_path);
	source->pid = fork();
	assert_true(source->pid >= 0);
	if (source->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG,
			    SIGKILL); /* a test that fails leaves nothing behind */
		(void)execl(warm.qemu, warm.qemu, "-accel", "tcg", "-nodefaults", "-display",
			    "none", "-L", warm.firmware, "-machine",
			    "pc-i440fx-10.0,memory-backend=pc.ram", "-m", "16", "-serial", "null",
			    "-object", object, "-qmp", qmp, (char *)NULL);
		_exit(127);
	}
	source->qmp = connect_to(qmp_path);
	ask(source, NULL, "QMP", greeting, sizeof(greeting));
	tell(source, "{\"execute\":\"qmp_capabilities\"}");
}

static void source_end(struct source *source)
{
	int status;

	tell(source,
	     "{\"execute\":\"quit\"}"); /* answered before it ends: a connection closed at once would not be read */
	assert_int_equal(waitpid(source->pid, &status, 0), source->pid);
	(void)fclose(source->qmp);
}

/* The stream of that machine, running or stopped, as a descriptor. */
static int make_stream(bool stopped)
{
	char qmp_path[100], path[100], command[256], line[8192];
	struct source source;
	int fd;

	(void)snprintf(qmp_path, sizeof(qmp_path), "%s/source.qmp", warm.dir);
	(void)snprintf(path, sizeof(path), "%s/stream", warm.dir);
	source_start(&source, qmp_path);
	tell(&source, "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
		      "[{\"capability\":\"x-ignore-shared\",\"state\":true}]}}");
	(void)usleep(300000); /* some of the firmware's work */
	if (stopped)
		tell(&source, "{\"execute\":\"stop\"}");
	(void)snprintf(command, sizeof(command),
		       "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"file:%s\"}}", path);
	tell(&source, command);
	do {
		(void)usleep(10000);
		ask(&source, "{\"execute\":\"query-migrate\"}", "\"return\"", line, sizeof(line));
		assert_null(strstr(line, "\"failed\""));
	} while (strstr(line, "\"completed\"") == NULL);
	source_end(&source);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* A warm QEMU, and what to activate it with. */
static int warm_with(bool stopped)
{
	int fd;

	warm_derive("-m 16 -serial null");
	fd = make_stream(stopped);
	warm_start();
	return fd;
}

/* Activation --------------------------------------------------------------------------------- */

static void an_instance_runs_milliseconds_after_its_stream_came(void **state)
{
	int fd;

	NEED_QEMU();
	fd = warm_with(false);
	assert_int_equal(warm.readies, 1);
	assert_int_equal(hypervisor_activate(warm.hypervisor, fd, &warm.err), RC_OK);
	assert_string_equal(hypervisor_state(warm.hypervisor), "activating");
	assert_int_equal(warm.runs, 0);
	warm_run();
	assert_int_equal(warm.runs, 1);
	assert_string_equal(hypervisor_state(warm.hypervisor), "running");
	assert_true(warm.took > 0 && warm.took < 5 * CLOCK_NS_PER_S);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* taken over */
}

static void an_instance_that_was_stopped_runs_all_the_same(void **state)
{
	int fd;

	NEED_QEMU();
	fd = warm_with(true);
	assert_int_equal(hypervisor_activate(warm.hypervisor, fd, &warm.err), RC_OK);
	warm_run();
	assert_int_equal(warm.runs, 1);
}

static void a_stream_that_is_none_is_told_in_qemus_words(void **state)
{
	int fd;

	NEED_QEMU();
	warm_derive("-m 16");
	warm_start();
	fd = memfd_create("garbage", MFD_CLOEXEC);
	assert_int_equal(write(fd, "nonsense, and then some", 23), 23);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(hypervisor_activate(warm.hypervisor, fd, &warm.err), RC_OK);
	warm_run();
	assert_int_equal(warm.exits, 1);
	assert_int_equal(warm.runs, 0);
	assert_non_null(strstr(warm.told.text, "Not a migration stream"));
	assert_false(hypervisor_may_have_run(warm.hypervisor));
}

static void a_stream_of_another_machine_is_told_in_qemus_words(void **state)
{
	int fd;

	NEED_QEMU();
	warm_derive("-m 16 -serial null");
	fd = make_stream(false);
	cmdline_spec_free(&warm.spec);
	warm_derive("-m 16"); /* its serial port is missing here */
	warm_start();
	assert_int_equal(hypervisor_activate(warm.hypervisor, fd, &warm.err), RC_OK);
	warm_run();
	assert_int_equal(warm.exits, 1);
	assert_non_null(strstr(warm.told.text, "serial"));
	assert_false(hypervisor_may_have_run(warm.hypervisor));
}

/* Not before it has said that it runs, and its end alone does not tell. */
static void one_that_is_killed_before_it_took_a_command_has_not_run(void **state)
{
	pid_t pid;
	int fd;

	NEED_QEMU();
	fd = warm_with(false);
	pid = hypervisor_pid(warm.hypervisor);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_false(hypervisor_may_have_run(warm.hypervisor));
	assert_int_equal(hypervisor_activate(warm.hypervisor, fd, &warm.err), RC_OK);
	assert_true(hypervisor_may_have_run(warm.hypervisor));
	assert_int_equal(kill(pid, SIGKILL), 0);
	warm_run();
	assert_int_equal(warm.exits, 1);
	assert_false(hypervisor_may_have_run(warm.hypervisor));
}

/* Whether that process has told us so and we have not read it yet. */
static bool has_said(pid_t pid, const char *word)
{
	char text[16384];
	struct ucred peer;
	ssize_t len;

	for (int fd = 3; fd < 64; fd++) {
		socklen_t size = sizeof(peer);

		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.pid != pid)
			continue;
		len = recv(fd, text, sizeof(text) - 1, MSG_PEEK | MSG_DONTWAIT);
		text[len > 0 ? len : 0] = '\0';
		if (strstr(text, word) != NULL)
			return true;
	}
	return false;
}

static void one_that_ran_before_it_was_killed_is_known_to_have_run(void **state)
{
	pid_t pid;
	int fd;

	NEED_QEMU();
	fd = warm_with(false);
	pid = hypervisor_pid(warm.hypervisor);
	assert_int_equal(hypervisor_activate(warm.hypervisor, fd, &warm.err), RC_OK);
	for (int i = 0; i < PATIENCE_S * 100 && !has_said(pid, "\"RESUME\""); i++)
		(void)usleep(10000);
	assert_int_equal(kill(pid, SIGKILL), 0);
	while (warm.exits == 0) /* on_running may come before that */
		warm_run();
	assert_true(hypervisor_may_have_run(warm.hypervisor));
}

static void the_memory_of_one_that_never_answered_is_brought_to_life_by_another(void **state)
{
	int fd, again;
	pid_t pid;

	NEED_QEMU();
	warm_derive("-m 16 -serial null");
	fd = make_stream(false);
	again = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	warm_start();
	pid = hypervisor_pid(warm.hypervisor);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(hypervisor_activate(warm.hypervisor, fd, &warm.err), RC_OK);
	warm_run();
	assert_int_equal(warm.exits, 1);
	assert_int_equal(warm.told.code, RC_TIMEOUT);
	assert_false(hypervisor_may_have_run(warm.hypervisor));
	assert_int_equal(hypervisor_pid(warm.hypervisor), 0); /* it was killed, and its end seen */
	assert_false(warm_exists(pid));
	warm_close_it(false);

	warm_start();
	assert_int_equal(hypervisor_activate(warm.hypervisor, again, &warm.err), RC_OK);
	warm_run();
	assert_int_equal(warm.runs, 1);
}

static void on_look(uv_timer_t *timer)
{
	if (hypervisor_is_silent(warm.hypervisor) == *(bool *)timer->data)
		uv_stop(timer->loop);
}

static void run_until_silent_is(bool silent)
{
	uv_timer_t look;

	(void)uv_timer_init(&warm.loop, &look);
	look.data = &silent;
	(void)uv_timer_start(&look, on_look, 10, 10);
	warm_run();
	uv_close((uv_handle_t *)&look, NULL);
	(void)uv_run(&warm.loop, UV_RUN_NOWAIT);
}

static void one_that_does_not_answer_is_known_before_it_is_needed(void **state)
{
	pid_t pid;

	NEED_QEMU();
	warm_derive("-m 16 -serial null");
	warm_start();
	pid = hypervisor_pid(warm.hypervisor);
	run_until_silent_is(false);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	run_until_silent_is(true);
	assert_string_equal(hypervisor_state(warm.hypervisor), "warm");
	assert_int_equal(kill(pid, SIGCONT), 0);
	run_until_silent_is(false);
	assert_int_equal(warm.exits, 0);
}

static void only_a_warm_one_is_activated_and_only_once(void **state)
{
	int fd;

	NEED_QEMU();
	warm_derive("-m 16 -serial null");
	fd = make_stream(false);
	assert_int_equal(warm_start_in(warm.run_dir), RC_OK);
	assert_int_equal(hypervisor_activate(warm.hypervisor, dup(fd), &warm.err), RC_STATE);
	warm_run();
	assert_int_equal(hypervisor_activate(warm.hypervisor, dup(fd), &warm.err), RC_OK);
	assert_int_equal(hypervisor_activate(warm.hypervisor, fd, &warm.err), RC_STATE);
	assert_non_null(strstr(warm.err.text, "activating"));
	warm_run();
	assert_int_equal(warm.runs, 1);
}

static void a_running_instance_stays_when_it_is_left_and_no_other_takes_its_place(void **state)
{
	pid_t pid;
	int fd;

	NEED_QEMU();
	fd = warm_with(false);
	assert_int_equal(hypervisor_activate(warm.hypervisor, fd, &warm.err), RC_OK);
	warm_run();
	assert_int_equal(warm.runs, 1);
	pid = hypervisor_pid(warm.hypervisor);
	warm_close_it(true);
	assert_true(warm_exists(pid));

	warm_clear();
	assert_int_equal(warm.told.code, RC_STATE);
	assert_non_null(strstr(warm.told.text, "already"));
	assert_true(warm_exists(pid));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

#define CLAIM(test) cmocka_unit_test_setup_teardown(test, warm_setup, warm_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(an_instance_runs_milliseconds_after_its_stream_came),
		CLAIM(an_instance_that_was_stopped_runs_all_the_same),
		CLAIM(a_stream_that_is_none_is_told_in_qemus_words),
		CLAIM(a_stream_of_another_machine_is_told_in_qemus_words),
		CLAIM(one_that_is_killed_before_it_took_a_command_has_not_run),
		CLAIM(one_that_ran_before_it_was_killed_is_known_to_have_run),
		CLAIM(the_memory_of_one_that_never_answered_is_brought_to_life_by_another),
		CLAIM(one_that_does_not_answer_is_known_before_it_is_needed),
		CLAIM(only_a_warm_one_is_activated_and_only_once),
		CLAIM(a_running_instance_stays_when_it_is_left_and_no_other_takes_its_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
