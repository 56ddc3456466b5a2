/*
 * Theory of operation
 *
 * Two files beside the modules say what is to be loaded (image/modules.sh writes them). `order` has what every machine gets, a line
 * each, in that order. `devices` has drivers of which a machine needs few: a line for each, its modules in order with commas between,
 * then what the kernel calls the devices that it is for. The buses that are looked at have all their devices before process 1
 * is started; what is plugged in later has to be of a kind that was there.
 *
 * So a machine has in memory, and believes, what it has use for: of some forty modules of the root file system half.
 */
#include "appliance/init_modules.h"

#include "appliance/base/files.h"
#include "appliance/base/log.h"
#include "appliance/init_apart.h"
#include "appliance/init_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LIST_MAX ((size_t)256 << 10) /* 20 KiB now */
#define PATH_BYTES 512
#define ALIAS_MAX 4096 /* the kernel's own limit: a page */
#define DEVICES_MAX ((size_t)1 << 20)

static int load(const char *dir, const char *name, struct err *err)
{
	char path[PATH_BYTES];
	int fd, r, reason;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return err_set(err, RC_LIMIT, "%s: the module's path is too long", name);
	if (init_apart_hangs(name))
		return RC_OK;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_system(err, errno, "%s", path);
	init_apart_at(name, INIT_APART_LOOK_MS); /* a disk's looks for partitions on it */
	r = (int)syscall(SYS_finit_module, fd, "", 0);
	reason = errno;
	init_apart_at(NULL, 0);
	(void)close(fd);
	/* ENODEV, EOPNOTSUPP: for another machine (kvm_intel on an AMD one); ENOENT: so is what it needs symbols of. */
	if (r != 0 && reason != EEXIST && reason != ENODEV && reason != EOPNOTSUPP &&
	    reason != ENOENT)
		log_warn(INIT_PART, "module %s: %s", name, strerror(reason));
	return RC_OK;
}

/* ---- the machine's devices ------------------------------------------------------------------------- */

/* Without the end of the line; what cannot be read has no name. */
static void add_name(struct buf *devices, const char *path)
{
	char name[ALIAS_MAX];
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	const ssize_t n = fd < 0 ? -1 : read(fd, name, sizeof(name));

	if (fd >= 0)
		(void)close(fd);
	if (n <= 0)
		return;
	(void)buf_append(devices, name, (size_t)n - (name[n - 1] == '\n'));
	(void)buf_append_u8(devices, '\0');
}

int init_modules_devices(struct buf *devices, const char *sys, struct err *err)
{
	static const char *const buses[] = { "pci", "virtio", "acpi" };
	char path[PATH_BYTES];
	struct dirent *entry;

	for (size_t i = 0; i < sizeof(buses) / sizeof(buses[0]); i++) {
		DIR *dir;

		(void)snprintf(path, sizeof(path), "%s/bus/%s/devices", sys, buses[i]);
		dir = opendir(path);
		while (dir != NULL && (entry = readdir(dir)) != NULL) {
			(void)snprintf(path, sizeof(path), "%s/bus/%s/devices/%s/modalias", sys,
				       buses[i], entry->d_name);
			add_name(devices, path);
		}
		if (dir != NULL)
			(void)closedir(dir);
	}
	(void)snprintf(path, sizeof(path), "%s/devices/system/cpu/modalias", sys);
	add_name(devices, path);
	return devices->failed ? err_set(err, RC_LIMIT, "the machine's devices: no memory") : RC_OK;
}

bool init_modules_wanted(char *names, const struct buf *devices)
{
	char *rest;

	for (const char *name = strtok_r(names, " ", &rest); name != NULL;
	     name = strtok_r(NULL, " ", &rest)) {
		for (size_t at = 0; at < devices->len;
		     at += strlen((const char *)devices->data + at) + 1) {
			if (fnmatch(name, (const char *)devices->data + at, 0) == 0)
				return true;
		}
	}
	return false;
}

/* ---- the lists ------------------------------------------------------------------------------------- */

/* Words of a list that is taken apart. */
static int load_each(const char *dir, char *list, const char *between, struct err *err)
{
	char *rest;
	int rc = RC_OK;

	for (const char *name = strtok_r(list, between, &rest); name != NULL && rc == RC_OK;
	     name = strtok_r(NULL, between, &rest))
		rc = load(dir, name, err);
	return rc;
}

static int load_for_devices(const char *dir, char *lines, struct err *err)
{
	struct buf devices = { .limit = DEVICES_MAX };
	char *rest, *names;
	int rc = init_modules_devices(&devices, "/sys", err);

	for (char *line = strtok_r(lines, "\n", &rest); line != NULL && rc == RC_OK;
	     line = strtok_r(NULL, "\n", &rest)) {
		names = strchr(line, ' ');
		if (names == NULL)
			continue;
		*names++ = '\0';
		if (init_modules_wanted(names, &devices))
			rc = load_each(dir, line, ",", err);
	}
	buf_free(&devices);
	return rc;
}

int init_modules_load(const char *dir, struct err *err)
{
	struct buf order = { .limit = LIST_MAX }, drivers = { .limit = LIST_MAX };
	char path[PATH_BYTES];
	int rc;

	(void)snprintf(path, sizeof(path), "%s/order", dir);
	rc = files_read(&order, AT_FDCWD, path, FILES_PLAIN, err);
	if (rc == RC_OK)
		rc = load_each(dir, (char *)order.data, "\n", err);
	(void)snprintf(path, sizeof(path), "%s/devices", dir);
	if (rc == RC_OK)
		rc = files_read(&drivers, AT_FDCWD, path, FILES_PLAIN, err);
	if (rc == RC_OK)
		rc = load_for_devices(dir, (char *)drivers.data, err);
	buf_free(&order);
	buf_free(&drivers);
	return rc;
}

int init_modules_load_all(void *owner, struct err *err)
{
	(void)owner;
	return init_modules_load("/modules", err);
}
