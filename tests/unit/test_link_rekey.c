/*
 * A connection's keys serve for a limited number of records; then another connection takes over,
 * and what was sent goes on from the last acknowledgement. With limits that a test can reach.
 */
#include "tests/unit/link_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RECORDS 150
#define WINDOW 8 /* epochs that may be on their way */
#define BATCH_LEN 30000

static struct err err;
static uint8_t batch[BATCH_LEN];

/* number: the last epoch sent on this connection; other: the last one acknowledged. */
static void send_epochs(struct side *side)
{
	const uint8_t commit[32] = { 0 };

	while (link_is_up(side->link) && side->number < side->other + WINDOW) {
		if (!link_send_bulk(side->link, 1, side->number + 1, batch, sizeof(batch), NULL,
				    NULL))
			return; /* on_room follows */
		side->number++;
		assert_int_equal(link_send(side->link, WIRE_COMMIT, 1, side->number, commit,
					   sizeof(commit), &err),
				 RC_OK);
	}
}

/* As a capture session does: from what the standby has committed. */
static void go_on(struct side *side)
{
	assert_true(side->peer.epoch >= side->other); /* nothing acknowledged is ever lost */
	assert_true(side->peer.epoch <= side->number || side->ups == 1);
	side->number = side->other = side->peer.epoch;
	send_epochs(side);
}

static int take_ack(struct side *side, const struct wire_header *header, const uint8_t *payload,
		    struct err *e)
{
	(void)payload;
	(void)e;
	assert_int_equal(header->type, WIRE_ACK);
	side->other = header->epoch;
	send_epochs(side);
	return RC_OK;
}

static void grant_window(struct side *side)
{
	side->other = 0;
	link_grant(side->link, WINDOW * BATCH_LEN);
}

/* other: the epoch whose batch has come. */
static int take_epoch(struct side *side, const struct wire_header *header, const uint8_t *payload,
		      struct err *e)
{
	struct world *world = side->world;
	const uint8_t took[8] = { 0 };

	if (header->type == WIRE_BATCH) {
		assert_int_equal(header->length, BATCH_LEN);
		assert_memory_equal(payload, batch, BATCH_LEN);
		side->other = header->epoch;
		link_grant(side->link, header->length);
		return RC_OK;
	}
	assert_int_equal(header->type, WIRE_COMMIT);
	assert_true(header->epoch == side->other);
	assert_true(header->epoch == world->committed + 1); /* each once, in order, none left out */
	world->committed++;
	return link_send(side->link, WIRE_ACK, 1, header->epoch, took, sizeof(took), e);
}

static unsigned rekeys;

static void on_closed(void *owner)
{
	((struct side *)owner)->link = NULL;
}

static void note_reason(struct side *side)
{
	rekeys += link_refusal(side->link) == WIRE_REASON_REKEY;
	expect_text(side->down.text, "this connection's key has been used enough");
	link_close(side->link, on_closed);
}

static void the_dialler_changes_its_key_and_no_epoch_is_lost(void **state)
{
	struct world world;
	const char *log;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(batch); i++)
		batch[i] = (uint8_t)(i * 11);
	rekeys = 0;
	world_open(&world);
	world.options.heartbeat_ms = 10;
	world.options.key_records = RECORDS;
	world.committed = 12;
	world.primary.up = go_on;
	world.primary.room = send_epochs;
	world.primary.frame = take_ack;
	world.standby.up = grant_window;
	world.standby.frame = take_epoch;
	world.standby.went_down = note_reason;
	log_capture();
	world_connect(&world);
	RUN_UNTIL(&world, rekeys == 4 && world.primary.ups == 5 && world.standby.ups == 5);
	i = world.committed;
	RUN_UNTIL(&world, world.committed > i + 20);
	log = log_captured();
	assert_true(world.primary.downs >= 4);
	assert_int_equal(world.primary.down.code, RC_CANCELLED);
	expect_text(world.primary.down.text, "this connection's key has been used enough");
	assert_true(count_lines(log, "info   link: 127.0.0.1:") >= 4);
	assert_true(count_lines(log, "records under one key") >= 4);
	assert_int_equal(count_lines(log, " warn "), 0);
	world_close(&world);
}

static void below_the_limit_nothing_changes(void **state)
{
	struct world world;

	(void)state;
	world_open(&world);
	world.options.heartbeat_ms = 2;
	world_connect(&world);
	RUN_UNTIL(&world, channel_records(world.primary.link->channel) > RECORDS * 2);
	assert_int_equal(world.primary.downs + world.standby.downs, 0);
	world_close(&world);
}

static void a_dialler_that_never_changes_its_key_is_dropped(void **state)
{
	const uint8_t heartbeat[40] = { 0 };
	struct world world;
	struct raw raw;
	unsigned sent;

	(void)state;
	world_open(&world);
	world.options.heartbeat_ms = 10;
	world.options.key_records = RECORDS;
	world_listen(&world);
	log_capture();
	raw_connect(&raw, &world, "primary");
	raw_hello(&raw, 1, 1, WIRE_ROLE_PRIMARY);
	RUN_UNTIL(&world, raw.hellos == 1);
	/* Header and payload are records of their own. */
	for (sent = 2; sent < RECORDS + RECORDS / 4 - 2; sent += 2)
		raw_frame(&raw, WIRE_HEARTBEAT, 0, sizeof(heartbeat), heartbeat, sizeof(heartbeat));
	world_run_for(&world, 100);
	assert_false(raw.ended); /* the dialler's own limit is passed, with some patience */
	raw_frame(&raw, WIRE_HEARTBEAT, 0, sizeof(heartbeat), heartbeat, sizeof(heartbeat));
	raw_frame(&raw, WIRE_HEARTBEAT, 0, sizeof(heartbeat), heartbeat, sizeof(heartbeat));
	RUN_UNTIL(&world, raw.ended);
	assert_int_equal(raw.reason, WIRE_REASON_REKEY);
	expect_text(log_captured(), "records under one key");
	raw_close(&raw);
	world_close(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_dialler_changes_its_key_and_no_epoch_is_lost),
		cmocka_unit_test(below_the_limit_nothing_changes),
		cmocka_unit_test(a_dialler_that_never_changes_its_key_is_dropped),
	};

	return cmocka_run_group_tests(tests, link_fixture_setup, link_fixture_teardown);
}
