/*
 * A primary's network card: what of the instance's frames reaches its site in announce mode, and when; what
 * the standby is told; and what is different without output commit.
 */
#include "appliance/guest_ports.h"

#include "net/frames.h"
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
static unsigned rights;	    /* how often this site may serve yet */
static unsigned outputs;    /* how often on_output() was called */
static uint8_t payload[64]; /* of what the standby got last */
static char dir[64], ours[128], theirs[128], site[] = "site", name[] = "net0", vm[] = "vm1";
static struct config_nic nic = { .name = name, .tap = site, .output_commit = true };
static const struct config_instance instance = { .name = vm, .nics = &nic, .nnics = 1 };
static struct guest_ports *ports;
static int qemu;

static void on_output(void *owner)
{
	(void)owner;
	outputs++;
}

static bool may_serve(void *owner)
{
	(void)owner;
	if (rights == 0)
		return false;
	rights--;
	return true;
}

static bool may_without_standby(void *owner)
{
	(void)owner;
	return is_free;
}

static const struct guest_ports_ops ops = { on_output, may_serve, may_without_standby };

static int at_standby(struct side *side, const struct wire_header *header, const uint8_t *data,
		      struct err *unused)
{
	(void)side;
	(void)unused;
	memcpy(payload, data, header->length < sizeof(payload) ? header->length : sizeof(payload));
	return RC_OK;
}

static void bind_qemu(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	qemu = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", theirs);
	assert_int_equal(bind(qemu, (struct sockaddr *)&address, sizeof(address)), 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", ours);
	assert_int_equal(connect(qemu, (struct sockaddr *)&address, sizeof(address)), 0);
}

static int open_card(char *tap, bool output_commit)
{
	is_free = false;
	rights = 1000;
	outputs = 0;
	nic.tap = tap;
	nic.output_commit = output_commit;
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
	world.standby.frame = at_standby;
	world_connect(&world);
	if (guest_ports_open(&ports, &world.loop, &instance, &ops, NULL, &err) != RC_OK)
		return -1;
	guest_ports_link(ports, world.primary.link, 1, 0);
	bind_qemu();
	guest_ports_attach(ports, getpid());
	guest_ports_hooks(ports).thaw(ports, 1); /* epoch 1 is open */
	return 0;
}

static int set_up(void **state)
{
	(void)state;
	return open_card(site, true);
}

static int set_up_without_commit(void **state)
{
	(void)state;
	return open_card(site, false);
}

static int set_up_gateway(void **state)
{
	(void)state;
	return open_card(NULL, true);
}

static int set_up_gateway_without_commit(void **state)
{
	(void)state;
	return open_card(NULL, false);
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

/* How many frames have left at this site: what its tap has received from us. */
static unsigned long left(void)
{
	return strtoul(netns_fixture_run("awk '$1 == \"site:\" { print $3 }' /proc/net/dev"), NULL,
		       10);
}

/* What the standby has got until now: nothing is on its way any more. */
static unsigned told_standby(void)
{
	unsigned before;

	assert_int_equal(link_send(world.primary.link, WIRE_WANT_HASHES, 1, 0, NULL, 0, &err),
			 RC_OK);
	RUN_UNTIL(&world, world.standby.last.type == WIRE_WANT_HASHES);
	before = world.standby.frames - 1;
	world.standby.frames = 0;
	world.standby.last.type = 0;
	return before;
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
	assert_int_equal(told_standby(), 0);
}

static void frames_leave_with_the_commit_of_their_epoch(void **state)
{
	(void)state;
	need_namespaces();
	say();
	guest_ports_hooks(ports).thaw(ports, 2);
	say();
	assert_int_equal(outputs, 2);
	assert_int_equal(left(), 0);
	guest_ports_committed(ports, 1);
	assert_int_equal(left(), 1);
	guest_ports_committed(ports, 2);
	assert_int_equal(left(), 2);
}

static void the_right_may_end_between_two_frames(void **state)
{
	(void)state;
	need_namespaces();
	say();
	say();
	rights = 2; /* it is asked before it begins, too */
	guest_ports_committed(ports, 1);
	assert_int_equal(left(), 1);
	assert_true(guest_ports_counters(ports).dropped == 1);
}

static void the_standby_is_asked_anew_on_each_connection(void **state)
{
	(void)state;
	need_namespaces();
	say();
	guest_ports_released(ports);
	guest_ports_permitted(ports);
	assert_int_equal(told_standby(), 1); /* that once, on one connection */
	guest_ports_link(ports, world.primary.link, 1, 0);
	guest_ports_permitted(ports);
	RUN_UNTIL(&world, world.standby.last.type == WIRE_UNCOMMITTED);
	assert_int_equal(left(), 0);
}

/* The other sender counts its frames from 1 again: a mark of the former one's would have it forget what was not given. */
static void how_far_input_was_given_begins_anew_with_each_connection(void **state)
{
	struct frames input = { .next = 41 };
	const uint8_t frame[60] = { 0 };

	(void)state;
	need_namespaces();
	assert_true(frames_add(&input, frame, sizeof(frame)));
	frames_finish(&input);
	assert_int_equal(guest_ports_frames(ports, input.payload.data, input.payload.len, &err),
			 RC_OK);
	guest_ports_hooks(ports).freeze(ports);
	guest_ports_captured(ports, 1);
	RUN_UNTIL(&world, world.standby.last.type == WIRE_INPUT);
	assert_int_equal(bytes_get_le64(payload), 41);
	guest_ports_link(ports, world.primary.link, 1, 1);
	guest_ports_captured(ports, 2);
	RUN_UNTIL(&world, world.standby.last.epoch == 2);
	assert_int_equal(bytes_get_le64(payload), 0);
	frames_free(&input);
}

static void without_output_commit_frames_leave_at_once_and_no_epoch_is_hurried(void **state)
{
	(void)state;
	need_namespaces();
	say();
	assert_int_equal(left(), 1);
	assert_int_equal(outputs, 0);
	assert_true(guest_ports_counters(ports).held == 0);
	assert_int_equal(told_standby(), 0);
	rights = 0; /* but not where another may serve */
	say();
	assert_int_equal(left(), 1);
}

static void a_gateway_gets_frames_with_the_epoch_that_they_wait_for(void **state)
{
	(void)state;
	need_namespaces();
	say();
	RUN_UNTIL(&world, world.standby.frames == 1);
	assert_int_equal(world.standby.last.type, WIRE_FRAMES);
	assert_int_equal(world.standby.last.epoch, 1);
	assert_int_equal(payload[1], 0);
	assert_int_equal(outputs, 1);
}

static void without_output_commit_a_gateway_is_told_that_they_do_not_wait(void **state)
{
	(void)state;
	need_namespaces();
	say();
	guest_ports_hooks(ports).thaw(ports, 0); /* not even then is it asked first */
	say();
	RUN_UNTIL(&world, world.standby.frames == 2);
	assert_int_equal(world.standby.last.type, WIRE_FRAMES);
	assert_int_equal(payload[1], FRAMES_AT_ONCE);
	assert_int_equal(outputs, 0);
	assert_int_equal(told_standby(), 2);
}

int main(void)
{
#define TEST(name, set_up) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_is_held_leaves_when_the_capture_has_ended, set_up),
		TEST(what_is_no_frame_is_counted, set_up),
		TEST(not_before_the_standby_knows_of_it, set_up),
		TEST(of_an_instance_that_is_gone_nothing_leaves_and_the_standby_hears_nothing,
		     set_up),
		TEST(frames_leave_with_the_commit_of_their_epoch, set_up),
		TEST(the_right_may_end_between_two_frames, set_up),
		TEST(the_standby_is_asked_anew_on_each_connection, set_up),
		TEST(how_far_input_was_given_begins_anew_with_each_connection, set_up),
		TEST(without_output_commit_frames_leave_at_once_and_no_epoch_is_hurried,
		     set_up_without_commit),
		TEST(a_gateway_gets_frames_with_the_epoch_that_they_wait_for, set_up_gateway),
		TEST(without_output_commit_a_gateway_is_told_that_they_do_not_wait,
		     set_up_gateway_without_commit),
	};

	return cmocka_run_group_tests(tests, link_fixture_setup, link_fixture_teardown);
}
