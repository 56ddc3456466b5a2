#include "tests/unit/frame_builder.h"

#include "appliance/base/bytes.h"
#include "net/inet_checksum.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void put(struct frame_builder *frame, const void *data, size_t len)
{
	assert_true(frame->len + len <= sizeof(frame->data));
	memcpy(frame->data + frame->len, data, len);
	frame->len += len;
}

static void put_ip(struct frame_builder *frame, int family, const char *text)
{
	uint8_t ip[16];

	assert_int_equal(inet_pton(family, text, ip), 1);
	put(frame, ip, family == AF_INET ? 4 : 16);
}

void frame_builder_begin(struct frame_builder *frame, const uint8_t *source, uint16_t outer,
			 uint16_t inner, uint16_t type)
{
	static const uint8_t peer[ETHERNET_MAC] = { 2, 0, 0, 0, 0, 0x99 };
	struct ethernet_tags tags = { 0 };

	if (outer != 0)
		tags.tag[tags.count++] =
			(struct ethernet_tag){ inner != 0 ? ETHERNET_SERVICE_VLAN : ETHERNET_VLAN,
					       outer };
	if (inner != 0)
		tags.tag[tags.count++] = (struct ethernet_tag){ ETHERNET_VLAN, inner };
	memset(frame, 0, sizeof(*frame));
	frame->len = ethernet_write_header(frame->data, peer, source, &tags, type);
}

void frame_builder_arp(struct frame_builder *frame, uint16_t operation, const uint8_t *mac,
		       const char *sender, const char *target)
{
	static const uint8_t start[6] = { 0, 1, 8, 0, 6, 4 }, none[ETHERNET_MAC];
	uint8_t stored[2];

	put(frame, start, sizeof(start));
	bytes_put_be16(stored, operation);
	put(frame, stored, sizeof(stored));
	put(frame, mac, ETHERNET_MAC);
	put_ip(frame, AF_INET, sender);
	put(frame, none, ETHERNET_MAC);
	put_ip(frame, AF_INET, target);
}

void frame_builder_ipv4(struct frame_builder *frame, const char *from, const char *to, uint8_t ttl)
{
	const uint8_t start[12] = { 0x45, [3] = 20, [8] = ttl, [9] = 17 };

	put(frame, start, sizeof(start));
	put_ip(frame, AF_INET, from);
	put_ip(frame, AF_INET, to);
}

void frame_builder_ipv6(struct frame_builder *frame, const char *from, const char *to,
			uint8_t hop_limit, uint8_t next, const void *body, size_t len)
{
	const uint8_t start[8] = { 0x60, [5] = (uint8_t)len, [6] = next, [7] = hop_limit };

	put(frame, start, sizeof(start));
	put_ip(frame, AF_INET6, from);
	put_ip(frame, AF_INET6, to);
	put(frame, body, len);
}

void frame_builder_segment(struct frame_builder *frame, uint32_t sequence, size_t len)
{
	static const uint8_t source[ETHERNET_MAC] = { 2, 0, 0, 0, 0, 1 };
	uint8_t tcp[20 + 128] = { [1] = 80, [3] = 81, [12] = 5 << 4, [13] = 0x10 };
	uint8_t *ip = frame->data + 14;

	assert_true(len <= sizeof(tcp) - 20);
	frame_builder_begin(frame, source, 0, 0, 0x0800);
	frame_builder_ipv4(frame, "10.0.0.1", "10.0.0.2", 64);
	bytes_put_be16(ip + 2, (uint16_t)(40 + len));
	bytes_put_be16(ip + 4, (uint16_t)(sequence / len)); /* counts on */
	ip[9] = 6;
	bytes_put_be16(ip + 10, inet_checksum_end(inet_checksum_add(0, ip, 20)));
	bytes_put_be32(tcp + 4, sequence);
	bytes_put_be16(tcp + 16, inet_checksum_end(inet_checksum_add(
					 inet_checksum_pseudo(0, ip + 12, ip + 16, 4, 6, 20 + len),
					 tcp, 20 + len)));
	put(frame, tcp, 20 + len);
}
