/* A primary's network card in announce mode: what of the instance's frames reaches its site, and when. */
#include "appliance/guest_ports.h"
#include "tests/unit/link_fixture.h"
#include "tests/unit/netns_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct err err;
static struct world world;
static bool possible, is_free;
static char dir[64], ours[128], theirs[128], site[] = "site", name[] = "net0", vm[] = "vm1";
static struct config_nic nic = { .name = name, .tap = site, .output_commit = true };
static const struct config_instance instance = { .name = vm, .nics = &nic, .nnics = 1 };
static struct guest_ports *ports;
static int qemu;

static void on_output(void *owner)
{
	(void)owner;
}

static bool yes(void *owner)
{
	(void)owner;
	return true;
}

static bool may_without_standby(void *owner)
{
	(void)owner;
	return is_free;
}

static const struct guest_ports_ops ops = { on_output, yes, may_without_standby };

static void bind_qemu(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	qemu = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", theirs);
	assert_int_equal(bind(qemu, (struct sockaddr *)&address, sizeof(address)), 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", ours);
	assert_int_equal(connect(qemu, (struct sockaddr *)&address, sizeof(address)), 0);
}

static int set_up(void **state)
{
	(void)state;
	is_free = false;
	possible = netns_fixture_create() && access("/dev/net/tun", R_OK | W_OK) == 0;
	if (!possible)
		return 0;
	(void)netns_fixture_run("ip link set lo up");
	(void)snprintf(dir, sizeof(dir), "%s", "/tmp/understudy-ports-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	(void)snprintf(ours, sizeof(ours), "%s/agent", dir);
	(void)snprintf(theirs, sizeof(theirs), "%s/qemu", dir);
	nic.socket = ours;
	nic.qemu_socket = theirs;
	world_open(&world);
	world_connect(&world);
	if (guest_ports_open(&ports, &world.loop, &instance, &ops, NULL, &err) != RC_OK)
		return -1;
	guest_ports_link(ports, world.primary.link, 1, 0);
	bind_qemu();
	guest_ports_attach(ports, getpid());
	guest_ports_hooks(ports).thaw(ports, 1); /* epoch 1 is open */
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (!possible)
		return 0;
	guest_ports_close(ports);
	world_close(&world);
	(void)close(qemu);
	(void)unlink(theirs);
	(void)rmdir(dir);
	netns_fixture_remove();
	return 0;
}

static void need_namespaces(void)
{
	if (!possible) {
		print_message("no network namespaces with taps: root, or user namespaces, and "
			      "/dev/net/tun are needed\n");
		skip();
	}
}

/* One frame of the instance's, and until it has been read. */
static void say(void)
{
	const uint8_t frame[60] = { 0xff };
	const uint64_t before = guest_ports_counters(ports).from_instance;

	assert_int_equal(send(qemu, frame, sizeof(frame), 0), sizeof(frame));
	RUN_UNTIL(&world, guest_ports_counters(ports).from_instance > before);
}

static void what_is_held_leaves_when_the_capture_has_ended(void **state)
{
	(void)state;
	need_namespaces();
	is_free = true;
	say();
	assert_true(guest_ports_counters(ports).held == 1);
	guest_ports_released(ports);
	assert_true(guest_ports_counters(ports).held == 0);
	assert_true(guest_ports_counters(ports).dropped == 0);
}

static void what_is_no_frame_is_counted(void **state)
{
	const uint8_t frame[3] = { 0xff };

	(void)state;
	need_namespaces();
	assert_int_equal(send(qemu, frame, sizeof(frame), 0), sizeof(frame));
	RUN_UNTIL(&world, guest_ports_counters(ports).refused == 1);
	assert_true(guest_ports_counters(ports).from_instance == 0);
}

static void not_before_the_standby_knows_of_it(void **state)
{
	(void)state;
	need_namespaces();
	say();
	guest_ports_released(ports);
	assert_true(guest_ports_counters(ports).held == 1);
	RUN_UNTIL(&world, world.standby.frames == 1);
	assert_int_equal(world.standby.last.type, WIRE_UNCOMMITTED);
	guest_ports_uncommitted(ports, 0);
	assert_true(guest_ports_counters(ports).held == 0);
	assert_true(guest_ports_counters(ports).dropped == 0);
}

static void of_an_instance_that_is_gone_nothing_leaves_and_the_standby_hears_nothing(void **state)
{
	(void)state;
	need_namespaces();
	for (uint64_t epoch = 1; epoch <= 2; epoch++) {
		is_free = epoch == 2;
		guest_ports_hooks(ports).thaw(ports, epoch);
		say();
		guest_ports_gone(ports);
		guest_ports_released(ports);
		say(); /* it had sent that before */
		guest_ports_permitted(ports);
		assert_true(guest_ports_counters(ports).held == 0);
		assert_true(guest_ports_counters(ports).dropped == 2 * epoch);
		guest_ports_attach(ports, getpid()); /* another QEMU in its place */
	}
	/* What arrives first shows that nothing was sent before it. */
	assert_int_equal(link_send(world.primary.link, WIRE_WANT_HASHES, 1, 0, NULL, 0, &err),
			 RC_OK);
	RUN_UNTIL(&world, world.standby.frames == 1);
	assert_int_equal(world.standby.last.type, WIRE_WANT_HASHES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_held_leaves_when_the_capture_has_ended,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_no_frame_is_counted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(not_before_the_standby_knows_of_it, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(
			of_an_instance_that_is_gone_nothing_leaves_and_the_standby_hears_nothing,
			set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, link_fixture_setup, link_fixture_teardown);
}
