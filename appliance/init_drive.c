/*
 * Theory of operation
 *
 * Each block device, partitions among them, is asked for its label (volume.h), again and again while none has the right one: a
 * drive appears when it likes. Of two there is no telling which is meant; those are refused that are there when the first is found.
 */
#include "appliance/init_drive.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "appliance/config_drive.h"
#include "appliance/volume.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOOK_EVERY_MS 100

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
	const int fd = openat(dir, device, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	*volume = (struct volume){ 0 };
	if (fd < 0)
		return false;
	volume_look(volume, bytes, read_at(fd, bytes, VOLUME_HEAD, 0));
	if (volume->root_len > 0)
		volume_look_root(volume, bytes,
				 read_at(fd, bytes, volume->root_len, volume->root_at));
	(void)close(fd);
	return volume_is_named(volume, CONFIG_DRIVE_LABEL);
}

/* RC_STATE: not yet. */
static int look_at_all(struct init_drive *drive, const char *list, int devices, uint8_t *bytes,
		       struct err *err)
{
	DIR *dir = opendir(list);
	struct dirent *entry;
	struct volume volume;
	int rc = RC_OK;

	*drive = (struct init_drive){ 0 };
	while (dir != NULL && rc == RC_OK && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' || strlen(entry->d_name) >= INIT_DRIVE_NAME_MAX ||
		    !look(&volume, devices, entry->d_name, bytes))
			continue;
		if (drive->type != NULL)
			rc = err_set(err, RC_REFUSED,
				     "two drives are labelled " CONFIG_DRIVE_LABEL
				     ": %s and %s; detach one",
				     drive->device, entry->d_name);
		(void)snprintf(drive->device, sizeof(drive->device), "%s", entry->d_name);
		drive->type = volume.type;
	}
	if (dir != NULL)
		(void)closedir(dir);
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
	mem_free(bytes);
	if (dir >= 0)
		(void)close(dir);
	return rc;
}
