#include "net/address.h"

#include "appliance/base/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static int parse_port(uint16_t *port, const char *text, bool any_port)
{
	size_t len = strlen(text);
	long value;

	if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
		return RC_INVALID;
	value = strtol(text, NULL, 10);
	if (value > UINT16_MAX || (value == 0 && !any_port))
		return RC_INVALID;
	*port = (uint16_t)value;
	return RC_OK;
}

/* What ends in a number is no name, but one that was to be an IPv4 address. */
static bool is_bad_number(const struct address *address)
{
	const char *dot = strrchr(address->host, '.'),
		   *last = dot != NULL ? dot + 1 : address->host;
	struct sockaddr_storage unused;

	return *last != '\0' && last[strspn(last, "0123456789")] == '\0' &&
	       !address_to_socket(address, &unused);
}

/* A name has letters, digits, dots, hyphens (and underscores, seen in practice). */
static bool is_name(const char *host)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";

	return host[0] != '\0' && host[0] != '-' && host[strspn(host, allowed)] == '\0';
}

int address_parse(struct address *address, const char *text, bool any_port, struct err *err)
{
	const char *colon = strrchr(text, ':');
	bool brackets = text[0] == '[';
	struct sockaddr_storage unused;
	const char *host = text;
	size_t len;

	memset(address, 0, sizeof(*address));
	if (colon == NULL || parse_port(&address->port, colon + 1, any_port) != RC_OK)
		return err_set(err, RC_INVALID,
			       "\"%s\": no valid port at the end (\"192.0.2.7:7400\", "
			       "\"[2001:db8::7]:7400\")",
			       text);
	len = (size_t)(colon - text);
	if (brackets) {
		if (len < 2 || text[len - 1] != ']')
			return err_set(err, RC_INVALID, "\"%s\": '[' without ']' before the port",
				       text);
		host = text + 1;
		len -= 2;
	} else if (memchr(text, ':', len) != NULL) {
		return err_set(err, RC_INVALID,
			       "\"%s\": an IPv6 address needs brackets (\"[2001:db8::7]:7400\")",
			       text);
	}
	if (len > ADDRESS_HOST_MAX)
		return err_set(err, RC_INVALID, "the host's name is longer than %d characters",
			       ADDRESS_HOST_MAX);
	memcpy(address->host, host, len);
	if (brackets ? strchr(address->host, ':') == NULL || !address_to_socket(address, &unused) :
		       !is_name(address->host))
		return err_set(err, RC_INVALID, "\"%s\": \"%s\" is not %s", text, address->host,
			       brackets ? "an IPv6 address" : "a host's name or address");
	if (!brackets && is_bad_number(address))
		return err_set(err, RC_INVALID, "\"%s\": \"%s\" is not an IPv4 address", text,
			       address->host);
	return RC_OK;
}

bool address_to_socket(const struct address *address, struct sockaddr_storage *out)
{
	union {
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} socket_address;

	memset(&socket_address, 0, sizeof(socket_address));
	memset(out, 0, sizeof(*out));
	if (uv_ip4_addr(address->host, address->port, &socket_address.v4) != 0 &&
	    uv_ip6_addr(address->host, address->port, &socket_address.v6) != 0)
		return false;
	memcpy(out, &socket_address, sizeof(socket_address));
	return true;
}

bool address_is_loopback(const struct address *address)
{
	struct sockaddr_storage at;
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;

	if (!address_to_socket(address, &at))
		return strcasecmp(address->host, "localhost") == 0;
	if (at.ss_family == AF_INET) {
		memcpy(&v4, &at, sizeof(v4));
		return ntohl(v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	}
	memcpy(&v6, &at, sizeof(v6));
	return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) ||
	       (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) && v6.sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
}

bool address_is_any(const struct address *address)
{
	/* What the kernel takes for it: nothing, or nothing in IPv4 (::ffff:0.0.0.0). */
	static const struct in6_addr mapped = {
		.s6_addr = { [10] = 0xff, [11] = 0xff },
	};
	struct sockaddr_storage at;
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;

	if (!address_to_socket(address, &at))
		return false;
	if (at.ss_family == AF_INET) {
		memcpy(&v4, &at, sizeof(v4));
		return v4.sin_addr.s_addr == htonl(INADDR_ANY);
	}
	memcpy(&v6, &at, sizeof(v6));
	return IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr) || IN6_ARE_ADDR_EQUAL(&v6.sin6_addr, &mapped);
}

/* IPv4 in the form it has inside IPv6 (::ffff:192.0.2.7): a listener of both sees it either way. */
static uint64_t source_of_v4(uint32_t address)
{
	return UINT64_C(0xffff) << 32 | address;
}

uint64_t address_source(const struct sockaddr_storage *from)
{
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;

	if (from->ss_family == AF_INET) {
		memcpy(&v4, from, sizeof(v4));
		return source_of_v4(ntohl(v4.sin_addr.s_addr));
	}
	if (from->ss_family != AF_INET6)
		return 0;
	memcpy(&v6, from, sizeof(v6));
	if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
		return source_of_v4(bytes_get_be32(v6.sin6_addr.s6_addr + 12));
	return bytes_get_be64(v6.sin6_addr.s6_addr);
}

void address_set_port(struct sockaddr_storage *address, uint16_t port)
{
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;

	if (address->ss_family == AF_INET) {
		memcpy(&v4, address, sizeof(v4));
		v4.sin_port = htons(port);
		memcpy(address, &v4, sizeof(v4));
	} else {
		memcpy(&v6, address, sizeof(v6));
		v6.sin6_port = htons(port);
		memcpy(address, &v6, sizeof(v6));
	}
}

void address_print(char out[ADDRESS_TEXT_MAX], const struct sockaddr_storage *from)
{
	char host[INET6_ADDRSTRLEN];
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;

	if (from->ss_family == AF_INET) {
		memcpy(&v4, from, sizeof(v4));
		if (uv_ip4_name(&v4, host, sizeof(host)) == 0) {
			(void)snprintf(out, ADDRESS_TEXT_MAX, "%s:%u", host, ntohs(v4.sin_port));
			return;
		}
	}
	if (from->ss_family == AF_INET6) {
		memcpy(&v6, from, sizeof(v6));
		if (uv_ip6_name(&v6, host, sizeof(host)) == 0) {
			(void)snprintf(out, ADDRESS_TEXT_MAX, "[%s]:%u", host, ntohs(v6.sin6_port));
			return;
		}
	}
	(void)snprintf(out, ADDRESS_TEXT_MAX, "?");
}
