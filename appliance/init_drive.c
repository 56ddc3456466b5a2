/*
 * Theory of operation
 *
 * Each block device, partitions among them, is asked for its label (volume.h), again and again while none has the right one: a
 * drive appears when it likes. Once there is one, others get a second to appear, so that what is taken does not depend on which is the first.
 *
 * A guest whose disk is a device of this machine can give it that label. No such disk is read-only or removable, so a drive that is comes before
 * those that are not. Of two that are alike there is no telling which is meant: they are refused.
 */
#include "appliance/init_drive.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "appliance/config_drive.h"
#include "appliance/init_apart.h"
#include "appliance/volume.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOOK_EVERY_MS 100
#define OTHERS_WITHIN_MS 1000
#define FLAG_BYTES 300

static_assert(VOLUME_ROOT_MAX <= VOLUME_HEAD, "one piece of memory serves for both");

/* As much as there is of it. */
static size_t read_at(int fd, uint8_t *to, size_t size, uint64_t at)
{
	size_t done = 0;
	ssize_t r = 1;

	while (done < size && r > 0) {
		r = pread(fd, to + done, size - done, (off_t)(at + done));
		done += r > 0 ? (size_t)r : 0;
	}
	return done;
}

/* Whether it has the label; a device that cannot be read (a CD drive that is empty) has none. */
static bool look(struct volume *volume, int dir, const char *device, uint8_t *bytes)
{
	int fd;

	*volume = (struct volume){ 0 };
	if (init_apart_hangs(device))
		return false;
	init_apart_at(device, INIT_APART_LOOK_MS);
	fd = openat(dir, device, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	volume_look(volume, bytes, read_at(fd, bytes, VOLUME_HEAD, 0));
	if (volume->root_len > 0)
		volume_look_root(volume, bytes,
				 read_at(fd, bytes, volume->root_len, volume->root_at));
	(void)close(fd);
	return volume_is_named(volume, CONFIG_DRIVE_LABEL);
}

/* What the kernel says of it, or of the disk that it is a partition of. */
static bool is_set(const char *list, const char *device, const char *flag)
{
	char path[FLAG_BYTES], text[2] = "";
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s/%s", list, device, flag);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	(void)fread(text, 1, 1, file);
	(void)fclose(file);
	return text[0] == '1';
}

/* One more with the label; those that are protected come first. */
static int add(struct init_drive *drive, const struct init_drive *found, struct err *err)
{
	if (drive->type == NULL) {
		*drive = *found;
		return RC_OK;
	}
	if (drive->is_protected && !found->is_protected) {
		memcpy(drive->unused, found->device, sizeof(drive->unused));
		return RC_OK;
	}
	return err_set(err, RC_REFUSED,
		       "two drives are labelled " CONFIG_DRIVE_LABEL ": %s and %s; detach one",
		       drive->device, found->device);
}

/* Of those that are protected, or of the others. */
static int look_at(struct init_drive *drive, const char *list, int devices, bool is_protected,
		   uint8_t *bytes, struct err *err)
{
	DIR *dir = opendir(list);
	struct init_drive found;
	struct dirent *entry;
	struct volume volume;
	int rc = RC_OK;

	while (dir != NULL && rc == RC_OK && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' || strlen(entry->d_name) >= INIT_DRIVE_NAME_MAX)
			continue;
		found = (struct init_drive){ .is_protected =
						     is_set(list, entry->d_name, "ro") ||
						     is_set(list, entry->d_name, "removable") ||
						     is_set(list, entry->d_name, "../removable") };
		if (found.is_protected != is_protected ||
		    !look(&volume, devices, entry->d_name, bytes))
			continue;
		(void)snprintf(found.device, sizeof(found.device), "%s", entry->d_name);
		found.type = volume.type;
		rc = add(drive, &found, err);
	}
	if (dir != NULL)
		(void)closedir(dir);
	init_apart_at(NULL, 0);
	return rc;
}

/* RC_STATE: not yet. */
static int look_at_all(struct init_drive *drive, const char *list, int devices, uint8_t *bytes,
		       struct err *err)
{
	int rc;

	*drive = (struct init_drive){ 0 };
	rc = look_at(drive, list, devices, true, bytes, err);
	if (rc == RC_OK)
		rc = look_at(drive, list, devices, false, bytes, err);
	if (rc == RC_OK && drive->type == NULL)
		return err_set(err, RC_STATE, "no drive is labelled " CONFIG_DRIVE_LABEL);
	return rc;
}

int init_drive_find(struct init_drive *drive, const char *list, const char *devices,
		    uint32_t within_ms, struct err *err)
{
	const uint64_t end_ns = clock_now_ns() + within_ms * CLOCK_NS_PER_MS;
	const int dir = open(devices, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint8_t *bytes = mem_alloc(VOLUME_HEAD);
	int rc = bytes != NULL ? look_at_all(drive, list, dir, bytes, err) :
				 err_nomem(err, "labels of drives");

	while (rc == RC_STATE && clock_now_ns() < end_ns) {
		(void)usleep(LOOK_EVERY_MS * 1000);
		rc = look_at_all(drive, list, dir, bytes, err);
	}
	if (within_ms > 0 && (rc == RC_OK || rc == RC_REFUSED)) {
		(void)usleep(OTHERS_WITHIN_MS * 1000);
		rc = look_at_all(drive, list, dir, bytes, err);
	}
	mem_free(bytes);
	if (dir >= 0)
		(void)close(dir);
	return rc;
}
