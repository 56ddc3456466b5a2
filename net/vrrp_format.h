/*
 * VRRP version 3 for IPv4 (RFC 9568, and 5798 before it): who has a group's addresses says so, to
 * 224.0.0.18, protocol 112, TTL 255. IPv6 addresses can go with such a group without being in its
 * packets, as keepalived's virtual_ipaddress_excluded has it. Big-endian:
 *
 *    0  u8   0x31: version 3, type 1 (advertisement)
 *    1  u8   group (virtual router id), 1 to 255
 *    2  u8   priority; 0: it gives the addresses up, 255: they are its own
 *    3  u8   how many addresses, 1 to VRRP_ADDRESSES_MAX
 *    4  u16  4 bits of any value, 12 bits: interval between advertisements, 10 ms each, not 0
 *    6  u16  Internet checksum
 *    8  the addresses, 4 bytes each; what follows them is not looked at, but summed up
 *
 * RFC 5798 can be read as wanting IPv6's pseudo-header in the sum, and keepalived reads it so;
 * RFC 9568 says that for IPv4 there is none (keepalived's v3_checksum_as_v2). Both are taken, and
 * who answers can do as the other did.
 */
#ifndef NET_VRRP_FORMAT_H
#define NET_VRRP_FORMAT_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VRRP_PROTOCOL 112
#define VRRP_TTL 255		/* nobody beyond a router can send with it */
#define VRRP_ADDRESSES_MAX 20	/* what keepalived puts into one group's packets at most */
#define VRRP_INTERVAL_MAX 0xfff /* in 10 ms */
#define VRRP_PACKET_MAX ((size_t)8 + VRRP_ADDRESSES_MAX * 4)
#define VRRP_DESTINATION UINT32_C(0xe0000012) /* 224.0.0.18 */

/* Addresses are numbers: 192.0.2.7 is 0xc0000207. */
struct vrrp_advert {
	uint8_t group, priority, count;
	uint16_t interval; /* in 10 ms */
	bool pseudo_header;
	uint32_t address[VRRP_ADDRESSES_MAX];
};

/* Writes a packet as `source` sends it; its length. The advert is ours, and valid. */
size_t vrrp_format_put(uint8_t out[VRRP_PACKET_MAX], const struct vrrp_advert *advert,
		       uint32_t source);

/*
 * Reads an IPv4 packet with its header, as a raw socket gives it. RC_INVALID unless it is as above;
 * RC_UNSUPPORTED for another version of VRRP; RC_LIMIT for more addresses.
 */
int vrrp_format_get(struct vrrp_advert *advert, uint32_t *source, const uint8_t *packet, size_t len,
		    struct err *err);

/* Whether both are about the same addresses, in any order. */
bool vrrp_format_same_addresses(const struct vrrp_advert *a, const struct vrrp_advert *b);

#endif
