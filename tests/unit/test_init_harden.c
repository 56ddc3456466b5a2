/* A directory with files is the kernel's. */
#include "appliance/init_internal.h"

#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH_BYTES (SCRATCH_MAX + 96)

static char dir[SCRATCH_MAX];

static const char *path_of(const char *name)
{
	static char path[PATH_BYTES];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

/* A file of that name with the directories above it. */
static void have(const char *name, const char *value)
{
	char path[PATH_BYTES];
	int fd;

	(void)snprintf(path, sizeof(path), "%s", path_of(name));
	for (char *at = path + strlen(dir) + 1; (at = strchr(at, '/')) != NULL; at++) {
		*at = '\0';
		(void)mkdir(path, 0700);
		*at = '/';
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, value, strlen(value)), strlen(value));
	assert_int_equal(close(fd), 0);
}

static const char *value_of(const char *name)
{
	static char text[64];
	const int fd = open(path_of(name), O_RDONLY | O_CLOEXEC);
	ssize_t n;

	assert_true(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void a_kernel_as_it_starts_is_hardened(void **state)
{
	static const char *const zeroes[] = {
		"kernel/kptr_restrict",	    "kernel/dmesg_restrict",
		"kernel/yama/ptrace_scope", "kernel/unprivileged_bpf_disabled",
		"kernel/io_uring_disabled", "kernel/kexec_load_disabled",
		"kernel/modules_disabled",
	};
	static const char *const will_be[] = { "2", "1", "3", "1", "2", "1", "1" };
	struct init_hardened done;

	(void)state;
	for (size_t i = 0; i < sizeof(zeroes) / sizeof(zeroes[0]); i++)
		have(zeroes[i], "0");
	done = init_harden(dir);
	assert_int_equal(done.made, sizeof(zeroes) / sizeof(zeroes[0]));
	assert_true(done.all > done.made); /* of the others there is no file */
	for (size_t i = 0; i < sizeof(zeroes) / sizeof(zeroes[0]); i++)
		assert_string_equal(value_of(zeroes[i]), will_be[i]);
}

static void all_devices_are_and_those_that_will_be(void **state)
{
	static const char *const files[] = {
		"net/ipv4/conf/all/accept_redirects",  "net/ipv4/conf/default/send_redirects",
		"net/ipv4/conf/eth0/accept_redirects", "net/ipv4/conf/eth0/accept_source_route",
		"net/ipv4/conf/eth0/secure_redirects", "net/ipv6/conf/default/accept_redirects",
		"net/ipv6/conf/eth0/accept_redirects", "net/ipv6/conf/all/forwarding",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		have(files[i], "1");
	(void)init_harden(dir);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		assert_string_equal(value_of(files[i]), "0");
}

/* What took something else does not count as done. */
static void what_is_not_taken_is_counted(void **state)
{
	struct init_hardened before, after;

	(void)state;
	before = init_harden(dir);
	have("kernel/sysrq", "438"); /* one digit is overwritten here, as no kernel would */
	after = init_harden(dir);
	assert_int_equal(before.all, after.all);
	assert_int_equal(before.made, 0);
	assert_int_equal(after.made, 0);
}

static int set_up(void **state)
{
	(void)state;
	return scratch_make(dir, "harden");
}

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *where)
{
	(void)stat;
	(void)kind;
	(void)where;
	return remove(path);
}

static int tear_down(void **state)
{
	(void)state;
	return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#define CLAIM(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(a_kernel_as_it_starts_is_hardened),
		CLAIM(all_devices_are_and_those_that_will_be),
		CLAIM(what_is_not_taken_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
