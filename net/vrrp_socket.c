#include "net/vrrp_socket.h"

#include "appliance/base/bytes.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int first_address(int fd, const char *device, struct in_addr *own, struct err *err)
{
	struct ifreq request = { 0 };
	struct sockaddr_in address;

	(void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
	if (ioctl(fd, SIOCGIFADDR, &request) != 0) {
		if (errno == EADDRNOTAVAIL)
			return err_set(err, RC_STATE,
				       "%s has no IPv4 address for VRRP to send from", device);
		return err_system(err, errno, "network device %s", device);
	}
	memcpy(&address, &request.ifr_addr, sizeof(address));
	*own = address.sin_addr;
	return RC_OK;
}

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

int vrrp_socket_open(int *out, uint32_t *own, const char *device, struct err *err)
{
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, VRRP_PROTOCOL), rc;
	struct in_addr address = { 0 };

	if (fd < 0)
		return err_system(err, errno, "VRRP socket");
	rc = first_address(fd, device, &address, err);
	if (rc == RC_OK && set_up(fd, device, address) != 0)
		rc = err_system(err, errno, "VRRP socket on %s", device);
	if (rc != RC_OK) {
		(void)close(fd);
		return rc;
	}
	*own = ntohl(address.s_addr);
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
