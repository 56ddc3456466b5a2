/* How an instance is examined, and its end told: a process of its own answers as QEMU does, and dies. */
#include "appliance/subject.h"
#include "tests/unit/scratch.h"

#include "tests/unit/unix_socket.h"

#include <poll.h>
#include <sys/mman.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000

struct fixture {
	uv_loop_t loop;
	uv_timer_t patience;
	char directory[SCRATCH_MAX], path[SCRATCH_MAX + 16];
	pid_t qemu;
	int orders; /* a line is an event that it is to tell */
	struct config_instance config;
	struct config site; /* without a witness */
	struct subject *subject;
	bool found, fit, gone, orderly, closed;
	bool may_be_unfit;
	struct err unfit;
	unsigned events;
};

/* The process -------------------------------------------------------------------------------- */

static const struct {
	const char *command, *reply;
} answers[] = {
	{ "qmp_capabilities", "{}" },
	{ "query-version",
	  "{\"qemu\": {\"micro\": 13, \"minor\": 0, \"major\": 10}, \"package\": \"x\"}" },
	{ "query-kvm", "{\"enabled\": true, \"present\": true}" },
	{ "query-migrate-capabilities",
	  "[{\"state\": false, \"capability\": \"events\"}, {\"state\": false, \"capability\": "
	  "\"x-colo\"}, {\"state\": false, \"capability\": \"x-ignore-shared\"}]" },
	{ "query-migrate", "{}" },
	{ "query-status", "{\"status\": \"running\", \"running\": true}" },
	{ "qom-get", "\"pc-i440fx-10.0-machine\"" },
	{ "query-machines", "[{\"name\": \"pc-i440fx-10.0\", \"default-ram-id\": \"pc.ram\"}]" },
	{ "query-memory-size-summary", "{\"base-memory\": 268435456}" },
	{ "query-cpus-fast", "[{\"cpu-index\": 0}]" },
	{ "qom-list", "[]" },
};

/* What the instance does that an agent and its guardian have left in COLO, or that is paused. Of both processes. */
static struct colo {
	bool resumes, stops_again; /* after it was seen to be paused */
	bool stands;		   /* it may not run */
	bool in, cut_off, heard;
	char status[16];
	unsigned stops;
} * colo;

static void tell(FILE *peer, const char *event)
{
	(void)fprintf(
		peer,
		"{\"event\": \"%s\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 0}}\r\n",
		event);
}

/* As QEMU does it in COLO and after; NULL: as ever. */
static const char *do_in_colo(FILE *peer, const char *line)
{
	if (strstr(line, "\"stop\"") != NULL) {
		colo->stops++;
		if (strcmp(colo->status, "running") == 0)
			(void)strcpy(colo->status, "paused");
	} else if (strstr(line, "\"set_link\"") != NULL) {
		colo->cut_off = strstr(line, "false") != NULL;
	} else if (strstr(line, "\"x-colo-lost-heartbeat\"") != NULL) {
		colo->heard |= colo->stands && !colo->cut_off;
		colo->in = false;
		(void)strcpy(colo->status, "running");
		tell(peer, "RESUME");
	} else if (strstr(line, "\"query-cpus-fast\"") != NULL && colo->resumes) {
		tell(peer, "RESUME");
		if (colo->stops_again)
			tell(peer, "STOP");
		return NULL;
	} else if (strstr(line, "\"query-migrate\"") != NULL) {
		return colo->in ? "{\"status\": \"colo\"}" : "{\"status\": \"completed\"}";
	} else if (strstr(line, "\"query-status\"") != NULL) {
		return strcmp(colo->status, "colo") == 0   ? "{\"status\": \"colo\"}" :
		       strcmp(colo->status, "paused") == 0 ? "{\"status\": \"paused\"}" :
							     "{\"status\": \"running\"}";
	} else if (strstr(line, "\"qom-list\"") != NULL) {
		return strstr(line, "/machine/unattached\"") != NULL ?
			       "[{\"name\": \"device[7]\", \"type\": \"child<e1000>\"}]" :
			       "[]";
	} else if (strstr(line, "\"netdev\"") != NULL) {
		return "\"lan\"";
	} else {
		return NULL;
	}
	return "{}";
}

static void reply(FILE *peer, const char *line)
{
	const char *id = strstr(line, "\"id\":"), *done = NULL;
	char quoted[64];

	if (*colo->status != '\0' && id != NULL)
		done = do_in_colo(peer, line);
	if (done != NULL) {
		(void)fprintf(peer, "{\"return\": %s, \"id\": %ld}\r\n", done,
			      strtol(id + 5, NULL, 10));
		return;
	}
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]) && id != NULL; i++) {
		(void)snprintf(quoted, sizeof(quoted), "\"%s\"", answers[i].command);
		if (strstr(line, quoted) == NULL)
			continue;
		(void)fprintf(peer, "{\"return\": %s, \"id\": %ld}\r\n", answers[i].reply,
			      strtol(id + 5, NULL, 10));
		return;
	}
	_exit(3);
}

static void be_qemu(const char *path, int orders)
{
	int listener = unix_socket_listen(path);
	FILE *ordered = fdopen(orders, "r"), *in, *out;
	struct pollfd fds[2];
	char line[1024];
	int peer;

	(void)fputs("listening\n", fdopen(dup(orders), "w"));
	(void)fflush(NULL);
	peer = accept(listener, NULL, NULL);
	in = fdopen(peer, "r");
	out = fdopen(dup(peer), "w");
	(void)setvbuf(in, NULL, _IONBF, 0);
	(void)setvbuf(out, NULL, _IOLBF, 0);
	(void)fputs("{\"QMP\": {}}\r\n", out);
	fds[0] = (struct pollfd){ .fd = peer, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = orders, .events = POLLIN };
	while (poll(fds, 2, -1) > 0) {
		if (fds[0].revents != 0 && fgets(line, sizeof(line), in) != NULL)
			reply(out, line);
		if (fds[1].revents != 0 && fgets(line, sizeof(line), ordered) != NULL) {
			line[strcspn(line, "\n")] = '\0';
			tell(out, line);
		}
	}
	_exit(1);
}

static void start_qemu(struct fixture *f)
{
	char told[16];
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	f->qemu = fork();
	assert_true(f->qemu >= 0);
	if (f->qemu == 0) {
		(void)prctl(PR_SET_PDEATHSIG,
			    SIGKILL); /* a test that fails leaves nothing behind */
		(void)close(pair[0]);
		be_qemu(f->path, pair[1]);
	}
	(void)close(pair[1]);
	f->orders = pair[0];
	assert_true(read(f->orders, told, sizeof(told)) > 0);
}

/* The subject -------------------------------------------------------------------------------- */

static void on_found(void *owner, struct qmp *qmp)
{
	assert_non_null(qmp);
	assert_false(((struct fixture *)owner)->found);
	((struct fixture *)owner)->found = true;
}

static void on_left(void *owner)
{
	assert_true(((struct fixture *)owner)->found);
	((struct fixture *)owner)->found = false;
}

static bool has_stopped(void *owner)
{
	assert_true(((struct fixture *)owner)->found);
	return colo->stands;
}

static void on_fit(void *owner, const char *reservation)
{
	(void)reservation;
	assert_true(((struct fixture *)owner)->found);
	((struct fixture *)owner)->fit = true;
}

static void on_unfit(void *owner, const struct err *err)
{
	struct fixture *f = owner;

	if (!f->may_be_unfit)
		fail_msg("%s", err->text);
	f->unfit = *err;
}

static void on_event(void *owner, const char *name, const cJSON *data, uint64_t time_us)
{
	(void)name;
	(void)data;
	(void)time_us;
	((struct fixture *)owner)->events++;
}

static void on_gone(void *owner, bool orderly)
{
	struct fixture *f = owner;

	assert_false(f->found);
	f->gone = true;
	f->orderly = orderly;
}

static void on_lost(void *owner, const struct err *err)
{
	(void)owner;
	(void)err;
}

static const struct subject_ops ops = { on_found, on_left,  has_stopped, on_fit,
					on_unfit, on_event, on_gone,	 on_lost };

static void on_closed(void *owner)
{
	((struct fixture *)owner)->closed = true;
}

static void on_patience(uv_timer_t *timer)
{
	(void)timer;
	fail_msg("nothing comes");
}

static void open_subject(struct fixture *f)
{
	struct err err;

	assert_int_equal(subject_open(&f->subject, &f->loop, &f->config, &f->site, NULL, &ops, f,
				      &err),
			 RC_OK);
}

static int setup_unopened(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	static char name[] = "vm1";

	assert_int_equal(scratch_make(f->directory, "subject"), 0);
	(void)snprintf(f->path, sizeof(f->path), "%s/qmp", f->directory);
	f->config = (struct config_instance){ .name = name, .qmp = f->path };
	assert_int_equal(uv_loop_init(&f->loop), 0);
	assert_int_equal(uv_timer_init(&f->loop, &f->patience), 0);
	assert_int_equal(uv_timer_start(&f->patience, on_patience, PATIENCE_MS, 0), 0);
	*state = f;
	return 0;
}

static void wait_until_fit(struct fixture *f)
{
	while (!f->fit)
		(void)uv_run(&f->loop, UV_RUN_ONCE);
}

static int setup(void **state)
{
	struct fixture *f;

	*colo = (struct colo){ .in = false };
	(void)setup_unopened(state);
	f = *state;
	start_qemu(f);
	open_subject(f);
	wait_until_fit(f);
	return 0;
}

/* It stands, and nobody in this process has stopped it. */
static int setup_paused(void **state)
{
	*colo = (struct colo){ .status = "paused" };
	(void)setup_unopened(state);
	start_qemu(*state);
	return 0;
}

/* Of an agent that has ended inside a checkpoint, together with its guardian. */
static int setup_colo(void **state)
{
	*colo = (struct colo){ .in = true, .status = "colo" };
	(void)setup_unopened(state);
	start_qemu(*state);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	subject_close(f->subject, on_closed);
	while (!f->closed)
		(void)uv_run(&f->loop, UV_RUN_ONCE);
	assert_false(f->found);
	uv_close((uv_handle_t *)&f->patience, NULL);
	(void)uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	if (f->qemu > 0) {
		assert_int_equal(kill(f->qemu, SIGKILL), 0);
		assert_int_equal(waitpid(f->qemu, NULL, 0), f->qemu);
	}
	(void)close(f->orders);
	(void)unlink(f->path);
	assert_int_equal(rmdir(f->directory), 0);
	free(f);
	return 0;
}

static void tells(struct fixture *f, const char *event)
{
	unsigned before = f->events;

	(void)dprintf(f->orders, "%s\n", event);
	while (f->events == before)
		(void)uv_run(&f->loop, UV_RUN_ONCE);
}

static bool dies_orderly(struct fixture *f)
{
	assert_int_equal(kill(f->qemu, SIGKILL), 0);
	while (!f->gone)
		(void)uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(waitpid(f->qemu, NULL, 0), f->qemu);
	f->qemu = 0;
	return f->orderly;
}

/* ---- claims ---- */

static void a_death_without_a_word_is_a_crash(void **state)
{
	assert_false(dies_orderly(*state));
}

static void an_end_after_a_shutdown_is_orderly(void **state)
{
	struct fixture *f = *state;

	assert_false(subject_shuts_down(f->subject));
	tells(f, "SHUTDOWN");
	tells(f, "STOP");
	assert_true(subject_shuts_down(f->subject));
	assert_true(dies_orderly(f));
}

static void a_crash_after_a_shutdown_and_a_reset_is_a_crash(void **state)
{
	tells(*state, "SHUTDOWN");
	tells(*state, "STOP");
	tells(*state, "RESET");
	tells(*state, "RESUME");
	assert_false(subject_shuts_down(((struct fixture *)*state)->subject));
	assert_false(dies_orderly(*state));
}

static void one_left_in_colo_runs_on(void **state)
{
	open_subject(*state);
	wait_until_fit(*state);
	assert_string_equal(colo->status, "running");
	assert_int_equal(colo->stops, 0);
	assert_false(colo->in);
}

static void one_left_in_colo_that_may_not_run_is_heard_by_nobody(void **state)
{
	colo->stands = true;
	open_subject(*state);
	wait_until_fit(*state);
	assert_string_equal(colo->status, "paused");
	assert_false(colo->in || colo->heard || colo->cut_off);
}

/* Whatever it is doing with it: the instance neither stays in COLO nor runs. */
static void told_to_end_meanwhile_it_first_lets_go(void **state)
{
	struct fixture *f = *state;

	colo->stands = true;
	open_subject(f);
	assert_false(subject_is_leaving_colo(f->subject));
	while (!colo->cut_off)
		(void)uv_run(&f->loop, UV_RUN_ONCE);
	assert_true(subject_is_leaving_colo(f->subject));
	subject_close(f->subject, on_closed);
	while (!f->closed)
		(void)uv_run(&f->loop, UV_RUN_ONCE);
	assert_string_equal(colo->status, "paused");
	assert_false(colo->in || colo->heard || colo->cut_off);
	open_subject(f); /* for the teardown */
	f->closed = false;
}

static void one_that_is_paused_is_not_fit(void **state)
{
	struct fixture *f = *state;

	f->may_be_unfit = true;
	open_subject(f);
	while (*f->unfit.text == '\0')
		(void)uv_run(&f->loop, UV_RUN_ONCE);
	assert_non_null(strstr(f->unfit.text, "does not run (paused)"));
	assert_false(f->fit);
}

/* By its owner, who has paused it: the answer that it stands is older than that. */
static void one_that_goes_on_while_it_is_examined_is_fit(void **state)
{
	colo->resumes = true;
	open_subject(*state);
	wait_until_fit(*state);
}

static void one_that_goes_on_and_is_stopped_again_is_not_fit(void **state)
{
	colo->resumes = colo->stops_again = true;
	one_that_is_paused_is_not_fit(state);
}

static int share(void **state)
{
	(void)state;
	colo = mmap(NULL, sizeof(*colo), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return colo == MAP_FAILED ? -1 : 0;
}

#define CLAIM(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define PAUSED_CLAIM(test) cmocka_unit_test_setup_teardown(test, setup_paused, teardown)
#define COLO_CLAIM(test) cmocka_unit_test_setup_teardown(test, setup_colo, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(a_death_without_a_word_is_a_crash),
		CLAIM(an_end_after_a_shutdown_is_orderly),
		CLAIM(a_crash_after_a_shutdown_and_a_reset_is_a_crash),
		PAUSED_CLAIM(one_that_is_paused_is_not_fit),
		PAUSED_CLAIM(one_that_goes_on_while_it_is_examined_is_fit),
		PAUSED_CLAIM(one_that_goes_on_and_is_stopped_again_is_not_fit),
		COLO_CLAIM(one_left_in_colo_runs_on),
		COLO_CLAIM(one_left_in_colo_that_may_not_run_is_heard_by_nobody),
		COLO_CLAIM(told_to_end_meanwhile_it_first_lets_go),
	};

	return cmocka_run_group_tests(tests, share, NULL);
}
