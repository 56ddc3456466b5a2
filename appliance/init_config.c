/*
 * Theory of operation
 *
 * The machine is told what it is by files: the configuration and the keys and certificates that it names. They come from the
 * first of these places that has a config.json, and all from the same one:
 *
 *   fw_cfg   QEMU's -fw_cfg name=opt/understudy/NAME,file=... (config.json, ca.crt, standby.crt, standby.key)
 *   image    /config, from `make image CONFIG=DIR`
 *   drive    a disk or CD labelled UNDERSTUDY, FAT or ISO 9660 (init_drive.h), which is mounted read-only while it is copied
 *
 * The first two are there at once or never; a drive may take its time, and is waited for where neither of them has a
 * configuration: which one is used does not depend on how fast a disk is. A place that has one, too, is told of. The first two
 * are nobody's but the operator's; a drive may be a guest's, but for what is read-only or removable (init_drive.c).
 *
 * They are copied to /run/config, which is in memory and nobody else's to read; names there are the ones that the
 * configuration has for them. What is no regular file is no part of it: an error says so of config.json, the log of a symbolic link.
 */
#include "appliance/init_internal.h"

#include "appliance/base/buf.h"
#include "appliance/base/files.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/init_apart.h"
#include "appliance/init_drive.h"
#include "appliance/preflight.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_BYTES 256
#define FILES_MAX 64 /* a place with more is something else's */

const struct init_places init_places = {
	.fw_cfg = "/sys/firmware/qemu_fw_cfg/by_name/opt/understudy",
	.image = "/config",
	.list = INIT_DRIVE_LIST,
	.devices = INIT_DRIVE_DEVICES,
	.drive_within_ms = 10000,
	.drive = "/run/drive",
	.config = INIT_CONFIG_DIR,
};

/* ---- one place ---------------------------------------------------------------------------------------- */

/*
 * `from` is the file itself, or of fw_cfg the directory in which it is called raw. RC_UNSUPPORTED: it is no file. Does not wait for
 * who writes to a pipe.
 */
static int copy_file(const char *to, int dir, const char *from, const char *name, struct err *err)
{
	struct buf text = { .limit = CONFIG_FILE_MAX };
	const int fd = openat(dir, from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	int rc;

	if (fd < 0 && errno == ELOOP)
		rc = err_set(err, RC_INVALID, "%s: is a symbolic link; put the file itself there",
			     name);
	else if (fd < 0 || fstat(fd, &st) != 0)
		rc = err_system(err, errno, "%s", name);
	else if (!S_ISREG(st.st_mode))
		rc = err_set(err, RC_UNSUPPORTED, "%s: is no file; put one there", name);
	else
		rc = files_read_open(&text, fd, name, err);
	if (rc == RC_IO)
		(void)err_append(err, "; what it is on is damaged or cut: make that anew");
	if (fd >= 0)
		(void)close(fd);
	if (rc == RC_OK)
		rc = files_replace(to, name, text.data, text.len, err);
	files_free_secret(&text);
	return rc;
}

/* What of them is needed is missed by who reads it. */
static void copy_others(const char *to, const char *place, DIR *dir, const char *suffix)
{
	char from[NAME_BYTES + 8];
	struct dirent *entry;
	unsigned count = 0;
	struct err err;

	while ((entry = readdir(dir)) != NULL && count < FILES_MAX) {
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, INIT_CONFIG_NAME) == 0)
			continue;
		(void)snprintf(from, sizeof(from), "%s%s", entry->d_name, suffix);
		count++;
		if (copy_file(to, dirfd(dir), from, entry->d_name, &err) != RC_OK &&
		    err.code != RC_UNSUPPORTED)
			log_error(INIT_PART, "configuration in %s: %s", place, err.text);
	}
	if (entry != NULL)
		log_error(INIT_PART,
			  "configuration in %s: more than %u files; not all are looked at", place,
			  FILES_MAX);
}

/* All that is in a directory, the place's, in messages; RC_STATE: there is no such directory, or no configuration. */
static int copy_from(const char *to, const char *place, const char *directory, const char *suffix,
		     struct err *err)
{
	DIR *dir = opendir(directory);
	char from[NAME_BYTES];
	int rc;

	(void)snprintf(from, sizeof(from), "%s%s", INIT_CONFIG_NAME, suffix);
	if (dir == NULL ||
	    (faccessat(dirfd(dir), from, F_OK, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)) {
		if (dir != NULL)
			(void)closedir(dir);
		return err_set(err, RC_STATE, "%s: there is no %s", place, INIT_CONFIG_NAME);
	}
	rc = copy_file(to, dirfd(dir), from, INIT_CONFIG_NAME, err);
	if (rc == RC_OK)
		copy_others(to, place, dir, suffix);
	else
		(void)err_prefix(err, "configuration in %s: ", place);
	(void)closedir(dir);
	return rc;
}

/* ---- a drive -------------------------------------------------------------------------------------------- */

static int mount_drive(const struct init_places *at, const struct init_drive *drive,
		       struct err *err)
{
	char device[NAME_BYTES];
	/* A name of 8 and 3 capitals is meant as a small one, as isofs has it anyway. */
	const char *options = strcmp(drive->type, "vfat") == 0 ? "shortname=lower" : NULL;

	(void)snprintf(device, sizeof(device), "%s/%s", at->devices, drive->device);
	init_apart_at(drive->device, INIT_APART_LOOK_MS); /* and while it is copied */
	(void)mkdir(at->drive, 0700);
	if (mount(device, at->drive, drive->type, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  options) == 0)
		return RC_OK;
	(void)err_system(err, errno, "configuration drive %s: mounting it (%s)", drive->device,
			 drive->type);
	return err_append(err, "; make it anew (understudy config-drive)");
}

static int copy_from_drive(const struct init_places *at, struct err *err)
{
	struct init_drive drive;
	char place[NAME_BYTES];
	int rc = init_drive_find(&drive, at->list, at->devices, at->drive_within_ms, err);

	if (rc == RC_OK)
		rc = mount_drive(at, &drive, err);
	if (rc != RC_OK)
		return rc;
	(void)snprintf(place, sizeof(place), "the drive %s", drive.device);
	rc = copy_from(at->config, place, at->drive, "", err);
	if (umount2(at->drive, MNT_DETACH | UMOUNT_NOFOLLOW) != 0)
		log_warn(INIT_PART, "configuration drive %s: unmounting it: %s", drive.device,
			 strerror(errno));
	(void)rmdir(at->drive);
	init_apart_at(NULL, 0);
	if (rc == RC_STATE)
		return err_set(err, RC_INVALID, "configuration drive %s: there is no %s on it",
			       drive.device, INIT_CONFIG_NAME);
	if (rc == RC_OK)
		log_info(INIT_PART, "configuration from the drive %s", drive.device);
	if (drive.unused[0] != '\0')
		log_warn(INIT_PART,
			 "%s is labelled " CONFIG_DRIVE_LABEL
			 ", too, and is not used: it can be written to, %s cannot",
			 drive.unused, drive.device);
	return rc;
}

/* ---- all of them ----------------------------------------------------------------------------------------- */

static void tell_unused(const char *name, const char *used)
{
	log_warn(INIT_PART, "the configuration in %s is not used: %s has one", name, used);
}

static void tell_unused_drive(const struct init_places *at, const char *used)
{
	struct init_drive drive;
	struct err err;

	if (init_drive_find(&drive, at->list, at->devices, 0, &err) == RC_OK)
		tell_unused(drive.device, used);
}

int init_config_find(const struct init_places *at, struct err *err)
{
	static const char fw_cfg[] = "fw_cfg", image[] = "the image";
	const char *used = fw_cfg;
	char baked[NAME_BYTES];
	int rc = files_make_dir(at->config, err);

	if (rc != RC_OK)
		return rc;
	(void)snprintf(baked, sizeof(baked), "%s/%s", at->image, INIT_CONFIG_NAME);
	rc = copy_from(at->config, fw_cfg, at->fw_cfg, "/raw", err);
	if (rc == RC_OK && access(baked, F_OK) == 0)
		tell_unused(image, fw_cfg);
	if (rc == RC_STATE) {
		used = image;
		rc = copy_from(at->config, image, at->image, "", err);
	}
	if (rc == RC_OK) {
		log_info(INIT_PART, "configuration from %s", used);
		tell_unused_drive(at, used);
	}
	if (rc != RC_STATE)
		return rc;
	rc = copy_from_drive(at, err);
	if (rc != RC_STATE)
		return rc;
	return err_set(
		err, RC_STATE,
		"there is no configuration: neither QEMU's fw_cfg (opt/understudy/%s) nor the "
		"image has one, and no drive is labelled " CONFIG_DRIVE_LABEL
		"; attach one and restart the machine",
		INIT_CONFIG_NAME);
}

/* ---- what is in it ------------------------------------------------------------------------------------------ */

int init_config_read(struct config *config, const char *path, struct buf *problems, struct err *err)
{
	struct buf text = { .limit = CONFIG_FILE_MAX };
	const char *name = strrchr(path, '/');
	char *dir = config_directory(path);
	int rc = dir != NULL ? config_read(&text, path, err) : err_nomem(err, path);

	*config = (struct config){ 0 };
	if (rc == RC_OK)
		rc = config_check(config, CONFIG_STANDBY, name != NULL ? name + 1 : path, dir,
				  (const char *)text.data, text.len, problems, err);
	if (rc == RC_OK)
		preflight_unreachable(problems, INIT_CONFIG_NAME, config);
	buf_free(&text);
	mem_free(dir);
	return rc;
}
