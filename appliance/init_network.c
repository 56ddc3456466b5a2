/*
 * Theory of operation
 *
 * Devices are set up in the order of the configuration: a card that is found by its address gets its name, bridges and VLANs
 * are made, then ports, addresses, and all are set up; routes come last, since one may lead through a device that is set up
 * later. A name that another card has is taken from it: names may be exchanged. What fails is said, on the console and at the health endpoint, and left
 * out: a machine that can be reached by its other card can be mended.
 *
 * Of a configuration without any device (it is missing, or cannot be read) all cards are set up, with no address but the one of the
 * link (fe80::...) that each has by itself: who is on the same network can ask what is wrong. So are those that no device means, where
 * a card is missing that one does mean: a wrong address of a card is the mistake that shuts out who would mend it. Such a card never
 * has a name that the configuration has: it would be a bridge's port in the place of the right one. Router advertisements are not
 * heeded: they would give the machine addresses and ways out that its configuration does not name.
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

/* The cards that are no ports. */
static int find_cards(struct netlink_device cards[CARDS_MAX], size_t *count, struct err *err)
{
	const int rc = netlink_ports(cards, CARDS_MAX, count, 0, err);

	if (*count > CARDS_MAX)
		*count = CARDS_MAX;
	return rc;
}

static int find_card(struct netlink_device *card, const char *mac, struct err *err)
{
	struct netlink_device cards[CARDS_MAX];
	uint8_t wanted[ETHERNET_MAC];
	size_t count, i;
	int rc = find_cards(cards, &count, err);

	if (rc != RC_OK)
		return rc;
	(void)ethernet_parse_mac(wanted, mac); /* config_machine.c has looked at it */
	for (i = 0; i < count; i++) {
		if (memcmp(cards[i].mac, wanted, ETHERNET_MAC) == 0) {
			*card = cards[i];
			return RC_OK;
		}
	}
	return err_set(err, RC_STATE, "no card has the address %s", mac);
}

static bool is_card(const struct config_device *device)
{
	return device->name != NULL && device->ports == NULL && device->on == NULL;
}

static const struct config_device *find_device(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->ndevices; i++) {
		if (config->devices[i].name != NULL && strcmp(config->devices[i].name, name) == 0)
			return &config->devices[i];
	}
	return NULL;
}

/* Behind what is said of one that is not there: those that are. */
static void add_cards(struct err *err, const struct config *config)
{
	struct netlink_device cards[CARDS_MAX];
	const char *before = "; there are ";
	size_t count = 0;
	struct err ignored;

	(void)find_cards(cards, &count, &ignored);
	for (size_t i = 0; i < count; i++) {
		const struct config_device *made = find_device(config, cards[i].name);
		const uint8_t *mac = cards[i].mac;

		if (!ethernet_is_station(mac) || (made != NULL && !is_card(made)))
			continue;
		(void)err_append(err, "%s%s (%02x:%02x:%02x:%02x:%02x:%02x)", before, cards[i].name,
				 mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
		before = ", ";
	}
	if (*before == ';')
		(void)err_append(err, "; there is no other with a driver that the image has");
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

/* The name is the card's, or nobody's. */
static int make_card(const struct config *config, const struct config_device *device,
		     struct err *err)
{
	struct netlink_device card = { 0 };
	struct err ignored;
	int rc = device->mac == NULL ? netlink_get(&card, device->name, err) :
				       find_card(&card, device->mac, err);

	if (rc != RC_OK)
		add_cards(err, config);
	if (device->mac == NULL || strcmp(card.name, device->name) == 0)
		return rc;
	if (rc != RC_OK) {
		(void)make_way(device->name, &ignored);
		return rc;
	}
	rc = make_way(device->name, err);
	return rc == RC_OK ? netlink_rename(card.name, device->name, err) : rc;
}

static int make(const struct config *config, const struct config_device *device, struct err *err)
{
	if (device->ports != NULL)
		return netlink_make_bridge(device->name, err);
	if (device->on != NULL)
		return netlink_make_vlan(device->name, device->on, device->vlan, err);
	return make_card(config, device, err);
}

/* False: it is not there. */
static bool set_up(const struct config *config, const struct config_device *device)
{
	struct netlink_prefix prefix;
	struct err err;
	size_t i;
	int rc = make(config, device, &err);

	if (rc != RC_OK) {
		tell(rc, &err);
		return false;
	}
	heed_no_routers(device->name);
	if (device->mtu != 0)
		rc = netlink_set_mtu(device->name, device->mtu, &err);
	if (rc == RC_OK)
		rc = netlink_set_up(device->name, &err);
	if (rc != RC_OK) {
		tell(rc, &err);
		return true;
	}
	for (i = 0; device->ports != NULL && device->ports[i] != NULL; i++)
		tell(netlink_add_port(device->ports[i], device->name, &err), &err);
	for (i = 0; device->addresses != NULL && device->addresses[i] != NULL; i++) {
		rc = netlink_prefix_parse(&prefix, device->addresses[i], &err);
		if (rc == RC_OK)
			rc = netlink_add_address(device->name, &prefix, &err);
		tell(rc, &err);
	}
	return true;
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

/* Without an address but their link's. */
static void set_up_other_cards(const struct config *config)
{
	struct netlink_device cards[CARDS_MAX];
	size_t count = 0;
	struct err err;
	int rc = find_cards(cards, &count, &err);

	tell(rc, &err);
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		if (!ethernet_is_station(cards[i].mac) ||
		    find_device(config, cards[i].name) != NULL)
			continue;
		heed_no_routers(cards[i].name);
		tell(netlink_set_up(cards[i].name, &err), &err);
	}
}

bool init_network(const struct config *config)
{
	size_t wanted = 0, missing = 0;
	struct err err;

	tell(netlink_set_up("lo", &err), &err);
	heed_no_routers("default"); /* of devices that are made later */
	for (size_t i = 0; i < config->ndevices; i++) {
		const struct config_device *device = &config->devices[i];

		if (device->name == NULL) /* of a wrong configuration, which is told elsewhere */
			continue;
		wanted += is_card(device);
		missing += !set_up(config, device) && is_card(device);
	}
	if (config->ndevices == 0 || missing > 0)
		set_up_other_cards(config);
	for (size_t i = 0; i < config->ndevices; i++)
		add_routes(&config->devices[i]);
	if (config->dns != NULL)
		tell(resolver_write(config->dns, &err), &err);
	return missing == 0 || missing < wanted;
}
