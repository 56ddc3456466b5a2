#include "appliance/init_internal.h"
#include "appliance/machine_problems.h"
#include "tests/unit/netns_fixture.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* The machine's part of a configuration, as process 1 reads it, is done. */
static bool set_up_network(const char *network)
{
	struct config config = { 0 };
	struct buf problems = { 0 };
	bool reached;
	char text[4096];
	struct err err;

	(void)snprintf(text, sizeof(text), "{\"machine\": {\"network\": [%s]}}", network);
	(void)config_check(&config, CONFIG_STANDBY, "config.json", "/", text, strlen(text),
			   &problems, &err); /* all else is missing */
	reached = init_network(&config);
	config_free(&config);
	buf_free(&problems);
	return reached;
}

static void cards_get_names_bridges_ports_and_all_addresses(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link add e0 address 52:54:00:00:00:01 type veth; "
				"ip link add e1 address 52:54:00:00:00:02 type veth");
	(void)set_up_network(
		"{\"name\": \"lan0\", \"mac\": \"52:54:00:00:00:01\", \"mtu\": 1400},"
		"{\"name\": \"wan0\", \"mac\": \"52:54:00:00:00:02\", \"addresses\": [\"192.0.2.2/24\", \"2001:db8::2/64\"],"
		" \"routes\": [\"default via 192.0.2.1\", \"default via 2001:db8::1\"]},"
		"{\"name\": \"br0\", \"ports\": [\"lan0\"], \"addresses\": [\"203.0.113.2/24\"]}");
	netns_fixture_shows("ip -d link show lan0", "mtu 1400");
	netns_fixture_shows("ip -d link show lan0", "master br0");
	netns_fixture_shows("ip -d link show lan0", "MULTICAST,UP");
	netns_fixture_shows("ip -d link show br0", "stp_state 0");
	netns_fixture_shows("ip addr show br0", "203.0.113.2/24");
	netns_fixture_shows("ip addr show wan0", "2001:db8::2/64");
	netns_fixture_shows("ip route", "default via 192.0.2.1 dev wan0");
	netns_fixture_shows("ip -6 route", "default via 2001:db8::1 dev wan0");
	netns_fixture_shows("ip addr show lo", "127.0.0.1");
}

static void cards_may_exchange_their_names(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run(
		"ip link add i0 address 52:54:00:00:00:04 type veth peer name card0; "
		"ip link add i1 address 52:54:00:00:00:05 type veth");
	(void)set_up_network("{\"name\": \"i1\", \"mac\": \"52:54:00:00:00:04\"},"
			     "{\"name\": \"i0\", \"mac\": \"52:54:00:00:00:05\"}");
	netns_fixture_shows("ip link show i1", "52:54:00:00:00:04");
	netns_fixture_shows("ip link show i1", "MULTICAST,UP");
	netns_fixture_shows("ip link show i0", "52:54:00:00:00:05");
	netns_fixture_shows("ip link show i0", "MULTICAST,UP");
}

/* All that is wrong is told, of a device, too, that is not to be had. */
static void what_is_wrong_or_not_there_is_told_and_keeps_no_other_device_from_being_set_up(
	void **state)
{
	char dir[SCRATCH_MAX], path[SCRATCH_MAX + 16];
	struct buf lines;
	struct err err;

	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link add f0 address 52:54:00:00:00:03 type veth");
	assert_int_equal(scratch_make(dir, "problems"), 0);
	(void)snprintf(path, sizeof(path), "%s/problems", dir);
	machine_problems_keep(path);
	(void)set_up_network(
		"{\"mac\": \"52:54:00:00:00:98\"}, {\"name\": 7}, 8,"
		"{\"name\": \"lan5\", \"mac\": \"52:54:00:00:00:99\", \"addresses\": [\"192.0.2.9/24\"]},"
		"{\"name\": \"lan6\", \"mac\": \"52:54:00:00:00:03\", \"addresses\": [\"192.0.2.10/24\"],"
		" \"routes\": [\"default via 198.51.100.1\"]}");
	machine_problems_keep(NULL);
	netns_fixture_shows("ip addr show lan6", "192.0.2.10/24");
	assert_int_equal(machine_problems_read(&lines, path, &err), RC_OK);
	assert_true(buf_append_u8(&lines, 0));
	assert_non_null(strstr((const char *)lines.data,
			       "network: no card has the address 52:54:00:00:00:99; there are "));
	assert_non_null(strstr((const char *)lines.data, "198.51.100.1"));
	buf_free(&lines);
	assert_int_equal(unlink(path) | rmdir(dir), 0);
}

/* Bridges are none; what is a port has its use. */
static void of_a_card_that_is_missing_it_is_told_which_are_there(void **state)
{
	char dir[SCRATCH_MAX], path[SCRATCH_MAX + 16];
	struct buf lines;
	struct err err;

	(void)state;
	netns_fixture_remove();
	assert_true(netns_fixture_create());
	(void)netns_fixture_run("ip link del cable; "
				"ip link add j0 address 52:54:00:00:00:06 type veth "
				"peer name j1 address 52:54:00:00:00:07");
	assert_int_equal(scratch_make(dir, "problems"), 0);
	(void)snprintf(path, sizeof(path), "%s/problems", dir);
	machine_problems_keep(path);
	assert_true(set_up_network("{\"name\": \"lan0\", \"mac\": \"52:54:00:00:00:06\"},"
				   "{\"name\": \"j1\"},"
				   "{\"name\": \"br7\", \"ports\": [\"j1\"]},"
				   "{\"name\": \"lan8\"},"
				   "{\"name\": \"lan9\", \"mac\": \"52:54:00:00:00:99\"}"));
	machine_problems_keep(NULL);
	assert_int_equal(machine_problems_read(&lines, path, &err), RC_OK);
	assert_true(buf_append_u8(&lines, 0));
	assert_string_equal(
		(const char *)lines.data,
		"network: network device lan8: No such device; there are lan0 (52:54:00:00:00:06)\n"
		"network: no card has the address 52:54:00:00:00:99; there are lan0 (52:54:00:00:00:06)\n");
	buf_free(&lines);
	assert_int_equal(unlink(path) | rmdir(dir), 0);
}

/* One that has the name of the right one by chance is no port in its place. */
static void where_a_card_is_missing_those_that_nobody_means_can_be_reached(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link add k0 address 52:54:00:00:00:08 type veth "
				"peer name k1 address 52:54:00:00:00:09");
	assert_false(set_up_network(
		"{\"name\": \"k0\", \"mac\": \"52:54:00:00:00:98\"},"
		"{\"name\": \"br8\", \"ports\": [\"k0\"], \"addresses\": [\"192.0.2.8/24\"]}"));
	netns_fixture_shows("ip -6 addr show scope link", "inet6 fe80::5054:ff:fe00:8/64");
	netns_fixture_shows("ip -6 addr show scope link", "inet6 fe80::5054:ff:fe00:9/64");
	assert_string_equal(netns_fixture_run("ip link show master br8"), "");
	assert_true(set_up_network("{\"name\": \"k1\"}"));
}

static void cards_that_nobody_means_stay_down_where_none_is_missing(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link add l0 type veth peer name l1");
	assert_true(set_up_network("{\"name\": \"l0\"}"));
	netns_fixture_shows("ip link show l0", "MULTICAST,UP");
	netns_fixture_shows("ip link show l1", "state DOWN");
}

static void without_a_device_all_cards_are_up_with_the_address_of_their_link(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link add g0 type veth peer name g1");
	(void)set_up_network("");
	netns_fixture_shows("ip link show g0", "MULTICAST,UP");
	netns_fixture_shows("ip link show g1", "MULTICAST,UP");
	netns_fixture_shows("ip -6 addr show g0", "inet6 fe80::");
	assert_null(strstr(netns_fixture_run("ip addr show g0"), "inet "));
}

/* Of each device, and of those that come later. */
static void router_advertisements_are_not_heeded(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("echo 1 >/proc/sys/net/ipv6/conf/default/accept_ra; "
				"ip link add h0 type veth peer name h1");
	netns_fixture_shows("cat /proc/sys/net/ipv6/conf/h0/accept_ra", "1");
	(void)set_up_network(
		"{\"name\": \"h0\"}, {\"name\": \"h1\"}, {\"name\": \"br9\", \"ports\": [\"h1\"]}");
	netns_fixture_shows("cat /proc/sys/net/ipv6/conf/h0/accept_ra", "0");
	netns_fixture_shows("cat /proc/sys/net/ipv6/conf/br9/accept_ra", "0");
	netns_fixture_shows("cat /proc/sys/net/ipv6/conf/default/accept_ra", "0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cards_get_names_bridges_ports_and_all_addresses),
		cmocka_unit_test(cards_may_exchange_their_names),
		cmocka_unit_test(
			what_is_wrong_or_not_there_is_told_and_keeps_no_other_device_from_being_set_up),
		cmocka_unit_test(of_a_card_that_is_missing_it_is_told_which_are_there),
		cmocka_unit_test(where_a_card_is_missing_those_that_nobody_means_can_be_reached),
		cmocka_unit_test(cards_that_nobody_means_stay_down_where_none_is_missing),
		cmocka_unit_test(router_advertisements_are_not_heeded),
		cmocka_unit_test(without_a_device_all_cards_are_up_with_the_address_of_their_link),
	};

	return cmocka_run_group_tests(tests, netns_fixture_set_up, netns_fixture_tear_down);
}
