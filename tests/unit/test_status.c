/* The operator's commands over HTTP: what is not exactly an order is none. */
#include "appliance/base/mem.h"
#include "appliance/machine_problems.h"
#include "appliance/status.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char ordered[64];

static int command(void *owner, const char *instance, struct err *err)
{
	const int *rc = owner;

	(void)snprintf(ordered, sizeof(ordered), "%s", instance);
	return *rc == RC_OK ? RC_OK : err_set(err, (enum rc) * rc, "not %s", instance);
}

static char said[1024];

static int request_of(struct status_source *source, const char *method, const char *path,
		      const char *body)
{
	const struct http_request request = { .method = method,
					      .path = path,
					      .query = "",
					      .body = (const uint8_t *)body,
					      .body_len = strlen(body) };
	struct http_response response = { .status = 200 };

	*ordered = '\0';
	status_handle(source, &request, &response);
	assert_true(response.body.len < sizeof(said));
	*said = '\0';
	if (response.body.len > 0)
		(void)snprintf(said, sizeof(said), "%.*s", (int)response.body.len,
			       (const char *)response.body.data);
	buf_free(&response.body);
	return response.status;
}

static int post(struct status_source *source, const char *path, const char *body)
{
	return request_of(source, "POST", path, body);
}

static size_t one(void *owner)
{
	(void)owner;
	return 1;
}

static size_t none(void *owner)
{
	(void)owner;
	return 0;
}

static const char *no_certificate(void *owner)
{
	(void)owner;
	return "";
}

static const char *no_witness(void *owner)
{
	(void)owner;
	return NULL;
}

static const char *certificate(void *owner)
{
	(void)owner;
	return "a.crt expires in 3 days";
}

static char kept[] = "net0", loose[] = "net1";
static const struct config_nic nics[] = { { .name = kept, .output_commit = true },
					  { .name = loose } };

static void fill(void *owner, size_t index, struct status_instance *instance)
{
	(void)owner;
	(void)index;
	status_clear(instance, "vm1");
	instance->term = 0x1p60;
	instance->epoch = 9007199254740991;
	instance->wire_bytes = 0x1p64; /* no such number can be */
	instance->lag_ms = 0;
	instance->interval_ms = 12.34567;
	instance->frames_dropped = 2;
	instance->frames_refused = 3;
	instance->nics = nics;
	instance->nnics = 2;
	instance->outdated = true;
	instance->reason = "an epoch is back";
	instance->besides = "a disk is not";
}

static void numbers_are_printed_as_they_are(void **state)
{
	static const struct config config = { .role = CONFIG_STANDBY };
	struct status_source source = { .config = &config,
					.count = one,
					.fill = fill,
					.witness = no_witness,
					.certificate = certificate };

	(void)state;
	assert_int_equal(request_of(&source, "GET", "/v1/status", ""), 200);
	assert_non_null(strstr(said, ":\t1152921504606846976,"));
	assert_non_null(strstr(said, ":\t9007199254740991,"));
	assert_non_null(strstr(said, "\"lag_ms\":\t0,"));
	assert_non_null(strstr(said, "\"interval_ms\":\t12.346"));
	assert_null(strstr(said, "wire_bytes"));
	assert_non_null(strstr(said, "\"outdated\":\ttrue"));
	assert_non_null(strstr(said, "\"dropped\":\t2,"));
	assert_non_null(strstr(said, "\"refused\":\t3"));
	assert_null(strstr(said, "replayed"));
	assert_non_null(strstr(said, "\"certificate\":\t\"a.crt expires in 3 days\""));
	assert_int_equal(request_of(&source, "GET", "/healthz", ""), 503);
	assert_non_null(strstr(said, "a.crt expires in 3 days"));
	assert_non_null(strstr(said, "\"reason\":\t\"an epoch is back; a disk is not\""));
}

static void what_process_1_has_found_wrong_with_the_machine_is_told_as_of_now(void **state)
{
	char dir[SCRATCH_MAX], path[SCRATCH_MAX + 32];
	const struct config config = { .role = CONFIG_STANDBY, .machine_problems = path };
	struct status_source source = { .config = &config,
					.count = none,
					.witness = no_witness,
					.certificate = no_certificate };

	(void)state;
	assert_int_equal(scratch_make(dir, "status"), 0);
	(void)snprintf(path, sizeof(path), "%s/problems", dir);
	assert_int_equal(request_of(&source, "GET", "/healthz", ""), 200);
	machine_problems_keep(path);
	machine_problem("there is no card eth0");
	assert_int_equal(request_of(&source, "GET", "/healthz", ""), 503);
	assert_non_null(strstr(
		said, "\"state\":\t\"machine\",\n\t\t\t\"reason\":\t\"there is no card eth0\""));
	machine_problems_keep(NULL);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0); /* what cannot be read is no health */
	assert_int_equal(request_of(&source, "GET", "/healthz", ""), 503);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void a_card_whose_answers_a_takeover_may_lose_is_told(void **state)
{
	static const struct config config = { .role = CONFIG_PRIMARY };
	struct status_source source = { .config = &config,
					.count = one,
					.fill = fill,
					.witness = no_witness,
					.certificate = certificate };
	char *first, *second;

	(void)state;
	assert_int_equal(request_of(&source, "GET", "/v1/status", ""), 200);
	first = strstr(said, "net0");
	second = strstr(said, "net1");
	assert_non_null(first);
	assert_non_null(second);
	assert_true(strstr(first, "\"output_commit\":\ttrue") < second);
	assert_non_null(strstr(second, "\"output_commit\":\tfalse"));
}

static void an_order_names_one_instance(void **state)
{
	int rc = RC_OK;
	struct status_source source = { .takeover = command, .release = command, .owner = &rc };

	(void)state;
	assert_int_equal(post(&source, "/v1/takeover", "{\"instance\": \"vm1\"}"), 202);
	assert_string_equal(ordered, "vm1");
	assert_non_null(strstr(said, "\"ok\""));
	assert_int_equal(post(&source, "/v1/release", " {\"instance\":\"vm-2\"}\n"), 202);
	assert_string_equal(ordered, "vm-2");
	rc = RC_REFUSED;
	assert_int_equal(post(&source, "/v1/takeover", "{\"instance\": \"vm1\"}"), 409);
	assert_non_null(strstr(said, "not vm1"));
	rc = RC_INVALID;
	assert_int_equal(post(&source, "/v1/takeover", "{\"instance\": \"vm1\"}"), 400);
}

static void what_is_not_exactly_an_order_is_none(void **state)
{
	static const struct {
		const char *body, *part;
	} bodies[] = {
		{ "", "the body" },
		{ "{}", "instance" },
		{ "[]", "the body" },
		{ "\"vm1\"", "the body" },
		{ "{\"instance\": \"vm1\", \"instance\": \"vm2\"}", "twice" },
		{ "{\"instance\": \"vm1\", \"force\": true}", "force" },
		{ "{\"instanse\": \"vm1\"}", "did you mean" },
		{ "{\"Instance\": \"vm1\"}", "Instance" },
		{ "{\"instance\": 1}", "instance" },
		{ "{\"instance\": [\"vm1\"]}", "instance" },
		{ "{\"instance\": \"a/b\"}", "instance" },
		{ "{\"instance\": \"vm1\\u0000\"}", "the body" },
		{ "{\"instance\": \"vm1\"} {}", "the body" },
	};
	int rc = RC_OK;
	struct status_source source = { .takeover = command, .release = command, .owner = &rc };

	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		assert_int_equal(post(&source, "/v1/takeover", bodies[i].body), 400);
		assert_non_null(strstr(said, bodies[i].part));
		assert_string_equal(ordered, "");
	}
}

static void a_primary_takes_over_nothing(void **state)
{
	int rc = RC_OK;
	struct status_source source = { .release = command, .owner = &rc };

	(void)state;
	assert_int_equal(post(&source, "/v1/takeover", "{\"instance\": \"vm1\"}"), 409);
	assert_non_null(strstr(said, "this is a primary"));
}

static void no_allocation_is_needed_to_refuse(void **state)
{
	int rc = RC_OK;
	struct status_source source = { .takeover = command, .owner = &rc };
	unsigned long n;
	int status;
	bool fired;

	(void)state;
	for (n = 1;; n++) {
		fault_arm(FAULT_ALLOC, n);
		status = post(&source, "/v1/takeover", "{\"instance\": \"vm1\"}");
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
		if (!fired)
			break;
		assert_true(status == 503 ||
			    *ordered != '\0'); /* it was obeyed, or is told as not */
	}
	assert_true(n > 2);
	assert_string_equal(ordered, "vm1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_printed_as_they_are),
		cmocka_unit_test(what_process_1_has_found_wrong_with_the_machine_is_told_as_of_now),
		cmocka_unit_test(a_card_whose_answers_a_takeover_may_lose_is_told),
		cmocka_unit_test(an_order_names_one_instance),
		cmocka_unit_test(what_is_not_exactly_an_order_is_none),
		cmocka_unit_test(a_primary_takes_over_nothing),
		cmocka_unit_test(no_allocation_is_needed_to_refuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
