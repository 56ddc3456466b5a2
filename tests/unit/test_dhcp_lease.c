#include "net/dhcp_lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct dhcp_lease lease;
static struct err err;

#define VALUE(...)                                                                   \
	(struct dhcp_value)                                                          \
	{                                                                            \
		(const uint8_t[]){ __VA_ARGS__ }, sizeof((uint8_t[]){ __VA_ARGS__ }) \
	}

static int lease_of(uint8_t a, uint8_t b, uint8_t c, uint8_t d, const struct dhcp_values *values)
{
	return dhcp_lease_read(&lease, (const uint8_t[]){ a, b, c, d }, values, &err);
}

static void expect_prefix(const struct netlink_prefix *prefix, const char *text)
{
	char printed[NETLINK_PREFIX_TEXT];

	netlink_prefix_print(printed, prefix);
	assert_string_equal(printed, text);
}

static void an_address_with_its_mask_router_servers_and_mtu_is_taken(void **state)
{
	const struct dhcp_values values = { .mask = VALUE(255, 255, 255, 128),
					    .routers = VALUE(192, 0, 2, 1, 192, 0, 2, 3),
					    .dns = VALUE(192, 0, 2, 53, 0, 0, 0, 0, 192, 0, 2, 54),
					    .mtu = VALUE(5, 180) };

	(void)state;
	assert_int_equal(lease_of(192, 0, 2, 7, &values), RC_OK);
	expect_prefix(&lease.address, "192.0.2.7/25");
	assert_int_equal(lease.nroutes, 1);
	expect_prefix(&lease.routes[0].to, "0.0.0.0/0");
	expect_prefix(&lease.routes[0].via, "192.0.2.1/32");
	assert_true(lease.routes[0].on_link);
	assert_int_equal(lease.ndns, 2);
	expect_prefix(&lease.dns[1], "192.0.2.54/32");
	assert_int_equal(lease.mtu, 1460);
}

static void without_a_mask_it_is_that_of_its_class(void **state)
{
	const struct dhcp_values none = { 0 };

	(void)state;
	assert_int_equal(lease_of(10, 1, 2, 3, &none), RC_OK);
	expect_prefix(&lease.address, "10.1.2.3/8");
	assert_int_equal(lease_of(172, 16, 2, 3, &none), RC_OK);
	expect_prefix(&lease.address, "172.16.2.3/16");
	assert_int_equal(lease_of(198, 51, 100, 3, &none), RC_OK);
	expect_prefix(&lease.address, "198.51.100.3/24");
	assert_int_equal(lease.nroutes + lease.ndns + lease.mtu, 0);
}

static void routes_without_a_class_stand_for_the_routers(void **state)
{
	const struct dhcp_values values = { .mask = VALUE(255, 255, 255, 0),
					    .routers = VALUE(192, 0, 2, 1),
					    .routes = VALUE(25, 198, 51, 100, 128, 192, 0, 2, 9, 0,
							    192, 0, 2, 8) };

	(void)state;
	assert_int_equal(lease_of(192, 0, 2, 7, &values), RC_OK);
	assert_int_equal(lease.nroutes, 2);
	expect_prefix(&lease.routes[0].to, "198.51.100.128/25");
	expect_prefix(&lease.routes[0].via, "192.0.2.9/32");
	expect_prefix(&lease.routes[1].to, "0.0.0.0/0");
	expect_prefix(&lease.routes[1].via, "192.0.2.8/32");
}

static void an_address_or_mask_that_cannot_be_is_refused(void **state)
{
	const struct dhcp_values none = { 0 };

	(void)state;
	assert_int_equal(lease_of(0, 0, 0, 0, &none), RC_INVALID);
	assert_int_equal(lease_of(127, 0, 0, 1, &none), RC_INVALID);
	assert_int_equal(lease_of(224, 0, 0, 1, &none), RC_INVALID);
	assert_int_equal(lease_of(255, 255, 255, 255, &none), RC_INVALID);
	assert_int_equal(lease_of(192, 0, 2, 0, &none), RC_INVALID);
	assert_string_equal(err.text, "192.0.2.0/24 is no address that a device can have");
	assert_int_equal(lease_of(192, 0, 2, 7,
				  &(struct dhcp_values){ .mask = VALUE(255, 0, 255, 0) }),
			 RC_INVALID);
	assert_string_equal(err.text, "255.0.255.0 is no network mask");
	assert_int_equal(lease_of(192, 0, 2, 7, &(struct dhcp_values){ .mask = VALUE(255, 255) }),
			 RC_INVALID);
}

/* A router that is no host or ourselves, a network with bits behind its length, a list that is cut short. */
static void what_cannot_be_of_the_rest_is_left_out(void **state)
{
	const struct dhcp_value lists[] = {
		VALUE(0, 0, 0, 0, 0),
		VALUE(0, 127, 0, 0, 1),
		VALUE(0, 192, 0, 2, 7),
		VALUE(24, 198, 51, 100, 192, 0, 2),
		VALUE(33, 1, 2, 3, 4, 192, 0, 2),
		VALUE(20, 198, 51, 100, 192, 0, 2, 1),
		VALUE(24),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		assert_int_equal(
			lease_of(192, 0, 2, 7, &(struct dhcp_values){ .routes = lists[i] }), RC_OK);
		assert_int_equal(lease.nroutes, 0);
	}
	assert_int_equal(lease_of(192, 0, 2, 7,
				  &(struct dhcp_values){ .routers = VALUE(192, 0, 2),
							 .dns = VALUE(192, 0, 2),
							 .mtu = VALUE(4, 255) }), /* 1279 */
			 RC_OK);
	assert_int_equal(lease.nroutes + lease.ndns + lease.mtu, 0);
}

static void more_than_there_is_room_for_is_left_out(void **state)
{
	uint8_t routes[5 * 40], dns[4 * 40];

	(void)state;
	for (size_t i = 0; i < 40; i++) {
		memcpy(routes + 5 * i, (const uint8_t[]){ 0, 192, 0, 2, 9 }, 5);
		memcpy(dns + 4 * i, (const uint8_t[]){ 192, 0, 2, 53 }, 4);
	}
	assert_int_equal(lease_of(192, 0, 2, 7,
				  &(struct dhcp_values){ .routes = { routes, sizeof(routes) },
							 .dns = { dns, sizeof(dns) } }),
			 RC_OK);
	assert_int_equal(lease.nroutes, DHCP_ROUTES_MAX);
	assert_int_equal(lease.ndns, DHCP_DNS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_with_its_mask_router_servers_and_mtu_is_taken),
		cmocka_unit_test(without_a_mask_it_is_that_of_its_class),
		cmocka_unit_test(routes_without_a_class_stand_for_the_routers),
		cmocka_unit_test(an_address_or_mask_that_cannot_be_is_refused),
		cmocka_unit_test(what_cannot_be_of_the_rest_is_left_out),
		cmocka_unit_test(more_than_there_is_room_for_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
