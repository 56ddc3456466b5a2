#include "net/card_addresses.h"

#include "appliance/base/bytes.h"
#include "appliance/base/clock.h"

#define FLAG_ROUTER 1
#define FLAG_SAID 2

#define ARP_LEN ((size_t)28)
#define ARP_REQUEST 1
#define ARP_REPLY 2

#define IPV4_HEADER ((size_t)20)
#define IPV6_HEADER ((size_t)40)
#define ICMPV6 58
#define ROUTER_ADVERTISEMENT 134
#define NEIGHBOUR_SOLICITATION 135
#define NEIGHBOUR_ADVERTISEMENT 136
#define OPTION_SOURCE_MAC 1
#define OPTION_TARGET_MAC 2

/* ---- the table --------------------------------------------------------------------------------*/

/* Neither "this network", nor loopback, a group, reserved or the broadcast address. */
static bool can_be_own_v4(const uint8_t *ip)
{
	return ip[0] != 0 && ip[0] != 127 && ip[0] < 224;
}

/* Neither unspecified, nor loopback, IPv4 in disguise (all of ::/8) or a group. */
static bool can_be_own_v6(const uint8_t *ip)
{
	return ip[0] != 0 && ip[0] != 0xff;
}

bool card_address_is_possible(uint8_t version, const uint8_t ip[16])
{
	static const uint8_t none[12];

	if (version == 4)
		return can_be_own_v4(ip) && memcmp(ip + 4, none, 12) == 0;
	return version == 6 && can_be_own_v6(ip);
}

static bool is_valid(const struct card_address *address)
{
	return ethernet_is_station(address->mac) &&
	       card_address_is_possible(address->version, address->ip);
}

static bool is_same(const struct card_address *a, const struct card_address *b)
{
	return a->version == b->version && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0 &&
	       ethernet_same_vlan(&a->tags, &b->tags);
}

static struct card_address *find(struct card_addresses *table, const struct card_address *address)
{
	uint8_t i;

	if (table->latest < table->count && is_same(&table->entry[table->latest], address))
		return &table->entry[table->latest];
	for (i = 0; i < table->count; i++)
		if (is_same(&table->entry[i], address)) {
			table->latest = i;
			return &table->entry[i];
		}
	return NULL;
}

/* Whether `a` has to go before `b` does. */
static bool goes_first(const struct card_address *a, const struct card_address *b)
{
	if (a->configured != b->configured)
		return b->configured;
	if (a->said != b->said)
		return b->said;
	return a->seen_ns < b->seen_ns;
}

/* A place for it, NULL when all there are matter more. */
static struct card_address *place_for(struct card_addresses *table,
				      const struct card_address *address)
{
	struct card_address *worst = &table->entry[0];
	uint8_t i;

	if (table->count < CARD_ADDRESSES_MAX)
		return &table->entry[table->count++];
	for (i = 1; i < table->count; i++)
		if (goes_first(&table->entry[i], worst))
			worst = &table->entry[i];
	if (worst->configured || (worst->said && !address->said))
		return NULL;
	return worst;
}

/* What is seen of an address that is there. */
static void refresh(struct card_address *entry, const struct card_address *seen)
{
	entry->seen_ns = seen->seen_ns;
	if (entry->said && !seen->said)
		return;
	entry->said = seen->said;
	entry->router = seen->router;
	entry->tags = seen->tags;
	memcpy(entry->mac, seen->mac, ETHERNET_MAC);
}

static void note(struct card_addresses *table, const struct card_address *seen)
{
	struct card_address *entry = find(table, seen);

	if (entry != NULL) {
		refresh(entry, seen);
		return;
	}
	entry = place_for(table, seen);
	if (entry != NULL)
		*entry = *seen;
}

bool card_addresses_add(struct card_addresses *table, const struct card_address *address)
{
	struct card_address *entry = find(table, address);

	if (!is_valid(address))
		return false;
	if (entry == NULL)
		entry = place_for(table, &(struct card_address){ .said = true });
	if (entry == NULL)
		return false;
	*entry = *address;
	entry->configured = entry->said = true;
	return true;
}

bool card_address_is_current(const struct card_address *address, uint64_t now_ns)
{
	return address->configured || now_ns < address->seen_ns ||
	       now_ns - address->seen_ns < CARD_ADDRESSES_STALE_NS;
}

/* ---- learning ---------------------------------------------------------------------------------*/

static void note_address(struct card_addresses *table, struct card_address *seen, uint8_t version,
			 const uint8_t *ip, const uint8_t *mac)
{
	seen->version = version;
	memcpy(seen->ip, ip, version == 4 ? 4 : 16);
	memcpy(seen->mac, mac, ETHERNET_MAC);
	if (is_valid(seen))
		note(table, seen);
}

static void learn_arp(struct card_addresses *table, struct card_address *seen,
		      const struct ethernet_frame *frame)
{
	static const uint8_t ethernet_and_ipv4[6] = { 0, 1, 8, 0, 6, 4 };
	const uint8_t *arp = frame->payload;
	uint16_t operation;

	if (frame->len < ARP_LEN || memcmp(arp, ethernet_and_ipv4, 6) != 0)
		return;
	operation = bytes_get_be16(arp + 6);
	if (operation != ARP_REQUEST && operation != ARP_REPLY)
		return;
	seen->said = true;
	note_address(table, seen, 4, arp + 14, arp + 8); /* a probe's sender is 0.0.0.0 */
}

static bool is_first_hop(uint8_t hops)
{
	return hops == 64 || hops == 128 || hops == 255;
}

static void learn_ipv4(struct card_addresses *table, struct card_address *seen,
		       const struct ethernet_frame *frame)
{
	static const uint8_t local_groups[3] = { 224, 0, 0 };
	const uint8_t *ip = frame->payload;

	if (frame->len < IPV4_HEADER || ip[0] >> 4 != 4)
		return;
	if (is_first_hop(ip[8]) || memcmp(ip + 16, local_groups, 3) == 0)
		note_address(table, seen, 4, ip + 12, frame->source);
}

/* The MAC address in an option of that kind; what the frame says if there is none. */
static const uint8_t *option_mac(const uint8_t *options, size_t len, uint8_t kind,
				 const uint8_t *otherwise)
{
	while (len >= 8 && options[1] != 0) {
		size_t size = (size_t)options[1] * 8;

		if (options[0] == kind && options[1] == 1)
			return options + 2;
		if (size >= len)
			break;
		options += size;
		len -= size;
	}
	return otherwise;
}

/* Neighbour discovery, `len` bytes of ICMPv6 from `ip`'s sender; false: it is something else. */
static bool learn_discovery(struct card_addresses *table, struct card_address *seen,
			    const struct ethernet_frame *frame, const uint8_t *icmp, size_t len)
{
	const uint8_t *ip = frame->payload, *own = ip + 8, *mac = frame->source;

	if (len < 24 || ip[7] != 255 || icmp[1] != 0)
		return false;
	switch (icmp[0]) {
	case ROUTER_ADVERTISEMENT: /* options after the 16 bytes of its head */
		seen->router = true;
		mac = option_mac(icmp + 16, len - 16, OPTION_SOURCE_MAC, mac);
		break;
	case NEIGHBOUR_SOLICITATION: /* from ::, the address is not in use yet: not noted */
		mac = option_mac(icmp + 24, len - 24, OPTION_SOURCE_MAC, mac);
		break;
	case NEIGHBOUR_ADVERTISEMENT:
		seen->router = (icmp[4] & 0x80) != 0;
		own = icmp + 8;
		mac = option_mac(icmp + 24, len - 24, OPTION_TARGET_MAC, mac);
		break;
	default:
		return false;
	}
	seen->said = true;
	note_address(table, seen, 6, own, mac);
	return true;
}

static void learn_ipv6(struct card_addresses *table, struct card_address *seen,
		       const struct ethernet_frame *frame)
{
	const uint8_t *ip = frame->payload;
	size_t len;

	if (frame->len < IPV6_HEADER || ip[0] >> 4 != 6)
		return;
	len = bytes_get_be16(ip + 4);
	if (len > frame->len - IPV6_HEADER)
		len = frame->len - IPV6_HEADER;
	if (ip[6] == ICMPV6 && learn_discovery(table, seen, frame, ip + IPV6_HEADER, len))
		return;
	if (is_first_hop(ip[7]) || (ip[24] == 0xff && (ip[25] & 0xf) <= 2))
		note_address(table, seen, 6, ip + 8, frame->source);
}

void card_addresses_learn(struct card_addresses *table, const uint8_t *frame, size_t len,
			  uint64_t now_ns)
{
	struct card_address seen = { .seen_ns = now_ns };
	struct ethernet_frame read;

	if (!ethernet_read(&read, frame, len) || !ethernet_is_station(read.source))
		return;
	seen.tags = read.tags;
	if (read.type == ETHERNET_ARP)
		learn_arp(table, &seen, &read);
	else if (read.type == ETHERNET_IPV4)
		learn_ipv4(table, &seen, &read);
	else if (read.type == ETHERNET_IPV6)
		learn_ipv6(table, &seen, &read);
}

/* ---- between the sites ------------------------------------------------------------------------*/

static void put_record(uint8_t *out, const struct card_address *address, uint64_t now_ns)
{
	uint64_t age_ns = now_ns > address->seen_ns ? now_ns - address->seen_ns : 0;
	unsigned i;

	out[0] = address->version;
	out[1] = (uint8_t)((address->router ? FLAG_ROUTER : 0) | (address->said ? FLAG_SAID : 0));
	out[2] = address->tags.count;
	memcpy(out + 4, address->mac, ETHERNET_MAC);
	for (i = 0; i < address->tags.count; i++) {
		bytes_put_le16(out + 10 + i * ETHERNET_TAG, address->tags.tag[i].type);
		bytes_put_le16(out + 12 + i * ETHERNET_TAG, address->tags.tag[i].control);
	}
	bytes_put_le32(out + 20, (uint32_t)(age_ns / CLOCK_NS_PER_S));
	memcpy(out + 24, address->ip, sizeof(address->ip));
}

static bool is_to_send(const struct card_address *address, uint64_t now_ns)
{
	return !address->configured && card_address_is_current(address, now_ns);
}

bool card_addresses_put(struct buf *payload, const struct card_addresses *table, uint64_t now_ns)
{
	uint8_t i, count = 0, *out;
	size_t size;

	for (i = 0; i < table->count; i++)
		count = (uint8_t)(count + is_to_send(&table->entry[i], now_ns));
	size = 4 + count * CARD_ADDRESSES_RECORD;
	out = buf_extend(payload, size);
	if (out == NULL)
		return false;
	memset(out, 0, size);
	out[0] = count;
	out += 4;
	for (i = 0; i < table->count; i++)
		if (is_to_send(&table->entry[i], now_ns)) {
			put_record(out, &table->entry[i], now_ns);
			out += CARD_ADDRESSES_RECORD;
		}
	return true;
}

static bool get_tags(struct ethernet_tags *tags, struct cursor *c)
{
	unsigned i;

	for (i = 0; i < ETHERNET_TAGS_MAX; i++) {
		uint16_t type = cursor_le16(c), control = cursor_le16(c);

		if (i >= tags->count) {
			if (type != 0 || control != 0)
				return false;
			continue;
		}
		if (!ethernet_is_tag(type))
			return false;
		tags->tag[i] = (struct ethernet_tag){ type, control };
	}
	return true;
}

static bool get_record(struct card_address *address, struct cursor *c, uint64_t now_ns)
{
	const uint8_t *mac, *ip;
	uint64_t age_ns;
	uint8_t flags;

	*address = (struct card_address){ .version = cursor_u8(c) };
	flags = cursor_u8(c);
	address->router = (flags & FLAG_ROUTER) != 0;
	address->said = (flags & FLAG_SAID) != 0;
	address->tags.count = cursor_u8(c);
	if (flags > (FLAG_ROUTER | FLAG_SAID) || address->tags.count > ETHERNET_TAGS_MAX ||
	    cursor_u8(c) != 0)
		return false;
	mac = cursor_bytes(c, ETHERNET_MAC);
	if (mac == NULL || !get_tags(&address->tags, c) || cursor_le16(c) != 0)
		return false;
	age_ns = cursor_le32(c) * CLOCK_NS_PER_S;
	address->seen_ns = now_ns > age_ns ? now_ns - age_ns : 0;
	ip = cursor_bytes(c, sizeof(address->ip));
	if (ip == NULL)
		return false;
	memcpy(address->mac, mac, ETHERNET_MAC);
	memcpy(address->ip, ip, sizeof(address->ip));
	return is_valid(address);
}

/* The configured entries of a table. */
static void copy_configured(struct card_addresses *to, const struct card_addresses *from)
{
	uint8_t i;

	*to = (struct card_addresses){ 0 };
	for (i = 0; i < from->count; i++)
		if (from->entry[i].configured)
			to->entry[to->count++] = from->entry[i];
}

int card_addresses_get(struct card_addresses *table, const uint8_t *payload, size_t len,
		       uint64_t now_ns, struct err *err)
{
	struct cursor c = cursor_of(payload, len);
	struct card_addresses fresh;
	uint32_t count = cursor_le32(&c), i;

	if (c.short_read || count > CARD_ADDRESSES_MAX || c.left != count * CARD_ADDRESSES_RECORD)
		return err_set(err, RC_INVALID, "addresses: %zu bytes are no table of %u of them",
			       len, count);
	copy_configured(&fresh, table);
	for (i = 0; i < count; i++) {
		struct card_address address;

		if (!get_record(&address, &c, now_ns))
			return err_set(err, RC_INVALID, "addresses: entry %u is not valid", i);
		note(&fresh, &address);
	}
	*table = fresh;
	return RC_OK;
}
