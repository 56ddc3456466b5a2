/* A directory with files is the kernel's. */
#include "appliance/init_internal.h"

#include "tests/unit/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

static bool can_write(const char *name)
{
	const int fd = open(path_of(name), O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)close(fd);
	return fd >= 0;
}

static const char *const closed[] = { "proc/sys/kernel/core_pattern",
				      "proc/sys/net/ipv4/ip_forward", "proc/irq/1/smp_affinity",
				      "proc/sysrq-trigger", "sys/power/state" };
static const char *const kept[] = { "proc/sys/net/ipv4/conf/br0/promote_secondaries",
				    "proc/sys/net/ipv6/conf/us0/disable_ipv6",
				    "proc/sys/net/unix/max_dgram_qlen", "proc/self/oom_score_adj" };
#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* In a process and with mounts of its own. 0; 255: there can be none; else which of them is wrong. */
static int seal_and_try(void)
{
	if (unshare(CLONE_NEWNS | (geteuid() != 0 ? CLONE_NEWUSER : 0)) != 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return 255;
	if (!init_seal(dir))
		return 254;
	for (size_t i = 0; i < COUNT(closed); i++) {
		if (can_write(closed[i]) || errno != EROFS)
			return (int)i + 1;
	}
	for (size_t i = 0; i < COUNT(kept); i++) {
		if (!can_write(kept[i]))
			return 100 + (int)i;
	}
	return 0;
}

static void what_nobody_writes_is_read_only(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	for (size_t i = 0; i < COUNT(closed); i++)
		have(closed[i], "0");
	for (size_t i = 0; i < COUNT(kept); i++)
		have(kept[i], "0");
	pid = fork();
	if (pid == 0)
		_exit(seal_and_try());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 255) {
		print_message("no mount namespaces here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
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
		CLAIM(what_nobody_writes_is_read_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
