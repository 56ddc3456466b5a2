#include "appliance/base/json_text.h"
#include "appliance/base/mem.h"
#include "appliance/config.h"

#include <cjson/cJSON.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct err err;

static void a_schema_without_memory_is_an_error_and_no_half_schema(void **state)
{
	struct buf out = { 0 };
	int rc;

	(void)state;
	for (unsigned long n = 1;; n++) {
		fault_arm(FAULT_ALLOC, n);
		rc = config_schema(NULL, &out, &err);
		if (!fault_fired(FAULT_ALLOC))
			break;
		assert_int_equal(rc, RC_NOMEM);
		assert_int_equal(out.len, 0);
		buf_free(&out);
	}
	fault_arm(FAULT_ALLOC, 0);
	assert_int_equal(rc, RC_OK);
	buf_free(&out);
}

static const cJSON *at(const cJSON *schema, const char *property)
{
	return cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(schema, "properties"), property);
}

static const cJSON *keyword(const cJSON *schema, const char *name)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(schema, name);

	assert_non_null(value);
	return value;
}

static cJSON *schema_of(enum config_role role)
{
	struct buf out = { 0 };
	cJSON *root;

	assert_int_equal(config_schema(&role, &out, &err), RC_OK);
	assert_int_equal(json_text_parse(&root, (const char *)out.data, out.len, &err), RC_OK);
	buf_free(&out);
	return root;
}

static void the_schema_says_what_the_reader_does(void **state)
{
	cJSON *schema = schema_of(CONFIG_STANDBY);
	const cJSON *link = at(schema, "link"),
		    *instance = keyword(at(schema, "instances"), "items");
	const cJSON *heartbeat = at(link, "heartbeat_ms"), *takeover = at(instance, "takeover");

	(void)state;
	assert_string_equal(keyword(heartbeat, "type")->valuestring, "integer");
	assert_int_equal(keyword(heartbeat, "minimum")->valueint, 5);
	assert_int_equal(keyword(heartbeat, "maximum")->valueint, 10000);
	assert_int_equal(keyword(heartbeat, "default")->valueint, 50);
	assert_string_equal(keyword(heartbeat, "description")->valuestring,
			    "interval between heartbeats (ms)");
	assert_true(cJSON_IsFalse(keyword(schema, "additionalProperties")));
	assert_true(cJSON_IsFalse(keyword(link, "additionalProperties")));
	assert_true(cJSON_IsFalse(keyword(instance, "additionalProperties")));
	assert_string_equal(keyword(link, "required")->child->valuestring, "listen");
	assert_int_equal(cJSON_GetArraySize(keyword(schema, "required")), 6);
	assert_int_equal(cJSON_GetArraySize(keyword(takeover, "enum")), 2);
	assert_string_equal(keyword(takeover, "default")->valuestring, "manual");
	assert_null(at(instance, "qmp"));
	cJSON_Delete(schema);
}

/* Builds the smallest file that a schema allows: what it requires, and of that the least. */
static cJSON *smallest(const cJSON *schema, const char *key)
{
	const char *type = keyword(schema, "type")->valuestring;
	const cJSON *required;
	cJSON *value;

	if (strcmp(type, "object") == 0) {
		value = cJSON_CreateObject();
		required = cJSON_GetObjectItemCaseSensitive(schema, "required");
		required = required != NULL ? required->child : NULL;
		for (; required != NULL; required = required->next)
			cJSON_AddItemToObject(value, required->valuestring,
					      smallest(at(schema, required->valuestring),
						       required->valuestring));
		return value;
	}
	if (strcmp(type, "array") == 0) {
		value = cJSON_CreateArray();
		cJSON_AddItemToArray(value, smallest(keyword(schema, "items"), key));
		return value;
	}
	assert_string_equal(type, "string");
	return cJSON_CreateString(
		strcmp(key, "listen") == 0 || strcmp(key, "connect") == 0 ? "a:1" : "a");
}

static void the_smallest_file_of_the_schema_is_taken(void **state)
{
	struct config config;
	cJSON *schema, *file;
	char *text;

	(void)state;
	for (int role = CONFIG_PRIMARY; role <= CONFIG_STANDBY; role++) {
		schema = schema_of((enum config_role)role);
		file = smallest(schema, "");
		text = cJSON_Print(file);
		if (config_parse(&config, (enum config_role)role, "f", "/d", text, strlen(text),
				 &err) != RC_OK)
			fail_msg("%s", err.text);
		config_free(&config);
		cJSON_free(text);
		cJSON_Delete(file);
		cJSON_Delete(schema);
	}
}

static void the_list_for_people_has_every_key_of_the_role_and_no_other(void **state)
{
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(config_explain(CONFIG_PRIMARY, &out, &err), RC_OK);
	assert_true(buf_append_u8(&out, 0));
	assert_non_null(strstr((const char *)out.data,
			       "- `instances[].checkpoint.target_ms` (whole number from 1 to "
			       "60000 ms, default 100): "));
	assert_non_null(strstr((const char *)out.data, "- `link.connect` (address, required): "));
	assert_null(strstr((const char *)out.data, "link.listen"));
	assert_null(strstr((const char *)out.data, "state_dir"));
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_schema_without_memory_is_an_error_and_no_half_schema),
		cmocka_unit_test(the_schema_says_what_the_reader_does),
		cmocka_unit_test(the_smallest_file_of_the_schema_is_taken),
		cmocka_unit_test(the_list_for_people_has_every_key_of_the_role_and_no_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
