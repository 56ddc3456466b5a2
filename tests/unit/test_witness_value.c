#include "appliance/witness_value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct err err;

static void keys_are_the_instances_name_escaped(void **state)
{
	char longest[JSON_NAME_MAX + 2];
	struct witness_keys keys;

	(void)state;
	assert_int_equal(witness_value_keys(&keys, "vm-1.a_B", &err), RC_OK);
	assert_string_equal(keys.key, "/understudy/vm-1.a_B");
	assert_string_equal(keys.lease, "/understudy/vm-1.a_B/lease");
	assert_int_equal(witness_value_keys(&keys, "a/lease%\xff", &err), RC_OK);
	assert_string_equal(keys.key, "/understudy/a%2Flease%25%FF");
	memset(longest, '/', sizeof(longest));
	longest[JSON_NAME_MAX + 1] = '\0';
	assert_int_equal(witness_value_keys(&keys, longest, &err), RC_INVALID);
	longest[JSON_NAME_MAX] = '\0';
	assert_int_equal(witness_value_keys(&keys, longest, &err), RC_OK);
	assert_int_equal(strlen(keys.lease), strlen("/understudy//lease") + 3 * JSON_NAME_MAX);
	assert_int_equal(witness_value_keys(&keys, "", &err), RC_INVALID);
}

static void what_is_printed_is_read_back(void **state)
{
	struct witness_value value = { .term = WITNESS_TERM_MAX, .server = WITNESS_STANDBY }, got;
	char text[WITNESS_TEXT_MAX];

	(void)state;
	memset(value.site, 's', JSON_NAME_MAX);
	(void)snprintf(value.claim, sizeof(value.claim), "0123456789abcdef");
	assert_int_equal(witness_value_print(text, &value, &err), RC_OK);
	assert_true(strlen(text) < WITNESS_TEXT_MAX - 1);
	assert_int_equal(witness_value_parse(&got, text, strlen(text), &err), RC_OK);
	assert_true(got.term == value.term);
	assert_int_equal(got.server, WITNESS_STANDBY);
	assert_string_equal(got.site, value.site);
	assert_string_equal(got.claim, value.claim);
}

static void no_term_and_no_site_are_refused(void **state)
{
	struct witness_value value = { .term = 0, .site = "a" };
	char text[WITNESS_TEXT_MAX];

	(void)state;
	assert_int_equal(witness_value_print(text, &value, &err), RC_INVALID);
	value.term = WITNESS_TERM_MAX + 1;
	assert_int_equal(witness_value_print(text, &value, &err), RC_INVALID);
	value.term = 1;
	assert_int_equal(witness_value_print(text, &value, &err), RC_OK);
	(void)snprintf(value.site, sizeof(value.site), "a\"b");
	assert_int_equal(witness_value_print(text, &value, &err), RC_INVALID);
}

static void what_is_not_ours_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"7",
		"[]",
		"{}",
		"{\"term\":1,\"server\":\"primary\"}",
		"{\"term\":0,\"server\":\"primary\",\"site\":\"a\"}",
		"{\"term\":1.5,\"server\":\"primary\",\"site\":\"a\"}",
		"{\"term\":1e300,\"server\":\"primary\",\"site\":\"a\"}",
		"{\"term\":-1,\"server\":\"primary\",\"site\":\"a\"}",
		"{\"term\":\"1\",\"server\":\"primary\",\"site\":\"a\"}",
		"{\"term\":1,\"server\":\"both\",\"site\":\"a\"}",
		"{\"term\":1,\"server\":\"primary\",\"site\":\"\"}",
		"{\"term\":1,\"server\":\"primary\",\"site\":\"a b\"}",
		"{\"term\":1,\"server\":\"primary\",\"site\":\"a\",\"claim\":5}",
		"{\"term\":1,\"server\":\"primary\",\"site\":\"a\",\"claim\":\"0123456789abcdef0\"}",
		"{\"term\":1,\"server\":\"primary\",\"site\":\"a\"",
	};
	static const char plain[] = "{\"term\":1,\"server\":\"primary\",\"site\":\"a\",\"new\":[]}";
	struct witness_value value;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (witness_value_parse(&value, texts[i], strlen(texts[i]), &err) != RC_INVALID)
			fail_msg("taken: %s", texts[i]);
	}
	assert_int_equal(witness_value_parse(&value, plain, strlen(plain), &err), RC_OK);
	assert_int_equal(value.term, 1);
	assert_string_equal(value.claim, "");
}

static void a_lease_ends_for_us_before_it_does_for_etcd(void **state)
{
	(void)state;
	assert_true(witness_lease_end(1000, 8) == UINT64_C(7000001000));
	assert_true(witness_lease_end(0, 5) < UINT64_C(5000000000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_the_instances_name_escaped),
		cmocka_unit_test(what_is_printed_is_read_back),
		cmocka_unit_test(no_term_and_no_site_are_refused),
		cmocka_unit_test(what_is_not_ours_is_refused),
		cmocka_unit_test(a_lease_ends_for_us_before_it_does_for_etcd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
