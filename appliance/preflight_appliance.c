/*
 * In the image there are the program, the hypervisor and its firmware at fixed places, /data for what is to last, and beside
 * config.json the files that came with it, without directories. All else that a configuration can name is not there.
 */
#include "appliance/preflight_internal.h"

#include "appliance/base/mem.h"
#include "appliance/config_devices.h"
#include "appliance/config_drive.h"
#include "appliance/iso9660.h"
#include "appliance/seat_journal.h"
#include "net/address.h"
#include "net/http_socket.h"
#include "net/netlink.h"

#include <string.h>

#define PROGRAM "/bin/qemu-system-x86_64"
#define FIRMWARE "/firmware"
#define DATA "/data/"

static bool is_data(const char *path)
{
	return strncmp(path, DATA, strlen(DATA)) == 0;
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

/* Where one listens has to be this machine's: one of its addresses, or all of them. Nobody is inside of it to ask. */
static void check_listener(struct preflight *preflight, const char *key, const char *listen)
{
	const struct config *config = &preflight->config;
	struct address address;
	struct netlink_prefix wanted, prefix;
	struct err ignored;

	if (listen != NULL && http_socket_is_local(listen)) {
		preflight_error(preflight,
				"%s: %s cannot be reached from outside of the appliance; name an "
				"address of machine.network, or 0.0.0.0 for all",
				key, listen);
		return;
	}
	if (listen == NULL || address_parse(&address, listen, false, &ignored) != RC_OK ||
	    address_is_any(&address) ||
	    netlink_prefix_parse(&wanted, address.host, &ignored) != RC_OK)
		return;
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
	static const char remedy[] = "only what is below /data outlives a restart of the appliance";
	const struct config_instance *instance = &preflight->config.instances[index];

	if (instance->journal_dir != NULL && !is_data(instance->journal_dir))
		preflight_warning(preflight, "instances[%zu].journal.dir: %s: %s", index,
				  instance->journal_dir, remedy);
	for (size_t i = 0; instance->journal_copies != NULL && instance->journal_copies[i] != NULL;
	     i++) {
		if (!is_data(instance->journal_copies[i]))
			preflight_warning(preflight, "instances[%zu].journal.copies[%zu]: %s: %s",
					  index, i, instance->journal_copies[i], remedy);
	}
	for (size_t i = 0; i < instance->ndisks; i++) {
		if (instance->disks[i].path != NULL && !is_data(instance->disks[i].path))
			preflight_warning(preflight, "instances[%zu].disks[%zu].path: %s: %s",
					  index, i, instance->disks[i].path, remedy);
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
	if (!is_data(config->state_dir))
		preflight_warning(preflight,
				  "state_dir: %s: is not below /data; who serves would be "
				  "forgotten when the appliance restarts",
				  config->state_dir);
	if (config->ndevices == 0)
		preflight_warning(
			preflight,
			"machine.network: absent; the appliance will have no address but those that its cards give "
			"themselves (fe80::...)");
	check_network(preflight);
	for (size_t i = 0; i < config->ninstances; i++)
		check_instance(preflight, i);
}
