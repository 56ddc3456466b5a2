#include "replica/image_room.h"

#include "appliance/base/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define STAT_BLOCK 512 /* st_blocks are of this size, whatever the file system's are */
#define ROOM_TEXT 64
#define MIB(bytes) ((uint64_t)(bytes) >> 20)

/* UINT64_MAX: it does not tell. */
static uint64_t free_in(const char *path)
{
	struct statvfs fs;

	if (statvfs(path, &fs) != 0 || fs.f_blocks == 0) /* a tmpfs without a limit has none */
		return UINT64_MAX;
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

int image_room_judge(const char *dir, uint64_t bytes, uint64_t stored, uint64_t free_bytes,
		     bool *tight, struct err *err)
{
	uint64_t need = bytes > stored ? bytes - stored : 0;

	*tight = free_bytes < need;
	if (free_bytes >= need / IMAGE_ROOM_SHARE)
		return RC_OK;
	return err_set(err, RC_LIMIT,
		       "memory_dir: %.300s: no room for the instance's memory: %" PRIu64
		       " MiB needed, %" PRIu64 " MiB free",
		       dir, MIB(need), MIB(free_bytes));
}

int image_room_check(const char *dir, uint64_t bytes, uint64_t stored, struct err *err)
{
	uint64_t free_bytes = free_in(dir);
	bool tight;
	int rc = image_room_judge(dir, bytes, stored, free_bytes, &tight, err);

	if (rc == RC_OK && tight)
		log_warn("replica",
			 "memory_dir: %s: %" PRIu64
			 " MiB free, and the instance may come to use %" PRIu64 " MiB more there",
			 dir, MIB(free_bytes), MIB(bytes - stored));
	return rc;
}

bool image_room_is_low(uint64_t bytes, uint64_t stored, uint64_t free_bytes)
{
	return bytes > stored && free_bytes < (bytes - stored) / IMAGE_ROOM_LOW_SHARE;
}

/* What the images in a directory are long, and what of that has storage. */
static void add_up(DIR *dir, uint64_t *bytes, uint64_t *stored)
{
	const struct dirent *entry;
	struct stat st;

	*bytes = *stored = 0;
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' ||
		    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		*bytes += (uint64_t)st.st_size;
		*stored += (uint64_t)st.st_blocks * STAT_BLOCK;
	}
}

int image_room_look(const char *path, struct err *err)
{
	uint64_t bytes, stored, free_bytes = free_in(path);
	DIR *dir = opendir(path);

	if (dir == NULL)
		return RC_OK;
	add_up(dir, &bytes, &stored);
	(void)closedir(dir);
	if (!image_room_is_low(bytes, stored, free_bytes))
		return RC_OK;
	return err_set(err, RC_LIMIT,
		       "memory_dir: %.300s: %" PRIu64 " MiB free, and the replica may come to "
		       "need %" PRIu64 " MiB more there; without room it ends: make some",
		       path, MIB(free_bytes), MIB(bytes - stored));
}

/* ", 3 MiB free there", or "" where the file system does not tell. */
static void print_free(char out[ROOM_TEXT], const char *path)
{
	uint64_t free_bytes = free_in(path);

	out[0] = '\0';
	if (free_bytes != UINT64_MAX)
		(void)snprintf(out, ROOM_TEXT, ", %" PRIu64 " MiB free there", MIB(free_bytes));
}

int image_room_bus_error(const char *path, struct err *err)
{
	char room[ROOM_TEXT];

	print_free(room, path);
	return err_prefix(err, "memory_dir: %.200s: no storage for another page%s: ", path, room);
}

int image_room_error(const char *path, int errnum, uint64_t bytes, uint64_t stored, struct err *err)
{
	char room[ROOM_TEXT];

	print_free(room, path);
	return err_system(err, errnum,
			  "memory_dir: %.300s: %" PRIu64 " of %" PRIu64
			  " MiB stored%s; one more page",
			  path, MIB(stored), MIB(bytes), room);
}
