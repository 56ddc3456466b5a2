#include "appliance/seat_disks.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "replica/hypervisor.h"
#include "replica/hypervisor_user.h"
#include "replica/rewound_room.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

static const struct config_disk *find(const struct config_instance *instance, const char *name)
{
	for (size_t i = 0; i < instance->ndisks; i++) {
		if (strcmp(instance->disks[i].name, name) == 0)
			return &instance->disks[i];
	}
	return NULL;
}

static bool is_reserved(const struct cmdline_spec *spec, const char *name)
{
	for (size_t i = 0; i < spec->ndisks; i++) {
		if (strcmp(spec->disks[i].name, name) == 0)
			return true;
	}
	return false;
}

static int check(const struct config_instance *instance, const struct cmdline_spec *spec,
		 struct err *err)
{
	for (size_t i = 0; i < spec->ndisks; i++) {
		if (find(instance, spec->disks[i].name) == NULL)
			return err_set(err, RC_REFUSED,
				       "the primary's configuration has a disk %s (disks), the "
				       "standby's none of that name: give it one, with a path",
				       spec->disks[i].name);
	}
	for (size_t i = 0; i < instance->ndisks; i++) {
		if (!is_reserved(spec, instance->disks[i].name))
			return err_set(err, RC_REFUSED,
				       "the standby's configuration has a disk %s (disks), the "
				       "primary's none of that name: give it one, with a device",
				       instance->disks[i].name);
	}
	return RC_OK;
}

/* QEMU says nothing before all its targets have answered. */
static const struct err *name_targets(const struct config_instance *instance, const struct err *err,
				      struct err *own)
{
	bool any = false;

	*own = *err;
	for (size_t i = 0; i < instance->ndisks; i++) {
		if (instance->disks[i].target == NULL)
			continue;
		(void)err_append(own, "%s disk \"%s\": %.160s",
				 any ? "," : "; it may wait for a target that does not answer:",
				 instance->disks[i].name, instance->disks[i].target);
		any = true;
	}
	return any ? own : err;
}

const struct err *seat_disks_explain(const struct image *image,
				     const struct config_instance *instance, const struct err *err,
				     struct err *own)
{
	struct disk_place places[LAYOUT_DISKS_MAX];
	const size_t count = image != NULL ? image_disk_places(image, places) : 0;

	for (size_t i = 0; i < count; i++) {
		if (disk_place_look(&places[i], own) != RC_OK)
			return own;
	}
	return err->code == RC_TIMEOUT ? name_targets(instance, err, own) : err;
}

static int link_path(char link[PATH_MAX], const char *dir, const struct cmdline_disk *disk,
		     struct err *err)
{
	const int n = snprintf(link, PATH_MAX, "%s/%s", dir, disk->file);

	return n > 0 && n < PATH_MAX ? RC_OK :
				       err_set(err, RC_LIMIT, "%.200s: the path is too long", dir);
}

/* QEMU's working directory is `dir`. */
static int make_link(const char *dir, const struct cmdline_disk *disk, const char *whole,
		     struct err *err)
{
	char link[PATH_MAX];
	int rc = link_path(link, dir, disk, err);

	if (rc == RC_OK && ((unlink(link) != 0 && errno != ENOENT) || symlink(whole, link) != 0))
		rc = err_system(err, errno, "%.200s", link);
	return rc;
}

static int add_file(struct image *image, const struct cmdline_disk *reserved,
		    const struct image_disk *disk, const char *dir, struct err *err)
{
	int rc = image_add_disk(image, disk, err);
	char *whole;

	if (rc != RC_OK)
		return rc;
	whole = realpath(disk->path, NULL); /* it may be relative to our directory */
	rc = whole != NULL ? make_link(dir, reserved, whole, err) :
			     err_system(err, errno, "%.200s", disk->path);
	free(whole); /* realpath()'s */
	return rc;
}

/* The files and devices that a target is in. What cannot be opened QEMU has its own words for. */
static int give_target(const char *target, struct err *err)
{
	cJSON *whole = cJSON_Parse(target);
	const cJSON *part, *name;
	int rc = RC_OK, fd;

	for (part = whole; part != NULL && rc == RC_OK;
	     part = cJSON_GetObjectItemCaseSensitive(part, "file")) {
		name = cJSON_GetObjectItemCaseSensitive(part, "filename");
		fd = cJSON_IsString(name) ?
			     open(name->valuestring, O_RDONLY | O_NONBLOCK | O_CLOEXEC) :
			     -1;
		if (fd < 0)
			continue;
		rc = hypervisor_user_give(fd, name->valuestring, err);
		(void)close(fd);
	}
	cJSON_Delete(whole);
	return rc;
}

static int add(struct image *image, struct cmdline_disk *reserved, const struct config_disk *own,
	       const char *dir, struct err *err)
{
	struct image_disk disk = { .bytes = reserved->bytes };
	int rc;

	memcpy(disk.name, reserved->name, sizeof(disk.name));
	if (own->target == NULL) {
		if (snprintf(disk.path, sizeof(disk.path), "%s", own->path) >=
		    (int)sizeof(disk.path))
			return err_set(err, RC_LIMIT, "disk %s: its path is too long",
				       reserved->name);
		return add_file(image, reserved, &disk, dir, err);
	}
	(void)snprintf(disk.path, sizeof(disk.path), "the target of disk %s", reserved->name);
	memcpy(disk.export, reserved->name, sizeof(disk.export));
	rc = hypervisor_disks_path(disk.socket, dir, err);
	if (rc == RC_OK)
		rc = give_target(own->target, err);
	if (rc == RC_OK)
		rc = cmdline_set_target(reserved, own->target, err);
	return rc == RC_OK ? image_add_disk(image, &disk, err) : rc;
}

int seat_disks_add(struct image *image, const struct config_instance *instance,
		   struct cmdline_spec *spec, const char *dir, struct err *err)
{
	int rc = check(instance, spec, err);

	for (size_t i = 0; i < spec->ndisks && rc == RC_OK; i++)
		rc = add(image, &spec->disks[i], find(instance, spec->disks[i].name), dir, err);
	return rc;
}

bool seat_disks_are_lost(struct image *image, const char *part)
{
	const bool lost = image_disks_lost(image);

	if (lost)
		log_warn(
			part,
			"its QEMU ended with writes to a disk's target that were not durable yet: a "
			"resync is needed");
	return lost;
}

/* `path` with its directory as it is from anywhere; the file need not be there. */
static int make_whole(char whole[PATH_MAX], const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/');
	char *dir = config_directory(path), *at = dir != NULL ? realpath(dir, NULL) : NULL;
	int rc = RC_OK;

	if (at == NULL)
		rc = err_system(err, dir != NULL ? errno : ENOMEM, "%.200s", path);
	else if (snprintf(whole, PATH_MAX, "%s/%s", at, slash != NULL ? slash + 1 : path) >=
		 PATH_MAX)
		rc = err_set(err, RC_LIMIT, "%.200s: the path is too long", path);
	mem_free(dir);
	free(at); /* realpath()'s */
	return rc;
}

/* Who is in a QEMU can make links beside ours. */
static bool is_ours(int dir, const char *link)
{
	struct stat st;

	return fstatat(dir, link, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_uid == geteuid();
}

static bool is_linked(const char *link, const char *whole)
{
	char path[PATH_MAX];
	const ssize_t len = readlink(link, path, sizeof(path));

	return is_ours(AT_FDCWD, link) && len > 0 && (size_t)len == strlen(whole) &&
	       memcmp(path, whole, (size_t)len) == 0;
}

/* A file of ours, which no link leads away from: it may be where a QEMU can make some. */
static int make_empty(const char *path, struct err *err)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_system(err, errno, "%.200s", path);
	(void)close(fd);
	return RC_OK;
}

/*
 * The link is made first: whatever ends us, a copy is known by its link to be one. What is there without one is somebody's, and
 * stays.
 */
static int add_new(struct image *image, const struct cmdline_disk *reserved,
		   const struct image_disk *disk, const char *dir, struct err *err)
{
	char whole[PATH_MAX], link[PATH_MAX];
	struct stat st;
	int rc = make_whole(whole, disk->path, err);

	if (rc == RC_OK)
		rc = link_path(link, dir, reserved, err);
	if (rc != RC_OK)
		return rc;
	if (lstat(whole, &st) == 0 && !is_linked(link, whole))
		return err_set(
			err, RC_REFUSED,
			"%.200s: is there, and no copy that `understudy rewind` has made: "
			"move it away; if it is another disk's image, give that another name",
			whole);
	if (unlink(whole) != 0 && errno != ENOENT)
		return err_system(err, errno, "%.200s", whole);
	rc = make_link(dir, reserved, whole, err);
	if (rc == RC_OK)
		rc = make_empty(whole, err);
	return rc == RC_OK ? image_add_disk(image, disk, err) : rc;
}

/* Beside the replica's own; of a target in `dir`. */
static int add_copy(struct image *image, const struct cmdline_disk *reserved,
		    const struct config_disk *own, const char *dir, struct err *err)
{
	struct image_disk disk = { .bytes = reserved->bytes };
	const bool target = own->target != NULL;
	int n;

	memcpy(disk.name, reserved->name, sizeof(disk.name));
	n = snprintf(disk.path, sizeof(disk.path), "%s%s%s" SEAT_DISKS_COPY,
		     target ? dir : own->path, target ? "/" : "", target ? reserved->name : "");
	if (n < 0 || n >= (int)sizeof(disk.path))
		return err_set(err, RC_LIMIT, "disk %s: its path is too long", reserved->name);
	return add_new(image, reserved, &disk, dir, err);
}

int seat_disks_add_copies(struct image *image, const struct config_instance *instance,
			  const struct cmdline_spec *spec, const char *dir, struct err *err)
{
	int rc = check(instance, spec, err);

	for (size_t i = 0; i < spec->ndisks && rc == RC_OK; i++)
		rc = add_copy(image, &spec->disks[i], find(instance, spec->disks[i].name), dir,
			      err);
	return rc;
}

/* What is on a target is not known here: as if it were full. */
static int check_room_in(const char *dir, uint64_t bytes, struct err *err)
{
	struct statfs fs;

	if (statfs(dir, &fs) != 0 || fs.f_blocks == 0)
		return RC_OK; /* the image will tell */
	return rewound_room_judge_disk(dir, bytes, (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize,
				       err);
}

int seat_disks_check_room(const struct config_instance *instance, const struct cmdline_spec *spec,
			  const char *dir, struct err *err)
{
	uint64_t bytes = 0;
	int rc = check(instance, spec, err);

	for (size_t i = 0; i < spec->ndisks && rc == RC_OK; i++) {
		const struct config_disk *own = find(instance, spec->disks[i].name);

		if (own->target == NULL)
			rc = rewound_room_check_disk(own->path, err);
		else
			bytes += spec->disks[i].bytes;
	}
	return rc == RC_OK && bytes > 0 ? check_room_in(dir, bytes, err) : rc;
}

static void remove_copy(int dir, const char *link)
{
	char path[PATH_MAX];
	ssize_t len = readlinkat(dir, link, path, sizeof(path) - 1);
	const ssize_t tail = (ssize_t)strlen(SEAT_DISKS_COPY);

	if (len <= tail || !is_ours(dir, link))
		return;
	path[len] = '\0';
	if (strcmp(path + len - tail, SEAT_DISKS_COPY) != 0)
		return;
	(void)unlink(path);
	(void)unlinkat(dir, link, 0);
}

void seat_disks_remove_copies(const char *dir)
{
	DIR *opened = opendir(dir);
	const struct dirent *entry;

	while (opened != NULL && (entry = readdir(opened)) != NULL)
		remove_copy(dirfd(opened), entry->d_name);
	if (opened != NULL)
		(void)closedir(opened);
}
