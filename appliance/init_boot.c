/*
 * Theory of operation
 *
 * The kernel unpacks the initramfs into a file system in memory and runs /init there. All that has to be done here is to find
 * the partition with the root file system that was made with this initramfs: its name has the beginning of the file system's digest, so
 * that of several images' disks each kernel takes its own. The drivers of disks are modules, and disks appear when they like. Then
 * that file system becomes the root, in the way that every initramfs does it: it is mounted, moved to /, and this program
 * replaces itself with the one there. What was unpacked is removed first, so that its memory is free.
 *
 * Anybody can give a partition that name, a guest whose disk is a device of this machine, too. So the kernel reads it by its digests
 * (init_verity.h): what another one has in its place is never used. One of which the program cannot be read is let be, and the next one of that
 * name tried. What is not looked at before it is used, the hypervisor, say, may turn out to be wrong later; that is an error then, by which the
 * machine may fail, but not somebody else's program. That a copy on such a disk is not taken in the first place, of those that are there the
 * write-protected come first, then those on the smallest disks: no guest makes its disk smaller.
 *
 * What is not verified is what comes before: boot loader, kernel and initramfs are the firmware's to choose, and whoever writes to the disk that it
 * boots from.
 */
#include "appliance/init_apart.h"
#include "appliance/init_internal.h"
#include "appliance/init_modules.h"
#include "appliance/init_verity.h"

#include "appliance/base/buf.h"
#include "appliance/base/clock.h"
#include "appliance/base/files.h"
#include "appliance/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT "/root"
#define NAME_BYTES 256
#define NAME_DIGITS 24	      /* a GPT name has room for 36 letters */
#define FOUND_WITHIN_MS 30000 /* a SAN may take its time */
#define LOOK_EVERY_MS 10
#define CANDIDATES_MAX 256 /* a disk has 128 partitions */
#define DEVICE_BYTES 32
#define PROGRAM_MAX ((off_t)64 << 20)

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

/* ---- the partition ------------------------------------------------------------------------------------ */

struct candidate {
	char name[DEVICE_BYTES]; /* as in /dev */
	bool is_protected;	 /* nobody writes to it */
	uint64_t disk_sectors;
};

/* Those of a name that have been there so far, with what is wrong with the last one. */
struct candidates {
	struct candidate tried[CANDIDATES_MAX];
	size_t count;
	struct err why;
};

/* A number that the kernel says of a device, or of a partition's disk ("../size"); 0: it says none. */
static uint64_t number_of(const char *device, const char *file)
{
	char path[NAME_BYTES + 32], text[24] = "";
	FILE *f;

	(void)snprintf(path, sizeof(path), INIT_BLOCKS "/%s/%s", device, file);
	f = fopen(path, "re");
	if (f == NULL)
		return 0;
	(void)fgets(text, sizeof(text), f);
	(void)fclose(f);
	return strtoull(text, NULL, 10);
}

static bool was_tried(const struct candidates *all, const char *name)
{
	for (size_t i = 0; i < all->count; i++) {
		if (strcmp(all->tried[i].name, name) == 0)
			return true;
	}
	return false;
}

static bool is_before(const struct candidate *a, const struct candidate *b)
{
	if (a->is_protected != b->is_protected)
		return a->is_protected;
	return a->disk_sectors < b->disk_sectors;
}

/* The best one of that name that is there and was not tried. */
static bool find_partition(struct candidate *best, const struct candidates *all, const char *line)
{
	DIR *dir = opendir(INIT_BLOCKS);
	struct candidate found;
	struct dirent *entry;
	bool any = false;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' || strlen(entry->d_name) >= DEVICE_BYTES ||
		    !init_block_says(entry->d_name, line) || was_tried(all, entry->d_name) ||
		    init_apart_hangs(entry->d_name))
			continue;
		found = (struct candidate){ .is_protected = number_of(entry->d_name, "ro") != 0,
					    .disk_sectors = number_of(entry->d_name, "../size") };
		(void)snprintf(found.name, sizeof(found.name), "%s", entry->d_name);
		if (!any || is_before(&found, best))
			*best = found;
		any = true;
	}
	if (dir != NULL)
		(void)closedir(dir);
	return any;
}

/* All of it, which stays in memory: it is what runs next. */
static int read_program(const char *path, struct err *err)
{
	char piece[4096];
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t len = 0;
	ssize_t n = 1;

	if (fd < 0)
		return err_system(err, errno, "%s", path);
	while (n > 0 && len < PROGRAM_MAX) {
		n = read(fd, piece, sizeof(piece));
		len += n > 0 ? n : 0;
	}
	if (n < 0)
		(void)err_system(err, errno, "reading %s", path);
	(void)close(fd);
	return n < 0 ? RC_IO : RC_OK;
}

static int mount_system(const struct candidate *candidate, const struct init_verity *verity,
			struct err *err)
{
	char partition[DEVICE_BYTES + 8], device[INIT_VERITY_DEVICE];
	int rc;

	(void)snprintf(partition, sizeof(partition), "/dev/%s", candidate->name);
	init_apart_at(candidate->name, INIT_APART_LOOK_MS);
	rc = init_verity_open(device, verity, partition, err);
	if (rc != RC_OK)
		return rc;
	if (mount(device, ROOT, "squashfs", MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) != 0)
		rc = err_system(err, errno, "mounting it");
	else
		rc = read_program(ROOT INIT_PROGRAM, err);
	if (rc == RC_OK)
		return RC_OK;
	(void)umount2(ROOT, 0);
	init_verity_close(partition);
	return rc;
}

/* Those that are there, until one is right. RC_STATE: none. */
static int try_all(struct candidates *all, const struct init_verity *verity, const char *line)
{
	struct candidate *candidate = &all->tried[all->count];

	while (all->count < CANDIDATES_MAX && find_partition(candidate, all, line)) {
		if (mount_system(candidate, verity, &all->why) == RC_OK)
			return RC_OK;
		(void)err_prefix(&all->why,
				 "/dev/%s: it is not the root file system that it is called: ",
				 candidate->name);
		log_error(INIT_PART, "%s", all->why.text);
		candidate = &all->tried[++all->count];
	}
	init_apart_at(NULL, 0);
	return RC_STATE;
}

/* Mounts it at ROOT. */
static int find_system(void *owner, struct err *err)
{
	const struct init_verity *verity = owner;
	const uint64_t end_ns = clock_now_ns() + FOUND_WITHIN_MS * CLOCK_NS_PER_MS;
	struct candidates all = { .count = 0 };
	char line[NAME_BYTES];

	(void)snprintf(line, sizeof(line), "PARTNAME=understudy-%.*s", NAME_DIGITS, verity->root);
	while (try_all(&all, verity, line) != RC_OK) {
		if (clock_now_ns() < end_ns) {
			(void)usleep(LOOK_EVERY_MS * 1000);
			continue;
		}
		if (all.count > 0)
			return err_set(err, RC_IO, "%s", all.why.text);
		return err_set(err, RC_TIMEOUT,
			       "no disk has a partition named %s; is its controller one that this "
			       "image has a driver for?",
			       strchr(line, '=') + 1);
	}
	return RC_OK;
}

/* ---- the root ----------------------------------------------------------------------------------------- */

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
static int read_digest(struct init_verity *verity, struct err *err)
{
	struct buf text = { .limit = NAME_BYTES };
	int rc = files_read(&text, AT_FDCWD, INIT_SYSTEM, FILES_PLAIN, err);

	if (rc == RC_OK)
		rc = init_verity_parse(verity, (const char *)text.data, err);
	buf_free(&text);
	return rc;
}

static int mount_kernels(struct err *err)
{
	int rc = init_mount("devtmpfs", "/dev", MS_NOSUID | MS_NOEXEC, NULL, err);

	if (rc == RC_OK)
		/* Who may not look into a process does not see it either. */
		rc = init_mount("proc", "/proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, "hidepid=2",
				err);
	if (rc == RC_OK)
		rc = init_mount("sysfs", "/sys", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL, err);
	return rc;
}

int init_boot(struct err *err)
{
	struct init_verity verity;
	int rc = mount_kernels(err);

	if (rc == RC_OK)
		init_screen();
	if (rc == RC_OK)
		rc = init_apart(init_modules_load_all, NULL, NULL, err);
	if (rc == RC_OK)
		rc = read_digest(&verity, err);
	if (rc == RC_OK)
		rc = init_apart(find_system, &verity, NULL, err);
	if (rc == RC_OK)
		rc = enter_root(ROOT, err);
	if (rc != RC_OK)
		return rc;
	(void)execl(INIT_PROGRAM, "init", (char *)NULL);
	return err_system(err, errno, INIT_PROGRAM);
}
