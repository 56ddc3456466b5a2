#include "replica/image_room.h"

#include "appliance/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/statvfs.h>

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

int image_room_error(const char *path, int errnum, uint64_t bytes, uint64_t stored, struct err *err)
{
	uint64_t free_bytes = free_in(path);
	char room[64] = "";

	if (free_bytes != UINT64_MAX)
		(void)snprintf(room, sizeof(room), ", %" PRIu64 " MiB free there", MIB(free_bytes));
	return err_system(err, errnum,
			  "memory_dir: %.300s: %" PRIu64 " of %" PRIu64
			  " MiB stored%s; one more page",
			  path, MIB(stored), MIB(bytes), room);
}
