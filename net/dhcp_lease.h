/*
 * What a DHCP server gives (RFC 2131, 2132, 3442), of which nothing is believed that could not be: pure, no I/O.
 */
#ifndef NET_DHCP_LEASE_H
#define NET_DHCP_LEASE_H

#include "net/netlink.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DHCP_ROUTES_MAX 16 /* more are left out */
#define DHCP_DNS_MAX 3	   /* as many as a resolver asks */

/* The options that are asked for. */
enum dhcp_option {
	DHCP_MASK = 1,
	DHCP_ROUTERS = 3,
	DHCP_DNS = 6,
	DHCP_MTU = 26,
	DHCP_CLASSLESS_ROUTES = 121
};

/* As they came; NULL: it did not come. */
struct dhcp_value {
	const uint8_t *data;
	size_t len;
};
struct dhcp_values {
	struct dhcp_value mask, routers, dns, mtu, routes;
};

struct dhcp_lease {
	struct netlink_prefix address;
	struct netlink_route routes[DHCP_ROUTES_MAX];
	size_t nroutes;
	struct netlink_prefix dns[DHCP_DNS_MAX];
	size_t ndns;
	unsigned mtu;	 /* 0: not given */
	uint64_t end_ns; /* when it runs out (clock.h); UINT64_MAX: never */
};

/*
 * RC_INVALID: it is no address that a device can have, or its network's mask is none. Without a mask it is its class's. Of
 * routes and servers what cannot be is left out; a list of classless routes that is cut short counts up to there. Its end is the caller's
 * to set.
 */
int dhcp_lease_read(struct dhcp_lease *lease, const uint8_t ip[4], const struct dhcp_values *values,
		    struct err *err);

#endif
