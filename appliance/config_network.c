#include "appliance/config.h"
#include "appliance/config_keys.h"
#include "appliance/config_patterns.h"
#include "net/netlink.h"
#include "net/port.h"
#include "net/vrrp_speaker.h"

#include <string.h>

#define PRIMARY (1U << CONFIG_PRIMARY)
#define STANDBY (1U << CONFIG_STANDBY)

int config_check_device(const char *text, struct err *err)
{
	if (strlen(text) == 0 || strlen(text) > PORT_NAME_MAX || strpbrk(text, "/ :%") != NULL ||
	    strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
		return err_set(
			err, RC_INVALID,
			"a network device's name has 1 to %d bytes, without / : %% or spaces",
			PORT_NAME_MAX);
	return RC_OK;
}

static const struct json_field nic_fields[] = {
	{ .key = "name",
	  .type = JSON_NAME,
	  .required = true,
	  .offset = offsetof(struct config_nic, name),
	  .doc = "the network card's name, the same at both sites" },
	{ .key = "socket",
	  .type = JSON_SOCKET,
	  .roles = PRIMARY,
	  .offset = offsetof(struct config_nic, socket),
	  .doc = "unix socket of the agent: remote.path of QEMU's -netdev dgram" },
	{ .key = "qemu_socket",
	  .type = JSON_SOCKET,
	  .roles = PRIMARY,
	  .offset = offsetof(struct config_nic, qemu_socket),
	  .doc = "unix socket of QEMU: local.path of the same" },
	{ .key = "netdev",
	  .type = JSON_NAME,
	  .roles = PRIMARY,
	  .offset = offsetof(struct config_nic, netdev),
	  .doc = "instead of the sockets: id of QEMU's -netdev tap" },
	{ .key = "guest_bridge",
	  .type = JSON_TEXT,
	  .kind = "device",
	  .check = config_check_device,
	  .pattern = DEVICE_PATTERN,
	  .roles = PRIMARY,
	  .offset = offsetof(struct config_nic, guest_bridge),
	  .doc = "bridge that QEMU's tap is a port of, and nothing else" },
	{ .key = "guest_tap",
	  .type = JSON_TEXT,
	  .kind = "device",
	  .check = config_check_device,
	  .pattern = DEVICE_PATTERN,
	  .roles = PRIMARY,
	  .offset = offsetof(struct config_nic, guest_tap),
	  .doc = "tap device to make in it, by which the agent takes what the instance sends" },
	{ .key = "output_commit",
	  .type = JSON_BOOL,
	  .fallback = true,
	  .roles = PRIMARY,
	  .offset = offsetof(struct config_nic, output_commit),
	  .doc = "hold what the instance sends until its epoch is committed; false: an answer may be "
		 "lost in a takeover" },
	{ .key = "tap",
	  .type = JSON_TEXT,
	  .kind = "device",
	  .check = config_check_device,
	  .pattern = DEVICE_PATTERN,
	  .required = true,
	  .roles = STANDBY,
	  .offset = offsetof(struct config_nic, tap),
	  .doc = "tap device to make, through which clients reach the instance" },
	{ .key = "tap",
	  .type = JSON_TEXT,
	  .kind = "device",
	  .check = config_check_device,
	  .pattern = DEVICE_PATTERN,
	  .roles = PRIMARY,
	  .offset = offsetof(struct config_nic, tap),
	  .doc = "announce mode: tap device to make, through which clients reach the instance at this site; "
		 "absent: gateway mode, they reach it through the standby" },
	{ .key = "bridge",
	  .type = JSON_TEXT,
	  .kind = "device",
	  .check = config_check_device,
	  .pattern = DEVICE_PATTERN,
	  .offset = offsetof(struct config_nic, bridge),
	  .doc = "bridge to add it to; absent: none" },
};
const struct json_table config_nic_table = JSON_TABLE(nic_fields);

int config_check_prefix(const char *text, struct err *err)
{
	struct netlink_prefix prefix;
	const int rc = netlink_prefix_parse(&prefix, text, err);

	if (rc != RC_OK || (card_address_is_possible(prefix.version, prefix.ip) &&
			    !netlink_prefix_is_for_all(&prefix)))
		return rc;
	return err_set(err, RC_INVALID, "%s: is no address that a device can have", text);
}

int config_check_route(const char *text, struct err *err)
{
	struct netlink_route route;

	return netlink_route_parse(&route, text, err);
}

static const struct json_field vrrp_fields[] = {
	{ .key = "device",
	  .type = JSON_TEXT,
	  .kind = "device",
	  .check = config_check_device,
	  .pattern = DEVICE_PATTERN,
	  .required = true,
	  .offset = offsetof(struct config_vrrp, device),
	  .doc = "network device that gets the addresses, with an IPv4 address of its own to send from" },
	{ .key = "group",
	  .type = JSON_U32,
	  .required = true,
	  .min = 1,
	  .max = 255,
	  .offset = offsetof(struct config_vrrp, group),
	  .doc = "virtual router identifier (VRID; keepalived: virtual_router_id)" },
	{ .key = "priority",
	  .type = JSON_U32,
	  .min = 1,
	  .max = 254,
	  .fallback = 100,
	  .offset = offsetof(struct config_vrrp, priority),
	  .doc = "above that of a router at the primary's site: the addresses go where the instance is; below: "
		 "only when that router is gone" },
	{ .key = "interval_ms",
	  .type = JSON_U32,
	  .min = CONFIG_VRRP_STEP_MS,
	  .max = VRRP_INTERVAL_MAX * CONFIG_VRRP_STEP_MS,
	  .fallback = 1000,
	  .unit = "ms",
	  .offset = offsetof(struct config_vrrp, interval_ms),
	  .doc = "interval between advertisements (keepalived: advert_int), the same for all routers of the group" },
	{ .key = "preempt",
	  .type = JSON_BOOL,
	  .fallback = true,
	  .offset = offsetof(struct config_vrrp, preempt),
	  .doc = "take the addresses from a router of lower priority that has them (keepalived: not nopreempt)" },
	{ .key = "addresses",
	  .type = JSON_STRINGS,
	  .required = true,
	  .max = VRRP_ADDRESSES_MAX,
	  .check = config_check_prefix,
	  .pattern = "^" PREFIX_PATTERN JSON_PATTERN_END,
	  .offset = offsetof(struct config_vrrp, addresses),
	  .doc = "addresses with their prefix (\"192.0.2.7/24\", \"2001:db8::7/64\"); those of IPv4 as the other "
		 "routers list them, those of IPv6 go with them (keepalived: virtual_ipaddress_excluded)" },
	{ .key = "routes",
	  .type = JSON_STRINGS,
	  .max = VRRP_ROUTES_MAX,
	  .check = config_check_route,
	  .pattern = "^" ROUTE_PATTERN JSON_PATTERN_END,
	  .offset = offsetof(struct config_vrrp, routes),
	  .doc = "routes by that device that come and go with the addresses (\"198.51.100.0/24 via 192.0.2.1\"; "
		 "keepalived: virtual_routes)" },
};
const struct json_table config_vrrp_table = JSON_TABLE(vrrp_fields);
