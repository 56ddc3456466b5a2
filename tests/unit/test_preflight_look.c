/* What `understudy check` tries out: hypervisor.program, the journal, who listens at the QMP socket. */
#include "appliance/base/mem.h"
#include "tests/unit/preflight_fixture.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[SCRATCH_MAX];
static char path[108]; /* of a socket, too */
static struct err err;

static void expect_program(const char *script, const char *expected)
{
	char text[512];
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	(void)fprintf(file, "#!/bin/sh\n%s\n", script);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0700), 0);
	(void)snprintf(
		text, sizeof(text),
		"{\"site\": \"b\", \"tls\": {\"ca\": \"c\", \"cert\": \"c\", \"key\": \"c\"}, "
		"\"link\": {\"listen\": \"0.0.0.0:1\"}, \"state_dir\": \"s\", "
		"\"hypervisor\": {\"program\": \"%s\"}, \"instances\": [{\"name\": \"v\"}]}",
		path);
	preflight_fixture_read(CONFIG_STANDBY, text);
	assert_int_equal(preflight_look(&preflight, &err), expected != NULL ? RC_INVALID : RC_OK);
	preflight_fixture_expect(&preflight.errors, expected);
}

static void the_program_has_to_be_a_qemu_that_will_do(void **state)
{
	(void)state;
	expect_program("echo 'QEMU emulator version 7.2.22 (Debian 1:7.2)'; echo Copyright", NULL);
	expect_program("[ \"$1\" = --version ] && echo 'QEMU emulator version 10.0.13'", NULL);
	expect_program("echo 'QEMU emulator version 7.1.0'", "is an older QEMU than 7.2; name a");
	expect_program("echo 'QEMU emulator version 6.9'", "is an older QEMU than 7.2; name a");
	expect_program("", "does not answer as a QEMU does; name a qemu-system-x86_64");
	expect_program("yes", "does not answer as a QEMU does");
	expect_program("echo Hello; exec 1>&-; sleep 1000", "does not answer as a QEMU does");
}

static void one_that_hangs_is_given_some_seconds(void **state)
{
	(void)state;
	expect_program("sleep 1000; echo", "`--version` is not answered within 5 s");
}

/* Of a standby whose program will do, with this journal.dir. */
static void expect_journal(const char *journal, bool usable, const char *expected)
{
	char text[512];

	(void)snprintf(
		text, sizeof(text),
		"{\"site\": \"b\", \"tls\": {\"ca\": \"c\", \"cert\": \"c\", \"key\": \"c\"}, "
		"\"link\": {\"listen\": \"0.0.0.0:1\"}, \"state_dir\": \"s\", "
		"\"hypervisor\": {\"program\": \"/nowhere\"}, \"instances\": "
		"[{\"name\": \"v\"}, {\"name\": \"w\", \"journal\": {\"dir\": \"%s\"}}]}",
		journal);
	preflight_fixture_read(CONFIG_STANDBY, text);
	assert_int_equal(preflight_look(&preflight, &err), usable ? RC_OK : RC_INVALID);
	preflight_fixture_expect(usable ? &preflight.warnings : &preflight.errors, expected);
}

static void a_journals_directory_has_to_be_one_that_lasts(void **state)
{
	char at[SCRATCH_MAX + 16];
	FILE *file = fopen(path, "w");
	struct stat st;

	(void)state;
	assert_non_null(file);
	assert_int_equal(fclose(file), 0);
	expect_journal(path, false, "instances[1].journal.dir: ");
	expect_journal(path, false, "is no directory; name a directory of ours on a disk");
	(void)snprintf(at, sizeof(at), "%s/no/journal", dir);
	expect_journal(at, false, "cannot be made: No such file or directory");
	expect_journal("/proc", false, "making a file there");
	(void)snprintf(at, sizeof(at), "%s/journal", dir);
	assert_int_equal(mkdir(at, 0700), 0);
	fault_arm(FAULT_WRITE, 1);
	expect_journal(at, true, "No space left on device; make room");
	assert_int_equal(rmdir(at), 0);
	if (access("/dev/shm", W_OK) == 0)
		expect_journal("/dev/shm/test-preflight-look", true, "is on a tmpfs");
	assert_int_not_equal(stat("/dev/shm/test-preflight-look", &st), 0);
}

static void two_copies_on_one_file_system_are_told(void **state)
{
	char text[1024];

	(void)state;
	(void)snprintf(
		text, sizeof(text),
		"{\"site\": \"b\", \"tls\": {\"ca\": \"c\", \"cert\": \"c\", \"key\": \"c\"}, "
		"\"link\": {\"listen\": \"0.0.0.0:1\"}, \"state_dir\": \"s\", "
		"\"hypervisor\": {\"program\": \"/nowhere\"}, \"instances\": "
		"[{\"name\": \"v\", \"journal\": {\"copies\": [\"%s/one\", \"%s/two\"]}}]}",
		dir, dir);
	preflight_fixture_read(CONFIG_STANDBY, text);
	(void)preflight_look(&preflight, &err);
	preflight_fixture_expect(&preflight.warnings, "two is on the same file system as");
}

static void a_disks_image_is_a_file_or_can_be_made(void **state)
{
	static const struct {
		const char *image, *expected;
	} cases[] = {
		{ "new.raw", NULL },
		{ ".", "is no file; a disk image is one" },
		{ "away/new.raw", "No such file or directory; name a directory of ours" },
	};
	char text[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		(void)snprintf(
			text, sizeof(text),
			"{\"site\": \"b\", \"tls\": {\"ca\": \"c\", \"cert\": \"c\", \"key\": \"c\"}, "
			"\"link\": {\"listen\": \"0.0.0.0:1\"}, \"state_dir\": \"s\", "
			"\"hypervisor\": {\"program\": \"/nonexistent\"}, \"instances\": [{\"name\": \"v\", "
			"\"disks\": [{\"name\": \"d\", \"path\": \"%s/%s\"}]}]}",
			dir, cases[i].image);
		preflight_fixture_read(CONFIG_STANDBY, text);
		assert_int_equal(preflight_look(&preflight, &err),
				 cases[i].expected == NULL ? RC_OK : RC_INVALID);
		preflight_fixture_expect(&preflight.errors, cases[i].expected);
	}
}

static void expect_disks(const char *one, const char *other, const char *expected)
{
	char text[1024];

	(void)snprintf(
		text, sizeof(text),
		"{\"site\": \"b\", \"tls\": {\"ca\": \"c\", \"cert\": \"c\", \"key\": \"c\"}, "
		"\"link\": {\"listen\": \"0.0.0.0:1\"}, \"state_dir\": \"s\", "
		"\"hypervisor\": {\"program\": \"/nonexistent\"}, \"instances\": ["
		"{\"name\": \"v\", \"disks\": [{\"name\": \"d\", \"path\": \"%s/%s\"}]}, "
		"{\"name\": \"w\", \"disks\": [{\"name\": \"d\", \"path\": \"%s/%s\"}]}]}",
		dir, one, dir, other);
	preflight_fixture_read(CONFIG_STANDBY, text);
	assert_int_equal(preflight_look(&preflight, &err), expected == NULL ? RC_OK : RC_INVALID);
	preflight_fixture_expect(&preflight.errors, expected);
}

static void one_file_is_no_two_disks_whatever_it_is_called(void **state)
{
	char at[600], link_at[600];
	FILE *file;

	(void)state;
	(void)snprintf(at, sizeof(at), "%s/one.raw", dir);
	(void)snprintf(link_at, sizeof(link_at), "%s/link.raw", dir);
	expect_disks("one.raw", "other.raw", NULL);
	expect_disks("one.raw", "./one.raw", "the same file as instances[0].disks[0].path");
	expect_disks("one.raw", "./one.raw.rewound", "instances[1].disks[0].path: ");
	expect_disks("one.raw", "one.raw.rewound", "makes its copy of instances[0].disks[0]");
	expect_disks("one.raw.rewound", "one.raw", "makes its copy of instances[1].disks[0]");
	file = fopen(at, "w");
	assert_non_null(file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(symlink("one.raw", link_at), 0);
	expect_disks("one.raw", "link.raw", "the same file as instances[0].disks[0].path");
	expect_disks("one.raw", "other.raw", NULL);
	assert_int_equal(unlink(link_at), 0);
	assert_int_equal(link(at, link_at), 0);
	expect_disks("one.raw", "link.raw", "the same file as instances[0].disks[0].path");
	assert_int_equal(unlink(link_at), 0);
	assert_int_equal(unlink(at), 0);
}

static void nobody_at_the_qmp_socket_is_a_warning(void **state)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	char text[512];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	(void)unlink(path);
	memcpy(at.sun_path, path, sizeof(path));
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	(void)snprintf(
		text, sizeof(text),
		"{\"site\": \"a\", \"tls\": {\"ca\": \"c\", \"cert\": \"c\", \"key\": \"c\"}, "
		"\"link\": {\"connect\": \"a:1\"}, \"instances\": [{\"name\": \"v\", \"qmp\": \"%s\"}]}",
		path);
	preflight_fixture_read(CONFIG_PRIMARY, text);
	assert_int_equal(preflight_look(&preflight, &err), RC_OK);
	preflight_fixture_expect(&preflight.warnings, "nobody listens there; is its QEMU running?");
	assert_int_equal(listen(fd, 1), 0);
	preflight_fixture_read(CONFIG_PRIMARY, text);
	assert_int_equal(preflight_look(&preflight, &err), RC_OK);
	preflight_fixture_expect(&preflight.warnings, NULL);
	assert_int_equal(close(fd), 0);
}

static int setup(void **state)
{
	(void)state;
	if (scratch_make(dir, "look") != 0)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/program", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_program_has_to_be_a_qemu_that_will_do),
		cmocka_unit_test(one_that_hangs_is_given_some_seconds),
		cmocka_unit_test(a_journals_directory_has_to_be_one_that_lasts),
		cmocka_unit_test(two_copies_on_one_file_system_are_told),
		cmocka_unit_test(a_disks_image_is_a_file_or_can_be_made),
		cmocka_unit_test(one_file_is_no_two_disks_whatever_it_is_called),
		cmocka_unit_test(nobody_at_the_qmp_socket_is_a_warning),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
