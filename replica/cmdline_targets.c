/*
 * A disk's image that is no file but a block target of the standby's configuration: where the arguments, which the
 * primary has sent, name the file in the replica's directory, they get the target instead, below a raw layer that keeps what was said
 * of the file's node (its name, its cache). By then they have been checked: what the target may be is the standby's operator's
 * affair.
 *
 *   -drive file=system.disk,format=raw,id=drive0         -> -drive format=raw,id=drive0,file.driver=raw,
 *   -blockdev driver=raw,file.driver=file,                  file.file.driver=nbd,file.file.export=...,
 *             file.filename=system.disk,node-name=d0        file.file.node-name=us-disk-0
 *   -blockdev {"driver": "file", "filename": "system.disk", "node-name": "f0"}
 *             -> {"node-name": "f0", "driver": "raw", "file": {target, "node-name": "us-disk-0"}}
 */
#include "replica/cmdline_derive.h"

#include "appliance/base/mem.h"

#include <stdio.h>
#include <string.h>

#define PREFIX_MAX 128
#define KEY_MAX 512

/* What only the file's driver understands. */
#define FILE_KEYS \
	"driver", "filename", "drop-cache", "locking", "aio", "aio-max-batch", "pr-manager"

void cmdline_target_node(char node[CMDLINE_NAME_MAX + 1], size_t disk)
{
	(void)snprintf(node, CMDLINE_NAME_MAX + 1, "us-disk-%zu", disk);
}

/* ---- key=value ------------------------------------------------------------------------------- */

/* The keys of the file's node begin with `prefix`: "" or "file." or more of them. False: it has no such file. */
static bool find_prefix(const struct optstring *options, bool drive, const char *file,
			char prefix[PREFIX_MAX])
{
	static const char last[] = "filename";

	for (size_t i = 0; i < options->count; i++) {
		const struct optstring_item *item = &options->items[i];
		const size_t len = strlen(item->key), tail = sizeof(last) - 1;

		if (item->value == NULL || strcmp(item->value, file) != 0)
			continue;
		if (drive && strcmp(item->key, "file") == 0) {
			(void)snprintf(prefix, PREFIX_MAX, "file.");
			return true;
		}
		if (len < tail || len - tail >= PREFIX_MAX ||
		    strcmp(item->key + len - tail, last) != 0)
			continue;
		memcpy(prefix, item->key, len - tail);
		prefix[len - tail] = '\0';
		if (len == tail || prefix[len - tail - 1] == '.')
			return true;
	}
	return false;
}

static void drop_file(struct optstring *options, const char *prefix)
{
	static const char *const keys[] = { FILE_KEYS };
	char whole[KEY_MAX];

	optstring_remove(options, "file");
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		(void)snprintf(whole, sizeof(whole), "%s%s", prefix, keys[i]);
		optstring_remove(options, whole);
	}
}

static int set_below(struct optstring *options, const char *prefix, const char *key,
		     const char *value, struct err *err)
{
	char whole[KEY_MAX];

	if (snprintf(whole, sizeof(whole), "%s%s", prefix, key) >= (int)sizeof(whole))
		return err_set(err, RC_LIMIT, "a key longer than %d bytes", KEY_MAX - 1);
	return optstring_set(options, whole, value, err);
}

static int put_target(struct optstring *options, const char *prefix, const char *target,
		      const char *node, struct err *err)
{
	char below[PREFIX_MAX + sizeof("file.")];
	struct optstring items;
	int rc = optstring_parse(&items, target, NULL, err);

	if (rc != RC_OK)
		return rc;
	drop_file(options, prefix);
	(void)snprintf(below, sizeof(below), "%sfile.", prefix);
	rc = set_below(options, prefix, "driver", "raw", err);
	for (size_t i = 0; i < items.count && rc == RC_OK; i++)
		rc = set_below(options, below, items.items[i].key, items.items[i].value, err);
	if (rc == RC_OK)
		rc = set_below(options, below, "node-name", node, err);
	optstring_free(&items);
	return rc;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static cJSON *find_file(cJSON *object, const char *file)
{
	const cJSON *name = cJSON_GetObjectItemCaseSensitive(object, "filename");
	cJSON *member, *found = NULL;

	if (cJSON_IsString(name) && strcmp(name->valuestring, file) == 0)
		return object;
	for (member = object->child; member != NULL && found == NULL; member = member->next) {
		if (cJSON_IsObject(member))
			found = find_file(member, file);
	}
	return found;
}

static int put_target_json(cJSON *object, const char *target, const char *node, struct err *err)
{
	static const char *const keys[] = { FILE_KEYS };
	cJSON *below = cJSON_Parse(target);

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		cJSON_DeleteItemFromObjectCaseSensitive(object, keys[i]);
	if (cJSON_AddStringToObject(object, "driver", "raw") == NULL ||
	    cJSON_AddStringToObject(below, "node-name", node) == NULL ||
	    !cJSON_AddItemToObject(object, "file", below)) {
		cJSON_Delete(below);
		return err_nomem(err, "a command line");
	}
	return RC_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* *found: the option had the disk's file, and has the target now. */
static int replace_in(char **arg, bool drive, const struct cmdline_disk *disk, const char *node,
		      bool *found, struct err *err)
{
	char prefix[PREFIX_MAX], *text = NULL;
	struct optstring options;
	cJSON *file;
	int rc = optstring_parse(&options, *arg, NULL, err);

	if (rc != RC_OK)
		return rc;
	if (options.json != NULL) {
		file = find_file(options.json, disk->file);
		*found = file != NULL;
		if (*found)
			rc = put_target_json(file, disk->target, node, err);
	} else {
		*found = find_prefix(&options, drive, disk->file, prefix);
		if (*found)
			rc = put_target(&options, prefix, disk->target, node, err);
	}
	if (rc == RC_OK && *found)
		rc = optstring_print(&options, &text, err);
	optstring_free(&options);
	if (text != NULL) {
		mem_free(*arg);
		*arg = text;
	}
	return rc;
}

static int put_one(struct cmdline *cmdline, const struct cmdline_disk *disk, const char *node,
		   struct err *err)
{
	bool found = false;
	int rc = RC_OK;

	for (size_t i = 0; i + 1 < cmdline->count && rc == RC_OK && !found; i++) {
		const char *option = cmdline->args[i] + strspn(cmdline->args[i], "-");
		const bool drive = strcmp(option, "drive") == 0;

		if (cmdline->args[i][0] == '-' && (drive || strcmp(option, "blockdev") == 0))
			rc = replace_in(&cmdline->args[i + 1], drive, disk, node, &found, err);
	}
	if (rc == RC_OK && !found)
		rc = err_set(
			err, RC_UNSUPPORTED,
			"disk %s: its target has no place: none of -drive and -blockdev names %s",
			disk->name, disk->file);
	return rc;
}

int cmdline_put_targets(struct cmdline *cmdline, const struct cmdline_spec *spec, struct err *err)
{
	char node[CMDLINE_NAME_MAX + 1];
	int rc = RC_OK;

	for (size_t i = 0; i < spec->ndisks && rc == RC_OK; i++) {
		if (spec->disks[i].target == NULL)
			continue;
		cmdline_target_node(node, i);
		rc = put_one(cmdline, &spec->disks[i], node, err);
	}
	return rc;
}

int cmdline_set_target(struct cmdline_disk *disk, const char *target, struct err *err)
{
	mem_free(disk->target);
	disk->target = mem_strdup(target);
	return disk->target != NULL ? RC_OK : err_nomem(err, "a disk's target");
}
