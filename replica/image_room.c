#include "replica/image_room.h"

#include "appliance/base/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#define STAT_BLOCK 512 /* st_blocks are of this size, whatever the file system's are */
#define ROOM_TEXT 64
#define MIB(bytes) ((uint64_t)(bytes) >> 20)

/* UINT64_MAX: the kernel does not tell. */
static uint64_t available_memory(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	static const char name[] = "MemAvailable:";
	uint64_t kib = UINT64_MAX >> 10;
	char line[128];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, name, sizeof(name) - 1) == 0)
			kib = strtoull(line + sizeof(name) - 1, NULL, 10);
	}
	if (file != NULL)
		(void)fclose(file);
	return kib << 10;
}

struct image_room image_room_of(const char *path)
{
	struct image_room room = { .bytes = UINT64_MAX };
	uint64_t available;
	struct statfs fs;

	if (statfs(path, &fs) != 0)
		return room;
	if (fs.f_blocks != 0) /* a tmpfs without a limit has none */
		room.bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
	available = fs.f_type == TMPFS_MAGIC ? available_memory() : UINT64_MAX;
	if (available < room.bytes)
		room = (struct image_room){ available, true };
	return room;
}

const char *image_room_words(const struct image_room *room)
{
	return room->of_machine ? "of this machine's memory available" : "free";
}

int image_room_judge(const char *dir, uint64_t bytes, uint64_t stored,
		     const struct image_room *room, bool *tight, struct err *err)
{
	uint64_t need = bytes > stored ? bytes - stored : 0;

	*tight = room->bytes < need;
	if (room->bytes >= need / IMAGE_ROOM_SHARE)
		return RC_OK;
	return err_set(err, RC_LIMIT,
		       "memory_dir: %.300s: no room for the instance's memory: %" PRIu64
		       " MiB needed, %" PRIu64 " MiB %s",
		       dir, MIB(need), MIB(room->bytes), image_room_words(room));
}

int image_room_check(const char *dir, uint64_t bytes, uint64_t stored, struct err *err)
{
	const struct image_room room = image_room_of(dir);
	bool tight;
	int rc = image_room_judge(dir, bytes, stored, &room, &tight, err);

	if (rc == RC_OK && tight)
		log_warn("replica",
			 "memory_dir: %s: %" PRIu64
			 " MiB %s, and the instance may come to use %" PRIu64 " MiB more there",
			 dir, MIB(room.bytes), image_room_words(&room), MIB(bytes - stored));
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
	const struct image_room room = image_room_of(path);
	uint64_t bytes, stored;
	DIR *dir = opendir(path);

	if (dir == NULL)
		return RC_OK;
	add_up(dir, &bytes, &stored);
	(void)closedir(dir);
	if (!image_room_is_low(bytes, stored, room.bytes))
		return RC_OK;
	return err_set(err, RC_LIMIT,
		       "memory_dir: %.300s: %" PRIu64 " MiB %s, and the replica may come to "
		       "need %" PRIu64 " MiB more there; without room it ends: make some",
		       path, MIB(room.bytes), image_room_words(&room), MIB(bytes - stored));
}

/* ", 3 MiB free", or "" where nothing is known. */
static void print_free(char out[ROOM_TEXT], const char *path)
{
	const struct image_room room = image_room_of(path);

	out[0] = '\0';
	if (room.bytes != UINT64_MAX)
		(void)snprintf(out, ROOM_TEXT, ", %" PRIu64 " MiB %s", MIB(room.bytes),
			       image_room_words(&room));
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
