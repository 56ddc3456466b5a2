#include "replica/rewound_room.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#define STAT_BLOCK 512
/* The replica's own disk, and the journal perhaps, go on growing beside it: a quarter more, and so much. */
#define DISK_SHARE 4
#define DISK_LEAST (UINT64_C(128) << 20)
#define MIB(bytes) ((uint64_t)(bytes) >> 20)

int rewound_room_judge(const char *memory_dir, uint64_t bytes, uint64_t pending,
		       uint64_t free_bytes, uint64_t available, struct err *err)
{
	const uint64_t least = free_bytes < available ? free_bytes : available;

	if (pending <= least && bytes <= least - pending)
		return RC_OK;
	return err_set(err, RC_LIMIT,
		       "memory_dir: %.200s: no room for a rewound copy: %" PRIu64
		       " MiB needed for its memory, and %" PRIu64
		       " MiB which the replica may come to use; %" PRIu64 " MiB %s",
		       memory_dir, MIB(bytes), MIB(pending), MIB(least),
		       available < free_bytes ? "of this machine's memory are available" :
						"are free there");
}

/* What the replica's files are long, less what of them has storage. */
static uint64_t pending_in(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	uint64_t pending = 0, stored;
	struct stat st;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' ||
		    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		stored = (uint64_t)st.st_blocks * STAT_BLOCK;
		pending += (uint64_t)st.st_size > stored ? (uint64_t)st.st_size - stored : 0;
	}
	if (dir != NULL)
		(void)closedir(dir);
	return pending;
}

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

int rewound_room_judge_disk(const char *path, uint64_t stored, uint64_t free_bytes, struct err *err)
{
	const uint64_t need = stored + stored / DISK_SHARE + DISK_LEAST;

	if (need <= free_bytes)
		return RC_OK;
	return err_set(err, RC_LIMIT,
		       "%.200s: no room beside it for the disk of a rewound copy: %" PRIu64
		       " MiB needed, %" PRIu64 " MiB free",
		       path, MIB(need), MIB(free_bytes));
}

int rewound_room_check_disk(const char *path, struct err *err)
{
	struct statfs fs;
	struct stat st;

	if (stat(path, &st) != 0 || statfs(path, &fs) != 0 || fs.f_blocks == 0)
		return RC_OK; /* the image will tell */
	return rewound_room_judge_disk(path, (uint64_t)st.st_blocks * STAT_BLOCK,
				       (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize, err);
}

int rewound_room_check(const char *memory_dir, uint64_t bytes, struct err *err)
{
	uint64_t free_bytes = UINT64_MAX, available = UINT64_MAX;
	struct statfs fs;

	if (statfs(memory_dir, &fs) == 0) {
		if (fs.f_blocks != 0) /* a tmpfs without a limit has none */
			free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
		if (fs.f_type == TMPFS_MAGIC)
			available = available_memory();
	}
	return rewound_room_judge(memory_dir, bytes, pending_in(memory_dir), free_bytes, available,
				  err);
}
