/* History, marks and rewinding over HTTP: what is not exactly a question or an order is none. */
#include "appliance/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char called[256], said[1024];
static int answer;

static int result(struct err *err)
{
	return answer == RC_OK ? RC_OK : err_set(err, (enum rc)answer, "not now");
}

static int history(void *owner, const struct past_query *query, cJSON *object, struct err *err)
{
	(void)owner;
	(void)snprintf(called, sizeof(called), "history %s%s%.100s", query->instance,
		       query->epochs ? " epochs to " : "", query->to);
	cJSON_AddStringToObject(object, "name", query->instance);
	return result(err);
}

static int mark(void *owner, const char *instance, const char *text, uint64_t *epoch,
		struct err *err)
{
	(void)owner;
	(void)snprintf(called, sizeof(called), "mark %s %s", instance, text);
	*epoch = 9007199254740991;
	return result(err);
}

static int rewind_to(void *owner, const char *instance, const char *target, bool serve,
		     struct err *err)
{
	(void)owner;
	(void)snprintf(called, sizeof(called), "%s %s %s", serve ? "serve" : "rewind", instance,
		       target);
	return result(err);
}

static int rewind_end(void *owner, const char *instance, struct err *err)
{
	(void)owner;
	(void)snprintf(called, sizeof(called), "end %s", instance);
	return result(err);
}

static struct status_source standby = {
	.history = history, .mark = mark, .rewind = rewind_to, .rewind_end = rewind_end
};

static int ask(struct status_source *source, const char *method, const char *path,
	       const char *query, const char *body)
{
	const struct http_request request = { .method = method,
					      .path = path,
					      .query = query,
					      .body = (const uint8_t *)body,
					      .body_len = strlen(body) };
	struct http_response response = { .status = 200 };

	*called = '\0';
	status_handle(source, &request, &response);
	assert_true(response.body.len < sizeof(said));
	(void)snprintf(said, sizeof(said), "%.*s", (int)response.body.len,
		       (const char *)response.body.data);
	buf_free(&response.body);
	return response.status;
}

static int post(const char *path, const char *body)
{
	return ask(&standby, "POST", path, "", body);
}

static int setup(void **state)
{
	(void)state;
	answer = RC_OK;
	return 0;
}

static void a_history_is_of_one_instance(void **state)
{
	(void)state;
	assert_int_equal(ask(&standby, "GET", "/v1/history", "instance=vm1", ""), 200);
	assert_string_equal(called, "history vm1");
	assert_non_null(strstr(said, "\"name\":\t\"vm1\""));
	assert_int_equal(ask(&standby, "GET", "/v1/history", "instance=vm1&epochs&to=a%20b", ""),
			 200);
	assert_string_equal(called, "history vm1 epochs to a b");
	assert_int_equal(ask(&standby, "GET", "/v1/history", "", ""), 400);
	assert_int_equal(ask(&standby, "GET", "/v1/history", "instance=", ""), 400);
	assert_int_equal(ask(&standby, "GET", "/v1/history", "name=vm1", ""), 400);
	assert_string_equal(called, "");
	assert_int_equal(ask(&standby, "POST", "/v1/history", "instance=vm1", ""), 405);
	answer = RC_STATE;
	assert_int_equal(ask(&standby, "GET", "/v1/history", "instance=vm1", ""), 409);
	assert_non_null(strstr(said, "not now"));
	assert_null(strstr(said, "name"));
}

static void a_mark_has_a_text_and_tells_its_epoch(void **state)
{
	(void)state;
	assert_int_equal(post("/v1/mark", "{\"instance\": \"vm1\", \"text\": \"before it\"}"), 202);
	assert_string_equal(called, "mark vm1 before it");
	assert_non_null(strstr(said, "\"epoch\":\t9007199254740991"));
	assert_int_equal(post("/v1/mark", "{\"instance\": \"vm1\"}"), 400);
	assert_int_equal(post("/v1/mark", "{\"text\": \"before it\"}"), 400);
	assert_int_equal(post("/v1/mark", "{\"instance\": \"vm1\", \"text\": 5}"), 400);
	assert_int_equal(
		post("/v1/mark", "{\"instance\": \"vm1\", \"text\": \"x\", \"to\": \"y\"}"), 400);
	assert_int_equal(post("/v1/mark", "before it"), 400);
	assert_string_equal(called, "");
	assert_int_equal(ask(&standby, "GET", "/v1/mark", "", ""), 405);
}

static void rewinding_has_a_target_or_is_ended(void **state)
{
	(void)state;
	assert_int_equal(post("/v1/rewind", "{\"instance\": \"vm1\", \"to\": \"-5m\"}"), 202);
	assert_string_equal(called, "rewind vm1 -5m");
	assert_int_equal(post("/v1/rewind", "{\"instance\": \"vm1\", \"end\": true}"), 202);
	assert_string_equal(called, "end vm1");
	assert_int_equal(post("/v1/rewind", "{\"instance\": \"vm1\"}"), 400);
	assert_int_equal(post("/v1/rewind", "{\"instance\": \"vm1\", \"end\": false}"), 400);
	assert_int_equal(
		post("/v1/rewind", "{\"instance\": \"vm1\", \"end\": true, \"to\": \"1\"}"), 400);
	assert_int_equal(post("/v1/rewind", "{\"instance\": \"vm1\", \"to\": 1}"), 400);
	assert_string_equal(called, "");
	assert_int_equal(
		post("/v1/rewind", "{\"instance\": \"vm1\", \"to\": \"1\", \"serve\": true}"), 202);
	assert_string_equal(called, "serve vm1 1");
	assert_int_equal(
		post("/v1/rewind", "{\"instance\": \"vm1\", \"end\": true, \"serve\": true}"), 400);
	assert_non_null(strstr(said, "serve is for to"));
	assert_string_equal(called, "");
	answer = RC_INVALID;
	assert_int_equal(post("/v1/rewind", "{\"instance\": \"vm1\", \"to\": \"1\"}"), 400);
	assert_non_null(strstr(said, "not now"));
}

static void a_primary_has_no_past(void **state)
{
	struct status_source primary = { 0 };

	(void)state;
	assert_int_equal(ask(&primary, "GET", "/v1/history", "instance=vm1", ""), 409);
	assert_int_equal(ask(&primary, "POST", "/v1/mark", "",
			     "{\"instance\": \"vm1\", \"text\": \"x\"}"),
			 409);
	assert_int_equal(ask(&primary, "POST", "/v1/rewind", "",
			     "{\"instance\": \"vm1\", \"to\": \"1\"}"),
			 409);
	assert_non_null(strstr(said, "at the standby"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(a_history_is_of_one_instance),
		TEST(a_mark_has_a_text_and_tells_its_epoch),
		TEST(rewinding_has_a_target_or_is_ended),
		TEST(a_primary_has_no_past),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
