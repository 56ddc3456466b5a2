#include "appliance/config_devices.h"

#include "net/netlink.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MTU_LEAST 1280 /* IPv6's; what is less is a mistake more often than a wish */
#define NOWHERE SIZE_MAX

struct looking {
	const struct config *config;
	size_t index; /* of the device that is looked at */
	const struct config_device *device;
	void (*found)(void *owner, const char *text);
	void *owner;
};

/* Of the device that is looked at, behind its path: ".name: ..." */
static void say(const struct looking *looking, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void say(const struct looking *looking, const char *format, ...)
{
	char text[ERR_TEXT_MAX];
	va_list args;
	int len = snprintf(text, sizeof(text), "machine.network[%zu]", looking->index);

	va_start(args, format);
	(void)vsnprintf(text + len, sizeof(text) - (size_t)len, format, args);
	va_end(args);
	looking->found(looking->owner, text);
}

static size_t find(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->ndevices; i++) {
		if (strcmp(config->devices[i].name, name) == 0)
			return i;
	}
	return NOWHERE;
}

bool config_has_device(const struct config *config, const char *name)
{
	return find(config, name) != NOWHERE;
}

/* ---- one device ---------------------------------------------------------------------------------------- */

static void check_kind(const struct looking *looking)
{
	const struct config_device *device = looking->device;

	if ((device->mac != NULL) + (device->ports != NULL) + (device->on != NULL) > 1)
		say(looking,
		    ": mac, ports and on exclude each other: a device is a card (mac, or the kernel's name for it), a "
		    "bridge (ports) or a VLAN (on)");
	if (device->on != NULL && device->vlan == 0)
		say(looking, ".vlan: missing: the number of the VLAN on %s, from 1", device->on);
	if (device->on == NULL && device->vlan != 0)
		say(looking, ".on: missing: the device that VLAN %u is on", device->vlan);
	if (device->mtu != 0 && device->mtu < MTU_LEAST)
		say(looking, ".mtu: %u is below %d, the least that IPv6 takes", device->mtu,
		    MTU_LEAST);
	if (strcmp(device->name, "lo") == 0)
		say(looking, ".name: lo is there by itself; leave it out");
}

/* What may be once only. */
static void compare(const struct looking *looking, size_t before)
{
	const struct config_device *device = looking->device,
				   *other = &looking->config->devices[before];

	if (strcmp(device->name, other->name) == 0)
		say(looking, ".name: %s is also the name of machine.network[%zu]", device->name,
		    before);
	if (device->mac != NULL && other->mac != NULL && strcasecmp(device->mac, other->mac) == 0)
		say(looking, ".mac: %s is also that of machine.network[%zu]; a card has one name",
		    device->mac, before);
	if (device->on != NULL && other->on != NULL && device->vlan == other->vlan &&
	    strcmp(device->on, other->on) == 0)
		say(looking, ".vlan: %u on %s is also machine.network[%zu]", device->vlan,
		    device->on, before);
}

/* ---- what it is made of ----------------------------------------------------------------------------------- */

/* A device that this one needs. NULL: it is not there by then, which has been told. */
static const struct config_device *find_needed(const struct looking *looking, const char *key,
					       const char *name)
{
	const size_t at = find(looking->config, name);

	if (at < looking->index)
		return &looking->config->devices[at];
	if (at == looking->index)
		say(looking, "%s: %s is this device itself", key, name);
	else if (at != NOWHERE)
		say(looking, "%s: %s is set up later; move machine.network[%zu] before this", key,
		    name, at);
	else
		say(looking,
		    "%s: no device is named %s; write one before this, such as {\"name\": \"%s\", \"mac\": ...}",
		    key, name, name);
	return NULL;
}

/* The bridge before this one, or this, that has it as a port before its port `end`. */
static size_t find_bridge(const struct looking *looking, const char *port, size_t end)
{
	for (size_t i = 0; i <= looking->index; i++) {
		char *const *ports = looking->config->devices[i].ports;

		for (size_t j = 0; ports != NULL && ports[j] != NULL; j++) {
			if ((i < looking->index || j < end) && strcmp(ports[j], port) == 0)
				return i;
		}
	}
	return NOWHERE;
}

static void check_ports(const struct looking *looking)
{
	char *const *ports = looking->device->ports;
	const struct config_device *port;
	char key[32];
	size_t bridge;

	for (size_t i = 0; ports != NULL && ports[i] != NULL; i++) {
		(void)snprintf(key, sizeof(key), ".ports[%zu]", i);
		port = find_needed(looking, key, ports[i]);
		if (port == NULL)
			continue;
		bridge = find_bridge(looking, ports[i], i);
		if (bridge != NOWHERE)
			say(looking, "%s: %s is a port of machine.network[%zu] already", key,
			    ports[i], bridge);
		if (port->ports != NULL)
			say(looking, "%s: %s is a bridge, which cannot be another's port", key,
			    ports[i]);
		if (port->addresses != NULL || port->routes != NULL || port->dhcp)
			say(looking,
			    "%s: %s has addresses, routes or dhcp, which a port cannot use; give them to %s",
			    key, ports[i], looking->device->name);
	}
}

/* ---- addresses and routes ------------------------------------------------------------------------------ */

/* Each has been read before (config_machine.c). */
static struct netlink_prefix prefix_of(const char *text)
{
	struct netlink_prefix prefix;
	struct err ignored;

	(void)netlink_prefix_parse(&prefix, text, &ignored);
	return prefix;
}

/* Of the first `bits`. */
static bool are_same(const struct netlink_prefix *a, const struct netlink_prefix *b, unsigned bits)
{
	if (a->version != b->version)
		return false;
	for (unsigned bit = 0; bit < bits; bit++) {
		if (((a->ip[bit / 8] ^ b->ip[bit / 8]) & 0x80 >> bit % 8) != 0)
			return false;
	}
	return true;
}

static unsigned all_bits(const struct netlink_prefix *prefix)
{
	return prefix->version == 4 ? 32 : 128;
}

/* Of which every device has one, and may have the same. */
static bool is_link_local(const struct netlink_prefix *prefix)
{
	return prefix->version == 6 && prefix->ip[0] == 0xfe && (prefix->ip[1] & 0xc0) == 0x80;
}

/* With those of one device; of this one, those before it. */
static void compare_address(const struct looking *looking, size_t at, size_t other)
{
	const struct netlink_prefix own = prefix_of(looking->device->addresses[at]);
	char *const *others = looking->config->devices[other].addresses;

	if (other != looking->index && is_link_local(&own))
		return;
	for (size_t i = 0; others != NULL && others[i] != NULL; i++) {
		const struct netlink_prefix prefix = prefix_of(others[i]);

		if (other == looking->index && i == at)
			return;
		if (are_same(&own, &prefix, all_bits(&own)))
			say(looking,
			    ".addresses[%zu]: %s is also machine.network[%zu].addresses[%zu]", at,
			    looking->device->addresses[at], other, i);
	}
}

/* A group's addresses are taken off the machine when the appliance starts. */
static void compare_with_groups(const struct looking *looking, size_t at)
{
	const struct netlink_prefix own = prefix_of(looking->device->addresses[at]);

	for (size_t i = 0; i < looking->config->ninstances; i++) {
		const struct config_instance *instance = &looking->config->instances[i];

		for (size_t j = 0; j < instance->nvrrp; j++) {
			char *const *others = instance->vrrp[j].addresses;

			for (size_t k = 0; others[k] != NULL; k++) {
				const struct netlink_prefix prefix = prefix_of(others[k]);

				if (are_same(&own, &prefix, all_bits(&own)))
					say(looking,
					    ".addresses[%zu]: %s is also instances[%zu].vrrp[%zu].addresses[%zu], "
					    "which may be at no machine of itself",
					    at, looking->device->addresses[at], i, j, k);
			}
		}
	}
}

static void check_addresses(const struct looking *looking)
{
	for (size_t at = 0;
	     looking->device->addresses != NULL && looking->device->addresses[at] != NULL; at++) {
		for (size_t other = 0; other <= looking->index; other++)
			compare_address(looking, at, other);
		compare_with_groups(looking, at);
	}
}

static bool is_reached(const struct config_device *device, const struct netlink_prefix *router)
{
	for (size_t i = 0; device->addresses != NULL && device->addresses[i] != NULL; i++) {
		const struct netlink_prefix prefix = prefix_of(device->addresses[i]);

		if (are_same(&prefix, router, prefix.bits))
			return true;
	}
	return is_link_local(router) || (device->dhcp && router->version == 4);
}

/* With those before it, of all devices. */
static void compare_route(const struct looking *looking, size_t at,
			  const struct netlink_route *route)
{
	struct netlink_route before;
	struct err ignored;

	for (size_t i = 0; i <= looking->index; i++) {
		char *const *routes = looking->config->devices[i].routes;

		for (size_t j = 0; routes != NULL && routes[j] != NULL; j++) {
			if (i == looking->index && j == at)
				return;
			(void)netlink_route_parse(&before, routes[j], &ignored);
			if (before.to.bits == route->to.bits &&
			    are_same(&before.to, &route->to, route->to.bits))
				say(looking,
				    ".routes[%zu]: %s: machine.network[%zu].routes[%zu] leads there already",
				    at, looking->device->routes[at], i, j);
		}
	}
}

static void check_routes(const struct looking *looking)
{
	char *const *routes = looking->device->routes;
	struct netlink_route route;
	struct err ignored;

	for (size_t i = 0; routes != NULL && routes[i] != NULL; i++) {
		(void)netlink_route_parse(&route, routes[i], &ignored);
		if (!is_reached(looking->device, &route.via))
			say(looking,
			    ".routes[%zu]: %s: the router is in no network of this device's addresses; add an "
			    "address in its network, or name the route at another device",
			    i, routes[i]);
		compare_route(looking, i, &route);
	}
}

/* ---- all ------------------------------------------------------------------------------------------------- */

void config_devices(const struct config *config, void (*found)(void *owner, const char *text),
		    void *owner)
{
	struct looking looking = { .config = config, .found = found, .owner = owner };

	for (size_t i = 0; i < config->ndevices; i++) {
		looking.index = i;
		looking.device = &config->devices[i];
		check_kind(&looking);
		for (size_t before = 0; before < i; before++)
			compare(&looking, before);
		check_ports(&looking);
		if (looking.device->on != NULL)
			(void)find_needed(&looking, ".on", looking.device->on);
		check_addresses(&looking);
		check_routes(&looking);
	}
}
