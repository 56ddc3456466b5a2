#include "tests/unit/netns_fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int here = -1, there = -1;

static int new_namespace(void)
{
	if (unshare(CLONE_NEWNET) != 0)
		return -1;
	return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		(void)close(fd);
	return done;
}

/* Root here, whoever we are outside. */
static bool become_root(void)
{
	char map[64];
	unsigned user = getuid(), group = getgid();

	if (user == 0)
		return true;
	if (unshare(CLONE_NEWUSER) != 0)
		return false;
	(void)snprintf(map, sizeof(map), "0 %u 1", user);
	if (!write_file("/proc/self/uid_map", map))
		return false;
	(void)write_file("/proc/self/setgroups", "deny");
	(void)snprintf(map, sizeof(map), "0 %u 1", group);
	return write_file("/proc/self/gid_map", map);
}

void netns_fixture_lay_cable(void)
{
	char command[96];

	(void)netns_fixture_run("ip link set lo up; ip link add cable type veth peer name far");
	(void)netns_fixture_run("ip link set cable up");
	(void)snprintf(command, sizeof(command), "ip link set far netns /proc/%d/fd/%d",
		       (int)getpid(), there);
	(void)netns_fixture_run(command);
	netns_fixture_there();
	(void)netns_fixture_run("ip link set lo up; ip link set far name cable up");
	netns_fixture_here();
}

bool netns_fixture_create(void)
{
	if (!become_root())
		return false;
	there = new_namespace();
	here = there >= 0 ? new_namespace() : -1;
	if (here < 0) {
		netns_fixture_remove();
		return false;
	}
	netns_fixture_lay_cable();
	return true;
}

void netns_fixture_remove(void)
{
	if (here >= 0)
		(void)close(here);
	if (there >= 0)
		(void)close(there);
	here = there = -1;
}

void netns_fixture_need(void)
{
	if (here < 0) {
		print_message("no network namespaces: root, or user namespaces, are needed\n");
		skip();
	}
}

void netns_fixture_here(void)
{
	assert_int_equal(setns(here, CLONE_NEWNET), 0);
}

void netns_fixture_there(void)
{
	assert_int_equal(setns(there, CLONE_NEWNET), 0);
}

const char *netns_fixture_run(const char *command)
{
	static char output[16384];
	FILE *stream = popen(command, "re"); /* NOLINT(cert-env33-c): the tests' own commands */
	size_t len;

	assert_non_null(stream);
	len = fread(output, 1, sizeof(output) - 1, stream);
	output[len] = '\0';
	assert_int_equal(pclose(stream), 0);
	return output;
}

void netns_fixture_shows(const char *command, const char *part)
{
	const char *shown = netns_fixture_run(command);

	if (strstr(shown, part) == NULL)
		fail_msg("%s: no \"%s\" in %s", command, part, shown);
}

int netns_fixture_set_up(void **state)
{
	(void)state;
	(void)netns_fixture_create();
	return 0;
}

int netns_fixture_tear_down(void **state)
{
	(void)state;
	netns_fixture_remove();
	return 0;
}
