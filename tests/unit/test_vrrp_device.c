/* A VRRP group's device: the kernel is asked about it only when something of it has changed. */
#include "net/vrrp_device.h"
#include "tests/unit/netns_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct vrrp_device device;
static struct err err;
static int set_up(void **state)
{
	(void)state;
	(void)netns_fixture_create();
	device = (struct vrrp_device){
		.name = "cable", .address_count = 2, .route_count = 1, .news = -1
	};
	return netlink_prefix_parse(&device.addresses[0], "192.0.2.77/24", &err) != RC_OK ||
	       netlink_prefix_parse(&device.addresses[1], "2001:db8::77/64", &err) != RC_OK ||
	       netlink_route_parse(&device.routes[0], "198.51.100.0/24 via 192.0.2.1", &err) !=
		       RC_OK;
}

static int tear_down(void **state)
{
	(void)state;
	vrrp_device_close(&device);
	netns_fixture_remove();
	return 0;
}

static void is_found(void)
{
	assert_int_equal(vrrp_device_open(&device, &err), RC_OK);
	assert_int_equal(vrrp_device_find(&device, &err), RC_OK);
}

/* Looks, and puts on what is missing, until there are no news any more. */
static unsigned settle(void)
{
	unsigned looks = 0;
	bool added;

	while (vrrp_device_has_news(&device) && looks < 10) {
		looks++;
		assert_int_equal(vrrp_device_look(&device, &err), RC_OK);
		assert_int_equal(vrrp_device_put_on(&device, &added, &err), RC_OK);
	}
	return looks;
}

static void what_has_been_put_on_is_looked_at_once_more_and_then_no_more(void **state)
{
	static const char *const changes[] = {
		"ip addr del 192.0.2.77/24 dev cable",
		"ip -6 addr del 2001:db8::77/64 dev cable",
		"ip route del 198.51.100.0/24",
		"ip link set cable down; ip link set cable up",
	};

	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip addr add 192.0.2.2/24 dev cable");
	is_found();
	assert_true(settle() <= 3);
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		const char *shown;

		assert_int_equal(settle(), 0);
		(void)netns_fixture_run(changes[i]);
		assert_in_range(settle(), 1, 3);
		shown = netns_fixture_run("ip -o addr show dev cable; ip route");
		assert_non_null(strstr(shown, "192.0.2.77/24"));
		assert_non_null(strstr(shown, "2001:db8::77/64"));
		assert_non_null(strstr(shown, "198.51.100.0/24 via 192.0.2.1"));
	}
	assert_int_equal(vrrp_device_take_off(&device, &err), RC_OK);
}

static void its_own_address_stays_as_long_as_it_is_there(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip addr add 192.0.2.2/24 dev cable");
	is_found();
	assert_int_equal(device.own, 0xc0000202);
	(void)netns_fixture_run("ip addr flush dev cable; ip addr add 192.0.2.77/24 dev cable; "
				"ip addr add 192.0.2.3/24 dev cable; "
				"ip addr add 192.0.2.2/24 dev cable");
	assert_int_equal(vrrp_device_look(&device, &err), RC_OK);
	assert_int_equal(device.own, 0xc0000202);
	(void)netns_fixture_run("ip addr del 192.0.2.2/24 dev cable");
	assert_int_equal(vrrp_device_look(&device, &err), RC_OK);
	assert_int_equal(device.own, 0xc0000203);
	(void)netns_fixture_run("ip addr del 192.0.2.3/24 dev cable");
	assert_int_equal(vrrp_device_look(&device, &err), RC_STATE);
	assert_non_null(strstr(err.text, "but 192.0.2.77/24, which is the group's"));
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CLAIM(what_has_been_put_on_is_looked_at_once_more_and_then_no_more),
		CLAIM(its_own_address_stays_as_long_as_it_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
