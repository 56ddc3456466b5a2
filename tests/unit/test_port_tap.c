#include "appliance/base/clock.h"
#include "net/port.h"
#include "tests/unit/netns_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PATIENCE_NS (20 * CLOCK_NS_PER_S) /* of a loaded machine */
#define TURNS_MAX 50 /* of a loop that has nothing to do but a timer, or turns for its own sake */

static struct err err;
static uv_loop_t loop;
static bool possible;
static struct port *port;
static unsigned told;
static char last[ERR_TEXT_MAX];

static void on_frames(void *owner, const struct port_frame *frames, size_t count)
{
	(void)owner;
	(void)frames;
	(void)count;
}

static void on_fault(void *owner, const char *fault)
{
	(void)owner;
	told++;
	(void)snprintf(last, sizeof(last), "%s", fault);
}

static int set_up(void **state)
{
	static const struct port_ops ops = { .on_frames = on_frames, .on_fault = on_fault };

	(void)state;
	told = 0;
	last[0] = '\0';
	possible = netns_fixture_create();
	if (!possible)
		return 0;
	(void)netns_fixture_run("ip link add bridge type bridge && ip link set bridge up");
	return uv_loop_init(&loop) != 0 || port_open_tap(&port, &loop, "tap", "bridge", &ops, NULL,
							 &err) != RC_OK ?
		       -1 :
		       0;
}

static int tear_down(void **state)
{
	(void)state;
	if (!possible)
		return 0;
	port_close(port);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	netns_fixture_remove();
	return uv_loop_close(&loop); /* no handle is left */
}

/* Until the fault says that; how many turns of the loop it took. */
static unsigned wait_for(const char *part)
{
	uint64_t end_ns = clock_now_ns() + PATIENCE_NS;
	unsigned turns = 0;

	while (*part != '\0' ? strstr(port_fault(port), part) == NULL : *port_fault(port) != '\0') {
		if (clock_now_ns() > end_ns)
			fail_msg("\"%s\" is what it says, not \"%s\"", port_fault(port), part);
		(void)uv_run(&loop, UV_RUN_ONCE);
		turns++;
	}
	assert_string_equal(last, port_fault(port));
	return turns;
}

static void assert_shows(const char *part)
{
	const char *shown = netns_fixture_run("ip link show tap");

	if (strstr(shown, part) == NULL)
		fail_msg("no \"%s\" in %s", part, shown);
}

static void a_deleted_tap_is_told_once_and_made_anew(void **state)
{
	const uint8_t frame[60] = { 0xff };
	uint64_t dropped;

	(void)state;
	netns_fixture_need();
	assert_string_equal(port_fault(port), "");
	(void)netns_fixture_run("ip link del tap");
	(void)wait_for("tap tap is gone");
	dropped = port_counters(port).dropped;
	assert_false(port_send(port, frame, sizeof(frame)));
	assert_true(port_counters(port).dropped == dropped + 1);
	assert_int_equal(told, 1);
	assert_in_range(wait_for(""), 1, TURNS_MAX);
	assert_int_equal(told, 2);
	assert_non_null(strstr(netns_fixture_run("ip link show tap"), "master bridge"));
	assert_true(port_send(port, frame, sizeof(frame)));
}

static void one_that_cannot_be_made_says_why_until_it_can(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link del bridge && ip link del tap");
	(void)wait_for("bridge bridge: No such device");
	assert_non_null(strstr(port_fault(port), "tap tap is gone"));
	(void)netns_fixture_run("ip link add bridge type bridge && ip link set bridge up");
	(void)wait_for("");
	assert_non_null(strstr(netns_fixture_run("ip link show tap"), "master bridge"));
}

static void one_that_is_set_down_is_told_and_left_so(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link set tap down");
	(void)wait_for("tap tap is set down, so nothing passes: ip link set tap up");
	assert_int_equal(told, 1);
	(void)netns_fixture_run("ip link set tap up");
	(void)wait_for("");
	assert_int_equal(told, 2);
}

static void one_whose_bridge_is_set_down_is_told_and_left_so(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link set bridge down");
	(void)wait_for(
		"bridge bridge of tap tap is set down, so nothing passes: ip link set bridge up");
	assert_int_equal(told, 1);
	(void)netns_fixture_run("ip link set bridge up");
	(void)wait_for("");
	assert_int_equal(told, 2);
}

static void one_that_is_renamed_is_made_anew(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run(
		"ip link set tap down && ip link set tap name other && ip link set other up");
	(void)wait_for("tap tap is gone");
	(void)wait_for("");
	assert_null(strstr(netns_fixture_run("ip link"), "other"));
}

static void one_that_is_closed_while_it_is_gone_leaves_nothing(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link del tap");
	(void)wait_for("tap tap is gone");
}

static void one_without_its_bridge_is_told_and_added_again(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link set tap nomaster");
	(void)wait_for("tap tap is a port of no bridge any more; it is added to bridge again");
	(void)wait_for("");
	assert_int_equal(told, 2);
	assert_shows("master bridge");
}

static void one_whose_bridge_is_made_anew_is_added_to_that(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link del bridge");
	(void)wait_for("tap tap is a port of no bridge any more: bridge bridge: No such device");
	(void)netns_fixture_run("ip link add bridge mtu 1400 type bridge && ip link set bridge up");
	(void)wait_for("");
	assert_shows("mtu 1400");
	assert_shows("master bridge");
	(void)netns_fixture_run("ip link set tap nomaster"); /* and it is heard of that one, too */
	(void)wait_for("it is added to bridge again");
	(void)wait_for("");
	assert_shows("master bridge");
}

static void one_that_was_added_to_another_bridge_is_told_and_left_there(void **state)
{
	(void)state;
	netns_fixture_need();
	(void)netns_fixture_run("ip link add other type bridge && ip link set tap master other");
	(void)wait_for("than bridge bridge: ip link set tap master bridge");
	assert_shows("master other");
	(void)netns_fixture_run("ip link set tap master bridge");
	(void)wait_for("");
	assert_int_equal(told, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_deleted_tap_is_told_once_and_made_anew, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(one_that_cannot_be_made_says_why_until_it_can,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_that_is_set_down_is_told_and_left_so, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(one_whose_bridge_is_set_down_is_told_and_left_so,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_that_is_renamed_is_made_anew, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(one_without_its_bridge_is_told_and_added_again,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_whose_bridge_is_made_anew_is_added_to_that,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			one_that_was_added_to_another_bridge_is_told_and_left_there, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(one_that_is_closed_while_it_is_gone_leaves_nothing,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
