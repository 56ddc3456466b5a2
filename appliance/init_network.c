/*
 * Theory of operation
 *
 * Devices are set up in the order of the configuration: a card that is found by its address gets its name, bridges and VLANs
 * are made, then ports, addresses, and all are set up; routes come last, since one may lead through a device that is set up
 * later. A name that another card has is taken from it: names may be exchanged. What fails is said, on the console and at the health endpoint, and left
 * out: a machine that can be reached by its other card can be mended.
 *
 * Of a configuration without any device (it is missing, or cannot be read) all cards are set up, with no address but the one of the
 * link (fe80::...) that each has by itself: who is on the same network can ask what is wrong. Router advertisements are not heeded:
 * they would give the machine addresses and ways out that its configuration does not name.
 */
#include "appliance/init_internal.h"

#include "appliance/machine_problems.h"
#include "appliance/resolver.h"
#include "net/netlink_link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CARDS_MAX 64

/* Files of the kernel, "%s" being a device's name. */
#define ROUTER_ADVERTISEMENTS "/proc/sys/net/ipv6/conf/%s/accept_ra"

static void tell(int rc, const struct err *err)
{
	if (rc != RC_OK)
		machine_problem("network: %s", err->text);
}

/* A kernel without IPv6 has no such file, and none to heed. */
static void heed_no_routers(const char *device)
{
	char path[sizeof(ROUTER_ADVERTISEMENTS) + NETLINK_NAME_MAX];
	ssize_t r = -1;
	int fd;

	(void)snprintf(path, sizeof(path), ROUTER_ADVERTISEMENTS, device);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return;
	if (fd >= 0)
		r = write(fd, "0", 1);
	if (r != 1)
		machine_problem("network: %s: %s", path, strerror(errno));
	if (fd >= 0)
		(void)close(fd);
}

static int find_card(struct netlink_device *card, const char *mac, struct err *err)
{
	struct netlink_device cards[CARDS_MAX];
	uint8_t wanted[ETHERNET_MAC];
	size_t count, i;
	int rc = netlink_ports(cards, CARDS_MAX, &count, 0, err);

	if (rc != RC_OK)
		return rc;
	(void)ethernet_parse_mac(wanted, mac); /* config_machine.c has looked at it */
	for (i = 0; i < count && i < CARDS_MAX; i++) {
		if (memcmp(cards[i].mac, wanted, ETHERNET_MAC) == 0) {
			*card = cards[i];
			return RC_OK;
		}
	}
	return err_set(err, RC_STATE, "no card has the address %s", mac);
}

/* A card that has the name, by which nobody means it, gets another one. */
static int make_way(const char *name, struct err *err)
{
	char other[NETLINK_NAME_MAX];
	struct netlink_device holder;

	if (netlink_get(&holder, name, err) != RC_OK)
		return RC_OK;
	for (unsigned i = 0; i < CARDS_MAX; i++) {
		(void)snprintf(other, sizeof(other), "card%u", i);
		if (netlink_get(&holder, other, err) != RC_OK)
			break;
	}
	return netlink_rename(name, other, err);
}

static int make(const struct config_device *device, struct err *err)
{
	struct netlink_device card;
	int rc;

	if (device->ports != NULL)
		return netlink_make_bridge(device->name, err);
	if (device->on != NULL)
		return netlink_make_vlan(device->name, device->on, device->vlan, err);
	if (device->mac == NULL)
		return netlink_get(&card, device->name, err);
	rc = find_card(&card, device->mac, err);
	if (rc != RC_OK || strcmp(card.name, device->name) == 0)
		return rc;
	rc = make_way(device->name, err);
	return rc == RC_OK ? netlink_rename(card.name, device->name, err) : rc;
}

static void set_up(const struct config_device *device)
{
	struct netlink_prefix prefix;
	struct err err;
	size_t i;
	int rc;

	if (device->name == NULL) /* of a wrong configuration, which is told elsewhere */
		return;
	rc = make(device, &err);
	if (rc == RC_OK)
		heed_no_routers(device->name);
	if (rc == RC_OK && device->mtu != 0)
		rc = netlink_set_mtu(device->name, device->mtu, &err);
	if (rc == RC_OK)
		rc = netlink_set_up(device->name, &err);
	if (rc != RC_OK) {
		tell(rc, &err);
		return;
	}
	for (i = 0; device->ports != NULL && device->ports[i] != NULL; i++)
		tell(netlink_add_port(device->ports[i], device->name, &err), &err);
	for (i = 0; device->addresses != NULL && device->addresses[i] != NULL; i++) {
		rc = netlink_prefix_parse(&prefix, device->addresses[i], &err);
		if (rc == RC_OK)
			rc = netlink_add_address(device->name, &prefix, &err);
		tell(rc, &err);
	}
}

static void add_routes(const struct config_device *device)
{
	struct netlink_route route;
	struct err err;

	for (size_t i = 0;
	     device->name != NULL && device->routes != NULL && device->routes[i] != NULL; i++) {
		int rc = netlink_route_parse(&route, device->routes[i], &err);

		if (rc == RC_OK)
			rc = netlink_add_route(device->name, &route, &err);
		tell(rc, &err);
	}
}

static void set_up_all_cards(void)
{
	struct netlink_device cards[CARDS_MAX];
	size_t count = 0;
	struct err err;
	int rc = netlink_ports(cards, CARDS_MAX, &count, 0, &err);

	tell(rc, &err);
	for (size_t i = 0; rc == RC_OK && i < count && i < CARDS_MAX; i++) {
		if (!ethernet_is_station(cards[i].mac))
			continue;
		heed_no_routers(cards[i].name);
		tell(netlink_set_up(cards[i].name, &err), &err);
	}
}

void init_network(const struct config *config)
{
	struct err err;

	tell(netlink_set_up("lo", &err), &err);
	heed_no_routers("default"); /* of devices that are made later */
	if (config->ndevices == 0)
		set_up_all_cards();
	for (size_t i = 0; i < config->ndevices; i++)
		set_up(&config->devices[i]);
	for (size_t i = 0; i < config->ndevices; i++)
		add_routes(&config->devices[i]);
	if (config->dns != NULL)
		tell(resolver_write(config->dns, &err), &err);
}
