#include "appliance/state_dir.h"

#include "appliance/base/files.h"
#include "appliance/base/lock_file.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define LOCK_PATH_MAX 512 /* state_dir has at most 400 */
#define LOCK ".lock"	  /* beside the instances' directories: no name of one begins with a dot */
#define OLD_LOCK "lock"	  /* of versions before: an instance may be called so */

/* What is in it decides who serves: nobody else may have a say in that. */
static int check_owner(const char *path, struct err *err)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return err_system(err, errno, "%s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, RC_REFUSED, "%s: is no directory", path);
	return files_check_own_dir(path, &st, err);
}

static int take(const char *path, const char *name, int *lock, struct err *err)
{
	char file[LOCK_PATH_MAX], who[32] = "another process";
	pid_t holder;
	int n = snprintf(file, sizeof(file), "%s/%s", path, name), rc;

	if (n < 0 || (size_t)n >= sizeof(file))
		return err_set(err, RC_LIMIT, "%.200s: the path is too long", path);
	/* Closed at an exec: the lock must not live on with a replica. */
	rc = lock_file_take(file, lock, &holder, err);
	if (rc != RC_STATE)
		return rc;
	if (holder > 0)
		(void)snprintf(who, sizeof(who), "process %d", (int)holder);
	return err_set(
		err, RC_STATE,
		"%s: %s has it, and one standby at a time can; end that one, or give this one a "
		"directory of its own",
		path, who);
}

/* The lock file of an older version: one that runs is in the way, one that ran leaves the name. */
static int retire_old_lock(const char *path, struct err *err)
{
	char file[LOCK_PATH_MAX];
	struct stat st;
	int lock = LOCK_FILE_NONE, rc;

	(void)snprintf(file, sizeof(file), "%s/" OLD_LOCK, path);
	if (lstat(file, &st) != 0 || !S_ISREG(st.st_mode))
		return RC_OK;
	rc = take(path, OLD_LOCK, &lock, err);
	if (rc == RC_OK)
		(void)unlink(file);
	lock_file_let_go(lock);
	return rc;
}

int state_dir_take(const char *path, int *lock, struct err *err)
{
	int rc;

	*lock = LOCK_FILE_NONE;
	rc = files_make_dir(path, err);
	if (rc == RC_OK)
		rc = check_owner(path, err);
	if (rc == RC_OK)
		rc = take(path, LOCK, lock, err);
	if (rc == RC_OK)
		rc = retire_old_lock(path, err);
	if (rc != RC_OK) {
		lock_file_let_go(*lock);
		*lock = LOCK_FILE_NONE;
	}
	return rc;
}

void state_dir_let_go(int lock)
{
	lock_file_let_go(lock);
}

int state_dir_try(const char *path, bool *lasting, bool *full, struct err *err)
{
	bool made = mkdir(path, 0700) == 0;
	struct statfs fs;
	int rc;

	*lasting = true;
	*full = false;
	if (!made && errno != EEXIST)
		return err_system(err, errno, "%s: cannot be made", path);
	rc = check_owner(path, err);
	if (rc == RC_OK)
		rc = files_try(path, true, full, err);
	if (rc == RC_OK && statfs(path, &fs) == 0)
		*lasting = fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC;
	*full = *full && !made;
	if (made)
		(void)rmdir(path);
	return rc;
}
