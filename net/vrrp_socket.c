#include "net/vrrp_socket.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int set_up(int fd, const char *device, struct in_addr own)
{
	const int ttl = VRRP_TTL, no = 0, urgent = IPTOS_PREC_INTERNETCONTROL;
	struct ip_mreqn group = { .imr_multiaddr = { htonl(VRRP_DESTINATION) },
				  .imr_address = own };

	group.imr_ifindex = (int)if_nametoindex(device);
	return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, (socklen_t)strlen(device)) !=
		       0 ||
	       setsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &no, sizeof(no)) != 0 ||
	       setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)) != 0 ||
	       setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &group, sizeof(group)) != 0 ||
	       setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof(ttl)) != 0 ||
	       setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &no, sizeof(no)) != 0 ||
	       setsockopt(fd, IPPROTO_IP, IP_TOS, &urgent, sizeof(urgent)) != 0;
}

int vrrp_socket_create(int *fd, struct err *err)
{
	*fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, VRRP_PROTOCOL);
	return *fd >= 0 ? RC_OK : err_system(err, errno, "VRRP socket");
}

int vrrp_socket_open(int *out, const char *device, uint32_t own, struct err *err)
{
	const struct in_addr address = { htonl(own) };
	int fd, rc = vrrp_socket_create(&fd, err);

	if (rc != RC_OK)
		return rc;
	if (set_up(fd, device, address) != 0) {
		rc = err_system(err, errno, "VRRP socket on %s", device);
		(void)close(fd);
		return rc;
	}
	*out = fd;
	return RC_OK;
}

int vrrp_socket_send(int fd, const uint8_t *packet, size_t len)
{
	const struct sockaddr_in to = { .sin_family = AF_INET,
					.sin_addr = { htonl(VRRP_DESTINATION) } };
	ssize_t r;

	do {
		r = sendto(fd, packet, len, 0, (const struct sockaddr *)&to, sizeof(to));
	} while (r < 0 && errno == EINTR);
	return r < 0 ? errno : 0;
}

size_t vrrp_socket_receive(int fd, uint8_t packet[VRRP_SOCKET_PACKET_MAX])
{
	ssize_t r;

	do {
		r = recv(fd, packet, VRRP_SOCKET_PACKET_MAX, 0);
	} while (r < 0 && errno == EINTR);
	return r > 0 ? (size_t)r : 0;
}
