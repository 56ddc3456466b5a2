/*
 * Theory of operation
 *
 * The machine is told what it is by files: the configuration and the keys and certificates that it names. They come from the
 * first of these places that has a config.json, and all from the same one:
 *
 *   fw_cfg   QEMU's -fw_cfg name=opt/understudy/NAME,file=... (config.json, ca.crt, standby.crt, standby.key)
 *   image    /config, from `make image CONFIG=DIR`
 *
 * They are copied to /run/config, which is in memory and nobody else's to read; names there are the ones that the
 * configuration has for them.
 */
#include "appliance/init_internal.h"

#include "appliance/base/buf.h"
#include "appliance/base/files.h"
#include "appliance/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define FW_CFG "/sys/firmware/qemu_fw_cfg/by_name/opt/understudy"
#define BAKED "/config"
#define NAME_BYTES 256

/* `from` is the file itself, or of fw_cfg the directory in which it is called raw. */
static int copy_file(int dir, const char *from, const char *name, struct err *err)
{
	struct buf text = { .limit = CONFIG_FILE_MAX };
	const int fd = openat(dir, from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int rc =
		fd < 0 ? err_system(err, errno, "%s", from) : files_read_open(&text, fd, from, err);

	if (fd >= 0)
		(void)close(fd);
	if (rc == RC_OK)
		rc = files_replace(INIT_CONFIG_DIR, name, text.data, text.len, err);
	files_free_secret(&text);
	return rc;
}

/* All that is in a place; RC_STATE: there is no such place, or no configuration. */
static int copy_from(const char *place, const char *suffix, struct err *err)
{
	char from[NAME_BYTES + 8];
	struct dirent *entry;
	DIR *dir = opendir(place);
	struct err why;

	(void)snprintf(from, sizeof(from), "%s%s", INIT_CONFIG_NAME, suffix);
	if (dir == NULL || faccessat(dirfd(dir), from, F_OK, 0) != 0) {
		if (dir != NULL)
			(void)closedir(dir);
		return err_set(err, RC_STATE, "%s: there is no %s", place, INIT_CONFIG_NAME);
	}
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(from, sizeof(from), "%s%s", entry->d_name, suffix);
		/* What of it is needed is missed by who reads it. */
		if (copy_file(dirfd(dir), from, entry->d_name, &why) != RC_OK)
			log_error(INIT_PART, "configuration: %s", why.text);
	}
	(void)closedir(dir);
	return RC_OK;
}

int init_config_find(struct err *err)
{
	static const struct {
		const char *place, *suffix;
	} places[] = { { FW_CFG, "/raw" }, { BAKED, "" } };
	int rc = files_make_dir(INIT_CONFIG_DIR, err);

	for (size_t i = 0; rc == RC_OK && i < sizeof(places) / sizeof(places[0]); i++) {
		rc = copy_from(places[i].place, places[i].suffix, err);
		if (rc == RC_OK)
			log_info(INIT_PART, "configuration from %s", places[i].place);
		if (rc != RC_STATE)
			return rc;
		rc = RC_OK;
	}
	if (rc != RC_OK)
		return rc;
	return err_set(
		err, RC_STATE,
		"there is no configuration: neither QEMU's fw_cfg (opt/understudy/%s) nor the "
		"image has one",
		INIT_CONFIG_NAME);
}
