/*
 * Telling a network where an instance's addresses are now: the frames, and when to send them. The
 * MAC addresses stay what they were, so switches have to learn a new port, and neighbours need to
 * learn something only where the MAC changes (addresses on the appliance's own interface).
 *
 * IPv4: a gratuitous ARP packet, sender and target address are the same, to everybody. Both forms:
 * the request is what RFC 5227 wants of an announcement, and RFC 826 makes every receiver that has
 * an entry take the sender's fields from it; some stacks update an entry from replies alone, so
 * the reply form follows, its target MAC the sender's (RFC 5944, 4.6; Linux counts it as gratuitous
 * only so). Neither makes an entry where there is none. IPv6: a neighbour advertisement to all
 * nodes that nobody asked for, with the override flag (RFC 4861, 7.2.6) and the router flag as the
 * instance itself says it, because hosts drop a router that denies to be one.
 *
 * RARP carries no IP address that anybody would take; it teaches the switches the MAC, for a card
 * of which no address is known. QEMU sends the same after a migration.
 */
#ifndef NET_ANNOUNCE_H
#define NET_ANNOUNCE_H

#include "net/card_addresses.h"

#define ANNOUNCE_FRAME_MAX ((size_t)94) /* header, two tags, IPv6, advertisement with its option */

enum announce_form { ANNOUNCE_REQUEST = 1, ANNOUNCE_REPLY = 2 };

/*
 * One frame each, in the address's VLAN, filled up to ETHERNET_SHORTEST; how long it is.
 * announce_arp() is for version 4, announce_neighbour() for version 6.
 */
size_t announce_arp(uint8_t out[ANNOUNCE_FRAME_MAX], const struct card_address *address,
		    enum announce_form form);
size_t announce_neighbour(uint8_t out[ANNOUNCE_FRAME_MAX], const struct card_address *address);
size_t announce_rarp(uint8_t out[ANNOUNCE_FRAME_MAX], const uint8_t mac[ETHERNET_MAC],
		     const struct ethernet_tags *tags);

/*
 * All that is to be said once about one card: `emit` gets every frame. `mac` is what the card is
 * configured with, NULL: not known; RARP is sent for it if no address with that MAC is current.
 * How many frames: at most 2 * CARD_ADDRESSES_MAX + 1.
 */
unsigned announce_card(const struct card_addresses *table, const uint8_t *mac, uint64_t now_ns,
		       void (*emit)(void *owner, const uint8_t *frame, size_t len), void *owner);

/*
 * When: at once, 100 ms, 300 ms, 1 s, 3 s and 10 s after the beginning, because the first ones get
 * lost where a port of a switch is still coming up; then every minute, less than the five minutes
 * for which switches remember, so that a silent instance stays found. Begin again when a partition
 * has healed: the far side heard nothing of the above. All times are monotonic.
 */
struct announce_schedule {
	uint64_t next_ns;
	unsigned sent; /* rounds, as far as they matter for the next pause */
};

struct announce_schedule announce_begin(uint64_t now_ns);

/* Whether a round is due; then it counts as sent. What was missed is not sent twice. */
bool announce_take(struct announce_schedule *schedule, uint64_t now_ns);

#endif
