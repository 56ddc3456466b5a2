/* Addresses, and the keys of an instance's network: its cards, and the addresses that come and go with it. */
#include "tests/unit/config_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NICS(nic) PRIMARY_WITH("", PRIMARY_INSTANCE(", \"nics\": [{\"name\": \"net0\"" nic "}]"))
#define DGRAM ", \"socket\": \"/run/a\", \"qemu_socket\": \"/run/q\""
#define TAP ", \"netdev\": \"hostnet0\", \"guest_bridge\": \"usbr0\", \"guest_tap\": \"usg0\""
#define FORMS                                                                                    \
	"a card is socket and qemu_socket of QEMU's -netdev dgram, or netdev, guest_bridge and " \
	"guest_tap where QEMU has a -netdev tap"

static void a_card_is_either_a_dgram_or_a_tap_and_whole(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ NICS(""), ".socket: missing: " FORMS },
		{ NICS(", \"qemu_socket\": \"/run/q\""), ".socket: missing: " FORMS },
		{ NICS(", \"socket\": \"/run/a\""), ".qemu_socket: missing: " FORMS },
		{ NICS(", \"guest_tap\": \"usg0\""), ".netdev: missing: " FORMS },
		{ NICS(", \"netdev\": \"n\""), ".guest_bridge: missing: " FORMS },
		{ NICS(", \"netdev\": \"n\", \"guest_bridge\": \"b\""),
		  ".guest_tap: missing: " FORMS },
		{ NICS(DGRAM ", \"netdev\": \"n\""), ": both at once: " FORMS },
		{ NICS(TAP ", \"qemu_socket\": \"/run/q\""), ": both at once: " FORMS },
		{ NICS(TAP ", \"tap\": \"us0\", \"bridge\": \"usbr0\""),
		  ".guest_bridge: the same as bridge: clients would get what the instance sends before "
		  "its epoch is committed; QEMU's tap needs a bridge of its own" },
		{ NICS(TAP ", \"tap\": \"usg0\", \"bridge\": \"br0\""),
		  ".guest_tap: the same as tap: these are two devices" },
	};
	char message[512];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		(void)snprintf(message, sizeof(message), "f.json: instances[0].nics[0]%s",
			       cases[i].message);
		refuses(CONFIG_PRIMARY, cases[i].text, message);
	}
	takes(CONFIG_PRIMARY, NICS(DGRAM));
	assert_null(config.instances[0].nics[0].netdev);
	config_free(&config);
	takes(CONFIG_PRIMARY, NICS(TAP ", \"tap\": \"us0\", \"bridge\": \"br0\""));
	assert_string_equal(config.instances[0].nics[0].netdev, "hostnet0");
	assert_string_equal(config.instances[0].nics[0].guest_bridge, "usbr0");
	assert_string_equal(config.instances[0].nics[0].guest_tap, "usg0");
	config_free(&config);
	refuses(CONFIG_PRIMARY, NICS(", \"guest_bridge\": \"a/b\""),
		"f.json: instances[0].nics[0].guest_bridge: a network device's name has 1 to 15 "
		"bytes, without / : % or spaces");
}

#define GROUP(more) "{\"device\": \"br0\", \"group\": 51" more "}"
#define WITH_GROUPS(groups) STANDBY_WITH("", ", \"vrrp\": [" groups "]")
#define ADDRESSES(text) ", \"addresses\": [" text "]"
#define VIP ADDRESSES("\"192.0.2.7/24\"")
#define AT_ADDRESS(listen, more)                                                           \
	"{\"site\": \"busan\", " TLS ", " more " \"link\": {\"listen\": \"" listen "\"}, " \
	"\"hypervisor\": {\"program\": \"/q/qemu\"}, \"state_dir\": \"state\", "           \
	"\"instances\": [{\"name\": \"vm1\", \"vrrp\": [" GROUP(VIP) "]}]}"
#define OTHER_VIP ADDRESSES("\"192.0.2.8/24\"")
#define TEN                                                                                                  \
	"\"10.0.0.1\", \"10.0.0.2\", \"10.0.0.3\", \"10.0.0.4\", \"10.0.0.5\", \"10.0.0.6\", \"10.0.0.7\", " \
	"\"10.0.0.8\", \"10.0.0.9\", \"10.0.0.10\""

static void a_vrrp_group_has_its_defaults(void **state)
{
	(void)state;
	takes(CONFIG_STANDBY, WITH_GROUPS(GROUP(VIP)));
	assert_int_equal(config.instances[0].vrrp[0].priority, 100);
	assert_int_equal(config.instances[0].vrrp[0].interval_ms, 1000);
	assert_true(config.instances[0].vrrp[0].preempt);
	config_free(&config);
}

static void a_vrrp_group_that_cannot_be_is_refused(void **state)
{
	(void)state;
	refuses(CONFIG_STANDBY, WITH_GROUPS(GROUP(VIP ", \"priority\": 255")),
		"f.json: instances[0].vrrp[0].priority: 255 is above the maximum, 254");
	refuses(CONFIG_STANDBY, WITH_GROUPS(GROUP(VIP ", \"interval_ms\": 1001")),
		"f.json: instances[0].vrrp[0].interval_ms: 1001 is no multiple of 10");
	refuses(CONFIG_STANDBY, WITH_GROUPS(GROUP(ADDRESSES("\"192.0.2.7/33\""))),
		"f.json: instances[0].vrrp[0].addresses[0]: \"192.0.2.7/33\": the prefix's length is 0 to 32 bits");
	refuses(CONFIG_STANDBY, WITH_GROUPS(GROUP(ADDRESSES("\"192.0.2.7\", \"vip\""))),
		"f.json: instances[0].vrrp[0].addresses[1]: \"vip\" is not an address (\"192.0.2.7/24\")");
	refuses(CONFIG_STANDBY, WITH_GROUPS(GROUP(ADDRESSES("\"2001:db8::7/64\""))),
		"f.json: instances[0].vrrp[0].addresses: at least one of IPv4 is needed: what is sent is VRRP for "
		"IPv4");
	refuses(CONFIG_STANDBY, WITH_GROUPS(GROUP(ADDRESSES(TEN ", " TEN ", \"10.0.1.1\""))),
		"f.json: instances[0].vrrp[0].addresses: 21 strings, from 1 to 20 are taken");
	refuses(CONFIG_STANDBY, WITH_GROUPS(GROUP(VIP) ", " GROUP(VIP)),
		"f.json: instances[0].vrrp[1].group: 51 on br0 is that of instances[0].vrrp[0], too");
	takes(CONFIG_STANDBY,
	      WITH_GROUPS(GROUP(VIP) ", {\"device\": \"br1\", \"group\": 51" OTHER_VIP "}"));
	config_free(&config);
}

static void an_address_that_is_nobodys_or_somebodys_is_refused(void **state)
{
	static const char *const nobodys[] = {
		"0.0.0.0/0",	 "224.0.0.1/4",	 "255.255.255.255/32",
		"127.0.0.1/8",	 "192.0.2.0/24", "192.0.2.255/24",
		"::1/128",	 "ff02::1/16",	 "2001:db8::/64",
		"::ffff:1.2.3.4"
	};
	char text[512], message[256];

	(void)state;
	for (size_t i = 0; i < sizeof(nobodys) / sizeof(nobodys[0]); i++) {
		(void)snprintf(text, sizeof(text),
			       WITH_GROUPS(GROUP(ADDRESSES("\"192.0.2.7/24\", \"%s\""))),
			       nobodys[i]);
		(void)snprintf(
			message, sizeof(message),
			"f.json: instances[0].vrrp[0].addresses[1]: %s: is no address that a "
			"device can have",
			nobodys[i]);
		refuses(CONFIG_STANDBY, text, message);
	}
	refuses(CONFIG_STANDBY, WITH_GROUPS(GROUP(ADDRESSES("\"192.0.2.7/24\", \"192.0.2.7/25\""))),
		"f.json: instances[0].vrrp[0].addresses[1]: 192.0.2.7/25 is also addresses[0]");
	refuses(CONFIG_STANDBY,
		WITH_GROUPS(GROUP(VIP) ", {\"device\": \"br1\", \"group\": 52" VIP "}"),
		"f.json: instances[0].vrrp[1].addresses[0]: 192.0.2.7/24 is also "
		"instances[0].vrrp[0].addresses[0]");
	takes(CONFIG_STANDBY,
	      WITH_GROUPS(GROUP(ADDRESSES(
		      "\"192.0.2.7/31\", \"fe80::1/64\"")) ", {\"device\": \"br1\", \"group\": "
							   "51" ADDRESSES(
								   "\"192.0.2.8\", \"fe80::1/64\"") "}"));
	config_free(&config);
	refuses(CONFIG_STANDBY, AT_ADDRESS("192.0.2.7:1", ""),
		"f.json: instances[0].vrrp[0].addresses[0]: 192.0.2.7/24 is that of link.listen: the appliance "
		"would take its own address off br0; what is named here is at no machine of itself");
	refuses(CONFIG_STANDBY, AT_ADDRESS("0.0.0.0:1", "\"http\": {\"listen\": \"192.0.2.7:2\"},"),
		"f.json: instances[0].vrrp[0].addresses[0]: 192.0.2.7/24 is that of http.listen: the appliance "
		"would take its own address off br0; what is named here is at no machine of itself");
}

static void addresses_have_a_host_and_a_port(void **state)
{
	static const char *const wrong[] = { "0.0.0.0:7400",
					     "[::]:7400",
					     "192.0.2.7",
					     ":7400",
					     "192.0.2.7:",
					     "192.0.2.7:0",
					     "192.0.2.7:65536",
					     "2001:db8::7:7400",
					     "[192.0.2.7]:1",
					     "[::1]",
					     "a b:1",
					     "unix:/s",
					     "" };
	char text[128];

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		(void)snprintf(text, sizeof(text), "{\"link\": {\"connect\": \"%s\"}}", wrong[i]);
		assert_int_equal(parse(CONFIG_PRIMARY, text), RC_INVALID);
		assert_memory_equal(err.text, "f.json: link.connect: ", 22);
		config_free(&config);
	}
	refuses(CONFIG_PRIMARY, "{\"http\": {\"listen\": \"unix:run\"}}",
		"f.json: http.listen: a unix socket is written unix:/path, of at most 107 bytes");
}

#define WITNESS_AT(endpoint) \
	", \"witness\": {\"endpoints\": [\"https://e:1\", \"" endpoint "\"], \"ca\": \"ca.crt\"}"
#define WITNESSED(link, endpoint)                                     \
	"{\"site\": \"seoul\", " TLS WITNESS_AT(                      \
		endpoint) ", \"link\": {\"connect\": \"" link "\"}, " \
			  "\"instances\": [" PRIMARY_INSTANCE("") "]}"

static void a_witness_on_each_machine_is_refused(void **state)
{
	(void)state;
	refuses(CONFIG_PRIMARY, WITNESSED("192.0.2.7:7400", "https://127.0.0.1:2379"),
		"f.json: witness.endpoints[1]: https://127.0.0.1:2379 is this machine itself, for the other site "
		"another one: both sites have to ask the same etcd, at a third place");
	refuses(CONFIG_PRIMARY, WITNESSED("b.example:7400", "https://localhost:2379"),
		"f.json: witness.endpoints[1]: https://localhost:2379 is this machine itself, for the other site "
		"another one: both sites have to ask the same etcd, at a third place");
	takes(CONFIG_PRIMARY, WITNESSED("127.0.0.1:7400", "https://127.0.0.1:2379"));
	config_free(&config);
	takes(CONFIG_PRIMARY, WITNESSED("192.0.2.7:7400", "https://192.0.2.9:2379"));
	config_free(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_card_is_either_a_dgram_or_a_tap_and_whole),
		cmocka_unit_test(a_vrrp_group_has_its_defaults),
		cmocka_unit_test(a_vrrp_group_that_cannot_be_is_refused),
		cmocka_unit_test(an_address_that_is_nobodys_or_somebodys_is_refused),
		cmocka_unit_test(addresses_have_a_host_and_a_port),
		cmocka_unit_test(a_witness_on_each_machine_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
