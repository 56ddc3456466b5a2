/* The primary's right to answer, with a witness that is etcd and a standby whose leases are played. */
#include "appliance/lease_keeper.h"

#include "appliance/base/clock.h"
#include "appliance/witness.h"
#include "net/link_internal.h"
#include "tests/unit/etcd_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TTL_S 3
#define LONG_NS (60 * CLOCK_NS_PER_S)

static struct err err;
static struct etcd_server server;
static struct etcd *etcd;
static struct lease_keeper *keeper;
static struct link standby; /* only its lease is looked at */

static struct told {
	bool serves, silent, term, closed;
	bool tell;			/* the standby of that term */
	bool idle_alone;		/* alone by the witness's word, which lets it do nothing */
	char reason[TENURE_REASON_MAX]; /* of the last silence */
	bool grant_when_silent;		/* the standby is heard again while the witness is asked */
	uint64_t until_ns;
} told;

static void grant(uint64_t for_ns)
{
	standby.leased_term = 1;
	standby.leased_from_ns = clock_now_ns();
	standby.leased_until_ns = standby.leased_from_ns + for_ns;
}

/* The lease that there is runs out, and the witness lets it go on. */
static void serve_alone(void)
{
	grant(50 * CLOCK_NS_PER_MS);
	turn_until(&told.silent);
	turn_until(&told.serves);
	assert_true(lease_keeper_is_alone(keeper));
}

static void on_right(void *owner, bool may_serve, const char *reason)
{
	(void)owner;
	told.serves = may_serve;
	assert_true(!may_serve || told.until_ns > 0); /* which was told before */
	told.idle_alone |= !may_serve && lease_keeper_is_alone(keeper);
	if (may_serve)
		return;
	told.silent = true;
	(void)snprintf(told.reason, sizeof(told.reason), "%s", reason);
	if (told.grant_when_silent)
		grant(LONG_NS);
}

static void on_lease(void *owner, uint64_t until_ns)
{
	(void)owner;
	assert_int_equal(until_ns, lease_keeper_until_ns(keeper));
	told.until_ns = until_ns;
}

static void on_term(void *owner, uint64_t term, bool untold)
{
	(void)owner;
	told.term = term > 1;
	told.tell |= untold;
}

static const struct lease_keeper_ops ops = { on_right, on_lease, on_term };

static void note(void *owner)
{
	*(bool *)owner = true;
}

static void begin_with(uint32_t ttl_s)
{
	const char *urls[1];
	struct lease_keeper_options options = { .hold = true,
						.period_ms = 1,
						.term = 1,
						.instance = "vm1",
						.site = "seoul",
						.ttl_s = ttl_s };

	etcd_server_open(&server);
	urls[0] = server.url;
	etcd = etcd_client(urls, 1, identity);
	memset(&standby, 0, sizeof(standby));
	told = (struct told){ .serves = false };
	options.etcd = etcd;
	assert_int_equal(lease_keeper_open(&keeper, &loop, &options, &ops, NULL, &err), RC_OK);
	lease_keeper_link(keeper, &standby);
}

static void begin(void)
{
	begin_with(TTL_S);
	lease_keeper_instance(keeper, true);
}

static void end(void)
{
	lease_keeper_close(keeper, note, &told.closed);
	turn_until(&told.closed);
	etcd_client_close(etcd);
	etcd_server_close(&server);
}

static bool claimed;

static void on_claimed(void *owner, enum witness_outcome outcome, const struct witness_view *view,
		       const struct err *why)
{
	(void)owner;
	(void)view;
	(void)why;
	assert_int_equal(outcome, WITNESS_WON);
	claimed = true;
}

static struct looked {
	bool done, seen;
	struct witness_view view;
} looked;

static void on_looked(void *owner, enum witness_outcome outcome, const struct witness_view *view,
		      const struct err *why)
{
	(void)owner;
	(void)why;
	looked = (struct looked){ true, outcome == WITNESS_SEEN, *view };
}

/* Whether somebody holds the instance at the witness. */
static bool is_held(void)
{
	const struct witness_options options = {
		.etcd = etcd, .instance = "vm1", .ttl_s = TTL_S, .done = on_looked
	};
	struct witness *witness;

	assert_int_equal(witness_open(&witness, &loop, &options, &err), RC_OK);
	do { /* a busy machine's etcd may not answer in time */
		looked.done = false;
		assert_int_equal(witness_read(witness, 0, &err), RC_OK);
		turn_until(&looked.done);
	} while (!looked.seen);
	witness_close(witness, NULL);
	assert_true(looked.view.present);
	return looked.view.held;
}

static void alone_it_holds_the_witness_s_lease(void **state)
{
	(void)state;
	begin();
	serve_alone();
	assert_true(is_held());
	assert_false(told.idle_alone);
	end();
}

/* And goes on to say so while it asks again. */
static void a_witness_that_does_not_answer_is_told_of(void **state)
{
	uint64_t since_ns;

	(void)state;
	begin();
	etcd_server_kill(&server);
	grant(50 * CLOCK_NS_PER_MS);
	turn_until(&told.silent);
	assert_non_null(strstr(lease_keeper_reason(keeper), "asking the witness"));
	since_ns = clock_now_ns();
	while (strstr(lease_keeper_reason(keeper), "nor the witness answers") == NULL) {
		assert_true(clock_now_ns() - since_ns < PATIENCE_MS * CLOCK_NS_PER_MS);
		turn_for(1);
	}
	while (strcmp(lease_keeper_state(keeper), "claiming") != 0)
		turn_for(1);
	assert_non_null(strstr(lease_keeper_reason(keeper), "nor the witness answers"));
	end();
}

/* A third of the lease later at most, when it is to be renewed, and not at its end. */
static void alone_it_is_silent_as_soon_as_the_witness_has_forgotten_it(void **state)
{
	uint64_t since_ns;

	(void)state;
	begin_with(3 * TTL_S);
	lease_keeper_instance(keeper, true);
	serve_alone();
	etcd_server_forget(&server);
	told.silent = false;
	turn_until(&told.silent);
	assert_string_equal(told.reason, "the witness's lease was taken away from this site");
	/* It asks again, and what it hears gives it no right. */
	since_ns = clock_now_ns();
	while (etcd_doubted(etcd) == NULL) {
		assert_true(clock_now_ns() - since_ns < PATIENCE_MS * CLOCK_NS_PER_MS);
		turn_for(10);
	}
	assert_false(lease_keeper_may_serve(keeper));
	grant(LONG_NS); /* the standby's word counts as ever */
	standby.leased_term = 2;
	turn_until(&told.serves);
	/* Nor is the witness needed by one whose standby serves. */
	assert_non_null(etcd_doubted(etcd));
	lease_keeper_supersede(keeper, 3);
	assert_null(etcd_doubted(etcd));
	end();
}

static void a_standby_that_serves_silences_one_that_serves_alone_with_a_higher_term(void **state)
{
	(void)state;
	begin();
	serve_alone();
	lease_keeper_supersede(keeper, 1);
	assert_true(lease_keeper_is_superseded(keeper));
	assert_false(lease_keeper_may_serve(keeper));
	assert_non_null(strstr(told.reason, "both have answered clients"));
	end();
}

static void a_lease_of_the_witness_that_comes_too_late_is_given_back(void **state)
{
	uint64_t since_ns;

	(void)state;
	begin_with(WITNESS_TTL_MAX_S); /* by itself it would end long after our patience */
	lease_keeper_instance(keeper, true);
	told.grant_when_silent = true;
	grant(50 * CLOCK_NS_PER_MS);
	turn_until(&told.silent);
	turn_until(&told.serves); /* by the standby's word */
	assert_false(lease_keeper_is_alone(keeper));
	assert_false(told.tell);
	turn_until(&told.term); /* the witness's answer */
	assert_true(told.tell); /* or its leases, of the old term, would count no more */
	since_ns = clock_now_ns();
	while (is_held()) { /* giving it back takes etcd a write to its disk */
		assert_true(clock_now_ns() - since_ns < PATIENCE_MS * CLOCK_NS_PER_MS);
		turn_for(10);
	}
	end();
}

/* As one with a new state_dir, or that won a claim in its last moment. */
static void claim_as_a_standby(uint64_t term)
{
	const struct witness_options options = {
		.etcd = etcd, .instance = "vm1", .ttl_s = TTL_S, .done = on_claimed
	};
	const struct witness_claim claim = { .term = term,
					     .server = WITNESS_STANDBY,
					     .site = "busan" };
	struct witness *witness;

	claimed = false;
	assert_int_equal(witness_open(&witness, &loop, &options, &err), RC_OK);
	assert_int_equal(witness_claim(witness, &claim, 0, &err), RC_OK);
	turn_until(&claimed);
	witness_close(witness, NULL);
}

static void a_standby_that_does_not_know_its_own_term_is_told(void **state)
{
	(void)state;
	begin();
	claim_as_a_standby(5);
	grant(LONG_NS);
	turn_until(&told.serves);
	turn_until(&told.silent); /* it has looked */
	assert_true(told.tell);
	told.serves = false;
	standby.leased_term = 5;
	turn_until(&told.serves);
	end();
}

/* The link still has the lease that was granted before. */
static void what_has_yielded_waits_for_a_lease_that_was_asked_for_afterwards(void **state)
{
	(void)state;
	begin();
	grant(LONG_NS);
	turn_until(&told.serves);
	lease_keeper_yield(keeper, 1);
	assert_true(lease_keeper_has_yielded(keeper));
	assert_true(told.silent && !told.serves);
	assert_non_null(strstr(told.reason, "operator's order"));
	turn_for(100);
	assert_true(lease_keeper_has_yielded(keeper));
	grant(LONG_NS);
	turn_until(&told.serves);
	assert_false(lease_keeper_has_yielded(keeper));
	end();
}

static void who_serves_alone_and_yields_gives_the_witness_s_lease_back(void **state)
{
	unsigned looks = 0;

	(void)state;
	begin();
	serve_alone();
	lease_keeper_yield(keeper, 2);
	assert_false(lease_keeper_may_serve(keeper));
	while (is_held() && looks++ < 20)
		turn_for(10);
	assert_true(looks < 20);
	end();
}

/* Or a standby that has an epoch could not get it. */
static void the_witness_is_not_asked_for_an_instance_that_was_not_found_yet(void **state)
{
	(void)state;
	begin_with(TTL_S);
	turn_for(TENURE_CLAIM_RETRY_NS / CLOCK_NS_PER_MS + 500);
	assert_false(told.serves || told.term);
	lease_keeper_instance(keeper, true);
	turn_until(&told.serves);
	assert_true(lease_keeper_is_alone(keeper));
	end();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, etcd_test_setup, etcd_test_teardown)
	const struct CMUnitTest tests[] = {
		TEST(alone_it_holds_the_witness_s_lease),
		TEST(a_witness_that_does_not_answer_is_told_of),
		TEST(alone_it_is_silent_as_soon_as_the_witness_has_forgotten_it),
		TEST(a_standby_that_serves_silences_one_that_serves_alone_with_a_higher_term),
		TEST(a_lease_of_the_witness_that_comes_too_late_is_given_back),
		TEST(a_standby_that_does_not_know_its_own_term_is_told),
		TEST(what_has_yielded_waits_for_a_lease_that_was_asked_for_afterwards),
		TEST(who_serves_alone_and_yields_gives_the_witness_s_lease_back),
		TEST(the_witness_is_not_asked_for_an_instance_that_was_not_found_yet),
	};

	return cmocka_run_group_tests(tests, etcd_group_setup, etcd_group_teardown);
}
