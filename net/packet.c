#include "net/packet.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

int packet_open(int *out, const char *device, struct err *err)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET };
	int fd;

	address.sll_ifindex = (int)if_nametoindex(device);
	if (address.sll_ifindex == 0)
		return err_system(err, errno, "network device %s", device);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_system(err, errno, "packet socket");
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		(void)err_system(err, errno, "packet socket on %s", device);
		(void)close(fd);
		return RC_IO;
	}
	*out = fd;
	return RC_OK;
}

int packet_send(int fd, const uint8_t *frame, size_t len)
{
	ssize_t r;

	do {
		r = send(fd, frame, len, 0);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? errno : 0;
}
