#include "replica/hypervisor_user.h"

#include "appliance/base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENTRY_BYTES 4096 /* of the list of users */
#define GROUPS_MAX 64	 /* of one user */
#define NOT_OURS 0007	 /* umask: the group of a directory is QEMU's */

static struct hypervisor_user current;
static bool is_set;

/* ---- which one ------------------------------------------------------------------------------------ */

/* A number need not be anybody's: then it is that of its group, too. */
static bool look_up(struct hypervisor_user *user, const char *name)
{
	char text[ENTRY_BYTES], *end;
	const unsigned long number = strtoul(name, &end, 10);
	const bool is_number = *name >= '0' && *name <= '9' && *end == '\0' && number < UINT32_MAX;
	struct passwd entry, *found = NULL;

	if (is_number)
		(void)getpwuid_r((uid_t)number, &entry, text, sizeof(text), &found);
	else
		(void)getpwnam_r(name, &entry, text, sizeof(text), &found);
	if (found != NULL)
		*user = (struct hypervisor_user){ entry.pw_uid, entry.pw_gid };
	else if (is_number)
		*user = (struct hypervisor_user){ (uid_t)number, (gid_t)number };
	return found != NULL || is_number;
}

int hypervisor_user_find(struct hypervisor_user *user, const char *name, bool confine,
			 struct err *err)
{
	const struct hypervisor_user own = { geteuid(), getegid() };

	*user = own;
	if (name == NULL && (own.uid != 0 || !confine || !look_up(user, HYPERVISOR_USER)))
		return RC_OK;
	if (name != NULL && !look_up(user, name))
		return err_set(err, RC_INVALID, "there is no such user");
	if (user->uid == own.uid)
		return RC_OK;
	if (user->uid == 0 || user->gid == 0)
		return err_set(err, RC_INVALID,
			       "is root, or of root's group: name one that owns nothing");
	if (own.uid != 0)
		return err_set(err, RC_INVALID,
			       "is another user than who runs this, and only root can start "
			       "something as another one; leave the key out");
	return confine ? RC_OK :
			 err_set(err, RC_INVALID,
				 "goes with hypervisor.confine only, which is false");
}

void hypervisor_user_set(const struct hypervisor_user *user)
{
	current = *user;
	is_set = user->uid != geteuid();
	if (is_set)
		(void)umask(NOT_OURS);
}

bool hypervisor_user_is(uid_t uid)
{
	return uid == geteuid() || (is_set && uid == current.uid);
}

/* ---- what it gets --------------------------------------------------------------------------------- */

int hypervisor_user_give(int fd, const char *path, struct err *err)
{
	char where[FILES_CLIP + 1];
	struct stat st;

	if (!is_set)
		return RC_OK;
	files_clip(where, path);
	if (fstat(fd, &st) != 0)
		return err_system(err, errno, "%s", where);
	if (st.st_uid == geteuid() && (fchown(fd, (uid_t)-1, current.gid) != 0 ||
				       fchmod(fd, (st.st_mode & 07707) | 0060) != 0))
		return err_system(err, errno, "%s: giving it to the hypervisor's user", where);
	return RC_OK;
}

static int give_directory(const char *path, mode_t mode, struct err *err)
{
	char where[FILES_CLIP + 1];

	if (chown(path, (uid_t)-1, current.gid) == 0 && chmod(path, mode) == 0)
		return RC_OK;
	files_clip(where, path);
	return err_system(err, errno, "%s: giving it to the hypervisor's user", where);
}

/* One that is somebody's group's already (the operator's) stays that. */
int hypervisor_user_let_pass(const char *path, struct err *err)
{
	struct stat st;

	if (!is_set || (stat(path, &st) == 0 && (st.st_mode & S_IXOTH) != 0))
		return RC_OK;
	if (st.st_gid == current.gid || (st.st_mode & S_IRWXG) == 0)
		return give_directory(path, (st.st_mode & 07777) | S_IXGRP, err);
	return chmod(path, (st.st_mode & 07777) | S_IXOTH) == 0 ?
		       RC_OK :
		       err_system(err, errno, "%.200s", path);
}

int hypervisor_user_let_work(const char *path, struct err *err)
{
	return is_set ? give_directory(path, S_ISVTX | S_ISGID | S_IRWXU | S_IRWXG, err) : RC_OK;
}

/* ---- becoming it ---------------------------------------------------------------------------------- */

void hypervisor_user_word(char word[HYPERVISOR_USER_WORD_MAX])
{
	word[0] = '\0';
	if (is_set)
		(void)snprintf(word, HYPERVISOR_USER_WORD_MAX, "%u:%u", (unsigned)current.uid,
			       (unsigned)current.gid);
}

/* That of /dev/kvm, say. A number that is nobody's has its own group only. */
static int take_groups(uid_t uid, gid_t gid)
{
	char text[ENTRY_BYTES];
	struct passwd entry, *found = NULL;
	gid_t groups[GROUPS_MAX] = { gid };
	int count = GROUPS_MAX;

	(void)getpwuid_r(uid, &entry, text, sizeof(text), &found);
	if (found == NULL || getgrouplist(entry.pw_name, gid, groups, &count) < 0)
		count = 1;
	return setgroups((size_t)count, groups) == 0 ? 0 : errno;
}

static int take(uid_t uid, gid_t gid)
{
	const int r = take_groups(uid, gid);

	if (r != 0)
		return r;
	return setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0 ? 0 : errno;
}

bool hypervisor_user_may(const struct hypervisor_user *user, const char *path, int how)
{
	int status = -1;
	const pid_t pid = fork();

	if (pid == 0)
		_exit(take(user->uid, user->gid) == 0 && access(path, how) == 0 ? 0 : 1);
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* A change of user takes the effective ones, and execve() all that are not ambient. */
static int keep_ambient(uint64_t capabilities)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) != 0)
		return errno;
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].permitted &= (uint32_t)(capabilities >> (32 * i));
		data[i].effective = data[i].inheritable = data[i].permitted;
	}
	if (syscall(SYS_capset, &header, data) != 0)
		return errno;
	for (unsigned i = 0; i < 64; i++) {
		if ((data[i / 32].permitted >> (i % 32) & 1) != 0 &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) != 0)
			return errno;
	}
	return 0;
}

int hypervisor_user_become(const char *word, uint64_t capabilities, struct err *err)
{
	char *end;
	const uid_t uid = (uid_t)strtoul(word, &end, 10);
	const gid_t gid = *end == ':' ? (gid_t)strtoul(end + 1, &end, 10) : 0;
	int r = 0;

	if (*word == '\0')
		return RC_OK;
	if (uid == 0 || gid == 0 || *end != '\0')
		r = EINVAL;
	else if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0)
		r = errno;
	if (r == 0)
		r = take(uid, gid);
	if (r == 0)
		r = keep_ambient(capabilities);
	return r == 0 ? RC_OK : err_system(err, r, "becoming user %.30s", word);
}
