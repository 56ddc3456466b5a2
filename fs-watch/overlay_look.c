/*
 * Theory of operation. Overlayfs marks what it makes: a whiteout is a character device 0:0, or an empty file with an attribute; what was copied
 * up has an `origin`; a directory whose lower ones do not count is `opaque`. The attributes are trusted.overlay.*, or user.overlay.* where
 * the mount was made without rights. A path in a layer is the container's to make: no link in it is followed.
 */
#include "fs-watch/overlay_look.h"

#include "appliance/base/buf.h"
#include "appliance/base/files.h"
#include "appliance/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LOWER_MAX ((size_t)64 << 10) /* 500 layers of some 90 bytes */

/* -1 and errno. ENOTDIR, ELOOP: what is on the way is no directory. */
static int open_in(int driver_fd, const char *dir, const char *path)
{
	const struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
				      .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH };
	char whole[PATH_MAX];
	const int n = snprintf(whole, sizeof(whole), "%s%s%s", dir, *path != '\0' ? "/" : "", path);

	if ((size_t)n >= sizeof(whole)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return (int)syscall(SYS_openat2, driver_fd, whole, &how, sizeof(how));
}

/* False: it has none of that name. `value`, of `size` bytes, has a NUL behind it; "" if it does not fit. */
static bool attribute(int fd, const char *name, char *value, size_t size)
{
	static const char *const spaces[] = { "trusted", "user" };
	char link[64], key[64];
	ssize_t n = -1;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	for (size_t i = 0; i < 2 && n < 0; i++) {
		(void)snprintf(key, sizeof(key), "%s.overlay.%s", spaces[i], name);
		n = getxattr(link, key, value, size - 1);
		if (n < 0 && errno == ERANGE)
			n = 0;
	}
	value[n > 0 ? n : 0] = '\0';
	return n >= 0;
}

enum overlay_what overlay_look_what(int fd)
{
	char value[256];
	struct stat st;

	if (fstat(fd, &st) != 0)
		return OVERLAY_UNKNOWN;
	if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0))
		return OVERLAY_WHITEOUT;
	if (S_ISREG(st.st_mode) && st.st_size == 0 &&
	    attribute(fd, "whiteout", value, sizeof(value)))
		return OVERLAY_WHITEOUT;
	/* Another name of a copy is made, not copied. */
	if ((S_ISDIR(st.st_mode) || st.st_nlink == 1) &&
	    attribute(fd, "origin", value, sizeof(value)))
		return OVERLAY_COPY;
	return OVERLAY_PLAIN;
}

enum overlay_what overlay_look_now(int driver_fd, const char *layer, const char *path)
{
	enum overlay_what what = OVERLAY_UNKNOWN;
	char diff[NAME_MAX + 8];
	int fd;

	(void)snprintf(diff, sizeof(diff), "%s/diff", layer);
	fd = open_in(driver_fd, diff, path);
	if (fd >= 0) {
		what = overlay_look_what(fd);
		(void)close(fd);
	}
	return what;
}

/* ---- what a layer lies on -------------------------------------------------------------------- */

/* "l/NAME" is a link to "../LAYER/diff". */
static void add_lower(struct buf *out, int driver_fd, const char *link)
{
	char to[PATH_MAX];
	const ssize_t n = readlinkat(driver_fd, link, to, sizeof(to) - 1);

	if (n <= 3 || strncmp(to, "../", 3) != 0)
		return;
	to[n] = '\0';
	(void)buf_append(out, to + 3, (size_t)n - 2);
}

char *overlay_look_lower(int driver_fd, const char *layer)
{
	struct buf text = { .limit = LOWER_MAX }, out = { .limit = LOWER_MAX };
	char path[NAME_MAX + 8], *link, *rest;
	struct err err;

	(void)snprintf(path, sizeof(path), "%s/lower", layer);
	if (files_read(&text, driver_fd, path, FILES_NO_LINK, &err) != RC_OK) {
		buf_free(&text);
		return NULL;
	}
	for (link = strtok_r((char *)text.data, ":\n", &rest); link != NULL;
	     link = strtok_r(NULL, ":\n", &rest))
		add_lower(&out, driver_fd, link);
	buf_free(&text);
	(void)buf_append_u8(&out, '\0');
	if (out.failed)
		buf_free(&out);
	return (char *)out.data;
}

static bool is_opaque(int driver_fd, const char *dir, const char *path)
{
	const int fd = open_in(driver_fd, dir, path);
	char value[8] = "";

	if (fd >= 0) {
		(void)attribute(fd, "opaque", value, sizeof(value));
		(void)close(fd);
	}
	return *value == 'y';
}

/* A directory above `path` in `dir` hides what is below `dir`. */
static bool hides(int driver_fd, const char *dir, const char *path)
{
	char above[PATH_MAX];

	(void)snprintf(above, sizeof(above), "%s", path);
	for (char *slash = strrchr(above, '/'); slash != NULL; slash = strrchr(above, '/')) {
		*slash = '\0';
		if (is_opaque(driver_fd, dir, above))
			return true;
	}
	return false;
}

/* In which of the lower layers, the uppermost that knows the name; NULL: in none that can be seen. */
static const char *find(int driver_fd, const char *lower, const char *path)
{
	enum overlay_what what;
	int fd;

	for (const char *dir = lower; *dir != '\0'; dir += strlen(dir) + 1) {
		fd = open_in(driver_fd, dir, path);
		if (fd >= 0) {
			what = overlay_look_what(fd);
			(void)close(fd);
			return what != OVERLAY_WHITEOUT ? dir : NULL;
		}
		if (errno != ENOENT)
			return NULL;
	}
	return NULL;
}

/*
 * Where lower layers have what is at `path`: a directory's `redirect` is a path from the top, or a name in place of its own. False: there is none
 * on the way.
 */
static bool follow_redirects(int driver_fd, const char *diff, const char *path, char to[PATH_MAX])
{
	char above[PATH_MAX], value[PATH_MAX];
	bool any = false, has;
	size_t len = 0;
	int fd;

	(void)snprintf(above, sizeof(above), "%s", path);
	for (char *at = above, *end; at != NULL; at = end != NULL ? end + 1 : NULL) {
		end = strchr(at, '/');
		if (end != NULL)
			*end = '\0';
		fd = end != NULL ? open_in(driver_fd, diff, above) : -1;
		has = fd >= 0 && attribute(fd, "redirect", value, sizeof(value)) && *value != '\0';
		if (fd >= 0)
			(void)close(fd);
		any = any || has;
		if (has && *value == '/')
			len = (size_t)snprintf(to, PATH_MAX, "%s", value + 1);
		else
			len += (size_t)snprintf(to + len, PATH_MAX - len, "%s%s",
						len > 0 ? "/" : "", has ? value : at);
		if (len >= PATH_MAX)
			return false;
		if (end != NULL)
			*end = '/';
	}
	return any;
}

bool overlay_look_is_lower(int driver_fd, const char *layer, const char *lower, const char *path,
			   bool redirected)
{
	char diff[NAME_MAX + 8], to[PATH_MAX];
	const char *found, *dir;

	(void)snprintf(diff, sizeof(diff), "%s/diff", layer);
	if (redirected && follow_redirects(driver_fd, diff, path, to))
		path = to;
	found = find(driver_fd, lower, path);
	if (found == NULL)
		return false;
	if (path != to && hides(driver_fd, diff, path))
		return false;
	for (dir = lower; dir != found; dir += strlen(dir) + 1) {
		if (hides(driver_fd, dir, path))
			return false;
	}
	return true;
}
