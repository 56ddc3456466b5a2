/*
 * Theory of operation. A directory is opened by its handle. Its parent is "..", its name what /proc says that the open directory is
 * called: the last part of that is right whatever is mounted where. A path longer than a page has no such name; then the parent is read
 * for who has the same inode number. Where ".." is the directory itself, or of another mount, it is a top.
 */
#include "fs-watch/fanotify_place.h"

#include "fs-watch/fanotify_event.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

union handle {
	struct file_handle head;
	uint8_t room[sizeof(struct file_handle) + TREE_KEY_MAX];
};

/* One that was removed keeps its last name. */
static bool is_gone(int fd)
{
	struct stat st;

	return fstat(fd, &st) != 0 || st.st_nlink == 0;
}

static bool key_at(struct tree_key *key, const uint8_t fsid[8], int fd, const char *path,
		   int *mount)
{
	union handle handle;

	handle.head.handle_bytes = MAX_HANDLE_SZ;
	return name_to_handle_at(fd, path, &handle.head, mount,
				 *path == '\0' ? AT_EMPTY_PATH : 0) == 0 &&
	       fanotify_key(key, fsid, handle.head.handle_type, handle.head.f_handle,
			    handle.head.handle_bytes);
}

bool fanotify_place_key(struct tree_key *key, const uint8_t fsid[8], int fd)
{
	int mount;

	return key_at(key, fsid, fd, "", &mount);
}

bool fanotify_place_child(struct tree_key *key, const uint8_t fsid[8], int fd, const char *name)
{
	int mount;

	return key_at(key, fsid, fd, name, &mount);
}

int fanotify_place_open(const struct fanotify_fs *fs, const struct tree_key *key)
{
	union handle handle;
	size_t len;
	const uint8_t *bytes = fanotify_key_handle(key, &len);

	handle.head.handle_bytes = (unsigned)len;
	handle.head.handle_type = fanotify_key_type(key);
	memcpy(handle.head.f_handle, bytes, len);
	return open_by_handle_at(fs->fd, &handle.head, O_PATH | O_CLOEXEC);
}

static bool name_by_reading(int fd, char name[NAME_MAX + 1])
{
	const int up = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = up >= 0 ? fdopendir(up) : NULL;
	const struct dirent *found;
	bool is_found = false;
	struct stat st;

	if (stream == NULL) {
		if (up >= 0)
			(void)close(up);
		return false;
	}
	while (fstat(fd, &st) == 0 && !is_found && (found = readdir(stream)) != NULL) {
		is_found = found->d_ino == st.st_ino && strcmp(found->d_name, ".") != 0 &&
			   strcmp(found->d_name, "..") != 0;
		if (is_found)
			(void)snprintf(name, NAME_MAX + 1, "%s", found->d_name);
	}
	(void)closedir(stream);
	return is_found;
}

static bool name_of(int fd, char name[NAME_MAX + 1])
{
	char own[64], target[PATH_MAX];
	const char *last;
	ssize_t n;

	(void)snprintf(own, sizeof(own), "/proc/self/fd/%d", fd);
	n = readlink(own, target, sizeof(target) - 1);
	if (n < 0 || (size_t)n == sizeof(target) - 1)
		return name_by_reading(fd, name);
	target[n] = '\0';
	last = strrchr(target, '/');
	if (last == NULL || strlen(last + 1) > NAME_MAX)
		return false;
	(void)snprintf(name, NAME_MAX + 1, "%s", last + 1);
	return true;
}

enum fanotify_place_now fanotify_place_now(const struct fanotify_fs *fs, int fd,
					   struct tree_key *parent, char name[NAME_MAX + 1])
{
	struct tree_key own;
	int mount, up_mount;

	if (!key_at(&own, fs->fsid, fd, "", &mount) || is_gone(fd) ||
	    !key_at(parent, fs->fsid, fd, "..", &up_mount))
		return FANOTIFY_PLACE_GONE;
	if (mount != up_mount || tree_key_is(&own, parent))
		return FANOTIFY_PLACE_TOP;
	return name_of(fd, name) ? FANOTIFY_PLACE_BELOW : FANOTIFY_PLACE_GONE;
}
