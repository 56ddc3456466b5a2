/* Which of the instance's frames the gateway lets out to clients, and when. */
#include "appliance/gateway.h"

#include "appliance/base/clock.h"
#include "net/frames.h"
#include "tests/unit/clock_fixture.h"
#include "tests/unit/frame_builder.h"
#include "tests/unit/netns_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_NS (20 * CLOCK_NS_PER_S) /* of a loaded machine */
#define LARGE ((size_t)60000)		  /* a frame of which few fill what is bounded */

static bool possible;
static struct err err;
static uv_loop_t loop;
static char dir[64];
static struct gateway *gateway;
static struct frames frames;
static unsigned told; /* that frames netns_fixture_tear_down without an epoch */

static int enter(void **state)
{
	(void)state;
	possible = netns_fixture_create() && access("/dev/net/tun", R_OK | W_OK) == 0;
	return 0;
}

static void on_unprotected(void *owner)
{
	(void)owner;
	told++;
}

static const struct gateway_ops ops = { on_unprotected };

static int set_up(void **state)
{
	static char name[] = "net0", tap[] = "us-net0";
	static struct config_nic nic = { .name = name, .tap = tap };
	static const struct config_instance instance = { .name = name, .nics = &nic, .nnics = 1 };
	static const struct reservation reservation = {
		.nics = { { .name = "net0", .socket = "gateway", .qemu_socket = "replica" } },
		.nnics = 1
	};

	(void)state;
	if (!possible) {
		print_message("this machine gives no network namespaces, or no /dev/net/tun\n");
		return 0;
	}
	(void)snprintf(dir, sizeof(dir), "%s", "/tmp/understudy-gateway-XXXXXX");
	frames = (struct frames){ .next = 1 };
	told = 0;
	if (mkdtemp(dir) == NULL || uv_loop_init(&loop) != 0 ||
	    gateway_open(&gateway, &loop, &instance, &ops, NULL, &err) != RC_OK ||
	    gateway_seat(gateway, &reservation, dir, &err) != RC_OK)
		return -1;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (!possible)
		return 0;
	gateway_close(gateway);
	frames_free(&frames);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	(void)rmdir(dir);
	return uv_loop_close(&loop);
}

/* One frame of that length; flags as in the header. */
static void give_frame(uint64_t epoch, uint8_t flags, size_t len)
{
	static const uint8_t frame[LARGE];

	frames.flags = flags;
	assert_true(frames_add(&frames, frame, len));
	frames_finish(&frames);
	assert_int_equal(gateway_frames(gateway, epoch, frames.payload.data, frames.payload.len,
					&err),
			 RC_OK);
	frames_next(&frames);
}

/* One frame of the instance. */
static void give(uint64_t epoch)
{
	give_frame(epoch, 0, 60);
}

static void expect(uint64_t left, uint64_t held)
{
	const struct gateway_counters counters = gateway_counters(gateway);

	assert_int_equal(counters.to_clients, left);
	assert_int_equal(counters.held, held);
}

static void frames_leave_when_their_epoch_is_committed(void **state)
{
	(void)state;
	if (!possible)
		skip();
	give(5);
	give(6);
	expect(0, 2);
	gateway_committed(gateway, 5);
	expect(1, 1);
	give(5); /* late; behind what waits all the same */
	expect(1, 2);
	gateway_committed(gateway, 6);
	expect(3, 0);
	assert_int_equal(told, 0);
}

static void what_waits_leaves_when_nothing_protects_the_instance_any_more(void **state)
{
	(void)state;
	if (!possible)
		skip();
	gateway_committed(gateway, 5);
	give(6);
	give(0);
	expect(2, 0);
	assert_int_equal(told, 1);
	give(0);
	expect(3, 0);
	assert_int_equal(told, 1);
}

/* The first copy was whole, frames waited for it, and it was not committed: nor will the next attempt be for long. */
static void a_session_that_fails_before_its_first_commit_cuts_nothing_off(void **state)
{
	(void)state;
	if (!possible)
		skip();
	give(0); /* while the first copy is taken */
	assert_int_equal(told, 1);
	give(6); /* it has been */
	expect(1, 1);
	give(0);
	expect(3, 0);
	assert_int_equal(told, 2); /* of answers that the epoch on its way does not know */
}

/* The operator's choice for a card. Whatever waits is of another one. */
static void frames_without_output_commit_leave_at_once(void **state)
{
	(void)state;
	if (!possible)
		skip();
	gateway_committed(gateway, 5);
	give(6);
	give_frame(6, FRAMES_AT_ONCE, 60);
	expect(1, 1);
	give_frame(0, FRAMES_AT_ONCE,
		   60); /* nothing protects it, which is nothing new to its clients */
	expect(2, 1);
	assert_int_equal(told, 0);
}

static void the_primarys_word_on_output_commit_is_known_when_it_has_told(void **state)
{
	static const struct reservation reservation = { .nics = { { .name = "net0",
								    .socket = "gateway",
								    .qemu_socket = "replica",
								    .at_once = true } },
							.nnics = 1 };
	const struct config_nic *cards;

	(void)state;
	if (!possible)
		skip();
	assert_int_equal(gateway_cards(gateway, &cards), 1);
	assert_true(cards[0].output_commit);
	assert_int_equal(gateway_seat(gateway, &reservation, dir, &err), RC_OK);
	assert_int_equal(gateway_cards(gateway, &cards), 1);
	assert_string_equal(cards[0].name, "net0");
	assert_false(cards[0].output_commit);
}

static void from_the_decision_on_nothing_of_the_primarys_leaves(void **state)
{
	(void)state;
	if (!possible)
		skip();
	gateway_committed(gateway, 5);
	gateway_turn(gateway);
	give(5);
	give(0);
	give_frame(5, FRAMES_AT_ONCE, 60);
	expect(0, 0);
	assert_int_equal(gateway_counters(gateway).dropped, 3);
	gateway_serve(gateway);
	give(5);
	expect(0, 0);
	assert_int_equal(gateway_counters(gateway).dropped, 4);
	gateway_turn_back(gateway); /* it was let go */
	give(5);
	expect(1, 0);
}

static void what_waits_for_an_epoch_of_a_former_session_does_not_leave(void **state)
{
	(void)state;
	if (!possible)
		skip();
	give(5);
	gateway_session(gateway);
	gateway_committed(gateway, 5); /* another one of that number */
	expect(0, 0);
	assert_int_equal(gateway_counters(gateway).dropped, 1);
}

static void what_waits_is_bounded(void **state)
{
	const uint64_t fit = GATEWAY_HELD_BYTES / LARGE;
	uint64_t i;

	(void)state;
	if (!possible)
		skip();
	for (i = 0; i < 2 * fit; i++)
		give_frame(5, 0, LARGE);
	assert_in_range(gateway_counters(gateway).held, fit / 2, fit);
	assert_int_equal(gateway_counters(gateway).dropped,
			 2 * fit - gateway_counters(gateway).held);
}

/* The newest of it: what is older has most likely been answered. */
static void what_is_kept_for_the_replica_is_bounded(void **state)
{
	const uint64_t fit = GATEWAY_INPUT_BYTES / LARGE;
	uint64_t i;

	(void)state;
	if (!possible)
		skip();
	for (i = 0; i < 2 * fit; i++)
		give_frame(0, FRAMES_INPUT, LARGE);
	gateway_serve(gateway);
	assert_in_range(gateway_counters(gateway).replayed, fit / 2, fit);
}

/* Frames on this site's tap from here. */
static unsigned long announced(void)
{
	return strtoul(netns_fixture_run("awk '$1 == \"us-net0:\" { print $3 }' /proc/net/dev"),
		       NULL, 10);
}

static unsigned long rounds(unsigned seconds)
{
	const unsigned long before = announced();
	unsigned i;

	for (i = 0; i < seconds * 20; i++) {
		clock_fixture_pass(50);
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	}
	return announced() - before;
}

/* Its far side has heard nothing of the replica, and knows the instance behind another port. */
static void when_a_partition_has_healed_the_replica_is_announced_from_the_start_again(void **state)
{
	struct frame_builder arp;
	unsigned long first;

	(void)state;
	if (!possible)
		skip();
	frame_builder_begin(&arp, (const uint8_t[]){ 2, 0, 0, 0, 0, 1 }, 0, 0, ETHERNET_ARP);
	frame_builder_arp(&arp, 1, (const uint8_t[]){ 2, 0, 0, 0, 0, 1 }, "10.0.0.1", "10.0.0.2");
	assert_true(frames_add(&frames, arp.data, arp.len));
	frames_finish(&frames);
	gateway_committed(gateway, 1);
	assert_int_equal(gateway_frames(gateway, 1, frames.payload.data, frames.payload.len, &err),
			 RC_OK);
	gateway_serve(gateway);
	first = rounds(12);
	assert_true(first > 0);
	assert_int_equal(rounds(12), 0); /* now once a minute */
	gateway_link(gateway, NULL, 2);
	assert_int_equal(rounds(12), 0);
	gateway_link(gateway, (struct link *)&loop, 2); /* which is not asked for anything */
	assert_int_equal(rounds(12), first);
}

static void wait_for_fault(const char *part)
{
	const uint64_t end_ns = clock_now_ns() + PATIENCE_NS;

	while (strstr(gateway_fault(gateway), part) == NULL) {
		if (clock_now_ns() > end_ns)
			fail_msg("\"%s\" is what it says", gateway_fault(gateway));
		(void)uv_run(&loop, UV_RUN_ONCE);
	}
}

static void a_replicas_socket_that_is_removed_is_a_fault_and_made_anew(void **state)
{
	char path[96];

	(void)state;
	if (!possible)
		skip();
	(void)snprintf(path, sizeof(path), "%s/gateway", dir);
	assert_string_equal(gateway_fault(gateway), "");
	assert_int_equal(unlink(path), 0);
	wait_for_fault("gateway was removed by somebody");
	while (*gateway_fault(gateway) != '\0')
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(access(path, F_OK), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(frames_leave_when_their_epoch_is_committed),
		TEST(what_waits_leaves_when_nothing_protects_the_instance_any_more),
		TEST(a_session_that_fails_before_its_first_commit_cuts_nothing_off),
		TEST(frames_without_output_commit_leave_at_once),
		TEST(the_primarys_word_on_output_commit_is_known_when_it_has_told),
		TEST(from_the_decision_on_nothing_of_the_primarys_leaves),
		TEST(what_waits_for_an_epoch_of_a_former_session_does_not_leave),
		TEST(what_waits_is_bounded),
		TEST(what_is_kept_for_the_replica_is_bounded),
		TEST(when_a_partition_has_healed_the_replica_is_announced_from_the_start_again),
		TEST(a_replicas_socket_that_is_removed_is_a_fault_and_made_anew),
	};

	return cmocka_run_group_tests(tests, enter, netns_fixture_tear_down);
}
