#include "appliance/base/mem.h"
#include "tests/unit/config_fixture.h"
#include "tests/unit/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- what is read ---- */

static void what_is_left_out_gets_its_default(void **state)
{
	const struct config_instance *instance;

	(void)state;
	takes(CONFIG_PRIMARY, PRIMARY);
	instance = config.instances;
	assert_int_equal(config.role, CONFIG_PRIMARY);
	assert_null(config.http);
	assert_int_equal(config.heartbeat_ms, 50);
	assert_int_equal(config.detect_ms, 300);
	assert_false(config.log_json);
	assert_false(config.log_debug);
	assert_int_equal(config.ninstances, 1);
	assert_int_equal(instance->target_ms, 100);
	assert_int_equal(instance->min_ms, 20);
	assert_int_equal(instance->max_ms, 2000);
	assert_int_equal(instance->pause_limit_ms, 2000);
	assert_int_equal(instance->staging_mib, 64);
	assert_int_equal(instance->inflight_mib, 64);
	assert_int_equal(instance->cache_mib, 64);
	assert_int_equal(instance->resync_after_ms, 10000);
	assert_int_equal(instance->first_copy_mib_s, 0);
	assert_null(instance->arguments);
	config_free(&config);

	takes(CONFIG_STANDBY, STANDBY);
	assert_string_equal(config.memory_dir, "/dev/shm");
	assert_string_equal(config.accel, "auto");
	assert_true(config.confine);
	assert_null(config.firmware);
	assert_int_equal(config.instances[0].standby_staging_mib, 64);
	assert_int_equal(config.instances[0].takeover, CONFIG_TAKEOVER_MANUAL);
	config_free(&config);
}

static void every_key_lands_in_its_member(void **state)
{
	const struct config_instance *instance;

	(void)state;
	takes(CONFIG_PRIMARY,
	      "{\"site\": \"s\", \"http\": {\"listen\": \"unix:/run/u.sock\"}, " TLS ","
	      "\"link\": {\"connect\": \"b.example:1\", \"heartbeat_ms\": 5, \"detect_ms\": 15},"
	      "\"log\": {\"json\": true, \"debug\": true}, \"instances\": [{\"name\": \"a\", \"qmp\": \"/q\","
	      "\"checkpoint\": {\"target_ms\": 2, \"min_ms\": 1, \"max_ms\": 3, \"pause_limit_ms\": 11,"
	      "\"first_copy_mib_s\": 12}, \"budget\": {\"staging_mib\": 13, \"inflight_mib\": 14, \"cache_mib\": 15},"
	      "\"resync_after_ms\": 16, \"standby_arguments\": [\"-m\", \"256\", \"\"]}]}");
	instance = config.instances;
	assert_string_equal(config.site, "s");
	assert_string_equal(config.http, "unix:/run/u.sock");
	assert_string_equal(config.connect, "b.example:1");
	assert_null(config.listen);
	assert_int_equal(config.heartbeat_ms, 5);
	assert_int_equal(config.detect_ms, 15);
	assert_true(config.log_json);
	assert_true(config.log_debug);
	assert_string_equal(instance->name, "a");
	assert_string_equal(instance->qmp, "/q");
	assert_int_equal(instance->target_ms, 2);
	assert_int_equal(instance->min_ms, 1);
	assert_int_equal(instance->max_ms, 3);
	assert_int_equal(instance->pause_limit_ms, 11);
	assert_int_equal(instance->first_copy_mib_s, 12);
	assert_int_equal(instance->staging_mib, 13);
	assert_int_equal(instance->inflight_mib, 14);
	assert_int_equal(instance->cache_mib, 15);
	assert_int_equal(instance->resync_after_ms, 16);
	assert_string_equal(instance->arguments[0], "-m");
	assert_string_equal(instance->arguments[1], "256");
	assert_string_equal(instance->arguments[2], "");
	assert_null(instance->arguments[3]);
	config_free(&config);

	takes(CONFIG_STANDBY,
	      "{\"site\": \"s\", " TLS
	      ", \"link\": {\"listen\": \"0.0.0.0:65535\"}, \"state_dir\": \"/st\","
	      "\"memory_dir\": \"/huge\", \"hypervisor\": {\"program\": \"q\", \"firmware\": \"/fw\", \"accel\": \"kvm\"},"
	      "\"instances\": [{\"name\": \"a\"}, {\"name\": \"b\", \"takeover\": \"automatic\","
	      "\"budget\": {\"staging_mib\": 17}, \"vrrp\": [{\"device\": \"br0\", \"group\": 51, \"priority\": 254,"
	      "\"interval_ms\": 40950, \"preempt\": false, \"addresses\": [\"192.0.2.7/24\", \"2001:db8::7/64\"], "
	      "\"routes\": [\"default via 192.0.2.1\"]}]}]}");
	assert_string_equal(config.listen, "0.0.0.0:65535");
	assert_string_equal(config.state_dir, "/st");
	assert_string_equal(config.memory_dir, "/huge");
	assert_string_equal(config.hypervisor, "/etc/understudy/q");
	assert_string_equal(config.firmware, "/fw");
	assert_string_equal(config.accel, "kvm");
	assert_int_equal(config.ninstances, 2);
	assert_string_equal(config.instances[1].name, "b");
	assert_int_equal(config.instances[1].takeover, CONFIG_TAKEOVER_AUTOMATIC);
	assert_int_equal(config.instances[1].standby_staging_mib, 17);
	assert_int_equal(config.instances[1].staging_mib, 0);
	assert_int_equal(config.instances[1].nvrrp, 1);
	assert_string_equal(config.instances[1].vrrp[0].device, "br0");
	assert_int_equal(config.instances[1].vrrp[0].group, 51);
	assert_int_equal(config.instances[1].vrrp[0].priority, 254);
	assert_int_equal(config.instances[1].vrrp[0].interval_ms, 40950);
	assert_false(config.instances[1].vrrp[0].preempt);
	assert_string_equal(config.instances[1].vrrp[0].addresses[1], "2001:db8::7/64");
	assert_null(config.instances[1].vrrp[0].addresses[2]);
	assert_string_equal(config.instances[1].vrrp[0].routes[0], "default via 192.0.2.1");
	config_free(&config);
}

static void relative_paths_are_relative_to_the_file(void **state)
{
	(void)state;
	takes(CONFIG_PRIMARY, PRIMARY);
	assert_string_equal(config.tls_ca, "/etc/understudy/ca.crt");
	assert_string_equal(config.tls_cert, "/etc/u/p.crt");
	assert_string_equal(config.tls_key, "/etc/understudy/keys/p.key");
	assert_string_equal(config.instances[0].qmp, "/etc/understudy/run/vm1.qmp");
	config_free(&config);
	assert_int_equal(config_parse(&config, CONFIG_PRIMARY, "f", ".", PRIMARY, strlen(PRIMARY),
				      &err),
			 RC_OK);
	assert_string_equal(config.tls_ca, "ca.crt");
	config_free(&config);
	assert_int_equal(config_parse(&config, CONFIG_PRIMARY, "f", "/", PRIMARY, strlen(PRIMARY),
				      &err),
			 RC_OK);
	assert_string_equal(config.tls_ca, "/ca.crt");
	config_free(&config);
}

/* ---- what is refused ---- */

static void an_unknown_key_is_refused_with_the_near_miss(void **state)
{
	(void)state;
	refuses(CONFIG_PRIMARY, PRIMARY_WITH(", \"hearbeat_ms\": 50", PRIMARY_INSTANCE("")),
		"f.json: link.hearbeat_ms: unknown key; did you mean \"heartbeat_ms\"?");
	refuses(CONFIG_PRIMARY, PRIMARY_WITH("", PRIMARY_INSTANCE(", \"chekpoint\": {}")),
		"f.json: instances[0].chekpoint: unknown key; did you mean \"checkpoint\"?");
	refuses(CONFIG_PRIMARY, "{\"zzzzzz\": 1}", "f.json: zzzzzz: unknown key");
	refuses(CONFIG_PRIMARY, "{\"\": 1}", "f.json: \"\": unknown key");
}

static void a_key_in_the_wrong_object_is_told_where_it_belongs(void **state)
{
	(void)state;
	refuses(CONFIG_PRIMARY, "{\"heartbeat_ms\": 50}",
		"f.json: heartbeat_ms: unknown key; did you mean link.heartbeat_ms?");
	refuses(CONFIG_PRIMARY, PRIMARY_WITH("", PRIMARY_INSTANCE(", \"target_ms\": 50")),
		"f.json: instances[0].target_ms: unknown key; did you mean instances[].checkpoint.target_ms?");
}

static void a_key_of_the_other_role_is_told_apart_from_an_unknown_one(void **state)
{
	(void)state;
	refuses(CONFIG_STANDBY, STANDBY_WITH("", ", \"qmp\": \"/q\""),
		"f.json: instances[0].qmp: belongs in a primary's configuration; this is read as a standby's");
	refuses(CONFIG_PRIMARY, PRIMARY_WITH(", \"listen\": \"0.0.0.0:1\"", PRIMARY_INSTANCE("")),
		"f.json: link.listen: belongs in a standby's configuration; this is read as a primary's");
	refuses(CONFIG_STANDBY, STANDBY_WITH("", ", \"budget\": {\"cache_mib\": 1}"),
		"f.json: instances[0].budget.cache_mib: belongs in a primary's configuration; this is read as a "
		"standby's");
}

static void what_is_needed_and_missing_is_named(void **state)
{
	(void)state;
	refuses(CONFIG_STANDBY, "{}",
		"f.json: site: missing: this site's name, for logs and status");
	refuses(CONFIG_STANDBY, "{\"site\": \"s\"}",
		"f.json: tls.ca: missing: certificate of the authority that both sites trust (PEM)");
	refuses(CONFIG_STANDBY, "{\"site\": \"s\", " TLS "}",
		"f.json: link.listen: missing: address to listen on for primaries (\"0.0.0.0:7400\")");
	refuses(CONFIG_PRIMARY, PRIMARY_WITH("", "{\"name\": \"a\"}"),
		"f.json: instances[0].qmp: missing: QMP socket of the protected QEMU");
	refuses(CONFIG_PRIMARY, PRIMARY_WITH("", ""),
		"f.json: instances: 0 items, from 1 to 64 are taken");
}

static void a_wrong_type_is_refused(void **state)
{
	(void)state;
	refuses(CONFIG_PRIMARY, "[]", "f.json: expected an object, found an array");
	refuses(CONFIG_PRIMARY, "{\"site\": 5}", "f.json: site: expected a string, found a number");
	refuses(CONFIG_PRIMARY, "{\"site\": null}", "f.json: site: expected a string, found null");
	refuses(CONFIG_PRIMARY, "{\"link\": \"x\"}",
		"f.json: link: expected an object, found a string");
	refuses(CONFIG_PRIMARY, "{\"link\": {\"heartbeat_ms\": \"50\"}}",
		"f.json: link.heartbeat_ms: expected a number, found a string");
	refuses(CONFIG_PRIMARY, "{\"log\": {\"json\": 1}}",
		"f.json: log.json: expected true or false, found a number");
	refuses(CONFIG_PRIMARY, "{\"instances\": {}}",
		"f.json: instances: expected an array of objects, found an object");
	refuses(CONFIG_PRIMARY, "{\"instances\": [true]}",
		"f.json: instances[0]: expected an object, found true or false");
	refuses(CONFIG_PRIMARY,
		PRIMARY_WITH("", PRIMARY_INSTANCE(", \"standby_arguments\": \"-m\"")),
		"f.json: instances[0].standby_arguments: expected an array of strings, found a string");
	refuses(CONFIG_PRIMARY,
		PRIMARY_WITH("", PRIMARY_INSTANCE(", \"standby_arguments\": [\"-m\", 5]")),
		"f.json: instances[0].standby_arguments[1]: expected a string, found a number");
}

static void a_number_has_to_be_whole_and_within_its_bounds(void **state)
{
	static const struct {
		const char *number, *reason;
	} cases[] = {
		{ "4", "4 is below the minimum, 5 ms" },
		{ "-50", "-50 is below the minimum, 5 ms" },
		{ "10001", "10001 is above the maximum, 10000 ms" },
		{ "50.5", "50.5 is not a whole number" },
		{ "1e400", "a number beyond all that can be kept" },
		{ "-1e400", "a number beyond all that can be kept" },
		{ "4294967346", "4294967346 is above the maximum, 10000 ms" },
		{ "18446744073709551666", "1.84467440737096e+19 is above the maximum, 10000 ms" },
	};
	char text[128], message[128];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		(void)snprintf(text, sizeof(text), "{\"link\": {\"heartbeat_ms\": %s}}",
			       cases[i].number);
		(void)snprintf(message, sizeof(message), "f.json: link.heartbeat_ms: %s",
			       cases[i].reason);
		refuses(CONFIG_PRIMARY, text, message);
	}
	takes(CONFIG_PRIMARY, PRIMARY_WITH(", \"heartbeat_ms\": 1e2", PRIMARY_INSTANCE("")));
	assert_int_equal(config.heartbeat_ms, 100);
	config_free(&config);
}

static void a_choice_is_refused_with_what_there_is_to_choose(void **state)
{
	(void)state;
	refuses(CONFIG_STANDBY, STANDBY_WITH("", ", \"takeover\": \"atomatic\""),
		"f.json: instances[0].takeover: \"atomatic\" is none of \"manual\", \"automatic\"; did you mean "
		"\"automatic\"?");
	refuses(CONFIG_STANDBY, "{\"hypervisor\": {\"accel\": \"hyperdrive\"}}",
		"f.json: hypervisor.accel: \"hyperdrive\" is none of \"auto\", \"kvm\", \"tcg\"");
}

static void names_that_could_do_harm_in_paths_and_logs_are_refused(void **state)
{
	static const char *const names[] = { "..", ".hidden", "-o", "a/b", "a b", "a\xc3\xa9" };
	char text[64];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(text, sizeof(text), "{\"site\": \"%s\"}", names[i]);
		assert_int_equal(parse(CONFIG_PRIMARY, text), RC_INVALID);
		assert_non_null(strstr(err.text, "a name has letters, digits and . _ -"));
		config_free(&config);
	}
	refuses(CONFIG_PRIMARY, "{\"site\": \"\"}", "f.json: site: is empty");
	refuses(CONFIG_PRIMARY,
		"{\"site\": \"0123456789012345678901234567890123456789012345678901234567890123X\"}",
		"f.json: site: 65 bytes long, at most 64 are taken");
	refuses(CONFIG_PRIMARY, "{\"tls\": {\"ca\": \"a\\nb\"}}",
		"f.json: tls.ca: contains a control character, or one that turns the direction of text");
}

static void a_socket_path_that_no_socket_can_have_is_refused(void **state)
{
	char text[512], path[128];

	(void)state;
	memset(path, 'p', sizeof(path));
	path[107 - strlen("/etc/understudy/")] = '\0'; /* fits when complete, to the byte */
	(void)snprintf(text, sizeof(text), PRIMARY_WITH("", "{\"name\": \"a\", \"qmp\": \"%s\"}"),
		       path);
	takes(CONFIG_PRIMARY, text);
	assert_int_equal(strlen(config.instances[0].qmp), 107);
	config_free(&config);
	(void)snprintf(text, sizeof(text), PRIMARY_WITH("", "{\"name\": \"a\", \"qmp\": \"p%s\"}"),
		       path);
	refuses(CONFIG_PRIMARY, text,
		"f.json: instances[0].qmp: 108 bytes long with the file's directory, at most 107 are taken");
}

static void a_key_that_stands_there_twice_is_refused(void **state)
{
	(void)state;
	refuses(CONFIG_PRIMARY, "{\"site\": \"a\", \"site\": \"a\"}",
		"f.json: site: stands there twice");
	refuses(CONFIG_PRIMARY, PRIMARY_WITH(", \"connect\": \"a:1\"", PRIMARY_INSTANCE("")),
		"f.json: link.connect: stands there twice");
}

static void a_syntax_error_names_file_line_and_column(void **state)
{
	(void)state;
	refuses(CONFIG_PRIMARY, "{\n  \"site\": \"a\",\n}",
		"f.json: line 3, column 1: no comma may stand before a closing bracket");
}

static void keys_that_contradict_each_other_are_refused(void **state)
{
	(void)state;
	refuses(CONFIG_PRIMARY,
		PRIMARY_WITH("", PRIMARY_INSTANCE(", \"checkpoint\": {\"target_ms\": 5}")),
		"f.json: instances[0].checkpoint.target_ms: 5 is below min_ms (20)");
	refuses(CONFIG_PRIMARY,
		PRIMARY_WITH("", PRIMARY_INSTANCE(", \"checkpoint\": {\"target_ms\": 2001}")),
		"f.json: instances[0].checkpoint.target_ms: 2001 is above max_ms (2000)");
	refuses(CONFIG_PRIMARY,
		PRIMARY_WITH(
			"", PRIMARY_INSTANCE(", \"checkpoint\": {\"min_ms\": 30, \"max_ms\": 10}")),
		"f.json: instances[0].checkpoint.min_ms: 30 is above max_ms (10)");
	refuses(CONFIG_STANDBY, STANDBY_WITH(", \"detect_ms\": 149", ""),
		"f.json: link.detect_ms: 149 is below 150, 3 x heartbeat_ms (50): a heartbeat lost or late would pass for "
		"a failed site");
	takes(CONFIG_STANDBY, STANDBY_WITH(", \"detect_ms\": 150", ""));
	config_free(&config);
}

static void an_instance_is_protected_once(void **state)
{
	(void)state;
	refuses(CONFIG_PRIMARY,
		PRIMARY_WITH("", PRIMARY_INSTANCE("") ", {\"name\": \"vm2\", \"qmp\": \"/b\"}, "
						      "{\"name\": \"vm1\", \"qmp\": \"/c\"}"),
		"f.json: instances[2].name: vm1: also the name of instances[0].name");
	refuses(CONFIG_PRIMARY,
		PRIMARY_WITH(
			"",
			PRIMARY_INSTANCE(
				"") ", {\"name\": \"vm2\", \"qmp\": \"/etc/understudy/run/vm1.qmp\"}"),
		"f.json: instances[1].qmp: /etc/understudy/run/vm1.qmp: the same socket as instances[0].qmp");
}

static void there_is_a_limit_to_instances_and_to_the_file(void **state)
{
	struct buf text = { .limit = 2 * CONFIG_FILE_MAX };

	(void)state;
	(void)buf_printf(&text, "{\"instances\": [{}");
	for (int i = 0; i < CONFIG_INSTANCES_MAX; i++)
		(void)buf_printf(&text, ",{}");
	(void)buf_printf(&text, "]}%c", 0);
	assert_int_equal(parse(CONFIG_PRIMARY, (const char *)text.data), RC_LIMIT);
	assert_string_equal(err.text, "f.json: instances: 65 items, from 1 to 64 are taken");
	config_free(&config);

	buf_reset(&text);
	assert_non_null(buf_extend(&text, CONFIG_FILE_MAX + 1));
	memset(text.data, ' ', text.len);
	assert_int_equal(config_parse(&config, CONFIG_PRIMARY, "f", ".", (const char *)text.data,
				      text.len, &err),
			 RC_LIMIT);
	config_free(&config);
	buf_free(&text);
}

static void messages_repeat_nothing_unbounded_or_unprintable(void **state)
{
	char text[8192], name[4096];

	(void)state;
	memset(name, 'k', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	(void)snprintf(text, sizeof(text), "{\"%s\": 1}", name);
	assert_int_equal(parse(CONFIG_PRIMARY, text), RC_INVALID);
	assert_string_equal(err.text,
			    "f.json: kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk...: unknown key");
	config_free(&config);
	refuses(CONFIG_PRIMARY, "{\"a\\nb\\u001b[31m\": 1}", "f.json: a?b?[31m: unknown key");
	refuses(CONFIG_PRIMARY, "{\"a\\u009b31m\xc2\x9b\\u202eb\": 1}",
		"f.json: a?31m??b: unknown key");
	refuses(CONFIG_PRIMARY, "{\"link\": {\"connect\": \"h\xc2\x9b:1\"}}",
		"f.json: link.connect: contains a control character, or one that turns the direction of text");
	assert_int_equal(config_parse(&config, CONFIG_PRIMARY, name, ".", "{", 1, &err),
			 RC_INVALID);
	assert_non_null(strstr(err.text, "kkk: line 1, column 2: the text ends where"));
	config_free(&config);
}

/* ---- checking all of it ---- */

static void check_reports_every_problem(void **state)
{
	static const char text[] = "{\"site\": \"\", \"lonk\": {}, \"http\": 5, " TLS
				   ", \"instances\": [{\"name\": \"a\"}]}";
	struct buf problems = { 0 };

	(void)state;
	assert_int_equal(config_check(&config, CONFIG_PRIMARY, "f", ".", text, strlen(text),
				      &problems, &err),
			 RC_INVALID);
	config_free(&config);
	assert_true(buf_append_u8(&problems, 0));
	assert_string_equal(
		(const char *)problems.data,
		"f: site: is empty\n"
		"f: lonk: unknown key; did you mean \"link\"?\n"
		"f: http: expected an object, found a number\n"
		"f: instances[0].qmp: missing: QMP socket of the protected QEMU\n"
		"f: link.connect: missing: address of the standby (\"198.51.100.7:7400\")\n");
	assert_string_equal(err.text, "f: site: is empty");
	buf_free(&problems);
}

static void check_gives_up_after_a_screenful(void **state)
{
	struct buf text = { 0 }, problems = { 0 };
	size_t lines = 0;

	(void)state;
	(void)buf_printf(&text, "{\"k0\": 0");
	for (int i = 1; i < 1000; i++)
		(void)buf_printf(&text, ", \"k%d\": 0", i);
	(void)buf_printf(&text, "}");
	assert_int_equal(config_check(&config, CONFIG_PRIMARY, "f", ".", (const char *)text.data,
				      text.len, &problems, &err),
			 RC_INVALID);
	config_free(&config);
	for (size_t i = 0; i < problems.len; i++)
		lines += problems.data[i] == '\n';
	assert_int_equal(lines, 21);
	assert_true(buf_append_u8(&problems, 0));
	assert_non_null(strstr((const char *)problems.data,
			       "f: k19: unknown key\nf: and more than these 20 problems\n"));
	buf_free(&text);
	buf_free(&problems);
}

static void the_role_is_told_from_the_link(void **state)
{
	enum config_role role;

	(void)state;
	assert_int_equal(config_infer_role(&role, "f", PRIMARY, strlen(PRIMARY), &err), RC_OK);
	assert_int_equal(role, CONFIG_PRIMARY);
	assert_int_equal(config_infer_role(&role, "f", STANDBY, strlen(STANDBY), &err), RC_OK);
	assert_int_equal(role, CONFIG_STANDBY);
	assert_int_equal(config_infer_role(&role, "f", "{}", 2, &err), RC_STATE);
	assert_int_equal(config_infer_role(&role, "f", "[]", 2, &err), RC_INVALID);
	assert_non_null(strstr(err.text, "f: expected an object"));
	assert_int_equal(config_infer_role(&role, "f", "null", 4, &err), RC_INVALID);
	assert_int_equal(config_infer_role(&role, "f", "{", 1, &err), RC_INVALID);
	assert_true(config_role_named("standby", &role));
	assert_int_equal(role, CONFIG_STANDBY);
	assert_false(config_role_named("secondary", &role));
}

/* ---- files ---- */

static void a_file_is_read_and_its_faults_are_named(void **state)
{
	char dir[SCRATCH_MAX], path[SCRATCH_MAX + 16], expected[256];
	FILE *file;

	(void)state;
	assert_int_equal(scratch_make(dir, "config"), 0);
	(void)snprintf(path, sizeof(path), "%s/c.json", dir);
	assert_int_equal(config_load(&config, path, &err), RC_IO);
	config_free(&config);
	(void)snprintf(expected, sizeof(expected), "%s: No such file or directory", path);
	assert_string_equal(err.text, expected);
	assert_int_equal(config_load(&config, dir, &err), RC_REFUSED);
	config_free(&config);
	assert_non_null(strstr(err.text, "is no regular file"));
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(config_load(&config, path, &err), RC_REFUSED); /* and does not wait */
	config_free(&config);
	(void)snprintf(expected, sizeof(expected),
		       "%s: is no regular file (a pipe is read as --config -)", path);
	assert_string_equal(err.text, expected);
	assert_int_equal(unlink(path), 0);

	file = fopen(path, "w");
	assert_non_null(file);
	(void)fputs(PRIMARY, file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(config_load(&config, path, &err), RC_OK);
	(void)snprintf(expected, sizeof(expected), "%s/ca.crt", dir);
	assert_string_equal(config.tls_ca, expected);
	config_free(&config);

	assert_int_equal(truncate(path, (off_t)CONFIG_FILE_MAX + 1), 0);
	assert_int_equal(config_load(&config, path, &err), RC_LIMIT);
	config_free(&config);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

/* ---- no memory ---- */

static void every_failed_allocation_is_survived(void **state)
{
	static const char text[] =
		PRIMARY_WITH("", PRIMARY_INSTANCE(", \"standby_arguments\": [\"-m\", \"1\"]"));
	struct buf problems = { 0 };
	unsigned long n;
	int rc;

	(void)state;
	for (int collect = 0; collect < 2; collect++) {
		for (n = 1;; n++) {
			fault_arm(FAULT_ALLOC, n);
			rc = collect ? config_check(&config, CONFIG_PRIMARY, "f", "/d", text,
						    strlen(text), &problems, &err) :
				       parse(CONFIG_PRIMARY, text);
			config_free(&config);
			if (!fault_fired(FAULT_ALLOC))
				break;
			assert_int_equal(rc, RC_NOMEM);
			buf_free(&problems);
		}
		fault_arm(FAULT_ALLOC, 0);
		assert_int_equal(rc, RC_OK);
		assert_true(n > 40);
	}
	buf_free(&problems);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_left_out_gets_its_default),
		cmocka_unit_test(every_key_lands_in_its_member),
		cmocka_unit_test(relative_paths_are_relative_to_the_file),
		cmocka_unit_test(an_unknown_key_is_refused_with_the_near_miss),
		cmocka_unit_test(a_key_in_the_wrong_object_is_told_where_it_belongs),
		cmocka_unit_test(a_key_of_the_other_role_is_told_apart_from_an_unknown_one),
		cmocka_unit_test(what_is_needed_and_missing_is_named),
		cmocka_unit_test(a_wrong_type_is_refused),
		cmocka_unit_test(a_number_has_to_be_whole_and_within_its_bounds),
		cmocka_unit_test(a_choice_is_refused_with_what_there_is_to_choose),
		cmocka_unit_test(names_that_could_do_harm_in_paths_and_logs_are_refused),
		cmocka_unit_test(a_socket_path_that_no_socket_can_have_is_refused),
		cmocka_unit_test(a_key_that_stands_there_twice_is_refused),
		cmocka_unit_test(a_syntax_error_names_file_line_and_column),
		cmocka_unit_test(keys_that_contradict_each_other_are_refused),
		cmocka_unit_test(an_instance_is_protected_once),
		cmocka_unit_test(there_is_a_limit_to_instances_and_to_the_file),
		cmocka_unit_test(messages_repeat_nothing_unbounded_or_unprintable),
		cmocka_unit_test(check_reports_every_problem),
		cmocka_unit_test(check_gives_up_after_a_screenful),
		cmocka_unit_test(the_role_is_told_from_the_link),
		cmocka_unit_test(a_file_is_read_and_its_faults_are_named),
		cmocka_unit_test(every_failed_allocation_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
