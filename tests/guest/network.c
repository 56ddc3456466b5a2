#include "tests/guest/network.h"

#include "tests/guest/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_vlan.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ECHO_BATCH 64 /* datagrams in one go; then the others have their turn */

static void set_address(struct sockaddr *to, struct in_addr address)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = address };

	memcpy(to, &in, sizeof(in));
}

void network_address(const char *card, const char *text)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { 0 };
	struct in_addr address, mask;
	char ip[NETWORK_TEXT_MAX];
	unsigned long bits = 24;
	char *slash;

	if (fd < 0)
		give_up("socket");
	(void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", card);
	(void)snprintf(ip, sizeof(ip), "%s", text);
	slash = strchr(ip, '/');
	if (slash) {
		*slash = '\0';
		bits = strtoul(slash + 1, NULL, 10);
	}
	errno = EINVAL;
	if (inet_pton(AF_INET, ip, &address) != 1 || bits < 1 || bits > 32)
		give_up("%s: address %s", card, text);
	mask.s_addr = htonl((uint32_t)(UINT64_C(0xffffffff) << (32 - bits)));
	set_address(&request.ifr_addr, address);
	if (ioctl(fd, SIOCSIFADDR, &request) < 0)
		give_up("%s: address", card);
	set_address(&request.ifr_netmask, mask);
	if (ioctl(fd, SIOCSIFNETMASK, &request) < 0)
		give_up("%s: netmask", card);
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		give_up("%s: up", card);
	(void)close(fd);
}

void network_vlan(const char *text)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct vlan_ioctl_args request = { .cmd = ADD_VLAN_CMD, .device1 = "eth0" };
	char card[IFNAMSIZ], *end;
	unsigned long id = strtoul(text, &end, 10);

	errno = EINVAL;
	if (id < 1 || id > 4094 || *end != ':')
		give_up("VLAN %s", text);
	request.u.VID = (int)id;
	if (fd < 0 || ioctl(fd, SIOCSIFVLAN, &request) < 0)
		give_up("VLAN %lu", id);
	(void)close(fd);
	(void)snprintf(card, sizeof(card), "eth0.%lu", id);
	network_address(card, end + 1);
}

static int open_socket(int type, int port)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6,
					.sin6_port = htons((uint16_t)port) };
	int one = 1, zero = 0;
	int fd = socket(AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		give_up("port %d", port);
	return fd;
}

int network_listen(int port, int backlog)
{
	int fd = open_socket(SOCK_STREAM, port);

	if (listen(fd, backlog) < 0)
		give_up("port %d", port);
	return fd;
}

int network_datagrams(int port)
{
	return open_socket(SOCK_DGRAM, port);
}

void network_beacon(int fd, const char *ip, int port)
{
	static uint64_t number;
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	char text[64];
	int len;

	(void)snprintf(text, sizeof(text), "::ffff:%.40s", ip);
	errno = EINVAL;
	if (inet_pton(AF_INET6, text, &to.sin6_addr) != 1)
		give_up("beacon to %s", ip);
	len = snprintf(text, sizeof(text), "%llu", (unsigned long long)++number);
	(void)sendto(fd, text, (size_t)len, 0, (struct sockaddr *)&to, sizeof(to));
}

void network_echo(int fd)
{
	static char data[65536];
	struct sockaddr_in6 from;

	for (unsigned i = 0; i < ECHO_BATCH; i++) {
		socklen_t size = sizeof(from);
		ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &size);

		if (n < 0)
			return;
		(void)sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&from, size);
	}
}
