/*
 * A standby refuses a session's frames of a term that is over, and says which is in force; what is said of
 * the instance is heard whatever its term. And whom it does not let in at all.
 */
#include "appliance/clone_internal.h"
#include "tests/unit/link_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct clone standby; /* only its decision, and its connection */

static int frame(struct side *side, const struct wire_header *header, const uint8_t *payload,
		 struct err *err)
{
	standby.link = side->link;
	return clone_on_frame(&standby, header, payload, err);
}

static void begin(struct world *world, enum failover_state state)
{
	memset(&standby, 0, sizeof(standby));
	failover_init(&standby.failover, 300, true, 0);
	standby.failover.state = state;
	standby.failover.term = 7;
	standby.terms = true;
	world_open(world);
	world->standby.frame = frame;
	world_connect(world);
}

static void say(struct world *world, uint16_t type, uint64_t term)
{
	static const uint8_t zeroes[64];
	struct err err;

	assert_int_equal(link_send(world->primary.link, type, term, 1, zeroes,
				   wire_payload_min(type), &err),
			 RC_OK);
}

static void a_session_of_a_former_term_is_refused_with_both_terms(void **state)
{
	static const uint16_t types[] = { WIRE_LAYOUT, WIRE_WANT_HASHES, WIRE_EPOCH, WIRE_COMMIT };
	struct world world;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		begin(&world, FAILOVER_PROTECTED);
		say(&world, types[i], 6);
		RUN_UNTIL(&world, world.primary.downs > 0);
		assert_int_equal(link_refusal(world.primary.link), WIRE_REASON_TERM);
		expect_text(world.primary.down.text, "of term 6, and term 7 is in force here");
		assert_int_equal(standby.failover.term, 7);
		world_close(&world);
	}
}

/* The standby's word that it serves comes instead, on the same connection. */
static void nothing_is_refused_so_while_it_takes_over_or_serves(void **state)
{
	static const enum failover_state over[] = { FAILOVER_TAKING_OVER, FAILOVER_SERVING,
						    FAILOVER_LOST };
	struct world world;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(over) / sizeof(over[0]); i++) {
		begin(&world, over[i]);
		say(&world, WIRE_EPOCH, 6);
		say(&world, WIRE_COMMIT, 6);
		RUN_UNTIL(&world, world.standby.frames == 2);
		world_run_for(&world, 20);
		assert_int_equal(world.primary.downs, 0);
		world_close(&world);
	}
}

/* Its lease need not be waited for. */
static void that_the_instance_is_gone_is_heard_while_it_is_claimed(void **state)
{
	struct buf payload = { 0 };
	struct world world;
	struct err err;

	(void)state;
	begin(&world, FAILOVER_CLAIMING);
	standby.failover.witness = true;
	standby.record.term = standby.failover.term;
	assert_true(wire_put_reason(&payload, WIRE_INSTANCE_CRASHED, "its QEMU is gone"));
	assert_int_equal(link_send(world.primary.link, WIRE_INSTANCE, 6, 3, payload.data,
				   payload.len, &err),
			 RC_OK);
	RUN_UNTIL(&world, standby.failover.stopped);
	assert_int_equal(standby.failover.state, FAILOVER_CLAIMING);
	buf_free(&payload);
	world_close(&world);
}

/* Be it committed, or what a replica that serves was brought up from. */
static void another_sites_instance_is_refused_while_something_is_kept(void **state)
{
	static char name[] = "vm1";
	static const struct config_instance instance = { .name = name };
	static const enum failover_state states[] = { FAILOVER_PROTECTED, FAILOVER_UNATTENDED,
						      FAILOVER_ENDED, FAILOVER_SERVING,
						      FAILOVER_LOST };
	const struct wire_hello peer = { .site = "other", .instance = "vm1" };
	uint16_t reason;
	struct err err;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		memset(&standby, 0, sizeof(standby));
		standby.instance = &instance;
		standby.doubt.clear = true;
		failover_init(&standby.failover, 300, true, 0);
		standby.failover.state = states[i];
		standby.failover.epoch = 7;
		(void)strcpy(standby.origin, "a");
		assert_int_equal(clone_accept(&standby, NULL, &peer, NULL, NULL, NULL, &reason,
					      &err),
				 RC_REFUSED);
		assert_int_equal(reason, WIRE_REASON_SITE);
		expect_text(err.text, "epoch 7 of the instance of site a is kept here");
		expect_text(err.text, "site other has one of the same name");
		expect_text(err.text, "`understudy release`");
	}
}

static void while_another_one_may_serve_no_primary_is_let_in(void **state)
{
	static char name[] = "vm1";
	static const struct config_instance instance = { .name = name };
	const struct wire_hello peer = { .site = "a", .instance = "vm1" };
	uint16_t reason;
	struct err err;

	(void)state;
	memset(&standby, 0, sizeof(standby));
	standby.instance = &instance;
	failover_init(&standby.failover, 300, true, 0);
	assert_int_equal(clone_accept(&standby, NULL, &peer, NULL, NULL, NULL, &reason, &err),
			 RC_REFUSED);
	assert_int_equal(reason, WIRE_REASON_DOUBT);
	standby.doubt.clear = standby.held = true;
	assert_int_equal(clone_accept(&standby, NULL, &peer, NULL, NULL, NULL, &reason, &err),
			 RC_REFUSED);
	assert_int_equal(reason, WIRE_REASON_DOUBT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_of_a_former_term_is_refused_with_both_terms),
		cmocka_unit_test(nothing_is_refused_so_while_it_takes_over_or_serves),
		cmocka_unit_test(that_the_instance_is_gone_is_heard_while_it_is_claimed),
		cmocka_unit_test(another_sites_instance_is_refused_while_something_is_kept),
		cmocka_unit_test(while_another_one_may_serve_no_primary_is_let_in),
	};

	return cmocka_run_group_tests(tests, link_fixture_setup, link_fixture_teardown);
}
