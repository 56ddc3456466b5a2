/* Where a disk's file is named in a reservation's arguments, the standby's QEMU gets the target of its configuration. */
#include "tests/unit/cmdline_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TARGET                                                                         \
	"{\"driver\":\"nbd\",\"export\":\"a,b\",\"reconnect-delay\":10,\"tls\":false," \
	"\"server\":{\"type\":\"inet\",\"host\":\"store\",\"port\":\"10809\"},\"list\":[1]}"
#define BELOW(prefix)                                                                   \
	prefix "driver=nbd," prefix "export=a,,b," prefix "reconnect-delay=10," prefix  \
	       "tls=off," prefix "server.type=inet," prefix "server.host=store," prefix \
	       "server.port=10809," prefix "list.0=1,"

static struct cmdline_spec spec;
static struct cmdline out;
static struct err err;

static int tear_down(void **state)
{
	(void)state;
	cmdline_free(&out);
	cmdline_spec_free(&spec);
	spec = (struct cmdline_spec){ 0 };
	return 0;
}

/* The standby's whole list, from a reservation's with disks "log", a file, and "system", a target. */
static int standby_of(const char *text)
{
	struct cmdline args;
	int rc;

	(void)tear_down(NULL);
	arguments_lines(&args, text);
	spec.args = args;
	assert_int_equal(cmdline_add_disk(&spec, "log", NULL, MIB, &err), RC_OK);
	assert_int_equal(cmdline_add_disk(&spec, "system", NULL, MIB, &err), RC_OK);
	assert_int_equal(cmdline_set_target(&spec.disks[1], TARGET, &err), RC_OK);
	rc = cmdline_standby(&out, &spec, "qemu", "tcg", NULL, "/r/replica.qmp", &err);
	return rc;
}

static void becomes(const char *from, const char *to)
{
	char whole[4096];

	if (standby_of(from) != RC_OK)
		fail_msg("%s: %s", from, err.text);
	(void)snprintf(whole, sizeof(whole),
		       "qemu\n%s\n-accel\ntcg\n-qmp\nunix:/r/replica.qmp,server=on,wait=off\n"
		       "-monitor\nnone\n-incoming\ndefer",
		       to);
	assert_string_equal(arguments_joined(&out), whole);
}

static void a_drive_keeps_what_its_device_sees(void **state)
{
	(void)state;
	becomes("-drive\nformat=raw,file=system.disk,file.drop-cache=off,if=none,id=d0,cache=writethrough\n"
		"-drive\nformat=raw,file=log.disk,file.drop-cache=off,if=none,id=d1",
		"-drive\nformat=raw,if=none,id=d0,cache=writethrough,file.driver=raw," BELOW(
			"file.file.") "file.file.node-name=us-disk-1\n"
				      "-drive\nformat=raw,file=log.disk,file.drop-cache=off,if=none,id=d1");
}

static void a_blockdev_of_the_derived_kind(void **state)
{
	(void)state;
	becomes("-blockdev\ndriver=raw,file.filename=system.disk,file.driver=file,file.drop-cache=off,node-name=d0",
		"-blockdev\ndriver=raw,node-name=d0,file.driver=raw," BELOW(
			"file.file.") "file.file.node-name=us-disk-1");
}

static void a_node_that_others_name_keeps_its_name(void **state)
{
	(void)state;
	becomes("-blockdev\ndriver=file,filename=system.disk,node-name=f0,cache.direct=on\n"
		"-blockdev\ndriver=raw,file=f0,node-name=d0",
		"-blockdev\nnode-name=f0,cache.direct=on,driver=raw," BELOW(
			"file.") "file.node-name=us-disk-1\n"
				 "-blockdev\ndriver=raw,file=f0,node-name=d0");
}

static void json_is_taken_as_well(void **state)
{
	(void)state;
	becomes("-blockdev\n{\"driver\":\"raw\",\"node-name\":\"d0\",\"file\":"
		"{\"driver\":\"file\",\"filename\":\"system.disk\",\"locking\":\"off\"}}",
		"-blockdev\n{\"driver\":\"raw\",\"node-name\":\"d0\",\"file\":{\"driver\":\"raw\",\"file\":"
		"{\"driver\":\"nbd\",\"export\":\"a,b\",\"reconnect-delay\":10,\"tls\":false,\"server\":"
		"{\"type\":\"inet\",\"host\":\"store\",\"port\":\"10809\"},\"list\":[1],"
		"\"node-name\":\"us-disk-1\"}}}");
}

static void a_target_without_a_place_is_refused(void **state)
{
	(void)state;
	assert_int_equal(standby_of("-drive\nformat=raw,file=log.disk,id=d1\n-hda\nsystem.disk"),
			 RC_UNSUPPORTED);
	assert_non_null(strstr(err.text, "disk system: its target has no place"));
	assert_non_null(strstr(err.text, "system.disk"));
}

/* What the standby's operator may name, a primary may not. */
static void the_arguments_are_checked_before(void **state)
{
	(void)state;
	assert_int_not_equal(
		standby_of("-drive\nformat=raw,file=system.disk,id=d0\n-qmp\nunix:x,server=on"),
		RC_OK);
	assert_int_not_equal(standby_of("-chardev\nsocket,id=c,path=disks.nbd\n"
					"-drive\nformat=raw,file=system.disk,id=d0"),
			     RC_OK);
	assert_non_null(strstr(err.text, "of the standby's own"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_teardown(name, tear_down)
		TEST(a_drive_keeps_what_its_device_sees),
		TEST(a_blockdev_of_the_derived_kind),
		TEST(a_node_that_others_name_keeps_its_name),
		TEST(json_is_taken_as_well),
		TEST(a_target_without_a_place_is_refused),
		TEST(the_arguments_are_checked_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
