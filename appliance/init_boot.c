/*
 * Theory of operation
 *
 * The kernel unpacks the initramfs into a file system in memory and runs /init there. All that has to be done here is to find
 * the partition with the root file system that was made with this initramfs: its name has the digest of its content, so that
 * of several images' disks each kernel takes its own. The drivers of disks are modules, and disks appear when they like. Then
 * that file system becomes the root, in the way that every initramfs does it: it is mounted, moved to /, and this program
 * replaces itself with the one there. What was unpacked is removed first, so that its memory is free.
 */
#include "appliance/init_internal.h"
#include "appliance/init_modules.h"

#include "appliance/base/buf.h"
#include "appliance/base/clock.h"
#include "appliance/base/files.h"
#include "appliance/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_BYTES 256
#define FOUND_WITHIN_MS 30000 /* a SAN may take its time */
#define LOOK_EVERY_MS 10

bool init_block_says(const char *device, const char *line)
{
	char path[NAME_BYTES + 32], text[1024] = "\n";
	const size_t len = strlen(line);
	const char *at;
	FILE *file;
	size_t n;

	(void)snprintf(path, sizeof(path), INIT_BLOCKS "/%s/uevent", device);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	n = fread(text + 1, 1, sizeof(text) - 2, file);
	(void)fclose(file);
	text[1 + n] = '\0';
	at = strstr(text, line);
	return at != NULL && at[-1] == '\n' && at[len] == '\n';
}

/* The first one of that name, as the kernel counts them. */
static bool find_partition(const char *name, char device[NAME_BYTES])
{
	DIR *dir = opendir(INIT_BLOCKS);
	struct dirent *entry;
	char line[NAME_BYTES];
	bool found = false;

	(void)snprintf(line, sizeof(line), "PARTNAME=%s", name);
	while (dir != NULL && !found && (entry = readdir(dir)) != NULL) {
		found = entry->d_name[0] != '.' && init_block_says(entry->d_name, line);
		if (found)
			(void)snprintf(device, NAME_BYTES, "/dev/%.200s", entry->d_name);
	}
	if (dir != NULL)
		(void)closedir(dir);
	return found;
}

static int wait_for_partition(const char *name, char device[NAME_BYTES], struct err *err)
{
	const uint64_t end_ns = clock_now_ns() + FOUND_WITHIN_MS * CLOCK_NS_PER_MS;

	while (!find_partition(name, device)) {
		if (clock_now_ns() >= end_ns)
			return err_set(
				err, RC_TIMEOUT,
				"no disk has a partition named %s; is its controller one that this "
				"image has a driver for?",
				name);
		(void)usleep(LOOK_EVERY_MS * 1000);
	}
	return RC_OK;
}

/* The directory's files; what is in other file systems below it stays. */
static void remove_files(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (entry->d_type == DT_REG)
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
	}
	if (dir != NULL)
		(void)closedir(dir);
}

static int enter_root(const char *root, struct err *err)
{
	static const char *const kept[] = { "/dev", "/proc", "/sys" };
	char to[NAME_BYTES];

	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		(void)snprintf(to, sizeof(to), "%s%s", root, kept[i]);
		if (mount(kept[i], to, NULL, MS_MOVE, NULL) != 0)
			return err_system(err, errno, "moving %s to %s", kept[i], to);
	}
	remove_files("/modules");
	remove_files("/");
	if (chdir(root) != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 ||
	    chdir("/") != 0)
		return err_system(err, errno, "making %s the root", root);
	return RC_OK;
}

/* What is told by the initramfs's file. */
static int find_system(char device[NAME_BYTES], struct err *err)
{
	struct buf name = { .limit = NAME_BYTES };
	int rc = files_read(&name, AT_FDCWD, INIT_SYSTEM, FILES_PLAIN, err);

	if (rc == RC_OK)
		rc = wait_for_partition((const char *)name.data, device, err);
	buf_free(&name);
	return rc;
}

int init_boot(struct err *err)
{
	char device[NAME_BYTES];
	int rc = init_mount("devtmpfs", "/dev", MS_NOSUID | MS_NOEXEC, NULL, err);

	if (rc == RC_OK)
		/* Who may not look into a process does not see it either. */
		rc = init_mount("proc", "/proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, "hidepid=2",
				err);
	if (rc == RC_OK)
		rc = init_mount("sysfs", "/sys", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL, err);
	if (rc == RC_OK)
		rc = init_modules_load("/modules", err);
	if (rc == RC_OK)
		rc = find_system(device, err);
	if (rc != RC_OK)
		return rc;
	if (mount(device, "/root", "squashfs", MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) != 0)
		return err_system(err, errno, "mounting %s", device);
	rc = enter_root("/root", err);
	if (rc != RC_OK)
		return rc;
	(void)execl(INIT_PROGRAM, "init", (char *)NULL);
	return err_system(err, errno, INIT_PROGRAM " on %s", device);
}
