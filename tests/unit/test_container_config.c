/* What a container is started with: only its command has to be said, and what is wrong is named. */
#include "appliance/container_config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct container_config config;
static struct err err;

static int parse(const char *text)
{
	return container_config_parse(&config, text, strlen(text), &err);
}

static void the_rest_is_as_an_engine_has_it(void **state)
{
	(void)state;
	assert_int_equal(parse("{\"command\": [\"/bin/a\", \"-b\"]}"), RC_OK);
	assert_string_equal(config.command[0], "/bin/a");
	assert_string_equal(config.command[1], "-b");
	assert_null(config.command[2]);
	assert_string_equal(config.user, "0");
	assert_string_equal(config.directory, "/");
	assert_string_equal(config.hostname, "container");
	assert_null(config.addresses);
	assert_null(config.environment);
	container_config_free(&config);
}

static void what_is_wrong_is_named(void **state)
{
	static const char *const wrong[][2] = {
		{ "{}", "container.json: command: " },
		{ "{\"command\": []}", "container.json: command: " },
		{ "{\"command\": [\"a\"], \"comand\": 1}", "container.json: comand: " },
		{ "{\"command\": [\"a\"], \"environment\": [\"=b\"]}", "is not NAME=VALUE" },
		{ "{\"command\": [\"a\"], \"environment\": [\"b\"]}", "is not NAME=VALUE" },
		{ "{\"command\": [\"a\"], \"addresses\": [\"10.0.0.500\"]}",
		  "container.json: addresses" },
		{ "{\"command\": [\"a\"], \"dns\": [\"x\"]}", "\"x\" is no IP address" },
		{ "{\"command\": [\"a\"], \"user\": \":1\"}", "neither USER nor USER:GROUP" },
		{ "{\"command\": [\"a\"], \"directory\": \"srv\"}", "does not begin with /" },
		{ "{\"command\": [\"a\"]", "container.json: line 1" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (parse(wrong[i][0]) != RC_INVALID || strstr(err.text, wrong[i][1]) == NULL)
			fail_msg("%s: %s", wrong[i][0], err.text);
		container_config_free(&config);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_rest_is_as_an_engine_has_it),
		cmocka_unit_test(what_is_wrong_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
