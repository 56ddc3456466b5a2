/* machine.network: what is refused, and with which words. */
#include "tests/unit/config_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LAN "{\"name\": \"lan0\", \"mac\": \"52:54:00:00:00:01\"}"
#define LAN_WITH(more) "{\"name\": \"lan0\", \"mac\": \"52:54:00:00:00:01\", " more "}"
#define WAN_WITH(more) "{\"name\": \"wan0\", \"mac\": \"52:54:00:00:00:02\", " more "}"
#define BRIDGE(name, ports) "{\"name\": \"" name "\", \"ports\": [" ports "]}"
#define VLAN(name, on, id) "{\"name\": \"" name "\", \"on\": \"" on "\", \"vlan\": " id "}"
#define ADDRESSES(list) "\"addresses\": [" list "]"
#define ROUTES(list) "\"routes\": [" list "]"

static const char *with(const char *devices, const char *vrrp)
{
	static char text[4096];

	(void)snprintf(text, sizeof(text),
		       "{\"site\": \"busan\", " TLS ", \"link\": {\"listen\": \"0.0.0.0:7400\"}, "
		       "\"hypervisor\": {\"program\": \"/q/qemu\"}, \"state_dir\": \"state\", "
		       "\"machine\": {\"network\": [%s]}, \"instances\": [{\"name\": \"vm1\"%s}]}",
		       devices, vrrp);
	return text;
}

struct wrong {
	const char *devices, *message; /* behind "machine.network" */
};

static void refuses_each(const struct wrong *wrong, size_t count)
{
	char message[512];

	for (size_t i = 0; i < count; i++) {
		(void)snprintf(message, sizeof(message), "f.json: machine.network%s",
			       wrong[i].message);
		refuses(CONFIG_STANDBY, with(wrong[i].devices, ""), message);
	}
}
#define REFUSES_EACH(wrong) refuses_each(wrong, sizeof(wrong) / sizeof((wrong)[0]))

static void takes_devices(const char *devices)
{
	takes(CONFIG_STANDBY, with(devices, ""));
	config_free(&config);
}

static void cards_bridges_vlans_addresses_and_routes_are_taken(void **state)
{
	(void)state;
	takes_devices(
		LAN
		", " WAN_WITH(ADDRESSES("\"192.0.2.2/24\", \"2001:db8::2/64\"") ", " ROUTES("\"default via 192.0.2.1\", \"default via fe80::1\", \"198.51.100.0/24 via 192.0.2.9\"")) ", " BRIDGE(
			"br0", "\"lan0\"") ", " VLAN("v20", "br0", "20"));
}

static void a_device_is_of_one_kind_and_whole(void **state)
{
	static const struct wrong wrong[] = {
		{ LAN ", {\"name\": \"x\", \"mac\": \"52:54:00:00:00:09\", \"ports\": [\"lan0\"]}",
		  "[1]: mac, ports and on exclude each other: a device is a card (mac, or the kernel's name for it), a "
		  "bridge (ports) or a VLAN (on)" },
		{ LAN ", {\"name\": \"x\", \"on\": \"lan0\"}",
		  "[1].vlan: missing: the number of the VLAN on lan0, from 1" },
		{ "{\"name\": \"x\", \"vlan\": 7}",
		  "[0].on: missing: the device that VLAN 7 is on" },
		{ LAN_WITH("\"mtu\": 1279"),
		  "[0].mtu: 1279 is below 1280, the least that IPv6 takes" },
		{ "{\"name\": \"lo\"}", "[0].name: lo is there by itself; leave it out" },
	};

	(void)state;
	REFUSES_EACH(wrong);
}

static void what_is_there_twice_is_refused(void **state)
{
	static const struct wrong wrong[] = {
		{ LAN ", {\"name\": \"lan0\"}",
		  "[1].name: lan0 is also the name of machine.network[0]" },
		{ "{\"name\": \"a\", \"mac\": \"52:54:00:00:00:0a\"}, {\"name\": \"b\", \"mac\": \"52:54:00:00:00:0A\"}",
		  "[1].mac: 52:54:00:00:00:0A is also that of machine.network[0]; a card has one name" },
		{ LAN ", " VLAN("a", "lan0", "7") ", " VLAN("b", "lan0", "7"),
		  "[2].vlan: 7 on lan0 is also machine.network[1]" },
		{ LAN_WITH(ADDRESSES("\"192.0.2.2/24\", \"192.0.2.2/25\"")),
		  "[0].addresses[1]: 192.0.2.2/25 is also machine.network[0].addresses[0]" },
		{ LAN_WITH(ADDRESSES("\"2001:db8::2/64\"")) ", " WAN_WITH(
			  ADDRESSES("\"2001:db8:0::2/65\"")),
		  "[1].addresses[0]: 2001:db8:0::2/65 is also machine.network[0].addresses[0]" },
		{ LAN_WITH(ADDRESSES("\"192.0.2.2/24\"") ", " ROUTES(
			  "\"default via 192.0.2.1\", \"default via 192.0.2.3\"")),
		  "[0].routes[1]: default via 192.0.2.3: machine.network[0].routes[0] leads there already" },
	};

	(void)state;
	REFUSES_EACH(wrong);
	takes_devices(
		LAN_WITH(ADDRESSES("\"fe80::1/64\"")) ", " WAN_WITH(ADDRESSES("\"fe80::1/64\"")));
}

static void what_a_device_needs_is_set_up_before_it(void **state)
{
	static const struct wrong wrong[] = {
		{ BRIDGE("br0", "\"lan0\"") ", " LAN,
		  "[0].ports[0]: lan0 is set up later; move machine.network[1] before this" },
		{ VLAN("v7", "lan0", "7") ", " LAN,
		  "[0].on: lan0 is set up later; move machine.network[1] before this" },
		{ VLAN("v7", "v7", "7"), "[0].on: v7 is this device itself" },
		{ LAN ", " BRIDGE("br0", "\"lan0\", \"lan1\""),
		  "[1].ports[1]: no device is named lan1; write one before this, such as {\"name\": \"lan1\", "
		  "\"mac\": ...}" },
		{ LAN ", " BRIDGE("br0", "\"lan0\"") ", " BRIDGE("br1", "\"lan0\""),
		  "[2].ports[0]: lan0 is a port of machine.network[1] already" },
		{ LAN ", " BRIDGE("br0", "\"lan0\", \"lan0\""),
		  "[1].ports[1]: lan0 is a port of machine.network[1] already" },
		{ LAN ", " BRIDGE("br0", "\"lan0\"") ", " BRIDGE("br1", "\"br0\""),
		  "[2].ports[0]: br0 is a bridge, which cannot be another's port" },
		{ LAN_WITH("\"dhcp\": true") ", " BRIDGE("br0", "\"lan0\""),
		  "[1].ports[0]: lan0 has addresses, routes or dhcp, which a port cannot use; give them to br0" },
		{ LAN_WITH(ADDRESSES("\"192.0.2.2/24\"")) ", " BRIDGE("br0", "\"lan0\""),
		  "[1].ports[0]: lan0 has addresses, routes or dhcp, which a port cannot use; give them to br0" },
	};

	(void)state;
	REFUSES_EACH(wrong);
}

static void a_router_is_in_a_network_of_its_device(void **state)
{
#define REMEDY                                                                             \
	": the router is in no network of this device's addresses; add an address in its " \
	"network, or name the route at another device"
	static const struct wrong wrong[] = {
		{ LAN_WITH(ROUTES("\"default via 192.0.2.1\"")),
		  "[0].routes[0]: default via 192.0.2.1" REMEDY },
		{ LAN_WITH(ADDRESSES("\"192.0.2.2/28\"") ", " ROUTES("\"default via 192.0.2.16\"")),
		  "[0].routes[0]: default via 192.0.2.16" REMEDY },
		{ LAN_WITH(
			  ADDRESSES("\"192.0.2.2/24\"") ", " ROUTES("\"default via 2001:db8::1\"")),
		  "[0].routes[0]: default via 2001:db8::1" REMEDY },
	};

	(void)state;
	REFUSES_EACH(wrong);
	takes_devices(LAN_WITH(ROUTES("\"default via fe80::1\"")));
	takes_devices(LAN_WITH("\"dhcp\": true, " ROUTES("\"198.51.100.0/24 via 192.0.2.1\"")));
}

static void an_address_of_a_vrrp_group_is_not_the_machines(void **state)
{
	(void)state;
	refuses(CONFIG_STANDBY,
		with(LAN_WITH(ADDRESSES("\"192.0.2.2/24\"")),
		     ", \"vrrp\": [{\"device\": \"lan0\", \"group\": 51, " ADDRESSES(
			     "\"192.0.2.2/32\"") "}]"),
		"f.json: machine.network[0].addresses[0]: 192.0.2.2/24 is also "
		"instances[0].vrrp[0].addresses[0], which may be at no machine of itself");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cards_bridges_vlans_addresses_and_routes_are_taken),
		cmocka_unit_test(a_device_is_of_one_kind_and_whole),
		cmocka_unit_test(what_is_there_twice_is_refused),
		cmocka_unit_test(what_a_device_needs_is_set_up_before_it),
		cmocka_unit_test(a_router_is_in_a_network_of_its_device),
		cmocka_unit_test(an_address_of_a_vrrp_group_is_not_the_machines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
