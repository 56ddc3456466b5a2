/*
 * Record locks (fcntl(2)) on what stands for the QEMU's process (claim.c), shared ones, so that any
 * number of guardians can have them, and beside the claim, which is another kind of lock
 * (flock(2)). Their holder is told by F_GETLK. One byte for each of the states: the new lock is
 * taken before the old one is given up.
 *
 * A process id alone may have been given to another process by the time it is used. So the guardian
 * is first pinned by a pidfd and then asked for once more: if the lock still belongs to that id, it
 * belongs to the pinned process, or that one has ended and cannot be killed any more. Its name is
 * looked at as well: this lock is nobody else's, but a wrong victim would be worse than none.
 */
#include "replica/guardian_mark.h"

#include "replica/claim.h"
#include "replica/guardian_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct flock lock_of(enum guardian_mark mark, short type)
{
	return (struct flock){
		.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)mark, .l_len = 1
	};
}

static bool set(int fd, enum guardian_mark mark, short type)
{
	struct flock lock = lock_of(mark, type);

	return fcntl(fd, F_SETLK, &lock) == 0;
}

int guardian_mark_set(int qmp_fd)
{
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);
	int fd;

	if (getsockopt(qmp_fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 || peer.pid <= 0)
		return -1;
	fd = claim_open(peer.pid);
	if (fd >= 0 && !set(fd, GUARDIAN_MARK_WATCHES, F_RDLCK)) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

void guardian_mark_become(int mark, enum guardian_mark to)
{
	enum guardian_mark other;

	if (mark < 0)
		return;
	if (to != GUARDIAN_MARK_NONE)
		(void)set(mark, to, F_RDLCK);
	for (other = GUARDIAN_MARK_WATCHES; other <= GUARDIAN_MARK_STOPPED; other++) {
		if (other != to)
			(void)set(mark, other, F_UNLCK);
	}
}

static bool is_named_so(pid_t pid)
{
	char path[32], name[32] = "";
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	(void)fgets(name, sizeof(name), file);
	(void)fclose(file);
	return strcmp(name, GUARDIAN_PROCESS_NAME "\n") == 0;
}

/* 0: nobody, or not to be seen from here. */
static pid_t holder_of(int fd, enum guardian_mark mark)
{
	struct flock lock = lock_of(mark, F_WRLCK);

	if (fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK || lock.l_pid <= 0)
		return 0;
	return is_named_so(lock.l_pid) ? lock.l_pid : 0;
}

bool guardian_mark_has_other(int mark)
{
	struct flock lock = { .l_type = F_WRLCK,
			      .l_whence = SEEK_SET,
			      .l_start = GUARDIAN_MARK_WATCHES,
			      .l_len = 2 };

	return mark >= 0 && fcntl(mark, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool guardian_mark_is_stopped(pid_t qemu)
{
	int fd = claim_open(qemu);
	bool is_stopped = fd >= 0 && holder_of(fd, GUARDIAN_MARK_STOPPED) != 0;

	if (fd >= 0)
		(void)close(fd);
	return is_stopped;
}

enum guardian_mark guardian_mark_find(pid_t qemu, pid_t *guardian)
{
	enum guardian_mark mark = GUARDIAN_MARK_NONE;
	int fd = claim_open(qemu);

	*guardian = 0;
	if (fd < 0)
		return mark;
	while (*guardian == 0 && mark < GUARDIAN_MARK_RELEASES)
		*guardian = holder_of(fd, ++mark);
	(void)close(fd);
	return *guardian != 0 ? mark : GUARDIAN_MARK_NONE;
}

int guardian_mark_end(pid_t qemu, pid_t guardian)
{
	int pidfd = (int)syscall(SYS_pidfd_open, guardian, 0), r = 0;
	pid_t again;

	if (pidfd < 0)
		return errno;
	if (guardian_mark_find(qemu, &again) != GUARDIAN_MARK_WATCHES || again != guardian)
		r = ESRCH;
	else if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) != 0)
		r = errno;
	(void)close(pidfd);
	return r;
}
