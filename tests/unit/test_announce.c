#include "appliance/base/bytes.h"
#include "appliance/base/clock.h"
#include "net/announce.h"
#include "net/inet_checksum.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct card_address v4 = {
	.version = 4,
	.ip = { 192, 0, 2, 9 },
	.mac = { 0x52, 0x54, 0, 1, 2, 3 },
};
static const struct card_address v6 = {
	.version = 6,
	.ip = { 0x20, 1, 0xd, 0xb8, [15] = 9 },
	.mac = { 0x52, 0x54, 0, 1, 2, 3 },
	.router = true,
	.tags = { 2, { { ETHERNET_SERVICE_VLAN, 200 }, { ETHERNET_VLAN, 0x6064 } } },
};

static void gratuitous_arp_comes_as_request_and_as_reply(void **state)
{
	static const uint8_t request[ETHERNET_SHORTEST] = {
		255, 255,  255,	 255, 255, 255, 0x52, 0x54, 0, 1, 2, 3, 8, 6, 0, 1, 8, 0,   6, 4, 0,
		1,   0x52, 0x54, 0,   1,   2,	3,    192,  0, 2, 9, 0, 0, 0, 0, 0, 0, 192, 0, 2, 9,
	};
	uint8_t frame[ANNOUNCE_FRAME_MAX];

	(void)state;
	assert_int_equal(announce_arp(frame, &v4, ANNOUNCE_REQUEST), ETHERNET_SHORTEST);
	assert_memory_equal(frame, request, sizeof(request));
	assert_int_equal(announce_arp(frame, &v4, ANNOUNCE_REPLY), ETHERNET_SHORTEST);
	assert_int_equal(frame[21], 2);
	assert_memory_equal(frame + 32, v4.mac, ETHERNET_MAC); /* the target's, too */
	assert_memory_equal(frame + 38, v4.ip, 4);
}

static void an_advertisement_is_in_its_vlan_and_its_checksum_is_right(void **state)
{
	static const uint8_t flags_of_router = 0x80 | 0x20;
	uint8_t frame[ANNOUNCE_FRAME_MAX];
	struct ethernet_frame read;
	const uint8_t *ip, *icmp;
	uint32_t sum;

	(void)state;
	assert_int_equal(announce_neighbour(frame, &v6), ANNOUNCE_FRAME_MAX);
	assert_true(ethernet_read(&read, frame, ANNOUNCE_FRAME_MAX));
	assert_true(ethernet_same_vlan(&read.tags, &v6.tags));
	assert_int_equal(read.tags.tag[1].control, 0x6064);
	assert_int_equal(read.type, ETHERNET_IPV6);
	assert_memory_equal(frame, "\x33\x33\0\0\0\1", 6);
	ip = read.payload;
	icmp = ip + 40;
	assert_int_equal(ip[7], 255);
	assert_memory_equal(ip + 8, v6.ip, 16);
	assert_int_equal(icmp[0], 136);
	assert_int_equal(icmp[4], flags_of_router);
	assert_memory_equal(icmp + 8, v6.ip, 16);
	assert_memory_equal(icmp + 26, v6.mac, ETHERNET_MAC);
	sum = inet_checksum_pseudo(0, ip + 8, ip + 24, 16, 58, 32);
	assert_int_equal(inet_checksum_end(inet_checksum_add(sum, icmp, 32)), 0);
}

static struct card_addresses heard;
static unsigned frames, rarps;

static void hear(void *owner, const uint8_t *frame, size_t len)
{
	struct ethernet_frame read;

	assert_ptr_equal(owner, &heard);
	assert_true(ethernet_read(&read, frame, len));
	frames++;
	rarps += read.type == ETHERNET_RARP;
	card_addresses_learn(&heard, frame, len, 5);
}

static void all_current_addresses_are_announced(void **state)
{
	struct card_addresses table = { 0 };
	uint64_t now = 2 * CARD_ADDRESSES_STALE_NS;

	(void)state;
	heard = table;
	frames = rarps = 0;
	assert_true(card_addresses_add(&table, &v4));
	table.entry[1] = v6;
	table.entry[1].seen_ns = now - CARD_ADDRESSES_STALE_NS / 2;
	table.entry[2] = v4;
	table.entry[2].ip[3] = 10; /* not seen for long */
	table.count = 3;
	assert_int_equal(announce_card(&table, v4.mac, now, hear, &heard), 3);
	assert_int_equal(frames, 3);
	assert_int_equal(rarps, 0);
	assert_int_equal(heard.count, 2);
	assert_memory_equal(heard.entry[0].ip, v4.ip, 16);
	assert_memory_equal(heard.entry[1].ip, v6.ip, 16);
	assert_true(heard.entry[1].router);
}

static void a_card_without_a_known_address_is_announced_by_its_mac(void **state)
{
	struct card_addresses table = { 0 };

	(void)state;
	heard = table;
	frames = rarps = 0;
	assert_int_equal(announce_card(&table, v4.mac, 1, hear, &heard), 1);
	assert_int_equal(rarps, 1);
	assert_int_equal(heard.count, 0);
	assert_int_equal(announce_card(&table, NULL, 1, hear, &heard), 0);
}

static void rounds_come_at_once_then_at_growing_pauses_then_every_minute(void **state)
{
	static const unsigned expected_ms[] = { 0,     100,   300,    1000,  3000,
						10000, 70000, 130000, 190000 };
	const uint64_t begun = 77 * CLOCK_NS_PER_S;
	struct announce_schedule schedule = announce_begin(begun);
	unsigned ms, round = 0;

	(void)state;
	for (ms = 0; ms < 200000; ms++)
		if (announce_take(&schedule, begun + ms * CLOCK_NS_PER_MS)) {
			assert_true(round < sizeof(expected_ms) / sizeof(expected_ms[0]));
			assert_int_equal(ms, expected_ms[round++]);
		}
	assert_int_equal(round, sizeof(expected_ms) / sizeof(expected_ms[0]));
}

static void missed_rounds_are_one(void **state)
{
	struct announce_schedule schedule = announce_begin(0);

	(void)state;
	assert_true(announce_take(&schedule, 3500 * CLOCK_NS_PER_MS));
	assert_false(announce_take(&schedule, 3501 * CLOCK_NS_PER_MS));
	assert_true(schedule.next_ns == 10000 * CLOCK_NS_PER_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gratuitous_arp_comes_as_request_and_as_reply),
		cmocka_unit_test(an_advertisement_is_in_its_vlan_and_its_checksum_is_right),
		cmocka_unit_test(all_current_addresses_are_announced),
		cmocka_unit_test(a_card_without_a_known_address_is_announced_by_its_mac),
		cmocka_unit_test(rounds_come_at_once_then_at_growing_pauses_then_every_minute),
		cmocka_unit_test(missed_rounds_are_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
