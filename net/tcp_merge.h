/*
 * Several TCP segments of one stream, which came one after the other, as the one large frame that
 * they would have been had their sender left segmentation to the network card: for the kernel, which
 * carries it through a bridge as one and splits it again where it has to.
 *
 * What comes out of that split is what went in, byte for byte: only segments of which that is true
 * are merged (all headers alike but for what counts on, one size but for the last, checksums right).
 * Everything else is left to be sent as it is. Sources: RFC 791, 8200, 9293; the kernel's
 * virtio_net_hdr (linux/virtio_net.h). No I/O, nothing allocated.
 */
#ifndef NET_TCP_MERGE_H
#define NET_TCP_MERGE_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TCP_MERGE_FRAMES 64
#define TCP_MERGE_BYTES ((size_t)14 + 65535) /* what an IPv4 header's length can say */

struct tcp_merge {
	uint8_t bytes[TCP_MERGE_BYTES]; /* headers of the first, then everybody's payload */
	size_t len;
	uint16_t count; /* segments in it; 0: none */
	/* private */
	size_t network, transport,
		headers;	/* offsets of the IP and TCP header; where payload begins */
	uint16_t size, next_id; /* payload of each; IPv4: identification of the next */
	uint32_t next_seq;
	bool closed; /* nothing can follow */
};

/* Begins with that frame; false: it is not one that others can be merged with. */
bool tcp_merge_begin(struct tcp_merge *merge, const uint8_t *frame, size_t len);
/* Adds the frame if it continues the one before; false: it has to go out after this one. */
bool tcp_merge_add(struct tcp_merge *merge, const uint8_t *frame, size_t len);
/*
 * Makes `bytes` a frame for the kernel, with what belongs in front of it. Nothing to split, if it
 * is one segment alone.
 */
void tcp_merge_finish(struct tcp_merge *merge, struct virtio_net_hdr *header);

#endif
