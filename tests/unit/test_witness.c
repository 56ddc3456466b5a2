#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "appliance/witness.h"
#include "tests/unit/etcd_fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TTL_S 2
#define ROUNDS 40

static struct err err;
static struct etcd_server server;

/* A site: its client of etcd, its witness, and what it was told. */
struct site {
	const char *name;
	enum witness_server role;
	struct etcd *etcd;
	struct witness *witness;
	bool done, lost, closed;
	enum witness_outcome outcome;
	struct witness_view view;
	struct err err, why;
	uint64_t lost_ns;
};

static struct site a, b;
static const char *url; /* of etcd, or of what is in its place */

static void on_done(void *owner, enum witness_outcome outcome, const struct witness_view *view,
		    const struct err *why)
{
	struct site *site = owner;

	assert_int_equal(why != NULL, outcome == WITNESS_UNREACHABLE);
	site->outcome = outcome;
	site->view = *view;
	if (why != NULL)
		site->err = *why;
	site->done = true;
}

static void on_lost(void *owner, const struct err *why)
{
	struct site *site = owner;

	assert_false(site->lost);
	assert_true(witness_until_ns(site->witness) == 0);
	site->why = *why;
	site->lost_ns = clock_now_ns();
	site->lost = true;
}

static void on_closed(void *owner)
{
	struct site *site = owner;

	site->closed = true;
}

static void open_site(struct site *site, const char *name, enum witness_server role)
{
	const char *const urls[] = { url };
	struct witness_options options = { .instance = "vm1",
					   .ttl_s = TTL_S,
					   .on_lost = on_lost,
					   .done = on_done,
					   .owner = site };

	memset(site, 0, sizeof(*site));
	site->name = name;
	site->role = role;
	options.etcd = site->etcd = etcd_client(urls, 1, identity);
	assert_int_equal(witness_open(&site->witness, &loop, &options, &err), RC_OK);
}

static void close_site(struct site *site)
{
	witness_close(site->witness, on_closed);
	turn_until(&site->closed);
	etcd_client_close(site->etcd);
}

static void begin(void)
{
	etcd_server_open(&server);
	url = server.url;
	open_site(&a, "seoul", WITNESS_PRIMARY);
	open_site(&b, "busan", WITNESS_STANDBY);
}

static void end(void)
{
	close_site(&a);
	close_site(&b);
	etcd_server_close(&server);
}

static void start_claim(struct site *site, uint64_t term, bool leased)
{
	const struct witness_claim claim = {
		.term = term, .server = site->role, .site = site->name, .leased = leased
	};

	site->done = false;
	if (witness_claim(site->witness, &claim, PATIENCE_MS, &err) != RC_OK)
		fail_msg("%s", err.text);
}

static enum witness_outcome claim(struct site *site, uint64_t term, bool leased)
{
	start_claim(site, term, leased);
	assert_false(site->done);
	turn_until(&site->done);
	return site->outcome;
}

static enum witness_outcome look(struct site *site)
{
	site->done = false;
	assert_int_equal(witness_read(site->witness, PATIENCE_MS, &err), RC_OK);
	turn_until(&site->done);
	return site->outcome;
}

static void expect_view(const struct site *site, uint64_t term, const struct site *of, bool held)
{
	assert_true(site->view.present);
	assert_true(site->view.value.term == term);
	assert_int_equal(site->view.value.server, of->role);
	assert_string_equal(site->view.value.site, of->name);
	assert_int_equal(site->view.held, held);
	assert_int_equal(site->view.own, site == of);
}

static void nobody_has_claimed_a_new_instance(void **state)
{
	(void)state;
	begin();
	assert_int_equal(look(&a), WITNESS_SEEN);
	assert_false(a.view.present);
	assert_false(a.view.held);
	end();
}

static void the_first_claim_wins_and_the_other_learns_of_it(void **state)
{
	(void)state;
	begin();
	assert_int_equal(claim(&a, 1, false), WITNESS_WON);
	expect_view(&a, 1, &a, false);
	assert_true(witness_until_ns(a.witness) == 0);
	assert_int_equal(claim(&b, 1, false), WITNESS_LOST);
	expect_view(&b, 1, &a, false);
	/* Having seen that, it may go on from there; and not back. */
	assert_int_equal(claim(&b, 2, false), WITNESS_WON);
	assert_int_equal(look(&a), WITNESS_SEEN);
	expect_view(&a, 2, &b, false);
	const struct witness_claim old = { .term = 2, .site = "seoul" };

	assert_int_equal(witness_claim(a.witness, &old, 0, &err), RC_STATE);
	assert_non_null(strstr(err.text, "has seen term 2"));
	end();
}

static void of_two_claims_at_once_exactly_one_wins(void **state)
{
	struct site *sites[2] = { &a, &b };
	unsigned round, won[2] = { 0, 0 }, i;
	uint64_t term = 0;

	(void)state;
	begin();
	for (round = 0; round < ROUNDS; round++) {
		assert_int_equal(look(&a), WITNESS_SEEN);
		assert_int_equal(look(&b), WITNESS_SEEN);
		term++;
		start_claim(sites[round % 2], term, round % 4 < 2);
		start_claim(sites[1 - round % 2], term, round % 4 == 1 || round % 4 == 2);
		turn_until(&a.done);
		turn_until(&b.done);
		assert_int_equal((a.outcome == WITNESS_WON) + (b.outcome == WITNESS_WON), 1);
		assert_int_equal((a.outcome == WITNESS_LOST) + (b.outcome == WITNESS_LOST), 1);
		i = b.outcome == WITNESS_WON;
		won[i]++;
		/* The loser knows the winner's term and site, and whether it holds a lease. */
		expect_view(sites[1 - i], term, sites[i], witness_until_ns(sites[i]->witness) > 0);
		assert_true(witness_until_ns(sites[1 - i]->witness) == 0);
		witness_release(sites[i]->witness);
		do
			assert_int_equal(look(sites[1 - i]), WITNESS_SEEN);
		while (sites[1 - i]->view.held);
	}
	print_message("of %d rounds %u and %u were won\n", ROUNDS, won[0], won[1]);
	assert_false(a.lost || b.lost);
	end();
}

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

static int64_t lease_found, revision_found;

static void on_found(void *owner, const struct etcd_reply *reply)
{
	bool *found = owner;

	if (reply->txn != NULL) {
		lease_found = reply->txn->entries[0].lease;
		revision_found = reply->txn->entries[0].mod_revision;
	}
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
	assert_int_not_equal(lease_found, 0);
	how.owner = &revoked;
	assert_non_null(etcd_revoke(b.etcd, lease_found, &how, &err));
	turn_until(&revoked);
	turn_until(&a.lost);
	assert_non_null(strstr(a.why.text, "etcd has it no more"));
	end();
}

/* A leader that was cut off: it renews the lease, in a raft term that is over for the majority. */
static const char *answer_as_an_old_leader(const char *request)
{
	static char answer[512];
	const char *text;

	if (strstr(request, ETCD_PATH_GRANT) != NULL)
		text = "{\"header\":{\"raft_term\":\"5\"},\"ID\":\"77\",\"TTL\":\"2\"}";
	else if (strstr(request, ETCD_PATH_KEEP_ALIVE) != NULL)
		text = "{\"result\":{\"header\":{\"raft_term\":\"5\"},\"ID\":\"77\","
		       "\"TTL\":\"2\"}}\n";
	else if (strstr(request, "request_put") != NULL)
		text = "{\"header\":{\"revision\":\"1\",\"raft_term\":\"5\"},"
		       "\"succeeded\":true,\"responses\":[{\"response_put\":{}},"
		       "{\"response_put\":{}}]}";
	else
		text = "{\"header\":{\"raft_term\":\"6\"},\"succeeded\":true,\"responses\":["
		       "{\"response_range\":{}},{\"response_range\":{\"kvs\":[{\"lease\":\"77\","
		       "\"create_revision\":\"1\",\"mod_revision\":\"1\"}]}}]}";
	(void)snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
		       strlen(text), text);
	return answer;
}

static void a_renewal_by_a_leader_that_is_none_any_more_does_not_count(void **state)
{
	struct odd_server odd;
	uint64_t until_ns;

	(void)state;
	odd_server_open(&odd);
	odd.choose = answer_as_an_old_leader;
	url = odd.url;
	open_site(&a, "seoul", WITNESS_PRIMARY);
	assert_int_equal(claim(&a, 1, true), WITNESS_WON);
	until_ns = witness_until_ns(a.witness);
	turn_for(TTL_S * 500);
	assert_true(odd.requests > 4); /* it has tried */
	assert_true(witness_until_ns(a.witness) == until_ns);
	turn_until(&a.lost);
	assert_true(a.lost_ns < until_ns + 100 * CLOCK_NS_PER_MS);
	assert_non_null(strstr(a.why.text, "leader has just changed"));
	close_site(&a);
	odd_server_close(&odd);
}

static void an_unreachable_witness_is_told_and_the_claim_can_be_repeated(void **state)
{
	(void)state;
	begin();
	assert_int_equal(claim(&b, 1, false), WITNESS_WON);
	etcd_server_kill(&server);
	assert_int_equal(look(&b), WITNESS_UNREACHABLE);
	assert_non_null(strstr(b.err.text, "connection refused"));
	expect_view(&b, 1, &b, false); /* what was known stays */
	assert_int_equal(claim(&b, 2, false), WITNESS_UNREACHABLE);
	assert_int_equal(claim(&b, 2, true), WITNESS_UNREACHABLE);
	etcd_server_start(&server);
	do
		(void)claim(&b, 2, false);
	while (b.outcome == WITNESS_UNREACHABLE);
	assert_int_equal(b.outcome, WITNESS_WON);
	end();
}

static bool swapped;

static void on_swapped(void *owner, const struct etcd_reply *reply)
{
	(void)owner;
	assert_null(reply->err);
	assert_true(reply->txn->succeeded);
	swapped = true;
}

/* Makes b's claim of that term as etcd does when only its answer is lost. */
static void claim_without_answer(uint64_t term, int64_t from)
{
	const struct etcd_how how = { .timeout_ms = PATIENCE_MS, .done = on_swapped };
	struct witness_value value = b.view.value;
	char text[WITNESS_TEXT_MAX];

	value.term = term;
	assert_int_equal(witness_value_print(text, &value, &err), RC_OK);
	swapped = false;
	assert_non_null(etcd_swap(a.etcd, "/understudy/vm1", from, text, 0, &how, &err));
	turn_until(&swapped);
}

static int64_t found_revision(void)
{
	bool found = false;
	const struct etcd_how how = { .timeout_ms = PATIENCE_MS,
				      .done = on_found,
				      .owner = &found };

	assert_non_null(etcd_get(a.etcd, "/understudy/vm1", &how, &err));
	turn_until(&found);
	return revision_found;
}

static void a_claim_whose_answer_was_lost_is_recognised(void **state)
{
	(void)state;
	begin();
	assert_int_equal(claim(&b, 1, false), WITNESS_WON);
	claim_without_answer(2, found_revision());
	assert_int_equal(claim(&b, 2, false), WITNESS_WON);
	expect_view(&b, 2, &b, false);
	/* It knows the revision from which to go on. With a lease it is another claim. */
	claim_without_answer(3, found_revision());
	assert_int_equal(claim(&b, 3, true), WITNESS_LOST);
	expect_view(&b, 3, &b, false);
	assert_true(witness_until_ns(b.witness) == 0);
	assert_int_equal(claim(&b, 4, true), WITNESS_WON);
	/* Nobody else's is taken for one's own. */
	assert_int_equal(look(&a), WITNESS_SEEN);
	expect_view(&a, 4, &b, true);
	end();
}

static void what_somebody_else_stored_there_is_left_alone(void **state)
{
	const struct etcd_how how = { .timeout_ms = PATIENCE_MS, .done = on_swapped };

	(void)state;
	begin();
	swapped = false;
	assert_non_null(etcd_swap(b.etcd, "/understudy/vm1", 0, "not ours", 0, &how, &err));
	turn_until(&swapped);
	assert_int_equal(look(&a), WITNESS_UNREACHABLE);
	assert_non_null(strstr(a.err.text, "what is stored at /understudy/vm1 is not ours"));
	assert_int_equal(claim(&a, 1, true), WITNESS_UNREACHABLE);
	assert_true(witness_until_ns(a.witness) == 0);
	end();
}

static void an_etcd_that_has_lost_what_it_knew_counts_as_away(void **state)
{
	(void)state;
	begin();
	assert_int_equal(claim(&a, 3, false), WITNESS_WON);
	assert_int_equal(look(&b), WITNESS_SEEN);
	etcd_server_forget(&server);
	assert_int_equal(look(&a), WITNESS_UNREACHABLE);
	assert_non_null(strstr(a.err.text, "etcd does not know what it knew: /understudy/vm1 had "
					   "term 3, and is gone"));
	assert_string_equal(etcd_doubted(a.etcd), a.err.text);
	assert_int_equal(look(&b), WITNESS_UNREACHABLE);
	assert_int_equal(claim(&a, 4, true), WITNESS_UNREACHABLE); /* it is told of nothing */
	assert_true(witness_until_ns(a.witness) == 0);
	/* Another process claims from what is there now. */
	close_site(&b);
	open_site(&b, "busan", WITNESS_STANDBY);
	assert_int_equal(claim(&b, 2, false), WITNESS_WON);
	assert_int_equal(look(&a), WITNESS_UNREACHABLE);
	assert_non_null(strstr(a.err.text, "has a lower one now"));
	assert_int_equal(claim(&b, 3, false), WITNESS_WON);
	assert_int_equal(look(&a), WITNESS_UNREACHABLE);
	assert_non_null(strstr(a.err.text, "has it of another site now"));
	assert_int_equal(claim(&b, 4, false), WITNESS_WON);
	assert_int_equal(look(&a), WITNESS_SEEN);
	expect_view(&a, 4, &b, false);
	assert_null(etcd_doubted(a.etcd));
	end();
}

static void one_thing_at_a_time_and_closing_gives_it_up(void **state)
{
	const struct witness_claim claim = { .term = 1, .site = "no name" };

	(void)state;
	begin();
	assert_int_equal(witness_claim(a.witness, &claim, 0, &err), RC_INVALID);
	assert_int_equal(witness_read(a.witness, 0, &err), RC_OK);
	assert_int_equal(witness_read(a.witness, 0, &err), RC_STATE);
	end();
	assert_false(a.done);
}

static void every_lack_of_memory_is_told(void **state)
{
	struct witness_claim claim = { .server = WITNESS_PRIMARY, .site = "seoul", .leased = true };
	unsigned long n;
	bool fired = true, won;

	(void)state;
	begin();
	for (n = 1; n < 300 && fired; n++) {
		claim.term = n;
		a.done = false;
		fault_arm(FAULT_ALLOC, n);
		if (witness_claim(a.witness, &claim, PATIENCE_MS, &err) == RC_OK)
			turn_until(&a.done);
		else
			assert_int_equal(err.code, RC_NOMEM);
		won = a.done && a.outcome == WITNESS_WON;
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
		/* Made or not: what the witness says afterwards is whole. */
		witness_release(a.witness);
		do
			assert_int_equal(look(&a), WITNESS_SEEN);
		while (a.view.held);
		assert_true(!won || a.view.value.term == n);
	}
	assert_false(fired);
	assert_true(n > 10);
	end();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, etcd_test_setup, etcd_test_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nobody_has_claimed_a_new_instance),
		TEST(the_first_claim_wins_and_the_other_learns_of_it),
		TEST(of_two_claims_at_once_exactly_one_wins),
		TEST(while_a_lease_is_kept_alive_nobody_else_wins),
		TEST(a_holder_that_dies_is_outlived),
		TEST(a_holder_that_loses_sight_of_etcd_stops_before_others_can_start),
		TEST(a_short_absence_of_etcd_is_bridged),
		TEST(a_lease_that_somebody_took_away_is_lost),
		TEST(a_renewal_by_a_leader_that_is_none_any_more_does_not_count),
		TEST(an_unreachable_witness_is_told_and_the_claim_can_be_repeated),
		TEST(a_claim_whose_answer_was_lost_is_recognised),
		TEST(what_somebody_else_stored_there_is_left_alone),
		TEST(an_etcd_that_has_lost_what_it_knew_counts_as_away),
		TEST(one_thing_at_a_time_and_closing_gives_it_up),
		TEST(every_lack_of_memory_is_told),
	};

	return cmocka_run_group_tests(tests, etcd_group_setup, etcd_group_teardown);
}
