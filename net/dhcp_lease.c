#include "net/dhcp_lease.h"

#include "appliance/base/bytes.h"
#include "net/card_addresses.h"

#include <string.h>

#define MTU_LEAST 1280 /* less would take a device its IPv6 */

/* Of its class, as it was before there were masks. */
static uint8_t class_bits(const uint8_t ip[4])
{
	if (ip[0] < 128)
		return 8;
	return ip[0] < 192 ? 16 : 24;
}

static int read_mask(uint8_t *bits, const struct dhcp_value *mask, struct err *err)
{
	uint32_t value;

	if (mask->data == NULL)
		return RC_OK;
	if (mask->len != 4)
		return err_set(err, RC_INVALID, "a network mask of %zu bytes", mask->len);
	value = bytes_get_be32(mask->data);
	if ((~value & (~value + 1)) != 0)
		return err_set(err, RC_INVALID, "%u.%u.%u.%u is no network mask", mask->data[0],
			       mask->data[1], mask->data[2], mask->data[3]);
	*bits = (uint8_t)__builtin_popcount(value);
	return RC_OK;
}

static struct netlink_prefix address_of(const uint8_t ip[4], uint8_t bits)
{
	struct netlink_prefix prefix = { .version = 4, .bits = bits };

	memcpy(prefix.ip, ip, 4);
	return prefix;
}

/* The router is on the link even if it is in no network of the address: so it is at some clouds. */
static void add_route(struct dhcp_lease *lease, const struct netlink_prefix *to,
		      const uint8_t router[4])
{
	const struct netlink_prefix via = address_of(router, 32);

	if (lease->nroutes == DHCP_ROUTES_MAX || !netlink_prefix_is_network(to) ||
	    !card_address_is_possible(4, via.ip) ||
	    memcmp(via.ip, lease->address.ip, sizeof(via.ip)) == 0)
		return;
	lease->routes[lease->nroutes++] =
		(struct netlink_route){ .to = *to, .via = via, .on_link = true };
}

/* Each is the bits of a network, as many bytes of its address as have bits, and a router. */
static void read_classless(struct dhcp_lease *lease, const struct dhcp_value *routes)
{
	struct cursor c = cursor_of(routes->data, routes->len);
	const uint8_t *network, *router;

	while (c.left > 0) {
		struct netlink_prefix to = { .version = 4, .bits = cursor_u8(&c) };

		if (to.bits > 32)
			return;
		network = cursor_bytes(&c, (to.bits + 7u) / 8);
		router = cursor_bytes(&c, 4);
		if (network == NULL || router == NULL)
			return;
		memcpy(to.ip, network, (to.bits + 7u) / 8);
		add_route(lease, &to, router);
	}
}

static void read_routes(struct dhcp_lease *lease, const struct dhcp_values *values)
{
	const struct netlink_prefix all = { .version = 4 };

	if (values->routes.data != NULL)
		read_classless(lease, &values->routes);
	else if (values->routers.data != NULL && values->routers.len >= 4)
		add_route(lease, &all, values->routers.data);
}

static void read_servers(struct dhcp_lease *lease, const struct dhcp_value *dns)
{
	for (size_t at = 0; dns->data != NULL && dns->len - at >= 4 && lease->ndns < DHCP_DNS_MAX;
	     at += 4) {
		const struct netlink_prefix server = address_of(dns->data + at, 32);

		if (card_address_is_possible(4, server.ip))
			lease->dns[lease->ndns++] = server;
	}
}

int dhcp_lease_read(struct dhcp_lease *lease, const uint8_t ip[4], const struct dhcp_values *values,
		    struct err *err)
{
	uint8_t bits = class_bits(ip);
	int rc = read_mask(&bits, &values->mask, err);

	if (rc != RC_OK)
		return rc;
	*lease = (struct dhcp_lease){ .address = address_of(ip, bits) };
	if (!card_address_is_possible(4, lease->address.ip) ||
	    netlink_prefix_is_for_all(&lease->address))
		return err_set(err, RC_INVALID,
			       "%u.%u.%u.%u/%u is no address that a device can have", ip[0], ip[1],
			       ip[2], ip[3], bits);
	read_routes(lease, values);
	read_servers(lease, &values->dns);
	if (values->mtu.data != NULL && values->mtu.len == 2 &&
	    bytes_get_be16(values->mtu.data) >= MTU_LEAST)
		lease->mtu = bytes_get_be16(values->mtu.data);
	return RC_OK;
}
