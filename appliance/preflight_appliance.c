/*
 * In the image there are the program, the hypervisor and its firmware at fixed places, /data for what is to last, and beside
 * config.json the files that came with it, without directories. All else that a configuration can name is not there.
 */
#include "appliance/preflight_internal.h"

#include "appliance/base/files.h"
#include "appliance/base/mem.h"
#include "appliance/config_devices.h"
#include "appliance/config_drive.h"
#include "appliance/iso9660.h"
#include "appliance/seat_journal.h"
#include "net/address.h"
#include "net/http_socket.h"
#include "net/netlink.h"

#include <stdio.h>
#include <string.h>

#define PROGRAM "/bin/qemu-system-x86_64"
#define FIRMWARE "/firmware"
#define DATA "/data"

static bool is_data(const char *path)
{
	return files_contains(DATA, path) && path[strlen(DATA)] == '/';
}

/* The rest is the image, to which nobody writes. */
static bool is_writable(const char *path)
{
	return is_data(path) || files_contains("/run", path) || files_contains("/dev/shm", path);
}

/* What is to last, and where it is. */
static void check_place(struct preflight *preflight, const char *key, const char *path,
			const char *lost)
{
	if (!is_writable(path))
		preflight_error(preflight,
				"%s: %s: nothing can be written there in the appliance; name one "
				"below " DATA,
				key, path);
	else if (!is_data(path))
		preflight_warning(preflight, "%s: %s: is not below " DATA "; %s", key, path, lost);
}

/* Files that travel with the configuration have to be beside it. */
static void check_beside(struct preflight *preflight, const char *directory)
{
	const char *names[CONFIG_DRIVE_FILES_MAX];
	const size_t count = config_drive_named(&preflight->config, names);
	const size_t len = strlen(directory);
	struct err err;

	for (size_t i = 0; i < count; i++) {
		const char *name = names[i] + len + 1;

		if (strncmp(names[i], directory, len) != 0 || names[i][len] != '/' ||
		    strchr(name, '/') != NULL)
			preflight_error(preflight,
					"%s: has to be in the same directory as this file: the "
					"appliance has them in one, too",
					names[i]);
		else if (iso9660_check_name(name, &err) != RC_OK)
			preflight_error(preflight, "%s; rename it", err.text);
	}
}

/* ---- the network ---- */

/* The image has no list of hosts. */
static void check_name(struct preflight *preflight, const char *key, const char *host)
{
	const struct config *config = &preflight->config;

	for (size_t i = 0; i < config->ndevices; i++) {
		if (config->devices[i].dhcp)
			return; /* who gives an address gives name servers, too */
	}
	if (config->dns == NULL)
		preflight_error(preflight,
				"%s: %s: the appliance has no name server to ask (machine.dns); "
				"name an address of machine.network, or 0.0.0.0 for all",
				key, host);
}

void preflight_unreachable(struct buf *to, const char *name, const struct config *config)
{
	const char *const all[][2] = { { "http.listen", config->http },
				       { "link.listen", config->listen } };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (all[i][1] != NULL && http_socket_is_local(all[i][1]))
			preflight_note(
				to, name,
				"%s: %s cannot be reached from outside of the appliance; name an "
				"address of machine.network, or 0.0.0.0 for all",
				all[i][0], all[i][1]);
	}
}

/* Where one listens has to be this machine's: one of its addresses, or all of them. */
static void check_listener(struct preflight *preflight, const char *key, const char *listen)
{
	const struct config *config = &preflight->config;
	struct address address;
	struct netlink_prefix wanted, prefix;
	struct err ignored;

	if (listen == NULL || http_socket_is_local(listen) ||
	    address_parse(&address, listen, false, &ignored) != RC_OK || address_is_any(&address))
		return;
	if (netlink_prefix_parse(&wanted, address.host, &ignored) != RC_OK) {
		check_name(preflight, key, address.host);
		return;
	}
	for (size_t i = 0; i < config->ndevices; i++) {
		char *const *list = config->devices[i].addresses;

		if (config->devices[i].dhcp && wanted.version == 4)
			return; /* nobody knows yet */
		for (size_t j = 0; list != NULL && list[j] != NULL; j++) {
			(void)netlink_prefix_parse(&prefix, list[j], &ignored);
			if (prefix.version == wanted.version &&
			    memcmp(prefix.ip, wanted.ip, sizeof(prefix.ip)) == 0)
				return;
		}
	}
	preflight_error(preflight, "%s: %s is at no device of machine.network", key, listen);
}

static void check_device(struct preflight *preflight, const char *key, size_t instance,
			 size_t index, const char *name)
{
	if (name != NULL && !config_has_device(&preflight->config, name))
		preflight_error(preflight,
				"instances[%zu].%s[%zu]: %s is no device of machine.network",
				instance, key, index, name);
}

static void check_network(struct preflight *preflight)
{
	const struct config *config = &preflight->config;

	preflight_unreachable(&preflight->errors, preflight->name, config);
	check_listener(preflight, "http.listen", config->http);
	check_listener(preflight, "link.listen", config->listen);
	for (size_t i = 0; i < config->ninstances; i++) {
		const struct config_instance *instance = &config->instances[i];

		for (size_t j = 0; j < instance->nnics; j++)
			check_device(preflight, "nics", i, j, instance->nics[j].bridge);
		for (size_t j = 0; j < instance->nvrrp; j++)
			check_device(preflight, "vrrp", i, j, instance->vrrp[j].device);
	}
}

static void check_instance(struct preflight *preflight, size_t index)
{
	static const char lost[] = "what is there is gone when the appliance restarts";
	const struct config_instance *instance = &preflight->config.instances[index];
	char key[80];

	(void)snprintf(key, sizeof(key), "instances[%zu].journal.dir", index);
	if (instance->journal_dir != NULL)
		check_place(preflight, key, instance->journal_dir, lost);
	for (size_t i = 0; instance->journal_copies != NULL && instance->journal_copies[i] != NULL;
	     i++) {
		(void)snprintf(key, sizeof(key), "instances[%zu].journal.copies[%zu]", index, i);
		check_place(preflight, key, instance->journal_copies[i], lost);
	}
	for (size_t i = 0; i < instance->ndisks; i++) {
		(void)snprintf(key, sizeof(key), "instances[%zu].disks[%zu].path", index, i);
		if (instance->disks[i].path != NULL)
			check_place(preflight, key, instance->disks[i].path, lost);
	}
}

static void check_memory(struct preflight *preflight)
{
	for (size_t i = 0; i < preflight->config.ninstances; i++) {
		if (seat_journal_wanted(&preflight->config.instances[i]))
			preflight_error(preflight,
					"machine.data: " CONFIG_DATA_MEMORY
					": instances[%zu] has a journal, which needs a disk",
					i);
	}
}

void preflight_appliance(struct preflight *preflight, const char *path)
{
	const struct config *config = &preflight->config;
	char *directory = config_directory(path);

	if (directory == NULL) {
		preflight->errors.failed = true;
		return;
	}
	check_beside(preflight, directory);
	mem_free(directory);
	if (strcmp(config->hypervisor, PROGRAM) != 0)
		preflight_error(preflight, "hypervisor.program: %s: the appliance's is " PROGRAM,
				config->hypervisor);
	if (config->firmware == NULL || strcmp(config->firmware, FIRMWARE) != 0)
		preflight_error(preflight, "hypervisor.firmware: %s: the appliance's is " FIRMWARE,
				config->firmware != NULL ? config->firmware : "absent");
	if (config->data != NULL && strcmp(config->data, CONFIG_DATA_MEMORY) == 0)
		check_memory(preflight);
	check_place(preflight, "state_dir", config->state_dir,
		    "who serves would be forgotten when the appliance restarts");
	if (!is_writable(config->memory_dir))
		preflight_error(preflight,
				"memory_dir: %s: nothing can be written there in the appliance; "
				"leave it out, or name /dev/shm or a directory below " DATA,
				config->memory_dir);
	if (config->ndevices == 0)
		preflight_warning(
			preflight,
			"machine.network: absent; the appliance will have no address but those that its cards give "
			"themselves (fe80::...)");
	check_network(preflight);
	for (size_t i = 0; i < config->ninstances; i++)
		check_instance(preflight, i);
}
