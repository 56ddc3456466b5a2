/*
 * Theory of operation
 *
 * flock(2) wants an inode that stands for one process and that everybody sees who can reach it.
 *
 * Since Linux 6.9 that is the process's pidfd: its inode (pidfs) is the same in every mount,
 * network and pid namespace, is never used again for another process, and pidfd_open(2) needs no
 * privilege. Agents in two containers exclude each other like two on the host.
 *
 * Before 6.9 all pidfds share one inode. There it is the directory /proc/PID, which is one inode
 * for as long as it is open, and gone with its process. Two agents exclude each other if they see
 * the same /proc; one in a container with a /proc of its own is not seen. (A file in /run would
 * need the right to write there and would not be seen from a container either; an abstract socket
 * only within one network namespace.)
 *
 * The lock belongs to the open file: a second instance of this very agent does not get it either.
 *
 * Whoever may see the process may lock it, so a local user can keep an agent from protecting an
 * instance, but not unseen: the refusal names the process that holds the lock.
 */
#include "replica/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PIDFS 0x50494446 /* PID_FS_MAGIC of linux/magic.h, which may be older than the kernel */
#define LOCKS_MAX \
	100000 /* lines of /proc/locks that are looked at: the answer is only for a text */

void claim_end(int *claim)
{
	if (*claim != CLAIM_NONE)
		(void)close(*claim);
	*claim = CLAIM_NONE;
}

/* The process that has locked the file of `fd`; 0: not to be seen from here. */
static pid_t holder_of(int fd)
{
	/* Lines as "1: FLOCK  ADVISORY  WRITE 3346 00:15:1523583 0 EOF": pid, then the file. */
	char line[256], wanted[64], file[64], pid[16];
	unsigned lines = 0;
	pid_t holder = 0;
	struct stat st;
	FILE *locks;

	if (fstat(fd, &st) != 0)
		return 0;
	(void)snprintf(wanted, sizeof(wanted), "%02x:%02x:%ju", major(st.st_dev), minor(st.st_dev),
		       (uintmax_t)st.st_ino);
	locks = fopen("/proc/locks", "re");
	if (locks == NULL)
		return 0;
	while (holder == 0 && lines++ < LOCKS_MAX && fgets(line, sizeof(line), locks) != NULL) {
		if (sscanf(line, "%*s FLOCK %*s %*s %15s %63s", pid, file) == 2 &&
		    strcmp(file, wanted) == 0)
			holder = (pid_t)strtol(pid, NULL, 10);
	}
	(void)fclose(locks);
	return holder;
}

static int refused(int fd, pid_t pid, struct err *err)
{
	pid_t holder = holder_of(fd);

	if (holder == getpid())
		return err_set(err, RC_STATE,
			       "another instance of this agent leads to the same QEMU (process %d)",
			       (int)pid);
	if (holder == 0)
		return err_set(err, RC_STATE,
			       "another understudy agent, in another container, protects this QEMU "
			       "(process %d)",
			       (int)pid);
	return err_set(err, RC_STATE,
		       "another understudy agent (pid %d) protects this QEMU (process %d)",
		       (int)holder, (int)pid);
}

/* Uses up `fd`. */
static int lock(int *claim, int fd, pid_t pid, struct err *err)
{
	int r, rc;

	do {
		r = flock(fd, LOCK_EX | LOCK_NB);
	} while (r != 0 && errno == EINTR);
	if (r == 0) {
		*claim = fd;
		return RC_OK;
	}
	rc = errno == EWOULDBLOCK ? refused(fd, pid, err) :
				    err_system(err, errno, "claiming process %d", (int)pid);
	(void)close(fd);
	return rc;
}

static int open_proc(pid_t pid)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int claim_open(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself */
	struct statfs fs;

	if (fd < 0 || (fstatfs(fd, &fs) == 0 && (unsigned long)fs.f_type == PIDFS))
		return fd;
	(void)close(fd);
	return open_proc(pid);
}

static int take(int *claim, int fd, pid_t pid, struct err *err)
{
	*claim = CLAIM_NONE;
	if (fd < 0)
		return err_system(err, errno, "claiming process %d", (int)pid);
	return lock(claim, fd, pid, err);
}

int claim_take_proc(int *claim, pid_t pid, struct err *err)
{
	return take(claim, open_proc(pid), pid, err);
}

int claim_take(int *claim, pid_t pid, struct err *err)
{
	return take(claim, claim_open(pid), pid, err);
}

pid_t claim_holder(pid_t pid)
{
	int fd = claim_open(pid);
	pid_t holder = 0;

	if (fd >= 0) {
		holder = holder_of(fd);
		(void)close(fd);
	}
	return holder;
}
