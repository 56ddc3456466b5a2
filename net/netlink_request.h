/*
 * A request to the kernel by rtnetlink, and its answer. Private to netlink*.c.
 *
 * Requests to the kernel: a header, a struct that the request's kind has, attributes (length, type,
 * data, each padded to 4 bytes; some hold others). The answer is an error number, 0 for success, or
 * the device that was asked for, or (a dump) many of them, several to a datagram, up to a message
 * that says so. An answer is told from others' by its sequence number.
 */
#ifndef NET_NETLINK_REQUEST_H
#define NET_NETLINK_REQUEST_H

#include "net/netlink.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <stdint.h>

struct netlink_request {
	union {
		struct nlmsghdr header;
		uint8_t bytes[512]; /* the largest here takes some 120 */
	};
	size_t len;
};

/* The description of a device takes 1 to 2 KiB without its counters. */
union netlink_answer {
	struct nlmsghdr header;
	uint8_t bytes[8192];
};

struct netlink_request netlink_begin(uint16_t type, unsigned flags, const void *body, size_t len);
void netlink_put(struct netlink_request *request, uint16_t attribute, const void *data, size_t len);
void netlink_put_u32(struct netlink_request *request, uint16_t attribute, uint32_t value);
void netlink_put_address(struct netlink_request *request, uint16_t attribute,
			 const struct netlink_prefix *prefix);
uint8_t netlink_family(const struct netlink_prefix *prefix);

/* Sends it over a socket that the caller closes, also after a failure unless *fd is -1. 0 or an errno value, as below. */
int netlink_send(struct netlink_request *request, int *fd);
/* A datagram with an answer to it. */
int netlink_receive(int fd, union netlink_answer *answer, size_t *len);
/* What a message says has gone wrong, 0 for nothing. */
int netlink_refusal(const struct nlmsghdr *header, const uint8_t *message);
/* All of that, for one answer. */
int netlink_ask(struct netlink_request *request, union netlink_answer *answer);
/* A dump: `take` gets each message of the answer; what is not 0 (an errno value) ends it. */
int netlink_dump(struct netlink_request *request,
		 int (*take)(void *owner, const struct nlmsghdr *header, const uint8_t *message),
		 void *owner);
/* Asks for a change. */
int netlink_change(struct netlink_request *request);

/*
 * The first attribute of a type behind a message's `body` bytes, and its length; NULL: there is
 * none. `message` has as many bytes as its header says.
 */
const uint8_t *netlink_attribute(const struct nlmsghdr *header, const uint8_t *message, size_t body,
				 unsigned type, size_t *len);

/* The index of the device of that name. */
int netlink_index(int *index, const char *name, struct err *err);

#endif
