/*
 * How links end and come back: refusals, drops, closing from everywhere, attempts that fail,
 * memory that fails.
 */
#include "tests/unit/link_fixture.h"

#include "appliance/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct err err;

static int answer_reserve(struct side *side, const struct wire_header *header,
			  const uint8_t *payload, struct err *e)
{
	if (header->type != WIRE_RESERVE)
		return RC_OK;
	return link_send(side->link, WIRE_RESERVED, header->term, header->epoch, payload,
			 header->length, e);
}

static void a_refusal_is_told_with_its_reason_on_both_sides(void **state)
{
	struct world world;
	const char *log;

	(void)state;
	world_open(&world);
	world.refuse = RC_REFUSED;
	world.refuse_with = WIRE_REASON_INSTANCE;
	world_listen(&world);
	log_capture();
	world_dial(&world, "primary");
	RUN_UNTIL(&world, world.primary.downs == 1);
	log = log_captured();
	assert_int_equal(world.primary.down.code, RC_REFUSED);
	expect_text(world.primary.down.text, "this instance is not known here: ");
	expect_text(world.primary.down.text, "no vm1 here today");
	assert_int_equal(link_refusal(world.primary.link), WIRE_REASON_INSTANCE);
	expect_text(log, "warn   link: 127.0.0.1:");
	expect_text(log, "no vm1 here today");
	assert_int_equal(world.standby.ups + world.standby.downs + world.primary.ups, 0);
	world_close(&world);
}

static void a_second_connection_for_an_instance_is_its_owners_to_refuse(void **state)
{
	struct world world;
	struct raw raw;

	(void)state;
	world_open(&world);
	world_connect(&world);
	log_capture();
	raw_connect(&raw, &world, "primary");
	raw_hello(&raw, 1, 1, WIRE_ROLE_PRIMARY);
	RUN_UNTIL(&world, raw.ended);
	expect_text(log_captured(), "vm1 is served already");
	assert_int_equal(raw.reason, WIRE_REASON_BUSY);
	assert_true(link_is_up(world.standby.link));
	raw_close(&raw);
	world_close(&world);
}

static int break_it(struct side *side, const struct wire_header *header, const uint8_t *payload,
		    struct err *e)
{
	(void)side;
	(void)header;
	(void)payload;
	return err_set(e, RC_INVALID, "hashes of nothing");
}

static void an_error_of_on_frame_ends_the_link_and_the_peer_hears_it(void **state)
{
	struct world world;

	(void)state;
	world_open(&world);
	world.standby.frame = break_it;
	world_connect(&world);
	assert_int_equal(link_send(world.primary.link, WIRE_WANT_HASHES, 1, 0, NULL, 0, &err),
			 RC_OK);
	RUN_UNTIL(&world, world.primary.downs == 1 && world.standby.closed == 1);
	expect_text(world.standby.down.text, "hashes of nothing");
	assert_int_equal(world.standby.down.code, RC_INVALID);
	expect_text(world.primary.down.text, "refused by the peer: the protocol was broken");
	expect_text(world.primary.down.text, "hashes of nothing");
	assert_int_equal(link_refusal(world.primary.link), WIRE_REASON_PROTOCOL);
	world_close(&world);
}

static void drop_says_why_and_the_dialler_comes_back(void **state)
{
	struct world world;

	(void)state;
	world_open(&world);
	world_connect(&world);
	link_drop(world.standby.link, WIRE_REASON_TERM, "term 8 is in force");
	assert_int_equal(world.standby.downs, 0); /* not from within the call */
	link_drop(world.standby.link, WIRE_REASON_TERM, "twice does no harm");
	RUN_UNTIL(&world, world.primary.downs == 1 && world.standby.downs == 1);
	assert_int_equal(world.standby.down.code, RC_CANCELLED);
	expect_text(world.primary.down.text, "a newer term is in force: term 8 is in force");
	RUN_UNTIL(&world, world.primary.ups == 2 && world.standby.ups == 2);
	assert_int_equal(link_refusal(world.primary.link), 0);
	assert_true(link_totals(world.primary.link).connections == 2);
	world_close(&world);
}

static void who_left_to_return_waits_no_longer_the_next_time(void **state)
{
	const unsigned times = 5; /* by then a wait that doubles is far beyond the first */
	struct world world;

	(void)state;
	world_open(&world);
	world_connect(&world);
	for (unsigned n = 1; n <= times; n++) {
		link_drop(world.primary.link, WIRE_REASON_SESSION, "another one");
		RUN_UNTIL(&world, world.primary.downs == n);
		assert_true(uv_timer_get_due_in(&world.primary.link->timer) <=
			    LINK_BACKOFF_FIRST_MS);
		RUN_UNTIL(&world, world.primary.ups == n + 1 && world.standby.ups == n + 1);
	}
	world_close(&world);
}

static void a_process_that_was_stopped_does_not_take_its_peer_for_dead(void **state)
{
	struct world world;
	uint64_t beats;

	(void)state;
	world_open(&world);
	world.options.heartbeat_ms = 20;
	world.options.dead_ms = 200;
	world_connect(&world);
	world_run_for(&world, 50);
	(void)usleep(500 * 1000); /* both ends: nothing was heard for longer than dead_ms */
	beats = world.primary.link->beats_heard;
	RUN_UNTIL(&world, world.primary.link->beats_heard > beats + 3);
	assert_int_equal(world.primary.downs + world.standby.downs, 0);
	world_close(&world);
}

static void the_dialler_finds_a_listener_that_was_away(void **state)
{
	struct world world;

	(void)state;
	world_open(&world);
	world_connect(&world);
	link_close(world.standby.link, NULL);
	world.standby.link = NULL;
	link_listener_close(world.listener, NULL);
	world.listener = NULL;
	RUN_UNTIL(&world, world.primary.downs >= 3); /* the loss, and attempts that nobody took */
	expect_text(world.primary.down.text, "connection refused");
	assert_false(link_is_up(world.primary.link));
	world_listen(&world);
	RUN_UNTIL(&world, world.primary.ups == 2 && world.standby.ups == 2);
	assert_true(link_is_up(world.primary.link));
	world_close(&world);
}

static void a_name_is_resolved(void **state)
{
	struct world world;

	(void)state;
	world_open(&world);
	world.host = "localhost";
	world_listen(&world);
	world_dial(&world, "primary");
	/*
	 * It may be ::1 first, where nobody listens: then the next attempt takes the next address.
	 */
	RUN_UNTIL(&world, world.primary.ups == 1);
	assert_true(world.primary.downs <= 1);
	world_close(&world);
}

static void a_name_that_does_not_exist_is_tried_again(void **state)
{
	struct world world;

	(void)state;
	world_open(&world);
	world.host = "nothing.invalid";
	world.port = 7400;
	world_dial(&world, "primary");
	RUN_UNTIL(&world, world.primary.downs == 2);
	expect_text(world.primary.down.text, "nothing.invalid:7400: ");
	world_close(&world);

	/* And one that is being resolved does not keep a link from being closed. */
	world_open(&world);
	world.host = "nothing.invalid";
	world.port = 7400;
	world_dial(&world, "primary");
	world_turn(&world);
	world_close(&world);
}

static void addresses_that_are_none_are_refused_at_once(void **state)
{
	struct link_options options;
	struct world world;
	struct link *link;
	struct link_listener *listener;
	const struct link_accept_ops none = { 0 };

	(void)state;
	world_open(&world);
	options = world.options;
	options.identity = link_fixture_identity("primary");
	assert_int_equal(link_dial(&link, &world.loop, "nowhere", &options, "vm1", NULL, NULL, NULL,
				   &err),
			 RC_INVALID);
	assert_int_equal(link_listen(&listener, &world.loop, "127.0.0.1", &options, &none, NULL,
				     &err),
			 RC_INVALID);
	world_listen(&world);
	{
		char taken[32];

		(void)snprintf(taken, sizeof(taken), "127.0.0.1:%u", world.port);
		assert_int_equal(link_listen(&listener, &world.loop, taken, &options, &none, NULL,
					     &err),
				 RC_IO);
		expect_text(err.text, "address already in use");
	}
	world_close(&world);
}

/* ---- closing from wherever ---- */

static void on_closed(void *owner)
{
	struct side *side = owner;

	side->closed++;
	side->link = NULL;
}

static void close_it(struct side *side)
{
	link_close(side->link, on_closed);
	link_close(side->link, on_closed);
}

static int close_in_frame(struct side *side, const struct wire_header *header,
			  const uint8_t *payload, struct err *e)
{
	(void)header;
	(void)payload;
	(void)e;
	close_it(side);
	return RC_OK;
}

static int drop_in_frame(struct side *side, const struct wire_header *header,
			 const uint8_t *payload, struct err *e)
{
	(void)header;
	(void)payload;
	(void)e;
	link_drop(side->link, WIRE_REASON_SHUTDOWN, "enough");
	return RC_OK;
}

static void a_link_can_be_closed_from_on_up(void **state)
{
	struct world world;

	(void)state;
	world_open(&world);
	world.primary.up = close_it;
	world_listen(&world);
	world_dial(&world, "primary");
	RUN_UNTIL(&world, world.primary.closed == 1);
	assert_int_equal(world.primary.downs, 0);
	world_close(&world);

	world_open(&world);
	world.standby.up = close_it;
	world_listen(&world);
	world_dial(&world, "primary");
	RUN_UNTIL(&world, world.standby.closed == 1 && world.primary.downs == 1);
	assert_int_equal(world.standby.downs, 0);
	world_close(&world);
}

/* Five frames come; the first one ends the link. */
static void expect_end_in_frame(int (*frame)(struct side *side, const struct wire_header *header,
					     const uint8_t *payload, struct err *err),
				unsigned downs)
{
	struct world world;
	int i;

	world_open(&world);
	world.standby.frame = frame;
	world_connect(&world);
	for (i = 0; i < 5; i++)
		assert_int_equal(link_send(world.primary.link, WIRE_WANT_HASHES, 1, 0, NULL, 0,
					   &err),
				 RC_OK);
	RUN_UNTIL(&world, world.standby.closed == 1);
	assert_int_equal(world.standby.frames, 1);
	assert_int_equal(world.standby.downs, downs);
	world_close(&world);
}

static void a_link_can_be_closed_or_dropped_from_on_frame(void **state)
{
	(void)state;
	expect_end_in_frame(close_in_frame, 0);
	expect_end_in_frame(drop_in_frame, 1);
}

static void a_link_can_be_closed_from_on_room(void **state)
{
	struct world world;

	(void)state;
	world_open(&world);
	world.primary.room = close_it;
	world_connect(&world);
	assert_false(link_send_bulk(world.primary.link, 1, 1, (const uint8_t *)"a", 1, NULL, NULL));
	link_grant(world.standby.link, 1);
	RUN_UNTIL(&world, world.primary.closed == 1);
	world_close(&world);
}

static void a_link_can_be_closed_from_on_down(void **state)
{
	struct world world;

	(void)state;
	world_open(&world);
	world.primary.went_down = close_it;
	world_connect(&world);
	link_drop(world.standby.link, WIRE_REASON_SHUTDOWN, "test");
	RUN_UNTIL(&world, world.standby.closed == 1 && world.primary.closed == 1);
	assert_int_equal(world.primary.ups, 1); /* it did not dial again */
	world_close(&world);
}

static void a_link_can_be_closed_at_every_stage_of_its_attempt(void **state)
{
	struct world world;
	unsigned turns, i;

	(void)state;
	for (turns = 0; turns < 12; turns++) {
		world_open(&world);
		world_listen(&world);
		world_dial(&world, "primary");
		for (i = 0; i < turns; i++)
			world_turn(&world);
		close_it(&world.primary);
		RUN_UNTIL(&world, world.primary.closed == 1);
		world_close(&world);
	}
}

static void a_listener_can_be_closed_at_every_stage_of_its_strangers(void **state)
{
	struct world world;
	unsigned turns, i;

	(void)state;
	for (turns = 0; turns < 12; turns++) {
		world_open(&world);
		world_listen(&world);
		world_dial(&world, "primary");
		for (i = 0; i < turns; i++)
			world_turn(&world);
		link_listener_close(world.listener, NULL);
		link_listener_close(world.listener, NULL);
		world.listener = NULL;
		world_close(&world);
	}
}

static void expect_waits_up_to(uint32_t last_ms)
{
	unsigned failures;
	uint32_t most = LINK_BACKOFF_FIRST_MS;

	for (failures = 0; failures < 100; failures++) {
		assert_int_equal(link_backoff_ms(failures, last_ms, 0), most / 2);
		assert_int_equal(link_backoff_ms(failures, last_ms, most / 2), most);
		assert_true(link_backoff_ms(failures, last_ms, UINT32_MAX) <= most);
		most = most * 2 < last_ms ? most * 2 : last_ms;
	}
	assert_int_equal(most, last_ms);
}

static void the_waits_grow_to_their_limit_and_differ(void **state)
{
	(void)state;
	expect_waits_up_to(LINK_BACKOFF_LAST_MS);
	expect_waits_up_to(LINK_BACKOFF_REFUSED_MS);
}

/*
 * One of the allocations of a connection's whole life fails: at worst that attempt does, and the
 * next one succeeds.
 */
static void a_failed_allocation_costs_at_most_an_attempt(void **state)
{
	struct world world;
	unsigned long n;
	bool fired;

	(void)state;
	log_capture();
	for (n = 1;; n++) {
		world_open(&world);
		world.standby.frame = answer_reserve;
		world_listen(&world);
		world_dial(&world, "primary");
		fault_arm(FAULT_ALLOC, n);
		while (world.primary.frames == 0) {
			if (link_is_up(world.primary.link) &&
			    world.primary.ups > world.primary.number &&
			    link_send(world.primary.link, WIRE_RESERVE, 1, 1, "{}", 2, &err) ==
				    RC_OK)
				world.primary.number = world.primary.ups;
			world_turn(&world);
		}
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
		world_close(&world);
		if (!fired)
			break;
	}
	(void)log_captured();
	assert_true(n > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_refusal_is_told_with_its_reason_on_both_sides),
		cmocka_unit_test(a_second_connection_for_an_instance_is_its_owners_to_refuse),
		cmocka_unit_test(an_error_of_on_frame_ends_the_link_and_the_peer_hears_it),
		cmocka_unit_test(drop_says_why_and_the_dialler_comes_back),
		cmocka_unit_test(who_left_to_return_waits_no_longer_the_next_time),
		cmocka_unit_test(a_process_that_was_stopped_does_not_take_its_peer_for_dead),
		cmocka_unit_test(the_dialler_finds_a_listener_that_was_away),
		cmocka_unit_test(a_name_is_resolved),
		cmocka_unit_test(a_name_that_does_not_exist_is_tried_again),
		cmocka_unit_test(addresses_that_are_none_are_refused_at_once),
		cmocka_unit_test(a_link_can_be_closed_from_on_up),
		cmocka_unit_test(a_link_can_be_closed_or_dropped_from_on_frame),
		cmocka_unit_test(a_link_can_be_closed_from_on_room),
		cmocka_unit_test(a_link_can_be_closed_from_on_down),
		cmocka_unit_test(a_link_can_be_closed_at_every_stage_of_its_attempt),
		cmocka_unit_test(a_listener_can_be_closed_at_every_stage_of_its_strangers),
		cmocka_unit_test(the_waits_grow_to_their_limit_and_differ),
		cmocka_unit_test(a_failed_allocation_costs_at_most_an_attempt),
	};

	return cmocka_run_group_tests(tests, link_fixture_setup, link_fixture_teardown);
}
