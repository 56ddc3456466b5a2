/*
 * Requests to the kernel: a header, a struct that the request's kind has, attributes (length, type,
 * data, each padded to 4 bytes; some hold others). The answer is an error number, 0 for success, or
 * the device that was asked for. There is one answer per request, and it is told from others' by
 * its sequence number.
 */
#include "net/netlink.h"

#include "appliance/base/bytes.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define SEQUENCE 1

struct request {
	union {
		struct nlmsghdr header;
		uint8_t bytes[512]; /* the largest here takes some 120 */
	};
	size_t len;
};

/* The description of a device takes 1 to 2 KiB without its counters. */
union answer {
	struct nlmsghdr header;
	uint8_t bytes[8192];
};

/* ---- putting a request together ---------------------------------------------------------------*/

static void put(struct request *request, const void *data, size_t len)
{
	assert(request->len + len + NLMSG_ALIGNTO <= sizeof(request->bytes));
	if (len > 0)
		memcpy(request->bytes + request->len, data, len);
	request->len += NLMSG_ALIGN(len);
}

static struct request begin(uint16_t type, unsigned flags, const void *body, size_t len)
{
	struct request request = { .len = NLMSG_HDRLEN };

	request.header.nlmsg_type = type;
	request.header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	request.header.nlmsg_seq = SEQUENCE;
	put(&request, body, len);
	return request;
}

static void put_attribute(struct request *request, uint16_t type, const void *data, size_t len)
{
	const struct rtattr head = { .rta_len = (uint16_t)RTA_LENGTH(len), .rta_type = type };

	put(request, &head, sizeof(head));
	put(request, data, len);
}

static void put_u32(struct request *request, uint16_t type, uint32_t value)
{
	put_attribute(request, type, &value, sizeof(value));
}

/* An attribute of attributes: those that are put until it ends. */
static size_t begin_nest(struct request *request, uint16_t type)
{
	size_t at = request->len;

	put_attribute(request, type, NULL, 0);
	return at;
}

static void end_nest(struct request *request, size_t at)
{
	uint16_t len = (uint16_t)(request->len - at);

	memcpy(request->bytes + at, &len, sizeof(len));
}

/* ---- asking -----------------------------------------------------------------------------------*/

/*
 * 0 or an errno value. The kernel's answer to what asked for none but a confirmation is a struct
 * nlmsgerr.
 */
static int receive(int fd, union answer *answer)
{
	const struct nlmsgerr *refusal;
	ssize_t r;

	do {
		r = recv(fd, answer, sizeof(*answer), MSG_TRUNC);
		if (r < 0 && errno != EINTR)
			return errno == EAGAIN ? ETIMEDOUT : errno;
	} while (r < (ssize_t)NLMSG_HDRLEN || answer->header.nlmsg_seq != SEQUENCE);
	if ((size_t)r > sizeof(*answer) || answer->header.nlmsg_len > (size_t)r)
		return EMSGSIZE;
	if (answer->header.nlmsg_type != NLMSG_ERROR)
		return 0;
	if (answer->header.nlmsg_len < NLMSG_LENGTH(sizeof(*refusal)))
		return EPROTO;
	refusal = (const struct nlmsgerr *)(const void *)(answer->bytes + NLMSG_HDRLEN);
	return -refusal->error;
}

static int ask(struct request *request, union answer *answer)
{
	const struct timeval wait = { .tv_sec = NETLINK_WAIT_MS / 1000,
				      .tv_usec = NETLINK_WAIT_MS % 1000 * 1000 };
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), r;

	if (fd < 0)
		return errno;
	request->header.nlmsg_len = (uint32_t)request->len;
	if (connect(fd, (const struct sockaddr *)&kernel, sizeof(kernel)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) != 0 ||
	    send(fd, request->bytes, request->len, 0) < 0)
		r = errno;
	else
		r = receive(fd, answer);
	(void)close(fd);
	return r;
}

/* Asks for a change; 0 or an errno value. */
static int change(struct request *request)
{
	union answer answer;

	request->header.nlmsg_flags |= NLM_F_ACK;
	return ask(request, &answer);
}

static int index_of(int *index, const char *name, struct err *err)
{
	*index = (int)if_nametoindex(name);
	return *index != 0 ? RC_OK : err_system(err, errno, "network device %s", name);
}

/* ---- devices ----------------------------------------------------------------------------------*/

static void read_attribute(struct netlink_device *device, const struct rtattr *head,
			   const uint8_t *data, size_t len)
{
	uint32_t value = 0;

	if (head->rta_type == IFLA_ADDRESS && len == ETHERNET_MAC)
		memcpy(device->mac, data, len);
	if (len != sizeof(value))
		return;
	memcpy(&value, data, sizeof(value));
	if (head->rta_type == IFLA_MTU)
		device->mtu = value;
	if (head->rta_type == IFLA_MASTER)
		device->bridge = value;
}

static bool read_device(struct netlink_device *device, const union answer *answer)
{
	struct cursor c = cursor_of(answer->bytes, answer->header.nlmsg_len);
	struct ifinfomsg info;
	const uint8_t *at;

	(void)cursor_bytes(&c, NLMSG_HDRLEN);
	at = cursor_bytes(&c, sizeof(info));
	if (at == NULL || answer->header.nlmsg_type != RTM_NEWLINK)
		return false;
	memcpy(&info, at, sizeof(info));
	*device = (struct netlink_device){ .index = (unsigned)info.ifi_index,
					   .up = (info.ifi_flags & IFF_UP) != 0 };
	while (c.left >= sizeof(struct rtattr)) {
		struct rtattr head;

		memcpy(&head, c.at, sizeof(head));
		at = cursor_bytes(&c, head.rta_len);
		if (at == NULL || head.rta_len < sizeof(head))
			return false;
		read_attribute(device, &head, at + sizeof(head), head.rta_len - sizeof(head));
		if (c.left > 0)
			(void)cursor_bytes(&c, RTA_ALIGN(head.rta_len) - head.rta_len);
	}
	return true;
}

int netlink_get(struct netlink_device *device, const char *name, struct err *err)
{
	struct ifinfomsg info = { .ifi_family = AF_UNSPEC };
	struct request request;
	union answer answer = { 0 };
	int r, rc = index_of(&info.ifi_index, name, err);

	if (rc != RC_OK)
		return rc;
	request = begin(RTM_GETLINK, 0, &info, sizeof(info));
	put_u32(&request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	r = ask(&request, &answer);
	if (r == 0 && !read_device(device, &answer))
		r = EPROTO;
	return r == 0 ? RC_OK : err_system(err, r, "network device %s", name);
}

int netlink_set_up(const char *name, bool up, struct err *err)
{
	struct ifinfomsg info = { .ifi_flags = up ? IFF_UP : 0, .ifi_change = IFF_UP };
	struct request request;
	int r, rc = index_of(&info.ifi_index, name, err);

	if (rc != RC_OK)
		return rc;
	request = begin(RTM_NEWLINK, 0, &info, sizeof(info));
	r = change(&request);
	return r == 0 ? RC_OK : err_system(err, r, "setting %s %s", name, up ? "up" : "down");
}

int netlink_add_bridge(const char *name, struct err *err)
{
	const struct ifinfomsg info = { .ifi_family = AF_UNSPEC };
	struct request request;
	size_t about, data;
	int r;

	if (name[0] == '\0' || strlen(name) > NETLINK_NAME_MAX)
		return err_set(err, RC_INVALID, "\"%s\": a device's name has 1 to %d bytes", name,
			       NETLINK_NAME_MAX);
	request = begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
	put_attribute(&request, IFLA_IFNAME, name, strlen(name) + 1);
	about = begin_nest(&request, IFLA_LINKINFO);
	put_attribute(&request, IFLA_INFO_KIND, "bridge", sizeof("bridge"));
	data = begin_nest(&request, IFLA_INFO_DATA);
	put_u32(&request, IFLA_BR_FORWARD_DELAY, 0);
	put_u32(&request, IFLA_BR_STP_STATE, 0);
	end_nest(&request, data);
	end_nest(&request, about);
	r = change(&request);
	if (r == EEXIST)
		return err_set(err, RC_REFUSED, "bridge %s: there is a device of that name", name);
	return r == 0 ? RC_OK : err_system(err, r, "adding bridge %s", name);
}

int netlink_remove_device(const char *name, struct err *err)
{
	struct ifinfomsg info = { .ifi_family = AF_UNSPEC };
	struct request request;
	int r, rc = index_of(&info.ifi_index, name, err);

	if (rc != RC_OK)
		return rc;
	request = begin(RTM_DELLINK, 0, &info, sizeof(info));
	r = change(&request);
	return r == 0 ? RC_OK : err_system(err, r, "removing %s", name);
}

int netlink_join(const char *name, const char *bridge, struct err *err)
{
	struct ifinfomsg info = { .ifi_family = AF_UNSPEC };
	struct netlink_device to = { 0 };
	struct request request;
	int r, rc = index_of(&info.ifi_index, name, err);

	if (rc == RC_OK && bridge != NULL)
		rc = netlink_get(&to, bridge, err);
	if (rc != RC_OK)
		return rc;
	request = begin(RTM_NEWLINK, 0, &info, sizeof(info));
	put_u32(&request, IFLA_MASTER, to.index);
	if (bridge != NULL)
		put_u32(&request, IFLA_MTU, to.mtu);
	r = change(&request);
	if (r == 0)
		return RC_OK;
	if (bridge == NULL)
		return err_system(err, r, "taking %s out of its bridge", name);
	return err_system(err, r, "adding %s to bridge %s, with its MTU of %u", name, bridge,
			  to.mtu);
}

/* ---- addresses --------------------------------------------------------------------------------*/

int netlink_prefix_parse(struct netlink_prefix *prefix, const char *text, struct err *err)
{
	const char *slash = strchr(text, '/');
	size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
	char host[INET6_ADDRSTRLEN];
	unsigned long bits;

	*prefix = (struct netlink_prefix){ .version = memchr(text, ':', len) != NULL ? 6 : 4 };
	bits = prefix->version == 4 ? 32 : 128;
	if (len < sizeof(host)) {
		memcpy(host, text, len);
		host[len] = '\0';
	}
	if (len >= sizeof(host) ||
	    inet_pton(prefix->version == 4 ? AF_INET : AF_INET6, host, prefix->ip) != 1)
		return err_set(err, RC_INVALID, "\"%s\" is not an address (\"192.0.2.7/24\")",
			       text);
	if (slash != NULL) {
		size_t digits = strspn(slash + 1, "0123456789");
		unsigned long value = strtoul(slash + 1, NULL, 10);

		if (digits == 0 || digits > 3 || slash[1 + digits] != '\0' || value > bits)
			return err_set(err, RC_INVALID,
				       "\"%s\": the prefix's length is 0 to %lu bits", text, bits);
		bits = value;
	}
	prefix->bits = (uint8_t)bits;
	return RC_OK;
}

void netlink_prefix_print(char out[NETLINK_PREFIX_TEXT], const struct netlink_prefix *prefix)
{
	char host[INET6_ADDRSTRLEN] = "?";

	(void)inet_ntop(prefix->version == 4 ? AF_INET : AF_INET6, prefix->ip, host, sizeof(host));
	(void)snprintf(out, NETLINK_PREFIX_TEXT, "%s/%u", host, prefix->bits);
}

static int change_address(uint16_t type, unsigned flags, const char *name,
			  const struct netlink_prefix *prefix, struct err *err)
{
	struct ifaddrmsg about = { .ifa_family = prefix->version == 4 ? AF_INET : AF_INET6,
				   .ifa_prefixlen = prefix->bits,
				   .ifa_flags = prefix->version == 4 ? 0 : IFA_F_NODAD };
	size_t len = prefix->version == 4 ? 4 : 16;
	char text[NETLINK_PREFIX_TEXT];
	struct request request;
	int index, r, rc = index_of(&index, name, err);

	if (rc != RC_OK)
		return rc;
	about.ifa_index = (unsigned)index;
	request = begin(type, flags, &about, sizeof(about));
	put_attribute(&request, IFA_LOCAL, prefix->ip, len);
	put_attribute(&request, IFA_ADDRESS, prefix->ip, len);
	r = change(&request);
	if (r == 0 || (type == RTM_DELADDR && r == EADDRNOTAVAIL))
		return RC_OK;
	netlink_prefix_print(text, prefix);
	return err_system(err, r, "%s %s: %s", name, text,
			  type == RTM_NEWADDR ? "adding it" : "removing it");
}

int netlink_add_address(const char *name, const struct netlink_prefix *prefix, struct err *err)
{
	return change_address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, name, prefix, err);
}

int netlink_remove_address(const char *name, const struct netlink_prefix *prefix, struct err *err)
{
	return change_address(RTM_DELADDR, 0, name, prefix, err);
}
