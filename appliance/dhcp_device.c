#include "appliance/dhcp_device.h"

#include "appliance/base/log.h"
#include "appliance/resolver.h"
#include "net/netlink_link.h"

#include <string.h>

#define PART "dhcp"

static void tell(int rc, const struct err *err)
{
	if (rc != RC_OK)
		log_error(PART, "%s", err->text);
}

static bool is_same(const struct netlink_prefix *a, const struct netlink_prefix *b)
{
	return a->version == b->version && a->bits == b->bits &&
	       memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

static bool has_route(const struct dhcp_lease *lease, const struct netlink_route *route)
{
	for (size_t i = 0; i < lease->nroutes; i++) {
		if (is_same(&lease->routes[i].to, &route->to) &&
		    is_same(&lease->routes[i].via, &route->via))
			return true;
	}
	return false;
}

/* Of what there was, what the new lease does not have; routes first, which lead by the address. */
static void remove_old(const char *name, const struct dhcp_lease *old, const struct dhcp_lease *new)
{
	struct err err;

	for (size_t i = 0; i < old->nroutes; i++) {
		if (!has_route(new, &old->routes[i]))
			tell(netlink_remove_route(name, &old->routes[i], &err), &err);
	}
	if (old->address.version != 0 && !is_same(&old->address, &new->address))
		tell(netlink_remove_address(name, &old->address, &err), &err);
}

static void set_name_servers(const struct dhcp_lease *lease)
{
	char texts[DHCP_DNS_MAX][NETLINK_PREFIX_TEXT], *servers[DHCP_DNS_MAX + 1] = { NULL };
	struct err err;

	for (size_t i = 0; i < lease->ndns; i++) {
		netlink_prefix_print(texts[i], &lease->dns[i]);
		*strchr(texts[i], '/') = '\0';
		servers[i] = texts[i];
	}
	if (lease->ndns > 0)
		tell(resolver_write(servers, &err), &err);
}

static int put_new(const struct dhcp_device *device, const struct dhcp_lease *new, struct err *err)
{
	const char *name = device->config->name;
	struct err why;
	int rc = netlink_add_address(name, &new->address, err);

	if (rc != RC_OK)
		return rc;
	if (new->mtu != 0 && device->config->mtu == 0)
		tell(netlink_set_mtu(name, new->mtu, &why), &why);
	for (size_t i = 0; i < new->nroutes; i++)
		tell(netlink_add_route(name, &new->routes[i], &why), &why);
	if (device->name_servers)
		set_name_servers(new);
	return RC_OK;
}

int dhcp_device_change(void *owner, const struct dhcp_lease *lease, struct err *err)
{
	static const struct dhcp_lease none;
	struct dhcp_device *device = owner;
	const struct dhcp_lease *new = lease != NULL ? lease : &none;
	const bool changed = !is_same(&device->lease.address, &new->address);
	char text[NETLINK_PREFIX_TEXT];
	int rc = lease != NULL ? put_new(device, lease, err) : RC_OK;

	if (rc != RC_OK)
		return rc;
	remove_old(device->config->name, &device->lease, new);
	device->lease = *new;
	netlink_prefix_print(text, &new->address);
	if (changed && lease != NULL)
		log_info(PART, "%s: the address is %s", device->config->name, text);
	else if (changed)
		log_warn(PART, "%s: the address has run out, and no server extends it",
			 device->config->name);
	return RC_OK;
}

uint64_t dhcp_device_end_ns(const struct dhcp_device *device)
{
	return device->lease.address.version != 0 ? device->lease.end_ns : UINT64_MAX;
}

void dhcp_device_end(struct dhcp_device *device, uint64_t now_ns)
{
	struct err err;

	if (now_ns >= dhcp_device_end_ns(device))
		(void)dhcp_device_change(device, NULL, &err);
}
