#include "appliance/session_disks.h"

#include <stdio.h>
#include <string.h>

#define FREEZE_MARGIN_MS 500 /* as for a checkpoint (capture.c) */

void session_disks_init(struct session_disks *disks, const struct session_options *options)
{
	*disks = (struct session_disks){ .options = options, .capturing = options->first_epoch };
}

/* ---- while the instance stands, by the capture's thread -------------------------------------- */

static bool may_thaw(void *owner)
{
	const struct capture_hooks *hooks = &((const struct session_disks *)owner)->options->hooks;

	return hooks->may_thaw == NULL || hooks->may_thaw(hooks->owner);
}

static void freeze(void *owner)
{
	const struct capture_hooks *hooks = &((const struct session_disks *)owner)->options->hooks;

	if (hooks->freeze != NULL)
		hooks->freeze(hooks->owner);
}

static void thaw(void *owner, uint64_t next_epoch)
{
	const struct session_disks *disks = owner;
	const struct capture_hooks *hooks = &disks->options->hooks;

	if (disks->capture != NULL)
		disk_capture_cut(disks->capture);
	if (hooks->thaw != NULL)
		hooks->thaw(hooks->owner, next_epoch);
}

struct capture_hooks session_disks_hooks(struct session_disks *disks)
{
	return (struct capture_hooks){ may_thaw, freeze, thaw, disks };
}

/* ---- what is captured ------------------------------------------------------------------------ */

static void on_chunk(void *owner, struct chunk *chunk)
{
	struct session_disks *disks = owner;

	chunk->epoch = disks->capturing;
	sender_chunk(disks->sender, chunk);
}

static void on_ready(void *owner)
{
	struct session_disks *disks = owner;

	capture_go(disks->memory);
}

static void on_lost(void *owner, const struct err *err)
{
	struct session_disks *disks = owner;

	disks->ops->on_lost(disks->owner, err);
}

static const struct disk_capture_ops capture_callbacks = { on_chunk, on_ready, on_lost };

/*
 * A mirror that fails is told of by an event, which QEMU has written before the guest's next instruction, and
 * so before it was stopped. It may be there unread, behind what is being called back just now: each is read
 * by the end of this turn of the loop.
 */
static void on_settle(uv_check_t *settle)
{
	struct session_disks *disks = settle->data;
	struct chunk_list chunks = { 0 };
	struct chunk *chunk;

	(void)uv_check_stop(settle);
	if (disks->on_closed != NULL)
		return; /* it is being closed */
	if (!disk_capture_take(disks->capture, &chunks))
		return;
	while ((chunk = chunk_list_take(&chunks)) != NULL)
		on_chunk(disks, chunk);
	disks->capturing = disks->ended.epoch + 1;
	disks->ops->on_settled(disks->owner, &disks->ended);
}

bool session_disks_end_epoch(struct session_disks *disks, const struct capture_epoch *epoch)
{
	if (disks->capture == NULL)
		return false;
	disks->ended = *epoch;
	(void)uv_check_start(&disks->settle, on_settle);
	return true;
}

void session_disks_event(struct session_disks *disks, const char *name, const cJSON *data)
{
	if (disks->capture != NULL)
		disk_capture_event(disks->capture, name, data);
}

/* ---- life ------------------------------------------------------------------------------------ */

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

int session_disks_open(struct session_disks *disks, const struct layout *whole,
		       struct capture *memory, struct sender *sender,
		       const struct session_disks_ops *ops, void *owner, struct err *err)
{
	const struct session_options *options = disks->options;
	const struct config_instance *instance = options->instance;
	struct disk_capture_disk list[LAYOUT_DISKS_MAX];
	const struct disk_capture_options own = {
		.part = disks->part,
		.disks = list,
		.ndisks = whole->disks,
		.pool = options->disk_pool,
		.copy_bytes_s = instance->first_copy_mib_s << 20,
		.guardian = options->guardian,
		.freeze_limit_ms = instance->pause_limit_ms + FREEZE_MARGIN_MS,
	};
	int rc = RC_OK;

	disks->memory = memory;
	disks->sender = sender;
	disks->ops = ops;
	disks->owner = owner;
	(void)snprintf(disks->part, sizeof(disks->part), "capture %s", instance->name);
	for (uint32_t i = 0; rc == RC_OK && i < whole->disks; i++) {
		list[i] = (struct disk_capture_disk){
			.name = instance->disks[i].name,
			.node = options->disks[i].node,
			.extent = { layout_disk(whole, i)->first, options->disks[i].bytes },
		};
		rc = set_socket(&list[i], instance, &instance->disks[i], err);
	}
	if (rc == RC_OK)
		rc = disk_capture_open(&disks->capture, options->loop, options->qmp, &own,
				       &capture_callbacks, disks, err);
	if (rc != RC_OK)
		return rc;
	(void)uv_check_init(options->loop, &disks->settle); /* cannot fail */
	disks->settle.data = disks;
	return RC_OK;
}

bool session_disks_are_open(const struct session_disks *disks)
{
	return disks->capture != NULL;
}

static void part_closed(struct session_disks *disks)
{
	if (--disks->open_parts > 0)
		return;
	disks->capture = NULL;
	disks->on_closed(disks->owner);
}

static void on_capture_closed(void *owner)
{
	part_closed(owner);
}

static void on_settle_closed(uv_handle_t *handle)
{
	part_closed(handle->data);
}

bool session_disks_close(struct session_disks *disks, void (*on_closed)(void *owner))
{
	if (disks->capture == NULL)
		return false;
	disks->on_closed = on_closed;
	disks->open_parts = 2;
	uv_close((uv_handle_t *)&disks->settle, on_settle_closed);
	disk_capture_close(disks->capture, on_capture_closed);
	return true;
}
