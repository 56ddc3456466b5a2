/* Certificates of which only some came to be made: by a fault, or by a process that was killed. */
#include "appliance/base/mem.h"
#include "tests/unit/pki_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void after_a_fault_everything_is_as_before(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_WRITE, FAULT_FSYNC, FAULT_RENAME,
						 FAULT_ALLOC };
	unsigned long n;

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		for (n = 1;; n++) {
			fault_arm(kinds[i], n);
			if (pki_fixture_try() == RC_OK)
				break;
			assert_true(fault_fired(kinds[i]));
			assert_int_not_equal(access(pki_dir, F_OK), 0);
		}
		assert_false(fault_fired(kinds[i]));
		fault_arm(kinds[i], 0);
		assert_true(n > 5); /* six files */
		assert_int_equal(pki_fixture_entries(), PKI_FILES);
		pki_fixture_clear();
	}
}

/* One of a pair, and the other as it was about to get its name. */
static void what_a_killed_process_had_whole_is_taken_up(void **state)
{
	static const char *const cases[][2] = { { "ca.crt", ".ca.crt.tmp" },
						{ "standby.crt", ".standby.crt.tmp" },
						{ "standby.key", ".standby.key.tmp" } };
	char before[PKI_FILE_SIZE], after[PKI_FILE_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		pki_fixture_make();
		(void)pki_fixture_read(cases[i][0], before);
		assert_int_equal(rename(pki_path(cases[i][0]), pki_path(cases[i][1])), 0);
		pki_fixture_make();
		(void)pki_fixture_read(cases[i][0], after);
		assert_string_equal(after, before);
		assert_int_equal(pki_fixture_entries(), PKI_FILES);
		pki_fixture_clear();
	}
}

static void what_a_killed_process_had_not_finished_is_made_anew(void **state)
{
	static const char *const left[] = { ".ca.key.tmp", ".ca.crt.tmp", ".primary.crt.tmp" };
	FILE *file;

	(void)state;
	assert_int_equal(mkdir(pki_dir, 0700), 0);
	for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
		file = fopen(pki_path(left[i]), "w");
		assert_non_null(file);
		assert_true(fputs("-----BEGIN", file) >= 0);
		assert_int_equal(fclose(file), 0);
	}
	pki_fixture_make();
	assert_int_equal(pki_fixture_entries(), PKI_FILES);
	/* A stranger's certificate is no reason to keep it, nor to take it. */
	assert_int_equal(rename(pki_path("primary.crt"), pki_path(".standby.crt.tmp")), 0);
	assert_int_equal(rename(pki_path("standby.crt"), pki_path("primary.crt")), 0);
	assert_int_equal(pki_fixture_try(), RC_STATE);
	assert_non_null(strstr(pki_err.text, "standby.key is there but standby.crt is not"));
	assert_int_equal(pki_fixture_entries(), PKI_FILES - 1);
}

static void whenever_a_process_is_killed_the_next_one_goes_on(void **state)
{
	pid_t pid;

	(void)state;
	for (useconds_t us = 0; us < 12000; us += 200) {
		pid = fork();
		if (pid == 0)
			_exit(pki_fixture_try());
		assert_true(pid > 0);
		(void)usleep(us);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		pki_fixture_make();
		assert_int_equal(pki_fixture_entries(), PKI_FILES);
		pki_fixture_clear();
	}
}

static void one_process_at_a_time_makes_certificates(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(mkdir(pki_dir, 0700), 0);
	fd = open(pki_dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(pki_fixture_try(), RC_STATE);
	assert_non_null(strstr(pki_err.text, "another process makes certificates there"));
	assert_int_equal(close(fd), 0);
	pki_fixture_make();
}

static void a_file_of_another_kind_is_named_with_the_remedy(void **state)
{
	(void)state;
	pki_fixture_make();
	assert_int_equal(truncate(pki_path("ca.crt"), 20), 0);
	assert_int_equal(pki_fixture_try(), RC_INVALID);
	assert_non_null(strstr(pki_err.text, "ca.crt: no certificate (PEM)"));
	assert_non_null(strstr(pki_err.text, "move ca.crt and ca.key away"));
}

static void a_fault_does_not_harm_what_was_there(void **state)
{
	char before[PKI_FILE_SIZE], after[PKI_FILE_SIZE];

	(void)state;
	pki_fixture_make();
	(void)pki_fixture_read("standby.key", before);
	assert_int_equal(unlink(pki_path("primary.crt")), 0);
	assert_int_equal(unlink(pki_path("primary.key")), 0);
	fault_arm(FAULT_FSYNC, 2);
	assert_int_equal(pki_fixture_try(), RC_IO);
	assert_int_equal(pki_fixture_entries(), PKI_FILES - 2);
	(void)pki_fixture_read("standby.key", after);
	assert_string_equal(after, before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pki_fixture_set_up, pki_fixture_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(after_a_fault_everything_is_as_before),
		TEST(a_fault_does_not_harm_what_was_there),
		TEST(what_a_killed_process_had_whole_is_taken_up),
		TEST(what_a_killed_process_had_not_finished_is_made_anew),
		TEST(whenever_a_process_is_killed_the_next_one_goes_on),
		TEST(one_process_at_a_time_makes_certificates),
		TEST(a_file_of_another_kind_is_named_with_the_remedy),
	};

	return cmocka_run_group_tests(tests, pki_fixture_open, pki_fixture_close);
}
