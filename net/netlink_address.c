#include "net/netlink.h"
#include "net/netlink_request.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REMOVALS_MAX 256 /* of one address, with other prefixes; beyond, somebody puts it back */

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

/* Every bit beyond the prefix's length is so. */
static bool ends_with(const struct netlink_prefix *prefix, bool set)
{
	const unsigned bytes = prefix->version == 4 ? 4 : 16;

	for (unsigned bit = prefix->bits; bit < bytes * 8; bit++)
		if (((prefix->ip[bit / 8] & 0x80 >> bit % 8) != 0) != set)
			return false;
	return true;
}

bool netlink_prefix_is_network(const struct netlink_prefix *prefix)
{
	return ends_with(prefix, false);
}

bool netlink_prefix_is_for_all(const struct netlink_prefix *prefix)
{
	if (prefix->bits + 2 > (prefix->version == 4 ? 32 : 128))
		return false;
	return ends_with(prefix, false) || (prefix->version == 4 && ends_with(prefix, true));
}

uint8_t netlink_family(const struct netlink_prefix *prefix)
{
	return prefix->version == 4 ? AF_INET : AF_INET6;
}

void netlink_put_address(struct netlink_request *request, uint16_t type,
			 const struct netlink_prefix *prefix)
{
	netlink_put(request, type, prefix->ip, prefix->version == 4 ? 4 : 16);
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
	struct ifaddrmsg about = { .ifa_family = netlink_family(prefix),
				   .ifa_prefixlen = prefix->bits,
				   .ifa_flags = prefix->version == 4 ? 0 : IFA_F_NODAD };
	struct netlink_request request;
	int index, r, rc = netlink_index(&index, name, err);

	if (rc != RC_OK)
		return rc;
	about.ifa_index = (unsigned)index;
	request = netlink_begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &about, sizeof(about));
	netlink_put_address(&request, IFA_LOCAL, prefix);
	netlink_put_address(&request, IFA_ADDRESS, prefix);
	r = netlink_change(&request);
	return r == 0 ? RC_OK : address_error(name, prefix, "adding it", r, err);
}

struct found {
	struct netlink_prefix *list;
	size_t max, count;
	unsigned index;
};

static int take_address(void *owner, const struct nlmsghdr *header, const uint8_t *message)
{
	struct found *found = owner;
	struct netlink_prefix prefix = { 0 };
	struct ifaddrmsg about;
	const uint8_t *ip;
	size_t len = 0;

	if (header->nlmsg_type != RTM_NEWADDR)
		return 0;
	if (header->nlmsg_len < NLMSG_LENGTH(sizeof(about)))
		return EPROTO;
	memcpy(&about, message + NLMSG_HDRLEN, sizeof(about));
	ip = netlink_attribute(header, message, sizeof(about), IFA_LOCAL, &len);
	if (ip == NULL) /* of IPv6 there is no other end */
		ip = netlink_attribute(header, message, sizeof(about), IFA_ADDRESS, &len);
	prefix.version = about.ifa_family == AF_INET ? 4 : 6;
	prefix.bits = about.ifa_prefixlen;
	if (about.ifa_index != found->index || ip == NULL ||
	    len != (prefix.version == 4 ? 4u : 16u))
		return 0;
	memcpy(prefix.ip, ip, len);
	if (found->count++ < found->max)
		found->list[found->count - 1] = prefix;
	return 0;
}

int netlink_addresses(struct netlink_prefix *list, size_t max, size_t *count, unsigned index,
		      struct err *err)
{
	const struct ifaddrmsg about = { .ifa_family = AF_UNSPEC, .ifa_index = index };
	struct netlink_request request =
		netlink_begin(RTM_GETADDR, NLM_F_DUMP, &about, sizeof(about));
	struct found found = { list, max, 0, index };
	int r = netlink_dump(&request, take_address, &found);

	*count = found.count;
	return r == 0 ? RC_OK : err_system(err, r, "the addresses of a network device");
}

static int find_bits(struct ifaddrmsg *about, const struct netlink_prefix *prefix)
{
	struct netlink_request request = netlink_begin(RTM_GETADDR, 0, about, sizeof(*about));
	union netlink_answer answer = { 0 };
	int r;

	netlink_put_address(&request, IFA_ADDRESS, prefix);
	r = netlink_ask(&request, &answer);
	if (r != 0)
		return r;
	if (answer.header.nlmsg_type != RTM_NEWADDR ||
	    answer.header.nlmsg_len < NLMSG_LENGTH(sizeof(*about)))
		return EPROTO;
	memcpy(about, answer.bytes + NLMSG_HDRLEN, sizeof(*about));
	return 0;
}

/* "0" or "1"; what it was, 0: it cannot be had. */
static char promote_secondaries(const char *name, char wanted)
{
	char path[80], was = 0;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/promote_secondaries", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (pread(fd, &was, 1, 0) != 1 || (was != wanted && pwrite(fd, &wanted, 1, 0) != 1))
		was = 0;
	(void)close(fd);
	return was;
}

/*
 * Of IPv4, the kernel removes the first that has that local address, whatever its prefix, and a device
 * can have it with several. Of IPv6 it has it once, and the kernel wants to be told the right length.
 */
static int remove_all(unsigned index, const struct netlink_prefix *prefix)
{
	struct ifaddrmsg about = { .ifa_family = netlink_family(prefix), .ifa_index = index };
	struct netlink_request request;
	int r, count = 0;

	do {
		r = prefix->version == 6 ? find_bits(&about, prefix) : 0;
		if (r != 0)
			break;
		request = netlink_begin(RTM_DELADDR, 0, &about, sizeof(about));
		netlink_put_address(&request, IFA_LOCAL, prefix);
		r = netlink_change(&request);
	} while (r == 0 && ++count < REMOVALS_MAX);
	return r != 0 ? r : EBUSY;
}

int netlink_remove_address(const char *name, const struct netlink_prefix *prefix, struct err *err)
{
	int index, r, rc = netlink_index(&index, name, err);
	char promoted = 0;

	if (rc != RC_OK)
		return rc;
	if (prefix->version == 4)
		promoted = promote_secondaries(name, '1');
	r = remove_all((unsigned)index, prefix);
	if (promoted == '0')
		(void)promote_secondaries(name, '0');
	return r == EADDRNOTAVAIL ? RC_OK : address_error(name, prefix, "removing it", r, err);
}
