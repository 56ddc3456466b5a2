#include "fs-watch/long_path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

int long_path_open(int top, char *path)
{
	const int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int dir = top, next = -1;
	char *end;

	while (strlen(path) >= PATH_MAX) {
		end = memrchr(path, '/', PATH_MAX - 1);
		if (end != NULL)
			*end = '\0';
		errno = ENAMETOOLONG;
		next = end != NULL ? openat(dir, path, flags) : -1;
		if (dir != top)
			(void)close(dir);
		if (next < 0)
			return -1;
		*end = '/';
		path = end + 1;
		dir = next;
	}
	next = openat(dir, path, flags);
	if (dir != top)
		(void)close(dir);
	return next;
}

bool long_path_stat(int top, char *dir, const char *name, struct stat *st)
{
	const int fd = *dir != '\0' ? long_path_open(top, dir) : top;
	const bool there = fd >= 0 && fstatat(fd, name, st, AT_SYMLINK_NOFOLLOW) == 0;

	if (fd >= 0 && fd != top)
		(void)close(fd);
	return there;
}
