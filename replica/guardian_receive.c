#include "replica/guardian_receive.h"

#include "appliance/base/log.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* The descriptors that came along; -1 where there are none. */
static void take_fds(struct msghdr *message, int fds[GUARDIAN_FDS])
{
	struct cmsghdr *header = CMSG_FIRSTHDR(message);

	fds[0] = fds[1] = -1;
	if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(header),
		       header->cmsg_len - CMSG_LEN(0)); /* at most `ancillary` */
}

ssize_t guardian_receive(struct guardian_packet *packet, int fds[GUARDIAN_FDS])
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(GUARDIAN_FDS * sizeof(int))];
	} ancillary = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = packet, .iov_len = sizeof(*packet) };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = ancillary.bytes,
				  .msg_controllen = sizeof(ancillary.bytes) };
	ssize_t r = recvmsg(GUARDIAN_CONTROL, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	fds[0] = fds[1] = -1;
	if (r > 0)
		take_fds(&message, fds);
	return r;
}

struct guardian_shared *guardian_receive_page(void)
{
	int fds[GUARDIAN_FDS], seals;
	struct guardian_packet packet;
	struct stat stat;
	struct guardian_shared *shared;

	if (guardian_receive(&packet, fds) != (ssize_t)sizeof(packet) ||
	    packet.kind != GUARDIAN_BEGIN || fds[0] < 0 || fds[1] >= 0)
		return NULL;
	seals = fcntl(fds[0], F_GET_SEALS);
	if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(fds[0], &stat) != 0 ||
	    stat.st_size != (off_t)sizeof(struct guardian_shared))
		return NULL;
	shared = mmap(NULL, sizeof(struct guardian_shared), PROT_READ | PROT_WRITE, MAP_SHARED,
		      fds[0], 0);
	if (shared == MAP_FAILED)
		return NULL;
	(void)close(fds[0]);
	log_setup((enum log_level)shared->log_level, shared->log_json != 0);
	return shared;
}
