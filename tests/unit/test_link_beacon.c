/* A link whose heartbeats also travel as datagrams: what they are good for, and what they are not. */
#include "tests/unit/link_fixture.h"

#include "appliance/base/clock.h"
#include "net/channel_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t since_ms(uint64_t ns)
{
	return (clock_now_ns() - ns) / CLOCK_NS_PER_MS;
}

static void hear_both(struct world *world)
{
	RUN_UNTIL(world, link_hears_datagrams(world->primary.link) &&
				 link_hears_datagrams(world->standby.link));
}

/* The peer's TCP is there and takes everything, but nothing of it is read here. */
static void deafen(struct link *link, bool deaf)
{
	uv_stream_t *stream = (uv_stream_t *)&link->channel->tcp;

	if (deaf)
		assert_int_equal(uv_read_stop(stream), 0);
	else
		assert_int_equal(uv_read_start(stream, channel_on_alloc, channel_on_read), 0);
}

static void both_ends_are_heard_by_datagrams(void **state)
{
	struct world world;

	(void)state;
	world_open(&world);
	world.options.heartbeat_ms = 10;
	world_connect(&world);
	assert_false(link_hears_datagrams(world.primary.link));
	hear_both(&world);
	assert_true(link_round_trip_ns(world.primary.link) > 0);
	assert_int_equal(link_datagrams_refused(world.primary.link), 0);
	assert_int_equal(link_datagrams_refused(world.standby.link), 0);
	link_drop(world.primary.link, WIRE_REASON_SHUTDOWN, "test");
	assert_false(link_hears_datagrams(world.primary.link));
	/* The next connection has keys of its own. */
	RUN_UNTIL(&world, world.primary.ups == 2);
	hear_both(&world);
	world_close(&world);
}

static void silence_over_tcp_is_not_silence(void **state)
{
	struct world world;
	uint64_t began;

	(void)state;
	world_open(&world);
	world.options.heartbeat_ms = 10;
	world_connect(&world);
	hear_both(&world);
	deafen(world.primary.link, true);
	deafen(world.standby.link, true);
	world_run_for(&world, 100); /* what was read is dealt with */
	began = clock_now_ns();
	link_set_lease(world.standby.link, 500 * CLOCK_NS_PER_MS, 7);
	world_run_for(&world, 300);
	assert_true(link_heard_ns(world.primary.link) > began + 100 * CLOCK_NS_PER_MS);
	assert_true(link_heard_ns(world.standby.link) > began + 100 * CLOCK_NS_PER_MS);
	/* And a lease is granted by them. */
	assert_true(link_lease_ns(world.primary.link) > began + 500 * CLOCK_NS_PER_MS);
	assert_true(link_lease_length_ns(world.primary.link) == 500 * CLOCK_NS_PER_MS);
	assert_true(link_granted_ns(world.standby.link) >= link_lease_ns(world.primary.link));
	assert_int_equal(link_lease_term(world.primary.link), 0);
	assert_int_equal(world.primary.downs + world.standby.downs, 0);
	deafen(world.primary.link, false);
	deafen(world.standby.link, false);
	/* Its term comes by the connection. */
	while (link_lease_term(world.primary.link) == 0)
		world_run_for(&world, 10);
	assert_int_equal(link_lease_term(world.primary.link), 7);
	world_close(&world);
}

static void a_connection_that_is_silent_is_given_up_although_datagrams_come(void **state)
{
	struct world world;

	(void)state;
	world_open(&world);
	world.options.heartbeat_ms = 10;
	world.options.dead_ms = 300;
	world_connect(&world);
	hear_both(&world);
	deafen(world.primary.link, true);
	RUN_UNTIL(&world, world.primary.downs > 0 && world.standby.downs > 0);
	expect_text(world.primary.down.text, "nothing heard for");
	/* Told by datagram: its own limit is as far away as ever. */
	expect_text(world.standby.down.text, "has given this connection up");
	RUN_UNTIL(&world, world.primary.ups == 2);
	world_close(&world);
}

/* How long it takes until both ends have given a connection up and have another one. */
static uint64_t abandon(void)
{
	struct world world;
	struct err err;
	uint64_t began, took;

	world_open(&world);
	world_connect(&world);
	hear_both(&world);
	deafen(world.standby.link, true); /* it must not hear of it by TCP */
	began = clock_now_ns();
	(void)err_set(&err, RC_TIMEOUT, "test");
	link_abandon(world.primary.link, &err);
	RUN_UNTIL(&world, world.standby.downs == 1);
	expect_text(world.standby.down.text, "has given this connection up");
	RUN_UNTIL(&world, world.primary.ups == 2 && world.standby.ups == 2);
	took = since_ms(began);
	world_close(&world);
	return took;
}

/* Without CHANNEL_LINGER_MS, for which the other end would have been busy each time. */
static void what_is_abandoned_is_over_at_both_ends_at_once(void **state)
{
	unsigned tries = 10;

	(void)state;
	while (abandon() > CHANNEL_LINGER_MS) {
		if (--tries == 0)
			fail_msg("it takes as long as a connection lingers");
	}
}

/* The standby's half of TCP gets nothing through any more, and it says so. */
static void a_dialler_whose_peer_is_stuck_connects_anew(void **state)
{
	const struct beacon_beat stuck = { .flags = BEACON_STUCK, .clock_ns = 1 };
	struct world world;
	uint64_t began;

	(void)state;
	world_open(&world);
	world_connect(&world);
	hear_both(&world);
	(void)uv_timer_stop(&world.standby.link->pulse);
	began = clock_now_ns();
	while (world.primary.downs == 0) {
		beacon_send(world.standby.link->beacon, &stuck);
		world_run_for(&world, 5);
	}
	expect_text(world.primary.down.text, "TCP is stuck for");
	assert_true(since_ms(began) >= LINK_STUCK_MS);
	RUN_UNTIL(&world, world.primary.ups == 2 && world.standby.ups == 2);
	hear_both(&world);
	world_close(&world);
}

static void a_peer_that_was_stuck_for_a_moment_is_kept(void **state)
{
	const struct beacon_beat stuck = { .flags = BEACON_STUCK, .clock_ns = 1 };
	const struct beacon_beat well = { .clock_ns = 1 };
	struct world world;
	unsigned i;

	(void)state;
	world_open(&world);
	world_connect(&world);
	hear_both(&world);
	(void)uv_timer_stop(&world.standby.link->pulse);
	for (i = 0; i < 60; i++) {
		beacon_send(world.standby.link->beacon, i % 10 < 5 ? &stuck : &well);
		world_run_for(&world, 5);
	}
	assert_int_equal(world.primary.downs, 0);
	world_close(&world);
}

/* As in a network that lets no UDP through. */
static void without_datagrams_a_link_works_as_ever(void **state)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t len = sizeof(at);
	struct world world;
	const char *log;
	uint64_t began;

	(void)state;
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	world_open(&world);
	world.options.heartbeat_ms = 10;
	world.port = ntohs(at.sin_port); /* in use by another for UDP */
	log_capture();
	world_listen(&world);
	log = log_captured();
	expect_text(log, "no heartbeats by datagram");
	world_connect(&world);
	began = clock_now_ns();
	link_set_lease(world.standby.link, 500 * CLOCK_NS_PER_MS, 7);
	RUN_UNTIL(&world, link_round_trip_ns(world.primary.link) > 0 &&
				  link_lease_ns(world.primary.link) > began);
	world_run_for(&world, 200);
	assert_true(since_ms(link_heard_ns(world.primary.link)) < 150);
	assert_false(link_hears_datagrams(world.primary.link));
	assert_false(link_hears_datagrams(world.standby.link));
	assert_int_equal(world.primary.downs + world.standby.downs, 0);
	world_close(&world);
	(void)close(fd);
}

static void datagrams_that_never_arrive_cost_nothing(void **state)
{
	struct world world;

	(void)state;
	world_open(&world);
	world.options.heartbeat_ms = 10;
	world.options.dead_ms = 300;
	world_connect(&world);
	link_beacon_end(world.standby.link, false); /* it knows of none from now on */
	world_run_for(&world, 500);
	assert_false(link_hears_datagrams(world.primary.link));
	assert_true(since_ms(link_heard_ns(world.primary.link)) < 150);
	assert_int_equal(world.primary.downs + world.standby.downs, 0);
	/* Not more often than ever: nobody was heard who is silent now. */
	assert_true(uv_timer_get_repeat(&world.primary.link->pulse) == 5);
	world_close(&world);
}

static void a_peer_that_does_not_want_them_is_sent_no_keys(void **state)
{
	struct world world;
	struct raw raw;

	(void)state;
	world_open(&world);
	world_listen(&world);
	raw_connect(&raw, &world, "primary");
	raw_hello(&raw, 1, 1, WIRE_ROLE_PRIMARY); /* features 0 */
	RUN_UNTIL(&world, world.standby.ups == 1 && raw.hellos == 1);
	assert_null(world.standby.link->beacon);
	raw_close(&raw);
	world_close(&world);
}

static void an_accepted_link_outlives_its_listener(void **state)
{
	struct world world;

	(void)state;
	world_open(&world);
	world.options.heartbeat_ms = 10;
	world.options.dead_ms = 300;
	world_connect(&world);
	hear_both(&world);
	link_listener_close(world.listener, NULL);
	world.listener = NULL;
	RUN_UNTIL(&world, !link_hears_datagrams(world.standby.link));
	world_run_for(&world, 400);
	assert_int_equal(world.primary.downs + world.standby.downs, 0);
	world_close(&world);
}

/* As in a cut: it is sent to more often, and when it is heard again it is told so at once. */
static void the_end_of_a_silence_is_noticed_soon_by_both(void **state)
{
	const struct beacon_beat beat = { .clock_ns = 1 };
	struct world world;
	uint64_t heard;

	(void)state;
	world_open(&world);
	world.options.heartbeat_ms = 800;
	world_connect(&world);
	hear_both(&world);
	assert_true(uv_timer_get_repeat(&world.primary.link->pulse) == 400);
	(void)uv_timer_stop(&world.standby.link->pulse);
	RUN_UNTIL(&world, uv_timer_get_repeat(&world.primary.link->pulse) == 100);
	(void)uv_timer_stop(&world.primary.link->pulse);
	world_run_for(&world, 20); /* nothing is on its way any more */
	heard = world.standby.link->beacon_heard_ns;
	beacon_send(world.standby.link->beacon, &beat);
	RUN_UNTIL(&world, world.standby.link->beacon_heard_ns > heard);
	assert_true(uv_timer_get_repeat(&world.primary.link->pulse) == 400);
	/* Not by the clock, which would have taken so long. */
	assert_true(world.standby.link->beacon_heard_ns - heard < 400 * CLOCK_NS_PER_MS);
	world_close(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ends_are_heard_by_datagrams),
		cmocka_unit_test(silence_over_tcp_is_not_silence),
		cmocka_unit_test(a_connection_that_is_silent_is_given_up_although_datagrams_come),
		cmocka_unit_test(what_is_abandoned_is_over_at_both_ends_at_once),
		cmocka_unit_test(a_dialler_whose_peer_is_stuck_connects_anew),
		cmocka_unit_test(a_peer_that_was_stuck_for_a_moment_is_kept),
		cmocka_unit_test(without_datagrams_a_link_works_as_ever),
		cmocka_unit_test(datagrams_that_never_arrive_cost_nothing),
		cmocka_unit_test(a_peer_that_does_not_want_them_is_sent_no_keys),
		cmocka_unit_test(an_accepted_link_outlives_its_listener),
		cmocka_unit_test(the_end_of_a_silence_is_noticed_soon_by_both),
	};

	return cmocka_run_group_tests(tests, link_fixture_setup, link_fixture_teardown);
}
