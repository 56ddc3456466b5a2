#include "net/netlink.h"

#include "appliance/base/bytes.h"
#include "net/netlink_request.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NEWS_MAX 1024 /* taken in one go: more than a socket holds unless somebody adds to them */

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
	struct netlink_request request;
	union netlink_answer answer = { 0 };
	int r, rc = netlink_index(&info.ifi_index, name, err);

	if (rc != RC_OK)
		return rc;
	request = netlink_begin(RTM_GETLINK, 0, &info, sizeof(info));
	netlink_put_u32(&request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	r = netlink_ask(&request, &answer);
	if (r == 0 && !read_device(device, &answer.header, answer.bytes))
		r = EPROTO;
	return r == 0 ? RC_OK : err_system(err, r, "network device %s", name);
}

int netlink_watch(int *fd, bool addresses, struct err *err)
{
	struct sockaddr_nl groups = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };

	if (addresses)
		groups.nl_groups |= RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
				    RTMGRP_IPV6_ROUTE;
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
		      const union netlink_answer *answer)
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

/* The next piece of news; false: there is none, or (*lost: an errno value) it could not be told. */
static bool next_news(int fd, union netlink_answer *answer, int *lost)
{
	ssize_t r = recv(fd, answer, sizeof(*answer), MSG_TRUNC);

	if (r < 0 && errno == EAGAIN)
		return false;
	if (r < 0 && errno != EINTR)
		*lost = errno; /* ENOBUFS: there were too many */
	else if (r > (ssize_t)sizeof(*answer))
		*lost = EMSGSIZE;
	if (r < (ssize_t)NLMSG_HDRLEN || r > (ssize_t)sizeof(*answer) ||
	    answer->header.nlmsg_len > (size_t)r)
		answer->header.nlmsg_len = 0;
	return true;
}

int netlink_heard(int fd, struct netlink_device *device, unsigned index, bool *news,
		  struct err *err)
{
	union netlink_answer answer = { 0 };
	int i, lost = 0;

	*news = false;
	for (i = 0; i < NEWS_MAX && next_news(fd, &answer, &lost); i++)
		if (answer.header.nlmsg_len > 0)
			take_news(device, index, news, &answer);
	return lost == 0 ? RC_OK : err_system(err, lost, "news of network devices");
}

/* The index of the device that a message is about; 0: of none. */
static unsigned subject_of(const union netlink_answer *answer)
{
	const struct nlmsghdr *header = &answer->header;
	const uint8_t *body = answer->bytes + NLMSG_HDRLEN, *at = NULL;
	struct ifinfomsg info = { 0 };
	struct ifaddrmsg address;
	size_t len;

	switch (header->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		if (header->nlmsg_len >= NLMSG_LENGTH(sizeof(info)))
			memcpy(&info, body, sizeof(info));
		return info.ifi_family == AF_UNSPEC ? (unsigned)info.ifi_index : 0;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		if (header->nlmsg_len < NLMSG_LENGTH(sizeof(address)))
			return 0;
		memcpy(&address, body, sizeof(address));
		return address.ifa_index;
	case RTM_DELROUTE:
		at = netlink_attribute(header, answer->bytes, sizeof(struct rtmsg), RTA_OIF, &len);
		return at != NULL ? number_of(at, len) : 0;
	default:
		return 0;
	}
}

bool netlink_changed(int fd, unsigned index)
{
	union netlink_answer answer = { 0 };
	bool changed = false;
	int i, lost = 0;

	for (i = 0; i < NEWS_MAX && next_news(fd, &answer, &lost); i++) {
		if (answer.header.nlmsg_len > 0 && index != 0 && subject_of(&answer) == index)
			changed = true;
	}
	return changed || lost != 0;
}

struct ports {
	struct netlink_device *list;
	size_t max, count;
	unsigned bridge;
};

static int take_port(void *owner, const struct nlmsghdr *header, const uint8_t *message)
{
	struct ports *ports = owner;
	struct netlink_device device;

	if (header->nlmsg_type != RTM_NEWLINK)
		return 0;
	if (!read_device(&device, header, message))
		return EPROTO;
	if (device.bridge == ports->bridge && ports->count++ < ports->max)
		ports->list[ports->count - 1] = device;
	return 0;
}

int netlink_ports(struct netlink_device *list, size_t max, size_t *count, unsigned bridge,
		  struct err *err)
{
	const struct ifinfomsg info = { .ifi_family = AF_UNSPEC };
	struct netlink_request request =
		netlink_begin(RTM_GETLINK, NLM_F_DUMP, &info, sizeof(info));
	struct ports ports = { list, max, 0, bridge };
	int r;

	netlink_put_u32(&request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	netlink_put_u32(&request, IFLA_MASTER, bridge); /* older kernels tell of all */
	r = netlink_dump(&request, take_port, &ports);
	*count = ports.count;
	return r == 0 ? RC_OK : err_system(err, r, "the ports of a bridge");
}
