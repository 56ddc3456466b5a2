/* What a configuration may name only once. */
#include "appliance/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TLS "\"tls\": {\"ca\": \"c\", \"cert\": \"c\", \"key\": \"c\"}"
#define PRIMARY(http, instances)                                                      \
	"{\"site\": \"a\", " TLS ", \"http\": {\"listen\": \"" http "\"}, \"link\": " \
	"{\"connect\": \"b:1\"}, \"instances\": [" instances "]}"
#define STANDBY(http, instances)                                                                  \
	"{\"site\": \"b\", " TLS ", \"http\": {\"listen\": \"" http "\"}, \"state_dir\": \"s\", " \
	"\"hypervisor\": {\"program\": \"q\"}, \"link\": {\"listen\": \"0.0.0.0:1\"}, "           \
	"\"instances\": [" instances "]}"
#define VM(name, nics) "{\"name\": \"" name "\", \"qmp\": \"/" name "\", \"nics\": [" nics "]}"
#define CLONE(name, nics) "{\"name\": \"" name "\", \"nics\": [" nics "]}"
#define JOURNAL(name, dir) "{\"name\": \"" name "\", \"journal\": {\"dir\": \"" dir "\"}}"
#define COPIES(name, dirs, quorum) \
	"{\"name\": \"" name "\", \"journal\": {\"copies\": [" dirs "], \"quorum\": " quorum "}}"
#define NIC(name, a, b) \
	"{\"name\": \"" name "\", \"socket\": \"" a "\", \"qemu_socket\": \"" b "\"}"
#define CARD(name, netdev, tap)                          \
	"{\"name\": \"" name "\", \"netdev\": \"" netdev \
	"\", \"guest_bridge\": \"br1\", \"guest_tap\": \"" tap "\"}"
#define TAP(name, tap) "{\"name\": \"" name "\", \"tap\": \"" tap "\", \"bridge\": \"br0\"}"

static void read_as(enum config_role role, const char *text, const char *expected)
{
	struct config config;
	struct err err = { 0 };
	int rc = config_parse(&config, role, "f", "/", text, strlen(text), &err);

	if (expected == NULL ? rc != RC_OK : rc != RC_INVALID || strstr(err.text, expected) == NULL)
		fail_msg("expected \"%s\": %s", expected != NULL ? expected : "nothing", err.text);
	config_free(&config);
}

static void sockets(void **state)
{
	(void)state;
	read_as(CONFIG_PRIMARY,
		PRIMARY("unix:/h", VM("u", NIC("n", "/a", "/b") "," NIC("m", "/c", "/d")) "," VM(
					   "v", NIC("n", "/e", "/f"))),
		NULL);
	read_as(CONFIG_PRIMARY, PRIMARY("unix:/h", VM("u", NIC("n", "/a", "/a"))),
		"instances[0].nics[0].qemu_socket: /a: the same socket as instances[0].nics[0].socket");
	read_as(CONFIG_PRIMARY,
		PRIMARY("unix:/h", VM("u", NIC("n", "/a", "/b")) "," VM("v", NIC("n", "/c", "/b"))),
		"instances[1].nics[0].qemu_socket: /b: the same socket as instances[0].nics[0].qemu_socket");
	read_as(CONFIG_PRIMARY, PRIMARY("unix:/u", VM("u", NIC("n", "/a", "/b"))),
		"instances[0].qmp: /u: the same socket as http.listen");
}

static void devices_and_names(void **state)
{
	(void)state;
	read_as(CONFIG_STANDBY,
		STANDBY("a:2", CLONE("u", TAP("n", "t0")) "," CLONE("v", TAP("n", "t1"))), NULL);
	read_as(CONFIG_STANDBY,
		STANDBY("a:2", CLONE("u", TAP("n", "t0")) "," CLONE("v", TAP("n", "t0"))),
		"instances[1].nics[0].tap: t0: the same device as instances[0].nics[0].tap");
	read_as(CONFIG_STANDBY, STANDBY("a:2", CLONE("u", TAP("n", "t0") "," TAP("n", "t1"))),
		"instances[0].nics[1].name: n: also the name of instances[0].nics[0].name");
}

static void journals(void **state)
{
	(void)state;
	read_as(CONFIG_STANDBY, STANDBY("a:2", JOURNAL("u", "/j/u") "," JOURNAL("v", "/j/v")),
		NULL);
	read_as(CONFIG_STANDBY, STANDBY("a:2", JOURNAL("u", "/j/u") "," JOURNAL("v", "/j/u")),
		"instances[1].journal.dir: /j/u: the same directory as instances[0].journal.dir");
	read_as(CONFIG_STANDBY,
		STANDBY("a:2", JOURNAL("u", "/j/u") "," COPIES("v", "\"/j/v\", \"/j/u\"", "2")),
		"instances[1].journal.copies: /j/u: the same directory as instances[0].journal.dir");
	read_as(CONFIG_STANDBY, STANDBY("a:2", COPIES("u", "\"/a\", \"/b\", \"/a\"", "2")),
		"instances[0].journal.copies: /a: the same directory as instances[0].journal.copies");
}

static void copies_and_their_quorum(void **state)
{
	(void)state;
	read_as(CONFIG_STANDBY, STANDBY("a:2", COPIES("u", "\"/a\", \"/b\", \"/c\"", "2")), NULL);
	read_as(CONFIG_STANDBY, STANDBY("a:2", COPIES("u", "\"/a\", \"/b\", \"/c\"", "0")), NULL);
	read_as(CONFIG_STANDBY, STANDBY("a:2", COPIES("u", "\"/a\", \"/b\"", "3")),
		"instances[0].journal.quorum: 3 of 2 copies cannot be; at most as many as there are");
	read_as(CONFIG_STANDBY, STANDBY("a:2", COPIES("u", "\"a\", \"/b\"", "1")),
		"a path that begins with / is expected");
	read_as(CONFIG_STANDBY,
		STANDBY("a:2",
			"{\"name\": \"u\", \"journal\": {\"dir\": \"/j\", \"copies\": [\"/k\"]}}"),
		"instances[0].journal: dir and copies exclude each other");
	read_as(CONFIG_STANDBY,
		STANDBY("a:2", "{\"name\": \"u\", \"journal\": {\"dir\": \"/j\", \"quorum\": 1}}"),
		"instances[0].journal.quorum: of what is not there");
}

static void back_ends_of_one_qemu(void **state)
{
	(void)state;
	read_as(CONFIG_PRIMARY,
		PRIMARY("unix:/h",
			VM("u", CARD("n", "net0", "t0")) "," VM("v", CARD("n", "net0", "t1"))),
		NULL);
	read_as(CONFIG_PRIMARY,
		PRIMARY("unix:/h", VM("u", CARD("n", "net0", "t0") "," CARD("m", "net0", "t1"))),
		"instances[0].nics[1].netdev: net0: the same back end as instances[0].nics[0].netdev");
}

static void the_port_to_listen_on(void **state)
{
	(void)state;
	read_as(CONFIG_STANDBY, STANDBY("127.0.0.1:1", CLONE("u", TAP("n", "t"))),
		"http.listen: the same port as link.listen");
	read_as(CONFIG_STANDBY, STANDBY("127.0.0.1:2", CLONE("u", TAP("n", "t"))), NULL);
}

static void a_witness_without_endpoints(void **state)
{
	(void)state;
	read_as(CONFIG_PRIMARY,
		"{\"site\": \"a\", " TLS ", \"link\": {\"connect\": \"b:1\"}, \"witness\": {}, "
		"\"instances\": [{\"name\": \"u\", \"qmp\": \"/u\"}]}",
		"witness.endpoints: missing: etcd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sockets),
		cmocka_unit_test(devices_and_names),
		cmocka_unit_test(copies_and_their_quorum),
		cmocka_unit_test(journals),
		cmocka_unit_test(back_ends_of_one_qemu),
		cmocka_unit_test(the_port_to_listen_on),
		cmocka_unit_test(a_witness_without_endpoints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
