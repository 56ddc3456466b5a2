/*
 * One Ethernet frame: its addresses, VLAN tags and type; nothing of it is copied. The tags are
 * those of 802.1Q (one) and QinQ (two, with 0x88a8 or the older 0x9100 or 0x8100 outside). A third
 * tag is not looked behind: it is then the frame's type. Offsets: destination 0, source 6, each tag
 * 4 bytes from 12 on (type, then priority and VLAN id), type, payload; numbers big-endian.
 */
#ifndef NET_ETHERNET_H
#define NET_ETHERNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ETHERNET_MAC 6
#define ETHERNET_HEADER ((size_t)14)
#define ETHERNET_TAG ((size_t)4)
#define ETHERNET_TAGS_MAX 2
#define ETHERNET_SHORTEST ((size_t)60) /* on a cable, without its checksum; filled up with zeros */
#define ETHERNET_IPV4 0x0800
#define ETHERNET_ARP 0x0806
#define ETHERNET_RARP 0x8035
#define ETHERNET_IPV6 0x86dd
#define ETHERNET_VLAN 0x8100
#define ETHERNET_SERVICE_VLAN 0x88a8
#define ETHERNET_OLD_SERVICE_VLAN 0x9100

struct ethernet_tag {
	uint16_t type;	  /* one of the three above */
	uint16_t control; /* priority (3 bits), drop eligible (1), VLAN id (12) */
};

/* Outermost first. */
struct ethernet_tags {
	uint8_t count;
	struct ethernet_tag tag[ETHERNET_TAGS_MAX];
};

struct ethernet_frame {
	const uint8_t *destination, *source; /* ETHERNET_MAC bytes each */
	struct ethernet_tags tags;
	uint16_t type; /* of the payload; below 0x600 it is a length, as of old */
	const uint8_t *payload;
	size_t len; /* of the payload, with what it may have been filled up with */
};

/* False: too short for its addresses, tags and type. */
bool ethernet_read(struct ethernet_frame *frame, const uint8_t *data, size_t len);

/* Whether that type is a tag's. */
bool ethernet_is_tag(uint16_t type);

/* One station's own address: neither a group's nor zero. */
bool ethernet_is_station(const uint8_t mac[ETHERNET_MAC]);

/* "52:54:00:12:34:56", in letters of either case. False: it is nothing else. */
bool ethernet_parse_mac(uint8_t mac[ETHERNET_MAC], const char *text);

/* The same VLAN, whatever the priority. */
bool ethernet_same_vlan(const struct ethernet_tags *a, const struct ethernet_tags *b);

/*
 * Writes addresses, tags and type to `out` (room for ETHERNET_HEADER + 2 * ETHERNET_TAG); how many
 * bytes that is.
 */
size_t ethernet_write_header(uint8_t *out, const uint8_t destination[ETHERNET_MAC],
			     const uint8_t source[ETHERNET_MAC], const struct ethernet_tags *tags,
			     uint16_t type);

#endif
