/*
 * The network device of a VRRP group: the address of its own that packets are sent from, and the
 * group's addresses and routes on it. It hears of changes (netlink_watch()), so that the kernel, which
 * has one lock for all network devices, is asked only when something is different.
 */
#ifndef NET_VRRP_DEVICE_H
#define NET_VRRP_DEVICE_H

#include "net/card_addresses.h"
#include "net/netlink.h"
#include "net/vrrp_format.h"

#define VRRP_ROUTES_MAX 20 /* as with addresses */

/* Set by the caller: name, addresses, routes; but `news` by vrrp_device_open(). The rest is for reading. */
struct vrrp_device {
	char name[NETLINK_NAME_MAX + 1];
	struct netlink_prefix addresses[VRRP_ADDRESSES_MAX];
	size_t address_count;
	struct netlink_route routes[VRRP_ROUTES_MAX];
	size_t route_count;
	unsigned index; /* of what is used; 0: there is none */
	uint32_t own;	/* 0: none is known */
	bool up;
	struct card_addresses announced; /* the group's addresses, at the device's MAC address */
	/* private */
	bool is_there[VRRP_ADDRESSES_MAX]; /* when it was looked at */
	bool unsure;			   /* as if there were news */
	int news;
};

/* Begins to hear of changes; and ends it, which a device that was not opened takes if its news is -1. */
int vrrp_device_open(struct vrrp_device *device, struct err *err);
void vrrp_device_close(struct vrrp_device *device);

/*
 * Takes what has the name now, and takes the group's addresses and routes off it: an earlier process may
 * have left them. RC_STATE: it has no IPv4 address of its own; then nothing is taken off.
 */
int vrrp_device_find(struct vrrp_device *device, struct err *err);

/* Another device has the name now, or none; something of it has changed since it was looked at. Never wait. */
bool vrrp_device_is_other(const struct vrrp_device *device);
bool vrrp_device_has_news(struct vrrp_device *device);
/* There will be news. */
void vrrp_device_doubt(struct vrrp_device *device);

/*
 * Looks at it: its own address stays what it was as long as the device has that. RC_STATE: it has
 * none, or is another device.
 */
int vrrp_device_look(struct vrrp_device *device, struct err *err);

/*
 * Puts on what was not there when it was looked at; *added: that was anything. The error is the last
 * one's, and is tried again: there are news.
 */
int vrrp_device_put_on(struct vrrp_device *device, bool *added, struct err *err);
/* All that can be, even after an error; which is the last one's. */
int vrrp_device_take_off(struct vrrp_device *device, struct err *err);

#endif
