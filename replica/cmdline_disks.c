/*
 * Disks whose image is the standby's own.
 *
 * At the primary a disk may be anything: a qcow2 file with backing files, a volume, an image on a server,
 * through layers named or not. What the guest sees of it is its bytes, so at the standby it is a raw
 * file, NAME.disk in the replica's directory (a link to where the standby keeps it). What the guest or its
 * device could tell, or the operator has set for the device's sake, stays: where it is plugged in, names,
 * what becomes of discards and of errors, throttling, whether it has a write cache.
 *
 * The file's node does not drop its cache when the replica is activated: it is this machine's page cache
 * through which the disk was written, and to empty it QEMU would wait for the disk.
 */
#include "replica/cmdline_derive.h"

#include "appliance/base/mem.h"
#include "appliance/base/words.h"
#include "replica/chunk.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LAYERS_MAX 64 /* of -blockdev below one another */

int cmdline_add_disk(struct cmdline_spec *spec, const char *name, const char *device,
		     uint64_t bytes, struct err *err)
{
	struct cmdline_disk *disk = &spec->disks[spec->ndisks];

	if (spec->ndisks == LAYOUT_DISKS_MAX)
		return err_set(err, RC_LIMIT, "more than %d disks", LAYOUT_DISKS_MAX);
	if (*name == '\0' || strlen(name) > IMAGE_DISK_NAME_MAX)
		return err_set(err, RC_LIMIT, "disk: a name of 1 to %d bytes", IMAGE_DISK_NAME_MAX);
	if (device != NULL && strlen(device) > CMDLINE_DEVICE_MAX)
		return err_set(err, RC_LIMIT, "disk %s: device is longer than %d bytes", name,
			       CMDLINE_DEVICE_MAX);
	if (bytes == 0 || bytes % CHUNK_SECTOR != 0)
		return err_set(err, RC_INVALID, "disk %s: %" PRIu64 " bytes are not whole sectors",
			       name, bytes);
	for (size_t i = 0; i < spec->ndisks; i++) {
		if (strcmp(spec->disks[i].name, name) == 0)
			return err_set(err, RC_INVALID, "two disks named %s", name);
	}
	*disk = (struct cmdline_disk){ .bytes = bytes };
	(void)snprintf(disk->name, sizeof(disk->name), "%s", name);
	(void)snprintf(disk->file, sizeof(disk->file), "%s.disk", name);
	if (device != NULL)
		(void)snprintf(disk->device, sizeof(disk->device), "%s", device);
	spec->ndisks++;
	return RC_OK;
}

/* Finding them ------------------------------------------------------------------------------- */

static bool is_option(const struct cmdline_token *token, const char *name)
{
	return token->value != NULL && strcmp(cmdline_token_name(token), name) == 0;
}

/* A copy of the value of `key` in an option; mem_free(). NULL: it has none. */
static int value_of(const struct cmdline_token *token, const char *key, char **value,
		    struct err *err)
{
	struct optstring options;
	const char *is;
	int rc =
		cmdline_options(token, is_option(token, "device") ? "driver" : NULL, &options, err);

	*value = NULL;
	if (rc != RC_OK)
		return rc;
	is = optstring_get(&options, key);
	if (is != NULL) {
		*value = mem_strdup(is);
		if (*value == NULL)
			rc = err_nomem(err, "a command line");
	}
	optstring_free(&options);
	return rc;
}

/* The first option of that kind in which `key` is `wanted`; NULL: there is none. */
static int find(struct cmdline_derivation *d, const char *option, const char *key,
		const char *wanted, struct cmdline_token **found, struct err *err)
{
	char *value;
	int rc = RC_OK;

	*found = NULL;
	assert(d->ntokens == 0 || d->tokens != NULL);
	for (size_t i = 0; i < d->ntokens && rc == RC_OK && *found == NULL; i++) {
		if (!is_option(&d->tokens[i], option))
			continue;
		rc = value_of(&d->tokens[i], key, &value, err);
		if (value != NULL && strcmp(value, wanted) == 0)
			*found = &d->tokens[i];
		mem_free(value);
	}
	return rc;
}

static int find_drive(struct cmdline_derivation *d, const char *name, struct cmdline_token **found,
		      struct err *err)
{
	int rc = find(d, "drive", "id", name, found, err);

	return rc == RC_OK && *found == NULL ? find(d, "blockdev", "node-name", name, found, err) :
					       rc;
}

static int find_disk(struct cmdline_derivation *d, const struct cmdline_disk *disk,
		     struct cmdline_token **found, struct err *err)
{
	struct cmdline_token *device;
	char *drive = NULL;
	int rc = find_drive(d, disk->device, found, err);

	if (rc != RC_OK || *found != NULL)
		return rc;
	rc = find(d, "device", "id", disk->device, &device, err);
	if (rc == RC_OK && device != NULL)
		rc = value_of(device, "drive", &drive, err);
	if (rc == RC_OK && drive != NULL)
		rc = find_drive(d, drive, found, err);
	mem_free(drive);
	return rc;
}

/* What the nodes below an option of -blockdev are called, they go as well. */
static int drop_below(struct cmdline_derivation *d, const struct cmdline_token *token,
		      unsigned depth, struct err *err)
{
	static const char *const links[] = { "file", "backing", "data-file" };
	struct cmdline_token *below;
	char *name;
	int rc = RC_OK;

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]) && rc == RC_OK; i++) {
		below = NULL;
		rc = value_of(token, links[i], &name, err);
		if (rc == RC_OK && name != NULL)
			rc = find(d, "blockdev", "node-name", name, &below, err);
		mem_free(name);
		if (rc != RC_OK || below == NULL || below->below || below->disk != NULL)
			continue;
		below->below = true;
		rc = depth < LAYERS_MAX ? drop_below(d, below, depth + 1, err) :
					  cmdline_refuse(below, NULL, "too many layers", err);
	}
	return rc;
}

static int find_one(struct cmdline_derivation *d, const struct cmdline_disk *disk, struct err *err)
{
	struct cmdline_token *token;
	int rc = find_disk(d, disk, &token, err);

	if (rc != RC_OK)
		return rc;
	if (token == NULL)
		return err_set(
			err, RC_UNSUPPORTED,
			"disk %s: QEMU was started without a -drive, -device or -blockdev of "
			"the id %.64s",
			disk->name, disk->device);
	if (token->disk != NULL)
		return cmdline_refuse(token, NULL, "is two of the disks", err);
	token->disk = disk;
	return is_option(token, "blockdev") ? drop_below(d, token, 0, err) : RC_OK;
}

static int is_in_own_list(struct cmdline_derivation *d, const struct cmdline_disk *disk,
			  struct err *err)
{
	if (cmdline_is_used(d, NULL, disk->file))
		return RC_OK;
	return err_set(err, RC_UNSUPPORTED,
		       "disk %s: nothing there has its image, which is %s in QEMU's working "
		       "directory (-drive file=%s,format=raw,...)",
		       disk->name, disk->file, disk->file);
}

int cmdline_find_disks(struct cmdline_derivation *d, struct err *err)
{
	int rc = RC_OK;

	for (size_t i = 0; i < d->spec->ndisks && rc == RC_OK; i++) {
		const struct cmdline_disk *disk = &d->spec->disks[i];

		rc = cmdline_add(&d->names, disk->file, err);
		if (rc == RC_OK)
			rc = d->literal ? is_in_own_list(d, disk, err) : find_one(d, disk, err);
	}
	return rc;
}

/* Writing the standby's ---------------------------------------------------------------------- */

static bool stays(const char *key)
{
	static const char *const keys[] = { "id",	 "node-name",	  "if",	    "index",
					    "bus",	 "unit",	  "media",  "serial",
					    "discard",	 "detect-zeroes", "werror", "rerror",
					    "read-only", "readonly",	  "group" };

	return WORDS_ONE_OF(key, keys) || strncmp(key, "throttling", strlen("throttling")) == 0 ||
	       strncmp(key, "bps", strlen("bps")) == 0 || strncmp(key, "iops", strlen("iops")) == 0;
}

static int keep_what_stays(struct optstring *to, const struct optstring *from, struct err *err)
{
	int rc = RC_OK;

	for (size_t i = 0; i < from->count && rc == RC_OK; i++) {
		const struct optstring_item *item = &from->items[i];

		if (stays(item->key))
			rc = optstring_set(to, item->key, item->value != NULL ? item->value : "on",
					   err);
	}
	return rc;
}

/* The guest was told of a write cache, or of none. */
static int keep_cache(struct optstring *to, const struct optstring *from, struct err *err)
{
	const char *cache = optstring_get(from, "cache");
	const char *writeback = optstring_get(from, "cache.writeback");
	static const char *const none[] = { "writethrough", "directsync" };

	if (cache != NULL && WORDS_ONE_OF(cache, none))
		return optstring_set(to, "cache", "writethrough", err);
	return writeback != NULL ? optstring_set(to, "cache.writeback", writeback, err) : RC_OK;
}

static int set_all(struct optstring *to, bool drive, const char *file, struct err *err)
{
	const struct {
		const char *key, *value;
	} items[] = {
		{ drive ? "format" : "driver", "raw" },
		{ drive ? "file" : "file.filename", file },
		{ "file.driver", "file" },
		{ "file.drop-cache", "off" },
	};
	int rc = RC_OK;

	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]) && rc == RC_OK; i++) {
		if (drive && strcmp(items[i].key, "file.driver") == 0)
			continue; /* a name says it, and saying it twice is refused */
		rc = optstring_set(to, items[i].key, items[i].value, err);
	}
	return rc;
}

int cmdline_emit_disk(struct cmdline_derivation *d, const struct cmdline_token *token,
		      struct err *err)
{
	const bool drive = is_option(token, "drive");
	struct optstring old, new = { 0 };
	int rc = cmdline_options(token, NULL, &old, err);

	if (rc != RC_OK)
		return rc;
	rc = set_all(&new, drive, token->disk->file, err);
	if (rc == RC_OK)
		rc = keep_what_stays(&new, &old, err);
	if (rc == RC_OK && drive)
		rc = keep_cache(&new, &old, err);
	if (rc == RC_OK)
		rc = cmdline_emit_options(d, drive ? "-drive" : "-blockdev", &new, err);
	optstring_free(&old);
	optstring_free(&new);
	return rc;
}
