/* With bridges and taps of the kernel's, in a network namespace of its own. */
#include "appliance/guest_bridge.h"
#include "tests/unit/netns_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char net0[] = "net0", n0[] = "n0", usbr0[] = "usbr0", usg0[] = "usg0";
static const struct config_nic nic = {
	.name = net0, .netdev = n0, .guest_bridge = usbr0, .guest_tap = usg0
};
static const struct cmdline_card passed = { .netdev = "n0" }; /* fd=: no name */
static const struct cmdline_card named = { .netdev = "n0", .ifname = "vm0" };
static const struct cmdline_card virtio = { .netdev = "n0", .ifname = "vm0", .virtio = true };
static struct err err;
static bool possible;

static int set_up(void **state)
{
	(void)state;
	possible = netns_fixture_create();
	if (possible)
		(void)netns_fixture_run(
			"ip link add usbr0 type bridge; ip tuntap add usg0 mode tap; "
			"ip tuntap add vm0 mode tap; ip link set usg0 master usbr0; "
			"ip link set vm0 master usbr0");
	return 0;
}

static void takes(const struct cmdline_card *card)
{
	if (guest_bridge_check(&nic, card, &err) != RC_OK)
		fail_msg("%s", err.text);
}

/* After that command the check says these words. */
static void refuses_after(const char *command, const struct cmdline_card *card, const char *words)
{
	netns_fixture_need();
	(void)netns_fixture_run(command);
	assert_int_not_equal(guest_bridge_check(&nic, card, &err), RC_OK);
	if (strstr(err.text, words) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err.text, words);
}

static void a_bridge_with_these_two_ports_is_right(void **state)
{
	(void)state;
	netns_fixture_need();
	takes(&passed);
	takes(&named);
	takes(&virtio);
}

static void a_third_port_would_let_frames_out(void **state)
{
	(void)state;
	refuses_after("ip link set cable master usbr0", &named, "cable");
	assert_non_null(strstr(err.text, "vm0"));
	assert_non_null(strstr(err.text, "usg0 only"));
}

static void no_bridge_at_all_is_named(void **state)
{
	(void)state;
	refuses_after("ip link del usbr0", &named, "usbr0");
}

static void a_bridge_that_was_made_anew_has_lost_the_agents_tap(void **state)
{
	(void)state;
	refuses_after("ip link set usg0 nomaster", &named, "the agent adds it again");
}

static void the_instances_tap_has_to_be_there(void **state)
{
	(void)state;
	refuses_after("ip link set vm0 nomaster", &named, "ip link set vm0 master usbr0");
	refuses_after("true", &passed, "-netdev n0");
	refuses_after("ip link set cable master usbr0", &named,
		      "its port cable is not QEMU's tap, which is vm0");
	refuses_after("true", &passed, "cable is no tap");
}

static void a_spanning_tree_is_not_for_clients(void **state)
{
	(void)state;
	refuses_after("ip link set usbr0 type bridge stp_state 1", &named, "stp_state 0");
}

static void a_virtio_cards_tap_has_to_be_like_a_dgram(void **state)
{
	(void)state;
	refuses_after("ip link del vm0; ip tuntap add vm0 mode tap vnet_hdr; "
		      "ip link set vm0 master usbr0",
		      &virtio, "vnet_hdr=off");
	takes(&named); /* any other card */
	refuses_after("ip link del vm0; ip tuntap add vm0 mode tap multi_queue; "
		      "ip link set vm0 master usbr0",
		      &virtio, "queues=1");
}

int main(void)
{
#define CLAIM(f) cmocka_unit_test_setup_teardown(f, set_up, netns_fixture_tear_down)
	const struct CMUnitTest tests[] = {
		CLAIM(a_bridge_with_these_two_ports_is_right),
		CLAIM(a_third_port_would_let_frames_out),
		CLAIM(no_bridge_at_all_is_named),
		CLAIM(a_bridge_that_was_made_anew_has_lost_the_agents_tap),
		CLAIM(the_instances_tap_has_to_be_there),
		CLAIM(a_spanning_tree_is_not_for_clients),
		CLAIM(a_virtio_cards_tap_has_to_be_like_a_dgram),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
