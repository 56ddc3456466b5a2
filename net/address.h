/*
 * Addresses as people write them: "192.0.2.7:7400", "[2001:db8::7]:7400",
 * "standby.example.org:7400". No I/O: turning a name into numbers is the caller's business.
 */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include "appliance/base/err.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDRESS_HOST_MAX 253			 /* a DNS name's longest text */
#define ADDRESS_TEXT_MAX (INET6_ADDRSTRLEN + 32) /* brackets, a scope, a port and a NUL */

struct address {
	char host[ADDRESS_HOST_MAX + 1]; /* without brackets */
	uint16_t port;
};

/* RC_INVALID names what is wrong with it. Port 0 (any) is taken only with `any_port`. */
int address_parse(struct address *address, const char *text, bool any_port, struct err *err);

/*
 * The socket address if the host is a number (with "%scope" too for IPv6); false if it is a name.
 */
bool address_to_socket(const struct address *address, struct sockaddr_storage *out);

/* It is where one listens (0.0.0.0, ::, and however else that is written), and nobody can be reached. */
bool address_is_any(const struct address *address);

/* It is this machine itself, from wherever: 127.0.0.0/8, ::1, "localhost". */
bool address_is_loopback(const struct address *address);

/*
 * Who one sender can pass for: the IPv4 address, or the /64 of an IPv6 address, in which whoever
 * has one address has all. Equal numbers, equal sources; 0: neither.
 */
uint64_t address_source(const struct sockaddr_storage *from);

/* Of an IPv4 or IPv6 address. */
void address_set_port(struct sockaddr_storage *address, uint16_t port);

/* As text, with its port; "?" if it is neither IPv4 nor IPv6. */
void address_print(char out[ADDRESS_TEXT_MAX], const struct sockaddr_storage *from);

#endif
