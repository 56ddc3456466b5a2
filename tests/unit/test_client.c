/*
 * `understudy status` and `understudy takeover` against a real HTTP server: the one of net/http.c, in a process of its
 * own, on a unix socket.
 */
#include "appliance/base/mem.h"
#include "appliance/options.h"
#include "appliance/verb.h"
#include "net/http.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define STATUS_JSON \
	"{\"role\":\"standby\",\"site\":\"busan\",\"instances\":[{\"name\":\"vm1\",\"epoch\":7}]}\n"

static char dir[SCRATCH_MAX];
static char address[128], other_address[128], config_path[128];
static pid_t server, other;
static char said[8192]; /* by the last verb, on standard output and standard error */

/* ---- the server ---- */

/* An order to "vm1" and "vm3" takes two looks, and of "vm3" comes nothing; "slow" is never done. */
static void tell_of_takeover(struct buf *body)
{
	static unsigned looks;
	bool known = looks++ >= 2;

	(void)buf_printf(
		body,
		"{\"instances\":[{\"name\":\"vm1\",\"state\":\"%s\",\"resumed_epoch\":123,"
		"\"activate_ms\":8.21},{\"name\":\"vm3\",\"state\":\"%s\",\"reason\":\"no\\u001b room\"},"
		"{\"name\":\"slow\",\"state\":\"claiming\",\"reason\":\"a lease\"},"
		"{\"name\":\"old\",\"state\":\"serving\",\"reason\":\"no\\u001b disk\",\"epoch\":7,"
		"\"resumed_epoch\":7,\"activate_ms\":1,\"outdated\":true}]}",
		known ? "serving" : "taking-over", known ? "unattended" : "claiming");
	if (known)
		looks = 0;
}

static void handle(void *owner, const struct http_request *request, struct http_response *response)
{
	static const char *const wanted[] = { "{\"instance\":\"vm1\"}", "{\"instance\":\"vm3\"}",
					      "{\"instance\":\"slow\"}", "{\"instance\":\"old\"}" };
	static bool ordered;
	bool known = false;

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		known |= request->body_len == strlen(wanted[i]) &&
			 memcmp(request->body, wanted[i], strlen(wanted[i])) == 0;

	(void)owner;
	if (strcmp(request->path, "/v1/status") == 0 && strcmp(request->method, "GET") == 0) {
		if (ordered)
			tell_of_takeover(&response->body);
		else
			(void)buf_printf(&response->body, "%s", STATUS_JSON);
	} else if ((strcmp(request->path, "/v1/takeover") == 0 ||
		    strcmp(request->path, "/v1/release") == 0) &&
		   strcmp(request->method, "POST") == 0 && known) {
		ordered = strcmp(request->path, "/v1/takeover") == 0;
		response->status = 202;
		(void)buf_printf(&response->body, "{\"ok\":true}");
	} else {
		response->status = 409;
		(void)buf_printf(&response->body,
				 "{\"error\":\"no\\u001b[31m such\\u009b\\u202e instance\"}");
	}
}

/* Not one of ours. */
static void handle_other(void *owner, const struct http_request *request,
			 struct http_response *response)
{
	static const char *const answers[] = { "{}", "[]", "7", "{\"role\":\"standby\"}",
					       "{\"role\":1,\"instances\":[]}" };
	static size_t asked;

	(void)owner;
	(void)request;
	(void)buf_printf(&response->body, "%s",
			 answers[asked++ % (sizeof(answers) / sizeof(answers[0]))]);
}

static void serve(const char *at, http_handler handler, int ready)
{
	struct http_server *http;
	uv_loop_t loop;
	struct err err;

	if (uv_loop_init(&loop) != 0 || http_listen(&http, &loop, at, handler, NULL, &err) != RC_OK)
		_exit(1);
	if (write(ready, "", 1) != 1)
		_exit(1);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	_exit(0);
}

/* Its process, once it listens; 0: it could not. */
static pid_t start_server(const char *at, http_handler handler)
{
	int ends[2];
	pid_t pid;
	char byte;

	if (pipe(ends) != 0)
		return 0;
	pid = fork();
	if (pid == 0)
		serve(at, handler, ends[1]);
	(void)close(ends[1]);
	/* The server's end closes without a byte if it could not be started. */
	if (pid < 0 || read(ends[0], &byte, 1) != 1)
		pid = 0;
	(void)close(ends[0]);
	return pid;
}

static int start(void **state)
{
	FILE *file;

	(void)state;
	if (scratch_make(dir, "client") != 0)
		return -1;
	(void)snprintf(address, sizeof(address), "unix:%s/http", dir);
	(void)snprintf(other_address, sizeof(other_address), "unix:%s/other", dir);
	(void)snprintf(config_path, sizeof(config_path), "%s/c.json", dir);
	file = fopen(config_path, "w");
	if (file == NULL)
		return -1;
	(void)fprintf(
		file,
		"{\"site\": \"busan\", \"tls\": {\"ca\": \"a\", \"cert\": \"b\", \"key\": \"c\"}, "
		"\"http\": {\"listen\": \"%s\"}, \"link\": {\"listen\": \"0.0.0.0:7400\"}, \"state_dir\": \"s\", "
		"\"hypervisor\": {\"program\": \"q\"}, \"instances\": [{\"name\": \"vm1\"}]}",
		address);
	(void)fclose(file);
	server = start_server(address, handle);
	other = start_server(other_address, handle_other);
	return server > 0 && other > 0 ? 0 : -1;
}

static int stop(void **state)
{
	(void)state;
	(void)kill(server, SIGKILL);
	(void)waitpid(server, NULL, 0);
	(void)kill(other, SIGKILL);
	(void)waitpid(other, NULL, 0);
	(void)unlink(other_address + strlen("unix:"));
	(void)unlink(config_path);
	(void)unlink(address + strlen("unix:"));
	return rmdir(dir);
}

/* ---- the verbs ---- */

/* Runs a verb with its output, and nothing to read, in our hands; its exit status. */
static int run(int (*verb)(int argc, char **argv), const char *const *words)
{
	int out = dup(1), error = dup(2), in = dup(0), ends[2], null = open("/dev/null", O_RDONLY),
	    argc = 0, status;
	char *argv[16];
	ssize_t len;

	for (; words[argc] != NULL; argc++)
		argv[argc] = mem_strdup(words[argc]);
	argv[argc] = NULL;
	(void)fflush(stdout);
	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	assert_true(dup2(ends[1], 1) == 1 && dup2(ends[1], 2) == 2 && dup2(null, 0) == 0);
	status = verb(argc, argv);
	(void)fflush(stdout);
	assert_true(dup2(out, 1) == 1 && dup2(error, 2) == 2 && dup2(in, 0) == 0);
	len = read(ends[0], said, sizeof(said) - 1);
	said[len > 0 ? len : 0] = '\0';
	(void)close(out);
	(void)close(error);
	(void)close(in);
	(void)close(null);
	(void)close(ends[0]);
	(void)close(ends[1]);
	while (argc > 0)
		mem_free(argv[--argc]);
	return status;
}
#define RUN(verb, ...) run(verb, (const char *const[]){ __VA_ARGS__, NULL })

static void status_prints_a_table(void **state)
{
	(void)state;
	assert_int_equal(RUN(verb_status, "status", "--http", address), EXIT_FINE);
	assert_memory_equal(said, "standby at site busan", 21);
	assert_non_null(strstr(said, "\nvm1       -      -     7 "));
}

static void status_finds_the_address_in_a_configuration_of_either_role(void **state)
{
	(void)state;
	assert_int_equal(RUN(verb_status, "status", "--config", config_path), EXIT_FINE);
	assert_memory_equal(said, "standby at site busan", 21);
}

static void status_as_json_is_the_answer_as_it_is(void **state)
{
	(void)state;
	assert_int_equal(RUN(verb_status, "status", "--http", address, "--json"), EXIT_FINE);
	assert_string_equal(said, STATUS_JSON);
}

static void nobody_there_is_an_error_that_names_the_address(void **state)
{
	(void)state;
	assert_int_equal(RUN(verb_status, "status", "--http", "unix:/nowhere/socket"), EXIT_FAILED);
	assert_non_null(strstr(said, "unix:/nowhere/socket"));
	assert_non_null(strstr(said, "No such file or directory"));
	assert_non_null(strstr(said, "is it running, and is this its http.listen?"));
	assert_int_equal(RUN(verb_status, "status", "--http", "nonsense"), EXIT_FAILED);
	assert_null(strstr(said, "is it running"));
	assert_int_equal(RUN(verb_status, "status", "--config", "/nowhere/c.json"), EXIT_FAILED);
	assert_string_equal(said, "understudy: /nowhere/c.json: No such file or directory\n");
}

static void what_is_no_status_is_not_shown_as_one(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(RUN(verb_status, "status", "--http", other_address), EXIT_FAILED);
		assert_string_equal(
			said,
			"understudy: the answer is not what a status is: is this an understudy?\n");
	}
}

static void status_needs_somebody_to_ask(void **state)
{
	(void)state;
	assert_int_equal(RUN(verb_status, "status"), EXIT_USAGE);
	assert_int_equal(RUN(verb_status, "status", "--http", address, "--config", config_path),
			 EXIT_USAGE);
}

#define TAKE(...) RUN(verb_takeover, "takeover", "--http", address, "--yes", __VA_ARGS__)

static void takeover_asks_for_the_instance_and_waits_until_it_serves(void **state)
{
	(void)state;
	assert_int_equal(TAKE("--instance", "vm1"), EXIT_FINE);
	assert_string_equal(said, "vm1 serves here from epoch 123, 8.2 ms after the decision\n");
	assert_int_equal(RUN(verb_takeover, "takeover", "--config", config_path, "--yes",
			     "--instance", "vm1", "--json"),
			 EXIT_FINE);
	assert_non_null(strstr(said, "\"resumed_epoch\":\t123"));
}

static void what_clients_may_know_more_is_said(void **state)
{
	(void)state;
	assert_int_equal(TAKE("--instance", "old"), EXIT_FINE);
	assert_string_equal(said,
			    "old serves here from epoch 7, 1.0 ms after the decision; clients "
			    "may have had answers that it does not know\n");
}

static void a_takeover_that_fails_is_a_failure_and_says_why(void **state)
{
	(void)state;
	assert_int_equal(TAKE("--instance", "vm3"), EXIT_FAILED);
	assert_string_equal(said, "understudy: vm3 is not serving, it is unattended: no? room\n");
	assert_int_equal(TAKE("--instance", "vm3", "--json"), EXIT_FAILED);
	assert_non_null(strstr(said, "\"state\":\t\"unattended\""));
}

static void the_wait_for_a_takeover_is_bounded(void **state)
{
	(void)state;
	assert_int_equal(TAKE("--instance", "slow", "--wait", "1"), EXIT_FAILED);
	assert_string_equal(said, "understudy: slow is not serving yet, it is claiming: a lease\n");
	assert_int_equal(TAKE("--instance", "slow", "--wait=0"), EXIT_FINE);
	assert_memory_equal(said, "slow: the takeover is under way", 31);
	assert_int_equal(TAKE("--instance", "slow", "--wait=0", "--json"), EXIT_FINE);
	assert_string_equal(said, "{\"ok\":true}");
	assert_int_equal(TAKE("--instance", "slow", "--wait", "-1"), EXIT_USAGE);
	assert_int_equal(TAKE("--instance", "slow", "--wait", "10s"), EXIT_USAGE);
	assert_int_equal(TAKE("--instance", "slow", "--wait", "3601"), EXIT_USAGE);
	assert_int_equal(RUN(verb_release, "release", "--http", address, "--yes", "--instance",
			     "vm1", "--wait", "1"),
			 EXIT_USAGE);
}

static void a_refused_takeover_says_why(void **state)
{
	(void)state;
	assert_int_equal(RUN(verb_takeover, "takeover", "--http", address, "--instance", "vm2",
			     "--yes"),
			 EXIT_FAILED);
	assert_string_equal(said,
			    "understudy: the standby did not take over: no?[31m such?? instance\n");
}

static void takeover_does_nothing_unconfirmed(void **state)
{
	(void)state;
	assert_int_equal(RUN(verb_takeover, "takeover", "--http", address, "--instance", "vm1"),
			 EXIT_USAGE);
	assert_non_null(strstr(said, "say --yes"));
	assert_int_equal(RUN(verb_takeover, "takeover", "--http", address, "--yes"), EXIT_USAGE);
	assert_int_equal(RUN(verb_takeover, "takeover", "--http", address, "--instance", "a/b",
			     "--yes"),
			 EXIT_USAGE);
}

static void release_asks_for_the_instance_and_says_what_came_of_it(void **state)
{
	(void)state;
	assert_int_equal(RUN(verb_release, "release", "--http", address, "--instance", "vm1",
			     "--yes"),
			 EXIT_FINE);
	assert_memory_equal(said, "vm1: released;", 14);
	assert_int_equal(RUN(verb_release, "release", "--http", address, "--instance", "vm1",
			     "--yes", "--json"),
			 EXIT_FINE);
	assert_string_equal(said, "{\"ok\":true}");
	assert_int_equal(RUN(verb_release, "release", "--http", address, "--instance", "vm2",
			     "--yes"),
			 EXIT_FAILED);
	assert_string_equal(said, "understudy: not released: no?[31m such?? instance\n");
	assert_int_equal(RUN(verb_release, "release", "--http", address, "--instance", "vm1"),
			 EXIT_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_prints_a_table),
		cmocka_unit_test(status_finds_the_address_in_a_configuration_of_either_role),
		cmocka_unit_test(status_as_json_is_the_answer_as_it_is),
		cmocka_unit_test(nobody_there_is_an_error_that_names_the_address),
		cmocka_unit_test(what_is_no_status_is_not_shown_as_one),
		cmocka_unit_test(status_needs_somebody_to_ask),
		cmocka_unit_test(takeover_asks_for_the_instance_and_waits_until_it_serves),
		cmocka_unit_test(what_clients_may_know_more_is_said),
		cmocka_unit_test(a_takeover_that_fails_is_a_failure_and_says_why),
		cmocka_unit_test(the_wait_for_a_takeover_is_bounded),
		cmocka_unit_test(a_refused_takeover_says_why),
		cmocka_unit_test(takeover_does_nothing_unconfirmed),
		cmocka_unit_test(release_asks_for_the_instance_and_says_what_came_of_it),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
