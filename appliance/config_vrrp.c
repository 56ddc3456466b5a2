#include "appliance/config_vrrp.h"

#include "net/address.h"
#include "net/netlink.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct looking {
	const struct config *config;
	void (*found)(void *owner, const char *text);
	void *owner;
};

struct place {
	size_t instance, group;
	const struct config_vrrp *vrrp;
};

static void say(const struct looking *looking, const struct place *place, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void say(const struct looking *looking, const struct place *place, const char *format, ...)
{
	char text[ERR_TEXT_MAX];
	va_list args;
	int len = snprintf(text, sizeof(text), "instances[%zu].vrrp[%zu].", place->instance,
			   place->group);

	va_start(args, format);
	(void)vsnprintf(text + len, sizeof(text) - (size_t)len, format, args);
	va_end(args);
	looking->found(looking->owner, text);
}

/* Calls back for each group before that one. */
static void each_before(const struct looking *looking, const struct place *place,
			void (*look)(const struct looking *looking, const struct place *place,
				     const struct place *before))
{
	struct place before;

	for (before.instance = 0; before.instance <= place->instance; before.instance++) {
		const struct config_instance *instance =
			&looking->config->instances[before.instance];

		for (before.group = 0; before.group < instance->nvrrp; before.group++) {
			before.vrrp = &instance->vrrp[before.group];
			if (before.vrrp == place->vrrp)
				return;
			look(looking, place, &before);
		}
	}
}

/* Two of one number on one device would hear each other as strangers. */
static void compare_numbers(const struct looking *looking, const struct place *place,
			    const struct place *before)
{
	if (before->vrrp->group == place->vrrp->group &&
	    strcmp(before->vrrp->device, place->vrrp->device) == 0)
		say(looking, place, "group: %u on %s is that of instances[%zu].vrrp[%zu], too",
		    place->vrrp->group, place->vrrp->device, before->instance, before->group);
}

/* Each has been read before (config_keys.c). */
static struct netlink_prefix prefix_of(const char *text)
{
	struct netlink_prefix prefix;
	struct err ignored;

	(void)netlink_prefix_parse(&prefix, text, &ignored);
	return prefix;
}

static bool same_ip(const char *one, const char *other)
{
	const struct netlink_prefix a = prefix_of(one), b = prefix_of(other);

	return a.version == b.version && memcmp(a.ip, b.ip, sizeof(a.ip)) == 0;
}

/* Of which every device has one, and may have the same. */
static bool is_link_local(const char *text)
{
	const struct netlink_prefix prefix = prefix_of(text);

	return prefix.version == 6 && prefix.ip[0] == 0xfe && (prefix.ip[1] & 0xc0) == 0x80;
}

static void compare_addresses(const struct looking *looking, const struct place *place,
			      const struct place *before)
{
	char *const *list = place->vrrp->addresses, *const *others = before->vrrp->addresses;
	const bool same_device = strcmp(place->vrrp->device, before->vrrp->device) == 0;

	for (size_t i = 0; list[i] != NULL; i++) {
		if (!same_device && is_link_local(list[i]))
			continue;
		for (size_t j = 0; others[j] != NULL; j++) {
			if (same_ip(list[i], others[j]))
				say(looking, place,
				    "addresses[%zu]: %s is also instances[%zu].vrrp[%zu].addresses[%zu]",
				    i, list[i], before->instance, before->group, j);
		}
	}
}

static void compare_own_addresses(const struct looking *looking, const struct place *place)
{
	char *const *list = place->vrrp->addresses;

	for (size_t i = 0; list[i] != NULL; i++) {
		for (size_t j = 0; j < i; j++) {
			if (same_ip(list[i], list[j]))
				say(looking, place, "addresses[%zu]: %s is also addresses[%zu]", i,
				    list[i], j);
		}
	}
}

static void compare_with_listener(const struct looking *looking, const struct place *place,
				  const char *key, const char *listen)
{
	char *const *list = place->vrrp->addresses;
	struct sockaddr_storage at;
	struct address address;
	struct err ignored;
	struct netlink_prefix prefix;

	if (listen == NULL || address_parse(&address, listen, false, &ignored) != RC_OK ||
	    !address_to_socket(&address, &at))
		return;
	for (size_t i = 0; list[i] != NULL; i++) {
		const void *ip = at.ss_family == AF_INET ?
					 (const void *)&((struct sockaddr_in *)&at)->sin_addr :
					 (const void *)&((struct sockaddr_in6 *)&at)->sin6_addr;

		prefix = prefix_of(list[i]);
		if (prefix.version == (at.ss_family == AF_INET ? 4 : 6) &&
		    memcmp(prefix.ip, ip, prefix.version == 4 ? 4 : 16) == 0)
			say(looking, place,
			    "addresses[%zu]: %s is that of %s: the appliance would take its own "
			    "address off %s; what is named here is at no machine of itself",
			    i, list[i], key, place->vrrp->device);
	}
}

static void look_at_group(const struct looking *looking, const struct place *place)
{
	const struct config_vrrp *vrrp = place->vrrp;
	size_t i;

	if (vrrp->interval_ms % CONFIG_VRRP_STEP_MS != 0)
		say(looking, place, "interval_ms: %u is no multiple of %d", vrrp->interval_ms,
		    CONFIG_VRRP_STEP_MS);
	for (i = 0; vrrp->addresses[i] != NULL && prefix_of(vrrp->addresses[i]).version != 4; i++)
		;
	if (vrrp->addresses[i] == NULL)
		say(looking, place,
		    "addresses: at least one of IPv4 is needed: what is sent is VRRP for IPv4");
	each_before(looking, place, compare_numbers);
	compare_own_addresses(looking, place);
	each_before(looking, place, compare_addresses);
	compare_with_listener(looking, place, "link.listen", looking->config->listen);
	compare_with_listener(looking, place, "http.listen", looking->config->http);
}

void config_vrrp(const struct config *config, void (*found)(void *owner, const char *text),
		 void *owner)
{
	const struct looking looking = { config, found, owner };
	struct place place;

	for (place.instance = 0; place.instance < config->ninstances; place.instance++) {
		const struct config_instance *instance = &config->instances[place.instance];

		for (place.group = 0; place.group < instance->nvrrp; place.group++) {
			place.vrrp = &instance->vrrp[place.group];
			look_at_group(&looking, &place);
		}
	}
}
