#include "appliance/base/files.h"

#include <errno.h>
#include <sys/stat.h>

int files_make_dir(const char *path, struct err *err)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return err_system(err, errno, "%s", path);
	return RC_OK;
}
