#include "net/netlink.h"
#include "net/netlink_request.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define VIA " via "

int netlink_route_parse(struct netlink_route *route, const char *text, struct err *err)
{
	const char *via = strstr(text, VIA);
	size_t len = via != NULL ? (size_t)(via - text) : 0;
	char to[NETLINK_PREFIX_TEXT];
	int rc;

	if (len == 0 || len >= sizeof(to))
		return err_set(err, RC_INVALID,
			       "\"%s\" is not a route (\"198.51.100.0/24 via 192.0.2.1\", "
			       "\"default via 192.0.2.1\")",
			       text);
	memcpy(to, text, len);
	to[len] = '\0';
	route->on_link = false;
	rc = netlink_prefix_parse(&route->via, via + strlen(VIA), err);
	if (rc == RC_OK && strcmp(to, "default") == 0)
		route->to = (struct netlink_prefix){ .version = route->via.version };
	else if (rc == RC_OK)
		rc = netlink_prefix_parse(&route->to, to, err);
	if (rc != RC_OK)
		return rc;
	if (strchr(via + strlen(VIA), '/') != NULL)
		return err_set(err, RC_INVALID, "\"%s\": the router is one address, without '/'",
			       text);
	if (route->via.version != route->to.version)
		return err_set(err, RC_INVALID, "\"%s\": one address is IPv4, the other IPv6",
			       text);
	if (!netlink_prefix_is_network(&route->to))
		return err_set(err, RC_INVALID,
			       "\"%s\": the address has bits beyond its prefix's length", text);
	return RC_OK;
}

static int route_error(const char *device, const struct netlink_route *route, const char *what,
		       int error, struct err *err)
{
	char to[NETLINK_PREFIX_TEXT], via[NETLINK_PREFIX_TEXT];

	netlink_prefix_print(to, &route->to);
	netlink_prefix_print(via, &route->via);
	*strchr(via, '/') = '\0';
	return err_system(err, error, "%s: %s the route to %s via %s", device, what, to, via);
}

static int change_route(uint16_t type, unsigned flags, const char *device,
			const struct netlink_route *route, int *error, struct err *err)
{
	const struct rtmsg about = { .rtm_family = netlink_family(&route->to),
				     .rtm_dst_len = route->to.bits,
				     .rtm_table = RT_TABLE_MAIN,
				     .rtm_protocol = RTPROT_STATIC,
				     .rtm_scope = RT_SCOPE_UNIVERSE,
				     .rtm_type = RTN_UNICAST,
				     .rtm_flags = route->on_link ? RTNH_F_ONLINK : 0 };
	struct netlink_request request = netlink_begin(type, flags, &about, sizeof(about));
	int index, rc = netlink_index(&index, device, err);

	if (rc != RC_OK)
		return rc;
	netlink_put_address(&request, RTA_DST, &route->to);
	netlink_put_address(&request, RTA_GATEWAY, &route->via);
	netlink_put_u32(&request, RTA_OIF, (uint32_t)index);
	*error = netlink_change(&request);
	return RC_OK;
}

int netlink_add_route(const char *device, const struct netlink_route *route, struct err *err)
{
	int error, rc = change_route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, device, route, &error,
				     err);

	if (rc != RC_OK || error == 0 || error == EEXIST)
		return rc;
	return route_error(device, route, "adding", error, err);
}

int netlink_remove_route(const char *device, const struct netlink_route *route, struct err *err)
{
	int error, rc = change_route(RTM_DELROUTE, 0, device, route, &error, err);

	if (rc != RC_OK || error == 0 || error == ESRCH)
		return rc;
	return route_error(device, route, "removing", error, err);
}
