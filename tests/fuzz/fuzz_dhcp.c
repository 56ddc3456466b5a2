/*
 * A DHCP server's message, as anybody on the network can send it: read by the library, whose functions for that are its own
 * affair, and what it has of options by ours. Whatever it is: an address that a device can have, networks and routers
 * that can be, or none.
 */
#include "net/card_addresses.h"
#include "net/dhcp_lease.h"
#include "tests/fuzz/fuzz.h"

/* Of n-dhcp4-private.h. */
struct NDhcp4Incoming;
int n_dhcp4_incoming_new(struct NDhcp4Incoming **incoming, const void *raw, size_t len);
struct NDhcp4Incoming *n_dhcp4_incoming_free(struct NDhcp4Incoming *incoming);
int n_dhcp4_incoming_query(struct NDhcp4Incoming *incoming, uint8_t option, uint8_t **data,
			   size_t *len);

static struct dhcp_value value_of(struct NDhcp4Incoming *message, enum dhcp_option option)
{
	struct dhcp_value value = { 0 };
	uint8_t *data;

	if (n_dhcp4_incoming_query(message, (uint8_t)option, &data, &value.len) == 0)
		value.data = data;
	return value;
}

static void check(const struct dhcp_lease *lease)
{
	CHECK(card_address_is_possible(4, lease->address.ip) && lease->address.bits <= 32);
	CHECK(!netlink_prefix_is_for_all(&lease->address));
	CHECK(lease->nroutes <= DHCP_ROUTES_MAX && lease->ndns <= DHCP_DNS_MAX);
	CHECK(lease->mtu == 0 || (lease->mtu >= 576 && lease->mtu <= 65535));
	for (size_t i = 0; i < lease->nroutes; i++) {
		CHECK(netlink_prefix_is_network(&lease->routes[i].to));
		CHECK(card_address_is_possible(4, lease->routes[i].via.ip));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct NDhcp4Incoming *message;
	struct dhcp_values values;
	struct dhcp_lease lease;
	struct err err;

	if (n_dhcp4_incoming_new(&message, data, size) != 0)
		return 0;
	values = (struct dhcp_values){ .mask = value_of(message, DHCP_MASK),
				       .routers = value_of(message, DHCP_ROUTERS),
				       .dns = value_of(message, DHCP_DNS),
				       .mtu = value_of(message, DHCP_MTU),
				       .routes = value_of(message, DHCP_CLASSLESS_ROUTES) };
	if (dhcp_lease_read(&lease, data + 16, &values, &err) == RC_OK) /* yiaddr */
		check(&lease);
	n_dhcp4_incoming_free(message);
	return 0;
}
