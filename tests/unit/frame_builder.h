/*
 * Frames as an instance sends them, for the tests of what reads them.
 */
#ifndef TESTS_UNIT_FRAME_BUILDER_H
#define TESTS_UNIT_FRAME_BUILDER_H

#include "net/ethernet.h"

struct frame_builder {
	uint8_t data[256];
	size_t len;
};

/* Only the header; VLAN ids, outermost first, 0: no tag. */
void frame_builder_begin(struct frame_builder *frame, const uint8_t *source, uint16_t outer,
			 uint16_t inner, uint16_t type);
void frame_builder_arp(struct frame_builder *frame, uint16_t operation, const uint8_t *mac,
		       const char *sender, const char *target);
void frame_builder_ipv4(struct frame_builder *frame, const char *from, const char *to, uint8_t ttl);
/* With `body` after the header. */
void frame_builder_ipv6(struct frame_builder *frame, const char *from, const char *to,
			uint8_t hop_limit, uint8_t next, const void *body, size_t len);

/* The whole frame: a segment over IPv4, `len` zeros from that place of a stream on, to be merged with others. */
void frame_builder_segment(struct frame_builder *frame, uint32_t sequence, size_t len);

#endif
