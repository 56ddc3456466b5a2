#include "appliance/base/clock.h"
#include "net/vrrp_socket.h"
#include "net/vrrp_speaker.h"
#include "tests/unit/netns_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define THEIR_ADDRESS 0xc0000201 /* 192.0.2.1 */
#define PATIENCE_S 5 /* the machine may be busy; the rounds of announcements come sooner */

static struct vrrp_speaker *speaker;
static struct netlink_prefix addresses[VRRP_ADDRESSES_MAX + 1];
static struct vrrp_speaker_options options;
static struct err err;
static uv_loop_t loop;
static unsigned changes;

static void close_speaker(void)
{
	if (speaker != NULL)
		vrrp_speaker_close(speaker);
	speaker = NULL;
}

static void close_at_once(void *owner, bool active)
{
	(void)owner;
	(void)active;
	changes++;
	close_speaker();
}

static void count(void *owner, bool active)
{
	(void)owner;
	(void)active;
	changes++;
}

static const struct vrrp_speaker_ops ops = { count }, closing_ops = { close_at_once };

static int set_up(void **state)
{
	(void)state;
	(void)netns_fixture_create();
	changes = 0;
	options = (struct vrrp_speaker_options){ .device = "cable",
						 .group = 51,
						 .priority = 100,
						 .interval = 1,
						 .addresses = addresses,
						 .address_count = 1 };
	return netlink_prefix_parse(&addresses[0], "192.0.2.77/24", &err) != RC_OK ||
	       uv_loop_init(&loop) != 0;
}

static int tear_down(void **state)
{
	(void)state;
	close_speaker();
	netns_fixture_remove();
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop); /* no handle is left */
}

static int opens(void)
{
	return vrrp_speaker_open(&speaker, &loop, &options, &ops, NULL, &err);
}

static bool has_address(void)
{
	return strstr(netns_fixture_run("ip -o addr show dev cable"), "192.0.2.77/24") != NULL;
}

static bool has_address_of_ipv6(void)
{
	return strstr(netns_fixture_run("ip -o addr show dev cable"), "2001:db8::77/64") != NULL;
}

static void options_that_make_no_sense_are_refused(void **state)
{
	const struct vrrp_speaker_options right = options;

	(void)state;
	netns_fixture_need();
	options.group = 0;
	assert_int_equal(opens(), RC_INVALID);
	options = right;
	options.priority = 255;
	assert_int_equal(opens(), RC_INVALID);
	options = right;
	options.interval = VRRP_INTERVAL_MAX + 1;
	assert_int_equal(opens(), RC_INVALID);
	options = right;
	options.address_count = VRRP_ADDRESSES_MAX + 1;
	assert_int_equal(opens(), RC_LIMIT);
	options = right;
	options.device = "a-name-that-is-too-long";
	assert_int_equal(opens(), RC_INVALID);
	options = right;
	assert_int_equal(netlink_prefix_parse(&addresses[0], "2001:db8::7/64", &err), RC_OK);
	assert_int_equal(opens(), RC_INVALID); /* no IPv4 */
	assert_int_equal(netlink_prefix_parse(&addresses[0], "224.0.0.5/24", &err), RC_OK);
	assert_int_equal(opens(), RC_INVALID);
}

/* The loop runs until the group is in that state, and its fault has that in it. */
static void comes_to(enum vrrp_state expected, const char *fault)
{
	uint64_t end_ns = clock_now_ns() + PATIENCE_S * CLOCK_NS_PER_S;

	while ((vrrp_speaker_state(speaker)->state != expected ||
		strstr(vrrp_speaker_fault(speaker), fault) == NULL) &&
	       clock_now_ns() < end_ns)
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(vrrp_speaker_state(speaker)->state, expected);
	assert_non_null(strstr(vrrp_speaker_fault(speaker), fault));
}

static void leftovers_are_taken_off_where_the_device_has_an_address_of_its_own(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip addr add 192.0.2.77/24 dev cable && "
				"ip addr add 192.0.2.2/24 dev cable");
	assert_int_equal(opens(), RC_OK);
	assert_string_equal(vrrp_speaker_fault(speaker), "");
	assert_false(has_address());
	assert_non_null(strstr(netns_fixture_run("ip -o addr show dev cable"), "192.0.2.2/24"));
	assert_int_equal(vrrp_speaker_state(speaker)->settings.own, 0xc0000202);
	close_speaker();
}

/* It may be the machine's only one, by which it is reached. */
static void an_address_that_is_the_devices_only_one_stays_and_is_told(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip addr add 192.0.2.77/24 dev cable");
	assert_int_equal(opens(), RC_OK);
	vrrp_speaker_permit(speaker, true);
	comes_to(VRRP_STOPPED,
		 "cable has no IPv4 address but 192.0.2.77/24, which is the group's,");
	assert_true(has_address());
	(void)netns_fixture_run("ip addr add 192.0.2.2/24 dev cable");
	comes_to(VRRP_BACKUP, "");
	assert_string_equal(vrrp_speaker_fault(speaker), "");
	assert_false(has_address());
	comes_to(VRRP_ACTIVE, "");
	close_speaker();
}

static void a_device_that_is_not_there_at_the_beginning_may_come_later(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link del cable");
	assert_int_equal(opens(), RC_OK);
	vrrp_speaker_permit(speaker, true);
	comes_to(VRRP_STOPPED, "network device cable: No such device");
	netns_fixture_lay_cable();
	comes_to(VRRP_STOPPED, "cable has no IPv4 address for VRRP to send from");
	(void)netns_fixture_run("ip addr add 192.0.2.3/24 dev cable");
	comes_to(VRRP_ACTIVE, "");
	assert_string_equal(vrrp_speaker_fault(speaker), "");
	assert_true(has_address());
	assert_int_equal(changes, 1);
	close_speaker();
}

static void it_may_be_closed_when_it_tells_of_the_addresses(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip addr add 192.0.2.2/24 dev cable");
	assert_int_equal(vrrp_speaker_open(&speaker, &loop, &options, &closing_ops, NULL, &err),
			 RC_OK);
	vrrp_speaker_permit(speaker, true);
	(void)uv_run(&loop, UV_RUN_DEFAULT); /* ends when it is closed */
	assert_int_equal(changes, 1);
	assert_false(has_address());
}

/* The loop runs until the addresses of both families are there. */
static bool gets_addresses(void)
{
	uint64_t end_ns = clock_now_ns() + PATIENCE_S * CLOCK_NS_PER_S;

	while (!(has_address() && has_address_of_ipv6()) && clock_now_ns() < end_ns)
		(void)uv_run(&loop, UV_RUN_ONCE);
	return has_address() && has_address_of_ipv6();
}

static void a_device_that_was_down_gets_all_addresses_again(void **state)
{
	unsigned i;

	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip addr add 192.0.2.2/24 dev cable");
	assert_int_equal(netlink_prefix_parse(&addresses[1], "2001:db8::77/64", &err), RC_OK);
	options.address_count = 2;
	assert_int_equal(opens(), RC_OK);
	vrrp_speaker_permit(speaker, true);
	assert_true(gets_addresses());
	assert_int_equal(vrrp_speaker_state(speaker)->state, VRRP_ACTIVE);
	(void)netns_fixture_run("ip link set cable down");
	assert_false(has_address_of_ipv6()); /* the kernel's doing */
	for (i = 0; i < 20; i++)
		(void)uv_run(&loop, UV_RUN_ONCE);
	(void)netns_fixture_run("ip link set cable up");
	assert_true(gets_addresses());
	assert_int_equal(vrrp_speaker_state(speaker)->state, VRRP_ACTIVE);
	close_speaker();
	assert_false(has_address() || has_address_of_ipv6());
}

/* Whether who is at the other end of the cable has the address at that MAC address. */
static bool is_found_at(const char *mac)
{
	bool found;

	netns_fixture_there();
	found = strstr(netns_fixture_run("ip neigh show 192.0.2.77"), mac) != NULL;
	netns_fixture_here();
	return found;
}

/* As a bridge's does with its ports. */
static void a_mac_address_that_changes_is_announced_as_it_is(void **state)
{
	uint64_t end_ns = clock_now_ns() + PATIENCE_S * CLOCK_NS_PER_S;

	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip addr add 192.0.2.2/24 dev cable");
	netns_fixture_there();
	(void)netns_fixture_run("ip addr add 192.0.2.1/24 dev cable; ip neigh replace 192.0.2.77 "
				"dev cable lladdr 02:00:00:00:00:0a nud stale");
	netns_fixture_here();
	assert_int_equal(opens(), RC_OK);
	(void)netns_fixture_run("ip link set cable address 02:00:00:00:00:0b");
	vrrp_speaker_permit(speaker, true);
	while (!is_found_at("02:00:00:00:00:0b") && clock_now_ns() < end_ns)
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_true(is_found_at("02:00:00:00:00:0b"));
	close_speaker();
}

static void is_well(void)
{
	uint64_t end_ns = clock_now_ns() + PATIENCE_S * CLOCK_NS_PER_S;

	while (*vrrp_speaker_fault(speaker) != '\0' && clock_now_ns() < end_ns)
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_string_equal(vrrp_speaker_fault(speaker), "");
}

/* Sends an advertisement of that priority from the other end of the cable. */
static void is_told(uint8_t priority)
{
	struct vrrp_advert advert = { .group = 51,
				      .priority = priority,
				      .count = 1,
				      .interval = 1,
				      .address = { 0xc000024d } };
	uint8_t packet[VRRP_PACKET_MAX];
	int other = -1, r;

	netns_fixture_there();
	(void)netns_fixture_run("ip addr replace 192.0.2.1/24 dev cable");
	assert_int_equal(vrrp_socket_open(&other, "cable", THEIR_ADDRESS, &err), RC_OK);
	netns_fixture_here();
	r = vrrp_socket_send(other, packet, vrrp_format_put(packet, &advert, THEIR_ADDRESS));
	(void)close(other);
	assert_int_equal(r, 0);
}

static void a_device_that_is_made_anew_is_used_as_the_former_was(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip addr add 192.0.2.2/24 dev cable");
	assert_int_equal(opens(), RC_OK);
	assert_string_equal(vrrp_speaker_fault(speaker), "");
	vrrp_speaker_permit(speaker, true);
	comes_to(VRRP_ACTIVE, "");
	assert_int_equal(changes, 1);

	(void)netns_fixture_run("ip link del cable");
	comes_to(VRRP_STOPPED, "network device cable: No such device");
	assert_int_equal(changes, 2);
	netns_fixture_lay_cable();
	comes_to(VRRP_STOPPED, "cable has no IPv4 address");
	(void)netns_fixture_run("ip addr add 192.0.2.3/24 dev cable");
	comes_to(VRRP_ACTIVE, "");
	assert_string_equal(vrrp_speaker_fault(speaker), "");
	assert_true(has_address());
	assert_int_equal(vrrp_speaker_state(speaker)->settings.own, 0xc0000203);

	is_told(200); /* and it listens there */
	comes_to(VRRP_BACKUP, "");
	assert_false(has_address());
	close_speaker();
}

/* Between two looks. */
static void a_device_that_is_made_anew_at_once_is_found(void **state)
{
	uint64_t end_ns = clock_now_ns() + PATIENCE_S * CLOCK_NS_PER_S;

	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip addr add 192.0.2.2/24 dev cable");
	assert_int_equal(opens(), RC_OK);
	(void)netns_fixture_run("ip link del cable");
	netns_fixture_lay_cable();
	(void)netns_fixture_run("ip addr add 192.0.2.3/24 dev cable");
	vrrp_speaker_permit(speaker, true);
	while (vrrp_speaker_state(speaker)->settings.own != 0xc0000203 && clock_now_ns() < end_ns)
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(vrrp_speaker_state(speaker)->settings.own, 0xc0000203);
	comes_to(VRRP_ACTIVE, "");
	assert_true(has_address());
	close_speaker();
}

/* The loop runs until packets come from that address. */
static void sends_from(uint32_t own)
{
	uint64_t end_ns = clock_now_ns() + PATIENCE_S * CLOCK_NS_PER_S;

	while (vrrp_speaker_state(speaker)->settings.own != own && clock_now_ns() < end_ns)
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(vrrp_speaker_state(speaker)->settings.own, own);
}

/* The other end of the cable hears an advertisement from there. */
static bool is_heard_from(uint32_t own)
{
	uint64_t end_ns = clock_now_ns() + PATIENCE_S * CLOCK_NS_PER_S;
	uint8_t packet[VRRP_SOCKET_PACKET_MAX];
	struct vrrp_advert advert;
	uint32_t source = 0;
	int other = -1;
	size_t len;

	netns_fixture_there();
	(void)netns_fixture_run("ip addr replace 192.0.2.1/24 dev cable");
	assert_int_equal(vrrp_socket_open(&other, "cable", THEIR_ADDRESS, &err), RC_OK);
	netns_fixture_here();
	while (source != own && clock_now_ns() < end_ns) {
		(void)uv_run(&loop, UV_RUN_ONCE);
		len = vrrp_socket_receive(other, packet);
		if (len > 0)
			(void)vrrp_format_get(&advert, &source, packet, len, &err);
	}
	(void)close(other);
	return source == own;
}

static void the_devices_own_address_may_change_while_it_is_active(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("echo 0 >/proc/sys/net/ipv4/conf/cable/promote_secondaries; "
				"ip addr add 192.0.2.2/24 dev cable");
	assert_int_equal(opens(), RC_OK);
	vrrp_speaker_permit(speaker, true);
	comes_to(VRRP_ACTIVE, "");
	assert_true(is_heard_from(0xc0000202));
	/* With it the kernel removes the group's, which had come later. */
	(void)netns_fixture_run("ip addr add 192.0.2.3/32 dev cable; "
				"ip addr del 192.0.2.2/24 dev cable");
	assert_false(has_address());
	sends_from(0xc0000203);
	assert_true(is_heard_from(0xc0000203));
	assert_true(has_address());
	assert_int_equal(vrrp_speaker_state(speaker)->state, VRRP_ACTIVE);
	assert_string_equal(vrrp_speaker_fault(speaker), "");
	assert_int_equal(changes, 1);
	/* Now the group's is the first one of its network. */
	(void)netns_fixture_run("ip addr add 192.0.2.4/24 dev cable; "
				"ip addr del 192.0.2.3/32 dev cable");
	sends_from(0xc0000204);
	close_speaker();
	assert_non_null(strstr(netns_fixture_run("ip -o addr show dev cable"), "192.0.2.4/24"));
	assert_false(has_address());
}

static void a_device_that_loses_its_own_address_is_told_and_the_group_stops(void **state)
{
	unsigned active;

	(void)state;
	netns_fixture_need();
	for (active = 0; active < 2; active++) {
		(void)netns_fixture_run("ip addr replace 192.0.2.2/24 dev cable");
		changes = 0;
		assert_int_equal(opens(), RC_OK);
		vrrp_speaker_permit(speaker, active);
		comes_to(active ? VRRP_ACTIVE : VRRP_BACKUP, "");
		(void)netns_fixture_run("ip addr del 192.0.2.2/24 dev cable");
		comes_to(VRRP_STOPPED, "cable has no IPv4 address");
		assert_false(has_address());
		assert_int_equal(changes, 2 * active);
		(void)netns_fixture_run("ip addr add 192.0.2.9/24 dev cable");
		comes_to(active ? VRRP_ACTIVE : VRRP_BACKUP, "");
		assert_string_equal(vrrp_speaker_fault(speaker), "");
		assert_int_equal(vrrp_speaker_state(speaker)->settings.own, 0xc0000209);
		close_speaker();
		(void)netns_fixture_run("ip addr flush dev cable");
	}
}

static void what_keeps_its_packets_from_the_others_is_told(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip addr add 192.0.2.2/24 dev cable");
	assert_int_equal(opens(), RC_OK);
	(void)netns_fixture_run("ip link set cable down");
	comes_to(VRRP_BACKUP, "cable is set down");
	(void)netns_fixture_run("ip link set cable up");
	vrrp_speaker_permit(speaker, true);
	comes_to(VRRP_ACTIVE, "");
	assert_string_equal(vrrp_speaker_fault(speaker), "");
	/* As by a firewall. */
	(void)netns_fixture_run("ip xfrm policy add dst 224.0.0.18/32 dir out action block");
	comes_to(VRRP_ACTIVE, "cable: the other routers of group 51 do not hear us: ");
	(void)netns_fixture_run("ip xfrm policy flush");
	is_well();
	close_speaker();
}

/* By others: the kernel says so. */
static void what_is_taken_off_by_others_comes_back(void **state)
{
	struct netlink_route route;

	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip addr add 192.0.2.2/24 dev cable");
	assert_int_equal(netlink_route_parse(&route, "198.51.100.0/24 via 192.0.2.1", &err), RC_OK);
	assert_int_equal(netlink_prefix_parse(&addresses[1], "2001:db8::77/64", &err), RC_OK);
	options.address_count = 2;
	options.routes = &route;
	options.route_count = 1;
	assert_int_equal(opens(), RC_OK);
	vrrp_speaker_permit(speaker, true);
	assert_true(gets_addresses());
	(void)netns_fixture_run(
		"ip addr del 192.0.2.77/24 dev cable; ip -6 addr del 2001:db8::77/64 "
		"dev cable; ip route del 198.51.100.0/24");
	assert_false(has_address() || has_address_of_ipv6());
	assert_true(gets_addresses());
	assert_non_null(strstr(netns_fixture_run("ip route"), "198.51.100.0/24 via 192.0.2.1"));
	close_speaker();
	assert_null(strstr(netns_fixture_run("ip route"), "198.51.100.0/24"));
}

static void silence_of_ours_is_not_taken_for_the_others(void **state)
{
	struct vrrp_advert advert = { .group = 51, .priority = 200, .count = 1, .interval = 1 };
	uint8_t packet[VRRP_PACKET_MAX];
	int other = -1, r;

	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip addr add 192.0.2.2/24 dev cable");
	netns_fixture_there();
	(void)netns_fixture_run("ip addr add 192.0.2.1/24 dev cable");
	assert_int_equal(vrrp_socket_open(&other, "cable", THEIR_ADDRESS, &err), RC_OK);
	netns_fixture_here();
	advert.address[0] = 0xc000024d;
	assert_int_equal(opens(), RC_OK);
	vrrp_speaker_permit(speaker, true);
	r = vrrp_socket_send(other, packet, vrrp_format_put(packet, &advert, THEIR_ADDRESS));
	(void)usleep(200000); /* more than patience allows, and the loop does not run */
	(void)uv_run(&loop, UV_RUN_NOWAIT);
	(void)close(other);
	assert_int_equal(r, 0);
	assert_int_equal(changes, 0);
	assert_int_equal(vrrp_speaker_state(speaker)->other, THEIR_ADDRESS);
	close_speaker();
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CLAIM(options_that_make_no_sense_are_refused),
		CLAIM(leftovers_are_taken_off_where_the_device_has_an_address_of_its_own),
		CLAIM(an_address_that_is_the_devices_only_one_stays_and_is_told),
		CLAIM(a_device_that_is_not_there_at_the_beginning_may_come_later),
		CLAIM(it_may_be_closed_when_it_tells_of_the_addresses),
		CLAIM(silence_of_ours_is_not_taken_for_the_others),
		CLAIM(a_device_that_was_down_gets_all_addresses_again),
		CLAIM(a_mac_address_that_changes_is_announced_as_it_is),
		CLAIM(a_device_that_is_made_anew_is_used_as_the_former_was),
		CLAIM(a_device_that_is_made_anew_at_once_is_found),
		CLAIM(the_devices_own_address_may_change_while_it_is_active),
		CLAIM(a_device_that_loses_its_own_address_is_told_and_the_group_stops),
		CLAIM(what_keeps_its_packets_from_the_others_is_told),
		CLAIM(what_is_taken_off_by_others_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
