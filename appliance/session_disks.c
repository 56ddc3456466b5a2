#include "appliance/session_disks.h"

#include <stdio.h>
#include <string.h>

int session_disks_layout(struct layout *whole, const struct layout *memory,
			 const struct session_options *options, struct err *err)
{
	const struct config_instance *instance = options->instance;
	int rc = RC_OK;

	*whole = *memory;
	for (size_t i = 0; rc == RC_OK && i < instance->ndisks; i++)
		rc = layout_add_disk(whole, instance->disks[i].name,
				     strlen(instance->disks[i].name), options->disks[i].bytes, err);
	return rc;
}

/* Beside the QMP socket: where QEMU can be reached. */
static int set_socket(struct disk_capture_disk *disk, const struct config_instance *instance,
		      const struct config_disk *config, struct err *err)
{
	int n;

	if (config->socket != NULL)
		n = snprintf(disk->socket, sizeof(disk->socket), "%s", config->socket);
	else
		n = snprintf(disk->socket, sizeof(disk->socket), "%s.%s", instance->qmp,
			     config->name);
	if (n < 0 || (size_t)n >= sizeof(disk->socket))
		return err_set(err, RC_LIMIT,
			       "disk %s: its socket's path is longer than %zu bytes: give it a "
			       "shorter one (disks, socket)",
			       config->name, sizeof(disk->socket) - 1);
	return RC_OK;
}

int session_disks_open(struct disk_capture **capture, const struct layout *whole,
		       const struct session_options *options, const struct disk_capture_ops *ops,
		       void *owner, struct err *err)
{
	const struct config_instance *instance = options->instance;
	struct disk_capture_disk disks[LAYOUT_DISKS_MAX];
	const struct disk_capture_options own = {
		.part = instance->name,
		.disks = disks,
		.ndisks = whole->disks,
		.pool = options->disk_pool,
	};
	int rc = RC_OK;

	for (uint32_t i = 0; rc == RC_OK && i < whole->disks; i++) {
		disks[i] = (struct disk_capture_disk){
			.name = instance->disks[i].name,
			.node = options->disks[i].node,
			.extent = { layout_disk(whole, i)->first, options->disks[i].bytes },
		};
		rc = set_socket(&disks[i], instance, &instance->disks[i], err);
	}
	return rc == RC_OK ? disk_capture_open(capture, options->loop, options->qmp, &own, ops,
					       owner, err) :
			     rc;
}
