#include "appliance/config.h"
#include "appliance/config_keys.h"
#include "replica/cmdline.h"
#include "replica/optstring.h"

#include <assert.h>
#include <string.h>

/* A path of QEMU's objects at most. */
static int check_disk(const char *text, struct err *err)
{
	if (*text == '\0' || strlen(text) > CMDLINE_DEVICE_MAX)
		return err_set(err, RC_INVALID, "what QEMU calls a disk has 1 to %d bytes",
			       CMDLINE_DEVICE_MAX);
	return RC_OK;
}

/* Names of nodes are ours to give; what else is right, QEMU says when it is started. */
static int check_target(const char *text, struct err *err)
{
	struct optstring options;
	bool has_driver, has_node = false;
	int rc = optstring_parse(&options, text, NULL, err);

	if (rc != RC_OK)
		return rc;
	has_driver = optstring_get(&options, "driver") != NULL;
	for (size_t i = 0; i < options.count; i++)
		has_node = has_node || strcmp(options.items[i].key, "node-name") == 0;
	optstring_free(&options);
	if (!has_driver)
		return err_set(err, RC_INVALID,
			       "a block target has a driver: {\"driver\": \"nbd\", ...}");
	if (has_node)
		return err_set(err, RC_INVALID, "a block target here has no node-name");
	return RC_OK;
}

/* Every key of one is in the other, with that value. */
static bool has_all_of(const struct optstring *one, const struct optstring *other)
{
	for (size_t i = 0; i < other->count; i++) {
		const char *value = optstring_get(one, other->items[i].key);
		const char *wanted = optstring_get(other, other->items[i].key);

		if (value == NULL || wanted == NULL || strcmp(value, wanted) != 0)
			return false;
	}
	return true;
}

bool config_disk_same_target(const char *one, const char *other)
{
	struct optstring a = { 0 }, b = { 0 };
	struct err err;
	bool same = strcmp(one, other) == 0;

	if (!same && optstring_parse(&a, one, NULL, &err) == RC_OK &&
	    optstring_parse(&b, other, NULL, &err) == RC_OK)
		same = has_all_of(&a, &b) && has_all_of(&b, &a);
	optstring_free(&a);
	optstring_free(&b);
	return same;
}

const char *config_disk_problem(const struct config_disk *disk)
{
	if (disk->path == NULL && disk->target == NULL)
		return ": missing: path, a raw image, or target, what QEMU is to open";
	if (disk->path != NULL && disk->target != NULL)
		return ".target: there is a path as well: name one of them";
	return NULL;
}

#define DISK_PATTERN "^[^" JSON_PATTERN_CONTROL "]{1,255}" JSON_PATTERN_END
static_assert(CMDLINE_DEVICE_MAX == 255, "as the pattern says");

static const struct json_field disk_fields[] = {
	{ .key = "name",
	  .type = JSON_NAME,
	  .required = true,
	  .offset = offsetof(struct config_disk, name),
	  .doc = "the disk's name, the same at both sites" },
	{ .key = "device",
	  .type = JSON_TEXT,
	  .kind = "name",
	  .check = check_disk,
	  .pattern = DISK_PATTERN,
	  .required = true,
	  .roles = (1U << CONFIG_PRIMARY),
	  .offset = offsetof(struct config_disk, device),
	  .doc = "what QEMU knows it by: the id of its -drive or -device, or the node-name of its -blockdev" },
	{ .key = "socket",
	  .type = JSON_SOCKET,
	  .roles = (1U << CONFIG_PRIMARY),
	  .offset = offsetof(struct config_disk, socket),
	  .doc = "unix socket of the agent, to which QEMU mirrors the disk; absent: qmp with the disk's name behind it" },
	{ .key = "path",
	  .type = JSON_PATH,
	  .roles = (1U << CONFIG_STANDBY),
	  .offset = offsetof(struct config_disk, path),
	  .doc = "raw image of the replica's disk; made when it is not there" },
	{ .key = "target",
	  .type = JSON_AS_IT_IS,
	  .kind = "object",
	  .check = check_target,
	  .roles = (1U << CONFIG_STANDBY),
	  .offset = offsetof(struct config_disk, target),
	  .doc = "instead of path: a block target as QEMU's -blockdev takes it, of the disk's size, without a node-name" },
};
const struct json_table config_disk_table = JSON_TABLE(disk_fields);
static_assert(CONFIG_DISKS_MAX == LAYOUT_DISKS_MAX, "what can be configured can be numbered");
