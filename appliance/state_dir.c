#include "appliance/state_dir.h"

#include "appliance/base/files.h"
#include "appliance/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define LOCK_NAME "lock"  /* its content: the process id, for people */
#define LOCK_PATH_MAX 512 /* state_dir has at most 400 */
#define PID_DIGITS_MAX 16

/* Who has it: what the file says, 0 if that is nothing. */
static long holder_of(int fd)
{
	char text[PID_DIGITS_MAX + 1] = "";

	if (pread(fd, text, PID_DIGITS_MAX, 0) <= 0)
		return 0;
	return strtol(text, NULL, 10);
}

static void write_holder(int fd, const char *path)
{
	char text[PID_DIGITS_MAX + 1];
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
		log_warn("standby", "%s: %s", path, strerror(errno));
}

int state_dir_take(const char *path, int *lock, struct err *err)
{
	char file[LOCK_PATH_MAX];
	int n, rc;

	*lock = -1;
	rc = files_make_dir(path, err);
	n = snprintf(file, sizeof(file), "%s/" LOCK_NAME, path);
	if (rc == RC_OK && (n < 0 || (size_t)n >= sizeof(file)))
		rc = err_set(err, RC_LIMIT, "%.200s: the path is too long", path);
	if (rc != RC_OK)
		return rc;
	/* Closed at an exec: the lock must not live on with a replica. */
	*lock = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (*lock < 0)
		return err_system(err, errno, "%s", file);
	if (flock(*lock, LOCK_EX | LOCK_NB) == 0) {
		write_holder(*lock, file);
		return RC_OK;
	}
	if (errno == EWOULDBLOCK)
		rc = err_set(
			err, RC_STATE,
			"%s: process %ld has it, and one standby at a time can; end that one, or give "
			"this one a directory of its own",
			path, holder_of(*lock));
	else
		rc = err_system(err, errno, "%s: flock", file);
	state_dir_let_go(*lock);
	*lock = -1;
	return rc;
}

void state_dir_let_go(int lock)
{
	if (lock >= 0)
		(void)close(lock);
}

int state_dir_try(const char *path, bool *lasting, struct err *err)
{
	bool made = mkdir(path, 0700) == 0;
	struct statfs fs;
	struct stat st;
	int rc;

	*lasting = true;
	if (!made && errno != EEXIST)
		return err_system(err, errno, "%s: cannot be made", path);
	if (stat(path, &st) != 0)
		return err_system(err, errno, "%s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, RC_REFUSED, "%s: is no directory", path);
	rc = files_try(path, true, err);
	if (rc == RC_OK && statfs(path, &fs) == 0)
		*lasting = fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC;
	if (made)
		(void)rmdir(path);
	return rc;
}
