/*
 * What is announced, against the kernel's own neighbour tables and bridges: those of another
 * namespace, at the other end of a cable.
 */
#include "appliance/base/clock.h"
#include "net/announce.h"
#include "net/packet.h"
#include "tests/unit/netns_fixture.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 2000
#define OLD "02:00:00:00:00:0a"
#define NEW "02:00:00:00:00:0b"

static bool possible;
static int fd = -1;
static uint8_t new_mac[ETHERNET_MAC] = { 2, 0, 0, 0, 0, 0xb };

static int set_up(void **state)
{
	struct err err;

	(void)state;
	possible = netns_fixture_create();
	return possible && packet_open(&fd, "cable", &err) != RC_OK ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (fd >= 0)
		(void)close(fd);
	fd = -1;
	netns_fixture_remove();
	return 0;
}

/* The far side has an entry of `ip` on `device`, with the MAC of where it was before. */
static void there_knows(const char *device, const char *ip)
{
	char command[160];

	(void)snprintf(command, sizeof(command),
		       "ip neigh replace %s dev %s lladdr " OLD " nud stale", ip, device);
	netns_fixture_there();
	(void)netns_fixture_run(command);
	netns_fixture_here();
}

/* Whether the command's output there comes to hold `part`; or does at this moment. */
static bool shows(const char *command, const char *part, unsigned patience_ms)
{
	bool shown = false;
	unsigned ms;

	netns_fixture_there();
	for (ms = 0; !shown && ms <= patience_ms; ms += 20) {
		shown = strstr(netns_fixture_run(command), part) != NULL;
		if (!shown)
			(void)usleep(20000);
	}
	netns_fixture_here();
	return shown;
}

static bool comes_to_show(const char *command, const char *part)
{
	return shows(command, part, PATIENCE_MS);
}

static struct card_address address_of(const char *ip, uint16_t outer, uint16_t inner)
{
	struct card_address address = { .version = strchr(ip, ':') != NULL ? 6 : 4 };

	memcpy(address.mac, new_mac, ETHERNET_MAC);
	assert_int_equal(inet_pton(address.version == 4 ? AF_INET : AF_INET6, ip, address.ip), 1);
	if (outer != 0)
		address.tags.tag[address.tags.count++] =
			(struct ethernet_tag){ inner != 0 ? ETHERNET_SERVICE_VLAN : ETHERNET_VLAN,
					       outer };
	if (inner != 0)
		address.tags.tag[address.tags.count++] =
			(struct ethernet_tag){ ETHERNET_VLAN, inner };
	return address;
}

static void emit(void *owner, const uint8_t *frame, size_t len)
{
	(void)owner;
	assert_int_equal(packet_send(fd, frame, len), 0);
}

static void both_forms_of_arp_change_a_neighbours_entry(void **state)
{
	struct card_address address = address_of("192.0.2.9", 0, 0);
	uint8_t frame[ANNOUNCE_FRAME_MAX];
	enum announce_form form;

	(void)state;
	netns_fixture_need();
	netns_fixture_there();
	(void)netns_fixture_run("ip addr add 192.0.2.1/24 dev cable");
	netns_fixture_here();
	for (form = ANNOUNCE_REQUEST; form <= ANNOUNCE_REPLY; form++) {
		there_knows("cable", "192.0.2.9");
		assert_true(comes_to_show("ip neigh show dev cable", OLD));
		emit(NULL, frame, announce_arp(frame, &address, form));
		assert_true(comes_to_show("ip neigh show dev cable", "192.0.2.9 lladdr " NEW));
	}
}

static void an_advertisement_changes_a_neighbours_entry_and_tells_a_router(void **state)
{
	struct card_address address = address_of("2001:db8::9", 0, 0);
	uint8_t frame[ANNOUNCE_FRAME_MAX];

	(void)state;
	netns_fixture_need();
	netns_fixture_there();
	(void)netns_fixture_run("ip addr add 2001:db8::1/64 dev cable nodad");
	netns_fixture_here();
	there_knows("cable", "2001:db8::9");
	emit(NULL, frame, announce_neighbour(frame, &address));
	assert_true(comes_to_show("ip -6 neigh show dev cable", "2001:db8::9 lladdr " NEW));
	assert_false(shows("ip -6 neigh show dev cable", "router", 0));
	address.router = true;
	emit(NULL, frame, announce_neighbour(frame, &address));
	assert_true(comes_to_show("ip -6 neigh show dev cable", "router"));
}

/* A socket there that hears all frames of the cable. */
static int listener(void)
{
	const int on = 1;
	int hears;

	netns_fixture_there();
	hears = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
	netns_fixture_here();
	assert_true(hears >= 0);
	assert_int_equal(setsockopt(hears, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on)), 0);
	return hears;
}

/* The next frame from our card; the outer tag as the kernel took it out of the frame. */
static size_t next_frame(int hears, uint8_t *frame, size_t size, struct tpacket_auxdata *tag)
{
	union {
		struct cmsghdr header;
		uint8_t bytes[CMSG_SPACE(sizeof(*tag))];
	} control;
	struct iovec to = { frame, size };
	struct msghdr message = { .msg_iov = &to, .msg_iovlen = 1, .msg_control = &control };
	const struct cmsghdr *about;
	ssize_t r;

	*tag = (struct tpacket_auxdata){ 0 };
	do {
		message.msg_controllen = sizeof(control);
		r = recvmsg(hears, &message, 0);
		assert_true(r > 0);
	} while (memcmp(frame + ETHERNET_MAC, new_mac, ETHERNET_MAC) != 0);
	about = CMSG_FIRSTHDR(&message);
	if (about == NULL) {
		fail_msg("the kernel said nothing about tags");
		return 0;
	}
	memcpy(tag, CMSG_DATA(about), sizeof(*tag));
	return (size_t)r;
}

static void the_kernel_there_reads_the_tags(void **state)
{
	struct card_address tagged = address_of("198.51.100.9", 100, 0),
			    twice = address_of("2001:db8:2::9", 200, 100);
	uint8_t frame[ANNOUNCE_FRAME_MAX], heard[256];
	struct tpacket_auxdata tag;
	struct ethernet_frame read;
	int hears;

	(void)state;
	netns_fixture_need();
	hears = listener();
	emit(NULL, frame, announce_arp(frame, &tagged, ANNOUNCE_REQUEST));
	assert_true(ethernet_read(&read, heard, next_frame(hears, heard, sizeof(heard), &tag)));
	assert_true((tag.tp_status & TP_STATUS_VLAN_VALID) != 0);
	assert_int_equal(tag.tp_vlan_tpid, ETHERNET_VLAN);
	assert_int_equal(tag.tp_vlan_tci, 100);
	assert_int_equal(read.tags.count, 0);
	assert_int_equal(read.type, ETHERNET_ARP);

	emit(NULL, frame, announce_neighbour(frame, &twice));
	assert_true(ethernet_read(&read, heard, next_frame(hears, heard, sizeof(heard), &tag)));
	assert_int_equal(tag.tp_vlan_tpid, ETHERNET_SERVICE_VLAN);
	assert_int_equal(tag.tp_vlan_tci, 200);
	assert_int_equal(read.tags.count, 1);
	assert_int_equal(read.tags.tag[0].control, 100);
	assert_int_equal(read.type, ETHERNET_IPV6);
	(void)close(hears);
}

/* Whether this kernel has VLAN devices: not all that are made for virtual machines do. */
static bool vlan_devices_exist(void)
{
	const char *said;
	bool exist;

	netns_fixture_there();
	said = netns_fixture_run(
		"(ip link add link cable name v100 type vlan id 100 && "
		"ip addr add 198.51.100.1/24 dev v100 && ip link set v100 up && "
		"ip link add link cable name s200 type vlan proto 802.1ad id 200 && "
		"ip link add link s200 name v200 type vlan id 100 && "
		"ip link set s200 up && ip link set v200 up && "
		"ip addr add 2001:db8:2::1/64 dev v200 nodad && echo done) 2>&1 || true");
	exist = strstr(said, "done") != NULL;
	if (!exist)
		print_message("no VLAN devices: %s", said);
	netns_fixture_here();
	return exist;
}

static void an_announcement_reaches_its_vlan(void **state)
{
	struct card_addresses table = { 0 };
	struct card_address tagged = address_of("198.51.100.9", 100, 0),
			    twice = address_of("2001:db8:2::9", 200, 100);

	(void)state;
	netns_fixture_need();
	if (!vlan_devices_exist())
		skip();
	there_knows("v100", "198.51.100.9");
	there_knows("v200", "2001:db8:2::9");
	assert_true(card_addresses_add(&table, &tagged));
	assert_true(card_addresses_add(&table, &twice));
	assert_int_equal(announce_card(&table, new_mac, clock_now_ns(), emit, NULL), 3);
	assert_true(comes_to_show("ip neigh show dev v100", "198.51.100.9 lladdr " NEW));
	assert_true(comes_to_show("ip neigh show dev v200", "2001:db8:2::9 lladdr " NEW));
}

static void an_address_nobody_asked_for_makes_no_entry(void **state)
{
	struct card_address address = address_of("192.0.2.44", 0, 0);
	uint8_t frame[ANNOUNCE_FRAME_MAX];

	(void)state;
	netns_fixture_need();
	there_knows("cable", "192.0.2.9");
	emit(NULL, frame, announce_arp(frame, &address, ANNOUNCE_REQUEST));
	address = address_of("192.0.2.9", 0, 0);
	emit(NULL, frame, announce_arp(frame, &address, ANNOUNCE_REQUEST));
	assert_true(comes_to_show("ip neigh show dev cable", "192.0.2.9 lladdr " NEW));
	assert_false(shows("ip neigh show dev cable", "192.0.2.44", 0));
}

static void rarp_moves_a_mac_to_the_port_it_comes_from(void **state)
{
	struct card_addresses none = { 0 };

	(void)state;
	netns_fixture_need();
	netns_fixture_there();
	(void)netns_fixture_run(
		"ip link add br0 type bridge forward_delay 0 && "
		"ip link add old type veth peer name end && ip link set end up && ip link set old master br0 up && "
		"ip link set cable master br0 && ip link set br0 up && "
		"bridge fdb add " NEW " dev old master dynamic");
	netns_fixture_here();
	assert_true(comes_to_show("bridge fdb show br br0", NEW " dev old"));
	assert_int_equal(announce_card(&none, new_mac, clock_now_ns(), emit, NULL), 1);
	assert_true(comes_to_show("bridge fdb show br br0", NEW " dev cable"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_forms_of_arp_change_a_neighbours_entry),
		cmocka_unit_test(an_advertisement_changes_a_neighbours_entry_and_tells_a_router),
		cmocka_unit_test(the_kernel_there_reads_the_tags),
		cmocka_unit_test(an_announcement_reaches_its_vlan),
		cmocka_unit_test(an_address_nobody_asked_for_makes_no_entry),
		cmocka_unit_test(rarp_moves_a_mac_to_the_port_it_comes_from),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
