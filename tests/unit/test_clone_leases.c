/*
 * A standby's leases on their way between its decision and its connection: what was granted is waited for,
 * with a margin, whatever becomes of the connection, and from the decision on nothing is granted and no
 * epoch acknowledged.
 */
#include "appliance/clone_internal.h"
#include "tests/unit/link_fixture.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DETECT_MS 5000 /* so that a lease lasts for longer than a loaded machine stands still */

static char state_dir[SCRATCH_MAX], dir[SCRATCH_MAX + 8], site[] = "south", name[] = "vm1";
static const struct config_instance instance = {
	.name = name,
	.takeover = CONFIG_TAKEOVER_AUTOMATIC,
	.standby_staging_mib = 64,
};
static const struct config config = {
	.site = site,
	.detect_ms = DETECT_MS,
	.state_dir = state_dir,
	.memory_dir = state_dir,
};
static struct world world;
static struct err err;
static struct clone *standby;
static bool stopped;

/* A standby that protects the instance, and whose primary has a lease. */
static int set_up(void **state)
{
	const struct link_ops *ops;
	struct wire_hello own = { 0 };
	struct link *link;
	uint16_t reason;
	void *owner;

	(void)state;
	if (scratch_make(state_dir, "leases") != 0)
		return -1;
	world_open(&world);
	assert_int_equal(clone_start(&standby, &world.loop, &config, &instance, NULL, &err), RC_OK);
	world_connect(&world);
	RUN_UNTIL(&world, clone_accept(standby, world.standby.link, &world.hello, &own, &ops,
				       &owner, &reason, &err) == RC_OK);
	link = world.standby.link;
	world.standby.link = NULL; /* it is the clone's now, as if it had been accepted by that */
	link->ops = ops;
	link->owner = owner;
	ops->on_up(owner, &world.hello);
	standby->failover.granted_ns = 0; /* of an earlier life, which there was not */
	standby->failover.state = FAILOVER_PROTECTED;
	standby->failover.epoch = 3;
	RUN_UNTIL(&world, link_lease_ns(world.primary.link) > 0);
	return 0;
}

static void on_stopped(void *unused)
{
	(void)unused;
	stopped = true;
}

static int tear_down(void **state)
{
	char path[sizeof(dir) + 16];

	(void)state;
	standby->failover.state = FAILOVER_EMPTY; /* no takeover has to come to its end */
	standby->failover.epoch = 0;
	stopped = false;
	clone_stop(standby, on_stopped, NULL);
	RUN_UNTIL(&world, stopped);
	world_close(&world);
	(void)snprintf(dir, sizeof(dir), "%s/vm1", state_dir);
	(void)snprintf(path, sizeof(path), "%s/term", dir);
	(void)unlink(path);
	(void)rmdir(dir);
	(void)snprintf(path, sizeof(path), "%s/understudy-south-vm1", state_dir);
	(void)rmdir(path);
	(void)rmdir(state_dir);
	return 0;
}

/* Decided by the operator, of a primary that cannot be asked: only its lease has to run out. */
static void decide(void)
{
	standby->terms = false;
	assert_int_equal(clone_takeover(standby, &err), RC_OK);
}

/* As far as clocks may run apart. */
static void what_is_granted_is_waited_for_longer_than_it_is_counted_on(void **state)
{
	const uint64_t length_ns = link_lease_length_ns(world.primary.link);

	(void)state;
	assert_true(length_ns > 0);
	assert_true(link_granted_ns(standby->link) >=
		    link_lease_ns(world.primary.link) + length_ns / LINK_LEASE_MARGIN);
}

static void a_lease_of_the_connection_has_to_run_out_first(void **state)
{
	(void)state;
	decide();
	assert_int_equal(standby->failover.state, FAILOVER_CLAIMING);
}

static void and_one_of_a_connection_that_is_gone(void **state)
{
	(void)state;
	link_drop(world.primary.link, WIRE_REASON_SHUTDOWN, "for the test");
	RUN_UNTIL(&world, standby->link == NULL);
	decide();
	assert_int_equal(standby->failover.state, FAILOVER_CLAIMING);
}

static void none_is_granted_from_the_decision_on(void **state)
{
	(void)state;
	assert_true(standby->link->lease_ns > 0);
	decide();
	assert_int_equal(standby->link->lease_ns, 0);
}

static void an_epoch_that_is_committed_after_the_decision_is_not_acknowledged(void **state)
{
	(void)state;
	clone_on_committed(standby, 4, 1);
	RUN_UNTIL(&world, world.primary.last.type == WIRE_ACK);
	assert_int_equal(world.primary.last.epoch, 4);
	world.primary.frames = 0;
	standby->failover.state = FAILOVER_TAKING_OVER;
	clone_on_committed(standby, 5, 1);
	assert_true(clone_tell(standby, WIRE_UNCOMMITTED, 9, NULL, 0)); /* behind it */
	RUN_UNTIL(&world, world.primary.last.type == WIRE_UNCOMMITTED);
	assert_int_equal(world.primary.frames, 1);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_is_granted_is_waited_for_longer_than_it_is_counted_on),
		TEST(a_lease_of_the_connection_has_to_run_out_first),
		TEST(and_one_of_a_connection_that_is_gone),
		TEST(none_is_granted_from_the_decision_on),
		TEST(an_epoch_that_is_committed_after_the_decision_is_not_acknowledged),
	};

	return cmocka_run_group_tests(tests, link_fixture_setup, link_fixture_teardown);
}
