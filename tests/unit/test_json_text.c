#include "appliance/base/json_text.h"

#include "appliance/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Parses a copy of exactly the text's size, so that AddressSanitizer sees a read past its end. */
static int parse(cJSON **root, const char *text, size_t len, struct err *err)
{
	char *copy = malloc(len > 0 ? len : 1);
	int rc;

	assert_non_null(copy);
	memcpy(copy, text, len);
	rc = json_text_parse(root, copy, len, err);
	free(copy);
	return rc;
}

static void refuses_bytes(const char *text, size_t len, const char *message)
{
	struct err err = { 0 };
	cJSON *root;

	assert_int_equal(parse(&root, text, len, &err), RC_INVALID);
	assert_null(root);
	assert_string_equal(err.text, message);
}

static void refuses(const char *text, const char *message)
{
	refuses_bytes(text, strlen(text), message);
}

static void takes(const char *text)
{
	struct err err = { 0 };
	cJSON *root = NULL;

	if (parse(&root, text, strlen(text), &err) != RC_OK)
		fail_msg("%s: %s", text, err.text);
	assert_non_null(root);
	cJSON_Delete(root);
}

static void what_is_json_is_taken(void **state)
{
	static const char *const texts[] = {
		"{}",
		"[]",
		"0",
		"-0",
		"10",
		"1.05",
		"-1.5e-07",
		"1e05",
		"1E+05",
		"true",
		"null",
		"\"\"",
		" \t\r\n{ \"a\" : [ 1 , { } , \"\\u00e9\\n\\\"\" ] } \n",
		"\xef\xbb\xbf{}",
		"\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x8e\xad\"",
		"{\"a\": \"// # ' , ] }\"}",
		"[100, 20, 0.001, 0]",
		"\"\x7f\"",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		takes(texts[i]);
}

static void a_mistake_is_reported_with_its_line_and_column(void **state)
{
	(void)state;
	refuses("", "line 1, column 1: there is nothing in it");
	refuses(" \n ", "line 2, column 2: there is nothing in it");
	refuses("{\n  \"a\": 1,\n}",
		"line 3, column 1: no comma may stand before a closing bracket");
	refuses("[1, 2,]", "line 1, column 7: no comma may stand before a closing bracket");
	refuses("{\n\t\"a\" 1\n}", "line 2, column 6: unexpected: 1");
	refuses("{\"a\": 1 \"b\": 2}",
		"line 1, column 9: a comma or colon is missing before: \"b\":");
	refuses("{\"a\": }", "line 1, column 7: unexpected: }");
	refuses("{\"a\": tru}", "line 1, column 7: unexpected: tru}");
	refuses("{a: 1}", "line 1, column 2: a key in double quotes is expected here");
	refuses("{\"a\": 1, b: 2}", "line 1, column 10: a key in double quotes is expected here");
	refuses("{'a': 1}", "line 1, column 2: strings stand in double quotes");
	refuses("{} // end", "line 1, column 4: JSON has no comments");
	refuses("# config\n{}", "line 1, column 1: JSON has no comments");
	refuses("{\"a\": [1, 2}", "line 1, column 12: this closing bracket has no opening one");
	refuses("{}}", "line 1, column 3: this closing bracket has no opening one");
	refuses("{\"a\": {\"b\": 1}", "line 1, column 15: the text ends where a \"}\" is missing");
	refuses("[[1]", "line 1, column 5: the text ends where a \"]\" is missing");
	refuses("{} {}", "line 1, column 4: more text after the end of the value");
	refuses("{\"a\": \"x\n\"}",
		"line 1, column 7: this string has no closing quote on its line");
	refuses("\"abc", "line 1, column 1: this string has no closing quote on its line");
	refuses("\"abc\\", "line 1, column 5: unknown escape; a backslash is written \\\\");
	refuses("\"c:\\path\"", "line 1, column 4: unknown escape; a backslash is written \\\\");
}

static void nothing_of_a_file_that_is_no_json_is_repeated(void **state)
{
	static const char utf16[] = "\xff\xfe{\0", utf16_bare[] = "{\0\"\0";

	(void)state;
	refuses("root:$6$x:19000:0:::\n", "line 1, column 1: no JSON");
	refuses("<html>", "line 1, column 1: no JSON");
	refuses("1:secret", "line 1, column 2: more text after the end of the value");
	refuses("token", "line 1, column 1: no JSON");
	refuses("-----BEGIN PRIVATE KEY-----", "line 1, column 1: no JSON");
	refuses_bytes(utf16, sizeof(utf16),
		      "line 1, column 1: this is UTF-16; JSON is written in UTF-8");
	refuses_bytes(utf16_bare, sizeof(utf16_bare),
		      "line 1, column 1: this is UTF-16; JSON is written in UTF-8");
}

static void escapes_stand_for_whole_characters(void **state)
{
	(void)state;
	takes("\"\\ud83d\\uDE00 \\u00e9\"");
	refuses("\"\\ud83d\"",
		"line 1, column 2: half of a character (a surrogate without the other one)");
	refuses("\"\\ude00\\ud83d\"",
		"line 1, column 2: half of a character (a surrogate without the other one)");
	refuses("\"\\ud83d\\u0041\"",
		"line 1, column 2: half of a character (a surrogate without the other one)");
	refuses("\"\\u12g4\"", "line 1, column 2: \\u is followed by four hexadecimal digits");
	refuses("\"\\u12", "line 1, column 2: \\u is followed by four hexadecimal digits");
}

static void columns_count_characters_not_bytes(void **state)
{
	(void)state;
	refuses("[\"\xc3\xa9\xe2\x82\xac\", x]", "line 1, column 8: unexpected: x]");
}

static void what_cjson_would_let_through_is_refused(void **state)
{
	(void)state;
	refuses("[007]", "line 1, column 2: a number does not begin with 0");
	refuses("[-01]", "line 1, column 3: a number does not begin with 0");
	refuses("[1.]", "line 1, column 3: digits are expected after the point");
	refuses("\"a\tb\"", "line 1, column 3: a control character in a string");
	refuses("[\x01]", "line 1, column 2: a control character");
	refuses("\"\\u0000\"", "line 1, column 2: \\u0000 cannot be part of a string");
	refuses("\"\xff\"", "line 1, column 2: not UTF-8");
	refuses("\"\xc0\xaf\"", "line 1, column 2: not UTF-8");
	refuses("\"\xed\xa0\x80\"", "line 1, column 2: not UTF-8");
	refuses("\"\xf4\x90\x80\x80\"", "line 1, column 2: not UTF-8");
	refuses("\"\xe2\x82\"", "line 1, column 2: not UTF-8");
}

static void a_zero_byte_ends_nothing(void **state)
{
	struct err err;
	cJSON *root;

	(void)state;
	assert_int_equal(parse(&root, "{}\0{}", 5, &err), RC_INVALID);
	assert_string_equal(err.text, "line 1, column 3: a control character");
	assert_int_equal(parse(&root, "\"a\0b\"", 5, &err), RC_INVALID);
	assert_string_equal(err.text, "line 1, column 3: a control character in a string");
}

static void nesting_is_bounded(void **state)
{
	char text[2 * JSON_TEXT_DEPTH_MAX + 3];
	const size_t depth = JSON_TEXT_DEPTH_MAX;

	(void)state;
	memset(text, '[', depth);
	memset(text + depth, ']', depth);
	text[2 * depth] = '\0';
	takes(text);
	memset(text, '[', depth + 1);
	memset(text + depth + 1, ']', depth + 1);
	text[2 * depth + 2] = '\0';
	refuses(text, "line 1, column 65: nested too deeply");
}

static void every_prefix_of_a_text_is_refused(void **state)
{
	static const char text[] =
		"{\"a\": [1, -2.5e3, \"x\\u00e9\\n\"], \"b\": {\"c\": null, \"d\": true}}";
	struct err err;
	cJSON *root;

	(void)state;
	takes(text);
	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		assert_int_equal(parse(&root, text, len, &err), RC_INVALID);
		assert_null(root);
	}
}

static void a_failed_allocation_is_no_syntax_error(void **state)
{
	static const char text[] = "{\"a\": [1, \"x\"], \"b\": {\"c\": null}}";
	struct err err;
	unsigned long n;
	cJSON *root;
	int rc;

	(void)state;
	for (n = 1;; n++) {
		fault_arm(FAULT_ALLOC, n);
		rc = parse(&root, text, sizeof(text) - 1, &err);
		if (!fault_fired(FAULT_ALLOC))
			break;
		assert_int_equal(rc, RC_NOMEM);
		assert_null(root);
	}
	fault_arm(FAULT_ALLOC, 0);
	assert_int_equal(rc, RC_OK);
	assert_true(n > 8);
	cJSON_Delete(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_json_is_taken),
		cmocka_unit_test(a_mistake_is_reported_with_its_line_and_column),
		cmocka_unit_test(nothing_of_a_file_that_is_no_json_is_repeated),
		cmocka_unit_test(escapes_stand_for_whole_characters),
		cmocka_unit_test(columns_count_characters_not_bytes),
		cmocka_unit_test(what_cjson_would_let_through_is_refused),
		cmocka_unit_test(a_zero_byte_ends_nothing),
		cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(every_prefix_of_a_text_is_refused),
		cmocka_unit_test(a_failed_allocation_is_no_syntax_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
