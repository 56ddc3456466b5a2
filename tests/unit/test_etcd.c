#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "tests/unit/etcd_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 50
#define OK(length, body) "HTTP/1.1 200 OK\r\nContent-Length: " length "\r\n\r\n" body

static struct err err;
static struct etcd_server server;

/* One call's end, kept. */
struct result {
	uint64_t sent_ns;
	struct etcd_lease_reply lease;
	struct etcd_txn_reply txn;
	struct err err; /* RC_OK: answered */
	bool done, uncertain;
};

static void on_done(void *owner, const struct etcd_reply *reply)
{
	struct result *result = owner;

	assert_false(result->done);
	result->done = true;
	result->uncertain = reply->uncertain;
	result->sent_ns = reply->sent_ns;
	if (reply->err != NULL)
		result->err = *reply->err;
	if (reply->txn != NULL)
		result->txn = *reply->txn;
	if (reply->lease != NULL)
		result->lease = *reply->lease;
}

static const struct etcd_how *into(struct result *result, uint32_t timeout_ms)
{
	static struct etcd_how how;

	memset(result, 0, sizeof(*result));
	how = (struct etcd_how){ .timeout_ms = timeout_ms, .done = on_done, .owner = result };
	return &how;
}

static struct etcd *open_client(void)
{
	const char *const urls[] = { server.url };

	return etcd_client(urls, 1, identity);
}

/* Waits; the call must have been answered. */
static void expect_answer(struct result *result)
{
	turn_until(&result->done);
	if (result->err.code != RC_OK)
		fail_msg("%s", result->err.text);
}

static void expect_failure(struct result *result, enum rc code, const char *part)
{
	turn_until(&result->done);
	if (result->err.code != code || strstr(result->err.text, part) == NULL)
		fail_msg("\"%s\" (%s) does not contain \"%s\" (%s)", result->err.text,
			 err_name(result->err.code), part, err_name(code));
}

static void get(struct etcd *etcd, const char *key, struct result *result)
{
	assert_non_null(etcd_get(etcd, key, into(result, PATIENCE_MS), &err));
	expect_answer(result);
}

static int64_t grant(struct etcd *etcd, uint32_t ttl_s, struct result *result)
{
	assert_non_null(etcd_grant(etcd, ttl_s, into(result, PATIENCE_MS), &err));
	expect_answer(result);
	assert_true(result->lease.ttl_s >= ttl_s);
	return result->lease.id;
}

static void swap(struct etcd *etcd, const char *key, int64_t from, const char *value, int64_t lease,
		 struct result *result)
{
	assert_non_null(etcd_swap(etcd, key, from, value, lease, into(result, PATIENCE_MS), &err));
	expect_answer(result);
}

static void setup_real(void)
{
	etcd_server_open(&server);
}

static void a_swap_is_made_from_the_revision_that_is_there_only(void **state)
{
	struct result result;
	struct etcd *etcd;

	(void)state;
	setup_real();
	etcd = open_client();
	get(etcd, "a", &result);
	assert_false(result.txn.entries[0].present);
	swap(etcd, "a", 0, "one", 0, &result);
	assert_true(result.txn.succeeded);
	int64_t first = result.txn.put_revision;

	swap(etcd, "a", 0, "two", 0, &result); /* it exists by now */
	assert_false(result.txn.succeeded);
	assert_string_equal(result.txn.entries[0].value, "one");
	assert_int_equal(result.txn.entries[0].mod_revision, first);
	swap(etcd, "a", first, "two", 0, &result);
	assert_true(result.txn.succeeded);
	assert_true(result.txn.put_revision > first);
	get(etcd, "a", &result);
	assert_string_equal(result.txn.entries[0].value, "two");
	assert_int_equal(result.txn.entries[0].create_revision, first);
	etcd_client_close(etcd);
	etcd_server_close(&server);
}

static void of_two_that_race_exactly_one_wins(void **state)
{
	struct etcd *etcd[2];
	struct result result[2], now;
	unsigned round, i, won[2] = { 0, 0 };
	char value[32];
	int64_t at = 0;

	(void)state;
	setup_real();
	etcd[0] = open_client();
	etcd[1] = open_client();
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < 2; i++) {
			unsigned who = (round + i) % 2; /* each is first half of the time */

			(void)snprintf(value, sizeof(value), "%u of round %u", who, round);
			assert_non_null(etcd_swap(etcd[who], "race", at, value, 0,
						  into(&result[who], PATIENCE_MS), &err));
		}
		expect_answer(&result[0]);
		expect_answer(&result[1]);
		assert_int_equal(result[0].txn.succeeded + result[1].txn.succeeded, 1);
		i = result[1].txn.succeeded;
		won[i]++;
		at = result[i].txn.put_revision;
		/* The loser was told what the winner wrote, and that is what is there. */
		(void)snprintf(value, sizeof(value), "%u of round %u", i, round);
		assert_string_equal(result[1 - i].txn.entries[0].value, value);
		assert_int_equal(result[1 - i].txn.entries[0].mod_revision, at);
		get(etcd[1 - i], "race", &now);
		assert_string_equal(now.txn.entries[0].value, value);
	}
	print_message("of %d rounds %u and %u were won\n", ROUNDS, won[0], won[1]);
	etcd_client_close(etcd[0]);
	etcd_client_close(etcd[1]);
	etcd_server_close(&server);
}

static void a_lease_that_is_not_kept_alive_takes_its_key_along(void **state)
{
	struct result result;
	struct etcd *a, *b;
	int64_t lease;
	uint64_t since_ns;

	(void)state;
	setup_real();
	a = open_client();
	b = open_client();
	since_ns = clock_now_ns();
	lease = grant(a, 1, &result);
	assert_true(result.sent_ns >= since_ns && result.sent_ns <= clock_now_ns());
	swap(a, "a", 0, "one", lease, &result);
	assert_true(result.txn.succeeded);
	get(b, "a", &result);
	assert_true(result.txn.entries[0].lease == lease);
	do {
		turn_for(50);
		get(b, "a", &result);
	} while (result.txn.entries[0].present);
	assert_true(clock_now_ns() - since_ns >= CLOCK_NS_PER_S);
	assert_non_null(etcd_keep_alive(a, lease, into(&result, PATIENCE_MS), &err));
	expect_answer(&result);
	assert_int_equal(result.lease.ttl_s, 0);
	/* What hangs on a lease that is gone cannot be written. */
	assert_non_null(etcd_swap(a, "a", 0, "two", lease, into(&result, PATIENCE_MS), &err));
	expect_failure(&result, RC_STATE, "lease not found");
	assert_false(result.uncertain);
	etcd_client_close(a);
	etcd_client_close(b);
	etcd_server_close(&server);
}

static void a_lease_that_is_kept_alive_holds(void **state)
{
	struct result result;
	struct etcd *etcd;
	int64_t lease;
	unsigned i;

	(void)state;
	setup_real();
	etcd = open_client();
	lease = grant(etcd, 1, &result);
	swap(etcd, "a", 0, "one", lease, &result);
	for (i = 0; i < 12; i++) {
		turn_for(300);
		assert_non_null(etcd_keep_alive(etcd, lease, into(&result, PATIENCE_MS), &err));
		expect_answer(&result);
		assert_true(result.lease.ttl_s >= 1);
		assert_true(result.lease.id == lease);
		assert_true(result.lease.header.raft_term > 0);
	}
	get(etcd, "a", &result);
	assert_true(result.txn.entries[0].present);
	assert_non_null(etcd_revoke(etcd, lease, into(&result, PATIENCE_MS), &err));
	expect_answer(&result);
	get(etcd, "a", &result);
	assert_false(result.txn.entries[0].present);
	assert_non_null(etcd_revoke(etcd, lease, into(&result, PATIENCE_MS), &err));
	expect_answer(&result); /* twice is fine */
	etcd_client_close(etcd);
	etcd_server_close(&server);
}

static void etcd_may_be_killed_and_come_back(void **state)
{
	struct result result;
	struct etcd *etcd;
	uint64_t since_ns;
	int64_t at;

	(void)state;
	setup_real();
	etcd = open_client();
	swap(etcd, "a", 0, "one", 0, &result);
	at = result.txn.put_revision;
	etcd_server_kill(&server);
	since_ns = clock_now_ns();
	assert_non_null(etcd_get(etcd, "a", into(&result, 1000), &err));
	expect_failure(&result, RC_CLOSED, "connection refused");
	assert_true(clock_now_ns() - since_ns < 900 * CLOCK_NS_PER_MS); /* told at once */
	etcd_server_start(&server);
	do {
		assert_non_null(etcd_get(etcd, "a", into(&result, PATIENCE_MS), &err));
		turn_until(&result.done);
	} while (result.err.code != RC_OK);
	assert_string_equal(result.txn.entries[0].value, "one");
	/* Killed and back without our noticing: the connection that was kept is found dead. */
	etcd_server_kill(&server);
	etcd_server_start(&server);
	turn_for(500);
	swap(etcd, "a", at, "two", 0, &result);
	assert_true(result.txn.succeeded);
	etcd_client_close(etcd);
	etcd_server_close(&server);
}

static void another_endpoint_answers_when_one_does_not(void **state)
{
	static const char nobody[] = "https://127.0.0.1:9";
	struct odd_server silent, mad, leaderless;
	struct result result;
	struct etcd *etcd;

	(void)state;
	setup_real();
	odd_server_open(&silent);
	odd_server_open(&mad);
	odd_server_open(&leaderless);
	mad.answer = OK("6", "nosuch");
	leaderless.answer = "HTTP/1.1 503 No\r\nContent-Length: 43\r\n\r\n"
			    "{\"error\":\"etcdserver: no leader\",\"code\":14}";
	const char *const urls[] = { nobody, silent.url, mad.url, leaderless.url, server.url };

	etcd = etcd_client(urls, 5, identity);
	swap(etcd, "a", 0, "one", 0, &result);
	assert_true(result.txn.succeeded);
	assert_int_equal(silent.requests, 1);
	assert_int_equal(mad.requests, 1);
	assert_int_equal(leaderless.requests, 1);
	/* From now on the one that answers is asked first. */
	get(etcd, "a", &result);
	assert_int_equal(silent.requests, 1);
	etcd_server_kill(&server);
	assert_non_null(etcd_get(etcd, "a", into(&result, 400), &err));
	turn_until(&result.done);
	assert_int_not_equal(result.err.code, RC_OK);
	assert_non_null(strstr(result.err.text, "no endpoint answers; the last: 127.0.0.1:"));
	etcd_client_close(etcd);
	odd_server_close(&silent);
	odd_server_close(&mad);
	odd_server_close(&leaderless);
	etcd_server_close(&server);
}

/* What goes wrong with one endpoint that is not etcd. */
static void expect_odd(const char *answer, uint32_t timeout_ms, enum rc code, const char *part,
		       bool uncertain)
{
	struct odd_server odd;
	struct result result;
	struct etcd *etcd;

	odd_server_open(&odd);
	odd.answer = answer;
	const char *const urls[] = { odd.url };

	etcd = etcd_client(urls, 1, identity);
	assert_non_null(etcd_swap(etcd, "a", 0, "one", 0, into(&result, timeout_ms), &err));
	expect_failure(&result, code, part);
	assert_int_equal(result.uncertain, uncertain);
	etcd_client_close(etcd);
	odd_server_close(&odd);
}

static void whatever_is_not_an_answer_leaves_a_swap_uncertain(void **state)
{
	(void)state;
	expect_odd(NULL, 200, RC_TIMEOUT, "no answer within", true);
	expect_odd(OK("6", "nosuch"), 5000, RC_INVALID, "answer: line 1", true);
	expect_odd(OK("2", "{}"), 5000, RC_INVALID, "\"header\" is not an object", true);
	expect_odd(OK("100000", "x"), 5000, RC_LIMIT, "body longer than", true);
	expect_odd("garbage", 5000, RC_INVALID, "HTTP", true);
	expect_odd("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", 5000, RC_CLOSED, "status 500",
		   true);
	expect_odd("HTTP/1.1 301 Elsewhere\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", 5000,
		   RC_CLOSED, "HTTP status 301, and no word of etcd's", true);
}

static void a_refusal_is_no_uncertainty(void **state)
{
	(void)state;
	expect_odd("HTTP/1.1 403 No\r\nContent-Length: 50\r\n\r\n"
		   "{\"error\":\"etcdserver: permission denied\",\"code\":7}",
		   5000, RC_REFUSED, "permission denied", false);
}

static void an_etcd_of_another_authority_is_refused_clearly(void **state)
{
	struct tls_identity *wrong;
	struct result result;
	struct etcd *etcd;

	(void)state;
	setup_real();
	const char *const urls[] = { server.url };

	assert_int_equal(tls_identity_load_client(&wrong, certs_path(&certs, "other", "pem"), NULL,
						  NULL, &err),
			 RC_OK);
	etcd = etcd_client(urls, 1, wrong);
	assert_non_null(etcd_get(etcd, "a", into(&result, PATIENCE_MS), &err));
	expect_failure(&result, RC_REFUSED, "is not signed by our CA");
	assert_false(result.uncertain);
	etcd_client_close(etcd);
	tls_identity_free(wrong);
	/* The right one, but without a certificate of our own. */
	assert_int_equal(tls_identity_load_client(&wrong, certs_path(&certs, "ca", "pem"), NULL,
						  NULL, &err),
			 RC_OK);
	etcd = etcd_client(urls, 1, wrong);
	assert_non_null(etcd_get(etcd, "a", into(&result, PATIENCE_MS), &err));
	expect_failure(&result, RC_REFUSED, "the peer refused our certificate");
	etcd_client_close(etcd);
	tls_identity_free(wrong);
	etcd_server_close(&server);
}

static void calls_are_limited_and_each_ends(void **state)
{
	static struct result results[ETCD_CALLS_MAX];
	struct odd_server odd;
	struct etcd_call *call = NULL;
	struct etcd *etcd;
	size_t i;

	(void)state;
	odd_server_open(&odd);
	const char *const urls[] = { odd.url };

	etcd = etcd_client(urls, 1, identity);
	for (i = 0; i < ETCD_CALLS_MAX; i++) {
		call = etcd_get(etcd, "a", into(&results[i], 300), &err);
		assert_non_null(call);
	}
	assert_null(etcd_get(etcd, "a", into(&results[0], 300), &err));
	assert_int_equal(err.code, RC_LIMIT);
	etcd_cancel(call); /* the last one in the queue */
	for (i = 0; i < ETCD_CALLS_MAX - 1; i++)
		expect_failure(&results[i], RC_TIMEOUT, "");
	assert_false(results[ETCD_CALLS_MAX - 1].done);
	assert_true(odd.requests <= ETCD_LANES);
	/* One that has been sent can be given up too, and closing gives up the rest. */
	call = etcd_get(etcd, "a", into(&results[0], PATIENCE_MS), &err);
	assert_non_null(etcd_get(etcd, "a", into(&results[1], PATIENCE_MS), &err));
	turn_for(50);
	etcd_cancel(call);
	etcd_client_close(etcd);
	assert_false(results[0].done);
	assert_false(results[1].done);
	odd_server_close(&odd);
}

static void names_are_looked_up_in_the_background(void **state)
{
	struct result result;
	char url[64];
	struct etcd *etcd;

	(void)state;
	setup_real();
	(void)snprintf(url, sizeof(url), "https://localhost:%u", server.port);
	const char *const urls[] = { url };

	etcd = etcd_client(urls, 1, identity);
	/* Found, and then the certificate is not for that name. */
	assert_non_null(etcd_get(etcd, "a", into(&result, PATIENCE_MS), &err));
	turn_until(&result.done);
	assert_non_null(strstr(result.err.text, "localhost:"));
	etcd_client_close(etcd);
	etcd_server_close(&server);
}

static void endpoints_are_https_urls(void **state)
{
	struct address address;

	(void)state;
	assert_int_equal(etcd_endpoint_parse(&address, "https://[2001:db8::7]:2379", &err), RC_OK);
	assert_string_equal(address.host, "2001:db8::7");
	assert_int_equal(address.port, 2379);
	assert_int_equal(etcd_endpoint_parse(&address, "http://192.0.2.7:2379", &err), RC_INVALID);
	assert_non_null(strstr(err.text, "begins with https://"));
	assert_int_equal(etcd_endpoint_parse(&address, "192.0.2.7:2379", &err), RC_INVALID);
	assert_int_equal(etcd_endpoint_parse(&address, "https://192.0.2.7", &err), RC_INVALID);
	assert_int_equal(etcd_endpoint_parse(&address, "https://a:2379/x", &err), RC_INVALID);
}

static void every_lack_of_memory_is_told(void **state)
{
	struct odd_server odd;
	struct result result;
	struct etcd *etcd;
	unsigned long n;
	bool fired = true;

	(void)state;
	odd_server_open(&odd);
	odd.answer = OK("27", "{\"header\":{\"revision\":\"1\"}}");
	const char *const urls[] = { odd.url };

	for (n = 1; n < 300 && fired; n++) {
		fault_arm(FAULT_ALLOC, n);
		if (etcd_open(&etcd, &loop, urls, 1, identity, &err) == RC_OK) {
			if (etcd_get(etcd, "a", into(&result, PATIENCE_MS), &err) != NULL) {
				turn_until(&result.done);
				fired = fault_fired(FAULT_ALLOC);
				if (!fired)
					assert_int_equal(result.err.code, RC_OK);
			}
			fault_arm(FAULT_ALLOC, 0);
			etcd_client_close(etcd);
		}
		fault_arm(FAULT_ALLOC, 0);
		odd_server_hang_up(&odd);
		turn_for(5);
	}
	assert_false(fired);
	assert_true(n > 10);
	odd_server_close(&odd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, etcd_test_setup, etcd_test_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_swap_is_made_from_the_revision_that_is_there_only),
		TEST(of_two_that_race_exactly_one_wins),
		TEST(a_lease_that_is_not_kept_alive_takes_its_key_along),
		TEST(a_lease_that_is_kept_alive_holds),
		TEST(etcd_may_be_killed_and_come_back),
		TEST(another_endpoint_answers_when_one_does_not),
		TEST(whatever_is_not_an_answer_leaves_a_swap_uncertain),
		TEST(a_refusal_is_no_uncertainty),
		TEST(an_etcd_of_another_authority_is_refused_clearly),
		TEST(calls_are_limited_and_each_ends),
		TEST(names_are_looked_up_in_the_background),
		TEST(endpoints_are_https_urls),
		TEST(every_lack_of_memory_is_told),
	};

	return cmocka_run_group_tests(tests, etcd_group_setup, etcd_group_teardown);
}
