/*
 * Requests to the kernel: a header, a struct that the request's kind has, attributes (length, type,
 * data, each padded to 4 bytes; some hold others). The answer is an error number, 0 for success, or
 * the device that was asked for, or (a dump) many of them, several to a datagram, up to a message
 * that says so. An answer is told from others' by its sequence number.
 */
#include "net/netlink.h"

#include "appliance/base/bytes.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
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
#define NEWS_MAX 1024 /* taken in one go: more than a socket holds unless somebody adds to them */
#define REMOVALS_MAX 256 /* of one address, with other prefixes; beyond, somebody puts it back */

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

/* A datagram with an answer to our request; 0 or an errno value. */
static int receive(int fd, union answer *answer, size_t *len)
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

/* What a message says has gone wrong, 0 for nothing. A mere confirmation is a struct nlmsgerr. */
static int refusal(const struct nlmsghdr *header, const uint8_t *message)
{
	struct nlmsgerr refusal;

	if (header->nlmsg_type != NLMSG_ERROR)
		return 0;
	if (header->nlmsg_len < NLMSG_LENGTH(sizeof(refusal)))
		return EPROTO;
	memcpy(&refusal, message + NLMSG_HDRLEN, sizeof(refusal));
	return -refusal.error;
}

/* Sends it over a socket that the caller closes, also after a failure unless *fd is -1. */
static int send_request(struct request *request, int *fd)
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

static int ask(struct request *request, union answer *answer)
{
	size_t len;
	int fd, r = send_request(request, &fd);

	if (r == 0)
		r = receive(fd, answer, &len);
	if (r == 0)
		r = refusal(&answer->header, answer->bytes);
	if (fd >= 0)
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

/* Calls back for each attribute; false: they do not fit into what holds them. */
static bool each_attribute(struct netlink_device *device, struct cursor c,
			   void (*take)(struct netlink_device *device, unsigned type,
					const uint8_t *data, size_t len))
{
	struct rtattr head;
	const uint8_t *at;

	while (c.left >= sizeof(head)) {
		memcpy(&head, c.at, sizeof(head));
		at = cursor_bytes(&c, head.rta_len);
		if (at == NULL || head.rta_len < sizeof(head))
			return false;
		take(device, head.rta_type & (unsigned)NLA_TYPE_MASK, at + sizeof(head),
		     head.rta_len - sizeof(head));
		if (c.left > 0)
			(void)cursor_bytes(&c, RTA_ALIGN(head.rta_len) - head.rta_len);
	}
	return true;
}

static uint32_t number_of(const uint8_t *data, size_t len)
{
	uint32_t value = 0;

	if (len == sizeof(value))
		memcpy(&value, data, sizeof(value));
	else if (len == 1)
		value = *data;
	return value;
}

static void take_kind_data(struct netlink_device *device, unsigned type, const uint8_t *data,
			   size_t len)
{
	uint32_t value = number_of(data, len);

	if (device->is_bridge && type == IFLA_BR_STP_STATE)
		device->stp = value != 0;
	if (device->is_bridge)
		return;
	if (type == IFLA_TUN_TYPE)
		device->is_tap = value == IFF_TAP;
	if (type == IFLA_TUN_VNET_HDR)
		device->vnet_hdr = value != 0;
	if (type == IFLA_TUN_MULTI_QUEUE)
		device->multi_queue = value != 0;
}

static bool is_text(const char *text, const uint8_t *data, size_t len)
{
	return len >= strlen(text) + 1 && memcmp(data, text, strlen(text) + 1) == 0;
}

/* The kernel tells the kind before what only that kind has. */
static void take_kind(struct netlink_device *device, unsigned type, const uint8_t *data, size_t len)
{
	if (type == IFLA_INFO_KIND) {
		device->is_bridge = is_text("bridge", data, len);
		device->is_tap = is_text("tun", data, len);
	}
	if (type == IFLA_INFO_DATA && (device->is_bridge || device->is_tap))
		(void)each_attribute(device, cursor_of(data, len), take_kind_data);
}

static void take_attribute(struct netlink_device *device, unsigned type, const uint8_t *data,
			   size_t len)
{
	if (type == IFLA_ADDRESS && len == ETHERNET_MAC)
		memcpy(device->mac, data, len);
	if (type == IFLA_IFNAME && len > 0 && len <= sizeof(device->name))
		memcpy(device->name, data, len - 1);
	if (type == IFLA_MTU)
		device->mtu = number_of(data, len);
	if (type == IFLA_MASTER)
		device->bridge = number_of(data, len);
	if (type == IFLA_LINKINFO)
		(void)each_attribute(device, cursor_of(data, len), take_kind);
}

static bool read_device(struct netlink_device *device, const struct nlmsghdr *header,
			const uint8_t *message)
{
	struct cursor c = cursor_of(message, header->nlmsg_len);
	struct ifinfomsg info;
	const uint8_t *at;

	(void)cursor_bytes(&c, NLMSG_HDRLEN);
	at = cursor_bytes(&c, sizeof(info));
	if (at == NULL || header->nlmsg_type != RTM_NEWLINK)
		return false;
	memcpy(&info, at, sizeof(info));
	*device = (struct netlink_device){ .index = (unsigned)info.ifi_index,
					   .up = (info.ifi_flags & IFF_UP) != 0 };
	return each_attribute(device, c, take_attribute);
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
	if (r == 0 && !read_device(device, &answer.header, answer.bytes))
		r = EPROTO;
	return r == 0 ? RC_OK : err_system(err, r, "network device %s", name);
}

int netlink_watch(int *fd, struct err *err)
{
	const struct sockaddr_nl groups = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };

	*fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (*fd >= 0 && bind(*fd, (const struct sockaddr *)&groups, sizeof(groups)) == 0)
		return RC_OK;
	(void)err_system(err, errno, "hearing of network devices");
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
	return RC_IO;
}

/* Of a device as such; what only a bridge says of its ports (AF_BRIDGE) is left out. */
static void take_news(struct netlink_device *device, unsigned index, bool *news,
		      const union answer *answer)
{
	struct netlink_device told;
	struct ifinfomsg info;

	if (answer->header.nlmsg_len < NLMSG_LENGTH(sizeof(info)))
		return;
	memcpy(&info, answer->bytes + NLMSG_HDRLEN, sizeof(info));
	if (info.ifi_family != AF_UNSPEC || (unsigned)info.ifi_index != index ||
	    !read_device(&told, &answer->header, answer->bytes))
		return;
	*device = told;
	*news = true;
}

int netlink_heard(int fd, struct netlink_device *device, unsigned index, bool *news,
		  struct err *err)
{
	union answer answer = { 0 };
	int i, lost = 0;
	ssize_t r;

	*news = false;
	for (i = 0; i < NEWS_MAX; i++) {
		r = recv(fd, &answer, sizeof(answer), MSG_TRUNC);
		if (r < 0 && errno == EAGAIN)
			break;
		if (r < 0 && errno != EINTR)
			lost = errno; /* ENOBUFS: there were too many */
		else if (r > (ssize_t)sizeof(answer))
			lost = EMSGSIZE;
		else if (r >= (ssize_t)NLMSG_HDRLEN && answer.header.nlmsg_len <= (size_t)r)
			take_news(device, index, news, &answer);
	}
	return lost == 0 ? RC_OK : err_system(err, lost, "news of network devices");
}

/* The devices of one datagram of a dump: 0 or an errno value; *done: it was the last. */
static int read_ports(struct cursor c, struct netlink_device *ports, size_t max, size_t *count,
		      unsigned bridge, bool *done)
{
	struct netlink_device device;
	struct nlmsghdr header;
	const uint8_t *at;
	int r;

	while (c.left >= sizeof(header)) {
		memcpy(&header, c.at, sizeof(header));
		at = cursor_bytes(&c, header.nlmsg_len);
		if (at == NULL || header.nlmsg_len < sizeof(header))
			return EPROTO;
		if (c.left > 0)
			(void)cursor_bytes(&c, NLMSG_ALIGN(header.nlmsg_len) - header.nlmsg_len);
		*done = *done || header.nlmsg_type == NLMSG_DONE;
		r = refusal(&header, at);
		if (r != 0)
			return r;
		if (header.nlmsg_type != RTM_NEWLINK)
			continue;
		if (!read_device(&device, &header, at))
			return EPROTO;
		if (device.bridge == bridge && (*count)++ < max)
			ports[*count - 1] = device;
	}
	return 0;
}

int netlink_ports(struct netlink_device *ports, size_t max, size_t *count, unsigned bridge,
		  struct err *err)
{
	const struct ifinfomsg info = { .ifi_family = AF_UNSPEC };
	struct request request = begin(RTM_GETLINK, NLM_F_DUMP, &info, sizeof(info));
	union answer answer = { 0 };
	bool done = false;
	size_t len = 0;
	int fd, r;

	*count = 0;
	put_u32(&request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	put_u32(&request, IFLA_MASTER, bridge); /* older kernels tell of all */
	r = send_request(&request, &fd);
	while (r == 0 && !done) {
		r = receive(fd, &answer, &len);
		if (r == 0)
			r = read_ports(cursor_of(answer.bytes, len), ports, max, count, bridge,
				       &done);
	}
	if (fd >= 0)
		(void)close(fd);
	return r == 0 ? RC_OK : err_system(err, r, "the ports of a bridge");
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

static uint8_t family_of(const struct netlink_prefix *prefix)
{
	return prefix->version == 4 ? AF_INET : AF_INET6;
}

static void put_address(struct request *request, uint16_t type, const struct netlink_prefix *prefix)
{
	put_attribute(request, type, prefix->ip, prefix->version == 4 ? 4 : 16);
}

static int address_error(const char *name, const struct netlink_prefix *prefix, const char *what,
			 int error, struct err *err)
{
	char text[NETLINK_PREFIX_TEXT];

	netlink_prefix_print(text, prefix);
	return err_system(err, error, "%s %s: %s", name, text, what);
}

int netlink_add_address(const char *name, const struct netlink_prefix *prefix, struct err *err)
{
	struct ifaddrmsg about = { .ifa_family = family_of(prefix),
				   .ifa_prefixlen = prefix->bits,
				   .ifa_flags = prefix->version == 4 ? 0 : IFA_F_NODAD };
	struct request request;
	int index, r, rc = index_of(&index, name, err);

	if (rc != RC_OK)
		return rc;
	about.ifa_index = (unsigned)index;
	request = begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &about, sizeof(about));
	put_address(&request, IFA_LOCAL, prefix);
	put_address(&request, IFA_ADDRESS, prefix);
	r = change(&request);
	return r == 0 ? RC_OK : address_error(name, prefix, "adding it", r, err);
}

static int find_bits(struct ifaddrmsg *about, const struct netlink_prefix *prefix)
{
	struct request request = begin(RTM_GETADDR, 0, about, sizeof(*about));
	union answer answer = { 0 };
	int r;

	put_address(&request, IFA_ADDRESS, prefix);
	r = ask(&request, &answer);
	if (r != 0)
		return r;
	if (answer.header.nlmsg_type != RTM_NEWADDR ||
	    answer.header.nlmsg_len < NLMSG_LENGTH(sizeof(*about)))
		return EPROTO;
	memcpy(about, answer.bytes + NLMSG_HDRLEN, sizeof(*about));
	return 0;
}

/*
 * Of IPv4, the kernel removes the first that has that local address, whatever its prefix, and a device
 * can have it with several. Of IPv6 it has it once, and the kernel wants to be told the right length.
 */
int netlink_remove_address(const char *name, const struct netlink_prefix *prefix, struct err *err)
{
	struct ifaddrmsg about = { .ifa_family = family_of(prefix) };
	struct request request;
	int index, r, rc = index_of(&index, name, err), count = 0;

	if (rc != RC_OK)
		return rc;
	about.ifa_index = (unsigned)index;
	do {
		r = prefix->version == 6 ? find_bits(&about, prefix) : 0;
		if (r != 0)
			break;
		request = begin(RTM_DELADDR, 0, &about, sizeof(about));
		put_address(&request, IFA_LOCAL, prefix);
		r = change(&request);
	} while (r == 0 && ++count < REMOVALS_MAX);
	if (r == EADDRNOTAVAIL)
		return RC_OK;
	return address_error(name, prefix, "removing it", r != 0 ? r : EBUSY, err);
}
