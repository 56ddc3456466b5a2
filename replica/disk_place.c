#include "replica/disk_place.h"

#include "appliance/base/files.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#define REMEDY "put that back; if it is lost, start the standby anew: a resync follows"

int disk_place_look(const struct disk_place *place, struct err *err)
{
	char where[FILES_CLIP + 1];
	struct stat st;

	files_clip(where, place->path);
	if (stat(place->path, &st) != 0) {
		if (errno != ENOENT && errno != ENOTDIR)
			return err_system(err, errno, "disk \"%s\": %s", place->name, where);
		return err_set(err, RC_STATE,
			       "disk \"%s\": %s: the file that has the replica's disk is not there "
			       "any more; " REMEDY,
			       place->name, where);
	}
	if (st.st_dev != place->device || st.st_ino != place->inode)
		return err_set(
			err, RC_STATE,
			"disk \"%s\": %s: is not the file that has the replica's disk; " REMEDY,
			place->name, where);
	if ((uint64_t)st.st_size != place->bytes)
		return err_set(err, RC_INVALID,
			       "disk \"%s\": %s: has %" PRIu64
			       " bytes, the instance's disk %" PRIu64
			       ": something else has written to it, and a resync is needed",
			       place->name, where, (uint64_t)st.st_size, place->bytes);
	return RC_OK;
}
