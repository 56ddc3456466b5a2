/*
 * Theory of operation
 *
 * What has to survive a restart (state_dir, journals, images of disks) is below /data, on a disk of its own: the image that the
 * machine boots from is exchanged with each new version. There is nothing in the image that makes or repairs file systems. It
 * has an empty one instead, an ext4 of 48 MiB that is zeroes but for some blocks (image/image.sh), and the kernel makes that as
 * large as its disk is, mounted, at this and any later start; its identity is a new one for each disk. What a power cut leaves is mended by
 * ext4's journal; one that the kernel finds wrong is not written to any more (errors=remount-ro).
 *
 * A disk is prepared only if nothing can be lost by that (init_data_disk.c), and only if there is no doubt which one is meant
 * (init_data_choice.c). Disks appear when they like: one that is named is waited for, and a journal's is; before one is taken or
 * prepared that nobody has named, others get some time.
 *
 * A machine whose standby forgets what it has acknowledged, or that it has taken over, must not look like one that works. So where a
 * data disk is named, or there but not usable (read-only, unreadable, one of two), or where an instance's journal needs one, none is an
 * error: the standby is not started before there is one. In other cases /data is in memory, which is a problem at the health endpoint
 * but where the configuration asks for it.
 */
#include "appliance/init_data.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/init_apart.h"
#include "appliance/init_internal.h"
#include "appliance/machine_problems.h"
#include "appliance/seat_journal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define EMPTY_IMAGE "/data.ext4"
#define OTHER_DISKS "another disk than that of /data"
#define DATA_DIR "/data"
#define DISKS_MAX 64
#define LOOK_EVERY_MS 500
#define GROWN_WITHIN_MS 10000
#define GROWN_AT_ONCE (UINT64_C(32) << 30) /* a second or two on a slow machine */

/* linux/ext4.h, which older headers do not have */
#define EXT4_RESIZE _IOW('f', 16, uint64_t)   /* blocks */
#define EXT4_SET_UUID _IOW('f', 44, uint64_t) /* the two numbers before it count */
struct ext4_uuid {
	uint32_t len, flags;
	uint8_t uuid[16];
};

/* ---- what disks there are ------------------------------------------------------------------------ */

/* What the kernel says of a device, without spaces around it; false: nothing. */
static bool attribute(char *out, size_t size, const char *device, const char *file, size_t skip)
{
	char path[128], text[512], *from, *end;
	FILE *f;
	size_t n;

	(void)snprintf(path, sizeof(path), INIT_BLOCKS "/%s/%s", device, file);
	f = fopen(path, "re");
	if (f == NULL)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	(void)fclose(f);
	text[n] = '\0';
	from = text + (n < skip ? n : skip);
	while (isspace((unsigned char)*from))
		from++;
	for (end = from + strlen(from); end > from && isspace((unsigned char)end[-1]);)
		end--;
	*end = '\0';
	(void)snprintf(out, size, "%s", from);
	return *from != '\0';
}

static bool is_set(const char *device, const char *file)
{
	char text[8];

	return attribute(text, sizeof(text), device, file, 0) && strcmp(text, "0") != 0;
}

/* virtio and NVMe; then a SCSI disk's page 0x80, behind its header */
static void find_serial(struct data_disk *disk)
{
	if (!attribute(disk->serial, sizeof(disk->serial), disk->name, "serial", 0) &&
	    !attribute(disk->serial, sizeof(disk->serial), disk->name, "device/serial", 0))
		(void)attribute(disk->serial, sizeof(disk->serial), disk->name, "device/vpd_pg80",
				4);
}

/* Whether a path, or QEMU's word for it, is that device. */
static bool mentions(const char *text, const char *name)
{
	char path[DATA_NAME_BYTES + 8];
	const char *at;

	if (text == NULL)
		return false;
	(void)snprintf(path, sizeof(path), "/dev/%s", name);
	for (at = strstr(text, path); at != NULL; at = strstr(at + 1, path)) {
		if (!isalnum((unsigned char)at[strlen(path)]))
			return true;
	}
	return false;
}

/* The disk that a partition is of, by where the kernel has it: .../vdc/vdc1. */
static void disk_of(char disk[DATA_NAME_BYTES], const char *name)
{
	char path[128], at[512];
	char *end;
	ssize_t len;

	(void)snprintf(disk, DATA_NAME_BYTES, "%s", name);
	(void)snprintf(path, sizeof(path), INIT_BLOCKS "/%s", name);
	len = readlink(path, at, sizeof(at) - 1);
	at[len > 0 ? len : 0] = '\0';
	end = strrchr(at, '/');
	if (end == NULL)
		return;
	*end = '\0';
	end = strrchr(at, '/');
	if (end != NULL && strcmp(end, "/block") != 0)
		(void)snprintf(disk, DATA_NAME_BYTES, "%s", end + 1);
}

static bool is_mentioned(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->ninstances; i++) {
		const struct config_instance *instance = &config->instances[i];

		for (size_t d = 0; d < instance->ndisks; d++) {
			if (mentions(instance->disks[d].path, name) ||
			    mentions(instance->disks[d].target, name))
				return true;
		}
	}
	return false;
}

/* What an instance writes to its disk is not for this machine to read, and it makes partitions as it likes. */
static bool is_taken(const struct config *config, const char *name)
{
	char disk[DATA_NAME_BYTES];

	disk_of(disk, name);
	return is_mentioned(config, name) || is_mentioned(config, disk);
}

static int open_device(const char *name, int flags)
{
	char path[DATA_NAME_BYTES + 8];

	(void)snprintf(path, sizeof(path), "/dev/%s", name);
	return open(path, flags | O_CLOEXEC);
}

/* Whether it is one that can be meant: with our label, whatever it is; else no CD or the like, and of partitions only ours. */
static bool look(struct data_disk *disk, const char *name, const struct config *config, int empty)
{
	const bool whole = init_block_says(name, "DEVTYPE=disk");
	char size[24];
	int fd;

	*disk = (struct data_disk){ .kind = DATA_UNREADABLE };
	(void)snprintf(disk->name, sizeof(disk->name), "%s", name);
	if (is_set(name, "hidden") || /* one path of several to a disk: has no device */
	    !attribute(size, sizeof(size), name, "size", 0))
		return false;
	if (whole) {
		if (!is_set(name, "device/uevent")) /* loop and the like: no device's */
			return false;
		find_serial(disk);
	}
	disk->bytes = strtoull(size, NULL, 10) * 512;
	disk->taken = is_taken(config, name);
	disk->read_only = is_set(name, "ro");
	if (disk->bytes > 0 && !disk->taken && !init_apart_hangs(name)) {
		init_apart_at(name, INIT_APART_LOOK_MS);
		fd = open_device(name, O_RDONLY);
		if (fd >= 0)
			disk->kind = data_look(fd, disk->bytes, empty, &disk->ext4);
		if (fd >= 0)
			(void)close(fd);
		init_apart_at(NULL, 0);
	}
	if (disk->kind == DATA_OURS)
		return true;
	return whole ? !is_set(name, "removable") :
		       init_block_says(name, "PARTNAME=" DATA_PARTITION);
}

static size_t list(struct data_disk disks[DISKS_MAX], const struct config *config, int empty)
{
	DIR *dir = opendir(INIT_BLOCKS);
	struct dirent *entry;
	size_t count = 0;

	while (dir != NULL && count < DISKS_MAX && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] != '.' && strlen(entry->d_name) < DATA_NAME_BYTES &&
		    look(&disks[count], entry->d_name, config, empty))
			count++;
	}
	if (dir != NULL)
		(void)closedir(dir);
	return count;
}

/* ---- one of them ----------------------------------------------------------------------------------- */

static int prepare(const struct data_disk *disk, int empty, struct err *err)
{
	const int fd = open_device(disk->name, O_RDWR | O_EXCL);
	int rc;

	if (fd < 0)
		return err_system(err, errno, "opening it");
	log_warn(INIT_PART, "/dev/%s (%llu MiB) is empty: it becomes the data disk", disk->name,
		 (unsigned long long)(disk->bytes >> 20));
	rc = data_prepare(fd, empty, err);
	(void)close(fd);
	return rc;
}

/* One of its own, in place of the one that all have that were prepared. */
static void identify(int root, const struct data_disk *disk, int empty)
{
	struct ext4_uuid own = { .len = sizeof(own.uuid) };
	uint8_t superblock[DATA_EXT4_BYTES];
	struct data_ext4 first;

	if (pread(empty, superblock, sizeof(superblock), DATA_EXT4_AT) !=
		    (ssize_t)sizeof(superblock) ||
	    !data_ext4_parse(&first, superblock) ||
	    memcmp(first.uuid, disk->ext4.uuid, sizeof(first.uuid)) != 0)
		return;
	if (getrandom(own.uuid, sizeof(own.uuid), 0) != (ssize_t)sizeof(own.uuid))
		return;
	own.uuid[6] = (uint8_t)((own.uuid[6] & 0x0f) | 0x40); /* version 4: random */
	own.uuid[8] = (uint8_t)((own.uuid[8] & 0x3f) | 0x80);
	if (ioctl(root, EXT4_SET_UUID, &own) != 0)
		log_warn(INIT_PART, "/dev/%s: it gets no identity of its own: %s", disk->name,
			 strerror(errno));
}

/* The size of its file system, mounted: the journal that was replayed may have told of a growth that had not come so far. */
static uint64_t grown_to(const struct data_disk *disk)
{
	const int fd = open_device(disk->name, O_RDONLY);
	uint8_t superblock[DATA_EXT4_BYTES];
	struct data_ext4 now = disk->ext4;

	if (fd >= 0 &&
	    pread(fd, superblock, sizeof(superblock), DATA_EXT4_AT) == (ssize_t)sizeof(superblock))
		(void)data_ext4_parse(&now, superblock);
	if (fd >= 0)
		(void)close(fd);
	return now.bytes;
}

/* By steps, between which it can be ended: while one goes on the file system cannot be unmounted. */
static void grow_all(int root, const struct data_disk *disk)
{
	const uint64_t whole = disk->bytes / disk->ext4.block_bytes;
	const uint64_t step = GROWN_AT_ONCE / disk->ext4.block_bytes;
	uint64_t blocks = grown_to(disk) / disk->ext4.block_bytes;

	while (blocks < whole) {
		blocks = whole - blocks > step ? blocks + step : whole;
		if (ioctl(root, EXT4_RESIZE, &blocks) != 0) {
			machine_problem("data disk /dev/%s: its file system cannot grow: %s",
					disk->name, strerror(errno));
			return;
		}
	}
}

/*
 * To the size of its disk, by a process of its own: terabytes take minutes on a slow machine, and the file system can be used
 * meanwhile. A moment is waited for it, so that who looks at once sees how much room there is. One that cannot grow can be used all
 * the same.
 */
static void grow(int root, const struct data_disk *disk)
{
	const uint64_t end_ns = clock_now_ns() + GROWN_WITHIN_MS * CLOCK_NS_PER_MS;
	pid_t pid;

	if (disk->bytes - disk->ext4.bytes < disk->ext4.block_bytes)
		return;
	pid = fork();
	if (pid == 0) {
		grow_all(root, disk);
		_exit(0);
	}
	if (pid < 0)
		log_error(INIT_PART, "growing its file system: %s", strerror(errno));
	while (pid > 0 && waitpid(pid, NULL, WNOHANG) == 0 && clock_now_ns() < end_ns)
		(void)usleep(10000);
}

static int attach(const struct data_disk *disk, int empty, struct err *err)
{
	char device[DATA_NAME_BYTES + 8];
	int root, rc = RC_OK;

	(void)snprintf(device, sizeof(device), "/dev/%s", disk->name);
	if (disk->bytes < disk->ext4.bytes)
		return err_set(err, RC_REFUSED, "it is smaller than its file system (%llu MiB)",
			       (unsigned long long)(disk->ext4.bytes >> 20));
	if (disk->ext4.errors)
		machine_problem(
			"data disk %s: the kernel has found errors in it; e2fsck on another machine can mend them",
			device);
	if (mount(device, DATA_DIR, "ext4", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME,
		  "errors=remount-ro") != 0)
		return err_system(err, errno, "mounting it");
	root = open(DATA_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || fchmod(root, 0711) != 0)
		rc = err_system(err, errno, "its root directory");
	else {
		identify(root, disk, empty);
		grow(root, disk);
	}
	if (root >= 0)
		(void)close(root);
	if (rc != RC_OK)
		(void)umount2(DATA_DIR, MNT_DETACH); /* it is tried again */
	return rc;
}

/* Again after it was prepared: what it is by then. */
static int use(struct data_disk *disk, bool empty_yet, const struct config *config, int empty,
	       struct err *err)
{
	char name[DATA_NAME_BYTES], told[DATA_TEXT_BYTES];
	int rc;

	memcpy(name, disk->name, sizeof(name));
	init_apart_at(name, INIT_APART_USE_MS);
	rc = empty_yet ? prepare(disk, empty, err) : RC_OK;
	if (rc == RC_OK && empty_yet &&
	    !(look(disk, name, config, empty) && disk->kind == DATA_OURS))
		rc = err_set(err, RC_IO, "what was written to it is not there");
	init_apart_at(name, INIT_APART_USE_MS);
	if (rc == RC_OK)
		rc = attach(disk, empty, err);
	init_apart_at(NULL, 0);
	if (rc != RC_OK)
		return err_prefix(err, "data disk /dev/%s: ", name);
	data_disk_name(told, disk);
	log_info(INIT_PART, "data disk %s, %llu MiB", told,
		 (unsigned long long)(disk->bytes >> 20));
	return RC_OK;
}

/* ---- which one --------------------------------------------------------------------------------------- */

static bool journal_wanted(const struct config *config)
{
	for (size_t i = 0; i < config->ninstances; i++) {
		if (seat_journal_wanted(&config->instances[i]))
			return true;
	}
	return false;
}

/* What there is by the time that something can be said. */
static enum data_choice choose(struct data_disk *disk, const struct config *config, bool starting,
			       int empty, struct err *why)
{
	const uint64_t begin_ns = clock_now_ns();
	const bool named = config->data != NULL, needed = named || journal_wanted(config);
	struct data_disk disks[DISKS_MAX];
	enum data_choice choice;
	size_t which = 0;

	for (;;) {
		const uint64_t waited_ms = (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
		const size_t count = list(disks, config, empty);
		uint64_t settled_ms, sleep_ms;

		choice = data_choose(disks, count, config->data, &which, why);
		settled_ms = data_settled_ms(choice, named, needed, starting);
		if (waited_ms >= settled_ms)
			break;
		sleep_ms = settled_ms - waited_ms;
		if (choice != DATA_TAKE && choice != DATA_PREPARE && sleep_ms > LOOK_EVERY_MS)
			sleep_ms = LOOK_EVERY_MS;
		(void)usleep((useconds_t)(1000 * sleep_ms));
	}
	*disk = disks[which];
	return choice;
}

static int use_memory(struct err *err)
{
	return init_mount("tmpfs", DATA_DIR, MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0711", err);
}

/* As the configuration has it. */
static int want_memory(const struct config *config, struct err *err)
{
	if (journal_wanted(config))
		return err_set(err, RC_REFUSED,
			       "machine.data: " CONFIG_DATA_MEMORY
			       ", and an instance's journal needs a disk");
	log_info(INIT_PART, DATA_DIR " is in memory: machine.data says so");
	return use_memory(err);
}

static int want_disk(const struct config *config, bool starting, int empty, struct err *err)
{
	struct data_disk disk;
	struct err why;
	const enum data_choice choice = choose(&disk, config, starting, empty, &why);

	if (choice == DATA_TAKE || choice == DATA_PREPARE)
		return use(&disk, choice == DATA_PREPARE, config, empty, err);
	/* One that was there at the start, and was not to be done without, is away for a moment. */
	if (choice == DATA_REFUSE || journal_wanted(config) || !starting)
		return err_set(err, RC_STATE, "%s", why.text);
	machine_problem(
		DATA_DIR
		" is in memory, and a restart forgets who serves: attach an empty disk and restart the machine, or set machine.data to "
		"\"" CONFIG_DATA_MEMORY "\"; %s",
		why.text);
	return use_memory(err);
}

int init_data(const struct config *config, bool starting, struct err *err)
{
	const int empty = open(EMPTY_IMAGE, O_RDONLY | O_CLOEXEC);
	int rc;

	if (empty < 0)
		return err_system(err, errno, EMPTY_IMAGE);
	if (config->data != NULL && strcmp(config->data, CONFIG_DATA_MEMORY) == 0)
		rc = want_memory(config, err);
	else
		rc = want_disk(config, starting, empty, err);
	(void)close(empty);
	return rc;
}

/*
 * One that somebody still has open, in the kernel, say, is at least not written to. Others, which are instances', are written to by who
 * had them open; what is left of that comes last, since it would wait for a disk that does not answer.
 */
void init_data_end(void)
{
	if (!init_apart_hangs(DATA_DIR)) {
		log_info(INIT_PART, "writing to " DATA_DIR " what is only in memory");
		init_apart_at(DATA_DIR, INIT_APART_END_MS);
		if (umount2(DATA_DIR, 0) != 0 && errno != EINVAL &&
		    mount(NULL, DATA_DIR, NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0)
			log_warn(INIT_PART, DATA_DIR ": is not left in order: %s", strerror(errno));
	}
	if (!init_apart_hangs(OTHER_DISKS)) {
		init_apart_at(OTHER_DISKS, INIT_APART_OTHERS_MS);
		sync();
	}
}
