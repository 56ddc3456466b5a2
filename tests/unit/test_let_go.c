/*
 * Letting go an instance that is to stand, against a QEMU that is played. It sets the guest running
 * when it leaves COLO, as the real one does, and watches whether the guest can be heard then.
 */
#include "replica/let_go.h"

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

#define CARDS 3

/* Where cards are found, and what else is there. */
static const struct device {
	const char *container, *name, *type, *netdev; /* netdev NULL: no card */
} devices[] = {
	{ "/machine/peripheral", "net0", "child<virtio-net-pci>", "lan" },
	{ "/machine/peripheral", "disk0", "child<virtio-blk-pci>", NULL },
	{ "/machine/peripheral", "type", "string", NULL },
	{ "/machine/peripheral-anon", "device[0]", "child<e1000>", "wan" },
	{ "/machine/unattached", "io[0]", "child<memory-region>", NULL },
	{ "/machine/unattached", "device[7]", "child<rtl8139>", "#net123" },
	{ "/machine/unattached", "device[8]", "child<rtl8139>", "" }, /* one without a back end */
};
#define DEVICES (sizeof(devices) / sizeof(devices[0]))

static struct play {
	struct let_go *let_go;
	const char *migration, *status;
	bool stands;		/* what is_to_stand() says */
	bool may_run_after;	/* and not any more, once it is out of COLO */
	bool no_links, no_stop; /* QEMU refuses set_link; does not stop */
	bool late;		/* QEMU sets it running some time after the migration's end, */
	unsigned since;		/* and has been asked so often since then how it is */
	unsigned
		silent_from; /* from this `stop` on QEMU does what it is told, and does not answer */
	bool out[CARDS];     /* the cable of "lan", "wan", "#net123" */
	bool heard;	     /* it ran with a cable in, while it was to stand */
	unsigned stops, asked; /* `stop`s; qom-gets */
	bool ended, failed;
	char end_status[32];
} play;

static unsigned card_of(const char *netdev)
{
	return strcmp(netdev, "lan") == 0 ? 0 : strcmp(netdev, "wan") == 0 ? 1 : 2;
}

static void listen_to_it(void)
{
	if (play.stands && strcmp(play.status, "running") == 0 &&
	    (!play.out[0] || !play.out[1] || !play.out[2]))
		play.heard = true;
}

static const char *argument(const cJSON *command, const char *name)
{
	const cJSON *arguments = cJSON_GetObjectItemCaseSensitive(command, "arguments");
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(arguments, name));

	assert_non_null(text);
	return text;
}

static cJSON *list(const char *container)
{
	cJSON *array = cJSON_CreateArray(), *item;
	size_t i;

	for (i = 0; i < DEVICES; i++) {
		if (strcmp(devices[i].container, container) != 0)
			continue;
		item = cJSON_CreateObject();
		(void)cJSON_AddStringToObject(item, "name", devices[i].name);
		(void)cJSON_AddStringToObject(item, "type", devices[i].type);
		(void)cJSON_AddItemToArray(array, item);
	}
	return array;
}

/* NULL: refused. */
static cJSON *netdev_of(const char *path)
{
	char full[128];
	size_t i;

	play.asked++;
	for (i = 0; i < DEVICES; i++) {
		(void)snprintf(full, sizeof(full), "%s/%s", devices[i].container, devices[i].name);
		if (strcmp(full, path) == 0 && devices[i].netdev != NULL)
			return cJSON_CreateString(devices[i].netdev);
	}
	return NULL;
}

static cJSON *set_link(const cJSON *command)
{
	const cJSON *arguments = cJSON_GetObjectItemCaseSensitive(command, "arguments");
	const cJSON *up = cJSON_GetObjectItemCaseSensitive(arguments, "up");

	assert_true(cJSON_IsBool(up));
	if (play.no_links)
		return NULL;
	play.out[card_of(argument(command, "name"))] = !cJSON_IsTrue(up);
	return cJSON_CreateObject();
}

static cJSON *stop(void)
{
	play.stops++;
	if (!play.no_stop && strcmp(play.status, "running") == 0)
		play.status = "paused";
	return cJSON_CreateObject();
}

static cJSON *go_on(void)
{
	play.status = "running";
	return cJSON_CreateObject();
}

static cJSON *leave_colo(void)
{
	if (strcmp(play.migration, "colo") == 0 && !play.late)
		play.status = "running";
	play.migration = "completed";
	listen_to_it();
	if (play.may_run_after)
		play.stands = false;
	return cJSON_CreateObject();
}

static cJSON *status(const char *text)
{
	cJSON *object = cJSON_CreateObject();

	(void)cJSON_AddStringToObject(object, "status", text);
	return object;
}

static cJSON *obey(const cJSON *command)
{
	const char *name =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(command, "execute"));

	if (strcmp(name, "qom-list") == 0)
		return list(argument(command, "path"));
	if (strcmp(name, "qom-get") == 0)
		return netdev_of(argument(command, "path"));
	if (strcmp(name, "set_link") == 0)
		return set_link(command);
	if (strcmp(name, "stop") == 0)
		return stop();
	if (strcmp(name, "cont") == 0)
		return go_on();
	if (strcmp(name, "x-colo-lost-heartbeat") == 0)
		return leave_colo();
	if (strcmp(name, "query-migrate") == 0)
		return status(play.migration);
	assert_string_equal(name, "query-status");
	play.since += strcmp(play.migration, "completed") == 0;
	return status(play.status);
}

static void answer(struct fixture *f, const char *line)
{
	cJSON *command = cJSON_Parse(line), *reply = cJSON_CreateObject(), *what;
	char *text;

	assert_non_null(command);
	what = obey(command);
	listen_to_it();
	if (what != NULL)
		(void)cJSON_AddItemToObject(reply, "return", what);
	else
		(void)cJSON_AddStringToObject(cJSON_AddObjectToObject(reply, "error"), "desc",
					      "refused");
	(void)cJSON_AddItemToObject(reply, "id", cJSON_DetachItemFromObject(command, "id"));
	text = cJSON_PrintUnformatted(reply);
	if (play.silent_from == 0 || play.stops < play.silent_from) {
		monitor_say(f, text);
		monitor_say(f, "\r\n");
	}
	cJSON_free(text);
	cJSON_Delete(reply);
	cJSON_Delete(command);
}

static void serve(struct fixture *f)
{
	char line[512], *end;
	size_t len;

	monitor_turn(f);
	monitor_hear(f);
	while ((end = memchr(f->heard, '\n', f->heard_len)) != NULL) {
		len = (size_t)(end - f->heard);
		assert_true(len < sizeof(line));
		memcpy(line, f->heard, len);
		line[len] = '\0';
		f->heard_len -= len + 1;
		memmove(f->heard, end + 1, f->heard_len);
		answer(f, line);
	}
}

/* ---- the owner ----------------------------------------------------------------------------- */

static bool is_to_stand(void *owner)
{
	(void)owner;
	return play.stands;
}

static void on_done(void *owner, const struct colo_release_end *end)
{
	(void)owner;
	play.ended = true;
	play.failed = end->err != NULL;
	(void)snprintf(play.end_status, sizeof(play.end_status), "%s", end->status);
}

static const struct let_go_ops ops = { is_to_stand, on_done };

static void begin(struct fixture *f, const struct play *how)
{
	struct err err;

	play = *how;
	monitor_become_ready(f);
	assert_int_equal(let_go_create(&play.let_go, &f->loop, f->qmp, "capture test", &ops, f,
				       &err),
			 RC_OK);
	let_go_ready(play.let_go);
	let_go_begin(play.let_go);
}

static void close_it(struct fixture *f)
{
	int i;

	let_go_close(play.let_go, NULL);
	for (i = 0; i < 20; i++)
		serve(f);
}

static void end_of(struct fixture *f, const struct play *how)
{
	int i;

	begin(f, how);
	for (i = 0; i < PATIENCE_MS && !play.ended; i++)
		serve(f);
	assert_true(play.ended);
	close_it(f);
}

static bool any_out(void)
{
	return play.out[0] || play.out[1] || play.out[2];
}

/* ---- tests --------------------------------------------------------------------------------- */

static void one_that_goes_on_is_not_touched(void **state)
{
	static const struct play how = { .migration = "colo", .status = "colo" };

	end_of(*state, &how);
	assert_string_equal(play.end_status, "running");
	assert_int_equal(play.stops, 0);
	assert_int_equal(play.asked, 0);
}

static void one_that_is_to_stand_runs_unheard_for_a_moment_and_stands_again(void **state)
{
	static const struct play how = { .migration = "colo", .status = "paused", .stands = true };

	end_of(*state, &how);
	assert_false(play.failed);
	assert_false(play.heard);
	assert_string_equal(play.end_status, "paused");
	assert_string_equal(play.status, "paused");
	assert_false(any_out());
	assert_int_equal(play.asked, 6); /* every child, and nothing else */
}

static void one_that_stands_for_another_reason_is_not_left_cut_off(void **state)
{
	static const struct play how = { .migration = "failed",
					 .status = "shutdown",
					 .stands = true };

	end_of(*state, &how);
	assert_string_equal(play.end_status, "shutdown");
	assert_false(any_out());
}

static void one_that_still_runs_is_stopped_first(void **state)
{
	static const struct play how = { .migration = "colo", .status = "running", .stands = true };

	end_of(*state, &how);
	assert_string_equal(play.end_status, "paused");
	assert_int_equal(play.stops, 2);
	assert_false(any_out());
}

static void one_that_may_run_meanwhile_is_not_stopped_again(void **state)
{
	static const struct play how = {
		.migration = "colo", .status = "paused", .stands = true, .may_run_after = true
	};

	end_of(*state, &how);
	assert_false(play.heard);
	assert_string_equal(play.end_status, "running");
	assert_int_equal(play.stops, 1);
	assert_false(any_out());
}

/* By a thread that has to get a processor first. */
static void one_that_qemu_sets_running_late_is_waited_for(void **state)
{
	static const struct play how = {
		.migration = "colo", .status = "paused", .stands = true, .late = true
	};
	struct fixture *f = *state;
	int i;

	begin(f, &how);
	for (i = 0; i < PATIENCE_MS && play.since == 0; i++)
		serve(f);
	for (i = 0; i < 20; i++)
		serve(f);
	assert_false(play.ended);
	play.status = "running";
	listen_to_it();
	assert_false(let_go_event(play.let_go, "RESUME"));
	for (i = 0; i < PATIENCE_MS && !play.ended; i++)
		serve(f);
	assert_true(play.ended);
	assert_false(play.heard);
	assert_string_equal(play.end_status, "paused");
	assert_string_equal(play.status, "paused");
	assert_false(any_out());
	close_it(f);
}

static void whoever_else_lets_it_go_on_is_told_apart(void **state)
{
	static const struct play how = { .migration = "colo", .status = "paused", .stands = true };
	struct fixture *f = *state;
	int i;

	begin(f, &how);
	assert_true(let_go_event(play.let_go, "RESUME")); /* while its cables are being pulled */
	for (i = 0; i < PATIENCE_MS && !play.ended; i++)
		serve(f);
	assert_true(play.ended);
	assert_true(let_go_event(play.let_go, "RESUME"));
	close_it(f);
}

/* QEMU sets only what the migration had stopped running: in a first copy that was nothing. */
static void one_that_may_run_meanwhile_is_not_left_standing(void **state)
{
	static const struct play how = {
		.migration = "failed", .status = "running", .stands = true, .may_run_after = true
	};

	end_of(*state, &how);
	assert_string_equal(play.end_status, "running");
	assert_string_equal(play.status, "running");
	assert_false(any_out());
}

/* One in slow storage, or stopped itself. */
static void a_qemu_that_does_not_answer_is_waited_for(void **state)
{
	static const struct play how = { .migration = "colo", .status = "colo", .stands = true };
	struct fixture *f = *state;
	unsigned from, i;

	for (from = 1; from <= 2; from++) { /* the `stop` before, and the one after */
		begin(f, &how);
		play.silent_from = from;
		for (i = 0; i < PATIENCE_MS && play.stops < from; i++)
			serve(f);
		for (i = 0; i < 3; i++) {
			clock_fixture_pass(QMP_COMMAND_MS + 1);
			serve(f);
			serve(f);
		}
		assert_false(play.ended);
		assert_string_equal(
			let_go_waits(play.let_go),
			"QEMU does not answer: the instance is to stand, and is cut off until it does");
		play.silent_from = 0;
		clock_fixture_pass(QMP_COMMAND_MS + 1);
		for (i = 0; i < PATIENCE_MS && !play.ended; i++)
			serve(f);
		assert_true(play.ended);
		assert_false(play.heard);
		assert_string_equal(play.end_status, "paused");
		assert_false(any_out());
		close_it(f);
		assert_int_equal(monitor_teardown(state), 0);
		assert_int_equal(monitor_setup(state), 0);
		f = *state;
	}
}

static void one_that_is_not_seen_to_stop_stays_cut_off(void **state)
{
	static const struct play how = {
		.migration = "colo", .status = "running", .stands = true, .no_stop = true
	};

	end_of(*state, &how);
	assert_string_equal(play.end_status, "");
	assert_true(play.out[0] && play.out[1] && play.out[2]);
}

static void one_whose_cables_cannot_be_pulled_is_let_go_all_the_same(void **state)
{
	static const struct play how = {
		.migration = "colo", .status = "paused", .stands = true, .no_links = true
	};

	end_of(*state, &how);
	assert_false(play.failed);
	assert_string_equal(play.end_status, "paused");
}

static void a_connection_lost_at_any_moment_ends_it(void **state)
{
	static const struct play how = { .migration = "colo", .status = "paused", .stands = true };
	struct fixture *f = *state;
	int served, i;

	for (served = 0; served < 40; served++) {
		begin(f, &how);
		for (i = 0; i < served && !play.ended; i++)
			serve(f);
		(void)shutdown(f->peer, SHUT_RDWR);
		for (i = 0; i < PATIENCE_MS && !play.ended; i++)
			monitor_turn(f);
		assert_true(play.ended);
		let_go_close(play.let_go, NULL);
		for (i = 0; i < 20; i++)
			monitor_turn(f);
		assert_false(play.heard);
		assert_int_equal(monitor_teardown(state), 0);
		assert_int_equal(monitor_setup(state), 0);
		f = *state;
	}
}

static void it_can_be_closed_at_any_moment(void **state)
{
	static const struct play how = { .migration = "colo", .status = "paused", .stands = true };
	struct fixture *f = *state;
	int served, i;

	for (served = 0; served < 40; served++) {
		begin(f, &how);
		for (i = 0; i < served && !play.ended; i++)
			serve(f);
		close_it(f);
		assert_int_equal(monitor_teardown(state), 0);
		assert_int_equal(monitor_setup(state), 0);
		f = *state;
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, monitor_setup, monitor_teardown)
	const struct CMUnitTest tests[] = {
		TEST(one_that_goes_on_is_not_touched),
		TEST(one_that_is_to_stand_runs_unheard_for_a_moment_and_stands_again),
		TEST(one_that_stands_for_another_reason_is_not_left_cut_off),
		TEST(one_that_still_runs_is_stopped_first),
		TEST(one_that_may_run_meanwhile_is_not_stopped_again),
		TEST(one_that_qemu_sets_running_late_is_waited_for),
		TEST(whoever_else_lets_it_go_on_is_told_apart),
		TEST(one_that_may_run_meanwhile_is_not_left_standing),
		TEST(a_qemu_that_does_not_answer_is_waited_for),
		TEST(one_that_is_not_seen_to_stop_stays_cut_off),
		TEST(one_whose_cables_cannot_be_pulled_is_let_go_all_the_same),
		TEST(a_connection_lost_at_any_moment_ends_it),
		TEST(it_can_be_closed_at_any_moment),
	};

	log_setup(LOG_LEVEL_COUNT, false); /* what is logged here is wanted */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
