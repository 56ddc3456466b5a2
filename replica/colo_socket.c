#include "replica/colo_socket.h"

#include <errno.h>
#include <sys/socket.h>

int colo_socket_pair(int fds[2], struct err *err)
{
	int bytes = (int)COLO_SOCKET_BYTES;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
		return err_system(err, errno, "socketpair");
	/*
	 * The writer's buffer is what counts. Without the privilege the kernel's limit is what we
	 * get; it works with any.
	 */
	if (setsockopt(fds[1], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) != 0)
		(void)setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	return RC_OK;
}
