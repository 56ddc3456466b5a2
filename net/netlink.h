/*
 * Network devices of this machine: their addresses, whether they are up, the bridge they belong to, the
 * routes that lead through them.
 *
 * By rtnetlink, with some code of our own rather than libmnl: what that library would take from us
 * is appending attributes and waiting for an answer, some 60 lines, against one more library to
 * build twice and to link statically under the LGPL. Each call is a request of its own over a
 * socket of its own. It waits for whoever holds the kernel's lock for all network devices, however
 * long that takes, and for the answer NETLINK_WAIT_MS at most: so nothing here is for who looks
 * regularly, but netlink_watch() and what reads from it. What is changed is of the calling thread's network namespace. All that
 * changes something needs CAP_NET_ADMIN.
 */
#ifndef NET_NETLINK_H
#define NET_NETLINK_H

#include "appliance/base/err.h"
#include "net/ethernet.h"

#define NETLINK_WAIT_MS 1000   /* the kernel answers at once, once it has its lock */
#define NETLINK_NAME_MAX 15    /* of a device: IFNAMSIZ without the NUL */
#define NETLINK_PREFIX_TEXT 50 /* an IPv6 address, '/', three digits, NUL */

/* An address with the length of its network's prefix: "192.0.2.7/24", "2001:db8::7/64". */
struct netlink_prefix {
	uint8_t version; /* 4 or 6 */
	uint8_t bits;	 /* up to 32 or 128 */
	uint8_t ip[16];	 /* IPv4: the first 4 */
};

/* RC_INVALID says what is wrong with it. Without '/', the prefix is all of the address. */
int netlink_prefix_parse(struct netlink_prefix *prefix, const char *text, struct err *err);
void netlink_prefix_print(char out[NETLINK_PREFIX_TEXT], const struct netlink_prefix *prefix);

/* No bit of the address is beyond the prefix's length. */
bool netlink_prefix_is_network(const struct netlink_prefix *prefix);
/* It is that network's own address, or (IPv4) that of all in it: nobody's. Of two or fewer, each is somebody's. */
bool netlink_prefix_is_for_all(const struct netlink_prefix *prefix);

/* Whatever is for `to` goes to the router `via`: "198.51.100.0/24 via 192.0.2.1", "default via 2001:db8::1". */
struct netlink_route {
	struct netlink_prefix to, via; /* via: a single address */
	bool on_link; /* via is a neighbour, though it may be in no network of the device's addresses */
};

/* RC_INVALID says what is wrong with it. */
int netlink_route_parse(struct netlink_route *route, const char *text, struct err *err);

struct netlink_device {
	char name[NETLINK_NAME_MAX + 1];
	unsigned index, mtu;
	unsigned bridge; /* index of what it is a port of; 0: nothing */
	bool up;
	uint8_t mac[ETHERNET_MAC]; /* 0 if it is no Ethernet device */
	bool is_bridge, stp;	   /* stp: it speaks a spanning tree protocol */
	/* As whoever opened it last wanted it: its frames have a virtio header; it has queues. */
	bool is_tap, vnet_hdr, multi_queue;
};

int netlink_get(struct netlink_device *device, const char *name, struct err *err);

/* The first `max` ports of the bridge with that index (0: devices that are no ports); *count: of all. */
int netlink_ports(struct netlink_device *ports, size_t max, size_t *count, unsigned bridge,
		  struct err *err);

/*
 * The first `max` addresses of the device with that index, as the kernel has them: IPv4 first, and the
 * first of these is what it sends from; *count: of all.
 */
int netlink_addresses(struct netlink_prefix *list, size_t max, size_t *count, unsigned index,
		      struct err *err);

/*
 * The address is there afterwards, or is not: it is no error if that was so before. It is removed
 * whatever the length of its prefix there, also if it is there with several. IPv6 addresses
 * can be used at once: whether anybody else has them is not asked first, as that takes a second and
 * the one who had them may be dying. Removing one takes no other with it: of IPv4, the kernel would
 * remove those that were added later in the same network, unless promote_secondaries is set, which it is
 * meanwhile; where that cannot be done (/proc/sys is read-only), the kernel has its way.
 */
int netlink_add_address(const char *name, const struct netlink_prefix *prefix, struct err *err);
int netlink_remove_address(const char *name, const struct netlink_prefix *prefix, struct err *err);

/*
 * The route is in the main table afterwards, or is not: as with addresses. What an operator has made for the
 * same network, by another way, stays, and then ours is not added.
 */
int netlink_add_route(const char *device, const struct netlink_route *route, struct err *err);
int netlink_remove_route(const char *device, const struct netlink_route *route, struct err *err);

/*
 * Hears of every change of a device in this namespace, and of those of addresses and routes if that is
 * wanted. netlink_heard() never waits, not even for who
 * holds the kernel's lock: what was last told of the device with that index is then in *device, and
 * *news is true. RC_IO: the kernel could not tell all; netlink_get() knows. The caller closes *fd.
 *
 * netlink_changed() never waits either: whether something of the device with that index has changed since
 * it was asked last (also by us; but routes only where one is gone), or may have.
 */
int netlink_watch(int *fd, bool addresses, struct err *err);
bool netlink_changed(int fd, unsigned index);
int netlink_heard(int fd, struct netlink_device *device, unsigned index, bool *news,
		  struct err *err);

#endif
