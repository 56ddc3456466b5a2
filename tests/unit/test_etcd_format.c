#include "appliance/base/mem.h"
#include "net/etcd_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct err err;

static const struct etcd_txn swap = {
	.compares = { { "a", ETCD_MOD_REVISION, 7 }, { "b", ETCD_CREATE_REVISION, 0 } },
	.ncompares = 2,
	.puts = { { "a", "one", 0 }, { "b", "two", 77 } },
	.nputs = 2,
	.reads = { "a", "b" },
	.nreads = 2,
};
static const struct etcd_txn reading = { .reads = { "a", "b" }, .nreads = 2 };

static void expect_body(struct buf *out, const char *text)
{
	assert_false(out->failed);
	assert_true(buf_append_u8(out, 0));
	assert_string_equal((char *)out->data, text);
	buf_free(out);
}

static int read_txn(struct etcd_txn_reply *reply, const struct etcd_txn *txn, const char *text)
{
	return etcd_format_read_txn(reply, txn, text, strlen(text), &err);
}

static void expect_error(int rc, int expected, const char *part)
{
	assert_int_equal(rc, expected);
	if (strstr(err.text, part) == NULL)
		fail_msg("\"%s\" does not contain \"%s\"", err.text, part);
}

static void requests_are_written_as_the_gateway_wants_them(void **state)
{
	struct buf out = { 0 };

	(void)state;
	etcd_format_range(&out, "a");
	expect_body(&out, "{\"key\":\"YQ==\"}");
	etcd_format_grant(&out, 5);
	expect_body(&out, "{\"TTL\":\"5\"}");
	etcd_format_lease(&out, INT64_MAX);
	expect_body(&out, "{\"ID\":\"9223372036854775807\"}");
	etcd_format_txn(&out, &reading);
	expect_body(&out, "{\"compare\":[],\"success\":[{\"request_range\":{\"key\":\"YQ==\"}},"
			  "{\"request_range\":{\"key\":\"Yg==\"}}],\"failure\":["
			  "{\"request_range\":{\"key\":\"YQ==\"}},"
			  "{\"request_range\":{\"key\":\"Yg==\"}}]}");
	etcd_format_txn(&out, &swap);
	expect_body(&out,
		    "{\"compare\":[{\"key\":\"YQ==\",\"result\":\"EQUAL\",\"target\":\"MOD\","
		    "\"mod_revision\":\"7\"},{\"key\":\"Yg==\",\"result\":\"EQUAL\","
		    "\"target\":\"CREATE\",\"create_revision\":\"0\"}],\"success\":["
		    "{\"request_put\":{\"key\":\"YQ==\",\"value\":\"b25l\",\"lease\":\"0\"}},"
		    "{\"request_put\":{\"key\":\"Yg==\",\"value\":\"dHdv\",\"lease\":\"77\"}}],"
		    "\"failure\":[{\"request_range\":{\"key\":\"YQ==\"}},"
		    "{\"request_range\":{\"key\":\"Yg==\"}}]}");
}

static void a_body_that_does_not_fit_is_a_failure(void **state)
{
	struct buf out = { .limit = 40 };

	(void)state;
	etcd_format_txn(&out, &swap);
	assert_true(out.failed);
	buf_free(&out);
}

static void a_key_that_is_missing_has_no_revision(void **state)
{
	static const char text[] = "{\"header\":{\"revision\":\"1\",\"raft_term\":\"2\"}}";
	struct etcd_txn_reply reply;

	(void)state;
	assert_int_equal(etcd_format_read_range(&reply, text, strlen(text), &err), RC_OK);
	assert_int_equal(reply.header.revision, 1);
	assert_int_equal(reply.header.raft_term, 2);
	assert_int_equal(reply.nentries, 1);
	assert_false(reply.entries[0].present);
	assert_int_equal(reply.entries[0].mod_revision, 0);
}

static void a_key_that_is_there_is_read_whole(void **state)
{
	static const char text[] =
		"{\"header\":{\"revision\":\"9\"},\"count\":\"1\",\"kvs\":[{\"key\":\"YQ==\","
		"\"create_revision\":\"2\",\"mod_revision\":\"9\",\"version\":\"3\","
		"\"value\":\"b25l\",\"lease\":\"7587899038056840198\"}]}";
	struct etcd_txn_reply reply;

	(void)state;
	assert_int_equal(etcd_format_read_range(&reply, text, strlen(text), &err), RC_OK);
	assert_true(reply.entries[0].present);
	assert_int_equal(reply.entries[0].create_revision, 2);
	assert_int_equal(reply.entries[0].mod_revision, 9);
	assert_true(reply.entries[0].lease == INT64_C(7587899038056840198));
	assert_int_equal(reply.entries[0].len, 3);
	assert_string_equal(reply.entries[0].value, "one");
}

static void a_swap_that_was_made_tells_its_revision(void **state)
{
	struct etcd_txn_reply reply;

	(void)state;
	assert_int_equal(read_txn(&reply, &swap,
				  "{\"header\":{\"revision\":\"8\"},\"succeeded\":true,"
				  "\"responses\":[{\"response_put\":{}},{\"response_put\":{}}]}"),
			 RC_OK);
	assert_true(reply.succeeded);
	assert_int_equal(reply.put_revision, 8);
	assert_int_equal(reply.nentries, 0);
}

#define FAILED(a, a_lease, b, b_lease, b_revision)                                                \
	"{\"header\":{\"revision\":\"12\"},\"responses\":["                                       \
	"{\"response_range\":{\"kvs\":[{\"create_revision\":\"2\",\"mod_revision\":\"9\","        \
	"\"value\":\"" a "\",\"lease\":\"" a_lease "\"}]}},"                                      \
	"{\"response_range\":{\"kvs\":[{\"create_revision\":\"9\",\"mod_revision\":\"" b_revision \
	"\",\"value\":\"" b "\",\"lease\":\"" b_lease "\"}]}}]}"

static void a_swap_that_was_not_made_tells_what_is_there(void **state)
{
	struct etcd_txn_reply reply;

	(void)state;
	assert_int_equal(read_txn(&reply, &swap, FAILED("dHdv", "0", "dHdv", "77", "9")), RC_OK);
	assert_false(reply.succeeded);
	assert_int_equal(reply.put_revision, 0);
	assert_int_equal(reply.nentries, 2);
	assert_string_equal(reply.entries[0].value, "two");
	assert_int_equal(reply.entries[1].lease, 77);
}

static void a_swap_that_finds_its_own_work_was_made_before(void **state)
{
	struct etcd_txn_reply reply;

	(void)state;
	assert_int_equal(read_txn(&reply, &swap, FAILED("b25l", "0", "dHdv", "77", "9")), RC_OK);
	assert_true(reply.succeeded);
	assert_int_equal(reply.put_revision, 9);
	/* Another lease, another value, another revision: somebody else's, or another time's. */
	assert_int_equal(read_txn(&reply, &swap, FAILED("b25l", "0", "dHdv", "78", "9")), RC_OK);
	assert_false(reply.succeeded);
	assert_int_equal(read_txn(&reply, &swap, FAILED("b25l", "0", "dHdx", "77", "9")), RC_OK);
	assert_false(reply.succeeded);
	assert_int_equal(read_txn(&reply, &swap, FAILED("b25l", "0", "dHdv", "77", "8")), RC_OK);
	assert_false(reply.succeeded);
	assert_int_equal(read_txn(&reply, &swap,
				  "{\"header\":{},\"responses\":[{\"response_range\":{}},"
				  "{\"response_range\":{}}]}"),
			 RC_OK);
	assert_false(reply.succeeded);
}

static void leases_are_read(void **state)
{
	static const char granted[] =
		"{\"header\":{\"raft_term\":\"3\"},\"ID\":\"77\",\"TTL\":\"5\"}";
	static const char kept[] = "{\"result\":{\"header\":{\"raft_term\":\"3\"},\"ID\":\"77\","
				   "\"TTL\":\"5\"}}\n{\"result\":nonsense";
	static const char gone[] = "{\"result\":{\"header\":{},\"ID\":\"77\"}}\n";
	struct etcd_lease_reply reply;

	(void)state;
	assert_int_equal(etcd_format_read_grant(&reply, granted, strlen(granted), &err), RC_OK);
	assert_int_equal(reply.id, 77);
	assert_int_equal(reply.ttl_s, 5);
	assert_int_equal(reply.header.raft_term, 3);
	memset(&reply, 0, sizeof(reply));
	assert_int_equal(etcd_format_read_keep_alive(&reply, kept, strlen(kept), &err), RC_OK);
	assert_int_equal(reply.ttl_s, 5);
	assert_int_equal(etcd_format_read_keep_alive(&reply, gone, strlen(gone), &err), RC_OK);
	assert_int_equal(reply.ttl_s, 0);
}

static void what_etcd_refuses_is_told_in_its_words(void **state)
{
	static const char not_found[] = "{\"error\":\"etcdserver: requested lease not found\","
					"\"message\":\"etcdserver: requested lease not found\","
					"\"code\":5}";
	static const char no_leader[] = "{\"error\":\"etcdserver: no leader\",\"code\":14}";
	static const char denied[] = "{\"error\":\"etcdserver: permission denied\",\"code\":7}";
	static const char stream[] = "{\"error\":{\"grpc_code\":14,\"message\":\"no leader\"}}\n";
	static const char *const foreign[] = { "", "404 page not found\n", "[]", "{}",
					       "{\"message\":\"go away\"}" };
	struct etcd_lease_reply reply;

	(void)state;
	expect_error(etcd_format_read_error(404, not_found, strlen(not_found), &err), RC_STATE,
		     "requested lease not found");
	expect_error(etcd_format_read_error(503, no_leader, strlen(no_leader), &err), RC_CLOSED,
		     "no leader");
	expect_error(etcd_format_read_error(403, denied, strlen(denied), &err), RC_REFUSED,
		     "permission denied");
	expect_error(etcd_format_read_error(502, "<html>", 6, &err), RC_CLOSED, "status 502");
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
		expect_error(etcd_format_read_error(404, foreign[i], strlen(foreign[i]), &err),
			     RC_CLOSED, "HTTP status 404, and no word of etcd's");
	expect_error(etcd_format_read_keep_alive(&reply, stream, strlen(stream), &err), RC_CLOSED,
		     "no leader");
}

static void what_is_no_answer_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"[]",
		"{}",
		"{\"header\":[]}",
		"{\"header\":{\"revision\":\"x\"},\"responses\":[]}",
		"{\"header\":{\"revision\":\"99999999999999999999\"},\"responses\":[]}",
		"{\"header\":{\"revision\":\"-1\"},\"responses\":[]}",
		"{\"header\":{},\"succeeded\":\"true\"}",
		"{\"header\":{},\"succeeded\":true,\"responses\":[{\"response_put\":{}},"
		"{\"response_put\":{}}]}", /* written at no revision */
		"{\"header\":{\"revision\":\"1\"},\"succeeded\":true,\"responses\":["
		"{\"response_put\":{}}]}",
		"{\"header\":{},\"responses\":[{\"response_put\":{}},{\"response_range\":{}}]}",
		"{\"header\":{},\"responses\":[{\"response_range\":{}}]}",
		"{\"header\":{},\"responses\":[{\"response_range\":{}},{\"response_range\":{}},"
		"{\"response_range\":{}}]}",
		"{\"header\":{},\"responses\":[{\"response_range\":{\"kvs\":[]}},"
		"{\"response_range\":{}}]}",
		"{\"header\":{},\"responses\":[{\"response_range\":{\"kvs\":[{}]}},"
		"{\"response_range\":{}}]}",
		"{\"header\":{},\"responses\":[{\"response_range\":{\"kvs\":[{\"create_revision\":"
		"\"1\",\"mod_revision\":\"1\",\"value\":\"!\"}]}},{\"response_range\":{}}]}",
	};
	static const char no_id[] = "{\"header\":{},\"TTL\":\"5\"}";
	static const char no_ttl[] = "{\"header\":{},\"ID\":\"5\"}";
	struct etcd_lease_reply lease;
	struct etcd_txn_reply reply;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (read_txn(&reply, &swap, texts[i]) != RC_INVALID)
			fail_msg("taken: %s", texts[i]);
		assert_non_null(strstr(err.text, "answer: "));
	}
	expect_error(etcd_format_read_grant(&lease, no_id, strlen(no_id), &err), RC_INVALID,
		     "without an ID");
	expect_error(etcd_format_read_grant(&lease, no_ttl, strlen(no_ttl), &err), RC_INVALID,
		     "time to live");
}

static void a_value_beyond_the_limit_is_refused(void **state)
{
	struct buf text = { .limit = 16384 };
	struct etcd_txn_reply reply;
	unsigned i;

	(void)state;
	(void)buf_printf(&text, "{\"header\":{},\"kvs\":[{\"create_revision\":\"1\","
				"\"mod_revision\":\"1\",\"value\":\"");
	for (i = 0; i < ETCD_VALUE_MAX / 3 + 1; i++)
		(void)buf_printf(&text, "YWFh");
	(void)buf_printf(&text, "\"}]}");
	assert_false(text.failed);
	expect_error(etcd_format_read_range(&reply, (char *)text.data, text.len, &err), RC_LIMIT,
		     "more than 1024 bytes");
	buf_free(&text);
}

static void every_lack_of_memory_is_told(void **state)
{
	static const char text[] = FAILED("b25l", "0", "dHdv", "77", "9");
	struct etcd_txn_reply reply;
	struct buf out = { 0 };
	unsigned long n;
	int rc;

	(void)state;
	for (n = 1;; n++) {
		fault_arm(FAULT_ALLOC, n);
		rc = read_txn(&reply, &swap, text);
		if (!fault_fired(FAULT_ALLOC))
			break;
		assert_int_equal(rc, RC_NOMEM);
	}
	assert_int_equal(rc, RC_OK);
	assert_true(n > 5);
	fault_arm(FAULT_ALLOC, 1);
	etcd_format_txn(&out, &swap);
	assert_true(out.failed);
	fault_arm(FAULT_ALLOC, 0);
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_written_as_the_gateway_wants_them),
		cmocka_unit_test(a_body_that_does_not_fit_is_a_failure),
		cmocka_unit_test(a_key_that_is_missing_has_no_revision),
		cmocka_unit_test(a_key_that_is_there_is_read_whole),
		cmocka_unit_test(a_swap_that_was_made_tells_its_revision),
		cmocka_unit_test(a_swap_that_was_not_made_tells_what_is_there),
		cmocka_unit_test(a_swap_that_finds_its_own_work_was_made_before),
		cmocka_unit_test(leases_are_read),
		cmocka_unit_test(what_etcd_refuses_is_told_in_its_words),
		cmocka_unit_test(what_is_no_answer_is_refused),
		cmocka_unit_test(a_value_beyond_the_limit_is_refused),
		cmocka_unit_test(every_lack_of_memory_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
