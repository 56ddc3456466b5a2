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
