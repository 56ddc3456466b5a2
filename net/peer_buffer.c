#include "net/peer_buffer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int open_process(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* A copy of the process's descriptor, with all that it stands for. */
static int borrow(int process, int fd)
{
	return (int)syscall(SYS_pidfd_getfd, process, fd, 0);
}

static bool is_socket(int fds, const char *name)
{
	char target[32] = "";

	return readlinkat(fds, name, target, sizeof(target) - 1) > 0 &&
	       strncmp(target, "socket:", 7) == 0;
}

static bool is_bound_to(int fd, const char *path)
{
	struct sockaddr_un address = { 0 };
	socklen_t len = sizeof(address) - 1;

	return getsockname(fd, (struct sockaddr *)&address, &len) == 0 &&
	       address.sun_family == AF_UNIX && strcmp(address.sun_path, path) == 0;
}

static int raise_to(int fd, size_t bytes, struct err *err)
{
	int wanted = (int)(bytes / 2), has = 0; /* the kernel doubles it */
	socklen_t len = sizeof(has);

	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &has, &len) == 0 && (size_t)has >= bytes)
		return RC_OK;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &wanted, sizeof(wanted)) == 0)
		return RC_OK;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &wanted, sizeof(wanted)) != 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &has, &len) != 0)
		return err_system(err, errno, "its send buffer");
	return (size_t)has >= bytes ?
		       RC_OK :
		       err_set(err, RC_IO, "its send buffer has %d bytes, of %zu", has, bytes);
}

/* RC_STATE: it is not that one. */
static int try_one(int process, int fds, const char *name, const char *path, size_t bytes,
		   struct err *err)
{
	int rc = RC_STATE, fd;

	if (!is_socket(fds, name))
		return RC_STATE;
	fd = borrow(process, (int)strtol(name, NULL, 10));
	if (fd < 0)
		return errno == EBADF ? RC_STATE : err_system(err, errno, "borrowing its sockets");
	if (is_bound_to(fd, path))
		rc = raise_to(fd, bytes, err);
	(void)close(fd);
	return rc;
}

int peer_buffer_raise(pid_t pid, const char *path, size_t bytes, struct err *err)
{
	char name[64];
	const struct dirent *entry;
	int process, rc = RC_STATE;
	DIR *fds;

	(void)snprintf(name, sizeof(name), "/proc/%d/fd", (int)pid);
	process = open_process(pid);
	if (process < 0)
		return err_system(err, errno, "process %d", (int)pid);
	fds = opendir(name);
	if (fds == NULL) {
		rc = err_system(err, errno, "%s", name);
		(void)close(process);
		return rc;
	}
	while (rc == RC_STATE && (entry = readdir(fds)) != NULL)
		rc = try_one(process, dirfd(fds), entry->d_name, path, bytes, err);
	(void)closedir(fds);
	(void)close(process);
	return rc == RC_STATE ?
		       err_set(err, RC_STATE, "process %d has no socket at %s", (int)pid, path) :
		       rc;
}
