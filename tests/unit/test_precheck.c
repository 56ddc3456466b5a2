#include "replica/precheck.h"

#include "appliance/base/mem.h"
#include "tests/unit/cmdline_fixture.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unix_socket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the verdict ---- */

static struct precheck_facts good_facts(void)
{
	return (struct precheck_facts){
		.major = 10,
		.minor = 0,
		.micro = 13,
		.kvm = true,
		.has_colo = true,
		.has_ignore_shared = true,
		.has_events = true,
		.status = "running",
		.machine = "pc-i440fx-10.0",
		.default_ram_id = "pc.ram",
		.memory_bytes = 256 << 20,
		.cpus = 1,
	};
}

static void a_good_machine_passes(void **state)
{
	struct precheck_facts facts = good_facts();
	struct err err = { 0 };

	(void)state;
	assert_int_equal(precheck_verdict(&facts, &err), RC_OK);
}

static void releases_that_cannot_are_refused_and_their_neighbours_are_not(void **state)
{
	static const struct {
		uint32_t major, minor, micro;
		enum rc rc;
	} cases[] = {
		{ 2, 12, 0, RC_UNSUPPORTED },
		{ 6, 2, 0, RC_UNSUPPORTED },
		{ 7, 1, 99, RC_UNSUPPORTED },
		{ 7, 2, 0, RC_OK },
		{ 7, 2, 50, RC_OK },
		{ 8, 0, 0, RC_OK },
		{ 9, 2, 4, RC_OK },
		{ 10, 0, 0, RC_UNSUPPORTED },
		{ 10, 0, 1, RC_UNSUPPORTED },
		{ 10, 0, 6, RC_UNSUPPORTED },
		{ 10, 0, 7, RC_OK },
		{ 10, 0, 13, RC_OK },
		{ 10, 0, 49, RC_OK },
		{ 10, 0, 50, RC_UNSUPPORTED },
		{ 10, 0, 94, RC_UNSUPPORTED },
		{ 10, 1, 0, RC_UNSUPPORTED },
		{ 10, 1, 5, RC_UNSUPPORTED },
		{ 10, 2, 0, RC_OK },
		{ 11, 0, 0, RC_OK },
		{ 11, 1, 0, RC_OK },
		{ 0, 0, 0, RC_UNSUPPORTED },
	};
	struct precheck_facts facts = good_facts();
	struct err err;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		facts.major = cases[i].major;
		facts.minor = cases[i].minor;
		facts.micro = cases[i].micro;
		assert_int_equal(precheck_verdict(&facts, &err), cases[i].rc);
	}
}

static void without_kvm_only_a_build_with_the_lock_fix_passes(void **state)
{
	static const struct {
		const char *package;
		bool kvm;
		enum rc rc;
	} cases[] = {
		{ "", true, RC_OK },
		{ "Debian 1:10.0.13+ds-0+deb13u1", true, RC_OK },
		{ "understudy-colo2", true, RC_OK },
		{ "", false, RC_UNSUPPORTED },
		{ "Debian 1:10.0.13+ds-0+deb13u1", false, RC_UNSUPPORTED },
		{ "understudy", false, RC_UNSUPPORTED },
		{ "understudy-colo2", false, RC_OK },
		{ " (understudy-colo2-1)", false, RC_OK },
	};
	struct precheck_facts facts = good_facts();
	struct err err;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		facts.kvm = cases[i].kvm;
		(void)snprintf(facts.package, sizeof(facts.package), "%s", cases[i].package);
		assert_int_equal(precheck_verdict(&facts, &err), cases[i].rc);
		if (cases[i].rc != RC_OK)
			assert_non_null(strstr(err.text, "KVM"));
	}
}

static void each_capability_is_needed(void **state)
{
	struct precheck_facts facts;
	struct err err;
	unsigned mask;

	(void)state;
	for (mask = 0; mask < 8; mask++) {
		facts = good_facts();
		facts.has_colo = (mask & 1) != 0;
		facts.has_ignore_shared = (mask & 2) != 0;
		facts.has_events = (mask & 4) != 0;
		assert_int_equal(precheck_verdict(&facts, &err),
				 mask == 7 ? RC_OK : RC_UNSUPPORTED);
		if ((mask & 1) == 0)
			assert_non_null(strstr(err.text, "--enable-replication"));
		else if (mask == 3)
			assert_non_null(strstr(err.text, "events"));
		else if (mask == 5)
			assert_non_null(strstr(err.text, "x-ignore-shared"));
	}
}

static void only_a_migration_that_is_over_is_in_nobodys_way(void **state)
{
	static const char *const over[] = { "", "none", "completed", "failed", "cancelled" };
	static const char *const under_way[] = {
		"setup",	   "active",	      "pre-switchover", "device",    "cancelling",
		"postcopy-active", "postcopy-paused", "wait-unplug",	"unheard-of"
	};
	struct precheck_facts facts = good_facts();
	struct err err;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(over) / sizeof(over[0]); i++) {
		(void)snprintf(facts.migration, sizeof(facts.migration), "%s", over[i]);
		assert_int_equal(precheck_verdict(&facts, &err), RC_OK);
	}
	for (i = 0; i < sizeof(under_way) / sizeof(under_way[0]); i++) {
		(void)snprintf(facts.migration, sizeof(facts.migration), "%s", under_way[i]);
		assert_int_equal(precheck_verdict(&facts, &err), RC_STATE);
		assert_non_null(strstr(err.text, under_way[i]));
	}
	(void)snprintf(facts.migration, sizeof(facts.migration), "colo");
	assert_int_equal(precheck_verdict(&facts, &err), RC_STATE);
	assert_non_null(strstr(err.text, "x-colo-lost-heartbeat"));
}

static void what_blocks_migration_is_told_in_qemus_words(void **state)
{
	struct precheck_facts facts = good_facts();
	struct err err;

	(void)state;
	(void)snprintf(facts.blocked, sizeof(facts.blocked),
		       "Migration is disabled when using feature X");
	assert_int_equal(precheck_verdict(&facts, &err), RC_UNSUPPORTED);
	assert_non_null(strstr(err.text, "Migration is disabled when using feature X"));
}

static void only_a_machine_that_runs_passes(void **state)
{
	static const char *const others[] = {
		"paused",	  "prelaunch",	    "io-error",	   "internal-error",
		"guest-panicked", "shutdown",	    "suspended",   "inmigrate",
		"colo",		  "finish-migrate", "postmigrate", "save-vm",
		"restore-vm",	  "watchdog",	    "debug",	   ""
	};
	struct precheck_facts facts = good_facts();
	struct err err;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		(void)snprintf(facts.status, sizeof(facts.status), "%s", others[i]);
		assert_int_equal(precheck_verdict(&facts, &err), RC_STATE);
		assert_non_null(strstr(err.text, others[i]));
	}
}

static void a_machine_without_the_essentials_is_refused(void **state)
{
	struct precheck_facts facts;
	struct err err;
	int i;

	(void)state;
	for (i = 0; i < 4; i++) {
		facts = good_facts();
		if (i == 0)
			facts.machine[0] = '\0';
		if (i == 1)
			facts.default_ram_id[0] = '\0';
		if (i == 2)
			facts.memory_bytes = 0;
		if (i == 3)
			facts.cpus = 0;
		assert_int_equal(precheck_verdict(&facts, &err), RC_UNSUPPORTED);
	}
}

/* ---- asking ---- */

struct answer {
	const char *command; /* or a qom-list's path: what its line, and no other, has in quotes */
	const char *reply;   /* members besides the id; NULL: QEMU goes away instead */
};

#define ANSWERS 11
static const struct answer good_answers[ANSWERS] = {
	{ "query-version",
	  "\"return\": {\"qemu\": {\"micro\": 13, \"minor\": 0, \"major\": 10}, \"package\": \"understudy-colo2\"}" },
	{ "query-kvm", "\"return\": {\"enabled\": false, \"present\": true}" },
	{ "query-migrate-capabilities",
	  "\"return\": [{\"state\": false, \"capability\": \"events\"}, {\"state\": false, \"capability\": \"x-colo\"}, "
	  "{\"state\": true, \"capability\": \"x-ignore-shared\"}]" },
	{ "query-migrate", "\"return\": {}" },
	{ "query-status", "\"return\": {\"status\": \"running\", \"running\": true}" },
	{ "qom-get", "\"return\": \"pc-i440fx-10.0-machine\"" },
	{ "query-machines",
	  "\"return\": [{\"name\": \"none\", \"cpu-max\": 1}, {\"name\": \"pc-q35-10.0\", \"default-ram-id\": \"other\"}, "
	  "{\"name\": \"pc-i440fx-10.0\", \"alias\": \"pc\", \"default-ram-id\": \"pc.ram\"}]" },
	{ "query-memory-size-summary",
	  "\"return\": {\"base-memory\": 268435456, \"plugged-memory\": 0}" },
	{ "query-cpus-fast", "\"return\": [{\"cpu-index\": 0}, {\"cpu-index\": 1}]" },
	{ "/machine/peripheral",
	  "\"return\": [{\"name\": \"type\", \"type\": \"string\"}, {\"name\": \"j\", \"type\": \"child<virtio-rng-pci>\"}]" },
	{ "/machine/peripheral-anon",
	  "\"return\": [{\"name\": \"type\", \"type\": \"string\"}, {\"name\": \"device[0]\", \"type\": "
	  "\"child<usb-tablet>\"}, {\"name\": \"device[1]\", \"type\": \"child<virtio-blk-pci>\"}]" },
};

struct fixture {
	uv_loop_t loop;
	char directory[SCRATCH_MAX], path[SCRATCH_MAX + 16];
	int listener, peer;
	struct qmp *qmp;
	struct answer answers[ANSWERS];
	struct cmdline *source; /* NULL: not compared */
	const char *close_at;	/* the command that is not answered: qmp_close() instead */
	char heard[4096];
	size_t heard_len;
	bool ready, lost, closed;
	int done;
	struct precheck_facts facts;
	struct err verdict;
};

static void note_ready(void *owner)
{
	((struct fixture *)owner)->ready = true;
}

static void note_lost(void *owner, const struct err *err)
{
	(void)err;
	((struct fixture *)owner)->lost = true;
}

static void note_closed(void *owner)
{
	((struct fixture *)owner)->closed = true;
}

static void note_done(void *owner, const struct precheck_facts *facts, const struct err *err)
{
	struct fixture *f = owner;

	f->done++;
	f->facts = *facts;
	f->verdict = *err;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(scratch_make(f->directory, "precheck"), 0);
	(void)snprintf(f->path, sizeof(f->path), "%s/qmp", f->directory);
	f->listener = unix_socket_listen(f->path);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	memcpy(f->answers, good_answers, sizeof(good_answers));
	f->peer = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fault_arm(FAULT_ALLOC, 0);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	close(f->listener);
	(void)unlink(f->path);
	assert_int_equal(rmdir(f->directory), 0);
	free(f);
	return 0;
}

/* Answers one command of the peer's table; false when QEMU is to go away. */
static bool answer(struct fixture *f, const char *line)
{
	const char *id = strstr(line, "\"id\":");
	char text[1024], quoted[64];
	size_t i;
	int len = 0;

	assert_non_null(id);
	if (strstr(line, "\"qmp_capabilities\"") != NULL) {
		len = snprintf(text, sizeof(text), "{\"return\": {}, \"id\": 1}\r\n");
		return send(f->peer, text, (size_t)len, MSG_NOSIGNAL) == len;
	}
	for (i = 0; i < ANSWERS; i++) {
		(void)snprintf(quoted, sizeof(quoted), "\"%s\"", f->answers[i].command);
		if (strstr(line, quoted) == NULL)
			continue;
		if (f->close_at != NULL && strcmp(f->close_at, f->answers[i].command) == 0) {
			qmp_close(f->qmp, note_closed);
			return true;
		}
		if (f->answers[i].reply == NULL)
			return false;
		len = snprintf(text, sizeof(text), "{%s, \"id\": %d}\r\n", f->answers[i].reply,
			       (int)strtol(id + 5, NULL, 10));
		assert_in_range(len, 1, sizeof(text) - 1);
		return send(f->peer, text, (size_t)len, MSG_NOSIGNAL) == len;
	}
	fail_msg("asked for something that is not in the table: %s", line);
	return false;
}

static void turn(struct fixture *f)
{
	char *end;
	ssize_t r;

	(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	(void)usleep(100);
	if (f->peer < 0)
		return;
	r = recv(f->peer, f->heard + f->heard_len, sizeof(f->heard) - 1 - f->heard_len,
		 MSG_DONTWAIT);
	if (r > 0)
		f->heard_len += (size_t)r;
	while ((end = memchr(f->heard, '\n', f->heard_len)) != NULL) {
		*end = '\0';
		if (!answer(f, f->heard)) {
			close(f->peer);
			f->peer = -1;
			f->heard_len = 0;
			return;
		}
		f->heard_len -= (size_t)(end + 1 - f->heard);
		memmove(f->heard, end + 1, f->heard_len);
	}
}

/*
 * One whole examination; false when not even connecting or asking the first question was possible.
 */
static bool examine(struct fixture *f)
{
	static const struct qmp_ops ops = { .on_ready = note_ready, .on_lost = note_lost };
	static const char greeting[] = "{\"QMP\": {}}\r\n";
	bool asked = false;
	struct err err;
	int i;

	f->ready = f->lost = f->closed = false;
	f->done = 0;
	f->heard_len = 0;
	memset(&f->facts, 0, sizeof(f->facts));
	if (qmp_connect(&f->qmp, &f->loop, f->path, 1000, &ops, f, &err) != RC_OK)
		goto out;
	f->peer = accept(f->listener, NULL, NULL);
	assert_int_equal(send(f->peer, greeting, sizeof(greeting) - 1, 0),
			 (ssize_t)sizeof(greeting) - 1);
	for (i = 0; i < 5000 && !f->ready && !f->lost; i++)
		turn(f);
	asked = f->ready && precheck_run(f->qmp, f->source, note_done, f, &err) == RC_OK;
	assert_int_equal(f->done, 0);
	for (i = 0; i < 5000 && asked && f->done == 0; i++)
		turn(f);
	if (!f->closed)
		qmp_close(f->qmp, note_closed);
	for (i = 0; i < 5000 && !f->closed; i++)
		turn(f);
	assert_true(f->closed);
	assert_int_equal(f->done, asked ? 1 : 0);
	if (f->peer >= 0)
		close(f->peer);
	f->peer = -1;
out:
	/* Handles of a failed connection are closed by the loop. */
	for (i = 0; i < 10; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	return asked;
}

static void all_facts_are_collected(void **state)
{
	struct fixture *f = *state;

	assert_true(examine(f));
	assert_int_equal(f->verdict.code, RC_OK);
	assert_int_equal(f->facts.major, 10);
	assert_int_equal(f->facts.minor, 0);
	assert_int_equal(f->facts.micro, 13);
	assert_string_equal(f->facts.package, "understudy-colo2");
	assert_false(f->facts.kvm);
	assert_true(f->facts.has_colo && f->facts.has_events && f->facts.has_ignore_shared);
	assert_string_equal(f->facts.status, "running");
	assert_string_equal(f->facts.migration, "");
	assert_string_equal(f->facts.blocked, "");
	assert_string_equal(f->facts.machine, "pc-i440fx-10.0");
	assert_string_equal(f->facts.default_ram_id, "pc.ram");
	assert_int_equal(f->facts.memory_bytes, 268435456);
	assert_int_equal(f->facts.cpus, 2);
}

static void a_blocked_machine_is_refused_with_the_reason(void **state)
{
	struct fixture *f = *state;

	f->answers[3].reply =
		"\"return\": {\"status\": \"failed\", \"blocked-reasons\": [\"the reason\", \"another\"]}";
	assert_true(examine(f));
	assert_int_equal(f->verdict.code, RC_UNSUPPORTED);
	assert_string_equal(f->facts.blocked, "the reason");
	assert_string_equal(f->facts.migration, "failed");
}

static void a_qemu_that_does_not_know_kvm_has_none(void **state)
{
	struct fixture *f = *state;

	f->answers[1].reply =
		"\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"The command query-kvm has not been found\"}";
	assert_true(examine(f));
	assert_int_equal(f->verdict.code, RC_OK);
	assert_false(f->facts.kvm);
}

static void a_refused_question_names_itself(void **state)
{
	struct fixture *f = *state;
	char expected[128];
	size_t i;

	for (i = 0; i < ANSWERS; i++) {
		if (i == 1)
			continue;
		memcpy(f->answers, good_answers, sizeof(good_answers));
		f->answers[i].reply = "\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}";
		assert_true(examine(f));
		assert_int_equal(f->verdict.code, RC_REFUSED);
		(void)snprintf(expected, sizeof(expected), "%s: no",
			       i < 9 ? f->answers[i].command : "qom-list");
		assert_string_equal(f->verdict.text, expected);
	}
}

static void answers_of_a_wrong_kind_are_refused(void **state)
{
	static const char *const wrong[] = {
		"\"return\": null",
		"\"return\": 17",
		"\"return\": true",
		"\"return\": \"\"",
		"\"return\": [17]",
		"\"return\": {\"qemu\": 1, \"enabled\": 1, \"status\": 1, \"base-memory\": \"1\"}",
		"\"return\": {\"qemu\": {\"major\": -1}, \"status\": {}, \"base-memory\": -1, \"enabled\": null}",
		"\"return\": {\"qemu\": {\"major\": 1e99, \"minor\": 0, \"micro\": 0}, \"status\": [], \"base-memory\": 1e99}",
	};
	struct fixture *f = *state;
	size_t i, j;

	for (i = 0; i < ANSWERS; i++) {
		for (j = 0; j < sizeof(wrong) / sizeof(wrong[0]); j++) {
			if (i == 8 && j == 4)
				continue; /* one processor of an unknown kind: counted, not looked into */
			memcpy(f->answers, good_answers, sizeof(good_answers));
			f->answers[i].reply = wrong[j];
			assert_true(examine(f));
			assert_int_equal(f->verdict.code, RC_INVALID);
			assert_non_null(strstr(f->verdict.text,
					       i < 9 ? f->answers[i].command : "qom-list"));
		}
	}
}

static void names_without_room_are_refused_rather_than_cut(void **state)
{
	struct fixture *f = *state;
	char name[300], reply[400];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	(void)snprintf(reply, sizeof(reply), "\"return\": \"%s\"", name);
	f->answers[5].reply = reply;
	assert_true(examine(f));
	assert_int_equal(f->verdict.code, RC_INVALID);
}

static void a_qemu_that_goes_away_ends_it_once(void **state)
{
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < ANSWERS; i++) {
		memcpy(f->answers, good_answers, sizeof(good_answers));
		f->answers[i].reply = NULL;
		assert_true(examine(f));
		assert_int_equal(f->verdict.code, RC_CLOSED);
	}
}

static void closing_meanwhile_ends_it_once(void **state)
{
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < ANSWERS; i++) {
		f->close_at = good_answers[i].command;
		assert_true(examine(f));
		assert_int_equal(f->verdict.code, RC_CANCELLED);
	}
}

static void any_allocation_may_fail(void **state)
{
	struct cmdline source;
	struct fixture *f = *state;
	bool fired = true;
	unsigned long n;

	arguments_lines(&source, "qemu\n-device\nusb-tablet\n-drive\nif=virtio\n"
				 "-device\n{\"driver\": \"virtio-rng-pci\", \"id\": \"j\"}");
	f->source = &source;
	for (n = 1; fired; n++) {
		fault_arm(FAULT_ALLOC, n);
		if (examine(f))
			assert_int_equal(fault_fired(FAULT_ALLOC), f->verdict.code != RC_OK);
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
	}
	assert_int_equal(f->verdict.code, RC_OK);
	assert_true(n > 30);
	cmdline_free(&source);
}

#define ASKING(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	cJSON_Hooks hooks = { .malloc_fn = mem_alloc, .free_fn = mem_free };
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_machine_passes),
		cmocka_unit_test(releases_that_cannot_are_refused_and_their_neighbours_are_not),
		cmocka_unit_test(without_kvm_only_a_build_with_the_lock_fix_passes),
		cmocka_unit_test(each_capability_is_needed),
		cmocka_unit_test(only_a_migration_that_is_over_is_in_nobodys_way),
		cmocka_unit_test(what_blocks_migration_is_told_in_qemus_words),
		cmocka_unit_test(only_a_machine_that_runs_passes),
		cmocka_unit_test(a_machine_without_the_essentials_is_refused),
		ASKING(all_facts_are_collected),
		ASKING(a_blocked_machine_is_refused_with_the_reason),
		ASKING(a_qemu_that_does_not_know_kvm_has_none),
		ASKING(a_refused_question_names_itself),
		ASKING(answers_of_a_wrong_kind_are_refused),
		ASKING(names_without_room_are_refused_rather_than_cut),
		ASKING(a_qemu_that_goes_away_ends_it_once),
		ASKING(closing_meanwhile_ends_it_once),
		ASKING(any_allocation_may_fail),
	};

	cJSON_InitHooks(&hooks);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
