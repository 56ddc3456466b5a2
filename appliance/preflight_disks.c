/*
 * Images of replicas' disks: that each can be had, and that no two of them, nor one and the copy of another that `understudy rewind`
 * makes beside it, are one file by another name. At the reservation the image's lock tells two of them, too (image_disk.c).
 */
#include "appliance/preflight_internal.h"

#include "appliance/base/mem.h"
#include "appliance/seat_disks.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_one(const struct stat *one, const struct stat *other)
{
	return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

static const char *name_in(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

static bool are_in_one_directory(const char *one, const char *other)
{
	char *dir = config_directory(one), *other_dir = config_directory(other);
	struct stat at, other_at;
	const bool same = dir != NULL && other_dir != NULL && stat(dir, &at) == 0 &&
			  stat(other_dir, &other_at) == 0 && is_one(&at, &other_at);

	mem_free(dir);
	mem_free(other_dir);
	return same;
}

/* Both are there, or would be made. */
static bool are_one_file(const char *one, const char *other)
{
	struct stat st, other_st;

	if (stat(one, &st) == 0 && stat(other, &other_st) == 0)
		return is_one(&st, &other_st);
	return strcmp(name_in(one), name_in(other)) == 0 && are_in_one_directory(one, other);
}

static bool is_copy_of(const char *one, const char *other)
{
	char copy[PATH_MAX];
	const int n = snprintf(copy, sizeof(copy), "%s" SEAT_DISKS_COPY, other);

	return n > 0 && n < (int)sizeof(copy) && are_one_file(one, copy);
}

struct disk {
	size_t instance, disk;
	const char *path;
};

static void compare(struct preflight *preflight, const struct disk *one, const struct disk *other)
{
	const struct disk *copy = is_copy_of(one->path, other->path) ? one : other;
	const struct disk *of = copy == one ? other : one;

	/* The same text was said already. */
	if (strcmp(one->path, other->path) != 0 && are_one_file(one->path, other->path))
		preflight_error(preflight,
				"instances[%zu].disks[%zu].path: %s: the same file as "
				"instances[%zu].disks[%zu].path: each disk needs one of its own",
				one->instance, one->disk, one->path, other->instance, other->disk);
	else if (is_copy_of(copy->path, of->path))
		preflight_error(preflight,
				"instances[%zu].disks[%zu].path: %s: is where `understudy rewind` "
				"makes its copy of instances[%zu].disks[%zu]; give it another name",
				copy->instance, copy->disk, copy->path, of->instance, of->disk);
}

static void compare_with_others(struct preflight *preflight, const struct disk *disk)
{
	for (size_t i = 0; i <= disk->instance; i++) {
		const struct config_instance *instance = &preflight->config.instances[i];

		for (size_t j = 0; j < instance->ndisks; j++) {
			const struct disk other = { i, j, instance->disks[j].path };

			if (i == disk->instance && j >= disk->disk)
				return;
			if (other.path != NULL)
				compare(preflight, disk, &other);
		}
	}
}

/* There, or to be made where it is said to be. */
static void look_at(struct preflight *preflight, const struct disk *disk)
{
	char *dir = config_directory(disk->path);
	struct stat st;

	if (stat(disk->path, &st) == 0 && !S_ISREG(st.st_mode))
		preflight_error(
			preflight,
			"instances[%zu].disks[%zu].path: %s: is no file; a disk "
			"image is one, and made when it is not there; a block device is a target: "
			"{\"driver\": \"host_device\", \"filename\": ...}",
			disk->instance, disk->disk, disk->path);
	else if (dir != NULL && access(dir, W_OK | X_OK) != 0)
		preflight_error(preflight,
				"instances[%zu].disks[%zu].path: %s: %s; name a directory "
				"of ours",
				disk->instance, disk->disk, dir, strerror(errno));
	mem_free(dir);
}

void preflight_check_disks(struct preflight *preflight, size_t index)
{
	const struct config_instance *instance = &preflight->config.instances[index];

	for (size_t i = 0; i < instance->ndisks; i++) {
		const struct disk disk = { index, i, instance->disks[i].path };

		if (disk.path == NULL)
			continue; /* a target: what QEMU opens, it says itself */
		look_at(preflight, &disk);
		compare_with_others(preflight, &disk);
	}
}
