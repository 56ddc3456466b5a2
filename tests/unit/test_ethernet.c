#include "appliance/base/bytes.h"
#include "net/inet_checksum.h"
#include "tests/unit/frame_builder.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const uint8_t mac[ETHERNET_MAC] = { 0x52, 0x54, 0, 1, 2, 3 };

static void tags_are_read_from_the_outside_in(void **state)
{
	struct frame_builder built;
	struct ethernet_frame frame;

	(void)state;
	frame_builder_begin(&built, mac, 0, 0, ETHERNET_ARP);
	assert_true(ethernet_read(&frame, built.data, built.len));
	assert_int_equal(frame.tags.count, 0);
	assert_int_equal(frame.type, ETHERNET_ARP);
	assert_int_equal(frame.len, 0);
	assert_memory_equal(frame.source, mac, ETHERNET_MAC);

	frame_builder_begin(&built, mac, 0x6064, 7, ETHERNET_IPV4);
	built.len += 5;
	assert_true(ethernet_read(&frame, built.data, built.len));
	assert_int_equal(frame.tags.count, 2);
	assert_int_equal(frame.tags.tag[0].type, ETHERNET_SERVICE_VLAN);
	assert_int_equal(frame.tags.tag[0].control, 0x6064);
	assert_int_equal(frame.tags.tag[1].type, ETHERNET_VLAN);
	assert_int_equal(frame.tags.tag[1].control, 7);
	assert_int_equal(frame.type, ETHERNET_IPV4);
	assert_int_equal(frame.len, 5);
	assert_ptr_equal(frame.payload, built.data + 22);
}

static void a_third_tag_is_the_type(void **state)
{
	struct frame_builder built;
	struct ethernet_frame frame;

	(void)state;
	frame_builder_begin(&built, mac, 1, 2, ETHERNET_VLAN);
	built.len += 4;
	assert_true(ethernet_read(&frame, built.data, built.len));
	assert_int_equal(frame.tags.count, 2);
	assert_int_equal(frame.type, ETHERNET_VLAN);
	assert_int_equal(frame.len, 4);
}

static void a_frame_cut_anywhere_in_its_head_is_none(void **state)
{
	struct frame_builder built;
	struct ethernet_frame frame;
	size_t len;

	(void)state;
	frame_builder_begin(&built, mac, 1, 2, ETHERNET_IPV4);
	for (len = 0; len < built.len; len++)
		assert_false(ethernet_read(&frame, built.data, len));
	assert_true(ethernet_read(&frame, built.data, built.len));
}

static void only_a_stations_own_address_is_one(void **state)
{
	static const uint8_t zero[6] = { 0 }, group[6] = { 0x33, 0x33, 0, 0, 0, 1 },
			     all[6] = { 255, 255, 255, 255, 255, 255 };

	(void)state;
	assert_true(ethernet_is_station(mac));
	assert_false(ethernet_is_station(zero));
	assert_false(ethernet_is_station(group));
	assert_false(ethernet_is_station(all));
}

static void a_vlan_is_its_ids_whatever_the_priority(void **state)
{
	struct ethernet_tags a = { 1, { { ETHERNET_VLAN, 0x6005 } } }, b = a, untagged = { 0 };

	(void)state;
	b.tag[0].control = 5;
	assert_true(ethernet_same_vlan(&a, &b));
	b.tag[0].control = 6;
	assert_false(ethernet_same_vlan(&a, &b));
	b = a;
	b.tag[0].type = ETHERNET_SERVICE_VLAN;
	assert_false(ethernet_same_vlan(&a, &b));
	assert_false(ethernet_same_vlan(&a, &untagged));
}

static void the_checksum_is_that_of_rfc_1071(void **state)
{
	/* The RFC's own example: the sum is ddf2. */
	static const uint8_t example[] = { 0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7 };
	uint8_t packet[10];

	(void)state;
	assert_int_equal(inet_checksum_end(inet_checksum_add(0, example, 8)), 0xffff & ~0xddf2);
	assert_int_equal(inet_checksum_end(inet_checksum_add(inet_checksum_add(0, example, 4),
							     example + 4, 3)),
			 0xffff & ~(0xddf2 - 0xf7));
	memcpy(packet, example, 8);
	bytes_put_be16(packet + 8, inet_checksum_end(inet_checksum_add(0, example, 8)));
	assert_int_equal(inet_checksum_end(inet_checksum_add(0, packet, 10)), 0);
}

static void addresses_are_read(void **state)
{
	static const char *const wrong[] = { "",
					     "52:54:00:12:34",
					     "52:54:00:12:34:56:78",
					     "52:54:00:12:34:5",
					     "52-54-00-12-34-56",
					     "52:54:00:12:34:5g",
					     "52:54:00:12:34:56 " };
	static const uint8_t right[ETHERNET_MAC] = { 0x52, 0x54, 0, 0xab, 0xcd, 0xef };
	uint8_t found[ETHERNET_MAC];

	(void)state;
	assert_true(ethernet_parse_mac(found, "52:54:00:ab:CD:eF"));
	assert_memory_equal(found, right, ETHERNET_MAC);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(ethernet_parse_mac(found, wrong[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_read),
		cmocka_unit_test(tags_are_read_from_the_outside_in),
		cmocka_unit_test(a_third_tag_is_the_type),
		cmocka_unit_test(a_frame_cut_anywhere_in_its_head_is_none),
		cmocka_unit_test(only_a_stations_own_address_is_one),
		cmocka_unit_test(a_vlan_is_its_ids_whatever_the_priority),
		cmocka_unit_test(the_checksum_is_that_of_rfc_1071),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
