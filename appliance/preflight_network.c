/*
 * Addresses and sockets where we listen, and the devices and sockets of network cards: what would
 * otherwise be found out when the role has started, or by the first frame that goes nowhere.
 */
#include "appliance/preflight_internal.h"

#include "appliance/base/json_table.h"
#include "appliance/virtual_addresses.h"
#include "net/address.h"
#include "net/netlink.h"
#include "net/vrrp_socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHERE_MAX 64 /* "instances[63].nics[7].qemu_socket" */

/* ---- where we listen ---- */

/* A port of any number will do: who listens on the one that is named is not for now. */
static void check_own_address(struct preflight *preflight, const char *key, const char *text)
{
	struct sockaddr_storage at;
	struct address address;
	struct err err;
	int fd;

	if (address_parse(&address, text, false, &err) != RC_OK ||
	    !address_to_socket(&address, &at))
		return; /* a name */
	address_set_port(&at, 0);
	fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0 && errno == EADDRNOTAVAIL)
		preflight_error(
			preflight,
			"%s: %s: is no address of this machine; name one of its own, or 0.0.0.0 for all",
			key, text);
	(void)close(fd);
}

/* That a socket can be at `path`, or is left there. `ours`: we make it, not a QEMU as whatever user. */
static void check_socket(struct preflight *preflight, const char *where, const char *path,
			 bool ours)
{
	char dir[JSON_SOCKET_MAX + 1], hint[PREFLIGHT_REMEDY_MAX];
	const char *slash = strrchr(path, '/');
	struct stat st;

	(void)snprintf(dir, sizeof(dir), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	if (lstat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			preflight_error(
				preflight,
				"%s: %s: something else than a socket is there; remove it, or name another path",
				where, path);
	} else if (errno != ENOENT || stat(dir, &st) != 0) {
		preflight_error(preflight, "%s: %s: %s; %s", where, dir, strerror(errno),
				preflight_remedy(hint, errno,
						 "make the directory, or name another path"));
	} else if (ours && access(dir, W_OK) != 0) {
		preflight_error(preflight, "%s: %s: %s; %s", where, dir, strerror(errno),
				preflight_remedy(hint, errno, "name another path"));
	}
}

/* ---- network cards ---- */

static void check_bridge(struct preflight *preflight, const char *where, const char *name)
{
	struct netlink_device device;
	struct err err;

	if (netlink_get(&device, name, &err) != RC_OK)
		preflight_error(
			preflight,
			"%s.bridge: %s; make it (ip link add %s type bridge; ip link set %s up), or name "
			"the one where the instance's clients are",
			where, err.text, name, name);
	else if (!device.is_bridge)
		preflight_error(
			preflight,
			"%s.bridge: %s is no bridge; name the one where the instance's clients are",
			where, name);
}

/* One that is not there is made. */
static void check_tap(struct preflight *preflight, const char *where, const char *key,
		      const char *name)
{
	struct netlink_device device;
	struct err err;

	if (netlink_get(&device, name, &err) == RC_OK && !device.is_tap)
		preflight_error(
			preflight,
			"%s.%s: %s is there and no tap; name one that is not there: it is made",
			where, key, name);
}

static void check_nic(struct preflight *preflight, const struct config_nic *nic, const char *where)
{
	char key[WHERE_MAX + 16];

	if (preflight->config.role == CONFIG_PRIMARY && !nic->output_commit)
		preflight_warning(
			preflight,
			"%s.output_commit: false: what this card sends leaves before the standby has "
			"committed it, so a takeover may lose what clients were told",
			where);
	if (nic->socket != NULL) {
		(void)snprintf(key, sizeof(key), "%s.socket", where);
		check_socket(preflight, key, nic->socket, true);
	}
	if (nic->qemu_socket != NULL) {
		(void)snprintf(key, sizeof(key), "%s.qemu_socket", where);
		check_socket(preflight, key, nic->qemu_socket, false);
	}
	if (nic->guest_tap != NULL)
		check_tap(preflight, where, "guest_tap", nic->guest_tap);
	if (nic->tap != NULL)
		check_tap(preflight, where, "tap", nic->tap);
	if (nic->bridge != NULL)
		check_bridge(preflight, where, nic->bridge);
}

/* ---- virtual addresses ---- */

/* A device may come later, and an address with it: until then the group is stopped. */
static void check_device(struct preflight *preflight, const char *where, const char *name)
{
	struct netlink_device device;
	struct netlink_prefix first = { 0 };
	size_t count = 0;
	struct err err;

	if (netlink_get(&device, name, &err) != RC_OK)
		preflight_warning(preflight,
				  "%s.device: %s; until it is there the group is stopped", where,
				  err.text);
	else if (netlink_addresses(&first, 1, &count, device.index, &err) == RC_OK &&
		 (count == 0 || first.version != 4))
		preflight_warning(
			preflight,
			"%s.device: %s has no IPv4 address for VRRP to send from; until it has one the "
			"group is stopped",
			where, name);
}

static void check_groups(struct preflight *preflight, size_t index)
{
	const struct config_instance *instance = &preflight->config.instances[index];
	char where[WHERE_MAX];
	struct err err;
	int fd;

	if (instance->nvrrp == 0)
		return;
	if (vrrp_socket_create(&fd, &err) == RC_OK)
		(void)close(fd);
	else
		preflight_error(preflight, "instances[%zu].vrrp: %s; %s", index, err.text,
				VIRTUAL_ADDRESSES_NEED);
	for (size_t i = 0; i < instance->nvrrp; i++) {
		(void)snprintf(where, sizeof(where), "instances[%zu].vrrp[%zu]", index, i);
		check_device(preflight, where, instance->vrrp[i].device);
	}
}

void preflight_network(struct preflight *preflight)
{
	const struct config *config = &preflight->config;
	char where[WHERE_MAX];

	if (config->listen != NULL)
		check_own_address(preflight, "link.listen", config->listen);
	if (config->http != NULL && strncmp(config->http, "unix:", 5) == 0)
		check_socket(preflight, "http.listen", config->http + 5, true);
	else if (config->http != NULL)
		check_own_address(preflight, "http.listen", config->http);
	for (size_t i = 0; i < config->ninstances; i++) {
		for (size_t j = 0; j < config->instances[i].nnics; j++) {
			(void)snprintf(where, sizeof(where), "instances[%zu].nics[%zu]", i, j);
			check_nic(preflight, &config->instances[i].nics[j], where);
		}
		check_groups(preflight, i);
	}
}
