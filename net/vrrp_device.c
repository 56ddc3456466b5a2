#include "net/vrrp_device.h"

#include "appliance/base/bytes.h"

#include <net/if.h>
#include <string.h>
#include <unistd.h>

#define LOOKED_AT_MAX 256 /* addresses of one device; what is beyond counts as not there */

int vrrp_device_open(struct vrrp_device *device, struct err *err)
{
	device->unsure = true;
	return netlink_watch(&device->news, true, err);
}

void vrrp_device_close(struct vrrp_device *device)
{
	if (device->news >= 0)
		(void)close(device->news);
	device->news = -1;
}

bool vrrp_device_is_other(const struct vrrp_device *device)
{
	return if_nametoindex(device->name) != device->index;
}

bool vrrp_device_has_news(struct vrrp_device *device)
{
	const bool changed = netlink_changed(device->news, device->index);

	return changed || device->unsure;
}

void vrrp_device_doubt(struct vrrp_device *device)
{
	device->unsure = true;
}

static bool same_ip(const struct netlink_prefix *a, const struct netlink_prefix *b)
{
	return a->version == b->version && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

static bool is_of_group(const struct vrrp_device *device, const struct netlink_prefix *prefix)
{
	for (size_t i = 0; i < device->address_count; i++) {
		if (same_ip(&device->addresses[i], prefix))
			return true;
	}
	return false;
}

/* Which of the group's addresses are there, and our own: the one we had, else the first that is none of them. */
static int take_stock(struct vrrp_device *device, const struct netlink_prefix *list, size_t count,
		      struct err *err)
{
	char text[NETLINK_PREFIX_TEXT] = "";
	uint32_t first = 0, had = 0;

	memset(device->is_there, 0, sizeof(device->is_there));
	for (size_t i = 0; i < count; i++) {
		const uint32_t ip = list[i].version == 4 ? bytes_get_be32(list[i].ip) : 0;

		for (size_t j = 0; j < device->address_count; j++) {
			if (same_ip(&device->addresses[j], &list[i]) &&
			    device->addresses[j].bits == list[i].bits)
				device->is_there[j] = true;
		}
		if (ip != 0 && is_of_group(device, &list[i]))
			netlink_prefix_print(text, &list[i]);
		else if (first == 0)
			first = ip;
		if (ip == device->own)
			had = ip;
	}
	device->own = had != 0 ? had : first;
	if (device->own != 0)
		return RC_OK;
	return err_set(err, RC_STATE, "%s has no IPv4 address%s%s%s for VRRP to send from",
		       device->name, *text != '\0' ? " but " : "", text,
		       *text != '\0' ? ", which is the group's," : "");
}

/* The group's addresses, at the MAC that the device has now. */
static int know_mac(struct vrrp_device *device, const uint8_t mac[ETHERNET_MAC], struct err *err)
{
	for (size_t i = 0; i < device->address_count; i++) {
		const struct netlink_prefix *prefix = &device->addresses[i];
		struct card_address address = { .version = prefix->version };

		memcpy(address.ip, prefix->ip, sizeof(address.ip));
		memcpy(address.mac, mac, ETHERNET_MAC);
		if (!card_addresses_add(&device->announced, &address))
			return err_set(err, RC_INVALID, "%s: is no Ethernet device", device->name);
	}
	return RC_OK;
}

int vrrp_device_look(struct vrrp_device *device, struct err *err)
{
	struct netlink_prefix list[LOOKED_AT_MAX];
	struct netlink_device now;
	size_t count = 0;
	int rc = netlink_get(&now, device->name, err);

	device->unsure = false;
	if (rc == RC_OK && now.index != device->index)
		return err_set(err, RC_STATE, "%s is another device now", device->name);
	if (rc == RC_OK)
		rc = netlink_addresses(list, LOOKED_AT_MAX, &count, device->index, err);
	if (rc == RC_OK)
		rc = take_stock(device, list, count < LOOKED_AT_MAX ? count : LOOKED_AT_MAX, err);
	if (rc == RC_OK) {
		device->up = now.up;
		rc = know_mac(device, now.mac, err);
	}
	device->unsure = rc != RC_OK && rc != RC_STATE;
	return rc;
}

int vrrp_device_find(struct vrrp_device *device, struct err *err)
{
	int rc;

	device->index = if_nametoindex(device->name);
	device->own = 0;
	rc = vrrp_device_look(device, err);
	if (device->index == 0)
		device->unsure = false; /* that there is one now is seen by its index */
	if (rc == RC_OK)
		rc = vrrp_device_take_off(device, err);
	return rc;
}

int vrrp_device_put_on(struct vrrp_device *device, bool *added, struct err *err)
{
	struct err why;
	int rc = RC_OK;
	size_t i;

	*added = false;
	for (i = 0; i < device->address_count; i++) {
		if (device->is_there[i])
			continue;
		*added = true;
		if (netlink_add_address(device->name, &device->addresses[i], &why) != RC_OK)
			rc = (int)(*err = why).code;
	}
	for (i = 0; i < device->route_count;
	     i++) /* an address may be what their routers are reached by */
		if (netlink_add_route(device->name, &device->routes[i], &why) != RC_OK)
			rc = (int)(*err = why).code;
	device->unsure = device->unsure || rc != RC_OK;
	return rc;
}

int vrrp_device_take_off(struct vrrp_device *device, struct err *err)
{
	struct err why;
	int rc = RC_OK;
	size_t i;

	for (i = 0; i < device->route_count; i++)
		if (netlink_remove_route(device->name, &device->routes[i], &why) != RC_OK)
			rc = (int)(*err = why).code;
	for (i = 0; i < device->address_count; i++)
		if (netlink_remove_address(device->name, &device->addresses[i], &why) != RC_OK)
			rc = (int)(*err = why).code;
	device->unsure = true;
	return rc;
}
