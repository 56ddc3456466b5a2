/*
 * A tap: a network device with this process behind it.
 *
 * It is added to its bridge before it is set up, and IPv6 is switched off on it where that can be
 * done, so that the kernel says nothing of its own on it. It takes the bridge's MTU. All that is done
 * again when it has to be made anew. One that has lost its bridge (the bridge was deleted; "nomaster")
 * is added to the bridge of that name as soon as there is one; but is not taken from another bridge,
 * to which somebody has added it. With each frame goes a virtio_net_hdr, so that several segments
 * of a stream can go as one (tcp_merge.h).
 */
#include "net/port_internal.h"

#include "net/frames.h"
#include "net/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static size_t tap_receive(struct port *port, struct port_frame *frames)
{
	struct virtio_net_hdr
		header; /* of zeros: we have told the kernel that we take nothing else */
	size_t count = 0;
	unsigned i;

	for (i = 0; i < PORT_BATCH; i++) {
		struct iovec pieces[] = { { &header, sizeof(header) },
					  { port_buffer(i), FRAMES_LEN_MAX + 1 } };
		ssize_t r = readv(port->fd, pieces, 2);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			break;
		r -= (ssize_t)sizeof(header);
		if (r < FRAMES_LEN_MIN || r > FRAMES_LEN_MAX)
			port->counters.refused++;
		else
			frames[count++] = (struct port_frame){ port_buffer(i), (size_t)r };
	}
	return count;
}

static int write_frame(struct port *port, struct virtio_net_hdr *header, const uint8_t *frame,
		       size_t len)
{
	struct iovec pieces[] = { { header, sizeof(*header) }, { NULL, len } };
	ssize_t r;

	memcpy(&pieces[1].iov_base, &frame,
	       sizeof(frame)); /* which has no const, and is only read */
	do {
		r = writev(port->fd, pieces, 2);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? errno : 0;
}

static int tap_send(struct port *port, const uint8_t *frame, size_t len)
{
	struct virtio_net_hdr header = { 0 };

	return write_frame(port, &header, frame, len);
}

static int tap_send_merged(struct port *port, struct tcp_merge *merge)
{
	struct virtio_net_hdr header;

	tcp_merge_finish(merge, &header);
	return write_frame(port, &header, merge->bytes, merge->len);
}

static void forget_news(struct port *port)
{
	if (port->news >= 0)
		(void)close(port->news);
	port->news = -1;
}

static void tap_close(struct port *port)
{
	forget_news(port);
}

static struct ifreq request_for(const char *name)
{
	struct ifreq request = { 0 };

	(void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	return request;
}

static void keep_quiet(const char *name)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, "1", 1) < 0)
		errno = 0; /* then it sends a few frames of its own, which do no harm */
	(void)close(fd);
}

static int join(int control, const char *name, const char *bridge, struct err *err)
{
	struct ifreq index = request_for(name), mtu = request_for(bridge);
	struct ifreq request = request_for(bridge);

	if (ioctl(control, SIOCGIFMTU, &mtu) != 0)
		return err_system(err, errno, "bridge %s", bridge);
	(void)snprintf(mtu.ifr_name, sizeof(mtu.ifr_name), "%s", name);
	if (ioctl(control, SIOCSIFMTU, &mtu) != 0)
		return err_system(err, errno, "%s: an MTU of %d, as %s has", name, mtu.ifr_mtu,
				  bridge);
	if (ioctl(control, SIOCGIFINDEX, &index) != 0)
		return err_system(err, errno, "%s", name);
	request.ifr_ifindex = index.ifr_ifindex;
	if (ioctl(control, SIOCBRADDIF, &request) != 0 && errno != EBUSY)
		return err_system(err, errno, "adding %s to bridge %s", name, bridge);
	return RC_OK;
}

static int set_up(const char *name, const char *bridge, struct err *err)
{
	struct ifreq flags = request_for(name);
	int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc = RC_OK;

	if (control < 0)
		return err_system(err, errno, "socket");
	keep_quiet(name);
	if (bridge != NULL)
		rc = join(control, name, bridge, err);
	if (rc == RC_OK && ioctl(control, SIOCGIFFLAGS, &flags) != 0)
		rc = err_system(err, errno, "%s", name);
	if (rc == RC_OK) {
		flags.ifr_flags = (short)(flags.ifr_flags | IFF_UP);
		if (ioctl(control, SIOCSIFFLAGS, &flags) != 0)
			rc = err_system(err, errno, "setting %s up", name);
	}
	(void)close(control);
	return rc;
}

/* With each frame comes and goes a virtio_net_hdr; what comes has no work left for us. */
static int only_whole_frames(int fd, const char *name, struct err *err)
{
	int size = (int)sizeof(struct virtio_net_hdr);

	if (ioctl(fd, TUNSETOFFLOAD, 0) != 0 || ioctl(fd, TUNSETVNETHDRSZ, &size) != 0)
		return err_system(err, errno, "tap %s", name);
	return RC_OK;
}

static int attach(struct port *port, const char *name, struct err *err)
{
	struct ifreq request = request_for(name);

	port->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (port->fd < 0)
		return err_system(err, errno, "/dev/net/tun");
	request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	if (ioctl(port->fd, TUNSETIFF, &request) == 0)
		return only_whole_frames(port->fd, name, err);
	if (errno == EBUSY)
		return err_set(err, RC_REFUSED, "tap %s: another process is behind it", name);
	if (errno == EPERM)
		return err_set(
			err, RC_IO,
			"tap %s: this takes CAP_NET_ADMIN, or a tap that has been made for user %u "
			"(ip tuntap add %s mode tap user %u)",
			name, (unsigned)geteuid(), name, (unsigned)geteuid());
	return err_system(err, errno, "tap %s", name);
}

static int learn_master(struct port *port, struct err *err)
{
	struct netlink_device device;
	int rc = netlink_get(&device, port->name, err);

	port->master = 0; /* not known: then it is added, which does no harm to one that is there */
	if (rc == RC_OK) {
		port->index = device.index;
		port->master = device.bridge;
	}
	return rc;
}

static int make(struct port *port, struct err *err)
{
	const char *bridge = *port->bridge != '\0' ? port->bridge : NULL;
	int rc = attach(port, port->name, err);

	forget_news(port);
	if (rc == RC_OK)
		rc = set_up(port->name, bridge, err);
	if (rc == RC_OK && bridge != NULL)
		rc = netlink_watch(&port->news, false, err);
	if (rc == RC_OK && bridge != NULL)
		rc = learn_master(port, err);
	return rc;
}

static int make_anew(struct port *port, struct err *err)
{
	int rc = make(port, err);

	if (rc == RC_OK)
		rc = port_watch(port, err);
	if (rc == RC_OK)
		return RC_OK;
	if (port->fd >= 0)
		(void)close(port->fd);
	port->fd = -1;
	return err_prefix(err, "tap %s is gone, and cannot be made anew: ", port->name);
}

static int tap_gone(struct port *port, struct err *err)
{
	port_lose(port);
	return err_set(
		err, RC_STATE,
		"tap %s is gone: somebody has deleted or renamed the device; it is made anew",
		port->name);
}

/* Told first, and done the next time: the owner has something to do when frames pass again. */
static int rejoin(struct port *port, int control, struct err *err)
{
	if (*port->fault == '\0')
		return err_set(err, RC_STATE,
			       "tap %s is a port of no bridge any more; it is added to %s again",
			       port->name, port->bridge);
	if (join(control, port->name, port->bridge, err) != RC_OK)
		return err_prefix(err, "tap %s is a port of no bridge any more: ", port->name);
	return learn_master(port, err);
}

static int check_bridge_is_up(struct port *port, int control, struct err *err)
{
	struct ifreq bridge = request_for(port->bridge);

	if (ioctl(control, SIOCGIFFLAGS, &bridge) != 0 || (bridge.ifr_flags & IFF_UP) != 0)
		return RC_OK;
	return err_set(err, RC_STATE,
		       "bridge %s of tap %s is set down, so nothing passes: ip link set %s up",
		       port->bridge, port->name, port->bridge);
}

static int check_bridge(struct port *port, int control, struct err *err)
{
	struct ifreq bridge = request_for(port->bridge);
	struct netlink_device device = { 0 };
	bool news;

	if (netlink_heard(port->news, &device, port->index, &news, err) != RC_OK) {
		if (learn_master(port, err) != RC_OK)
			return (int)err->code;
	} else if (news) {
		port->master = device.bridge;
	}
	if (port->master == 0)
		return rejoin(port, control, err);
	if (ioctl(control, SIOCGIFINDEX, &bridge) == 0 &&
	    (unsigned)bridge.ifr_ifindex == port->master)
		return check_bridge_is_up(port, control, err);
	return err_set(
		err, RC_STATE,
		"tap %s is a port of another device than bridge %s: ip link set %s master %s",
		port->name, port->bridge, port->name, port->bridge);
}

/* By ioctl: rtnetlink would have us wait for whoever holds the kernel's lock. */
static int tap_look(struct port *port, struct err *err)
{
	struct ifreq request = request_for(port->name);
	int control, r, rc = RC_OK;

	if (port->fd < 0)
		return make_anew(port, err);
	control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (control < 0)
		return RC_OK; /* of which others will speak */
	r = ioctl(control, SIOCGIFFLAGS, &request) == 0 ? 0 : errno;
	if (r == ENODEV)
		rc = tap_gone(port, err);
	else if (r == 0 && (request.ifr_flags & IFF_UP) == 0)
		rc = err_set(err, RC_STATE,
			     "tap %s is set down, so nothing passes: ip link set %s up", port->name,
			     port->name);
	else if (r == 0 && port->news >= 0)
		rc = check_bridge(port, control, err);
	(void)close(control);
	return rc;
}

static const struct port_kind tap = {
	.receive = tap_receive,
	.send = tap_send,
	.send_merged = tap_send_merged,
	.look = tap_look,
	.gone = tap_gone,
	.close = tap_close,
};

int port_open_tap(struct port **out, uv_loop_t *loop, const char *name, const char *bridge,
		  const struct port_ops *ops, void *owner, struct err *err)
{
	struct port *port;
	int rc = port_create(&port, &tap, ops, owner, err);

	if (rc != RC_OK)
		return rc;
	if (strlen(name) > PORT_NAME_MAX || (bridge != NULL && strlen(bridge) > PORT_NAME_MAX))
		rc = err_set(err, RC_INVALID, "%s: a device's name has at most %d bytes", name,
			     PORT_NAME_MAX);
	(void)snprintf(port->name, sizeof(port->name), "%s", name);
	(void)snprintf(port->bridge, sizeof(port->bridge), "%s", bridge != NULL ? bridge : "");
	if (rc == RC_OK)
		rc = make(port, err);
	if (rc == RC_OK)
		rc = port_start(port, loop, err);
	if (rc != RC_OK) {
		forget_news(port);
		port_discard(port);
		return rc;
	}
	*out = port;
	return RC_OK;
}
