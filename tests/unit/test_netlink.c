#include "net/netlink.h"
#include "tests/unit/netns_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct err err;
static struct netlink_prefix prefix_of(const char *text)
{
	struct netlink_prefix prefix;

	assert_int_equal(netlink_prefix_parse(&prefix, text, &err), RC_OK);
	return prefix;
}

static void prefixes_are_read_and_written(void **state)
{
	static const char *const right[] = { "192.0.2.7/24", "10.0.0.0/0", "2001:db8::7/64" };
	static const char *const wrong[] = { "",	"192.0.2/24",	"192.0.2.7/33",
					     "::1/129", "192.0.2.7/",	"192.0.2.7/2a",
					     "::/0001", "192.0.2.7/-1", "192.0.2.7/24/1" };
	struct netlink_prefix prefix;
	char text[NETLINK_PREFIX_TEXT];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		prefix = prefix_of(right[i]);
		netlink_prefix_print(text, &prefix);
		assert_string_equal(text, right[i]);
	}
	prefix = prefix_of("2001:db8::9");
	assert_int_equal(prefix.bits, 128);
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(netlink_prefix_parse(&prefix, wrong[i], &err), RC_INVALID);
}

static void an_address_is_there_and_then_is_not_however_often_one_asks(void **state)
{
	static const char *const texts[] = { "192.0.2.7/24", "2001:db8::7/64" };
	size_t i, again;

	(void)state;
	netns_fixture_need();
	for (i = 0; i < 2; i++) {
		struct netlink_prefix prefix = prefix_of(texts[i]);

		for (again = 0; again < 2; again++)
			assert_int_equal(netlink_add_address("cable", &prefix, &err), RC_OK);
		netns_fixture_shows("ip -o addr show dev cable", texts[i]);
	}
	netns_fixture_shows("ip -6 -o addr show dev cable", "nodad");
	assert_null(strstr(netns_fixture_run("ip -6 -o addr show dev cable tentative"), "db8::7"));
	for (i = 0; i < 2; i++) {
		struct netlink_prefix prefix = prefix_of(texts[i]);

		for (again = 0; again < 2; again++)
			assert_int_equal(netlink_remove_address("cable", &prefix, &err), RC_OK);
		assert_null(strstr(netns_fixture_run("ip -o addr show dev cable"), texts[i]));
	}
}

static void an_address_is_removed_whatever_its_prefix_and_no_other_is(void **state)
{
	static const char *const texts[] = { "192.0.2.7/24", "2001:db8::7/64" };
	const char *shown;
	size_t i;

	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run(
		"ip addr add 192.0.2.70/24 dev cable; ip addr add 192.0.2.7/32 dev cable; "
		"ip addr add 192.0.2.7/24 dev cable; ip addr add 192.0.2.7/16 dev cable; "
		"ip addr add 192.0.2.7 peer 192.0.2.9/32 dev cable; "
		"ip addr add 2001:db8::7/128 dev cable nodad; "
		"ip addr add 2001:db8::70/64 dev cable nodad; "
		"ip addr add 192.0.2.7/32 dev lo");
	for (i = 0; i < 2; i++) {
		struct netlink_prefix prefix = prefix_of(texts[i]);

		assert_int_equal(netlink_remove_address("cable", &prefix, &err), RC_OK);
	}
	shown = netns_fixture_run("ip -o addr show dev cable");
	assert_null(strstr(shown, " 192.0.2.7/"));
	assert_null(strstr(shown, " 192.0.2.7 "));
	assert_null(strstr(shown, "2001:db8::7/"));
	assert_non_null(strstr(shown, "192.0.2.70/24"));
	assert_non_null(strstr(shown, "2001:db8::70/64"));
	netns_fixture_shows("ip -o addr show dev lo", "192.0.2.7/32");
	(void)netns_fixture_run("ip addr flush dev cable; ip addr flush dev lo");
}

static char promotes(void)
{
	return *netns_fixture_run("cat /proc/sys/net/ipv4/conf/cable/promote_secondaries");
}

static void removing_an_address_takes_no_other_of_its_network_with_it(void **state)
{
	const struct netlink_prefix prefix = prefix_of("192.0.2.7/24");

	(void)state;
	netns_fixture_need();
	for (int was = '0'; was <= '1'; was++) {
		(void)netns_fixture_run("ip addr add 192.0.2.7/24 dev cable; "
					"ip addr add 192.0.2.8/24 dev cable; "
					"ip route add 198.51.100.0/24 via 192.0.2.1");
		(void)netns_fixture_run(
			was == '0' ? "echo 0 >/proc/sys/net/ipv4/conf/cable/promote_secondaries" :
				     "echo 1 >/proc/sys/net/ipv4/conf/cable/promote_secondaries");
		assert_int_equal(netlink_remove_address("cable", &prefix, &err), RC_OK);
		assert_null(strstr(netns_fixture_run("ip -o addr show dev cable"), "192.0.2.7"));
		netns_fixture_shows("ip -o addr show dev cable", "192.0.2.8/24");
		netns_fixture_shows("ip route", "198.51.100.0/24 via 192.0.2.1");
		assert_int_equal(promotes(), was);
		(void)netns_fixture_run("ip addr flush dev cable");
	}
}

static void the_addresses_of_a_device_are_told_in_the_kernels_order(void **state)
{
	static const char *const texts[] = { "192.0.2.9/24", "192.0.2.8/32", "192.0.2.7/24",
					     "2001:db8::7/64" };
	struct netlink_prefix list[5];
	struct netlink_device device;
	char text[NETLINK_PREFIX_TEXT];
	size_t count, i;

	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip addr flush dev cable; ip addr add 192.0.2.9/24 dev cable; "
				"ip addr add 192.0.2.7/24 dev cable; "
				"ip addr add 192.0.2.8 peer 192.0.2.6/32 dev cable; "
				"ip addr add 2001:db8::7/64 dev cable nodad; "
				"ip addr add 192.0.2.5/32 dev lo");
	assert_int_equal(netlink_get(&device, "cable", &err), RC_OK);
	assert_int_equal(netlink_addresses(list, 5, &count, device.index, &err), RC_OK);
	assert_int_equal(count, 4);
	for (i = 0; i < count; i++) {
		netlink_prefix_print(text, &list[i]);
		assert_string_equal(text, texts[i]);
	}
	assert_int_equal(netlink_addresses(list, 1, &count, device.index, &err), RC_OK);
	assert_int_equal(count, 4);
	(void)netns_fixture_run("ip addr flush dev cable; ip addr flush dev lo");
	assert_int_equal(netlink_addresses(list, 5, &count, device.index, &err), RC_OK);
	assert_int_equal(count, 0);
}

static struct netlink_route route_of(const char *text)
{
	struct netlink_route route;

	assert_int_equal(netlink_route_parse(&route, text, &err), RC_OK);
	return route;
}

static void routes_are_read(void **state)
{
	static const char *const wrong[] = { "",
					     "192.0.2.0/24",
					     " via 192.0.2.1",
					     "192.0.2.0/24 via ",
					     "192.0.2.0/24 via 192.0.2.1/24",
					     "192.0.2.0/24 via 2001:db8::1",
					     "2001:db8::/64 via 192.0.2.1",
					     "192.0.2.7/24 via 192.0.2.1",
					     "2001:db8:0:0:8000::/64 via 2001:db8::1",
					     "Default via 192.0.2.1",
					     "192.0.2.0/24 via 192.0.2.1 dev eth0" };
	char text[NETLINK_PREFIX_TEXT];
	struct netlink_route route = route_of("198.51.100.128/25 via 192.0.2.1");

	(void)state;
	netlink_prefix_print(text, &route.to);
	assert_string_equal(text, "198.51.100.128/25");
	netlink_prefix_print(text, &route.via);
	assert_string_equal(text, "192.0.2.1/32");
	route = route_of("default via 2001:db8::1");
	netlink_prefix_print(text, &route.to);
	assert_string_equal(text, "::/0");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(netlink_route_parse(&route, wrong[i], &err), RC_INVALID);
}

static void a_route_is_there_and_then_is_not_however_often_one_asks(void **state)
{
	static const char *const texts[] = { "198.51.100.0/24 via 192.0.2.1",
					     "default via 192.0.2.1",
					     "2001:db8:1::/48 via 2001:db8::1" };
	struct netlink_prefix own = prefix_of("192.0.2.7/24"), own6 = prefix_of("2001:db8::7/64");
	struct netlink_route routes[3];
	size_t i, again;

	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link set cable up");
	for (i = 0; i < 3; i++)
		routes[i] = route_of(texts[i]);
	assert_int_equal(netlink_add_route("cable", &routes[0], &err), RC_IO);
	assert_non_null(
		strstr(err.text, "cable: adding the route to 198.51.100.0/24 via 192.0.2.1"));
	assert_int_equal(netlink_add_address("cable", &own, &err), RC_OK);
	assert_int_equal(netlink_add_address("cable", &own6, &err), RC_OK);
	for (i = 0; i < 3; i++)
		for (again = 0; again < 2; again++)
			assert_int_equal(netlink_add_route("cable", &routes[i], &err), RC_OK);
	netns_fixture_shows("ip route", texts[0]);
	netns_fixture_shows("ip route", texts[1]);
	netns_fixture_shows("ip -6 route", texts[2]);
	for (i = 0; i < 3; i++)
		for (again = 0; again < 2; again++)
			assert_int_equal(netlink_remove_route("cable", &routes[i], &err), RC_OK);
	assert_null(strstr(netns_fixture_run("ip route"), "via"));
	assert_null(strstr(netns_fixture_run("ip -6 route"), "via"));
	assert_int_equal(netlink_remove_address("cable", &own, &err), RC_OK);
	assert_int_equal(netlink_remove_address("cable", &own6, &err), RC_OK);
}

static void another_way_to_the_same_network_stays(void **state)
{
	struct netlink_prefix own = prefix_of("192.0.2.7/24");
	struct netlink_route route = route_of("198.51.100.0/24 via 192.0.2.1");

	(void)state;
	netns_fixture_need();
	assert_int_equal(netlink_add_address("cable", &own, &err), RC_OK);
	(void)netns_fixture_run("ip route add 198.51.100.0/24 via 192.0.2.9");
	assert_int_equal(netlink_add_route("cable", &route, &err), RC_OK);
	assert_int_equal(netlink_remove_route("cable", &route, &err), RC_OK);
	netns_fixture_shows("ip route", "198.51.100.0/24 via 192.0.2.9");
	assert_int_equal(netlink_remove_address("cable", &own, &err), RC_OK);
}

static void all_ports_of_a_bridge_are_told_and_what_kind_of_tap_they_are(void **state)
{
	struct netlink_device bridge, ports[20];
	size_t count, i;

	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link add br1 type bridge");
	assert_int_equal(netlink_get(&bridge, "br1", &err), RC_OK);
	assert_string_equal(bridge.name, "br1");
	assert_true(bridge.is_bridge && !bridge.stp && !bridge.is_tap);
	assert_int_equal(netlink_ports(ports, 1, &count, bridge.index, &err), RC_OK);
	assert_int_equal(count, 0);
	(void)netns_fixture_run("for i in $(seq 1 20); do "
				"ip link add p$i type veth && ip link set p$i master br1; done; "
				"ip tuntap add t0 mode tap vnet_hdr; "
				"ip tuntap add t1 mode tap multi_queue; ip tuntap add t2 mode tun; "
				"ip link set t0 master br1; ip link set t1 master br1; "
				"ip link set br1 type bridge stp_state 1");
	assert_int_equal(netlink_get(&bridge, "br1", &err), RC_OK);
	assert_true(bridge.stp);
	/* More than there is room for, and more than one datagram of the kernel's. */
	assert_int_equal(netlink_ports(ports, 20, &count, bridge.index, &err), RC_OK);
	assert_int_equal(count, 22);
	for (i = 0; i < 20; i++)
		assert_true(ports[i].name[0] == 'p' && ports[i].bridge == bridge.index &&
			    !ports[i].is_tap && !ports[i].is_bridge);
	assert_int_equal(netlink_get(&ports[0], "t0", &err), RC_OK);
	assert_true(ports[0].is_tap && ports[0].vnet_hdr && !ports[0].multi_queue);
	assert_int_equal(netlink_get(&ports[0], "t1", &err), RC_OK);
	assert_true(ports[0].is_tap && !ports[0].vnet_hdr && ports[0].multi_queue);
	assert_int_equal(netlink_get(&ports[0], "t2", &err), RC_OK);
	assert_false(ports[0].is_tap);
}

static void a_device_that_changes_is_heard_of(void **state)
{
	struct netlink_device device, heard = { 0 };
	bool news;
	int fd;

	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run(
		"ip link add w0 type veth peer name w1 && ip link add wb type bridge");
	assert_int_equal(netlink_watch(&fd, false, &err), RC_OK);
	assert_int_equal(netlink_get(&device, "w0", &err), RC_OK);
	(void)netns_fixture_run("ip link set w1 mtu 1300");
	assert_int_equal(netlink_heard(fd, &heard, device.index, &news, &err), RC_OK);
	assert_false(news);
	(void)netns_fixture_run("ip link set w0 master wb");
	assert_int_equal(netlink_heard(fd, &heard, device.index, &news, &err), RC_OK);
	assert_true(news);
	assert_int_equal(netlink_get(&device, "wb", &err), RC_OK);
	assert_int_equal(heard.bridge, device.index);
	(void)netns_fixture_run("ip link del wb"); /* the bridge says of its port that it is gone */
	assert_int_equal(netlink_heard(fd, &heard, heard.index, &news, &err), RC_OK);
	assert_true(news);
	assert_string_equal(heard.name, "w0");
	assert_int_equal(heard.bridge, 0);
	(void)close(fd);
}

static void news_that_were_lost_are_told_as_such(void **state)
{
	const int little = 1; /* the kernel makes it room for one or two */
	struct netlink_device device;
	bool news;
	int fd;

	(void)state;
	netns_fixture_need();
	assert_int_equal(netlink_watch(&fd, false, &err), RC_OK);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little)), 0);
	assert_int_equal(netlink_get(&device, "cable", &err), RC_OK);
	(void)netns_fixture_run("for i in 1 2 3 4 5 6 7 8; do ip link set cable mtu 130$i; done");
	assert_int_equal(netlink_heard(fd, &device, device.index, &news, &err), RC_IO);
	(void)netns_fixture_run("ip link set cable mtu 1500");
	assert_int_equal(netlink_heard(fd, &device, device.index, &news, &err), RC_OK);
	assert_true(news);
	assert_int_equal(device.mtu, 1500);
	(void)close(fd);
}

static void a_change_of_a_devices_addresses_and_routes_is_heard_of(void **state)
{
	static const char *const changes[] = {
		"ip addr add 192.0.2.9/24 dev cable", "ip addr add 2001:db8::9/64 dev cable nodad",
		"ip link set cable mtu 1400",	      "ip addr del 2001:db8::9/64 dev cable",
		"ip addr del 192.0.2.9/24 dev cable",
	};
	struct netlink_device device;
	size_t i;
	int fd;

	(void)state;
	netns_fixture_need();
	assert_int_equal(netlink_get(&device, "cable", &err), RC_OK);
	assert_int_equal(netlink_watch(&fd, true, &err), RC_OK);
	assert_false(netlink_changed(fd, device.index));
	for (i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		(void)netns_fixture_run(changes[i]);
		assert_true(netlink_changed(fd, device.index));
		assert_false(netlink_changed(fd, device.index));
	}
	(void)netns_fixture_run("ip addr add 192.0.2.9/24 dev cable; "
				"ip route add 198.51.100.0/24 via 192.0.2.1");
	(void)netlink_changed(fd, device.index);
	(void)netns_fixture_run("ip route del 198.51.100.0/24");
	assert_true(netlink_changed(fd, device.index));
	(void)netns_fixture_run("ip addr add 192.0.2.9/24 dev lo; ip addr del 192.0.2.9/24 dev lo; "
				"ip link add w0 type dummy; ip link del w0");
	assert_false(netlink_changed(fd, device.index));
	(void)netns_fixture_run("ip addr flush dev cable");
	(void)close(fd);
}

static void what_the_kernel_refuses_is_said(void **state)
{
	struct netlink_prefix prefix = prefix_of("192.0.2.7/24");

	(void)state;
	netns_fixture_need();
	assert_int_equal(netlink_add_address("nosuch", &prefix, &err), RC_IO);
	assert_non_null(strstr(err.text, "nosuch"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prefixes_are_read_and_written),
		cmocka_unit_test(an_address_is_there_and_then_is_not_however_often_one_asks),
		cmocka_unit_test(an_address_is_removed_whatever_its_prefix_and_no_other_is),
		cmocka_unit_test(removing_an_address_takes_no_other_of_its_network_with_it),
		cmocka_unit_test(the_addresses_of_a_device_are_told_in_the_kernels_order),
		cmocka_unit_test(routes_are_read),
		cmocka_unit_test(a_route_is_there_and_then_is_not_however_often_one_asks),
		cmocka_unit_test(another_way_to_the_same_network_stays),
		cmocka_unit_test(all_ports_of_a_bridge_are_told_and_what_kind_of_tap_they_are),
		cmocka_unit_test(a_device_that_changes_is_heard_of),
		cmocka_unit_test(news_that_were_lost_are_told_as_such),
		cmocka_unit_test(a_change_of_a_devices_addresses_and_routes_is_heard_of),
		cmocka_unit_test(what_the_kernel_refuses_is_said),
	};

	return cmocka_run_group_tests(tests, netns_fixture_set_up, netns_fixture_tear_down);
}
