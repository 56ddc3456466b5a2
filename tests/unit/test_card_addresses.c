#include "appliance/base/clock.h"
#include "net/card_addresses.h"
#include "tests/unit/frame_builder.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t mac[ETHERNET_MAC] = { 0x52, 0x54, 0, 1, 2, 3 };
static const uint8_t virtual_mac[ETHERNET_MAC] = { 0, 0, 0x5e, 0, 1, 9 };
static struct card_addresses table;
static struct frame_builder frame;
static uint64_t now;

static int set_up(void **state)
{
	(void)state;
	memset(&table, 0, sizeof(table));
	now = 1000 * CLOCK_NS_PER_S;
	return 0;
}

static void learn(void)
{
	card_addresses_learn(&table, frame.data, frame.len, now);
}

static struct card_address *entry_of(const char *text)
{
	uint8_t ip[16] = { 0 }, version = strchr(text, ':') != NULL ? 6 : 4, i;

	assert_int_equal(inet_pton(version == 6 ? AF_INET6 : AF_INET, text, ip), 1);
	for (i = 0; i < table.count; i++)
		if (table.entry[i].version == version && memcmp(table.entry[i].ip, ip, 16) == 0)
			return &table.entry[i];
	return NULL;
}

static void sends_arp(uint16_t operation, const uint8_t *sender_mac, const char *ip)
{
	frame_builder_begin(&frame, mac, 0, 0, ETHERNET_ARP);
	frame_builder_arp(&frame, operation, sender_mac, ip, "192.0.2.1");
	learn();
}

static void sends_ipv4(const char *from, const char *to, uint8_t ttl)
{
	frame_builder_begin(&frame, mac, 0, 0, ETHERNET_IPV4);
	frame_builder_ipv4(&frame, from, to, ttl);
	learn();
}

static void sends_icmpv6(const char *from, const uint8_t *body, size_t len)
{
	frame_builder_begin(&frame, mac, 0, 0, ETHERNET_IPV6);
	frame_builder_ipv6(&frame, from, "ff02::1", 255, 58, body, len);
	learn();
}

static void the_senders_fields_of_arp_are_learned(void **state)
{
	(void)state;
	sends_arp(1, mac, "192.0.2.9");
	sends_arp(2, virtual_mac, "192.0.2.10");
	assert_int_equal(table.count, 2);
	assert_memory_equal(entry_of("192.0.2.9")->mac, mac, ETHERNET_MAC);
	assert_memory_equal(entry_of("192.0.2.10")->mac, virtual_mac, ETHERNET_MAC);
	assert_true(entry_of("192.0.2.9")->said);
	assert_null(entry_of("192.0.2.1"));
}

static void arp_that_claims_nothing_is_ignored(void **state)
{
	static const uint8_t group[ETHERNET_MAC] = { 1, 0, 0x5e, 0, 0, 1 };
	size_t len;

	(void)state;
	sends_arp(1, mac, "0.0.0.0"); /* a probe */
	sends_arp(3, mac, "192.0.2.9");
	sends_arp(2, group, "192.0.2.9");
	sends_arp(2, mac, "224.0.0.5");
	sends_arp(2, mac, "255.255.255.255");
	sends_arp(2, mac, "127.0.0.1");
	frame_builder_begin(&frame, group, 0, 0, ETHERNET_ARP);
	frame_builder_arp(&frame, 1, mac, "192.0.2.9", "192.0.2.1");
	learn();
	frame_builder_begin(&frame, mac, 0, 0, ETHERNET_ARP);
	frame_builder_arp(&frame, 1, mac, "192.0.2.9", "192.0.2.1");
	for (len = 0; len < frame.len; len++)
		card_addresses_learn(&table, frame.data, len, now);
	frame.data[14 + 4] = 8; /* addresses of another length */
	learn();
	assert_int_equal(table.count, 0);
}

static void the_source_of_a_packet_is_learned_unless_it_was_forwarded(void **state)
{
	(void)state;
	sends_ipv4("192.0.2.9", "198.51.100.7", 64);
	sends_ipv4("203.0.113.5", "192.0.2.1", 63);
	sends_ipv4("203.0.113.6", "192.0.2.1", 127);
	sends_ipv4("192.0.2.10", "224.0.0.22", 1);
	sends_ipv4("192.0.2.11", "239.1.1.1", 1);
	sends_ipv4("0.0.0.0", "255.255.255.255", 64); /* asks for a lease */
	assert_int_equal(table.count, 2);
	assert_false(entry_of("192.0.2.9")->said);
	assert_non_null(entry_of("192.0.2.10"));
}

static void what_is_said_is_not_changed_by_what_is_used(void **state)
{
	(void)state;
	sends_arp(1, virtual_mac, "192.0.2.9");
	now += CLOCK_NS_PER_S;
	sends_ipv4("192.0.2.9", "192.0.2.1", 64);
	assert_memory_equal(entry_of("192.0.2.9")->mac, virtual_mac, ETHERNET_MAC);
	assert_true(entry_of("192.0.2.9")->said);
	assert_true(entry_of("192.0.2.9")->seen_ns == now);
	sends_arp(1, mac, "192.0.2.9");
	assert_memory_equal(entry_of("192.0.2.9")->mac, mac, ETHERNET_MAC);
	assert_int_equal(table.count, 1);
}

static void a_neighbour_advertisement_tells_target_mac_and_router(void **state)
{
	uint8_t body[40] = { 136, 0, 0, 0, 0xa0 };

	(void)state;
	assert_int_equal(inet_pton(AF_INET6, "2001:db8::9", body + 8), 1);
	body[24] = 14; /* an option in between */
	body[25] = 1;
	body[32] = 2;
	body[33] = 1;
	memcpy(body + 34, virtual_mac, ETHERNET_MAC);
	sends_icmpv6("fe80::9", body, sizeof(body));
	assert_int_equal(table.count, 1);
	assert_memory_equal(entry_of("2001:db8::9")->mac, virtual_mac, ETHERNET_MAC);
	assert_true(entry_of("2001:db8::9")->router);
	body[4] = 0x20;
	sends_icmpv6("fe80::9", body, 32); /* its option was cut off */
	assert_false(entry_of("2001:db8::9")->router);
	assert_memory_equal(entry_of("2001:db8::9")->mac, mac, ETHERNET_MAC);
}

static void a_solicitation_tells_its_source_but_not_an_address_being_tried(void **state)
{
	uint8_t body[32] = { 135 };

	(void)state;
	assert_int_equal(inet_pton(AF_INET6, "2001:db8::1", body + 8), 1);
	body[24] = 1;
	body[25] = 1;
	memcpy(body + 26, virtual_mac, ETHERNET_MAC);
	sends_icmpv6("2001:db8::9", body, sizeof(body));
	sends_icmpv6("::", body, sizeof(body));
	assert_int_equal(table.count, 1);
	assert_memory_equal(entry_of("2001:db8::9")->mac, virtual_mac, ETHERNET_MAC);
	assert_false(entry_of("2001:db8::9")->router);
}

static void a_routers_advertisement_makes_a_router(void **state)
{
	uint8_t body[24] = { 134, [16] = 1, [17] = 1 };

	(void)state;
	memcpy(body + 18, mac, ETHERNET_MAC);
	sends_icmpv6("fe80::9", body, sizeof(body));
	assert_true(entry_of("fe80::9")->router);
	frame_builder_begin(&frame, mac, 0, 0, ETHERNET_IPV6);
	frame_builder_ipv6(&frame, "fe80::9", "ff02::16", 1, 0, "", 0);
	learn();
	assert_true(entry_of("fe80::9")->router);
}

static void discovery_from_afar_and_damaged_options_do_no_harm(void **state)
{
	uint8_t body[40] = { 136 };

	(void)state;
	assert_int_equal(inet_pton(AF_INET6, "2001:db8::9", body + 8), 1);
	body[24] = 14; /* of length 0 */
	sends_icmpv6("fe80::9", body, sizeof(body));
	assert_memory_equal(entry_of("2001:db8::9")->mac, mac, ETHERNET_MAC);
	body[25] = 255;
	sends_icmpv6("fe80::9", body, sizeof(body));
	assert_int_equal(table.count, 1);
	assert_int_equal(inet_pton(AF_INET6, "2001:db8::a", body + 8), 1);
	frame_builder_begin(&frame, mac, 0, 0, ETHERNET_IPV6);
	frame_builder_ipv6(&frame, "2001:db8:1::5", "2001:db8::1", 254, 58, body, sizeof(body));
	learn();
	assert_int_equal(table.count, 1);
}

static void one_address_in_two_vlans_is_two(void **state)
{
	(void)state;
	frame_builder_begin(&frame, mac, 100, 0, ETHERNET_ARP);
	frame_builder_arp(&frame, 1, mac, "192.0.2.9", "192.0.2.1");
	learn();
	frame_builder_begin(&frame, mac, 0x6064, 0, ETHERNET_ARP); /* 100 with a priority */
	frame_builder_arp(&frame, 1, mac, "192.0.2.9", "192.0.2.1");
	learn();
	assert_int_equal(table.count, 1);
	frame_builder_begin(&frame, mac, 200, 100, ETHERNET_ARP);
	frame_builder_arp(&frame, 1, mac, "192.0.2.9", "192.0.2.1");
	learn();
	assert_int_equal(table.count, 2);
	assert_int_equal(table.entry[1].tags.tag[0].control, 200);
	assert_int_equal(table.entry[1].tags.tag[1].control, 100);
}

static void a_full_table_loses_what_was_not_seen_for_longest(void **state)
{
	char text[32];
	unsigned i;

	(void)state;
	for (i = 0; i < CARD_ADDRESSES_MAX; i++) {
		now++;
		(void)snprintf(text, sizeof(text), "192.0.2.%u", i + 1);
		sends_arp(1, mac, text);
	}
	now++;
	sends_arp(1, mac, "192.0.2.1");
	sends_arp(1, mac, "192.0.2.200");
	assert_int_equal(table.count, CARD_ADDRESSES_MAX);
	assert_non_null(entry_of("192.0.2.1"));
	assert_null(entry_of("192.0.2.2"));
	assert_non_null(entry_of("192.0.2.200"));
	/* A flood of sources does not push out what was said. */
	for (i = 0; i < 1000; i++) {
		(void)snprintf(text, sizeof(text), "10.0.%u.%u", i / 250, i % 250 + 1);
		sends_ipv4(text, "192.0.2.1", 64);
	}
	for (i = 0; i < table.count; i++)
		assert_true(table.entry[i].said);
}

static struct card_address configured(const char *text)
{
	struct card_address address = { .version = 4 };

	memcpy(address.mac, mac, ETHERNET_MAC);
	assert_int_equal(inet_pton(AF_INET, text, address.ip), 1);
	return address;
}

static void configured_addresses_stay(void **state)
{
	struct card_address address;
	char text[32];
	unsigned i;

	(void)state;
	for (i = 0; i < CARD_ADDRESSES_MAX; i++) {
		(void)snprintf(text, sizeof(text), "192.0.2.%u", i + 1);
		sends_arp(1, mac, text);
	}
	for (i = 0; i < CARD_ADDRESSES_MAX; i++) {
		(void)snprintf(text, sizeof(text), "198.51.100.%u", i + 1);
		address = configured(text);
		assert_true(card_addresses_add(&table, &address));
	}
	address = configured("198.51.100.99");
	assert_false(card_addresses_add(&table, &address));
	address = configured("198.51.100.1");
	assert_true(card_addresses_add(&table, &address)); /* it is there */
	sends_arp(1, mac, "192.0.2.77");
	assert_null(entry_of("192.0.2.77"));
	assert_int_equal(table.count, CARD_ADDRESSES_MAX);
	now += 2 * CARD_ADDRESSES_STALE_NS;
	assert_true(card_address_is_current(entry_of("198.51.100.1"), now));
	address = configured("224.0.0.1");
	assert_false(card_addresses_add(&table, &address));
}

static void an_address_not_seen_for_an_hour_is_not_current(void **state)
{
	(void)state;
	sends_arp(1, mac, "192.0.2.9");
	assert_true(card_address_is_current(&table.entry[0], now + CARD_ADDRESSES_STALE_NS - 1));
	assert_false(card_address_is_current(&table.entry[0], now + CARD_ADDRESSES_STALE_NS));
}

static void the_other_side_reads_what_was_written(void **state)
{
	struct card_addresses learned;
	struct buf payload = { 0 };
	struct err err;

	(void)state;
	frame_builder_begin(&frame, mac, 200, 100, ETHERNET_ARP);
	frame_builder_arp(&frame, 1, mac, "192.0.2.9", "192.0.2.1");
	learn();
	a_routers_advertisement_makes_a_router(state);
	sends_ipv4("192.0.2.10", "192.0.2.1", 64);
	table.entry[0].seen_ns -= 90 * CLOCK_NS_PER_S;
	learned = table;
	assert_true(card_addresses_put(&payload, &table, now));
	assert_true(payload.len == 4 + 3 * CARD_ADDRESSES_RECORD);

	memset(&table, 0, sizeof(table));
	sends_arp(1, mac, "192.0.2.99"); /* forgotten */
	assert_true(card_addresses_add(
		&table, &(struct card_address){ 4, { 10, 1, 1, 1 }, { 2 }, .said = true }));
	assert_int_equal(card_addresses_get(&table, payload.data, payload.len, now, &err), RC_OK);
	assert_int_equal(table.count, 4);
	assert_non_null(entry_of("10.1.1.1"));
	assert_memory_equal(&table.entry[1], &learned.entry[0], sizeof(learned.entry[0]));
	assert_memory_equal(&table.entry[2], &learned.entry[1], sizeof(learned.entry[0]));
	assert_memory_equal(&table.entry[3], &learned.entry[2], sizeof(learned.entry[0]));
	buf_free(&payload);
}

static void what_no_sender_writes_changes_nothing(void **state)
{
	/* Of the one record: a version, flags, tags, the zeros, a group's MAC, a tag that is none,
	 * an address that is none. */
	static const struct {
		size_t at;
		uint8_t value;
	} damage[] = { { 0, 2 },  { 0, 0 },    { 1, 1 },  { 4, 5 },  { 5, 4 },	{ 6, 3 },
		       { 6, 1 },  { 7, 1 },    { 8, 1 },  { 14, 1 }, { 16, 1 }, { 22, 1 },
		       { 23, 1 }, { 28, 127 }, { 32, 1 }, { 43, 1 } };
	struct buf payload = { 0 };
	struct err err;
	size_t i;

	(void)state;
	sends_arp(1, mac, "192.0.2.9");
	assert_true(card_addresses_put(&payload, &table, now));
	assert_int_equal(card_addresses_get(&table, payload.data, payload.len, now, &err), RC_OK);
	for (i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
		uint8_t was = payload.data[damage[i].at];

		payload.data[damage[i].at] = damage[i].value;
		assert_int_equal(card_addresses_get(&table, payload.data, payload.len, now, &err),
				 RC_INVALID);
		payload.data[damage[i].at] = was;
		assert_int_equal(table.count, 1);
	}
	for (i = 0; i < payload.len; i++)
		assert_int_equal(card_addresses_get(&table, payload.data, i, now, &err),
				 RC_INVALID);
	buf_free(&payload);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup(name, set_up)
	const struct CMUnitTest tests[] = {
		CLAIM(the_senders_fields_of_arp_are_learned),
		CLAIM(arp_that_claims_nothing_is_ignored),
		CLAIM(the_source_of_a_packet_is_learned_unless_it_was_forwarded),
		CLAIM(what_is_said_is_not_changed_by_what_is_used),
		CLAIM(a_neighbour_advertisement_tells_target_mac_and_router),
		CLAIM(a_solicitation_tells_its_source_but_not_an_address_being_tried),
		CLAIM(a_routers_advertisement_makes_a_router),
		CLAIM(discovery_from_afar_and_damaged_options_do_no_harm),
		CLAIM(one_address_in_two_vlans_is_two),
		CLAIM(a_full_table_loses_what_was_not_seen_for_longest),
		CLAIM(configured_addresses_stay),
		CLAIM(an_address_not_seen_for_an_hour_is_not_current),
		CLAIM(the_other_side_reads_what_was_written),
		CLAIM(what_no_sender_writes_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
