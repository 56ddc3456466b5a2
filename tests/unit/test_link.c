/* The link between two honest ends: what arrives, in what order, and what is bounded. */
#include "appliance/base/clock.h"
#include "tests/unit/link_fixture.h"

#include "appliance/base/mem.h"
#include "net/channel_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct err err;

static void both_ends_come_up_and_know_each_other(void **state)
{
	struct world world;

	(void)state;
	world_open(&world);
	log_capture();
	world_connect(&world);
	assert_int_equal(count_lines(log_captured(), "connected with TLS1-3"), 2);
	assert_true(link_is_up(world.primary.link) && link_is_up(world.standby.link));
	assert_string_equal(world.hello.site, "north");
	assert_string_equal(world.hello.instance, "vm1");
	assert_true(world.hello.session == 55 && world.hello.epoch == 7);
	assert_int_equal(world.hello.role, WIRE_ROLE_PRIMARY);
	assert_string_equal(world.primary.peer.site, "south");
	assert_string_equal(world.primary.peer.instance, "vm1");
	assert_true(world.primary.peer.session == 77 && world.primary.peer.epoch == 12);
	expect_text(link_peer(world.primary.link), "127.0.0.1:");
	expect_text(link_peer(world.primary.link), "CN=south, OU=standby");
	expect_text(link_peer(world.standby.link), "CN=north, OU=primary");
	assert_true(link_totals(world.primary.link).connections == 1);
	world_close(&world);
}

static int answer_reserve(struct side *side, const struct wire_header *header,
			  const uint8_t *payload, struct err *e)
{
	if (header->type != WIRE_RESERVE)
		return RC_OK;
	return link_send(side->link, WIRE_RESERVED, header->term, header->epoch, payload,
			 header->length, e);
}

static int check_answer(struct side *side, const struct wire_header *header, const uint8_t *payload,
			struct err *e)
{
	(void)e;
	assert_int_equal(header->type, WIRE_RESERVED);
	assert_int_equal(header->length, 200000);
	assert_true(header->term == 9 && header->epoch == 4);
	for (side->number = 0; side->number < header->length; side->number++)
		assert_int_equal(payload[side->number], (uint8_t)(side->number * 3));
	return RC_OK;
}

static void a_frame_goes_there_and_back_unchanged(void **state)
{
	struct world world;
	uint8_t *json = mem_alloc(200000);
	size_t i;

	(void)state;
	for (i = 0; i < 200000; i++)
		json[i] = (uint8_t)(i * 3);
	world_open(&world);
	world.standby.frame = answer_reserve;
	world.primary.frame = check_answer;
	world_connect(&world);
	assert_int_equal(link_send(world.primary.link, WIRE_RESERVE, 9, 4, json, 200000, &err),
			 RC_OK);
	mem_free(json); /* it was copied */
	RUN_UNTIL(&world, world.primary.frames == 1);
	assert_true(link_totals(world.primary.link).bytes_sent > 200000);
	assert_true(link_totals(world.primary.link).bytes_received > 200000);
	world_close(&world);
}

static void frames_that_no_type_allows_are_not_sent(void **state)
{
	struct world world;
	uint8_t bytes[64] = { 0 };

	(void)state;
	world_open(&world);
	world_connect(&world);
	assert_int_equal(link_send(world.primary.link, WIRE_COMMIT, 0, 0, bytes, 31, &err),
			 RC_INVALID);
	assert_int_equal(link_send(world.primary.link, WIRE_COMMIT, 0, 0, bytes, 49, &err),
			 RC_INVALID);
	expect_text(err.text, "commit frame of 49 bytes");
	world_close(&world);
}

static void frames_for_a_link_that_is_down_vanish(void **state)
{
	struct world world;
	uint8_t byte = 1;

	(void)state;
	world_open(&world);
	world.port = 1; /* nobody listens there */
	world_dial(&world, "primary");
	assert_int_equal(link_send(world.primary.link, WIRE_EPOCH, 0, 0, &byte, 1, &err), RC_OK);
	assert_false(link_send_bulk(world.primary.link, 0, 0, &byte, 1, NULL, NULL));
	link_grant(world.primary.link, 100);
	link_drop(world.primary.link, WIRE_REASON_SHUTDOWN, "nothing to drop");
	RUN_UNTIL(&world, world.primary.downs == 1);
	expect_text(world.primary.down.text, "127.0.0.1:1: connection refused");
	world_close(&world);
}

static void what_fails_at_once_names_the_address_once(void **state)
{
	struct world world;

	(void)state;
	world_open(&world);
	world.host = "255.255.255.255"; /* to which no connection can be */
	world.port = 7400;
	world_dial(&world, "primary");
	RUN_UNTIL(&world, world.primary.downs == 1);
	assert_memory_equal(world.primary.down.text, "255.255.255.255:7400: connect: ", 31);
	world_close(&world);
}

/* ---- bulk ---- */

#define BULK_BYTES (UINT64_C(64) << 20)
#define BULK_BATCH ((size_t)1 << 20)
#define BULK_WINDOW (UINT64_C(4) << 20)

static uint8_t bulk[BULK_BATCH];
static unsigned held; /* batches that the link has and did not release */

static void bulk_release(void *context)
{
	(void)context;
	assert_true(held > 0);
	held--;
}

/* number: bytes handed to the link. The epoch names the batch, its first bytes do as well. */
static void send_bulk(struct side *side)
{
	while (side->number < BULK_BYTES && link_send_bulk(side->link, 2, side->number / BULK_BATCH,
							   bulk, BULK_BATCH, bulk_release, side)) {
		held++;
		assert_true(held <= LINK_QUEUE_BATCHES);
		side->number += BULK_BATCH;
		if (side->number / BULK_BATCH % 16 == 0) {
			const uint8_t kind = 2;

			assert_int_equal(link_send(side->link, WIRE_EPOCH, 2, side->number, &kind,
						   1, &err),
					 RC_OK);
		}
	}
}

/* number: bytes received; other: frames that came between. */
static int take_bulk(struct side *side, const struct wire_header *header, const uint8_t *payload,
		     struct err *e)
{
	(void)e;
	if (header->type == WIRE_EPOCH) {
		/* Given between two batches, it comes between these two. */
		assert_true(header->epoch == side->number);
		side->other++;
		return RC_OK;
	}
	assert_int_equal(header->type, WIRE_BATCH);
	assert_int_equal(header->length, BULK_BATCH);
	assert_true(header->term == 2 && header->epoch == side->number / BULK_BATCH);
	assert_memory_equal(payload, bulk, BULK_BATCH);
	side->number += header->length;
	link_grant(side->link, header->length);
	return RC_OK;
}

static void grant_window(struct side *side)
{
	link_grant(side->link, BULK_WINDOW);
}

static void bulk_arrives_whole_under_credit_while_heartbeats_go_on(void **state)
{
	struct world world;
	uint64_t before, sent;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bulk); i++)
		bulk[i] = (uint8_t)(i * 13 + i / 255);
	held = 0;
	world_open(&world);
	world.options.heartbeat_ms = 2;
	world.primary.up = send_bulk;
	world.primary.room = send_bulk;
	world.standby.up = grant_window;
	world.standby.frame = take_bulk;
	world_connect(&world);
	before = world.standby.link->beats_heard;
	RUN_UNTIL(&world, world.standby.number == BULK_BYTES);
	RUN_UNTIL(&world, world.standby.other == 4);
	assert_int_equal(held, 0);
	/*
	 * All of this is sent between fragments: were it to wait for the bulk, hardly one would
	 * have come.
	 */
	assert_true(world.standby.link->beats_heard - before > 10);
	/* And none of them is lost. */
	sent = world.primary.link->beats;
	RUN_UNTIL(&world, world.standby.link->beats_heard >= sent);
	sent = world.standby.link->beats;
	RUN_UNTIL(&world, world.primary.link->beats_heard >= sent);
	assert_true(link_round_trip_ns(world.primary.link) > 0);
	assert_int_equal(world.primary.downs + world.standby.downs, 0);
	/* Everything sent was received: control frames did not take part in the credit. */
	assert_true(world.standby.link->bulk_received == BULK_BYTES);
	assert_true(world.primary.link->queue.spent == BULK_BYTES);
	world_close(&world);
}

static void without_credit_nothing_is_taken_and_with_it_room_is_told(void **state)
{
	struct world world;
	uint8_t bytes[1000] = { 0 };

	(void)state;
	held = 0;
	world_open(&world);
	world_connect(&world);
	assert_false(link_send_bulk(world.primary.link, 1, 1, bytes, 1000, bulk_release, NULL));
	world_run_for(&world, 150);
	assert_int_equal(world.primary.rooms, 0);
	link_grant(world.standby.link, 999);
	world_run_for(&world, 150);
	assert_int_equal(world.primary.rooms, 0);
	link_grant(world.standby.link, 500);
	RUN_UNTIL(&world, world.primary.rooms == 1);
	held++;
	assert_true(link_send_bulk(world.primary.link, 1, 1, bytes, 1000, bulk_release, NULL));
	assert_int_equal(held, 1); /* not released from within the call */
	RUN_UNTIL(&world, world.standby.frames == 1);
	assert_int_equal(held, 0);
	world_close(&world);
}

static void a_peer_that_does_not_read_is_owed_one_slice_and_a_heartbeat(void **state)
{
	struct channel *channel;
	struct world world;
	uv_stream_t *stream;

	(void)state;
	held = 0;
	world_open(&world);
	world.options.heartbeat_ms = 10;
	world.primary.room = send_bulk;
	world.standby.up = grant_window;
	world.standby.frame = take_bulk;
	world_connect(&world);
	link_grant(world.standby.link, BULK_BYTES); /* more than sockets hold */
	RUN_UNTIL(&world, world.primary.link->queue.credit > BULK_BYTES);
	stream = (uv_stream_t *)&world.standby.link->channel->tcp;
	assert_int_equal(uv_read_stop(stream), 0);
	send_bulk(&world.primary);
	channel = world.primary.link->channel;
	RUN_UNTIL(&world, channel->chunks[0].busy && channel->chunks[1].busy);
	world_run_for(&world, 100);
	assert_true(world.primary.number < BULK_BYTES);
	assert_true(channel->chunks[0].data.len + channel->chunks[1].data.len <= LINK_SLICE + 2048);
	assert_int_equal(channel_unsent(channel), 0);
	assert_int_equal(world.primary.link->queue.nbatches, LINK_QUEUE_BATCHES);

	assert_int_equal(uv_read_start(stream, channel_on_alloc, channel_on_read), 0);
	RUN_UNTIL(&world, world.standby.number == BULK_BYTES);
	assert_int_equal(world.primary.downs + world.standby.downs, 0);
	world_close(&world);
}

static void bulk_is_released_when_the_link_goes(void **state)
{
	struct world world;
	uint8_t bytes[1000] = { 0 };

	(void)state;
	held = 2;
	world_open(&world);
	world.standby.up = grant_window;
	world_connect(&world);
	RUN_UNTIL(&world, world.primary.link->queue.credit > 0);
	assert_true(link_send_bulk(world.primary.link, 1, 1, bytes, 1000, bulk_release, NULL));
	assert_true(link_send_bulk(world.primary.link, 1, 1, bytes, 1000, bulk_release, NULL));
	link_drop(world.primary.link, WIRE_REASON_SHUTDOWN, "test");
	assert_int_equal(held, 2);
	RUN_UNTIL(&world, world.primary.downs == 1);
	assert_int_equal(held, 0);

	held = 1;
	RUN_UNTIL(&world, world.primary.ups == 2 && world.primary.link->queue.credit > 0);
	assert_true(link_send_bulk(world.primary.link, 1, 1, bytes, 1000, bulk_release, NULL));
	world_close(&world);
	assert_int_equal(held, 0);
}

/* ---- control frames under pressure ---- */

#define FLOOD 20000

static void send_flood(struct side *side)
{
	uint8_t commit[32] = { 0 };

	while (side->number < FLOOD && link_send(side->link, WIRE_COMMIT, 1, side->number, commit,
						 sizeof(commit), &err) == RC_OK)
		side->number++;
	assert_true(side->link->queue.frames <= LINK_QUEUE_FRAMES);
}

static int take_flood(struct side *side, const struct wire_header *header, const uint8_t *payload,
		      struct err *e)
{
	(void)payload;
	(void)e;
	assert_true(header->epoch == side->number);
	side->number++;
	return RC_OK;
}

static void a_flood_of_frames_is_bounded_and_arrives_in_order(void **state)
{
	struct world world;

	(void)state;
	world_open(&world);
	world.standby.frame = take_flood;
	world.primary.room = send_flood;
	world_connect(&world);
	send_flood(&world.primary);
	assert_int_equal(err.code, RC_LIMIT);
	assert_int_equal(world.primary.number, LINK_QUEUE_FRAMES);
	RUN_UNTIL(&world, world.standby.number == FLOOD);
	assert_true(world.primary.rooms > 0);
	world_close(&world);
}

/* What the one before it granted is not its word. */
static void leases_outlive_a_connection_but_not_one_to_another_standby(void **state)
{
	struct world world;
	uint64_t until_ns;

	(void)state;
	world_open(&world);
	world.identity = 7;
	world_connect(&world);
	assert_true(world.primary.peer.identity == 7 && link_standby(world.primary.link) == 7);
	link_set_lease(world.standby.link, 60000 * CLOCK_NS_PER_MS, 1);
	RUN_UNTIL(&world, link_lease_ns(world.primary.link) > 0);
	for (world.identity = 7; world.identity <= 8; world.identity++) {
		until_ns = link_lease_ns(world.primary.link);
		world.primary.ups = 0;
		link_close(world.standby.link, NULL);
		world.standby.link = NULL;
		RUN_UNTIL(&world, world.primary.ups > 0);
		assert_true(link_lease_ns(world.primary.link) ==
			    (world.identity == 7 ? until_ns : 0));
	}
	assert_true(link_standby(world.primary.link) == 8);
	world_close(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ends_come_up_and_know_each_other),
		cmocka_unit_test(a_frame_goes_there_and_back_unchanged),
		cmocka_unit_test(frames_that_no_type_allows_are_not_sent),
		cmocka_unit_test(frames_for_a_link_that_is_down_vanish),
		cmocka_unit_test(what_fails_at_once_names_the_address_once),
		cmocka_unit_test(bulk_arrives_whole_under_credit_while_heartbeats_go_on),
		cmocka_unit_test(without_credit_nothing_is_taken_and_with_it_room_is_told),
		cmocka_unit_test(a_peer_that_does_not_read_is_owed_one_slice_and_a_heartbeat),
		cmocka_unit_test(bulk_is_released_when_the_link_goes),
		cmocka_unit_test(a_flood_of_frames_is_bounded_and_arrives_in_order),
		cmocka_unit_test(leases_outlive_a_connection_but_not_one_to_another_standby),
	};

	return cmocka_run_group_tests(tests, link_fixture_setup, link_fixture_teardown);
}
