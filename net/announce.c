#include "net/announce.h"

#include "appliance/base/bytes.h"
#include "appliance/base/clock.h"
#include "net/inet_checksum.h"

#include <assert.h>

#define ARP_LEN ((size_t)28)
#define RARP_REQUEST 3
#define IPV6_HEADER ((size_t)40)
#define ADVERTISEMENT_LEN ((size_t)32)
#define ICMPV6 58
#define NEIGHBOUR_ADVERTISEMENT 136
#define FLAG_ROUTER 0x80
#define FLAG_OVERRIDE 0x20
#define OPTION_TARGET_MAC 2

static const uint8_t everybody[ETHERNET_MAC] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
static const uint8_t all_nodes[16] = { 0xff, 2, [15] = 1 };
static const uint8_t all_nodes_mac[ETHERNET_MAC] = { 0x33, 0x33, 0, 0, 0, 1 };

static size_t write_arp(uint8_t *out, uint16_t type, uint16_t operation, const uint8_t *mac,
			const struct ethernet_tags *tags, const uint8_t *ip)
{
	static const uint8_t ethernet_and_ipv4[6] = { 0, 1, 8, 0, 6, 4 };
	size_t header;
	uint8_t *arp;

	memset(out, 0, ANNOUNCE_FRAME_MAX);
	header = ethernet_write_header(out, everybody, mac, tags, type);
	arp = out + header;
	memcpy(arp, ethernet_and_ipv4, sizeof(ethernet_and_ipv4));
	bytes_put_be16(arp + 6, operation);
	memcpy(arp + 8, mac, ETHERNET_MAC);
	memcpy(arp + 14, ip, 4);
	if (operation != ANNOUNCE_REQUEST)
		memcpy(arp + 18, mac, ETHERNET_MAC);
	memcpy(arp + 24, ip, 4);
	return header + ARP_LEN < ETHERNET_SHORTEST ? ETHERNET_SHORTEST : header + ARP_LEN;
}

size_t announce_arp(uint8_t out[ANNOUNCE_FRAME_MAX], const struct card_address *address,
		    enum announce_form form)
{
	assert(address->version == 4);
	return write_arp(out, ETHERNET_ARP, (uint16_t)form, address->mac, &address->tags,
			 address->ip);
}

size_t announce_rarp(uint8_t out[ANNOUNCE_FRAME_MAX], const uint8_t mac[ETHERNET_MAC],
		     const struct ethernet_tags *tags)
{
	static const uint8_t unknown[4];

	return write_arp(out, ETHERNET_RARP, RARP_REQUEST, mac, tags, unknown);
}

size_t announce_neighbour(uint8_t out[ANNOUNCE_FRAME_MAX], const struct card_address *address)
{
	uint8_t *ip, *icmp;
	uint32_t sum;
	size_t header;

	assert(address->version == 6);
	memset(out, 0, ANNOUNCE_FRAME_MAX);
	header = ethernet_write_header(out, all_nodes_mac, address->mac, &address->tags,
				       ETHERNET_IPV6);
	ip = out + header;
	ip[0] = 0x60;
	bytes_put_be16(ip + 4, ADVERTISEMENT_LEN);
	ip[6] = ICMPV6;
	ip[7] = 255;
	memcpy(ip + 8, address->ip, 16);
	memcpy(ip + 24, all_nodes, 16);
	icmp = ip + IPV6_HEADER;
	icmp[0] = NEIGHBOUR_ADVERTISEMENT;
	icmp[4] = (uint8_t)(FLAG_OVERRIDE | (address->router ? FLAG_ROUTER : 0));
	memcpy(icmp + 8, address->ip, 16);
	icmp[24] = OPTION_TARGET_MAC;
	icmp[25] = 1; /* 8 bytes */
	memcpy(icmp + 26, address->mac, ETHERNET_MAC);
	sum = inet_checksum_pseudo(0, ip + 8, ip + 24, 16, ICMPV6, ADVERTISEMENT_LEN);
	bytes_put_be16(icmp + 2,
		       inet_checksum_end(inet_checksum_add(sum, icmp, ADVERTISEMENT_LEN)));
	return header + IPV6_HEADER + ADVERTISEMENT_LEN;
}

unsigned announce_card(const struct card_addresses *table, const uint8_t *mac, uint64_t now_ns,
		       void (*emit)(void *owner, const uint8_t *frame, size_t len), void *owner)
{
	static const struct ethernet_tags untagged;
	uint8_t frame[ANNOUNCE_FRAME_MAX], i;
	bool mac_heard = mac == NULL;
	unsigned count = 0;

	for (i = 0; i < table->count; i++) {
		const struct card_address *address = &table->entry[i];

		if (!card_address_is_current(address, now_ns))
			continue;
		mac_heard = mac_heard || memcmp(address->mac, mac, ETHERNET_MAC) == 0;
		if (address->version == 4) {
			emit(owner, frame, announce_arp(frame, address, ANNOUNCE_REQUEST));
			emit(owner, frame, announce_arp(frame, address, ANNOUNCE_REPLY));
			count += 2;
		} else {
			emit(owner, frame, announce_neighbour(frame, address));
			count++;
		}
	}
	if (!mac_heard) {
		emit(owner, frame, announce_rarp(frame, mac, &untagged));
		count++;
	}
	return count;
}

/* ---- when -------------------------------------------------------------------------------------*/

/* Milliseconds from one round to the next. */
static const uint16_t pauses_ms[] = { 100, 200, 700, 2000, 7000 };
#define PAUSE_AFTERWARDS_MS 60000
#define PAUSES (sizeof(pauses_ms) / sizeof(pauses_ms[0]))

static uint64_t pause_ns(unsigned sent)
{
	unsigned ms = sent <= PAUSES ? pauses_ms[sent - 1] : PAUSE_AFTERWARDS_MS;

	return ms * CLOCK_NS_PER_MS;
}

struct announce_schedule announce_begin(uint64_t now_ns)
{
	return (struct announce_schedule){ .next_ns = now_ns };
}

bool announce_take(struct announce_schedule *schedule, uint64_t now_ns)
{
	if (now_ns < schedule->next_ns)
		return false;
	do {
		if (schedule->sent <= PAUSES)
			schedule->sent++;
		schedule->next_ns += pause_ns(schedule->sent);
	} while (schedule->next_ns <= now_ns);
	return true;
}
