/* Where we listen, and the devices and sockets of network cards, against what this machine has. */
#include "appliance/preflight_internal.h"
#include "tests/unit/netns_fixture.h"
#include "tests/unit/preflight_fixture.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define STANDBY(listen, http, nic)                                          \
	"{\"site\": \"b\", \"http\": {\"listen\": \"" http                  \
	"\"}, \"tls\": {\"ca\": \"c\", \"cert\": "                          \
	"\"c\", \"key\": \"c\"}, \"link\": {\"listen\": \"" listen          \
	"\"}, \"state_dir\": \"s\", \"hypervisor\": {\"program\": \"q\"}, " \
	"\"instances\": [{\"name\": \"vm1\", \"nics\": [{\"name\": \"n\", " nic "}]}]}"
#define PRIMARY(socket, qemu_socket) PRIMARY_WITH(socket, qemu_socket, "")
#define PRIMARY_WITH(socket, qemu_socket, more)                                          \
	"{\"site\": \"a\", \"tls\": {\"ca\": \"c\", \"cert\": \"c\", \"key\": \"c\"}, "  \
	"\"link\": {\"connect\": \"192.0.2.7:1\"}, \"instances\": [{\"name\": \"vm1\", " \
	"\"qmp\": \"/q\", \"nics\": [{\"name\": \"m\", \"socket\": \"" socket            \
	"\", \"qemu_socket\": \"" qemu_socket "\"" more "}]}]}"
#define TAP "\"tap\": \"us0\""

static void look(enum config_role role, const char *text, const char *expected)
{
	preflight_fixture_read(role, text);
	preflight_network(&preflight);
	preflight_fixture_expect(&preflight.errors, expected);
}

static void a_listener_needs_an_address_of_this_machine(void **state)
{
	(void)state;
	look(CONFIG_STANDBY, STANDBY("127.0.0.1:7400", "127.0.0.1:7480", TAP), NULL);
	look(CONFIG_STANDBY, STANDBY("[::]:7400", "0.0.0.0:7480", TAP), NULL);
	look(CONFIG_STANDBY, STANDBY("name.invalid:7400", "127.0.0.1:7480", TAP), NULL);
	look(CONFIG_STANDBY, STANDBY("192.0.2.77:7400", "127.0.0.1:7480", TAP),
	     "link.listen: 192.0.2.77:7400: is no address of this machine");
	look(CONFIG_STANDBY, STANDBY("127.0.0.1:7400", "192.0.2.77:7480", TAP),
	     "http.listen: 192.0.2.77:7480: is no address of this machine");
}

static void a_socket_needs_a_directory_and_nothing_in_its_way(void **state)
{
	char dir[SCRATCH_MAX], path[SCRATCH_MAX + 16], text[1024];
	FILE *file;

	(void)state;
	assert_int_equal(scratch_make(dir, "network"), 0);
	(void)snprintf(path, sizeof(path), "%s/file", dir);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fclose(file), 0);
	look(CONFIG_STANDBY, STANDBY("127.0.0.1:7400", "unix:/nowhere/x", TAP),
	     "http.listen: /nowhere: No such file or directory; make the directory");
	(void)snprintf(text, sizeof(text), STANDBY("127.0.0.1:7400", "unix:%s", TAP), path);
	look(CONFIG_STANDBY, text, "something else than a socket is there");
	(void)snprintf(text, sizeof(text), STANDBY("127.0.0.1:7400", "unix:%s", TAP), dir);
	look(CONFIG_STANDBY, text, "something else than a socket is there");
	(void)snprintf(text, sizeof(text), PRIMARY("%s/a", "%s/b"), dir, dir);
	look(CONFIG_PRIMARY, text, NULL);
	(void)snprintf(text, sizeof(text), PRIMARY("/nowhere/a", "%s/b"), dir);
	look(CONFIG_PRIMARY, text, "instances[0].nics[0].socket: /nowhere: No such");
	(void)snprintf(text, sizeof(text), PRIMARY("%s/a", "/nowhere/b"), dir);
	look(CONFIG_PRIMARY, text, "instances[0].nics[0].qemu_socket: /nowhere: No such");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void a_card_whose_answers_a_takeover_may_lose_is_warned_of(void **state)
{
	(void)state;
	preflight_fixture_read(CONFIG_PRIMARY,
			       PRIMARY_WITH("/tmp/a", "/tmp/b", ", \"output_commit\": false"));
	preflight_network(&preflight);
	preflight_fixture_expect(&preflight.warnings, "instances[0].nics[0].output_commit: false");
	preflight_fixture_read(CONFIG_PRIMARY, PRIMARY("/tmp/a", "/tmp/b"));
	preflight_network(&preflight);
	preflight_fixture_expect(&preflight.warnings, NULL);
	preflight_fixture_read(CONFIG_STANDBY, STANDBY("127.0.0.1:1", "127.0.0.1:2", TAP));
	preflight_network(&preflight);
	preflight_fixture_expect(&preflight.warnings, NULL);
}

static void devices_are_of_the_kind_that_is_needed(void **state)
{
	(void)state;
	if (!netns_fixture_create())
		skip();
	(void)netns_fixture_run("ip link add br0 type bridge; ip tuntap add tap0 mode tap");
	look(CONFIG_STANDBY,
	     STANDBY("127.0.0.1:1", "127.0.0.1:2", "\"tap\": \"us0\", \"bridge\": \"br0\""), NULL);
	look(CONFIG_STANDBY,
	     STANDBY("127.0.0.1:1", "127.0.0.1:2", "\"tap\": \"us0\", \"bridge\": \"br1\""),
	     "instances[0].nics[0].bridge: network device br1: No such device; make it (ip link add br1");
	look(CONFIG_STANDBY,
	     STANDBY("127.0.0.1:1", "127.0.0.1:2", "\"tap\": \"us0\", \"bridge\": \"cable\""),
	     "instances[0].nics[0].bridge: cable is no bridge");
	look(CONFIG_STANDBY, STANDBY("127.0.0.1:1", "127.0.0.1:2", "\"tap\": \"cable\""),
	     "instances[0].nics[0].tap: cable is there and no tap");
	if (strstr(netns_fixture_run("ip -o link show tap0"), "tap0") != NULL)
		look(CONFIG_STANDBY, STANDBY("127.0.0.1:1", "127.0.0.1:2", "\"tap\": \"tap0\""),
		     NULL);
	netns_fixture_remove();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_listener_needs_an_address_of_this_machine),
		cmocka_unit_test(a_socket_needs_a_directory_and_nothing_in_its_way),
		cmocka_unit_test(a_card_whose_answers_a_takeover_may_lose_is_warned_of),
		cmocka_unit_test(devices_are_of_the_kind_that_is_needed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
