#include "net/netlink.h"
#include "net/netlink_request.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

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

bool netlink_prefix_is_network(const struct netlink_prefix *prefix)
{
	const unsigned bytes = prefix->version == 4 ? 4 : 16;

	for (unsigned bit = prefix->bits; bit < bytes * 8; bit++)
		if (prefix->ip[bit / 8] & 0x80 >> bit % 8)
			return false;
	return true;
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

/*
 * Of IPv4, the kernel removes the first that has that local address, whatever its prefix, and a device
 * can have it with several. Of IPv6 it has it once, and the kernel wants to be told the right length.
 */
int netlink_remove_address(const char *name, const struct netlink_prefix *prefix, struct err *err)
{
	struct ifaddrmsg about = { .ifa_family = netlink_family(prefix) };
	struct netlink_request request;
	int index, r, rc = netlink_index(&index, name, err), count = 0;

	if (rc != RC_OK)
		return rc;
	about.ifa_index = (unsigned)index;
	do {
		r = prefix->version == 6 ? find_bits(&about, prefix) : 0;
		if (r != 0)
			break;
		request = netlink_begin(RTM_DELADDR, 0, &about, sizeof(about));
		netlink_put_address(&request, IFA_LOCAL, prefix);
		r = netlink_change(&request);
	} while (r == 0 && ++count < REMOVALS_MAX);
	if (r == EADDRNOTAVAIL)
		return RC_OK;
	return address_error(name, prefix, "removing it", r != 0 ? r : EBUSY, err);
}
