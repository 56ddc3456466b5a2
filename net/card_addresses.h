/*
 * Which addresses an instance's network card answers to: learned from the frames that the instance
 * itself sends, never from what anybody sends to it, so that they can be announced when it goes on
 * elsewhere.
 *
 * An instance says what its addresses are in ARP (sender fields, not of a probe) and neighbour
 * discovery (the target of an advertisement, the source of a solicitation or of a router's
 * advertisement). From other IP packets the source is taken for an address of its own if the
 * packet was not forwarded, as far as one can see: TTL or hop limit is 64, 128 or 255, what stacks
 * begin with, or the destination is a group that no router forwards to. Such an address gives way
 * to those that were said. Checksums are not looked at: a virtual card leaves them to the host.
 *
 * The instance is trusted with its own segment no more than its frames are: whatever it can make
 * us announce, it can announce itself. The table is bounded; the address not seen for longest goes.
 *
 * The table as it travels to the standby, little-endian: u8 how many, 3 bytes 0, then for each
 *    0  u8   4 or 6
 *    1  u8   flags: 1 router, 2 said (not only used)
 *    2  u8   VLAN tags, 0 to ETHERNET_TAGS_MAX; u8 0
 *    4  6 bytes MAC address
 *   10  u16  type, u16 control of the outer tag, the same of the inner one; 0 where there is none
 *   18  u16  0
 *   20  u32  seconds since it was seen
 *   24  16 bytes IP address; IPv4: 4, then 0
 */
#ifndef NET_CARD_ADDRESSES_H
#define NET_CARD_ADDRESSES_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"
#include "net/ethernet.h"

#define CARD_ADDRESSES_MAX 32 /* of one card; a server has 2 to 6, a host of containers some more */
#define CARD_ADDRESSES_RECORD ((size_t)40)
#define CARD_ADDRESSES_BYTES_MAX (4 + CARD_ADDRESSES_MAX * CARD_ADDRESSES_RECORD)
/*
 * Seen longer ago, it may be somebody else's by now: a neighbour that talks to it asks for it every
 * minute or so, and address leases are rarely shorter.
 */
#define CARD_ADDRESSES_STALE_NS (UINT64_C(3600) * 1000000000)

struct card_address {
	uint8_t version; /* 4 or 6 */
	uint8_t ip[16];	 /* IPv4: the first 4 */
	uint8_t mac[ETHERNET_MAC];
	struct ethernet_tags tags;
	bool router;	 /* neighbours use it as one: an advertisement that denies it undoes that */
	bool said;	 /* in ARP or neighbour discovery, or configured */
	bool configured; /* stays, whether seen or not */
	uint64_t seen_ns; /* monotonic */
};

/* Zero-initialise. */
struct card_addresses {
	struct card_address entry[CARD_ADDRESSES_MAX];
	uint8_t count, latest; /* latest: found last, looked at first */
};

/* A frame that the instance sent, of any length. */
void card_addresses_learn(struct card_addresses *table, const uint8_t *frame, size_t len,
			  uint64_t now_ns);

/* What a card can have as its own: no group, no loopback; of IPv4, the rest of the 16 bytes is 0. */
bool card_address_is_possible(uint8_t version, const uint8_t ip[16]);

/*
 * One that the operator configured. False: no address that a card can have, or CARD_ADDRESSES_MAX
 * are configured.
 */
bool card_addresses_add(struct card_addresses *table, const struct card_address *address);

/* Whether it is configured or was seen recently enough to be announced. */
bool card_address_is_current(const struct card_address *address, uint64_t now_ns);

/* Appends the table (without what is configured, or no longer current); false: the buffer failed. */
bool card_addresses_put(struct buf *payload, const struct card_addresses *table, uint64_t now_ns);

/*
 * Replaces all but the configured ones by what the other side has learned; RC_INVALID (and nothing
 * is changed) unless all of it is valid.
 */
int card_addresses_get(struct card_addresses *table, const uint8_t *payload, size_t len,
		       uint64_t now_ns, struct err *err);

#endif
