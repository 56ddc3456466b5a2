#include "appliance/base/bytes.h"
#include "net/inet_checksum.h"
#include "net/vrrp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)
#define OWN UINT32_C(0xc0000202)
#define HIGHER UINT32_C(0xc0000209)
#define LOWER UINT32_C(0xc0000201)

static struct vrrp vrrp;
static struct err err;
static uint64_t now;

static struct vrrp_settings settings_of(uint8_t priority)
{
	return (struct vrrp_settings){
		.priority = priority,
		.own = OWN,
		.advert = { .group = 51,
			    .count = 2,
			    .interval = 100,
			    .address = { 0xc000024d, 0xc000024e } },
	};
}

static void begin(uint8_t priority, bool patient)
{
	struct vrrp_settings settings = settings_of(priority);

	settings.patient = patient;
	now = 5000 * MS;
	vrrp_init(&vrrp, &settings);
}

static unsigned happens(enum vrrp_event_kind kind)
{
	return vrrp_step(&vrrp, &(struct vrrp_event){ .kind = kind, .now_ns = now });
}

static unsigned hears(uint8_t priority, uint32_t source)
{
	struct vrrp_advert advert = vrrp.settings.advert;

	advert.priority = priority;
	return vrrp_step(&vrrp, &(struct vrrp_event){ VRRP_HEARD, now, &advert, source });
}

/* Lets time pass in steps of 1 ms; after how many ms something is to be done, 0: nothing was. */
static unsigned passes(unsigned ms, unsigned expected)
{
	unsigned i, actions;

	for (i = 1; i <= ms; i++) {
		now += MS;
		actions = happens(VRRP_TIME);
		if (actions != 0) {
			assert_int_equal(actions, expected);
			return i;
		}
	}
	return 0;
}

/* ---- packets ----------------------------------------------------------------------------------*/

static size_t packet_of(uint8_t *packet, const struct vrrp_advert *advert)
{
	size_t len = 20 + vrrp_format_put(packet + 20, advert, HIGHER);

	memset(packet, 0, 20);
	packet[0] = 0x45;
	bytes_put_be16(packet + 2, (uint16_t)len);
	packet[8] = VRRP_TTL;
	packet[9] = VRRP_PROTOCOL;
	bytes_put_be32(packet + 12, HIGHER);
	bytes_put_be32(packet + 16, VRRP_DESTINATION);
	return len;
}

static void a_packet_is_read_as_it_was_written_with_either_checksum(void **state)
{
	struct vrrp_advert advert = settings_of(100).advert, got;
	uint8_t packet[20 + VRRP_PACKET_MAX];
	uint32_t source;
	unsigned pseudo;
	size_t len;

	(void)state;
	advert.priority = 200;
	for (pseudo = 0; pseudo < 2; pseudo++) {
		advert.pseudo_header = pseudo != 0;
		len = packet_of(packet, &advert);
		assert_int_equal(len, 36);
		assert_int_equal(vrrp_format_get(&got, &source, packet, len, &err), RC_OK);
		assert_int_equal(source, HIGHER);
		assert_memory_equal(&got, &advert, sizeof(got));
	}
}

static void any_damage_to_a_packet_is_noticed(void **state)
{
	struct vrrp_advert advert = settings_of(100).advert, got;
	uint8_t packet[20 + VRRP_PACKET_MAX];
	uint32_t source;
	size_t len, i;

	(void)state;
	advert.priority = 200;
	len = packet_of(packet, &advert);
	for (i = 0; i < len; i++)
		assert_int_not_equal(vrrp_format_get(&got, &source, packet, i, &err), RC_OK);
	for (i = 20; i < len; i++) {
		packet[i] ^= 0x10;
		assert_int_not_equal(vrrp_format_get(&got, &source, packet, len, &err), RC_OK);
		packet[i] ^= 0x10;
	}
	packet[8] = 254; /* from beyond a router */
	assert_int_equal(vrrp_format_get(&got, &source, packet, len, &err), RC_INVALID);
	packet[8] = 255;
	packet[19] = 1; /* to one host, or another group */
	assert_int_equal(vrrp_format_get(&got, &source, packet, len, &err), RC_INVALID);
	packet[19] = 18;
	packet[9] = 17;
	assert_int_equal(vrrp_format_get(&got, &source, packet, len, &err), RC_INVALID);
	packet[9] = VRRP_PROTOCOL;
	assert_int_equal(vrrp_format_get(&got, &source, packet, len, &err), RC_OK);
	packet[20] = 0x21;
	assert_int_equal(vrrp_format_get(&got, &source, packet, len, &err), RC_UNSUPPORTED);
}

static void addresses_are_the_same_in_any_order(void **state)
{
	struct vrrp_advert a = settings_of(100).advert, b = a;

	(void)state;
	b.address[0] = a.address[1];
	b.address[1] = a.address[0];
	assert_true(vrrp_format_same_addresses(&a, &b));
	b.count = 1;
	assert_false(vrrp_format_same_addresses(&a, &b));
	assert_false(vrrp_format_same_addresses(&b, &a));
}

/* ---- the state machine ------------------------------------------------------------------------*/

static void a_permitted_backup_takes_over_after_three_intervals_and_its_skew(void **state)
{
	(void)state;
	begin(100, false);
	assert_int_equal(happens(VRRP_START), 0);
	assert_int_equal(happens(VRRP_PERMIT), 0); /* who may be there was not heard yet */
	assert_int_equal(hears(200, HIGHER), 0);
	assert_true(vrrp.other_is_there);
	/* 3 s and 156/256 of 1 s */
	assert_int_equal(passes(10000, VRRP_ADVERTISE | VRRP_TAKE), 3610);
	assert_int_equal(vrrp.state, VRRP_ACTIVE);
	assert_int_equal(passes(10000, VRRP_ADVERTISE), 1000);
}

static void while_a_higher_one_speaks_it_is_silent(void **state)
{
	unsigned i;

	(void)state;
	begin(100, false);
	(void)happens(VRRP_START);
	(void)happens(VRRP_PERMIT);
	for (i = 0; i < 20; i++) {
		assert_int_equal(hears(200, HIGHER), 0);
		assert_int_equal(passes(3000, 0), 0);
	}
}

static void without_permission_it_only_listens(void **state)
{
	(void)state;
	begin(250, false);
	(void)happens(VRRP_START);
	assert_int_equal(passes(20000, 0), 0);
	assert_false(vrrp.other_is_there);
	assert_int_equal(hears(200, HIGHER), 0);
	assert_true(vrrp.other_is_there);
	assert_int_equal(vrrp.other_priority, 200);
	assert_int_equal(passes(20000, 0), 0);
	assert_int_equal(vrrp.state, VRRP_BACKUP);
}

static void permission_takes_the_addresses_at_once_unless_one_that_goes_first_is_there(void **state)
{
	(void)state;
	begin(100, false); /* all is silent */
	(void)happens(VRRP_START);
	(void)passes(5000, 0);
	assert_int_equal(happens(VRRP_PERMIT), VRRP_ADVERTISE | VRRP_TAKE);
	assert_int_equal(happens(VRRP_PERMIT), 0);
	begin(250, false); /* a lower one */
	(void)happens(VRRP_START);
	(void)hears(200, HIGHER);
	assert_int_equal(happens(VRRP_PERMIT), VRRP_ADVERTISE | VRRP_TAKE);
	begin(250, true); /* the same, patiently */
	(void)happens(VRRP_START);
	(void)hears(200, HIGHER);
	assert_int_equal(happens(VRRP_PERMIT), 0);
	begin(100, false); /* a higher one */
	(void)happens(VRRP_START);
	(void)hears(200, HIGHER);
	assert_int_equal(happens(VRRP_PERMIT), 0);
}

static void make_active(uint8_t priority)
{
	begin(priority, false);
	(void)happens(VRRP_START);
	(void)passes(5000, 0);
	assert_int_equal(happens(VRRP_PERMIT), VRRP_ADVERTISE | VRRP_TAKE);
}

static void a_higher_one_gets_the_addresses_and_a_lower_one_is_told(void **state)
{
	(void)state;
	make_active(100);
	assert_int_equal(hears(99, HIGHER), VRRP_ADVERTISE);
	assert_int_equal(hears(0, HIGHER), VRRP_ADVERTISE);
	assert_int_equal(hears(100, LOWER), VRRP_ADVERTISE);
	assert_int_equal(vrrp.state, VRRP_ACTIVE);
	assert_int_equal(hears(100, HIGHER), VRRP_GIVE_UP);
	assert_int_equal(vrrp.state, VRRP_BACKUP);
	make_active(100);
	assert_int_equal(hears(200, LOWER), VRRP_GIVE_UP);
	assert_int_equal(passes(10000, VRRP_ADVERTISE | VRRP_TAKE), 3610);
}

static void a_goodbye_shortens_the_wait(void **state)
{
	(void)state;
	begin(100, false);
	(void)happens(VRRP_START);
	(void)happens(VRRP_PERMIT);
	(void)hears(200, HIGHER);
	(void)hears(0, LOWER); /* of one that had nothing */
	assert_int_equal(passes(1000, 0), 0);
	(void)hears(200, HIGHER);
	(void)hears(0, HIGHER);
	assert_int_equal(passes(10000, VRRP_ADVERTISE | VRRP_TAKE), 610);
}

static void without_permission_any_longer_it_resigns(void **state)
{
	(void)state;
	make_active(250);
	assert_int_equal(happens(VRRP_FORBID), VRRP_RESIGN | VRRP_GIVE_UP);
	assert_int_equal(happens(VRRP_FORBID), 0);
	assert_int_equal(passes(20000, 0), 0);
	assert_int_equal(happens(VRRP_PERMIT), VRRP_ADVERTISE | VRRP_TAKE);
	assert_int_equal(happens(VRRP_STOP), VRRP_RESIGN | VRRP_GIVE_UP);
	assert_int_equal(passes(20000, 0), 0);
	assert_int_equal(hears(200, HIGHER), 0);
	assert_int_equal(vrrp.state, VRRP_STOPPED);
}

static void the_active_ones_interval_and_checksum_are_followed(void **state)
{
	struct vrrp_advert advert = settings_of(200).advert;
	uint8_t packet[VRRP_PACKET_MAX];

	(void)state;
	begin(100, false);
	(void)happens(VRRP_START);
	(void)happens(VRRP_PERMIT);
	advert.priority = 200;
	advert.interval = 10;
	advert.address[1] = 1;
	(void)vrrp_step(&vrrp, &(struct vrrp_event){ VRRP_HEARD, now, &advert, HIGHER });
	assert_true(vrrp.other_is_different);
	assert_int_equal(passes(10000, VRRP_ADVERTISE | VRRP_TAKE), 361);
	assert_int_equal(vrrp_packet(&vrrp, VRRP_ADVERTISE, packet), 16);
	assert_int_equal(packet[2], 100);
	assert_int_equal(inet_checksum_end(inet_checksum_add(0, packet, 16)), 0);
	(void)vrrp_packet(&vrrp, VRRP_RESIGN, packet);
	assert_int_equal(packet[2], 0);
}

static void other_groups_and_echoes_do_not_matter(void **state)
{
	struct vrrp_advert advert = settings_of(100).advert;

	(void)state;
	make_active(100);
	assert_int_equal(hears(255, OWN), 0);
	advert.group = 52;
	advert.priority = 255;
	assert_int_equal(vrrp_step(&vrrp, &(struct vrrp_event){ VRRP_HEARD, now, &advert, HIGHER }),
			 0);
}

static void one_that_is_lower_than_the_active_one_is_not_followed(void **state)
{
	(void)state;
	begin(100, false);
	(void)happens(VRRP_START);
	(void)hears(200, HIGHER);
	(void)hears(150, LOWER);
	assert_int_equal(vrrp.other, HIGHER);
	(void)passes(4000, 0);
	(void)hears(150, LOWER);
	assert_int_equal(vrrp.other, LOWER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_packet_is_read_as_it_was_written_with_either_checksum),
		cmocka_unit_test(any_damage_to_a_packet_is_noticed),
		cmocka_unit_test(addresses_are_the_same_in_any_order),
		cmocka_unit_test(a_permitted_backup_takes_over_after_three_intervals_and_its_skew),
		cmocka_unit_test(while_a_higher_one_speaks_it_is_silent),
		cmocka_unit_test(without_permission_it_only_listens),
		cmocka_unit_test(
			permission_takes_the_addresses_at_once_unless_one_that_goes_first_is_there),
		cmocka_unit_test(a_higher_one_gets_the_addresses_and_a_lower_one_is_told),
		cmocka_unit_test(a_goodbye_shortens_the_wait),
		cmocka_unit_test(without_permission_any_longer_it_resigns),
		cmocka_unit_test(the_active_ones_interval_and_checksum_are_followed),
		cmocka_unit_test(other_groups_and_echoes_do_not_matter),
		cmocka_unit_test(one_that_is_lower_than_the_active_one_is_not_followed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
