/*
 * The other end of QEMU's `-netdev dgram` over unix sockets.
 *
 * Our socket is connected to QEMU's path, although QEMU's is not to ours: only then does the kernel
 * tell when a full queue has room again. A QEMU that was started anew has another socket under its
 * path; sending notices (ECONNREFUSED) and connects again, and so does port_reconnect(). Until then
 * the kernel would refuse what the new QEMU sends.
 *
 * A socket whose file somebody has removed hears nothing any more, and nobody is told: so the file is
 * looked at, and a new socket takes its place.
 *
 * The kernel queues few datagrams per socket (net.unix.max_dgram_qlen, as it is when the socket is
 * made): raised to what a burst needs where this process may, for its own socket.
 */
#include "net/port_internal.h"

#include "appliance/base/log.h"
#include "net/frames.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUEUE_FRAMES 1024 /* a burst of 1.5 MB */
#define QUEUE_SETTING "/proc/sys/net/unix/max_dgram_qlen"

static bool connect_to(struct port *port)
{
	port->connected = connect(port->fd, (const struct sockaddr *)&port->remote,
				  sizeof(port->remote)) == 0;
	return port->connected;
}

static size_t dgram_receive(struct port *port, struct port_frame *frames)
{
	struct mmsghdr messages[PORT_BATCH];
	struct iovec buffers[PORT_BATCH];
	size_t i, count = 0;
	int r;

	memset(messages, 0, sizeof(messages));
	for (i = 0; i < PORT_BATCH; i++) {
		buffers[i] = (struct iovec){ port_buffer((unsigned)i), FRAMES_LEN_MAX + 1 };
		messages[i].msg_hdr.msg_iov = &buffers[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	r = recvmmsg(port->fd, messages, PORT_BATCH, MSG_DONTWAIT, NULL);
	for (i = 0; r > 0 && i < (size_t)r; i++) {
		size_t len = messages[i].msg_len;

		if (len < FRAMES_LEN_MIN || len > FRAMES_LEN_MAX) {
			port->counters.refused++;
			continue;
		}
		frames[count++] = (struct port_frame){ port_buffer((unsigned)i), len };
	}
	if (count > 0 && !port->connected)
		(void)connect_to(port);
	return count;
}

static int send_once(struct port *port, const uint8_t *frame, size_t len)
{
	ssize_t r;

	do {
		r = send(port->fd, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? errno : 0;
}

static int dgram_send(struct port *port, const uint8_t *frame, size_t len)
{
	int error = port->connected ? send_once(port, frame, len) : ENOTCONN;

	if (error == ECONNREFUSED || error == ENOTCONN || error == ECONNRESET)
		error = connect_to(port) ? send_once(port, frame, len) : ENOTCONN;
	return error;
}

static void dgram_reconnect(struct port *port)
{
	(void)connect_to(port);
}

/* Its name still leads to it. */
static bool is_there(const struct port *port)
{
	struct stat now;

	return port->fd >= 0 && lstat(port->local.sun_path, &now) == 0 &&
	       now.st_dev == port->device && now.st_ino == port->inode;
}

static void dgram_close(struct port *port)
{
	if (is_there(port))
		(void)unlink(port->local.sun_path);
}

static int fill(struct sockaddr_un *address, const char *path, struct err *err)
{
	address->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(address->sun_path))
		return err_set(err, RC_INVALID, "%s: a socket's path has at most %zu bytes", path,
			       sizeof(address->sun_path) - 1);
	memcpy(address->sun_path, path, strlen(path) + 1);
	return RC_OK;
}

static void raise_queue(void)
{
	char now[16] = "", wanted[16];
	int fd = open(QUEUE_SETTING, O_RDWR | O_CLOEXEC), len;

	if (fd < 0)
		return;
	len = snprintf(wanted, sizeof(wanted), "%d", QUEUE_FRAMES);
	if (read(fd, now, sizeof(now) - 1) > 0 && strtol(now, NULL, 10) < QUEUE_FRAMES &&
	    pwrite(fd, wanted, (size_t)len, 0) != len)
		log_debug("port", "%s stays at %s", QUEUE_SETTING, now);
	(void)close(fd);
}

/* A socket file whose process is gone is in the way of bind(); a living one stays. */
static int clear_path(const struct port *port, struct err *err)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int error = 0;

	if (fd < 0)
		return err_system(err, errno, "socket");
	if (connect(fd, (const struct sockaddr *)&port->local, sizeof(port->local)) != 0)
		error = errno;
	(void)close(fd);
	if (error == ENOENT)
		return RC_OK;
	if (error == ECONNREFUSED)
		return unlink(port->local.sun_path) == 0 ?
			       RC_OK :
			       err_system(err, errno, "%s", port->local.sun_path);
	if (error == 0 || error == EPERM)
		return err_set(err, RC_REFUSED, "%s: another process listens there",
			       port->local.sun_path);
	return err_system(err, error, "%s", port->local.sun_path);
}

static int make(struct port *port, struct err *err)
{
	const struct sockaddr *local = (const struct sockaddr *)&port->local;
	const char *path = port->local.sun_path;
	struct stat made;
	int rc = clear_path(port, err);

	if (rc != RC_OK)
		return rc;
	port->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (port->fd < 0)
		return err_system(err, errno, "socket");
	if (bind(port->fd, local, sizeof(port->local)) != 0 || lstat(path, &made) != 0)
		return err_system(err, errno, "%s", path);
	port->device = made.st_dev;
	port->inode = made.st_ino;
	return RC_OK;
}

static int make_anew(struct port *port, struct err *err)
{
	const char *path = port->local.sun_path;
	int rc = make(port, err);

	if (rc == RC_OK)
		rc = port_watch(port, err);
	if (rc != RC_OK) {
		if (port->fd >= 0)
			(void)close(port->fd);
		port->fd = -1;
		return err_prefix(err, "%s was removed, and cannot be made anew: ", path);
	}
	(void)connect_to(port);
	return RC_OK;
}

static int dgram_look(struct port *port, struct err *err)
{
	if (port->fd < 0)
		return make_anew(port, err);
	if (is_there(port))
		return RC_OK;
	port_lose(port);
	return err_set(err, RC_STATE, "%s was removed by somebody; it is made anew",
		       port->local.sun_path);
}

static const struct port_kind dgram = {
	.receive = dgram_receive,
	.send = dgram_send,
	.reconnect = dgram_reconnect,
	.look = dgram_look,
	.close = dgram_close,
};

int port_open_dgram(struct port **out, uv_loop_t *loop, const char *local, const char *remote,
		    const struct port_ops *ops, void *owner, struct err *err)
{
	struct port *port;
	int rc = port_create(&port, &dgram, ops, owner, err);

	if (rc != RC_OK)
		return rc;
	raise_queue();
	rc = fill(&port->local, local, err);
	if (rc == RC_OK)
		rc = fill(&port->remote, remote, err);
	if (rc == RC_OK)
		rc = make(port, err);
	if (rc == RC_OK)
		rc = port_start(port, loop, err);
	if (rc != RC_OK) {
		port_discard(port);
		return rc;
	}
	(void)connect_to(port);
	*out = port;
	return RC_OK;
}
