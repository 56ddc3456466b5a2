#include "replica/rewound_room.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#define STAT_BLOCK 512
/* The replica's own disk, and the journal perhaps, go on growing beside it: a quarter more, and so much. */
#define DISK_SHARE 4
#define DISK_LEAST (UINT64_C(128) << 20)
#define MIB(bytes) ((uint64_t)(bytes) >> 20)

int rewound_room_judge(const char *memory_dir, uint64_t bytes, uint64_t pending,
		       const struct image_room *room, struct err *err)
{
	if (pending <= room->bytes && bytes <= room->bytes - pending)
		return RC_OK;
	return err_set(err, RC_LIMIT,
		       "memory_dir: %.200s: no room for a rewound copy: %" PRIu64
		       " MiB needed for its memory, and %" PRIu64
		       " MiB which the replica may come to use; %" PRIu64 " MiB %s",
		       memory_dir, MIB(bytes), MIB(pending), MIB(room->bytes),
		       image_room_words(room));
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
	const struct image_room room = image_room_of(memory_dir);

	return rewound_room_judge(memory_dir, bytes, pending_in(memory_dir), &room, err);
}
