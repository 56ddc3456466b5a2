/*
 * The Internet checksum (RFC 1071), of one or several pieces: all but the last of even length.
 */
#ifndef NET_INET_CHECKSUM_H
#define NET_INET_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Adds a piece to `sum`, which is 0 or what the piece before gave; up to 64 KiB in all. */
uint32_t inet_checksum_add(uint32_t sum, const void *data, size_t len);

/* Adds the pseudo-header that ICMPv6, and VRRP, put in front; `size` of an address: 4 or 16. */
uint32_t inet_checksum_pseudo(uint32_t sum, const void *source, const void *destination,
			      size_t size, uint8_t protocol, size_t len);

/* What goes into the packet (big-endian). 0 when the sum was taken over an intact packet with its
 * checksum. */
uint16_t inet_checksum_end(uint32_t sum);

#endif
