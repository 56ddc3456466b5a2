#include "tests/unit/config_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct config config;
struct err err;

int parse(enum config_role role, const char *text)
{
	return config_parse(&config, role, "f.json", "/etc/understudy", text, strlen(text), &err);
}

void refuses(enum config_role role, const char *text, const char *message)
{
	assert_int_not_equal(parse(role, text), RC_OK);
	config_free(&config);
	assert_string_equal(err.text, message);
}

void takes(enum config_role role, const char *text)
{
	if (parse(role, text) != RC_OK)
		fail_msg("%s", err.text);
}
