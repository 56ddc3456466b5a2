#include "net/tcp_merge.h"

#include "appliance/base/bytes.h"
#include "net/ethernet.h"
#include "net/inet_checksum.h"

#include <string.h>

#define IPV4_HEADER 20U /* without options: others are not merged */
#define IPV6_HEADER 40U
#define TCP_HEADER 20U
#define PROTOCOL_TCP 6
#define MORE_FRAGMENTS_OR_OFFSET 0x3fff
#define FLAG_PSH 0x08
#define FLAG_ACK 0x10
#define TCP_FLAGS 13 /* offset in the TCP header */
#define TCP_CHECKSUM 16

struct segment {
	const uint8_t *ip, *tcp, *payload;
	size_t headers, len; /* up to the payload; of the payload */
	bool v6;
};

static uint32_t pseudo_header(const uint8_t *ip, bool v6, size_t len)
{
	return v6 ? inet_checksum_pseudo(0, ip + 8, ip + 24, 16, PROTOCOL_TCP, len) :
		    inet_checksum_pseudo(0, ip + 12, ip + 16, 4, PROTOCOL_TCP, len);
}

static bool read_ipv4(struct segment *segment, size_t left)
{
	const uint8_t *ip = segment->ip;

	if (left < IPV4_HEADER || ip[0] != 0x45 || ip[9] != PROTOCOL_TCP ||
	    bytes_get_be16(ip + 2) != left ||
	    (bytes_get_be16(ip + 6) & MORE_FRAGMENTS_OR_OFFSET) != 0 ||
	    inet_checksum_end(inet_checksum_add(0, ip, IPV4_HEADER)) != 0)
		return false;
	segment->tcp = ip + IPV4_HEADER;
	return true;
}

static bool read_ipv6(struct segment *segment, size_t left)
{
	const uint8_t *ip = segment->ip;

	if (left < IPV6_HEADER || ip[0] >> 4 != 6 || ip[6] != PROTOCOL_TCP ||
	    bytes_get_be16(ip + 4) != left - IPV6_HEADER)
		return false;
	segment->v6 = true;
	segment->tcp = ip + IPV6_HEADER;
	return true;
}

/* A whole and intact segment that carries data, and nothing out of the ordinary. */
static bool read_segment(struct segment *segment, const uint8_t *frame, size_t len)
{
	size_t left, tcp_len, header;
	uint16_t type;
	bool good;

	if (len < ETHERNET_HEADER)
		return false;
	*segment = (struct segment){ .ip = frame + ETHERNET_HEADER };
	left = len - ETHERNET_HEADER;
	type = bytes_get_be16(frame + 12);
	good = type == ETHERNET_IPV4 ? read_ipv4(segment, left) :
	       type == ETHERNET_IPV6 ? read_ipv6(segment, left) :
				       false;
	if (!good)
		return false;
	tcp_len = len - (size_t)(segment->tcp - frame);
	if (tcp_len < TCP_HEADER)
		return false;
	header = (size_t)(segment->tcp[12] >> 4) * 4;
	if (header < TCP_HEADER || header >= tcp_len || (segment->tcp[12] & 0x0f) != 0 ||
	    (segment->tcp[TCP_FLAGS] & ~FLAG_PSH) != FLAG_ACK)
		return false;
	segment->payload = segment->tcp + header;
	segment->headers = (size_t)(segment->payload - frame);
	segment->len = tcp_len - header;
	return inet_checksum_end(inet_checksum_add(pseudo_header(segment->ip, segment->v6, tcp_len),
						   segment->tcp, tcp_len)) == 0;
}

static bool is_pushed(const struct segment *segment)
{
	return (segment->tcp[TCP_FLAGS] & FLAG_PSH) != 0;
}

bool tcp_merge_begin(struct tcp_merge *merge, const uint8_t *frame, size_t len)
{
	struct segment segment;

	merge->count = 0;
	if (len > sizeof(merge->bytes) || !read_segment(&segment, frame, len))
		return false;
	memcpy(merge->bytes, frame, len);
	merge->len = len;
	merge->count = 1;
	merge->network = (size_t)(segment.ip - frame);
	merge->transport = (size_t)(segment.tcp - frame);
	merge->headers = segment.headers;
	merge->size = (uint16_t)segment.len;
	merge->next_id = (uint16_t)(bytes_get_be16(segment.ip + 4) + 1);
	merge->next_seq = bytes_get_be32(segment.tcp + 4) + (uint32_t)segment.len;
	merge->closed = is_pushed(&segment);
	return true;
}

/* Everything in the headers that is the same in all segments of a split. */
static bool same_headers(const struct tcp_merge *merge, const struct segment *segment,
			 const uint8_t *frame)
{
	const uint8_t *ip = merge->bytes + merge->network, *tcp = merge->bytes + merge->transport;

	if (segment->headers != merge->headers || memcmp(frame, merge->bytes, ETHERNET_HEADER) != 0)
		return false;
	if (segment->v6 ?
		    memcmp(segment->ip, ip, 4) != 0 || memcmp(segment->ip + 6, ip + 6, 34) != 0 :
		    memcmp(segment->ip, ip, 2) != 0 || memcmp(segment->ip + 6, ip + 6, 4) != 0 ||
			    memcmp(segment->ip + 12, ip + 12, 8) != 0)
		return false;
	return memcmp(segment->tcp, tcp, 4) == 0 &&	      /* ports */
	       memcmp(segment->tcp + 8, tcp + 8, 5) == 0 &&   /* acknowledged, length */
	       memcmp(segment->tcp + 14, tcp + 14, 2) == 0 && /* window */
	       memcmp(segment->tcp + 18, tcp + 18, merge->headers - merge->transport - 18) == 0;
}

bool tcp_merge_add(struct tcp_merge *merge, const uint8_t *frame, size_t len)
{
	struct segment segment;

	if (merge->count == 0 || merge->closed || merge->count == TCP_MERGE_FRAMES ||
	    !read_segment(&segment, frame, len) || !same_headers(merge, &segment, frame) ||
	    segment.len > merge->size || merge->len + segment.len > sizeof(merge->bytes) ||
	    bytes_get_be32(segment.tcp + 4) != merge->next_seq ||
	    (!segment.v6 && bytes_get_be16(segment.ip + 4) != merge->next_id))
		return false;
	memcpy(merge->bytes + merge->len, segment.payload, segment.len);
	merge->len += segment.len;
	merge->count++;
	merge->next_id++;
	merge->next_seq += (uint32_t)segment.len;
	merge->closed = is_pushed(&segment) || segment.len < merge->size;
	if (is_pushed(&segment))
		merge->bytes[merge->transport + TCP_FLAGS] |=
			FLAG_PSH; /* a split has it in the last */
	return true;
}

void tcp_merge_finish(struct tcp_merge *merge, struct virtio_net_hdr *header)
{
	uint8_t *ip = merge->bytes + merge->network, *tcp = merge->bytes + merge->transport;
	const size_t ip_len = merge->len - merge->network, tcp_len = merge->len - merge->transport;
	const bool v6 = ip[0] >> 4 == 6;

	memset(header, 0, sizeof(*header));
	if (merge->count < 2)
		return;
	if (v6) {
		bytes_put_be16(ip + 4, (uint16_t)(ip_len - IPV6_HEADER));
	} else {
		bytes_put_be16(ip + 2, (uint16_t)ip_len);
		bytes_put_be16(ip + 10, 0);
		bytes_put_be16(ip + 10, inet_checksum_end(inet_checksum_add(0, ip, IPV4_HEADER)));
	}
	/* The kernel adds the rest, of each segment. */
	bytes_put_be16(tcp + TCP_CHECKSUM,
		       (uint16_t)~inet_checksum_end(pseudo_header(ip, v6, tcp_len)));
	header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header->gso_type = v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
	header->hdr_len = (uint16_t)merge->headers;
	header->gso_size = merge->size;
	header->csum_start = (uint16_t)merge->transport;
	header->csum_offset = TCP_CHECKSUM;
}
