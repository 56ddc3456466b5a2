#include "appliance/base/mem.h"
#include "replica/optstring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct err err;

static void prints(const struct optstring *options, const char *expected)
{
	char *text;

	assert_int_equal(optstring_print(options, &text, &err), RC_OK);
	assert_string_equal(text, expected);
	mem_free(text);
}

static void what_is_not_changed_is_written_as_it_was_read(void **state)
{
	static const char *const texts[] = {
		"tap,id=net0,ifname=tap3",
		"id=a",
		"socket,server,nowait",
		"a=b,,c,d=,,",
		"a=",
		"",
		"x=1,x=2",
		"p=a=b",
		"{\"a\":1,\"b\":{\"c\":[true,\"x\"]}}",
	};
	struct optstring options;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(optstring_parse(&options, texts[i], "type", &err), RC_OK);
		prints(&options, texts[i]);
		optstring_free(&options);
	}
}

static void doubled_commas_are_one_and_the_last_of_equal_keys_counts(void **state)
{
	struct optstring options;

	(void)state;
	assert_int_equal(optstring_parse(&options, "unix,path=/a,,b,server,path=/c", "type", &err),
			 RC_OK);
	assert_string_equal(optstring_get(&options, "type"), "unix");
	assert_string_equal(options.items[1].value, "/a,b");
	assert_string_equal(optstring_get(&options, "path"), "/c");
	assert_string_equal(optstring_get(&options, "server"), "on");
	assert_null(optstring_get(&options, "serve"));
	optstring_free(&options);
}

static void json_members_are_read_by_dotted_keys(void **state)
{
	struct optstring options;

	(void)state;
	assert_int_equal(
		optstring_parse(
			&options,
			"{\"a\":{\"b\":\"x\",\"n\":268435456,\"t\":true,\"f\":false},\"l\":[1,\"y\"]}",
			NULL, &err),
		RC_OK);
	assert_string_equal(optstring_get(&options, "a.b"), "x");
	assert_string_equal(optstring_get(&options, "a.n"), "268435456");
	assert_true(optstring_is_on(&options, "a.t"));
	assert_false(optstring_is_on(&options, "a.f"));
	assert_string_equal(optstring_get(&options, "l.1"), "y");
	optstring_free(&options);
}

static void all_ways_to_say_on_are_on(void **state)
{
	struct optstring options;

	(void)state;
	assert_int_equal(optstring_parse(&options, "a=on,b=yes,c=true,d=y,e,f=off,g=1", NULL, &err),
			 RC_OK);
	for (const char *key = "abcde"; *key != '\0'; key++)
		assert_true(optstring_is_on(&options, (char[]){ *key, '\0' }));
	assert_false(optstring_is_on(&options, "f"));
	assert_false(optstring_is_on(&options, "g"));
	assert_false(optstring_is_on(&options, "h"));
	optstring_free(&options);
}

static void changes_are_written_back_in_the_form_the_option_came_in(void **state)
{
	struct optstring options;

	(void)state;
	assert_int_equal(
		optstring_parse(&options, "socket,path=/a,server,wait=on", "backend", &err), RC_OK);
	assert_int_equal(optstring_set(&options, "path", "x,y", &err), RC_OK);
	assert_int_equal(optstring_set_bool(&options, "wait", false, &err), RC_OK);
	optstring_remove(&options, "server");
	prints(&options, "socket,path=x,,y,wait=off");
	optstring_remove(&options, "backend");
	prints(&options, "path=x,,y,wait=off");
	optstring_free(&options);

	assert_int_equal(optstring_parse(&options, "{\"a\":{\"b\":\"x\",\"c\":1},\"d\":2}", NULL,
					 &err),
			 RC_OK);
	assert_int_equal(optstring_set(&options, "a.b", "y,z", &err), RC_OK);
	assert_int_equal(optstring_set_bool(&options, "e", true, &err), RC_OK);
	optstring_remove(&options, "a.c");
	optstring_remove(&options, "d");
	prints(&options, "{\"a\":{\"b\":\"y,z\"},\"e\":true}");
	assert_int_equal(optstring_set(&options, "no.such", "x", &err), RC_STATE);
	optstring_free(&options);
}

static void an_implied_value_with_an_equals_sign_gets_its_key(void **state)
{
	struct optstring options;

	(void)state;
	assert_int_equal(optstring_parse(&options, "x,b=1", "a", &err), RC_OK);
	assert_int_equal(optstring_set(&options, "a", "k=v", &err), RC_OK);
	prints(&options, "a=k=v,b=1");
	optstring_free(&options);
}

static void what_is_not_json_or_too_much_is_refused(void **state)
{
	char text[2 * (OPTSTRING_ITEMS_MAX + 1) + 1], deep[1200];
	struct optstring options;

	(void)state;
	assert_int_equal(optstring_parse(&options, "{", NULL, &err), RC_INVALID);
	assert_int_equal(optstring_parse(&options, "{} x", NULL, &err), RC_INVALID);
	for (size_t i = 0; i <= OPTSTRING_ITEMS_MAX; i++)
		memcpy(text + 2 * i, "a,", 3);
	assert_int_equal(optstring_parse(&options, text, NULL, &err), RC_LIMIT);
	(void)snprintf(deep, sizeof(deep), "{\"%0600d\":1}", 0);
	assert_int_equal(optstring_parse(&options, deep, NULL, &err), RC_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_changed_is_written_as_it_was_read),
		cmocka_unit_test(doubled_commas_are_one_and_the_last_of_equal_keys_counts),
		cmocka_unit_test(json_members_are_read_by_dotted_keys),
		cmocka_unit_test(all_ways_to_say_on_are_on),
		cmocka_unit_test(changes_are_written_back_in_the_form_the_option_came_in),
		cmocka_unit_test(an_implied_value_with_an_equals_sign_gets_its_key),
		cmocka_unit_test(what_is_not_json_or_too_much_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
