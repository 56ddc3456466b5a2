/* Leases at the witness: kept alive, lost, and no longer counted on than they last. */
#include "appliance/base/clock.h"
#include "tests/unit/clock_fixture.h"
#include "tests/unit/witness_fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct err err;

static void while_a_lease_is_kept_alive_nobody_else_wins(void **state)
{
	uint64_t until_ns, now_ns, since_ns = clock_now_ns();

	(void)state;
	begin();
	now_ns = clock_now_ns();
	assert_int_equal(claim(&a, 5, true), WITNESS_WON);
	expect_view(&a, 5, &a, true);
	until_ns = witness_until_ns(a.witness);
	/* Counted from before it was asked for, less the margin. */
	assert_true(until_ns >= witness_lease_end(now_ns, TTL_S));
	assert_true(until_ns <= witness_lease_end(clock_now_ns(), TTL_S));
	while (clock_now_ns() - since_ns < (2 * TTL_S + 1) * CLOCK_NS_PER_S) {
		assert_int_equal(look(&b), WITNESS_SEEN);
		expect_view(&b, 5, &a, true);
		assert_int_equal(claim(&b, 6, false), WITNESS_LOST);
		expect_view(&b, 5, &a, true);
		assert_false(a.lost);
		assert_true(clock_now_ns() < witness_until_ns(a.witness));
		turn_for(200);
	}
	assert_true(witness_until_ns(a.witness) > until_ns);
	/* It cannot claim again while it holds one; given back, the other can. */
	const struct witness_claim again = { .term = 6, .site = "seoul", .leased = true };

	assert_int_equal(witness_claim(a.witness, &again, 0, &err), RC_STATE);
	witness_release(a.witness);
	assert_true(witness_until_ns(a.witness) == 0);
	do
		assert_int_equal(look(&b), WITNESS_SEEN);
	while (b.view.held);
	expect_view(&b, 5, &a, false); /* the term is remembered */
	assert_int_equal(claim(&b, 6, true), WITNESS_WON);
	assert_false(a.lost);
	end();
}

static void a_holder_that_dies_is_outlived(void **state)
{
	uint64_t until_ns;

	(void)state;
	begin();
	assert_int_equal(claim(&a, 1, true), WITNESS_WON);
	until_ns = witness_until_ns(a.witness);
	close_site(&a); /* it gives nothing back */
	do {
		turn_for(50);
		assert_int_equal(look(&b), WITNESS_SEEN);
		expect_view(&b, 1, &a, b.view.held);
		if (b.view.held)
			assert_int_equal(claim(&b, 2, false), WITNESS_LOST);
	} while (b.view.held);
	/* Not before the holder would have stopped by itself. */
	assert_true(clock_now_ns() > until_ns);
	assert_int_equal(claim(&b, 2, false), WITNESS_WON);
	open_site(&a, "seoul", WITNESS_PRIMARY);
	end();
}

static void a_holder_that_loses_sight_of_etcd_stops_before_others_can_start(void **state)
{
	uint64_t until_ns;

	(void)state;
	begin();
	assert_int_equal(claim(&a, 1, true), WITNESS_WON);
	turn_for(TTL_S * 500);
	etcd_server_kill(&server);
	until_ns = witness_until_ns(a.witness);
	turn_until(&a.lost);
	assert_true(a.lost_ns >= until_ns);
	assert_true(a.lost_ns < until_ns + 100 * CLOCK_NS_PER_MS);
	assert_non_null(strstr(a.why.text, "connection refused"));
	/* Etcd is back: it counts leases anew, so nobody was earlier than that. */
	etcd_server_start(&server);
	do
		(void)look(&b);
	while (b.outcome != WITNESS_SEEN);
	assert_true(b.view.held);
	do {
		turn_for(50);
		assert_int_equal(look(&b), WITNESS_SEEN);
	} while (b.view.held);
	assert_int_equal(claim(&b, 2, false), WITNESS_WON);
	end();
}

static void a_short_absence_of_etcd_is_bridged(void **state)
{
	(void)state;
	begin();
	assert_int_equal(claim(&a, 1, true), WITNESS_WON);
	turn_for(100);
	(void)kill(server.pid, SIGSTOP);
	turn_for(TTL_S * 400); /* one renewal is missed */
	(void)kill(server.pid, SIGCONT);
	turn_for(2 * TTL_S * 1000);
	assert_false(a.lost);
	assert_true(witness_until_ns(a.witness) > clock_now_ns());
	assert_int_equal(look(&b), WITNESS_SEEN);
	assert_true(b.view.held);
	end();
}

static int64_t found_lease;

static void on_found(void *owner, const struct etcd_reply *reply)
{
	bool *found = owner;

	if (reply->txn != NULL)
		found_lease = reply->txn->entries[0].lease;
	*found = true;
}

static void a_lease_that_somebody_took_away_is_lost(void **state)
{
	bool found = false, revoked = false;
	struct etcd_how how = { .timeout_ms = PATIENCE_MS, .done = on_found, .owner = &found };

	(void)state;
	begin();
	assert_int_equal(claim(&a, 1, true), WITNESS_WON);
	/* An operator's hand: the lease is revoked behind the holder's back. */
	assert_non_null(etcd_get(b.etcd, "/understudy/vm1/lease", &how, &err));
	turn_until(&found);
	assert_int_not_equal(found_lease, 0);
	how.owner = &revoked;
	assert_non_null(etcd_revoke(b.etcd, found_lease, &how, &err));
	turn_until(&revoked);
	turn_until(&a.lost);
	assert_non_null(strstr(a.why.text, "etcd has it no more"));
	end();
}

/* An etcd that is right but for what a test sets. */
static struct {
	struct odd_server server;
	const char *raft_term; /* when it is read from */
	const char *lease;     /* that the key of the lease is there with */
	uint64_t delay_ms;     /* that a claim takes */
	bool given_back;       /* a lease was */
} odd;

static const char *answer_oddly(const char *request)
{
	static char text[320], answer[512];

	if (strstr(request, ETCD_PATH_GRANT) != NULL) {
		(void)snprintf(text, sizeof(text),
			       "{\"header\":{\"raft_term\":\"5\"},\"ID\":\"77\",\"TTL\":\"2\"}");
	} else if (strstr(request, ETCD_PATH_KEEP_ALIVE) != NULL) {
		(void)snprintf(text, sizeof(text),
			       "{\"result\":{\"header\":{\"raft_term\":\"5\"},\"ID\":\"77\","
			       "\"TTL\":\"2\"}}\n");
	} else if (strstr(request, ETCD_PATH_REVOKE) != NULL) {
		odd.given_back = true;
		(void)snprintf(text, sizeof(text), "{}");
	} else if (strstr(request, "request_put") != NULL) {
		clock_fixture_pass(odd.delay_ms);
		(void)snprintf(text, sizeof(text),
			       "{\"header\":{\"revision\":\"1\",\"raft_term\":\"5\"},"
			       "\"succeeded\":true,\"responses\":[{\"response_put\":{}},"
			       "{\"response_put\":{}}]}");
	} else {
		(void)snprintf(
			text, sizeof(text),
			"{\"header\":{\"raft_term\":\"%s\"},\"succeeded\":true,\"responses\":["
			"{\"response_range\":{}},{\"response_range\":{\"kvs\":[{\"lease\":\"%s\","
			"\"create_revision\":\"1\",\"mod_revision\":\"1\"}]}}]}",
			odd.raft_term, odd.lease);
	}
	(void)snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
		       strlen(text), text);
	return answer;
}

static void begin_oddly(const char *raft_term, const char *lease, uint64_t delay_ms)
{
	odd_server_open(&odd.server);
	odd.server.choose = answer_oddly;
	odd.raft_term = raft_term;
	odd.lease = lease;
	odd.delay_ms = delay_ms;
	odd.given_back = false;
	url = odd.server.url;
	open_site(&a, "seoul", WITNESS_PRIMARY);
}

static void end_oddly(void)
{
	close_site(&a);
	odd_server_close(&odd.server);
}

/* It was cut off, and renews the lease in a raft term that is over for the majority. */
static void a_renewal_by_a_leader_that_is_none_any_more_does_not_count(void **state)
{
	uint64_t until_ns;

	(void)state;
	begin_oddly("6", "77", 0);
	assert_int_equal(claim(&a, 1, true), WITNESS_WON);
	until_ns = witness_until_ns(a.witness);
	turn_for(TTL_S * 500);
	assert_true(odd.server.requests > 4); /* it has tried */
	assert_true(witness_until_ns(a.witness) == until_ns);
	turn_until(&a.lost);
	assert_true(a.lost_ns < until_ns + 100 * CLOCK_NS_PER_MS);
	assert_non_null(strstr(a.why.text, "leader has just changed"));
	end_oddly();
}

/* Then that one's holder serves, and ours, which is alive, is of no use. */
static void a_lease_whose_place_another_has_taken_is_lost(void **state)
{
	(void)state;
	begin_oddly("5", "78", 0);
	assert_int_equal(claim(&a, 1, true), WITNESS_WON);
	turn_until(&a.lost);
	assert_non_null(strstr(a.why.text, "/understudy/vm1/lease was taken away"));
	end_oddly();
}

static void a_claim_that_outlasts_its_lease_is_not_won_and_gives_it_back(void **state)
{
	(void)state;
	begin_oddly("5", "77", TTL_S * 1000);
	assert_int_equal(claim(&a, 1, true), WITNESS_UNREACHABLE);
	assert_non_null(strstr(a.err.text, "the claim took longer than its lease"));
	assert_true(witness_until_ns(a.witness) == 0);
	turn_until(&odd.given_back);
	end_oddly();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, etcd_test_setup, etcd_test_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(while_a_lease_is_kept_alive_nobody_else_wins),
		TEST(a_holder_that_dies_is_outlived),
		TEST(a_holder_that_loses_sight_of_etcd_stops_before_others_can_start),
		TEST(a_short_absence_of_etcd_is_bridged),
		TEST(a_lease_that_somebody_took_away_is_lost),
		TEST(a_renewal_by_a_leader_that_is_none_any_more_does_not_count),
		TEST(a_lease_whose_place_another_has_taken_is_lost),
		TEST(a_claim_that_outlasts_its_lease_is_not_won_and_gives_it_back),
	};

	return cmocka_run_group_tests(tests, etcd_group_setup, etcd_group_teardown);
}
