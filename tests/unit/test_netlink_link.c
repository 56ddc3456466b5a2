/* Network devices are made and changed; `ip` shows what has become of them. */
#include "net/netlink_link.h"

#include "tests/unit/netns_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct err err;

static void fails(int rc, const char *message)
{
	assert_int_equal(rc, RC_IO);
	if (strstr(err.text, message) == NULL)
		fail_msg("no \"%s\" in \"%s\"", message, err.text);
}

static void a_bridge_gets_its_port_and_is_up(void **state)
{
	(void)state;
	netns_fixture_need();
	assert_int_equal(netlink_make_bridge("br0", &err), RC_OK);
	assert_int_equal(netlink_set_up("br0", &err), RC_OK);
	assert_int_equal(netlink_add_port("cable", "br0", &err), RC_OK);
	netns_fixture_shows("ip -d link show br0", "stp_state 0");
	netns_fixture_shows("ip link show br0", "BROADCAST,MULTICAST,UP");
	netns_fixture_shows("ip link show cable", "master br0");
}

static void a_device_gets_its_name_and_mtu(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link add p0 type veth peer name p1");
	assert_int_equal(netlink_set_mtu("p0", 1400, &err), RC_OK);
	assert_int_equal(netlink_rename("p0", "lan0", &err), RC_OK);
	netns_fixture_shows("ip link show lan0", "mtu 1400");
	assert_string_equal(netns_fixture_run("ip link show p0 2>/dev/null || true"), "");
}

static void what_cannot_be_names_the_device_and_the_reason(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link add q0 type veth peer name q1");
	fails(netlink_make_bridge("q0", &err), "network device q0: making the bridge: File exists");
	fails(netlink_set_mtu("q0", 70000, &err), "network device q0: setting its MTU: ");
	fails(netlink_rename("q0", "q1", &err), "network device q0: renaming it: File exists");
	fails(netlink_add_port("q0", "q1", &err),
	      "network device q0: making it a port of the bridge: ");
	assert_int_not_equal(netlink_set_up("none", &err), RC_OK);
	assert_non_null(strstr(err.text, "none"));
	assert_int_not_equal(netlink_make_vlan("v7", "none", 7, &err), RC_OK);
	assert_non_null(strstr(err.text, "none"));
}

static void a_vlan_is_on_its_device(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link add s0 type veth peer name s1");
	if (netlink_make_vlan("v20", "s0", 20, &err) != RC_OK) {
		assert_non_null(strstr(err.text, "network device v20: making the VLAN: "));
		print_message("this kernel has no VLAN devices: %s\n", err.text);
		skip();
	}
	netns_fixture_shows("ip -d link show v20", "v20@s0");
	netns_fixture_shows("ip -d link show v20", "802.1Q id 20");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bridge_gets_its_port_and_is_up),
		cmocka_unit_test(a_device_gets_its_name_and_mtu),
		cmocka_unit_test(what_cannot_be_names_the_device_and_the_reason),
		cmocka_unit_test(a_vlan_is_on_its_device),
	};

	return cmocka_run_group_tests(tests, netns_fixture_set_up, netns_fixture_tear_down);
}
