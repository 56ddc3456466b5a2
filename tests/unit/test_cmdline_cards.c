/* Network cards that are taps at the primary and -netdev dgram at the standby. */
#include "replica/reservation.h"
#include "tests/unit/cmdline_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DGRAM "local.type=unix,local.path=net0.replica,remote.type=unix,remote.path=net0.gateway"
#define TAP "-netdev\ntap,id=n0,ifname=vm0,script=no,downscript=no,vnet_hdr=off\n"
#define VIRTIO "-device\nvirtio-net-pci,netdev=n0,mac=52:54:00:00:00:01"

static struct reservation reservation;
static struct err err;

static int tear_down(void **state)
{
	(void)state;
	reservation_free(&reservation);
	return 0;
}

/* A reservation of these arguments, with the card net0 behind -netdev n0. */
static int reserve(const char *text, char *const *own)
{
	int rc;

	reservation_free(&reservation);
	rc = reservation_add_tap(&reservation, "net0", "n0", false, &err);
	return rc == RC_OK ? arguments_reserve(&reservation, text, own, &err) : rc;
}

static void becomes(const char *from, const char *to)
{
	char whole[4096];

	if (reserve(from, NULL) != RC_OK)
		fail_msg("%s: %s", from, err.text);
	(void)snprintf(whole, sizeof(whole), PC "-nodefaults\n%s\n" NONE, to);
	assert_string_equal(arguments_joined(&reservation.spec.args), whole);
}

static void refused(const char *from, const char *words)
{
	assert_int_equal(reserve(from, NULL), RC_UNSUPPORTED);
	if (strstr(err.text, words) == NULL)
		fail_msg("%s: \"%s\" does not say \"%s\"", from, err.text, words);
}

static void a_tap_becomes_the_gateways_and_keeps_its_id(void **state)
{
	const struct cmdline_card *card;

	(void)state;
	becomes(TAP VIRTIO, "-netdev\ndgram,id=n0," DGRAM "\n" VIRTIO);
	assert_string_equal(reservation.nics[0].name, "net0");
	assert_string_equal(reservation.nics[0].socket, "net0.gateway");
	assert_string_equal(reservation.nics[0].qemu_socket, "net0.replica");
	card = cmdline_find_card(&reservation.spec, "n0");
	assert_true(card->virtio);
	assert_string_equal(card->ifname, "vm0");
	assert_null(cmdline_find_card(&reservation.spec, "n1"));
}

/* The descriptor is of the tap at the primary, which the standby's QEMU has no use for. */
static void a_tap_that_was_passed_as_a_descriptor_does_as_well(void **state)
{
	(void)state;
	becomes("-netdev\n{\"type\":\"tap\",\"fd\":\"26\",\"id\":\"n0\"}\n"
		"-device\n{\"driver\":\"e1000\",\"netdev\":\"n0\",\"id\":\"net0\"}",
		"-netdev\ndgram,id=n0," DGRAM
		"\n-device\n{\"driver\":\"e1000\",\"netdev\":\"n0\",\"id\":\"net0\"}");
	assert_false(reservation.spec.cards[0].virtio);
	assert_string_equal(reservation.spec.cards[0].ifname, "");
	becomes("-netdev\nbridge,id=n0,br=usbr0", "-netdev\ndgram,id=n0," DGRAM);
	becomes("-netdev\ntap,id=n0,ifname=tap%d", "-netdev\ndgram,id=n0," DGRAM);
	assert_string_equal(reservation.spec.cards[0].ifname, "");
}

static void other_cards_stay_as_they_are(void **state)
{
	(void)state;
	becomes("-netdev\ndgram,id=n1,local.type=unix,local.path=/run/l,remote.type=unix,remote.path=/run/r\n" TAP
		"-netdev\ntap,id=n2,ifname=vm2\n-device\nvirtio-net-pci,netdev=n2",
		"-netdev\ndgram,id=n1,local.type=unix,local.path=l,remote.type=unix,remote.path=r\n"
		"-netdev\ndgram,id=n0," DGRAM
		"\n-netdev\ntap,id=n2,ifname=vm2,script=no,downscript=no\n-device\nvirtio-net-pci,netdev=n2");
	assert_false(reservation.spec.cards[0].virtio);
	assert_int_equal(reservation_add_nic(&reservation, "net1", "/run/r", "/run/l", false, &err),
			 RC_OK);
	assert_int_equal(reservation.nnics, 2);
}

static void its_sockets_names_are_its_own(void **state)
{
	(void)state;
	becomes("-netdev\ndgram,id=n1,local.type=unix,local.path=/run/net0.replica,"
		"remote.type=unix,remote.path=/run/r\n" TAP VIRTIO,
		"-netdev\ndgram,id=n1,local.type=unix,local.path=net0.replica-2,"
		"remote.type=unix,remote.path=r\n-netdev\ndgram,id=n0," DGRAM "\n" VIRTIO);
	assert_int_equal(reservation_add_nic(&reservation, "net1", "/run/r", "/run/net0.replica",
					     false, &err),
			 RC_INVALID);
	assert_non_null(strstr(err.text, "net0.replica"));
}

static void what_is_no_such_tap_is_refused(void **state)
{
	(void)state;
	refused("-netdev\nuser,id=n0", "-netdev n0 (argument 2): is no tap");
	refused("-netdev\ndgram,id=n0,local.type=unix,local.path=/a", "socket and qemu_socket");
	refused("-netdev\ntap,id=n1", "without a -netdev of the id n0");
	refused("-nic\ntap,id=n0", "without a -netdev of the id n0");
	refused("-netdev\ntap,id=n0,vhost=on", "vhost=off");
	refused("-netdev\n{\"type\":\"tap\",\"id\":\"n0\",\"fd\":\"3\",\"vhost\":true,\"vhostfd\":\"4\"}",
		"vhost=off");
	refused("-netdev\ntap,id=n0,vhostfds=4:5", "vhost=off");
}

static void the_operators_own_list_is_checked_against_what_qemu_has(void **state)
{
	static char a[] = "-nodefaults";
	char *const own[] = { a, NULL };

	(void)state;
	assert_int_equal(reserve(TAP VIRTIO, own), RC_OK);
	assert_true(reservation.spec.cards[0].virtio);
	assert_string_equal(reservation.nics[0].socket, "net0.gateway");
	assert_int_equal(reserve("-netdev\nuser,id=n0", own), RC_UNSUPPORTED);
}

static void there_is_a_limit_to_cards_and_to_names(void **state)
{
	char name[CMDLINE_NAME_MAX + 2];

	(void)state;
	reservation_free(&reservation);
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(reservation_add_tap(&reservation, "net0", name, false, &err), RC_LIMIT);
	name[CMDLINE_NAME_MAX] = '\0';
	for (int i = 0; i < CMDLINE_CARDS_MAX; i++) {
		name[0] = (char)('a' + i);
		assert_int_equal(reservation_add_tap(&reservation, name, name, false, &err), RC_OK);
	}
	assert_int_equal(reservation_add_tap(&reservation, "z", "z", false, &err), RC_LIMIT);
}

int main(void)
{
#define CLAIM(f) cmocka_unit_test_teardown(f, tear_down)
	const struct CMUnitTest tests[] = {
		CLAIM(a_tap_becomes_the_gateways_and_keeps_its_id),
		CLAIM(a_tap_that_was_passed_as_a_descriptor_does_as_well),
		CLAIM(other_cards_stay_as_they_are),
		CLAIM(its_sockets_names_are_its_own),
		CLAIM(what_is_no_such_tap_is_refused),
		CLAIM(the_operators_own_list_is_checked_against_what_qemu_has),
		CLAIM(there_is_a_limit_to_cards_and_to_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
