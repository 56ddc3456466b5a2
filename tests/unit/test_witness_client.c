#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "appliance/witness_client.h"
#include "tests/unit/etcd_fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct err err;
static char ca[256], cert[256], key[256];

/* A configuration with that witness; NULL: with none. */
static struct config configured(char **endpoints)
{
	(void)snprintf(ca, sizeof(ca), "%s", certs_path(&certs, "ca", "pem"));
	(void)snprintf(cert, sizeof(cert), "%s", certs_path(&certs, "client", "pem"));
	(void)snprintf(key, sizeof(key), "%s", certs_path(&certs, "client", "key"));
	return (struct config){ .witness_endpoints = endpoints,
				.witness_ca = ca,
				.witness_cert = cert,
				.witness_key = key };
}

static void wait_for_problem(const struct witness_client *client, bool wanted)
{
	uint64_t since_ns = clock_now_ns();

	while ((*witness_client_problem(client) != '\0') != wanted) {
		if (clock_now_ns() - since_ns > 2 * PATIENCE_MS * CLOCK_NS_PER_MS)
			fail_msg("the problem stays \"%s\"", witness_client_problem(client));
		turn_for(10);
	}
}

struct answer {
	bool done, good;
};

static void on_answer(void *owner, const struct etcd_reply *reply)
{
	*(struct answer *)owner = (struct answer){ .done = true, .good = reply->err == NULL };
}

/* An etcd that is killed before it has begun in earnest does not come back. */
static void wait_for_answer(struct etcd *etcd)
{
	struct answer answer = { false, false };
	const struct etcd_how how = { PATIENCE_MS, on_answer, &answer };

	while (!answer.good) {
		answer.done = false;
		assert_non_null(etcd_get(etcd, "a", &how, &err));
		turn_until(&answer.done);
	}
}

static void without_a_witness_there_is_none(void **state)
{
	const struct config config = configured(NULL);
	struct witness_client *client;

	(void)state;
	assert_int_equal(witness_client_open(&client, &loop, &config, &err), RC_OK);
	assert_null(client);
	assert_null(witness_client_etcd(client));
	assert_null(witness_client_problem(client));
	witness_client_close(client);
}

static void an_etcd_that_goes_and_comes_is_noticed(void **state)
{
	struct witness_client *client;
	struct etcd_server server;
	char *endpoints[] = { NULL, NULL };
	struct config config;

	(void)state;
	etcd_server_open(&server);
	endpoints[0] = server.url;
	config = configured(endpoints);
	assert_int_equal(witness_client_open(&client, &loop, &config, &err), RC_OK);
	assert_string_equal(witness_client_problem(client), "");
	wait_for_answer(witness_client_etcd(client));
	etcd_server_kill(&server);
	wait_for_problem(client, true);
	assert_non_null(strstr(witness_client_problem(client), "refused"));
	etcd_server_start(&server);
	wait_for_problem(client, false);
	witness_client_close(client);
	etcd_server_close(&server);
}

static void an_etcd_without_space_is_a_problem_although_it_answers(void **state)
{
	struct witness_client *client;
	struct etcd_server server;
	char *endpoints[] = { NULL, NULL };
	struct config config;

	(void)state;
	(void)setenv("ETCD_QUOTA_BACKEND_BYTES", "1", 1);
	etcd_server_open(&server);
	(void)unsetenv("ETCD_QUOTA_BACKEND_BYTES");
	endpoints[0] = server.url;
	config = configured(endpoints);
	assert_int_equal(witness_client_open(&client, &loop, &config, &err), RC_OK);
	wait_for_problem(client, true);
	wait_for_answer(witness_client_etcd(client));
	assert_non_null(strstr(witness_client_problem(client), "database space exceeded"));
	assert_non_null(strstr(witness_client_problem(client),
			       "until it takes what is written nobody begins to serve"));
	witness_client_close(client);
	etcd_server_close(&server);
}

#define OK(length, body) "HTTP/1.1 200 OK\r\nContent-Length: " length "\r\n\r\n" body

static bool full;
static unsigned written;

static const char *answer_as_etcd(const char *request)
{
	if (strstr(request, "/v3/kv/range") != NULL)
		return OK("13", "{\"header\":{}}");
	if (full)
		return "HTTP/1.1 429 No\r\nContent-Length: 34\r\n\r\n"
		       "{\"error\":\"no space left\",\"code\":8}";
	if (strstr(request, "/v3/lease/grant") != NULL)
		return OK("33", "{\"header\":{},\"ID\":\"7\",\"TTL\":\"10\"}");
	written++;
	return OK(
		"134",
		"{\"header\":{},\"responses\":[{\"response_range\":{\"kvs\":[{\"create_revision\":\"1\",\"mod_revision\":\"1\",\"value\":\"MDEyMzQ1Njc4OWFiY2RlZg==\"}]}}]}");
}

static void a_claim_that_is_refused_is_a_problem_at_once_until_something_is_taken(void **state)
{
	struct answer answer = { false, false };
	const struct etcd_how how = { PATIENCE_MS, on_answer, &answer };
	struct witness_client *client;
	struct odd_server server;
	char *endpoints[] = { NULL, NULL };
	struct config config;

	(void)state;
	odd_server_open(&server);
	server.choose = answer_as_etcd;
	full = false;
	written = 0;
	endpoints[0] = server.url;
	config = configured(endpoints);
	assert_int_equal(witness_client_open(&client, &loop, &config, &err), RC_OK);
	turn_for(200);
	assert_int_equal(written, 1); /* at the beginning */
	assert_true(etcd_identity(witness_client_etcd(client)) == UINT64_C(0x0123456789abcdef));
	assert_string_equal(witness_client_problem(client), "");
	full = true;
	assert_non_null(etcd_grant(witness_client_etcd(client), 5, &how, &err)); /* a claim's */
	turn_until(&answer.done);
	assert_non_null(strstr(witness_client_problem(client), "no space left"));
	full = false;
	wait_for_problem(client, false);
	assert_int_equal(written, 2);
	witness_client_close(client);
	odd_server_close(&server);
}

/* The loop runs until it is known; what it is. */
static uint64_t identity_of(const struct witness_client *client)
{
	uint64_t since_ns = clock_now_ns();

	while (etcd_identity(witness_client_etcd(client)) == 0 &&
	       clock_now_ns() - since_ns < PATIENCE_MS * CLOCK_NS_PER_MS)
		turn_for(10);
	assert_true(etcd_identity(witness_client_etcd(client)) != 0);
	return etcd_identity(witness_client_etcd(client));
}

static void whoever_asks_one_etcd_finds_the_same_and_another_is_another(void **state)
{
	struct witness_client *clients[3];
	struct etcd_server one, other;
	char *endpoints[] = { NULL, NULL }, *others[] = { NULL, NULL };
	struct config config;
	uint64_t first;

	(void)state;
	etcd_server_open(&one);
	etcd_server_open(&other);
	endpoints[0] = one.url;
	others[0] = other.url;
	config = configured(endpoints);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(witness_client_open(&clients[i], &loop, &config, &err), RC_OK);
	config = configured(others);
	assert_int_equal(witness_client_open(&clients[2], &loop, &config, &err), RC_OK);
	first = identity_of(clients[0]);
	assert_true(identity_of(clients[1]) == first);
	assert_true(identity_of(clients[2]) != first);
	for (unsigned i = 0; i < 3; i++)
		witness_client_close(clients[i]);
	etcd_server_kill(&one);
	etcd_server_start(&one); /* it has it on its disk */
	config = configured(endpoints);
	assert_int_equal(witness_client_open(&clients[0], &loop, &config, &err), RC_OK);
	assert_true(identity_of(clients[0]) == first);
	witness_client_close(clients[0]);
	etcd_server_close(&one);
	etcd_server_close(&other);
}

static void an_etcd_that_somebody_does_not_believe_is_a_problem_until_he_does(void **state)
{
	int somebody, another;
	struct witness_client *client;
	struct etcd_server server;
	char *endpoints[] = { NULL, NULL };
	struct config config;

	(void)state;
	etcd_server_open(&server);
	endpoints[0] = server.url;
	config = configured(endpoints);
	assert_int_equal(witness_client_open(&client, &loop, &config, &err), RC_OK);
	assert_string_equal(witness_client_problem(client), "");
	etcd_doubt(witness_client_etcd(client), &somebody, "it has forgotten");
	etcd_doubt(witness_client_etcd(client), &another, NULL);
	assert_string_equal(witness_client_problem(client), "it has forgotten");
	etcd_doubt(witness_client_etcd(client), &somebody, NULL);
	assert_string_equal(witness_client_problem(client), "");
	witness_client_close(client);
	etcd_server_close(&server);
}

static void what_is_no_answer_is_a_problem_and_a_close_does_not_wait_for_one(void **state)
{
	struct witness_client *client;
	struct odd_server server;
	char *endpoints[] = { NULL, NULL };
	struct config config;

	(void)state;
	odd_server_open(&server); /* says nothing */
	endpoints[0] = server.url;
	config = configured(endpoints);
	assert_int_equal(witness_client_open(&client, &loop, &config, &err), RC_OK);
	wait_for_problem(client, true);
	turn_for(1100); /* into the next question */
	witness_client_close(client);
	odd_server_close(&server);
}

static void every_lack_of_memory_is_told(void **state)
{
	char nobody[] = "https://127.0.0.1:1", *endpoints[] = { nobody, NULL };
	const struct config config = configured(endpoints);
	struct witness_client *client;
	unsigned n, failed = 0;
	int rc = RC_NOMEM;

	(void)state;
	for (n = 1; n < 100 && rc != RC_OK; n++) {
		fault_arm(FAULT_ALLOC, n);
		rc = witness_client_open(&client, &loop, &config, &err);
		fault_arm(FAULT_ALLOC, 0);
		assert_true(rc == RC_OK || client == NULL);
		failed += rc != RC_OK;
	}
	assert_int_equal(rc, RC_OK);
	assert_true(failed > 1);
	witness_client_close(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, etcd_test_setup, etcd_test_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(without_a_witness_there_is_none),
		TEST(an_etcd_that_goes_and_comes_is_noticed),
		TEST(an_etcd_without_space_is_a_problem_although_it_answers),
		TEST(a_claim_that_is_refused_is_a_problem_at_once_until_something_is_taken),
		TEST(whoever_asks_one_etcd_finds_the_same_and_another_is_another),
		TEST(an_etcd_that_somebody_does_not_believe_is_a_problem_until_he_does),
		TEST(what_is_no_answer_is_a_problem_and_a_close_does_not_wait_for_one),
		TEST(every_lack_of_memory_is_told),
	};

	return cmocka_run_group_tests(tests, etcd_group_setup, etcd_group_teardown);
}
