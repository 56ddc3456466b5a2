/* The life of a daemon's process: what is started is ended, in order, whatever signals come. */
#include "appliance/process.h"

#include "tests/unit/certs.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PARTS 3

static struct certs certs;
static struct config config = { .role = CONFIG_STANDBY, .site = (char[]){ "s" } };

/* A part that takes two turns of a timer to stop, with a signal in between. */
struct part {
	struct role *role;
	uv_timer_t timer;
	void (*on_stopped)(void *owner);
	void *owner;
};

struct role {
	struct process process;
	struct part parts[PARTS];
	uv_timer_t first_signal;
	uv_work_t work; /* so that there are other threads */
	unsigned to_start, started, stopped, ends;
	bool fails, waits;  /* waits: parts stop only when they are hurried */
	const int *signals; /* come one after the other */
};

static const int only_term[] = { SIGTERM, 0 };

/* Each is dealt with before the next turn. */
static void send_signal(uv_timer_t *timer)
{
	struct role *role = timer->data;

	assert_int_equal(role->ends, 0);
	assert_int_equal(raise(*role->signals++), 0);
	if (*role->signals != 0)
		(void)uv_timer_start(timer, send_signal, 0, 0);
	else
		uv_close((uv_handle_t *)timer, NULL);
}

static void work(uv_work_t *request)
{
	(void)request;
}

static int start(void *owner, struct err *err)
{
	struct role *role = owner;

	(void)uv_queue_work(&role->process.loop, &role->work, work, NULL);
	for (; role->started < role->to_start; role->started++) {
		role->parts[role->started].role = role;
		process_add(&role->process, &role->parts[role->started]);
	}
	if (role->fails)
		return err_set(err, RC_REFUSED, "not today");
	(void)uv_timer_init(&role->process.loop, &role->first_signal);
	role->first_signal.data = role;
	if (role->signals == NULL)
		role->signals = only_term;
	return uv_timer_start(&role->first_signal, send_signal, 1, 0);
}

static int order(void *owner, const char *instance, struct err *err)
{
	(void)owner;
	(void)instance;
	(void)err;
	fail_msg("an order came through although the process is ending");
	return RC_OK;
}

static void end(void *owner)
{
	struct role *role = owner;
	const struct status_source *source = &role->process.source;
	struct err err;

	role->ends++;
	/* A client whose connection is still there may ask. */
	assert_int_equal(source->takeover(source->owner, "vm1", &err), RC_STATE);
	assert_non_null(strstr(err.text, "ending"));
	assert_int_equal(source->release(source->owner, "vm1", &err), RC_STATE);
	process_stop_parts(&role->process);
}

static void on_part_closed(uv_handle_t *timer)
{
	struct part *part = timer->data;

	assert_int_equal(raise(SIGINT), 0);
	part->role->stopped++;
	part->on_stopped(part->owner);
}

static void on_timer(uv_timer_t *timer)
{
	assert_int_equal(raise(SIGTERM), 0);
	uv_close((uv_handle_t *)timer, on_part_closed);
}

static void stop(void *which, void (*on_stopped)(void *owner), void *owner)
{
	struct part *part = which;

	part->on_stopped = on_stopped;
	part->owner = owner;
	part->timer.data = part;
	(void)uv_timer_init(&part->role->process.loop, &part->timer);
	if (part->role->waits)
		assert_int_equal(raise(SIGTERM), 0);
	else
		(void)uv_timer_start(&part->timer, on_timer, 5, 0);
}

static void hurry(void *owner)
{
	struct role *role = owner;

	for (unsigned i = 0; i < role->to_start && role->waits; i++)
		(void)uv_timer_start(&role->parts[i].timer, on_timer, 0, 0);
	role->waits = false;
}

static const struct process_role callbacks = { .start = start,
					       .end = end,
					       .hurry = hurry,
					       .stop = stop,
					       .takeover = order,
					       .release = order };

static void expect_run(struct role *role, int exit_status, unsigned ends)
{
	sigset_t all;

	assert_int_equal(process_run(&role->process, &config, &callbacks, role), exit_status);
	/* To the process: a thread that has them not blocked would be found. */
	assert_int_equal(kill(getpid(), SIGTERM), 0);
	assert_int_equal(kill(getpid(), SIGINT), 0);
	assert_int_equal(role->stopped, role->to_start);
	assert_int_equal(role->ends, ends);
	/* What comes now finds nobody to end, and must not turn a good end into a bad one. */
	assert_int_equal(raise(SIGTERM), 0);
	assert_int_equal(raise(SIGINT), 0);
	/* For the next run, as in a new process. */
	(void)sigfillset(&all);
	while (sigtimedwait(&all, NULL, &(struct timespec){ 0 }) > 0)
		;
	assert_int_equal(sigprocmask(SIG_UNBLOCK, &all, NULL), 0);
}

static void signals_end_it_once_and_never_cut_the_end_short(void **state)
{
	(void)state;
	for (unsigned n = 0; n <= PARTS; n++) {
		struct role role = { .to_start = n };

		expect_run(&role, 0, 1);
	}
}

static void every_way_to_ask_for_the_end_is_one(void **state)
{
	static const int asked[][2] = { { SIGTERM }, { SIGINT }, { SIGQUIT } };

	(void)state;
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		struct role role = { .to_start = 1, .signals = asked[i] };

		expect_run(&role, 0, 1);
	}
}

static void what_is_sent_to_everybody_does_not_end_it(void **state)
{
	static const int some[] = { SIGHUP, SIGUSR1, SIGUSR2, SIGHUP, SIGTERM, 0 };
	struct role role = { .to_start = PARTS, .signals = some };

	(void)state;
	expect_run(&role, 0, 1);
}

static void a_second_signal_hurries_what_is_still_stopping(void **state)
{
	struct role role = { .to_start = PARTS, .waits = true };

	(void)state;
	expect_run(&role, 0, 1);
}

static void a_failed_start_ends_what_was_started(void **state)
{
	struct role role = { .to_start = 2, .fails = true };

	(void)state;
	expect_run(&role, 1, 1);
}

static void without_a_certificate_nothing_is_started(void **state)
{
	struct role role = { .to_start = 0 };
	char *key = config.tls_key;

	(void)state;
	config.tls_key = config.tls_cert;
	assert_int_equal(process_run(&role.process, &config, &callbacks, &role), 1);
	config.tls_key = key;
	assert_int_equal(role.started + role.ends, 0);
}

static int setup(void **state)
{
	static char ca[CERTS_PATH_MAX], cert[CERTS_PATH_MAX], key[CERTS_PATH_MAX];

	(void)state;
	certs_open(&certs);
	certs_make_ca(&certs, "ca", "CN=test CA");
	certs_make(&certs, "standby", "ca", "CN=s,OU=standby", -CERTS_DAY, CERTS_DAY);
	(void)snprintf(ca, sizeof(ca), "%s", certs_path(&certs, "ca", "pem"));
	(void)snprintf(cert, sizeof(cert), "%s", certs_path(&certs, "standby", "pem"));
	(void)snprintf(key, sizeof(key), "%s", certs_path(&certs, "standby", "key"));
	config.tls_ca = ca;
	config.tls_cert = cert;
	config.tls_key = key;
	config.listen = ca; /* only named in the log */
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	certs_close(&certs);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signals_end_it_once_and_never_cut_the_end_short),
		cmocka_unit_test(every_way_to_ask_for_the_end_is_one),
		cmocka_unit_test(what_is_sent_to_everybody_does_not_end_it),
		cmocka_unit_test(a_second_signal_hurries_what_is_still_stopping),
		cmocka_unit_test(a_failed_start_ends_what_was_started),
		cmocka_unit_test(without_a_certificate_nothing_is_started),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
