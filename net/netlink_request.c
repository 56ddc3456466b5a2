#include "net/netlink_request.h"

#include "appliance/base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define SEQUENCE 1

static void put(struct netlink_request *request, const void *data, size_t len)
{
	assert(request->len + len + NLMSG_ALIGNTO <= sizeof(request->bytes));
	if (len > 0)
		memcpy(request->bytes + request->len, data, len);
	request->len += NLMSG_ALIGN(len);
}

struct netlink_request netlink_begin(uint16_t type, unsigned flags, const void *body, size_t len)
{
	struct netlink_request request = { .len = NLMSG_HDRLEN };

	request.header.nlmsg_type = type;
	request.header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	request.header.nlmsg_seq = SEQUENCE;
	put(&request, body, len);
	return request;
}

void netlink_put(struct netlink_request *request, uint16_t type, const void *data, size_t len)
{
	const struct rtattr head = { .rta_len = (uint16_t)RTA_LENGTH(len), .rta_type = type };

	put(request, &head, sizeof(head));
	put(request, data, len);
}

void netlink_put_u32(struct netlink_request *request, uint16_t type, uint32_t value)
{
	netlink_put(request, type, &value, sizeof(value));
}

int netlink_receive(int fd, union netlink_answer *answer, size_t *len)
{
	ssize_t r;

	do {
		r = recv(fd, answer, sizeof(*answer), MSG_TRUNC);
		if (r < 0 && errno != EINTR)
			return errno == EAGAIN ? ETIMEDOUT : errno;
	} while (r < (ssize_t)NLMSG_HDRLEN || answer->header.nlmsg_seq != SEQUENCE);
	if ((size_t)r > sizeof(*answer) || answer->header.nlmsg_len > (size_t)r)
		return EMSGSIZE;
	*len = (size_t)r;
	return 0;
}

/* A mere confirmation is a struct nlmsgerr. */
int netlink_refusal(const struct nlmsghdr *header, const uint8_t *message)
{
	struct nlmsgerr refusal;

	if (header->nlmsg_type != NLMSG_ERROR)
		return 0;
	if (header->nlmsg_len < NLMSG_LENGTH(sizeof(refusal)))
		return EPROTO;
	memcpy(&refusal, message + NLMSG_HDRLEN, sizeof(refusal));
	return -refusal.error;
}

int netlink_send(struct netlink_request *request, int *fd)
{
	const struct timeval wait = { .tv_sec = NETLINK_WAIT_MS / 1000,
				      .tv_usec = NETLINK_WAIT_MS % 1000 * 1000 };
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	*fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (*fd < 0)
		return errno;
	request->header.nlmsg_len = (uint32_t)request->len;
	if (connect(*fd, (const struct sockaddr *)&kernel, sizeof(kernel)) != 0 ||
	    setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) != 0 ||
	    send(*fd, request->bytes, request->len, 0) < 0)
		return errno;
	return 0;
}

int netlink_ask(struct netlink_request *request, union netlink_answer *answer)
{
	size_t len;
	int fd, r = netlink_send(request, &fd);

	if (r == 0)
		r = netlink_receive(fd, answer, &len);
	if (r == 0)
		r = netlink_refusal(&answer->header, answer->bytes);
	if (fd >= 0)
		(void)close(fd);
	return r;
}

/* The messages of one datagram; *done: the last one was among them. */
static int take_datagram(struct cursor c,
			 int (*take)(void *owner, const struct nlmsghdr *header,
				     const uint8_t *message),
			 void *owner, bool *done)
{
	struct nlmsghdr header;
	const uint8_t *at;
	int r = 0;

	while (r == 0 && c.left >= sizeof(header)) {
		memcpy(&header, c.at, sizeof(header));
		at = cursor_bytes(&c, header.nlmsg_len);
		if (at == NULL || header.nlmsg_len < sizeof(header))
			return EPROTO;
		if (c.left > 0)
			(void)cursor_bytes(&c, NLMSG_ALIGN(header.nlmsg_len) - header.nlmsg_len);
		*done = *done || header.nlmsg_type == NLMSG_DONE;
		r = netlink_refusal(&header, at);
		if (r == 0)
			r = take(owner, &header, at);
	}
	return r;
}

int netlink_dump(struct netlink_request *request,
		 int (*take)(void *owner, const struct nlmsghdr *header, const uint8_t *message),
		 void *owner)
{
	union netlink_answer answer = { 0 };
	bool done = false;
	size_t len = 0;
	int fd, r = netlink_send(request, &fd);

	while (r == 0 && !done) {
		r = netlink_receive(fd, &answer, &len);
		if (r == 0)
			r = take_datagram(cursor_of(answer.bytes, len), take, owner, &done);
	}
	if (fd >= 0)
		(void)close(fd);
	return r;
}

const uint8_t *netlink_attribute(const struct nlmsghdr *header, const uint8_t *message, size_t body,
				 unsigned type, size_t *len)
{
	struct cursor c = cursor_of(message, header->nlmsg_len);
	struct rtattr head;
	const uint8_t *at;

	(void)cursor_bytes(&c, NLMSG_HDRLEN + NLMSG_ALIGN(body));
	while (c.left >= sizeof(head)) {
		memcpy(&head, c.at, sizeof(head));
		at = cursor_bytes(&c, head.rta_len);
		if (at == NULL || head.rta_len < sizeof(head))
			break;
		if ((head.rta_type & (unsigned)NLA_TYPE_MASK) == type) {
			*len = head.rta_len - sizeof(head);
			return at + sizeof(head);
		}
		if (c.left > 0)
			(void)cursor_bytes(&c, RTA_ALIGN(head.rta_len) - head.rta_len);
	}
	return NULL;
}

int netlink_change(struct netlink_request *request)
{
	union netlink_answer answer;

	request->header.nlmsg_flags |= NLM_F_ACK;
	return netlink_ask(request, &answer);
}

int netlink_index(int *index, const char *name, struct err *err)
{
	*index = (int)if_nametoindex(name);
	return *index != 0 ? RC_OK : err_system(err, errno, "network device %s", name);
}
